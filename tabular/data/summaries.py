"""What etl tells of a target: the rows of each class, or how numbers are spread."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from tabular.data import class_names
from tabular.data.targets import median

Array: TypeAlias = np.ndarray[Any, Any]
# The bins in which numbers are counted for people: at most so many, fewer of few rows (Rice's rule).
MOST_BINS, FEWEST_BINS = 40, 5
# The columns of the table of classes where rows have weights.
WEIGHT_OF_TRAIN, WEIGHT_OF_HOLDOUT = "train_weight", "holdout_weight"


class Summary(Protocol):
    """What is told of a target, whether of classes or of numbers."""

    @property
    def table(self) -> dict[str, list[Any]]:
        """Its rows, as the columns of a table."""

    @property
    def params(self) -> dict[str, str]:
        """What a run has of it as parameters."""

    @property
    def metrics(self) -> dict[str, float]:
        """What a run has of it as metrics."""

    @property
    def words(self) -> str:
        """What there is to predict, in words."""


@dataclass(frozen=True)
class OfClasses:
    """The rows of each class in both parts of a data set, their weights, and what became of rare classes."""

    train: Mapping[str, int]
    holdout: Mapping[str, int]
    weights: Mapping[str, Mapping[str, float]]  # column of the table: {class: sum}; empty where all rows count alike
    rare: str = ""

    @property
    def table(self) -> dict[str, list[Any]]:
        """The rows, and weights, of each class."""
        counts: dict[str, list[Any]] = {"class": list(self.train)}
        counts |= {"train": list(self.train.values()), "holdout": list(self.holdout.values())}
        return counts | {column: list(sums.values()) for column, sums in self.weights.items()}

    @property
    def params(self) -> dict[str, str]:
        """The classes, and what became of rare ones."""
        return {"classes": ", ".join(self.train)[:6000], "rare_classes": self.rare[:6000]}

    @property
    def metrics(self) -> dict[str, float]:
        """The rows of each class, by names that MLflow takes."""
        names = class_names.in_metrics([*self.train, *self.holdout])
        sides = {"train": self.train, "holdout": self.holdout}
        return {f"rows_{side}_{names[name]}": rows for side, counts in sides.items() for name, rows in counts.items()}

    @property
    def words(self) -> str:
        """How many classes there are."""
        return f"{len(self.train)} classes"


@dataclass(frozen=True)
class OfNumbers:
    """How numbers to predict are spread.

    Attributes
    ----------
    edges
        (bins + 1,) the edges of bins of equal widths, in the unit of the target.
    train, holdout
        (bins,) the rows in each.
    mean, median
        Of the training rows, by their weights.
    """

    edges: Sequence[float]
    train: Sequence[int]
    holdout: Sequence[int]
    mean: float
    median: float

    @property
    def table(self) -> dict[str, list[Any]]:
        """The rows in each bin."""
        ends = {"from": list(self.edges[:-1]), "to": list(self.edges[1:])}
        return {**ends, "train": list(self.train), "holdout": list(self.holdout)}

    @property
    def params(self) -> dict[str, str]:
        """None."""
        return {}

    @property
    def metrics(self) -> dict[str, float]:
        """The mean and the median of the training rows, which a model has to be better than."""
        return {"target_mean": self.mean, "target_median": self.median}

    @property
    def words(self) -> str:
        """Between which numbers they lie."""
        return f"a number from {self.edges[0]:.6g} to {self.edges[-1]:.6g}"


def of_numbers(train: Array, holdout: Array, weights: Array | None) -> OfNumbers:
    """How the numbers of (n,) training and (m,) holdout rows are spread; `weights` are the (n,) training rows'."""
    bins = int(np.clip(round(2 * min(len(train), len(holdout)) ** (1 / 3)), FEWEST_BINS, MOST_BINS))
    edges = np.histogram_bin_edges(np.concatenate([train, holdout]), bins=bins)
    of_train, of_holdout = (np.histogram(side, edges)[0].tolist() for side in (train, holdout))
    mean = float(np.average(train, weights=weights))
    return OfNumbers(edges.tolist(), of_train, of_holdout, mean, median(train, weights))
