"""Whether a problem's models can be made, and predict what its task asks for: found before anything runs."""

from collections.abc import Mapping

from tabular.defaults import MODELS, SPACES, SPACES_OF_NUMBERS
from tabular.errors import UserError
from tabular.metrics.lookup import REGRESSION
from tabular.metrics.lookup import Task as Name
from tabular.model.estimators import EXTRAS, build, check_native, is_regressor, transformers
from tabular.model.row_weights import weight_argument
from tabular.model.wide_tables import on_wide
from tabular.sections.models import Model, hyperparameters, of_estimator

# The estimators of numbers that tabular/defaults.py knows.
OF_NUMBERS = frozenset([*(given["estimator"] for given in MODELS[REGRESSION].values()), *SPACES_OF_NUMBERS])


def check(models: Mapping[str, Model], task: Name, *, weighted: bool = False) -> None:
    """Build every estimator of a problem once, to find errors before anything runs.

    A model that differs from a default model in values only is not built, which saves its import.

    Parameters
    ----------
    models
        The models of the problem.
    task
        What they have to predict.
    weighted
        Whether its rows have weights.

    Raises
    ------
    UserError
        An estimator cannot be imported or made, is of the other task, or takes no weights.
    """
    for name, model in models.items():
        where = f"models.{name}"
        if not (model.wide.keys() <= _usual_names(model.estimator)):
            build(on_wide(model), {}, where=f"{where}.wide", seed=0, threads=1)
        steps = transformers(model.preprocessing.steps, where=f"{where}.preprocessing.steps", seed=0)
        for number, made in enumerate(steps):
            if task == REGRESSION and getattr(getattr(made, "score_func", None), "__name__", "") == "f_classif":
                way = "take sklearn.feature_selection.SelectFromModel with a regressor as its estimator"
                what = f"{type(made).__name__} ranks columns by classes, and the task is {task}"
                raise UserError(f"{where}.preprocessing.steps.{number}: {what}: {way}")
        for treatment in model.treatments():
            check_native(model.treated(treatment), where)
        check_task(model, task, where)
        if weighted:
            weight_argument(build(model, {}, where=where, seed=0, threads=1), where)


def check_task(model: Model, task: Name, where: str) -> None:
    """Check that a model, whose key in the problem file is `where`, is of a task.

    Raises
    ------
    UserError
        It is of the other one, or its estimator cannot be imported or made.
    """
    if _is_usual(model):
        gives_numbers = model.estimator in OF_NUMBERS
    else:
        gives_numbers = is_regressor(build(model, {}, where=where, seed=0, threads=1))
    if gives_numbers == (task == REGRESSION):
        return
    kinds = ("a number", "regression") if gives_numbers else ("classes", "classification")
    usual = ", ".join(given["estimator"] for given in MODELS[task].values())
    other = f"take one such as {usual}, or say task: {kinds[1]}"
    raise UserError(f"{where}.estimator: {model.estimator} predicts {kinds[0]}, and the task is {task}: {other}")


def _is_usual(model: Model) -> bool:
    """Whether tabular/defaults.py knows the model's class, which is in the lock, and all of its hyperparameters."""
    usual = _usual_names(model.estimator) if model.estimator.partition(".")[0] not in EXTRAS else set()
    return bool(usual) and {*model.params, *of_estimator(hyperparameters(model.space))} <= usual


def _usual_names(estimator: str) -> set[str]:
    """The hyperparameters of a class that tabular/defaults.py names."""
    known = [given for models in MODELS.values() for given in models.values() if given["estimator"] == estimator]
    known += [SPACES[estimator]] if estimator in SPACES else []
    return {name for given in known for part in ("params", "space", "wide") for name in given.get(part, {})}
