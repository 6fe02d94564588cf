"""Prediction intervals of a regressor: learnt from the residuals of its out-of-fold predictions."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np

from tabular.errors import UserError
from tabular.model import libraries
from tabular.model.formats import booster_text

Array: TypeAlias = np.ndarray[Any, Any]
# The levels at which the ends are kept, as far as the rows allow; between two of them they are interpolated.
LEVELS = (*(place / 100 for place in range(1, 100)), 0.995, 0.999)
# The shares of the misses that may lie below a two-sided interval. Of a skewed target's errors a share other than one
# half gives the narrower interval: of exponential errors 90 % lie in one that is 19 % narrower with 0.1 than with 0.5.
SHARES_BELOW = (0.1, 0.5, 0.9)
# A form has to be so much narrower than a simpler one, and so much more over the root of the number of rows: the least
# of several widths is too small by chance, and its intervals cover too little.
GAIN, CHANCE = 0.02, 0.5
# Of fewer rows the form is the plain one: a scale model has nothing to learn from, and the choice has too much chance.
FEWEST_ROWS = 200
# A row's scale is at least this share of the median absolute residual: one that is 0 by chance would make an interval
# of no width, and other rows' intervals wide.
FLOOR = 0.1
# Absolute residuals that the scale model learns from: at least this share of the median, since the deviance of a gamma
# distribution has no bound at 0; at most this quantile of them, so that no single row decides.
LEAST_SIZE = 0.01
CAP = 0.99
# Of several that were tried on the tables of benchmarks/coverage.py, the one with the narrowest intervals. The gamma
# distribution asks by which factor residuals grow, and so neither rare large ones nor common small ones are lost on it.
SCALE_MODEL: Mapping[str, Any] = {"objective": "gamma", "n_estimators": 100, "learning_rate": 0.02, "num_leaves": 4}
FEWEST_IN_LEAF, SHARE_IN_LEAF = 50, 0.05
# What sums of weights may be wrong by, relatively.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Intervals:
    """What turns a prediction into an interval.

    The interval at a level is `prediction + scale * low` to `prediction + scale * high`, with `low` and `high`
    interpolated at the level, and the scale of a row `max(floor, booster.predict(encoded row))`, or 1 without a
    booster. It always holds the prediction.

    Attributes
    ----------
    coverage
        The levels, ascending: the share of rows whose true value is to lie in the interval.
    low, high
        At each level, the ends' offsets from the prediction in units of the target; the lower is at most 0 and falls
        with the level, the upper is at least 0 and grows with it.
    scale
        The text of the LightGBM booster that gives each row's scale, which is about 1 for a typical row; None where all
        rows have an interval of one width.
    floor
        The least scale.
    form
        The form that was chosen, a key of `widths`.
    widths
        Of each form that was tried, the mean width at the level that it was chosen for, in units of the target.
    """

    coverage: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    scale: str | None
    floor: float
    form: str
    widths: Mapping[str, float]

    def scales(self, X_encoded: Any, *, threads: int) -> Array | None:
        """The (n,) scales of encoded rows; None where all rows have an interval of one width."""
        if self.scale is None:
            return None
        from lightgbm import Booster

        booster = Booster(model_str=self.scale)
        return _floored(booster.predict(X_encoded, num_threads=threads))

    def ends(self, predicted: Array, scales: Array | None, coverage: float) -> tuple[Array, Array]:
        """The lower and the upper ends of intervals.

        Parameters
        ----------
        predicted
            (n,) predictions.
        scales
            (n,) what the booster answers for these rows, or None if there is none.
        coverage
            The share of rows whose true value is to lie in the interval, above 0.

        Returns
        -------
        tuple
            (n,) lower and (n,) upper ends, in units of the target.

        Raises
        ------
        UserError
            The rows that the intervals were learnt from are too few for this coverage.
        """
        if not 0 < coverage <= self.coverage[-1]:
            raise UserError(
                f"coverage: {coverage} is not above 0 and at most {self.coverage[-1]}, which is the most that the rows "
                "allow that the intervals were learnt from"
            )
        scale = 1.0 if self.scale is None else np.maximum(self.floor, np.asarray(scales))
        low, high = (np.interp(coverage, self.coverage, offsets) for offsets in (self.low, self.high))
        return predicted + scale * low, predicted + scale * high

    def as_dict(self) -> dict[str, Any]:
        """The attributes as plain values, for JSON."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {**values, "widths": dict(self.widths)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Intervals":
        """The intervals that `as_dict` made these values of."""
        tuples = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **tuples})


@dataclass(frozen=True)
class _Rows:
    """Rows that were scored out of fold.

    Attributes
    ----------
    residuals
        (n,) true values less predictions, each divided by the row's scale.
    scales
        (n,) the rows' scales, each from a model that has not learnt from the row.
    counts
        (n,) how much each row counts, above 0, 1 on average.
    """

    residuals: Array
    scales: Array
    counts: Array

    @property
    def worth(self) -> float:
        """How many rows that count alike these are worth (L. Kish, "Survey Sampling", 1965)."""
        return float(self.counts.sum() ** 2 / (self.counts**2).sum())

    @property
    def unseen(self) -> float:
        """The share of all weight that a new row has: 1 / (n + 1) where all count alike.

        Its weight is unknown. Drawn in proportion to the weights, as those are that shall be covered, it has the mean
        weight `sum(w**2) / sum(w)`.
        """
        return 1 / (1 + self.worth)

    def share(self, which: Array) -> float:
        """The share of all weight, the unseen row's included, that these rows have."""
        return float(self.counts[which].sum() / self.counts.sum() * (1 - self.unseen))

    def at_most(self, values: Array, shares: Array) -> Array:
        """The least values that are not exceeded by these shares of all weight, the unseen row's included.

        The unseen row's own value is taken for larger than all others: V. Vovk et al., "Algorithmic Learning in a
        Random World", 2005; with weights R. Tibshirani et al., "Conformal Prediction Under Covariate Shift", 2019.
        """
        order = np.argsort(values, kind="stable")
        upto = np.cumsum(self.counts[order])
        wanted = shares / (1 - self.unseen) * upto[-1] * (1 - _ROUNDING)
        found: Array = values[order][np.minimum(np.searchsorted(upto, wanted), len(values) - 1)]
        return found


@dataclass(frozen=True)
class _Form:
    """A form of interval: of absolute residuals, or with this share of the misses below it; scaled or not."""

    below: float | None
    is_scaled: bool = False

    def __str__(self) -> str:
        sides = "symmetric" if self.below is None else f"two-sided, {self.below:.0%} of the misses below"
        return f"scaled {sides}" if self.is_scaled else sides

    def greatest(self, rows: _Rows) -> float:
        """The greatest level that the rows allow: no end may lie beyond all residuals."""
        return 1 - rows.unseen * (1 if self.below is None else 2)

    def offsets(self, rows: _Rows, levels: Array) -> tuple[Array, Array]:
        """The ends' (levels,) offsets from the prediction, in units of the scale.

        Where a level leaves one side of a two-sided interval less than the least share of the misses, that side gets
        the least. Where it would leave the prediction outside, as it may that of a mean of skewed errors at a low
        level, one end is the prediction, and the other side gets all other misses.
        """
        if self.below is None:
            both = rows.at_most(np.abs(rows.residuals), levels)
            return -both, both
        misses = 1 - levels
        under, over = (rows.share(is_there) for is_there in (rows.residuals < 0, rows.residuals > 0))
        below = np.clip(self.below * misses, misses - over, under)
        below = np.maximum(np.minimum(below, misses - rows.unseen), rows.unseen)
        low = -rows.at_most(-rows.residuals, 1 - below)
        high = rows.at_most(rows.residuals, 1 - (misses - below))
        return np.minimum(low, 0.0), np.maximum(high, 0.0)

    def width(self, rows: _Rows, level: float) -> float:
        """The mean width at a level over the rows, in units of the target."""
        low, high = self.offsets(rows, np.array([level]))
        return float((high - low)[0] * np.average(rows.scales, weights=rows.counts))


def learn(
    y: Array,
    predicted: Array,
    X_encoded: Any,
    fold: Array,
    *,
    weights: Array | None = None,
    level: float = 0.9,
    seed: int,
    threads: int,
) -> Intervals:
    """Learn prediction intervals from rows that were scored out of fold.

    Parameters
    ----------
    y
        (n,) true values.
    predicted
        (n,) predictions, each by a model that has not learnt from the row, in units of the target.
    X_encoded
        (n, encoded columns) array or sparse matrix, which the scale model learns from.
    fold
        (n,) the number of the fold in which each row was scored.
    weights
        (n,) how much each row counts; None where all count alike. Rows of weight 0 are left out. Only their ratios
        matter.
    level
        The coverage at which the narrowest form is chosen.
    seed
        Seed of the scale model.
    threads
        How many threads it may use. The result does not depend on this number.

    Returns
    -------
    Intervals
        Of the narrowest form: symmetric or two-sided, and of one width or scaled by a model of the absolute residuals;
        of a simpler one unless it is notably narrower, the simplest being the symmetric one of one width.

    Raises
    ------
    UserError
        The rows are too few for the level, or a prediction is not finite.

    Notes
    -----
    These are split conformal intervals (J. Lei et al., "Distribution-Free Predictive Inference for Regression", 2018,
    section 5.2 for the scaled ones) whose residuals come from all folds, as those of the jackknife+ and CV+ do
    (R. Barber et al., "Predictive Inference with the Jackknife+", 2021). CV+ asks each fold's model at prediction time;
    these are laid around the prediction of the one final model. So they have no guarantee for every distribution,
    and cover somewhat more than the level where the final model, which has more rows to learn from than those of the
    folds, is better than these. Residuals by which hyperparameters were chosen are somewhat small, which counts the
    other way. The level is met on average over rows like these, and not for each kind of row.

    A row's scale comes from a model of the other folds' residuals, so that its own has no say in it; the unit of
    scales, the median absolute residual, is that of all rows.
    """
    counts = np.ones(len(y)) if weights is None else np.asarray(weights, float)
    used = np.flatnonzero(counts > 0)
    counts = counts[used] / counts[used].mean()
    residuals = np.asarray(y, float)[used] - np.asarray(predicted, float)[used]
    plain = _Rows(residuals, np.ones(len(used)), counts)
    _check(plain, level)
    forms = dict.fromkeys(_allowed(plain, level), plain)
    model = _scale_model(plain, X_encoded, used, np.asarray(fold)[used], seed=seed, threads=threads)
    if model is not None:
        scaled = model.rows()
        forms |= dict.fromkeys(_allowed(scaled, level, is_scaled=True), scaled)
    widths = {form: form.width(rows, level) for form, rows in forms.items()}
    form = _chosen(widths, plain.worth)
    levels = np.union1d(LEVELS, [level])
    levels = levels[levels <= form.greatest(plain) * (1 + _ROUNDING)]
    low, high = (tuple(ends.tolist()) for ends in form.offsets(forms[form], levels))
    booster = booster_text(model.fitted()) if model is not None and form.is_scaled else None
    told = {str(form): width for form, width in widths.items()}
    return Intervals(tuple(levels.tolist()), low, high, booster, FLOOR, str(form), told)


def coverage_of(y: Array, low: Array, high: Array, weights: Array | None = None) -> tuple[float, float]:
    """What intervals hold.

    Parameters
    ----------
    y
        (n,) true values.
    low, high
        (n,) the intervals' ends.
    weights
        (n,) how much each row counts; None where all count alike.

    Returns
    -------
    tuple
        The share of the rows whose true value lies in its interval, and the mean width in units of the target.
    """
    is_held = (low <= y) & (y <= high)
    return float(np.average(is_held, weights=weights)), float(np.average(high - low, weights=weights))


def _check(rows: _Rows, level: float) -> None:
    if not np.isfinite(rows.residuals).all():
        raise UserError(f"evaluation.coverage: {(~np.isfinite(rows.residuals)).sum()} predictions are not finite")
    greatest = _Form(None).greatest(rows)
    if level > greatest * (1 + _ROUNDING):
        raise UserError(
            f"evaluation.coverage: {level} is too much for {len(rows.counts)} rows that were scored out of fold: they "
            f"allow at most {np.floor(1000 * greatest) / 1000}"
        )


def _allowed(rows: _Rows, level: float, *, is_scaled: bool = False) -> list[_Form]:
    """The forms that the rows allow at a level."""
    shares = (None, *SHARES_BELOW) if len(rows.counts) >= FEWEST_ROWS else (None,)
    forms = [_Form(below, is_scaled) for below in shares]
    return [form for form in forms if level <= form.greatest(rows) * (1 + _ROUNDING)]


def _chosen(widths: Mapping[_Form, float], rows: float) -> _Form:
    """The simplest form than which none is notably narrower, for so many rows; the plain one is the simplest."""
    forms = sorted(widths, key=lambda form: (form.below is not None, form.is_scaled, widths[form]))
    chosen = forms[0]
    for form in forms[1:]:
        if widths[form] < (1 - GAIN - CHANCE / np.sqrt(rows)) * widths[chosen]:
            chosen = form
    return chosen


def _scale_model(
    rows: _Rows, X_encoded: Any, used: Array, fold: Array, *, seed: int, threads: int
) -> "_ScaleModel | None":
    """What learns the scales of the used rows; None where they are too few, or all predictions are right."""
    sizes = np.abs(rows.residuals)
    # the mean where most predictions are right, as those of a target that is mostly 0
    unit = rows.at_most(sizes, np.array([0.5]))[0] or np.average(sizes, weights=rows.counts)
    if len(used) < FEWEST_ROWS or len(np.unique(fold)) < 2 or unit == 0:
        return None
    # a sparse matrix may be of a format that has no rows to select
    X = X_encoded.tocsr() if hasattr(X_encoded, "tocsr") else np.asarray(X_encoded)
    return _ScaleModel(X[used], rows, sizes / unit, fold, seed, threads)


@dataclass(frozen=True)
class _ScaleModel:
    """What the scales of rows are learnt from.

    Attributes
    ----------
    X
        (n, encoded columns) array or sparse matrix.
    plain
        The rows with their residuals.
    sizes
        (n,) absolute residuals over their median.
    fold
        (n,) the number of the fold in which each row was scored.
    seed, threads
        As of `learn`.
    """

    X: Any
    plain: _Rows
    sizes: Array
    fold: Array
    seed: int
    threads: int

    def rows(self) -> _Rows:
        """The rows over their scales, each from a model of the other folds."""
        scales = np.empty(len(self.sizes))
        for number in np.unique(self.fold):
            own = self.fold == number
            scales[own] = _floored(self.fitted(~own).predict(self.X[own]))
        return _Rows(self.plain.residuals / scales, scales, self.plain.counts)

    def fitted(self, which: Array | None = None) -> Any:
        """A regressor of the sizes of these rows, or all; its trees are few and small, since residuals are noisy."""
        from lightgbm import LGBMRegressor

        which = np.ones(len(self.sizes), bool) if which is None else which
        sizes, counts = self.sizes[which], self.plain.counts[which]
        library = libraries.LIBRARIES["lightgbm"]
        known = {*libraries.arguments(LGBMRegressor), *library.more()}
        params = {**SCALE_MODEL, "min_child_samples": max(FEWEST_IN_LEAF, int(SHARE_IN_LEAF * len(sizes)))}
        model = LGBMRegressor(**libraries.sets(library, known, params, self.seed, self.threads), **params)
        learnt = np.clip(sizes, LEAST_SIZE, max(LEAST_SIZE, float(np.quantile(sizes, CAP))))
        return model.fit(self.X[which], learnt, sample_weight=None if (counts == counts[0]).all() else counts)


def _floored(scales: Any) -> Array:
    floored: Array = np.maximum(FLOOR, np.asarray(scales, float))
    return floored
