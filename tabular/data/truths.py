"""The truth of rows that a model was asked about: read from their own table, or found in another one by key columns."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabular.data import datasets, tables, targets
from tabular.data.columns import Expected, Reading
from tabular.data.parts import Place
from tabular.data.tables import Table
from tabular.errors import UserError, listed, nearest
from tabular.problem import Problem
from tabular.sections.base import Label

Array: TypeAlias = np.ndarray[Any, Any]


def scan(place: Place, problem: Problem, looked_at: Iterable[str], like: Reading | None = None) -> Table:
    """A table of which some columns are read as the problem's own table is; all others stay as they are written.

    Parameters
    ----------
    place
        Where it lies.
    problem
        Says how it is read.
    looked_at
        Names of columns; those that the table lacks are passed over.
    like
        How the file was read before: its separator, and whether it has a header. By default it has one.
    """
    wanted = {*looked_at}
    layout = like or with_header(datasets.reading(problem))
    own = datasets.reading(problem)
    strict = Expected("number")  # what is none is told where the truth is looked at
    how = replace(
        own,
        types={name: one for name, one in own.types.items() if (name, one) != (problem.data.target, strict)},
        learnt=True,
        only=wanted,
        needed=tuple(wanted),
        columns=layout.columns,
        separator=layout.separator,
        sheet=layout.sheet,
    )
    return tables.scan(place, how, progress=True)


def with_header(how: Reading) -> Reading:
    """How a table is read that has a header, whatever the problem's own table has; it is no workbook's sheet."""
    return replace(how, columns=None, sheet=None)


def check_columns(table: Table, names: Iterable[str], parameter: str) -> None:
    """Check that a table has columns.

    Raises
    ------
    UserError
        It lacks one; the error names the parameter.
    """
    for name in names:
        if name not in table.schema.names:
            hint = nearest(name, table.schema.names) or f"; it has {listed(table.schema.names)}"
            raise UserError(f"{parameter}: {table.path.name} has no column {name!r}{hint}")


def frame(table: Table, names: Sequence[str]) -> Any:
    """Columns of a table as a pandas frame of all its rows."""
    return pa.Table.from_batches(list(table.batches(names))).to_pandas()


def targets_of(table: Table, problem: Problem, classes: Sequence[Label]) -> tuple[Array, list[str]]:
    """The target of all rows of a table.

    Parameters
    ----------
    table
        A table whose target was looked at.
    problem
        The problem, with its task.
    classes
        The classes that the model tells apart; empty of a number.

    Returns
    -------
    tuple
        (n,) positions in `classes` as `targets.known_codes` gives them, or numbers, NaN where missing; and up to three
        values that are no class of the model.
    """
    name = problem.data.target
    found = np.concatenate([targets.batch(batch[name], problem, table.path.name) for batch in table.batches([name])])
    if not classes:
        return found, []
    codes = targets.known_codes(found, classes, problem.data)
    return codes, [str(label) for label in dict.fromkeys(found[codes == -2].tolist())][:3]


def matched(asked: Table, held: Table, keys: Sequence[str]) -> Array:
    """For each row of a table, the row of another one that has the same keys.

    Keys are compared as texts, so that 7 of a Parquet file is 7 of a CSV, and 7.0 as well.

    Returns
    -------
    ndarray
        (n,) positions in `held`; -1 where it has no such row, or a key is missing.

    Raises
    ------
    UserError
        Two rows of `held` have the same keys.
    """
    here, there = _keys(asked, keys), _keys(held, keys)
    known = there.dropna()
    twice = known[known.duplicated()]
    if len(twice):
        shown = ", ".join(f"{name} {value!r}" for name, value in twice.iloc[0].items())
        raise UserError(f"keys: {held.path.name} has two rows of {shown}: name columns that tell all its rows apart")
    found = here.merge(known.assign(**{_ROW: known.index}), how="left", on=list(keys))
    return np.asarray(found[_ROW].fillna(-1).to_numpy(), dtype=np.int64)


# A name that no column of a table can have.
_ROW = "\0row"


def _keys(table: Table, keys: Sequence[str]) -> Any:
    """The keys of all rows as texts, in a pandas frame."""
    import pandas as pd

    parts: dict[str, list[pa.Array]] = {name: [] for name in keys}
    for batch in table.batches(keys):
        for name in keys:
            parts[name].append(_texts(batch[name]))
    return pd.DataFrame({name: pa.chunked_array(of, pa.string()).to_pandas() for name, of in parts.items()})


def _texts(values: pa.Array) -> pa.Array:
    """Values as texts, of which 7.0 is 7, as whole numbers are written beside missing ones, and a day has no time."""
    texts = pc.utf8_trim_whitespace(values.cast(pa.string()))
    texts = pc.replace_substring_regex(texts, r"^(-?\d+)\.0+$", r"\1")
    return pc.replace_substring_regex(texts, r"^(\d{4}-\d\d-\d\d)[ T]00:00(:00(\.0+)?)?Z?$", r"\1")
