"""A sample of the rows to fit on, drawn as the table is split: of each class, over the whole time, or whole groups."""

from typing import Any, Literal, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]


def drawn(
    among: Array, y: Array, key: Array | None, *, by: Literal["random", "time", "group"], most: int, seed: int
) -> Array:
    """Draw a sample of rows.

    Parameters
    ----------
    among
        (m,) the positions of the rows to draw from.
    y
        (n,) the class codes of all rows, or their numbers to predict, as floats.
    key
        (n,) the time or the group of each row; None for a random split.
    by
        `random`: of each class by its share, and one row at least; of numbers, evenly over their range. `time`: the
        same of each class, and evenly over the time. `group`: whole groups, as long as they fit, and one at least.
    most
        The most rows that are drawn: as many as there are classes, at least. Where each group has more, the smallest is
        drawn.
    seed
        Of the draw.

    Returns
    -------
    ndarray
        (at most `most`,) positions, ascending; `among` itself where it has no more.
    """
    if len(among) <= most:
        return among
    generator = np.random.default_rng(seed)
    if by == "group":
        return _groups(among, np.asarray(key)[among], most, generator)
    are_numbers = np.issubdtype(y.dtype, np.floating)
    order = y if by == "random" and are_numbers else None if by == "random" else np.asarray(key)
    in_order = among if order is None else among[np.argsort(order[among], kind="stable")]
    codes = np.zeros(len(among), dtype=np.int64) if are_numbers else y[in_order]
    classes, counts = np.unique(codes, return_counts=True)
    shares = _shares(counts, most)
    parts = [_spread(in_order[codes == one], share, generator) for one, share in zip(classes, shares, strict=True)]
    return np.sort(np.concatenate(parts))


def _shares(counts: Array, most: int) -> Array:
    """How many rows of each class are drawn, `most` together: by the method of the largest remainders, 1 at least."""
    shares, remainders = np.divmod(most * counts, counts.sum())
    remainders[shares == 0] = -1  # a class that gets one row for less has had its remainder
    shares = np.maximum(1, shares)
    missing = most - int(shares.sum())
    shares[np.argsort(-remainders, kind="stable")[: max(0, missing)]] += 1
    for _ in range(-missing):  # rare classes have got more than their shares
        shares[np.argmax(shares)] -= 1
    return np.asarray(shares)


def _spread(rows: Array, number: int, generator: np.random.Generator) -> Array:
    """So many of the rows: they are cut into as many stretches of one length, and one is drawn from each."""
    edges = np.arange(number + 1) * len(rows) // number
    return np.asarray(rows[edges[:-1] + generator.integers(np.diff(edges))])


def _groups(among: Array, groups: Array, most: int, generator: np.random.Generator) -> Array:
    _, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = generator.permutation(len(counts))
    order = order[counts[order] <= max(most, counts.min())]  # a larger group has no room in the sample
    taken = order[: max(1, int(np.searchsorted(np.cumsum(counts[order]), most, side="right")))]
    return np.sort(among[np.isin(codes, taken)])
