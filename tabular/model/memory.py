"""How much memory a fit needs: estimates by the kind of estimator, from figures that were measured on small tables.

`python benchmarks/fit_memory.py` measures them anew, and shows each beside its estimate.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tabular.model import dates
from tabular.model.estimators import categories_of, reads_float32, resolve, takes_sparse
from tabular.model.formats import within
from tabular.model.training import Candidate, unfitted
from tabular.sections.models import Range

# Bytes at the most while rows are encoded, of a value of a row, the encoded one included: of a number that is scaled or
# imputed, and of one that stays as it is; of a category that becomes a code, and of one that becomes several columns.
OF_A_SCALED_NUMBER, OF_A_NUMBER, OF_A_CODE, OF_A_CATEGORY = 36.0, 18.0, 46.0, 65.0
# Bytes of an encoded value: of a dense matrix, and of one that is not 0 of a sparse matrix, with its place.
OF_A_DOUBLE, OF_A_FLOAT, OF_A_SPARSE_VALUE = 8.0, 4.0, 16.0
# Where the share of values that are not 0 is smaller, the encoded rows are a sparse matrix.
SPARSE_BELOW = 0.3
# Bytes of a node of scikit-learn's trees, and of each of its values: one for each class, or one number.
OF_A_NODE, OF_A_VALUE = 64.0, 8.0
# Which end of its range makes a hyperparameter's trees the largest.
_LARGEST = {
    "min_samples_leaf": "low",
    "n_estimators": "high",
    "max_depth": "high",
    "max_leaf_nodes": "high",
    "max_samples": "high",
}
# How many of the rows tell how many categories a column has.
LOOKED_AT = 50_000
# One-hot encoding makes no more columns of a category.
MOST_COLUMNS_OF_A_CATEGORY = 100


@dataclass(frozen=True)
class Kind:
    """What a fit needs beside its encoded rows.

    Attributes
    ----------
    value
        Bytes of each encoded value; of a sparse matrix, of each that is not 0.
    row
        Bytes of each row and class (more than two), or row.
    nodes
        Of trees: the nodes of a tree are so many times its rows over the fewest rows of a leaf.
    most_of_classes
        Of trees that tell classes apart: no more nodes for each row, since a leaf of one class is not split.
    """

    value: float
    row: float
    nodes: float = 0.0
    most_of_classes: float = math.inf


# By how the import path of an estimator begins. What LightGBM and histogram boosting have for each value is a copy of
# the rows and their bins; trees make float32 of doubles.
KINDS: Mapping[str, Kind] = {
    "lightgbm.": Kind(value=13.0, row=10.0),
    "sklearn.ensemble.HistGradientBoosting": Kind(value=11.0, row=40.0),
    "sklearn.ensemble.RandomForest": Kind(value=4.0, row=40.0, nodes=1.25, most_of_classes=0.5),
    "sklearn.ensemble.ExtraTrees": Kind(value=4.0, row=40.0, nodes=1.5, most_of_classes=0.8),
    "sklearn.tree.": Kind(value=4.0, row=40.0, nodes=1.5, most_of_classes=0.8),
    "sklearn.linear_model.": Kind(value=14.0, row=20.0),
    "sklearn.neural_network.": Kind(value=18.0, row=10.0),
    "sklearn.neighbors.": Kind(value=8.0, row=60.0),
}
# Any other: two copies of the rows.
OTHER = Kind(value=16.0, row=100.0)


@dataclass(frozen=True)
class Need:
    """The bytes that a fit needs beside the rows of the table.

    Attributes
    ----------
    encoding
        While the rows are encoded, the encoded rows included.
    encoded
        Of the encoded rows.
    fit
        While the estimator is fitted, beside the encoded rows: what it learns is included.
    """

    encoding: float
    encoded: float
    fit: float

    @property
    def whole(self) -> float:
        """To encode rows and fit on them."""
        return max(self.encoding, self.encoded + self.fit)


@dataclass(frozen=True)
class Shape:
    """The encoded rows of a candidate.

    Attributes
    ----------
    columns
        How many encoded columns.
    values
        How many values of a row are kept: all, or those that are not 0 of a sparse matrix.
    encoding
        Bytes of a row while it is encoded.
    of_value
        Bytes of each value that is kept.
    """

    columns: int
    values: float
    encoding: float
    of_value: float


class Estimate:
    """Estimates for the fits of one candidate, by the number of rows.

    Parameters
    ----------
    candidate
        The candidate.
    X
        (n, columns) features; the first rows tell how many categories the columns have.
    """

    def __init__(self, candidate: Candidate, X: Any) -> None:
        self._estimator = unfitted(candidate, threads=1)
        self.shape = _shape(candidate, X, sparse=takes_sparse(self._estimator))
        self._outputs = getattr(candidate.task, "classes", 1)
        self._kinds = [_kind(path) for path in candidate.model.innermost()]

    def of(self, rows: int) -> Need:
        """What a fit on so many rows needs."""
        shape, kind = self.shape, max(self._kinds, key=lambda one: one.value)
        encoded = rows * shape.values * shape.of_value
        of_value = 0.0 if shape.of_value == OF_A_FLOAT else kind.value
        of_row = max(one.row for one in self._kinds) * max(1, self._outputs - 1)
        fit = rows * (shape.values * of_value + of_row) + self._trees(rows)
        return Need(max(encoded, rows * shape.encoding), encoded, fit)

    def _trees(self, rows: int) -> float:
        """Bytes of the nodes of all trees of forests."""
        of_node = OF_A_NODE + OF_A_VALUE * self._outputs
        every = list(within(self._estimator))
        # a forest holds a tree that it makes its own of
        patterns = {id(one.estimator) for one in every if hasattr(one, "estimator_params")}
        return sum(_nodes(one, self._outputs, rows) * of_node for one in every if id(one) not in patterns)


def costliest(candidate: Candidate) -> Candidate:
    """The candidate with those of its searched hyperparameters that make the largest trees, where they are ranges."""
    space = candidate.model.space
    ranges = {name: one for name in _LARGEST if isinstance(one := space.get(name), Range)}
    params = {name: getattr(one, _LARGEST[name]) for name, one in ranges.items()}
    whole = {name: int(value) if ranges[name].type == "int" else value for name, value in params.items()}
    return replace(candidate, params={**candidate.params, **whole})


def rows_within(most: int, fits: Callable[[int], bool]) -> int:
    """The most rows, in round numbers below `most`, with which something fits; 0 where it does not with a thousand."""
    sizes = (first * 10**power for power in range(len(str(most)) - 1, 2, -1) for first in (8, 6, 5, 4, 3, 2, 1))
    return next((rows for rows in sizes if rows < most and fits(rows)), 0)


def _kind(path: str) -> Kind:
    return next((kind for begin, kind in KINDS.items() if path.startswith(begin)), OTHER)


def _nodes(estimator: Any, outputs: int, rows: int) -> float:
    """How many nodes the trees of an estimator have together, those within it not counted; 0 where it is no tree."""
    kind = _kind(f"{type(estimator).__module__.rpartition('.')[0]}.{type(estimator).__name__}")
    if not kind.nodes:
        return 0.0
    given = estimator.get_params(deep=False)
    share = given.get("max_samples") or 1.0
    drawn = share * rows if isinstance(share, float) else min(share, rows)
    leaf = given["min_samples_leaf"]
    fewest = leaf if leaf >= 1 else leaf * drawn
    of_a_row = kind.nodes / max(1.0, fewest)
    nodes = drawn * (min(of_a_row, kind.most_of_classes) if outputs > 1 else of_a_row)
    if given["max_leaf_nodes"] is not None:
        nodes = min(nodes, 2.0 * given["max_leaf_nodes"])
    if given["max_depth"] is not None:
        nodes = min(nodes, 2.0 ** min(given["max_depth"] + 1, 60))
    return float(given.get("n_estimators", 1) * nodes)


def _shape(candidate: Candidate, X: Any, *, sparse: bool) -> Shape:
    model, columns = candidate.treated, candidate.columns
    how = resolve(model)
    numbers, categories = dates.numbers(columns, how.dates), categories_of(columns, how)
    texts = sum(how.texts.values())
    of_categories = (
        [_columns_of(X[name]) for name in categories] if how.categories == "onehot" else [1] * len(categories)
    )
    width, kept = len(numbers) + sum(of_categories) + texts, len(numbers) + len(categories) + texts
    of_number = OF_A_NUMBER if (how.numbers, how.missing) == ("as_is", "keep") else OF_A_SCALED_NUMBER
    of_category = OF_A_CATEGORY if how.categories == "onehot" else OF_A_CODE
    encoding = of_number * len(numbers) + of_category * len(categories) + OF_A_SCALED_NUMBER * texts
    if sparse and not how.steps and kept < SPARSE_BELOW * width:
        return Shape(width, kept, encoding, OF_A_SPARSE_VALUE)
    encoding += 2 * OF_A_DOUBLE * (width - kept)  # one-hot encoded categories are sparse first, and made dense then
    return Shape(width, width, encoding, OF_A_FLOAT if reads_float32(model) else OF_A_DOUBLE)


def _columns_of(values: Any) -> int:
    return min(MOST_COLUMNS_OF_A_CATEGORY, int(values.iloc[:LOOKED_AT].nunique(dropna=False)))


def in_words(size: float) -> str:
    """So many bytes as a person writes them: `14.2 GB`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
