"""Estimators named by their import path, made of what a problem says of them."""

import importlib
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from tabular.data.datasets import Column
from tabular.errors import UserError, first_line, nearest
from tabular.model import boosting, dates, libraries, nets
from tabular.model.boosting import finds_iterations, has_linear_trees
from tabular.model.formats import within
from tabular.sections.models import (
    CLASSES,
    CONSTRAINTS,
    OF_PREPROCESSING,
    WEIGHTS,
    Model,
    Nested,
    Preprocessing,
    Range,
    Transformer,
    hyperparameters,
    of_estimator,
    of_preprocessing,
    options_of,
)

# Families of trees, which split on a column's order: they need neither scaling nor one-hot encoding.
_TREES = ("lightgbm.", "xgboost.", "catboost.", "sklearn.ensemble.", "sklearn.tree.")

# Estimators that read codes as categories, by how their import paths begin: the parameters that tell them which of so
# many encoded columns are codes.
_NATIVE: Mapping[str, Callable[[Sequence[int], int], dict[str, Any]]] = {
    # of its names for it, the one that LightGBM sets itself: it warns of the others
    "lightgbm.": lambda codes, width: {"categorical_column": list(codes)},
    "sklearn.ensemble.HistGradientBoosting": lambda codes, width: {"categorical_features": list(codes)},
    "xgboost.": lambda codes, width: {
        "enable_categorical": True,
        "feature_types": ["c" if place in codes else "q" for place in range(width)],
    },
    "catboost.": lambda codes, width: {"cat_features": list(codes)},
}
# Estimators that make float32 of what they are given, by how their import paths begin.
_FLOAT32 = ("sklearn.ensemble.RandomForest", "sklearn.ensemble.ExtraTrees", "sklearn.tree.")
# The most codes that scikit-learn's histograms have bins for, where the problem does not say.
_BINS = 255
# Parameters that hold estimators.
_HOLDING = {"estimator", "estimators", "steps"}

# The requirements that bring packages which are not in the lock.
EXTRAS = {
    **dict.fromkeys(("xgboost", "catboost"), "requirements-boosting.txt"),
    **dict.fromkeys(("torch", "skorch", "safetensors"), "requirements-torch.txt"),
}


def load_class(path: str, where: str, needs: Sequence[str] = ("fit", "predict_proba")) -> Any:
    """Import the class that a path names.

    Parameters
    ----------
    path
        Import path, such as `sklearn.linear_model.LogisticRegression`.
    where
        The key of the problem file that holds the path, for the error message.
    needs
        The methods that it must have: those of a classifier with probabilities, if nothing else is given.

    Raises
    ------
    UserError
        The module cannot be imported, or has no such class, or the class lacks a method.
    """
    found = _imported(path, where)
    if not (inspect.isclass(found) and all(hasattr(found, method) for method in needs)):
        kinds = {
            "predict": "classifier or regressor",
            "predict_proba": "classifier",
            "transform": "transformer",
            "fit": "estimator",
        }
        what = next((kind for method, kind in kinds.items() if method in needs), "class")
        lacking = f": it needs {' and '.join(needs)}" if needs else ""
        raise UserError(f"{where}: {path} is no {what}{lacking}")
    return found


def _imported(path: str, where: str) -> Any:
    """What an import path names; errors are those of `load_class`."""
    module_name, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UserError(f"{where}: {path!r} cannot be imported ({error}): {_advice(path)}") from None
    except Exception as error:  # a module of the user's may raise anything
        said = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(f"{where}: {path!r} cannot be imported ({said}): mend the file of {module_name}") from None
    found = getattr(module, name, None)
    if found is None:
        raise UserError(f"{where}: {module_name} has no {name!r}{nearest(name, dir(module))}")
    return found


def _advice(path: str) -> str:
    extra = EXTRAS.get(path.partition(".")[0])
    if extra is None:
        return "is it spelt right and installed?"
    return f"it is an extra; add `-r {extra}` to the dependencies of python_env.yaml (docs/models.md)"


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
    kind = load_class(step.transformer, where, needs=("fit", "transform"))
    return _made(kind, step.transformer, step.params, where, seed, threads=1)


def build(model: Model, params: Mapping[str, Any], *, where: str, seed: int, threads: int) -> Any:
    """Make an unfitted estimator, with those that are nested in it.

    Parameters
    ----------
    model
        The model of the problem.
    params
        Hyperparameters, which replace the model's own of the same name. A name such as `estimator__max_depth` is that
        of a nested estimator, as in scikit-learn's `set_params`.
    where
        The key of the model in the problem file, for error messages.
    seed
        The seed of each estimator that has one and is given none.
    threads
        How many threads the estimator may use, if it can and the model does not say. Of an estimator that holds others
        it is these that use them.

    Raises
    ------
    UserError
        A class cannot be loaded or made of its parameters, does not have one of them, or gives no probabilities with
        them; or early stopping by scored rows is asked for.
    """
    kind = _kind(model.estimator, f"{where}.estimator")
    nets.check_kind(model.estimator, kind, f"{where}.estimator", is_nested=False)
    searched = of_estimator(hyperparameters(model.space))
    _check_names(model.estimator, kind, [name for name in searched if "__" not in name], f"{where}.space")
    estimator = _made(kind, model.estimator, {**model.params, **params}, where, seed, threads)
    _check_deep_names(estimator, searched, f"{where}.space", model.estimator)
    # a stack without a final estimator of its own gets a logistic regression when it is fitted
    is_stack_of_default = getattr(estimator, "final_estimator", estimator) is None
    # SVC and SGDClassifier have it with some parameters only
    if not (is_stack_of_default or is_regressor(estimator) or hasattr(estimator, "predict_proba")):
        hint = "; with voting: soft it does" if "voting" in libraries.arguments(kind) else ""
        raise UserError(f"{where}.params: {model.estimator} gives no probabilities with these parameters{hint}")
    return estimator


def _kind(path: str, where: str) -> Any:
    """The class of a predictor: a regressor, else one that must give probabilities."""
    needs = ("fit", "predict") if is_regressor(_imported(path, where)) else ("fit", "predict_proba")
    return load_class(path, where, needs)


def is_regressor(estimator: Any) -> bool:
    """Whether an estimator, or a class of estimators, predicts numbers; a pipeline does what its last step does."""
    from sklearn.base import RegressorMixin
    from sklearn.base import is_regressor as is_one

    if inspect.isclass(estimator):
        # CatBoost's classes say it by themselves, without scikit-learn's
        return issubclass(estimator, RegressorMixin) or getattr(estimator, "_estimator_type", "") == "regressor"
    return is_regressor(type(estimator)) or bool(hasattr(estimator, "__sklearn_tags__") and is_one(estimator))


def _check_deep_names(estimator: Any, searched: Sequence[str], where: str, path: str) -> None:
    """Raise UserError for a searched hyperparameter that nothing within the estimator has."""
    deep = [name for name in searched if "__" in name]
    if nets.is_net(type(estimator)):
        nets.check_arguments(estimator, deep, where, but=searched)
        return
    known = estimator.get_params() if deep else {}
    for name in deep:
        if name not in known:
            raise UserError(f"{where}: {path} has no parameter {name!r}{nearest(name, known)}")


def _made(kind: Any, path: str, params: Mapping[str, Any], where: str, seed: int, threads: int) -> Any:
    """An unfitted estimator of a class, of parameters as a problem writes them."""
    library = libraries.of(path)
    deep = {name: value for name, value in params.items() if "__" in name}
    given = {name: value for name, value in params.items() if name not in deep}
    _check_names(path, kind, list(given), f"{where}.params")
    if nets.is_net(kind):
        nets.check_values(params, f"{where}.params")
    known = libraries.arguments(kind)
    settable = {*known, *library.more()}
    if path.startswith("sklearn.linear_model."):
        settable.discard("n_jobs")  # linear models have this parameter, and warn that it has no effect
    # threads of one that holds others times those of the nested ones would be more than were given; with linear leaves
    # LightGBM sums up what each thread has found, so that the last bits would depend on how many there are
    outer = 1 if _HOLDING & known.keys() or has_linear_trees(path, given) else threads
    conduct = libraries.sets(library, settable, given, seed, outer)
    values = {}
    for name, value in given.items():
        at = f"{where}.params.{name}"
        if name in CLASSES.get(path.partition(".")[0], ()) and isinstance(value, str):
            values[name] = load_class(value, at, needs=())
            nets.check_part(name, value, values[name], at)
        else:
            values[name] = _value(kind, name, _nested(value, at, seed, threads))
    try:
        estimator = kind(**{**conduct, **values})
        if nets.is_net(kind):  # it takes any name until it is fitted
            nets.check_arguments(estimator, deep, f"{where}.params")
        return estimator.set_params(**deep) if deep else estimator
    except TypeError as error:
        raise UserError(f"{where}.estimator: {path} cannot be made {_lacking(known, values, error)}") from None
    except ValueError as error:  # of scikit-learn, for a nested name
        raise UserError(f"{where}.params: {first_line(error)}") from None


def _lacking(known: Mapping[str, Any], given: Collection[str], error: TypeError) -> str:
    """The end of an error about a class that needs arguments: which, and how they are given."""
    missing = [name for name, default in known.items() if default is inspect.Parameter.empty and name not in given]
    if not missing:
        return f"of these params ({first_line(error)})"
    one = "{estimator: its.import.Path, params: {…}}"
    several = f"{{name: {one}, …}}"
    forms = {"estimators": several, "steps": several, "module": "its.import.Path"}
    told = ", ".join(f"{name}: {forms.get(name, one)}" for name in missing)
    return f"without {' and '.join(missing)}: give it in params, as in `params: {{{told}}}`"


def _nested(value: Any, where: str, seed: int, threads: int) -> Any:
    """A parameter with estimators in the place of what names them; several have names, as scikit-learn wants them."""
    if isinstance(value, Nested):
        kind = load_class(value.estimator, f"{where}.estimator", needs=("fit",))
        nets.check_kind(value.estimator, kind, f"{where}.estimator", is_nested=True)
        return _made(kind, value.estimator, value.params, where, seed, threads)
    if isinstance(value, Mapping) and any(isinstance(one, Nested) for one in value.values()):
        return [(name, _nested(one, f"{where}.{name}", seed, threads)) for name, one in value.items()]
    return value


def _value(kind: Any, name: str, value: Any) -> Any:
    """A list as a tuple where the class wants one: YAML has no tuples."""
    if not isinstance(value, list):
        return value
    allowed = getattr(kind, "_parameter_constraints", {}).get(name, ())
    wants = isinstance(libraries.arguments(kind).get(name), tuple) or (tuple in allowed and list not in allowed)
    return tuple(value) if wants else value


def defaults(model: Model) -> dict[str, Any]:
    """The values of a model's searched hyperparameters without a search: the problem's, else the estimator's defaults.

    Where the preprocessing is searched, they say what it is, too. A hyperparameter for which the estimator has no
    default is left out. The number of iterations is included if a
    search would find it by staged scores. A tuple is a list, as problems write it.
    """
    every = hyperparameters(model.space)
    chosen, searched = treatment(model, of_preprocessing(every)), of_estimator(every)
    kind = _kind(model.estimator, "estimator")
    # an argument without a default has a class as such, as those have whose default is a class
    known = {name: value for name, value in libraries.arguments(kind).items() if not isinstance(value, type)}
    if any("__" in name for name in searched):
        made = build(model, {}, where="models", seed=0, threads=1)
        deep = nets.defaults(made) if nets.is_net(kind) else made.get_params()
        known |= {name: value for name, value in deep.items() if "__" in name}
    known |= model.params
    if finds_iterations(model.estimator, {**model.params, **dict.fromkeys(searched)}):
        searched.append("n_estimators")
    found = {name: known[name] for name in searched if name in known} | chosen
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def _check_names(path: str, kind: Any, given: Sequence[str], where: str) -> None:
    """Raise UserError for a hyperparameter that the class does not have, and for early stopping.

    Early stopping would choose the number of iterations by the rows of the fold on which the model is then scored.
    """
    if nets.is_net(kind):
        nets.check_names(given, where)
        return
    known, early = libraries.names(path, kind), libraries.of(path).early_stopping()
    for name in given:
        if name in early:
            raise UserError(
                f"{where}: {name} would learn from the rows that score it: leave it out, and give or search "
                "n_estimators"
            )
        if known is not None and name not in known:
            raise UserError(f"{where}: {path} has no parameter {name!r}{nearest(name, sorted(known))}")


def in_terms_of_data(
    model: Model, where: str, columns: Sequence[Column], classes: Sequence[object], positive: int
) -> Model:
    """The model with what it says of classes and columns in the terms of estimators, in nested ones too.

    Parameters
    ----------
    model
        The model as the problem has it: `class_weight` is keyed by the target's classes, and monotone constraints by
        the columns' names.
    where
        The key of the model in the problem file, for error messages.
    columns, classes
        The data set's; no classes where a number is predicted.
    positive
        The position of the positive class, whose probability a constraint is about; used with two classes only.

    Returns
    -------
    Model
        Weights are keyed by the classes' positions; a constraint is a list with the direction of each encoded column,
        for the probability of the second class, or for the number.

    Raises
    ------
    UserError
        A class or a column is not of the data set, or a constrained column is a category or one-hot encoded, or
        the target has more than two classes.
    """
    how, encodings = model.preprocessing, {resolve(model.treated(one)).categories for one in model.treatments()}
    _check_texts(how, columns, f"{where}.preprocessing.texts")

    def told(path: str, params: Mapping[str, Any], at: str) -> dict[str, Any]:
        found = dict(params)
        for name, value in params.items():
            here = f"{at}.params.{name}"
            if isinstance(value, Nested):
                found[name] = value.model_copy(update={"params": told(value.estimator, value.params, here)})
            elif not isinstance(value, Mapping):
                continue
            elif name in WEIGHTS:
                found[name] = _by_position(value, here, classes)
            elif name in CONSTRAINTS:
                if classes and len(classes) != 2:
                    raise UserError(
                        f"{here}: it is about a probability of two classes, and the target has {len(classes)}"
                    )
                if path.startswith("catboost.") and "native" in encodings:
                    # what it makes of categories together with numbers goes up and down
                    way = "`preprocessing: {categories: ordinal}`"
                    raise UserError(f"{here}: CatBoost keeps no direction beside native categories: take {way}")
                falls = bool(classes) and not positive
                directions = [-one if falls else one for one in _directions(value, here, columns, encodings, how)]
                # XGBoost takes no list
                found[name] = f"({','.join(map(str, directions))})" if path.startswith("xgboost.") else directions
            else:
                found[name] = {
                    key: one.model_copy(update={"params": told(one.estimator, one.params, f"{here}.{key}")})
                    for key, one in value.items()
                }
        return found

    params = told(model.estimator, model.params, where)
    return model if params == model.params else model.model_copy(update={"params": params})


def _by_position(weights: Mapping[str, float], where: str, classes: Sequence[object]) -> dict[int, float]:
    if not classes:
        raise UserError(f"{where}: the target is a number, which has no classes: leave it out")
    positions = {str(label): position for position, label in enumerate(classes)}
    for label in weights:
        if label not in positions:
            raise UserError(f"{where}: {label!r} is no class of the target, which has {', '.join(positions)}")
    return {positions[label]: weight for label, weight in weights.items()}


def _directions(
    wanted: Mapping[str, float],
    where: str,
    columns: Sequence[Column],
    encodings: Collection[str | None],
    how: Preprocessing,
) -> list[int]:
    """The direction of each encoded column: numbers, categories, texts, as `preprocessor` has them."""
    numbers, categories = dates.numbers(columns, how.dates), categories_of(columns, how)
    for name, direction in wanted.items():
        if name in (*categories, *how.texts):
            raise UserError(f"{where}: {name!r} is a category, which has no order: leave it out, or make it a number")
        if name not in numbers:
            raise UserError(f"{where}: the data set has no column {name!r}{nearest(name, numbers)}")
        if direction not in (-1, 0, 1):
            raise UserError(f"{where}: {name!r} has {direction:g}; 1 is upwards, -1 downwards, 0 either")
    if categories and "onehot" in encodings:
        raise UserError(f"{where}: categories are one column each only with `preprocessing: {{categories: ordinal}}`")
    return [int(wanted.get(name, 0)) for name in [*numbers, *categories]] + [0] * sum(how.texts.values())


def categories_of(columns: Sequence[Column], how: Preprocessing) -> list[str]:
    """The columns that are encoded as categories."""
    return [column.name for column in columns if column.kind == "category" and column.name not in how.texts]


def _check_texts(how: Preprocessing, columns: Sequence[Column], where: str) -> None:
    """Raise UserError for a column whose words are to be learnt, and which is none of texts."""
    texts = [column.name for column in columns if column.kind == "category" and column.dtype == "string"]
    for name in how.texts:
        if name not in texts:
            raise UserError(f"{where}: the data set has no column of texts {name!r}{nearest(name, texts)}")


def native(model: Model, columns: Sequence[Column], where: str) -> dict[str, Any]:
    """The parameters that tell a model's estimator which encoded columns are codes of categories; empty where none are.

    Parameters
    ----------
    model
        The model, with `preprocessing.categories` as it is fitted.
    columns
        The data set's columns.
    where
        The key of the model in the problem file, for error messages.

    Raises
    ------
    UserError
        As `check_native`.
    """
    if model.preprocessing.categories != "native":
        return {}
    check_native(model, where)
    how = model.preprocessing
    first, categories = len(dates.numbers(columns, how.dates)), len(categories_of(columns, how))
    tell = next(tell for begin, tell in _NATIVE.items() if model.estimator.startswith(begin))
    width = first + categories + sum(how.texts.values())
    return tell(range(first, first + categories), width) if categories else {}


def check_native(model: Model, where: str) -> None:
    """Check that a model, whose key in the problem file is `where`, can be told which columns are categories.

    Raises
    ------
    UserError
        It is to be told, and its estimator reads numbers only, or gets other columns than the encoded ones, or the
        problem tells it too.
    """
    if model.preprocessing.categories != "native":
        return
    here = f"{where}.preprocessing.categories: native"
    if not model.estimator.startswith(tuple(_NATIVE)):
        known = "LightGBM, XGBoost, CatBoost and scikit-learn's HistGradientBoosting"
        raise UserError(f"{here} is for {known}; {model.estimator} reads numbers: take onehot, ordinal or target")
    if model.preprocessing.steps:
        raise UserError(f"{here}: after preprocessing.steps no column is a category: leave one of the two out")
    names = {name for tell in _NATIVE.values() for name in tell([0], 1)} | boosting.aliases("categorical_feature")
    twice = sorted(names & {*model.params, *hyperparameters(model.space)})
    if twice:
        raise UserError(f"{here} says which columns are categories, and so does {twice[0]}: leave one of the two out")


def most_categories(model: Model) -> int | None:
    """The most categories of a column that a model's estimator tells apart; None where there is no limit.

    All trials of a search share the encoded columns, so that the fewest bins that it may try count.
    """
    if not model.estimator.startswith("sklearn.ensemble.HistGradientBoosting"):
        return None
    tried: list[Any] = [model.params.get("max_bins"), *(point.get("max_bins") for point in model.start)]
    dimension = model.space.get("max_bins")
    if dimension is not None:
        tried += [dimension.low] if isinstance(dimension, Range) else [one.value for one in options_of(dimension)]
    return min([_BINS, *(int(one) for one in tried if isinstance(one, int | float))])


def resolve(model: Model) -> Preprocessing:
    """The model's preprocessing; what the problem leaves open is chosen by the kind of estimator."""
    trees = all(path.startswith(_TREES) for path in model.innermost())
    chosen = model.preprocessing
    made = transformers(chosen.steps, where="preprocessing.steps", seed=0)
    keeps = trees and all(map(_keeps_missing, made)) and _takes_missing(model)
    return Preprocessing(
        categories=chosen.categories or ("ordinal" if trees else "onehot"),
        numbers=chosen.numbers or ("as_is" if trees else "standardize"),
        missing=chosen.missing or ("keep" if keeps else "impute"),
        dates=chosen.dates,
        texts=chosen.texts,
        steps=chosen.steps,
    )


def treatment(model: Model, names: Sequence[str]) -> dict[str, str]:
    """The model's preprocessing, by names of a space, where a search says nothing of it."""
    how = resolve(model) if names else None
    return {name: getattr(how, name.removeprefix(OF_PREPROCESSING)) for name in names}


def _takes_missing(model: Model) -> bool:
    if model.estimator.startswith(("lightgbm.", "xgboost.", "catboost.")):
        return True
    tags = _tags(build(model, {}, where="models", seed=0, threads=1))
    return tags is not None and bool(tags.allow_nan)


def _keeps_missing(transformer: Any) -> bool:
    try:
        return bool(transformer.__sklearn_tags__().input_tags.allow_nan)
    except AttributeError:  # as in `takes_sparse`
        return False


def takes_sparse(estimator: Any) -> bool:
    """Whether an estimator can be fitted on sparse matrices, and reads in them what it reads in dense ones."""
    for one in within(estimator):
        if type(one).__module__.startswith("xgboost."):
            return False  # it takes the zeros of a sparse matrix for missing values
        if getattr(one, "algorithm", None) in ("kd_tree", "ball_tree"):
            return False  # neighbours would be sought without the tree
    tags = _tags(estimator)
    return tags is not None and bool(tags.sparse)


def reads_float32(model: Model) -> bool:
    """Whether a model learns the same of encoded rows in float32, since its estimator makes that of them anyway."""
    how = resolve(model)
    as_they_are = (how.numbers, how.missing) == ("as_is", "keep") and how.categories in ("ordinal", "native")
    return model.estimator.startswith(_FLOAT32) and as_they_are and not (how.steps or how.texts)


def _tags(estimator: Any) -> Any:
    """What scikit-learn's estimators say of their input; None where a class does not derive from theirs."""
    try:
        return estimator.__sklearn_tags__().input_tags
    except AttributeError:
        return None
