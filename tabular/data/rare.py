"""Classes of few rows: made one class or left out as the problem says, and what to say where a class has too few."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tabular.data import compact
from tabular.errors import as_yaml
from tabular.sections.base import Label
from tabular.sections.table import Rare, Split

Array: TypeAlias = np.ndarray[Any, Any]
# The shares to hold out that are tried for classes of few rows.
HOLDOUTS = (0.25, 0.3, 0.4, 0.5)
# The most classes whose rows are told one by one.
MOST_TOLD = 8
REGRESSION = (
    "it looks like a number to predict: say task: regression (-P task=regression); or write a column of its classes, "
    "such as low, middle and high, into the table, and name that as the target"
)


@dataclass(frozen=True)
class Grouped:
    """The classes after those of few rows were grouped.

    Attributes
    ----------
    classes
        In order; the class that others were made is the last.
    codes
        (n,) the position of each row's class; -1 where the target is missing or the row is left out.
    said
        Which rows of which classes became what; "" where none did.

    """

    classes: tuple[Label, ...]
    codes: Array
    said: str = ""


def group(classes: Sequence[Label], codes: Array, kept: Array, rare: Rare | None) -> Grouped:
    """Make one class of all with few rows, or leave their rows out.

    Parameters
    ----------
    classes
        The classes in order.
    codes
        (n,) the position of each row's class; -1 where the target is missing.
    kept
        (n,) bool, the rows that count: no repeated ones.
    rare
        What the problem says; None for nothing.

    """
    rows = compact.counts(codes[kept], len(classes))
    few = np.zeros(len(classes), dtype=bool) if rare is None else rows < rare.fewer_than
    if rare is None or not few.any():
        return Grouped(tuple(classes), codes)
    stay: list[Label] = [label for label, is_few in zip(classes, few, strict=True) if not is_few]
    kind = compact.kind(len(classes) + 1)
    place = np.full(len(classes) + 1, -1, dtype=kind)  # its last one is for -1, a target that is missing
    became = "were left out"
    if rare.into is not None:
        became = f"are the class {rare.into!r}"
        if not all(isinstance(label, str) for label in stay):
            stay = [str(label) for label in stay]
            became += ", and the names of all classes are texts"
        stay = [*(label for label in stay if label != rare.into), rare.into]
        place[:-1] = len(stay) - 1
    names = [str(label) if rare.into is not None and not isinstance(label, str) else label for label in classes]
    for code in np.flatnonzero(~few):
        place[code] = stay.index(names[code])
    told = sorted(np.flatnonzero(few).tolist(), key=lambda code: -rows[code])
    each = ", ".join(f"{rows[code]:,} {classes[code]!r}" for code in told[:MOST_TOLD])
    each += f" and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
    those = f"{rows[few].sum():,} rows of {len(told)} class{'es' * (len(told) > 1)}"
    said = f"{those} with fewer than {rare.fewer_than} rows {became}: {each}"
    return Grouped(tuple(stay), place[codes], said)


def least_rows(split: Split, folds: int) -> int:
    """The rows of a class that suffice for the folds and the holdout of a random split; 2 for the other splits."""
    if split.by != "random":
        return 2
    # a side may get a row of a class less than its share
    return int(np.ceil(max((folds + 1) / (1 - split.holdout), 2 / split.holdout)))


def way_out(rows: Array, least: int, *, most: int | None = None) -> str:
    """The values of `data.rare` that make a table usable, as a part of a sentence; "" where none does.

    Parameters
    ----------
    rows
        (classes,) the rows of each class.
    least
        The rows that a class needs.
    most
        The most classes that there may be.

    """
    if most is not None and len(rows) > most:
        least = max(least, int(np.sort(rows)[::-1][most - 1]) + 1)
    few = rows < least
    ways = []
    if not few.all() and rows[few].sum() >= least:
        ways.append(
            f"data.rare: {as_yaml({'fewer_than': least, 'into': 'other'})}, which makes one class of the rarest"
        )
    if (~few).sum() >= 2:
        ways.append(f"data.rare: {as_yaml({'fewer_than': least})}, which leaves their rows out")
    return "say " + ", or ".join(ways) if ways else ""


def other_split(rows: Array, split: Split, folds: int) -> str:
    """Fewer folds, else another share to hold out too, for which all classes have rows enough; "" where none does.

    Parameters
    ----------
    rows
        (classes,) the rows of each class.
    split, folds
        The problem's.

    """
    for share in (split.holdout, *HOLDOUTS):
        for fewer in range(folds, 1, -1):
            if least_rows(split.model_copy(update={"holdout": share}), fewer) <= rows.min():
                changed = [f"search.folds: {fewer}"] if fewer != folds else []
                changed += [f"split.holdout: {share:g}"] if share != split.holdout else []
                return f"say {' and '.join(changed)}" if changed else ""
    return ""


def looks_like_a_number(classes: Sequence[Label], *, fractions: bool) -> bool:
    """Whether all classes are numbers; with `fractions`, whether any of them is no whole one too."""
    numbers = all(isinstance(label, int | float) and not isinstance(label, bool) for label in classes)
    return numbers and (not fractions or any(not float(label).is_integer() for label in classes))
