"""The profile of a data set's columns, computed batch by batch, and what is to be looked at in them."""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa

from tabular.data import evidence, hints
from tabular.data.columns import WEIGHT, Note
from tabular.data.counts import ColumnCounts
from tabular.data.evidence import Array, Evidence
from tabular.data.hints import Hint, Looked
from tabular.data.narrowing import shown
from tabular.sections.base import Label


class Profile:
    """Counts, minimum, maximum, mean and commonest value of each column, over training and holdout rows together.

    Where `more_values` is true, `values` is a lower bound, and `commonest` is the commonest of the counted values.
    `read_as_missing`, `trimmed` and `unfit` count cells of all rows of the file. `looks_like` are the kinds of the
    hints at a column, and `tells_target` is how well it alone tells the target, in a sample of the training rows.
    The column of the rows' weights is the last, of the type `weight`.

    Parameters
    ----------
    schema : tabular.data.datasets.Schema
        Of the data set.
    notes : mapping of str to Note
        What became of the cells of the file's columns, the target's too.
    said : collection of str
        The words that the problem itself says mean missing.
    parts : sequence of str, optional
        The names of the parts of a number to predict; by default the schema's classes.

    """

    HEADER = (
        "column",
        "type",
        "rows",
        "missing",
        "missing_share",
        "values",
        "more_values",
        "min",
        "max",
        "mean",
        "commonest",
        "share",
        "read_as_missing",
        "trimmed",
        "unfit",
        "looks_like",
        "tells_target",
    )

    def __init__(
        self,
        schema: Any,
        notes: Mapping[str, Note] | None = None,
        said: Collection[str] = (),
        parts: Sequence[Label] | None = None,
    ) -> None:
        self._schema, self._parts = schema, schema.classes if parts is None else parts
        self._columns = [ColumnCounts(column.name, column.dtype) for column in schema.columns]
        self._weight = None if schema.weight is None else ColumnCounts(schema.weight, "double")
        self._notes, self._said = notes or {}, said
        self._evidence: Mapping[str, Evidence] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch, which has the columns of the schema by name, and the rows' weights."""
        for column in self._columns:
            column.add(batch[column.name])
        if self._weight is not None:
            self._weight.add(batch[WEIGHT])

    def look_at(self, sample: pa.Table, codes: Array, numbers: Array | None = None) -> None:
        """Look at a sample of the training rows, as `evidence.sampled` draws it, once all rows are added.

        Parameters
        ----------
        sample
            The rows, with the columns of the schema by name.
        codes
            (n,) positions of their classes, or of the parts of their numbers.
        numbers
            (n,) their numbers, where these are to be predicted.

        """
        rows = self._columns[0].rows if self._columns else 0
        self._evidence = evidence.look(self._schema.columns, sample, codes, rows, numbers)

    def table(self) -> dict[str, list[Any]]:
        """The profile as a table with one row for each column of the data: name of `HEADER`: values."""
        rows = [[*column.row(), *self._of_cells(column.name), *self._of_hints(column.name)] for column in self._columns]
        if self._weight is not None:
            name, _, *others = self._weight.row()
            rows.append([name, "weight", *others, *self._of_cells(name), *self._of_hints(name)])
        return {name: [row[place] for row in rows] for place, name in enumerate(self.HEADER)}

    def _of_cells(self, name: str) -> list[Any]:
        note = self._notes.get(name, Note())
        unfit = f"{note.unfit:,}: {shown(note.examples, note.unfit)}" if note.unfit else None
        return [counted(note.missing) or None, note.trimmed, unfit]

    def _of_hints(self, name: str) -> list[Any]:
        score = self._evidence.get(name, evidence.NONE).score
        return [", ".join(self._kinds.get(name, [])) or None, None if score is None else round(score, 4)]

    @cached_property
    def _kinds(self) -> dict[str, list[str]]:
        """Column: the kinds of the hints at it."""
        found: dict[str, list[str]] = {}
        for hint in self._hints:
            for name in hint.columns:
                found.setdefault(name, []).append(hint.kind)
        return found

    def hints(self) -> tuple[Hint, ...]:
        """What a person should look at before trusting a model, the gravest first; once all rows are added."""
        return self._hints

    @cached_property
    def _hints(self) -> tuple[Hint, ...]:
        return hints.find(Looked(self._schema, self._columns, self._notes, self._evidence, self._said, self._parts))


def counted(missing: Mapping[str, int]) -> str:
    """Cells that were read as missing, by word, the commonest first: `100 'none', 3 empty`."""
    common = sorted(missing.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{cells:,} {repr(word) if word else 'empty'}" for word, cells in common)
