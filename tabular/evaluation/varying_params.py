"""The parameters in which runs differ, as the columns of the comparison table."""

import math
import re
from collections.abc import Mapping, Sequence

Value = int | float | str | None

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
# Whole numbers with more digits than a float holds exactly are taken for names, such as ids.
MOST_DIGITS = 15


def differing(params: Sequence[Mapping[str, object]], models: Sequence[str]) -> dict[str, list[Value]]:
    """Find the parameters in which runs differ.

    A parameter that some runs lack is included only if two runs of the same model differ in it: in its value, or since
    one of them lacks it. A difference between models alone, such as a forest without a learning rate, is left out.

    Parameters
    ----------
    params : sequence of mapping of name to value
        The parameters of each run.
    models : sequence of str
        The model of each run.

    Returns
    -------
    dict of name to list
        The parameter's value in each run, or None; all values are numbers if all of them can be read as numbers, else
        texts. Parameters that most runs have come first; of these, parameters with the most different values.

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
    """Read a text as a finite number; None if it is not one, or is a whole number of more than `MOST_DIGITS`."""
    if not NUMBER.fullmatch(text):
        return None
    if text.lstrip("+-").isdigit():
        return int(text) if len(text) <= MOST_DIGITS else None
    found = float(text)
    return found if math.isfinite(found) else None
