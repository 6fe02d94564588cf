"""In what several runs differ: their parameters as the columns of a table, without those that tell nothing."""

import math
import re
from collections.abc import Mapping, Sequence

Value = int | float | str | None

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
# Whole numbers of more digits than a float holds exactly are names of something.
MOST_DIGITS = 15


def differing(params: Sequence[Mapping[str, object]], models: Sequence[str]) -> dict[str, list[Value]]:
    """The parameters in which runs differ.

    A parameter that some runs lack counts only where two runs of one model differ in it, by having it or in its value:
    that a forest has no learning rate is told by its being a forest.

    Parameters
    ----------
    params : sequence of mapping of name to value
        Those of each run.
    models : sequence of str
        What each run is a model of.

    Returns
    -------
    dict of name to list
        The value of each run, None where it has none; numbers where all that there are can be read as numbers, else
        texts. First those that most runs have, of these first those with the most different values.

    """
    names = dict.fromkeys(name for own in params for name in own)
    columns = {name: _column([own.get(name) for own in params]) for name in names}
    found = {name: column for name, column in columns.items() if _tells(column, models)}
    return dict(sorted(found.items(), key=lambda item: (item[1].count(None), -len(set(item[1])))))


def _tells(column: Sequence[Value], models: Sequence[str]) -> bool:
    if None not in column:
        return len(set(column)) > 1
    return len(set(zip(models, column, strict=True))) > len(set(models))


def _column(values: Sequence[object]) -> list[Value]:
    texts = [None if value is None else str(value) for value in values]
    numbers = [None if text is None else number(text) for text in texts]
    is_numeric = all(text is None or found is not None for text, found in zip(texts, numbers, strict=True))
    return list(numbers if is_numeric else texts)


def number(text: str) -> int | float | None:
    """The finite number that a text is, or None."""
    if not NUMBER.fullmatch(text):
        return None
    if text.lstrip("+-").isdigit():
        return int(text) if len(text) <= MOST_DIGITS else None
    found = float(text)
    return found if math.isfinite(found) else None
