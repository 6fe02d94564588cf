"""Metrics by their names, of classes and of numbers."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

from tabular.errors import UserError, nearest
from tabular.metrics import classification, regression
from tabular.metrics.metric import Metric, Predictions, in_order

Task: TypeAlias = Literal["classification", "regression"]
CLASSIFICATION: Task = "classification"
REGRESSION: Task = "regression"
# The metrics that every run of a task has.
METRICS: Mapping[Task, Mapping[str, Metric]] = MappingProxyType(
    {CLASSIFICATION: classification.METRICS, REGRESSION: regression.METRICS}
)
# The metric that a search optimises where the problem names none.
DEFAULT: Mapping[Task, str] = MappingProxyType({CLASSIFICATION: "roc_auc", REGRESSION: "rmse"})


def metric(name: str) -> Metric:
    """Find a metric by its name: one of ours, else one of scikit-learn's scorers.

    Raises
    ------
    UserError
        There is no metric of that name.
    """
    if task_of(name) == REGRESSION:
        return regression.metric(name)
    if name in classification.KNOWN or name in (scorers := classification.scorer_names()):
        return classification.metric(name)
    ours = [*classification.KNOWN, *regression.METRICS]
    close = nearest(name, [*ours, *scorers, *regression.scorer_names()])
    raise UserError(
        f"unknown metric {name!r}{close or ';'} known are {', '.join(classification.KNOWN)}; of a number "
        f"{', '.join(regression.METRICS)}, pinball_loss_0.9 for the quantile of 0.9; and scikit-learn's scorers"
    )


def task_of(name: str) -> Task:
    """The task that a metric is of; classification for a name that no metric has."""
    if name in classification.KNOWN:
        return CLASSIFICATION
    if name in regression.METRICS or regression.PINBALL.fullmatch(name) or name in regression.scorer_names():
        return REGRESSION
    return CLASSIFICATION


def sign(name: str) -> int:
    """1 if a greater value of the metric is better, -1 if a smaller one is."""
    return 1 if metric(name).greater_is_better else -1


def scores(predictions: Predictions, names: Collection[str]) -> dict[str, float]:
    """Compute the metrics of these names: first those of every run of the task, in their order, then the others."""
    table = next((table for table in METRICS.values() if table.keys() & {*names}), {})
    return {name: float(metric(name).score(predictions)) for name in in_order(names, table)}


def with_named(task: Task, *names: str) -> list[str]:
    """The names of all metrics of a task, followed by those of `names` that are not among them."""
    return list(dict.fromkeys([*METRICS[task], *names]))
