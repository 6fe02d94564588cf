"""LightGBM on large tables: rows are encoded in batches and cut into bins once, and each fit is on some of the bins.

In memory is about a byte a value, in the place of eight and of Python's objects for categories. What the preprocessing
learns (the order of categories, medians) is learnt from batches too, and is what it learns of all rows at once.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np

from tabular.data.folds import Fold, some
from tabular.model import boosting, dates, loss_curves, training
from tabular.model.boosting import Bins
from tabular.model.estimators import resolve, takes_sparse
from tabular.model.loss_curves import Curves
from tabular.model.row_weights import with_weights
from tabular.model.training import Candidate, Fitted, OnFold, RowsApart
from tabular.sections.models import Model, hyperparameters

Array: TypeAlias = np.ndarray[Any, Any]
# What learns from bins.
ESTIMATORS = ("lightgbm.LGBMClassifier", "lightgbm.LGBMRegressor")
# The rows of a batch, of which one is held in memory as doubles.
BATCH_ROWS = 65_536
# As many rows of a fold, fitted and scored ones, are enough for a curve of losses.
CURVE_ROWS = 20_000


@dataclass(frozen=True)
class Coded:
    """A column of categories: (n,) positions in `values`, -1 where missing; the values are those of features."""

    codes: Array
    values: Array


# The features of some rows: (n,) float64 of numbers, missing as NaN, and codes of categories.
Batch: TypeAlias = Mapping[str, Array | Coded]


class Stored(Protocol):
    """Features of rows where they lie."""

    def batches(self, names: Collection[str] | None = None) -> Iterator[Batch]:
        """The rows in batches of about `BATCH_ROWS`, in their order; of these columns alone where some are named."""

    def at(self, rows: Array) -> Any:
        """(m, columns) a pandas frame of the features of the rows at these positions."""

    def and_then(self, other: Any) -> Any:
        """These rows and then others of the same kind."""


def in_the_way(model: Model) -> str:
    """Why a model of the problem does not learn from bins that are built batch by batch, as a key; empty if it does."""
    other = {"estimator": model.estimator not in ESTIMATORS, "rows": model.rows is not None}
    other["seeds"] = (model.seeds or 1) > 1
    if any(other.values()):
        return next(key for key, is_asked in other.items() if is_asked)
    if {*model.params} & boosting.aliases("num_iterations", "boosting", "linear_tree") - {"n_estimators"}:
        return "params"
    if not boosting.fits_on_bins({*hyperparameters(model.space), *(name for point in model.start for name in point)}):
        return "space"
    for params in model.treatments():
        how = resolve(model.treated(params))
        asked = {"steps": how.steps, "texts": how.texts, "numbers": how.numbers != "as_is"}
        asked["categories"] = how.categories not in {"ordinal", "native"}
        for key, is_asked in asked.items():
            if is_asked:
                return f"preprocessing.{key}"
    return ""


@dataclass
class BinnedRows(RowsApart):
    """Rows of a large table, of which LightGBM's bins are in memory: in the place of a frame of all features.

    Attributes
    ----------
    stored
        The rows.
    shape
        The number of rows and of columns.
    """

    stored: Stored
    shape: tuple[int, int]
    _learnt: dict[str, Any] = field(default_factory=dict)  # by preprocessing: fitted
    _made: dict[str, Any] = field(default_factory=dict)  # by preprocessing and what decides of bins: the data set

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        """Rows x columns."""
        return self.shape[0] * self.shape[1]

    def at(self, rows: Array) -> Any:
        """(m, columns) a pandas frame of the features of the rows at these positions."""
        return self.stored.at(rows)

    def and_then(self, other: "BinnedRows") -> "BinnedRows":
        """These rows and then others of the same kind; no bins are built yet."""
        return BinnedRows(self.stored.and_then(other.stored), (len(self) + len(other), self.shape[1]))

    def preprocessor(self, candidate: Candidate) -> Any:
        """The candidate's preprocessor, fitted on all rows."""
        key = _treatment(candidate)
        if key not in self._learnt:
            examples = _examples(self.stored, candidate)
            sparse = takes_sparse(training.unfitted(candidate, threads=1))
            self._learnt[key] = training.encode(candidate, examples, np.zeros(len(examples)), sparse=sparse)[0]
        return self._learnt[key]

    def bins(self, candidate: Candidate, y: Array, fold: Fold, weights: Array | None) -> Bins:
        """The bins of a fold, for all fits whose parameters cut columns alike."""

        def make(params: Mapping[str, Any]) -> tuple[Any, Any]:
            whole = self._whole(candidate, params)
            return _part(whole, fold.fit, params), _part(whole, fold.score, params)

        fitted = np.sort(fold.fit)  # as they lie in the part
        return Bins(None, y[fitted], None, candidate.task, _of(weights, fitted), make)

    def on_fold(
        self,
        candidate: Candidate,
        y: Array,
        fold: Fold,
        *,
        threads: int,
        curves: bool = False,
        weights: Array | None = None,
    ) -> OnFold:
        """Fit and predict one fold, as `training.on_fold`. Curves are of `CURVE_ROWS` rows of each side."""
        estimator, bins = training.unfitted(candidate, threads=threads), self.bins(candidate, y, fold, weights)
        seen, task = candidate.task.seen(bins.y), candidate.task
        sides = {"training": fold.fit, "validation": fold.score} if curves else {}
        sampled = {name: np.sort(some(rows, CURVE_ROWS, candidate.seed)) for name, rows in sides.items()}
        known = {name: rows for name, rows in sampled.items() if task.can_score(y[rows], seen)}
        found: Curves = {"iteration": [], **{name: [] for name in known}}

        def take(iteration: int, given: Mapping[str, Array]) -> None:
            found["iteration"].append(iteration)
            for name, raw in given.items():
                rows = known[name]
                found[name].append(task.mean_loss(y[rows], task.whole(raw, seen), _of(weights, rows)))

        with training.refusing(candidate, threads):
            params = boosting.parameters(estimator, bins)
            whole = self._whole(candidate, params)
            followed = {name: _part(whole, rows, params) for name, rows in known.items()}
            points = loss_curves.curve_points(estimator.get_params()["n_estimators"]) if known else set()
            raw = boosting.followed_fit(estimator, bins, followed, points, take)
        # the rows to score lie in their order among the bins
        outputs = task.whole(raw, seen)[np.argsort(np.argsort(fold.score, kind="stable"), kind="stable")]
        return OnFold(fold.score, y[fold.score], outputs, found if known else {}, _of(weights, fold.score))

    def fit(
        self,
        candidate: Candidate,
        y: Array,
        *,
        threads: int,
        rows: Array | None = None,
        weights: Array | None = None,
    ) -> Fitted:
        """Fit a candidate, as `training.fit`: the same model, byte by byte, where it is fitted on all rows."""
        estimator = training.unfitted(candidate, threads=threads)
        weighted = with_weights(estimator, weights, f"models.{candidate.name}")
        weights = next(iter(weighted.values()), None)
        features = self.preprocessor(candidate)
        self._made.clear()  # what the folds were cut from: their bins may hold columns that LightGBM leaves out here
        with training.refusing(candidate, threads):
            params = boosting.of_estimator(estimator, candidate.task, y)
            data = self._binned(features, params)
            if rows is not None:
                at = np.sort(rows)
                data, y, weights = _part(data, at, params), y[at], _of(weights, at)
            boosting.fit_on_bins(estimator, data, candidate.task, y, weights)
        parts = candidate.model.preprocessing.dates
        return Fitted(features, estimator, candidate.task, candidate.task.seen(y), {}, parts)

    def _whole(self, candidate: Candidate, params: Mapping[str, Any]) -> Any:
        """The data set of all rows, from which those of parts are taken."""
        key = f"{_treatment(candidate)} {boosting.of_bins(params)}"
        if key not in self._made:
            self._made[key] = self._binned(self.preprocessor(candidate), params)
        return self._made[key]

    def _binned(self, features: Any, params: Mapping[str, Any]) -> Any:
        import lightgbm

        class Whole(lightgbm.Dataset):
            def get_params(self) -> dict[str, Any]:
                """All parameters that bins are built by: LightGBM's leaves out the seed, by which it samples rows."""
                return dict(params) if self._handle is None else dict(super().get_params())

        lightgbm.Sequence.register(_Encoded)
        rows = _Encoded(self.stored, features, len(self))
        return Whole(rows, np.zeros(len(self)), params=dict(params)).construct()


def _of(weights: Array | None, rows: Array) -> Array | None:
    return None if weights is None else weights[rows]


def _treatment(candidate: Candidate) -> str:
    return repr(resolve(candidate.treated))


def _part(whole: Any, rows: Array, params: Mapping[str, Any]) -> Any:
    """The data set of the rows at some positions, in ascending order."""
    part = whole.subset([0], params=dict(params))
    part.used_indices = np.sort(rows).astype(np.int32)  # `subset` would sort a list of Python's numbers
    return part.construct()


def _examples(stored: Stored, candidate: Candidate) -> Any:
    """A few rows of which a preprocessor learns what it learns of all: each category once, and numbers' medians."""
    import pandas as pd

    kinds = {column.name: column.kind for column in candidate.columns}
    numbers = dates.numbers(candidate.columns, candidate.model.preprocessing.dates)
    categories = [name for name, kind in kinds.items() if kind == "category"]
    values = _categories(stored, categories)
    examples = max([1, *map(len, values.values())])
    is_asked = resolve(candidate.treated).missing == "impute"
    learnt = _medians(stored, numbers) if is_asked else dict.fromkeys(numbers, 0.0)
    columns = {name: np.full(examples, value) for name, value in learnt.items()}
    for name, found in values.items():
        columns[name] = np.concatenate([found, np.repeat(found[:1], examples - len(found))])
    # in the order of features: those of the data set, then what is made of dates
    names = [*(name for name in kinds if name in columns), *(name for name in numbers if name not in kinds)]
    return pd.DataFrame({name: pd.Series(columns[name], dtype=columns[name].dtype) for name in names})


def _categories(stored: Stored, names: Sequence[str]) -> dict[str, Array]:
    """Each column's categories, once, NaN among them where some are missing."""
    found: dict[str, dict[Any, None]] = {name: {} for name in names}
    missing, types = dict.fromkeys(names, False), dict.fromkeys(names, np.dtype(object))
    for batch in stored.batches(names) if names else ():
        for name in names:
            column: Any = batch[name]
            types[name] = column.values.dtype
            none, *there = np.bincount(column.codes + 1, minlength=1 + len(column.values)) > 0
            missing[name] |= bool(none)
            found[name].update(dict.fromkeys(column.values[np.array(there, dtype=bool)].tolist()))
    made = {}
    for name, values in found.items():
        made[name] = np.empty(len(values) + missing[name], types[name])
        made[name][:] = [*values, *([np.nan] if missing[name] else [])]
    return made


def _medians(stored: Stored, names: Sequence[str]) -> dict[str, float]:
    """The median of each column, read one after the other; NaN where nothing is known."""
    found = {}
    for name in names:
        values: Array = np.concatenate([batch[name] for batch in stored.batches([name])])
        known = values[~np.isnan(values)]
        found[name] = float(np.median(known)) if len(known) else np.nan
    return found


class _Encoded:
    """Encoded rows for a data set of LightGBM's, which asks for them from the first to the last, twice."""

    batch_size = BATCH_ROWS

    def __init__(self, stored: Stored, features: Any, rows: int) -> None:
        self._stored, self._features, self._rows = stored, features, rows
        self._left, self._start, self._held = stored.batches(), 0, np.empty((0, 0))

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, place: int | slice) -> Array:
        if isinstance(place, slice):
            start, stop, _ = place.indices(self._rows)
            parts = []
            while start < stop:
                block = self._block(start)
                parts.append(np.asarray(block[start - self._start : stop - self._start]))
                start += len(parts[-1])
            return parts[0] if len(parts) == 1 else np.concatenate(parts)
        return np.asarray(self._block(int(place))[place - self._start])

    def _block(self, row: int) -> Array:
        """The encoded batch that a row is in."""
        if row < self._start:
            self._left, self._start, self._held = self._stored.batches(), 0, np.empty((0, 0))
        while row >= self._start + len(self._held):
            self._start += len(self._held)
            self._held = _encoded(self._features, next(self._left))
        return self._held


def _encoded(features: Any, batch: Batch) -> Array:
    """(n, encoded columns) a batch as the fitted preprocessor encodes it."""
    import pandas as pd

    blocks: list[Any] = []
    for name, transformer, columns in features.transformers_:
        if name == "remainder":
            continue
        if name == "categories":
            blocks += [_codes(transformer, place, batch[column]) for place, column in enumerate(columns)]
        elif hasattr(transformer, "steps"):
            given = pd.DataFrame({column: batch[column] for column in columns})
            blocks += list(np.asarray(transformer.transform(given)).T)
        else:
            blocks += [batch[column] for column in columns]
    return np.column_stack(blocks)


def _codes(encoder: Any, place: int, column: Any) -> Array:
    """(n,) what an OrdinalEncoder makes of a column; `place` is that of the column among those of the encoder."""
    known = {value: code for code, value in enumerate(encoder.categories_[place].tolist())}
    of_values = [known[value] for value in column.values.tolist()]
    table: Array = np.array([*of_values, encoder.encoded_missing_value], dtype=np.float64)
    return np.asarray(table[column.codes])
