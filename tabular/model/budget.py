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
# Models of fewer rows are fitted as they are: to try how long a fit takes would take as long.
FEWEST_ROWS = 2_000
# Trial fits begin with as many rows, and go on with GROWTH times as many, while the next one is expected to take at
# most this share of the seconds.
FIRST_ROWS, GROWTH, SHARE_OF_TRIAL_FITS = 250, 4, 0.1
# A fit may take longer than was expected of it.
CAUTION = 0.8
# With which power of its rows the time of a fit may grow.
POWERS = (1.0, 3.0)
# The shares of the rows that a model may be fitted on.
SHARES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.09, 0.06, 0.04, 0.03, 0.02, 0.01)


def share_that_fits(measure: Callable[[int], float], rows: int, fits: float, seconds: float) -> float:
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

    Returns
    -------
    float
        One of `SHARES`; 1 where nothing has to be left out, 0 where the smallest share does not fit either.

    Notes
    -----
    The time of a fit is taken to grow as a power of its rows, which the last two trial fits tell.
    """
    if not math.isfinite(seconds) or rows <= FEWEST_ROWS:
        return 1.0
    measure(FIRST_ROWS)  # the first fit of a process takes longer: modules are imported
    sizes, took = [FIRST_ROWS], [measure(FIRST_ROWS)]
    while sizes[-1] * GROWTH <= rows and took[-1] * GROWTH ** _power(sizes, took) <= SHARE_OF_TRIAL_FITS * seconds:
        sizes.append(sizes[-1] * GROWTH)
        took.append(measure(sizes[-1]))
    left, power = CAUTION * (seconds - took[0] - sum(took)), _power(sizes, took)

    def expected(share: float) -> float:
        times = share * rows / sizes[-1]
        return float(fits * took[-1] * times ** (power if times > 1 else POWERS[0]))  # never less than by its rows

    return next((share for share in SHARES if expected(share) <= left), 0.0)


def _power(sizes: Sequence[int], took: Sequence[float]) -> float:
    """With which power of the rows the time grows; 1 after one trial fit, of which most is not the rows' time."""
    if len(sizes) < 2:
        return POWERS[0]
    return float(np.clip(math.log(took[-1] / took[-2]) / math.log(sizes[-1] / sizes[-2]), *POWERS))


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
    made = build(candidate.model, candidate.params, where=f"models.{candidate.name}", seed=candidate.seed, threads=1)
    values = made.get_params(deep=False)
    if values.get("bootstrap") is not True or "max_samples" not in values:
        return None
    most = values["max_samples"]
    return 1.0 if most is None else most if isinstance(most, float) else None
