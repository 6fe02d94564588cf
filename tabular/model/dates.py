"""What is made of dates for a model: parts of each, and the days between two of a row."""

from collections.abc import Sequence
from typing import Any

from tabular.data.datasets import Column

# What is learnt of a date where the problem does not say.
USUAL = ("days",)
# The word for the days between each two dates of a row, among the parts of a date.
DIFFERENCES = "differences"


def numbers(columns: Sequence[Column], parts: Sequence[str] | None) -> list[str]:
    """The columns of numbers that a model learns from: those of the data set, what is made of a date in its place.

    The days between two dates come last.
    """
    names: list[str] = []
    for column in columns:
        if column.dtype == "datetime":
            names += [column.name if part == "days" else f"{column.name}: {part}" for part in _of_one(parts)]
        elif column.kind == "number":
            names.append(column.name)
    return [*names, *(one["name"] for one in made(columns, parts) if "since" in one)]


def made(columns: Sequence[Column], parts: Sequence[str] | None) -> list[dict[str, Any]]:
    """The columns that are made of dates, as `steps.model.served.Dates` takes them.

    Returns
    -------
    list of dict
        `name`, the column `of` which it is made, and its `part`, or the column of dates `since` which its days count.
        The days since 1970 are no made column: features have them for the date.
    """
    dates = [column.name for column in columns if column.dtype == "datetime"]
    found = [
        {"name": f"{name}: {part}", "of": name, "part": part}
        for name in dates
        for part in _of_one(parts)
        if part != "days"
    ]
    if DIFFERENCES in (parts or USUAL):
        pairs = [(earlier, later) for place, later in enumerate(dates) for earlier in dates[:place]]
        found += [{"name": f"{later} - {earlier}", "of": later, "since": earlier} for earlier, later in pairs]
    return found


def _of_one(parts: Sequence[str] | None) -> list[str]:
    return [part for part in dict.fromkeys(parts or USUAL) if part != DIFFERENCES]
