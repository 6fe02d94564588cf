"""Estimators named by their import path, and the preprocessors in front of them."""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from tabular.data.datasets import Column
from tabular.defaults import MODELS, SPACES
from tabular.errors import UserError, first_line, nearest
from tabular.model.boosting import aliases, finds_iterations
from tabular.problem import Model, Preprocessing, Transformer, hyperparameters

# Families of trees, which split on a column's order: they need neither scaling nor one-hot encoding.
_TREES = ("lightgbm.", "xgboost.", "catboost.", "sklearn.ensemble.", "sklearn.tree.")


def load_class(path: str, where: str) -> Any:
    """Import the classifier class that a path names.

    Parameters
    ----------
    path
        Import path, such as `sklearn.linear_model.LogisticRegression`.
    where
        The key of the problem file that holds the path, for the error message.

    Raises
    ------
    UserError
        The module cannot be imported, or has no such class, or the class is not a classifier with probabilities.
    """
    found = _named_class(path, where)
    if not (inspect.isclass(found) and hasattr(found, "fit") and hasattr(found, "predict_proba")):
        raise UserError(f"{where}: {path} is no classifier: it needs fit and predict_proba")
    return found


def _named_class(path: str, where: str) -> Any:
    module_name, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UserError(f"{where}: {path!r} cannot be imported ({error}): is it spelt right and installed?") from None
    found = getattr(module, name, None)
    if found is None:
        raise UserError(f"{where}: {module_name} has no {name!r}{nearest(name, dir(module))}")
    return found


def transformers(steps: Sequence[Transformer], *, where: str, seed: int) -> list[Any]:
    """Make the unfitted transformers of the encoded columns.

    Parameters
    ----------
    steps
        The steps of the model's preprocessing.
    where
        The key of the steps in the problem file, for error messages.
    seed
        The `random_state` of those that have this parameter and are not given it.

    Raises
    ------
    UserError
        A class cannot be imported, is no transformer, or does not take its parameters.
    """
    return [_transformer(step, f"{where}.{number}", seed) for number, step in enumerate(steps)]


def _transformer(step: Transformer, where: str, seed: int) -> Any:
    kind = _named_class(step.transformer, where)
    if not (inspect.isclass(kind) and all(hasattr(kind, name) for name in ("fit", "transform", "get_params"))):
        raise UserError(f"{where}: {step.transformer} is no transformer: it needs fit, transform and get_params")
    known = list(inspect.signature(kind).parameters)
    for name in step.params:
        if name not in known:
            raise UserError(f"{where}.params: {step.transformer} has no parameter {name!r}{nearest(name, known)}")
    given = {**({"random_state": seed} if "random_state" in known else {}), **step.params}
    try:
        return kind(**given)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {step.transformer} cannot be made ({first_line(error)})") from None


def build(model: Model, params: Mapping[str, Any], *, where: str, seed: int, threads: int) -> Any:
    """Make an unfitted estimator.

    Parameters
    ----------
    model
        The model of the problem.
    params
        Hyperparameters, which replace the model's own of the same name.
    where
        The key of the model in the problem file, for error messages.
    seed
        The estimator's `random_state`, if it has this parameter and the model does not give it.
    threads
        The estimator's `n_jobs`, if it has this parameter and the model does not give it.

    Raises
    ------
    UserError
        The class cannot be loaded or made without arguments, does not have one of the hyperparameters, or gives no
        probabilities with them; or early stopping of LightGBM is asked for.
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
    # linear models have a parameter n_jobs, and warn that it has no effect
    if "n_jobs" in known and not model.estimator.startswith("sklearn.linear_model."):
        conduct["n_jobs"] = threads
    if model.estimator.startswith("lightgbm."):
        conduct["verbose"] = -1
        # otherwise LightGBM times row-wise and col-wise building and takes the faster: other bits from run to run
        conduct["deterministic"] = True
        if not given.get("force_row_wise"):
            conduct["force_col_wise"] = True
    estimator = kind(**{**conduct, **given})
    if not hasattr(estimator, "predict_proba"):  # SVC and SGDClassifier have it with some parameters only
        raise UserError(f"{where}.params: {model.estimator} gives no probabilities with these parameters")
    return estimator


def defaults(model: Model) -> dict[str, Any]:
    """The values of a model's searched hyperparameters without a search: the problem's, else the estimator's defaults.

    A hyperparameter for which the estimator has no default is left out. The number of iterations is included if a
    search would find it by staged scores.
    """
    known = {**load_class(model.estimator, "estimator")().get_params(), **model.params}
    searched = hyperparameters(model.space)
    if finds_iterations(model.estimator, {**model.params, **dict.fromkeys(searched)}):
        searched.append("n_estimators")
    return {name: known[name] for name in searched if name in known}


def _check_names(
    path: str, kind: Any, known: Mapping[str, Any], named: Mapping[str, Mapping[str, Any]], where: str
) -> None:
    """Raise UserError for a hyperparameter that the class does not have."""
    names = set(known)
    if path.startswith("lightgbm."):
        # LightGBM accepts any name, and only prints that it ignores an unknown one; this is its list of known names
        from lightgbm.basic import _ConfigAliases

        names.update(*_ConfigAliases._get_all_param_aliases().values())
    elif any(p.kind is p.VAR_KEYWORD for p in inspect.signature(kind).parameters.values()):
        return
    for key, given in named.items():
        for name in given:
            if name not in names:
                raise UserError(f"{where}.{key}: {path} has no parameter {name!r}{nearest(name, sorted(names))}")


def _check_early_stopping(named: Mapping[str, Mapping[str, Any]], where: str) -> None:
    """Raise UserError for early stopping of LightGBM.

    Early stopping would choose the number of iterations by the rows of the fold on which the model is then scored.
    """
    early = aliases("early_stopping_round")
    for key, given in named.items():
        for name in given:
            if name in early:
                raise UserError(
                    f"{where}.{key}: {name} would learn from the rows that score it: leave it out, and give or search "
                    "n_estimators"
                )


def check(models: Mapping[str, Model]) -> None:
    """Build every estimator of a problem once, to find errors before anything runs.

    A model that differs from a default model in values only is not built, which saves its import.

    Raises
    ------
    UserError
        An estimator cannot be imported or made.
    """
    for name, model in models.items():
        transformers(model.preprocessing.steps, where=f"models.{name}.preprocessing.steps", seed=0)
        if not _is_usual(model):
            build(model, {}, where=f"models.{name}", seed=0, threads=1)


def _is_usual(model: Model) -> bool:
    """Whether tabular/defaults.py knows the model's class and all of the model's hyperparameters."""
    known = [given for given in MODELS.values() if given["estimator"] == model.estimator]
    known += [SPACES[model.estimator]] if model.estimator in SPACES else []
    usual = {name for given in known for part in (given["params"], given.get("space", {})) for name in part}
    return bool(known) and {*model.params, *hyperparameters(model.space)} <= usual


def resolve(model: Model) -> Preprocessing:
    """The model's preprocessing; what the problem leaves open is chosen by the kind of estimator."""
    trees = model.estimator.startswith(_TREES)
    chosen = model.preprocessing
    made = transformers(chosen.steps, where="preprocessing.steps", seed=0)
    keeps = trees and all(map(_keeps_missing, made)) and _takes_missing(model)
    return Preprocessing(
        categories=chosen.categories or ("ordinal" if trees else "onehot"),
        numbers=chosen.numbers or ("as_is" if trees else "standardize"),
        missing=chosen.missing or ("keep" if keeps else "impute"),
        steps=chosen.steps,
    )


def _takes_missing(model: Model) -> bool:
    if model.estimator.startswith(("lightgbm.", "xgboost.", "catboost.")):
        return True
    tags = load_class(model.estimator, "estimator")().__sklearn_tags__()
    return bool(tags.input_tags.allow_nan)


def _keeps_missing(transformer: Any) -> bool:
    try:
        return bool(transformer.__sklearn_tags__().input_tags.allow_nan)
    except AttributeError:  # as in `takes_sparse`
        return False


def takes_sparse(estimator: Any) -> bool:
    """Whether an estimator can be fitted on sparse matrices."""
    try:
        return bool(estimator.__sklearn_tags__().input_tags.sparse)
    except AttributeError:  # does not derive from scikit-learn's base classes
        return False


def preprocessor(columns: Sequence[Column], how: Preprocessing, *, sparse: bool = True, seed: int = 0) -> Any:
    """Make the unfitted preprocessor of features from `steps.model.served.as_features`.

    Parameters
    ----------
    columns
        The data set's columns.
    how
        The preprocessing, from `resolve`.
    sparse
        Whether the output may be a sparse matrix if it is mostly zeros; with steps of the problem's it never is.
    seed
        Of the problem's steps.

    Returns
    -------
    sklearn.compose.ColumnTransformer or sklearn.pipeline.Pipeline
        Made of scikit-learn's own classes, so that it can be stored without pickle; a pipeline where the problem has
        steps of its own, with their classes.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    numbers = [column.name for column in columns if column.kind == "number"]
    categories = [column.name for column in columns if column.kind == "category"]
    parts = []
    if numbers:
        parts.append(("numbers", _numbers(how), numbers))
    if categories:
        parts.append(("categories", _categories(how), categories))
    if not how.steps:
        return ColumnTransformer(parts, sparse_threshold=0.3 if sparse else 0)
    made = transformers(how.steps, where="preprocessing.steps", seed=seed)
    named = [(f"step_{number}", step) for number, step in enumerate(made)]
    return Pipeline([("encode", ColumnTransformer(parts, sparse_threshold=0)), *named])


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
        # rare categories share a column; an unseen category is encoded in it too
        return OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=100, dtype=np.float64)
    unseen = np.nan if how.missing == "keep" else -1
    missing = np.nan if how.missing == "keep" else -2
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=unseen, encoded_missing_value=missing)
