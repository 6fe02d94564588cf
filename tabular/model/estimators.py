"""Candidates: estimators named by their import path, and the preprocessing that goes before them."""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from tabular.data.datasets import Column
from tabular.defaults import MODELS, SPACES
from tabular.errors import UserError, nearest
from tabular.model.boosting import aliases, finds_iterations
from tabular.problem import Model, Preprocessing, hyperparameters

# Families that split on a column's order: they need neither scaling nor a column a category.
_TREES = ("lightgbm.", "xgboost.", "catboost.", "sklearn.ensemble.", "sklearn.tree.")


def load_class(path: str, where: str) -> Any:
    """The class that an import path names.

    Parameters
    ----------
    path
        Such as `sklearn.linear_model.LogisticRegression`.
    where
        The key of the problem that named it, for the error.

    Raises
    ------
    UserError
        Where the module is not installed, or has no such class, or the class is no classifier.
    """
    module_name, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UserError(f"{where}: {path!r} cannot be imported ({error}): is it spelt right and installed?") from None
    found = getattr(module, name, None)
    if found is None:
        raise UserError(f"{where}: {module_name} has no {name!r}{nearest(name, dir(module))}")
    if not (inspect.isclass(found) and hasattr(found, "fit") and hasattr(found, "predict_proba")):
        raise UserError(f"{where}: {path} is no classifier: it needs fit and predict_proba")
    return found


def build(model: Model, params: Mapping[str, Any], *, where: str, seed: int, threads: int) -> Any:
    """An unfitted estimator.

    `params` go over the model's own; `random_state` is the problem's seed where the estimator takes one and the model
    names none, and `n_jobs` is the threads that it may use.

    Raises
    ------
    UserError
        Where the class does not know a hyperparameter or refuses its value.
    """
    kind = load_class(model.estimator, f"{where}.estimator")
    given = {**model.params, **params}
    try:
        known = kind().get_params()
    except TypeError as error:
        raise UserError(f"{where}.estimator: {model.estimator} cannot be made without arguments ({error})") from None
    named = {"params": given, "space": dict.fromkeys(hyperparameters(model.space))}
    _check_names(model.estimator, kind, known, named, where)
    if model.estimator.startswith("lightgbm."):
        _check_early_stopping(named, where)
    conduct: dict[str, Any] = {}
    if "random_state" in known:
        conduct["random_state"] = seed
    # linear models have a parameter n_jobs, and say that it has no effect
    if "n_jobs" in known and not model.estimator.startswith("sklearn.linear_model."):
        conduct["n_jobs"] = threads
    if model.estimator.startswith("lightgbm."):
        conduct["verbose"] = -1
        # it would choose by a race of the clock whether rows or columns are summed side by side: other bits each time
        conduct["deterministic"] = True
        if not given.get("force_row_wise"):
            conduct["force_col_wise"] = True
    estimator = kind(**{**conduct, **given})
    if not hasattr(estimator, "predict_proba"):  # SVC and SGDClassifier have it with some parameters only
        raise UserError(f"{where}.params: {model.estimator} gives no probabilities with these parameters")
    return estimator


def defaults(model: Model) -> dict[str, Any]:
    """The values that a model's searched hyperparameters have without a search: the problem's, else the estimator's.

    One that the estimator takes without a default of its own is left out. A number of iterations that the search would
    find by looking on is among them.
    """
    known = {**load_class(model.estimator, "estimator")().get_params(), **model.params}
    searched = hyperparameters(model.space)
    if finds_iterations(model.estimator, {**model.params, **dict.fromkeys(searched)}):
        searched.append("n_estimators")
    return {name: known[name] for name in searched if name in known}


def _check_names(
    path: str, kind: Any, known: Mapping[str, Any], named: Mapping[str, Mapping[str, Any]], where: str
) -> None:
    """UserError for a hyperparameter that the class does not have."""
    names = set(known)
    if path.startswith("lightgbm."):
        # it takes any name, and says on stdout that it passes over what it does not know; this is its own list
        from lightgbm.basic import _ConfigAliases

        names.update(*_ConfigAliases._get_all_param_aliases().values())
    elif any(p.kind is p.VAR_KEYWORD for p in inspect.signature(kind).parameters.values()):
        return
    for key, given in named.items():
        for name in given:
            if name not in names:
                raise UserError(f"{where}.{key}: {path} has no parameter {name!r}{nearest(name, sorted(names))}")


def _check_early_stopping(named: Mapping[str, Mapping[str, Any]], where: str) -> None:
    """UserError for LightGBM's early stopping, which would choose the iterations by the fold that is then scored."""
    early = aliases("early_stopping_round")
    for key, given in named.items():
        for name in given:
            if name in early:
                raise UserError(
                    f"{where}.{key}: {name} would learn from the rows that score it: leave it out, and give or search "
                    "n_estimators"
                )


def check(models: Mapping[str, Model]) -> None:
    """Build every estimator of a problem once; UserError for one that cannot be imported or made.

    Those that differ from a default model in nothing but values are known to be there, and cost no import.
    """
    for name, model in models.items():
        if not _is_usual(model):
            build(model, {}, where=f"models.{name}", seed=0, threads=1)


def _is_usual(model: Model) -> bool:
    """Whether it is a class that there are defaults for, with hyperparameters that these have too."""
    known = [given for given in MODELS.values() if given["estimator"] == model.estimator]
    known += [SPACES[model.estimator]] if model.estimator in SPACES else []
    usual = {name for given in known for part in (given["params"], given.get("space", {})) for name in part}
    return bool(known) and {*model.params, *hyperparameters(model.space)} <= usual


def resolve(model: Model) -> Preprocessing:
    """The preprocessing with what the problem leaves open chosen by the kind of estimator."""
    trees = model.estimator.startswith(_TREES)
    chosen = model.preprocessing
    return Preprocessing(
        categories=chosen.categories or ("ordinal" if trees else "onehot"),
        numbers=chosen.numbers or ("as_is" if trees else "standardize"),
        missing=chosen.missing or ("keep" if trees and _takes_missing(model) else "impute"),
    )


def _takes_missing(model: Model) -> bool:
    if model.estimator.startswith(("lightgbm.", "xgboost.", "catboost.")):
        return True
    tags = load_class(model.estimator, "estimator")().__sklearn_tags__()
    return bool(tags.input_tags.allow_nan)


def takes_sparse(estimator: Any) -> bool:
    """Whether an estimator can be fitted on sparse matrices."""
    try:
        return bool(estimator.__sklearn_tags__().input_tags.sparse)
    except AttributeError:  # not made of scikit-learn's own base classes
        return False


def preprocessor(columns: Sequence[Column], how: Preprocessing, *, sparse: bool = True) -> Any:
    """An unfitted ColumnTransformer for features as `steps.model.served.as_features` gives them.

    Parameters
    ----------
    columns
        The data set's columns.
    how
        As `resolve` gives it.
    sparse
        Whether features that are mostly zeros may be a sparse matrix.

    Returns
    -------
    sklearn.compose.ColumnTransformer
        Of scikit-learn's own classes only, so that it can be stored without pickle.
    """
    from sklearn.compose import ColumnTransformer

    numbers = [column.name for column in columns if column.kind == "number"]
    categories = [column.name for column in columns if column.kind == "category"]
    parts = []
    if numbers:
        parts.append(("numbers", _numbers(how), numbers))
    if categories:
        parts.append(("categories", _categories(how), categories))
    return ColumnTransformer(parts, sparse_threshold=0.3 if sparse else 0)


def _numbers(how: Preprocessing) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    steps = []
    if how.missing == "impute":
        steps.append(SimpleImputer(strategy="median", keep_empty_features=True))
    if how.numbers == "standardize":
        steps.append(StandardScaler())
    return make_pipeline(*steps) if steps else "passthrough"


def _categories(how: Preprocessing) -> Any:
    import numpy as np
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

    if how.categories == "onehot":
        # the rare ones share a column, and so does what was never seen
        return OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=100, dtype=np.float64)
    unseen = np.nan if how.missing == "keep" else -1
    missing = np.nan if how.missing == "keep" else -2
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=unseen, encoded_missing_value=missing)
