"""The rows that a model can be fitted on in its seconds of a chain.

What the clock decides here is recorded by the step that asks, and a replay repeats what was recorded.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from tabular.model.estimators import build
from tabular.model.training import Candidate

Array: TypeAlias = np.ndarray[Any, Any]
# No model is fitted on a sample of fewer rows: to try how long a fit takes would take as long, and it learns little.
FEWEST_ROWS = 2_000
# Trial fits are on as many rows, then on GROWTH times as many, and so on, while the next one is expected to take at
# most this share of the seconds.
FIRST_ROWS, GROWTH, SHARE_OF_TRIAL_FITS = 250, 4, 0.15
# A fit may take longer than was expected of it.
CAUTION = 0.8
# With which power of its rows the time of a fit may grow.
POWERS = (1.0, 3.0)
# The shares of the rows that a model may be fitted on.
SHARES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.09, 0.06, 0.04, 0.03, 0.02, 0.01)


def share_that_fits(
    measure: Callable[[int], float], rows: int, fits: float, seconds: float, *, prepared_again: bool = False
) -> float:
    """The share of the rows on which a model can be fitted in the seconds that there are.

    Parameters
    ----------
    measure
        Fits on so many rows, and scores in proportion; returns the seconds that this took.
    rows
        The training rows of the final fit.
    fits
        How many such fits there will be on the rows that are chosen.
    seconds
        The seconds for all fits, trial fits included; infinite where there is no limit.
    prepared_again
        Whether what the first fit does beside the fit, such as cutting all rows into bins, is done once more.

    Returns
    -------
    float
        One of `SHARES`; 1 where nothing has to be left out, 0 where the smallest share does not fit either.

    Notes
    -----
    The time of a fit is taken to be a constant and a power of its rows, which the last three trial fits tell.
    """
    if not math.isfinite(seconds) or rows <= FEWEST_ROWS:
        return 1.0
    begun = measure(FIRST_ROWS)  # no fit to go by: the first one of a process takes longer, since modules are imported
    sizes = [FIRST_ROWS, FIRST_ROWS * GROWTH]
    took = [measure(size) for size in sizes]
    while (size := sizes[-1] * GROWTH) <= rows and _expected(sizes, took, size) <= SHARE_OF_TRIAL_FITS * seconds:
        sizes.append(size)
        took.append(measure(size))
    again = max(0.0, begun - took[0]) if prepared_again else 0.0
    left = CAUTION * (seconds - begun - sum(took)) - again
    return next((share for share in _shares(rows) if fits * _expected(sizes, took, share * rows) <= left), 0.0)


def least_share(rows: int) -> float:
    """The smallest share of so many rows that a model is fitted on."""
    return _shares(rows)[-1]


def _shares(rows: int) -> list[float]:
    return [share for share in SHARES if share == 1.0 or share * rows >= FEWEST_ROWS]


def _expected(sizes: Sequence[int], took: Sequence[float], rows: float) -> float:
    """The expected time of a fit on so many rows, by those of trial fits on `GROWTH` times as many rows each."""
    more = np.maximum(np.diff(took), 1e-6)
    power = 1.0 if len(more) < 2 or rows < sizes[-1] else math.log(more[-1] / more[-2]) / math.log(GROWTH)
    power = float(np.clip(power, *POWERS))
    before, last = sizes[-2] ** power, sizes[-1] ** power
    return float(
        max(took[-2] if rows > sizes[-2] else 0.0, took[-1] + more[-1] * (rows**power - last) / (last - before))
    )


def on_share(candidate: Candidate, share: float) -> Candidate:
    """The candidate for a fit on a share of the rows: a forest draws as many for each tree, out of all rows."""
    drawn = _drawn_share(candidate)
    if share == 1.0 or drawn is None:
        return candidate
    return replace(candidate, params={**candidate.params, "max_samples": round(share * drawn, 4)})


def sample(candidate: Candidate, share: float, y: Array, rows: Array | None = None) -> Array | None:
    """(m,) the positions to fit on for a share of the rows: as many of each class, at random, and one at least.

    Parameters
    ----------
    candidate
        The candidate; one that draws its rows itself (`on_share`) is given all.
    share
        One of `SHARES`.
    y
        (n,) class codes or numbers of all rows.
    rows
        The positions to choose among; None: all, which are then the answer for a share of 1 too.
    """
    if share == 1.0 or _drawn_share(candidate) is not None:
        return rows
    among = np.arange(len(y)) if rows is None else rows
    generator = np.random.default_rng(candidate.seed)
    groups = [among[y[among] == code] for code in candidate.task.seen(y[among])] or [among]
    drawn = [generator.choice(group, max(1, round(share * len(group))), replace=False) for group in groups]
    return np.sort(np.concatenate(drawn))


def _drawn_share(candidate: Candidate) -> float | None:
    """The share of the rows that an estimator draws for each of its parts, such as trees; None where it does not."""
    made = build(
        candidate.model, candidate.of_estimator, where=f"models.{candidate.name}", seed=candidate.seed, threads=1
    )
    values = made.get_params(deep=False)
    if values.get("bootstrap") is not True or "max_samples" not in values:
        return None
    most = values["max_samples"]
    return 1.0 if most is None else most if isinstance(most, float) else None
