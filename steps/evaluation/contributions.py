"""What each column adds to the answers of the winner: to some holdout rows, as the served model tells it of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException

from steps.evaluation.candidates import Judged
from steps.model import served
from steps.model.holdout import Holdout
from steps.model.served import TabularModel
from tabular.metrics.classification import ClassPredictions

# Holdout rows that are explained: enough for a mean of two digits. Of large forests, of which a row takes long, fewer:
# as many as take seconds; and none where these are too few to tell anything.
MOST_ROWS, FEWEST_ROWS = 500, 30
MOST_CELLS = 100_000_000
# Of estimators that are asked hundreds of times for each row, such as neighbours.
ROWS_OF_OTHERS = 60
# Explaining a row by LightGBM takes about as long for each leaf as by our trees for so many numbers.
CELLS_OF_A_LEAF = 8


@dataclass(frozen=True)
class Explained:
    """What columns add to a model's answers to some rows.

    Attributes
    ----------
    values
        Column: (n,) what it adds, on the scale.
    scale
        In words, what the values of a row and a base value sum to.
    features
        Column: (n,) its values, of categories as objects, of dates in years; without those that are made of several.
    """

    values: dict[str, np.ndarray]
    scale: str
    features: dict[str, np.ndarray]

    @property
    def strengths(self) -> dict[str, float]:
        """Column: the mean of how much it adds, whatever the sign; the strongest first."""
        found = {name: float(np.abs(values).mean()) for name, values in self.values.items()}
        return dict(sorted(found.items(), key=lambda one: -one[1]))


def explain(candidate: Judged, holdout: Holdout, seed: int) -> tuple[Explained | None, str]:
    """What each column adds to a candidate's answers to holdout rows, drawn by a seed.

    None where the candidate does not tell or would take too long, and then why in words.
    """
    model, found = candidate.model, candidate.predictions
    reasons = getattr(model, "reasons", None)  # a model may carry the code of before
    if reasons is None:
        return None, "it carries the code of before there were reasons"
    if reasons.why_none is not None:
        return None, reasons.why_none.partition(":")[0]  # the way out is that of a request
    most = min(MOST_ROWS, MOST_CELLS // _cells(model))
    if most < min(FEWEST_ROWS, len(holdout.y)):
        return None, "it is so large that too few rows are explained in seconds; ask about single rows with explain"
    shuffled = np.random.default_rng(seed).permutation(len(holdout.y))
    rows = shuffled[holdout.counting[shuffled]][:most]
    codes = np.zeros(len(rows), dtype=int)
    if isinstance(found, ClassPredictions):
        codes = found.probabilities[rows].argmax(axis=1)
    raw = holdout.taken(rows)
    features = {name: raw[name].to_numpy() for name in raw}
    try:
        told = reasons.of(features, codes)
    except MlflowException:
        return None, "what the columns add does not sum to its answer"
    shown = {column["name"]: _shown(column, features[column["name"]]) for column in model.description["columns"]}
    return Explained(dict(zip(told.columns, told.values.T, strict=True)), told.scale, shown), ""


def _shown(column: Mapping[str, Any], values: np.ndarray) -> np.ndarray:
    """The values of a column as they are drawn: of categories names or None, and dates in years."""
    if column["kind"] == "category":
        return np.where(pd.isna(values), None, [f"{one:g}" if isinstance(one, float) else one for one in values])
    return 1970 + values / 365.2425 if column["dtype"] == "datetime" else values


def _cells(model: TabularModel) -> int:
    """About how many numbers are gone through to explain a row."""
    if model.members:
        return sum(_cells(one) for _, one in model.members.values())
    estimator = model.estimator
    if served.is_forest(estimator):
        trees = [one.tree_ for one in estimator.estimators_]
        return sum(one.node_count * -(-min(one.max_depth, one.n_features) // 2) for one in trees) or 1
    if hasattr(estimator, "num_trees"):  # of LightGBM
        return CELLS_OF_A_LEAF * estimator.num_trees() * int(estimator.params.get("num_leaves", 31)) or 1
    return 1 if model.reasons.has_scores else MOST_CELLS // ROWS_OF_OTHERS
