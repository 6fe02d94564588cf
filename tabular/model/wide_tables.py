"""Wide tables: what models do less of where a table has so many rows and columns that a fit would take many minutes.

A model says it in `wide`. Whether a table is wide depends on the table alone, and not on the machine.
"""

from collections.abc import Mapping
from typing import Any

from tabular.model.boosting import aliases
from tabular.sections.models import Model, Range

# A table is wide if its training rows have at least so many columns and so many cells (rows x columns): the memory of a
# tree in the making grows with the columns, its time with the cells.
FEWEST_COLUMNS = 500
FEWEST_CELLS = 10_000_000
# How many columns of numbers of a wide table are encoded together: scikit-learn copies them several times meanwhile.
COLUMNS_AT_ONCE = 500


def is_wide(rows: int, columns: int) -> bool:
    """Whether training rows of this many columns are a wide table."""
    return columns >= FEWEST_COLUMNS and rows * columns >= FEWEST_CELLS


def on_wide(model: Model) -> Model:
    """The model as it is fitted and searched on a wide table.

    Parameters
    ----------
    model
        The model of the problem, with `wide`: a hyperparameter of it that is searched is searched up to that value;
        any other has that value.

    Returns
    -------
    Model
        Its `wide` holds what applies: a parameter that the problem gives by another name stays as it is given.
    """
    wide = {name: value for name, value in model.wide.items() if not _has_other_name(model, name)}
    space = {
        name: dimension.model_copy(update={"high": bounded({name: dimension.high}, wide)[name]})
        if name in wide and isinstance(dimension, Range)
        else dimension
        for name, dimension in model.space.items()
    }
    fixed = {name: value for name, value in wide.items() if name not in space}
    start = [bounded(point, wide) for point in model.start]
    made = {"params": {**model.params, **fixed}, "space": space, "start": start, "wide": wide}
    return model.model_copy(update=made)


def _has_other_name(model: Model, name: str) -> bool:
    others = aliases(name) - {name} if model.estimator.startswith("lightgbm.") else frozenset()
    return bool(others & {*model.params, *model.space})


def bounded(point: Mapping[str, Any], most: Mapping[str, Any]) -> dict[str, Any]:
    """A point of a search with its numbers brought down to the most that is searched."""
    return {
        name: min(value, most[name]) if name in most and _is_number(value) else value for name, value in point.items()
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
