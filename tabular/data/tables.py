"""Tables of any size as Arrow streams: one pass over a file finds its types, every later pass yields typed batches.

A file may be larger than the memory: during a pass only a few words for each column are kept.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from tabular.data import parts, text, typed
from tabular.data.batches import regrouped
from tabular.data.columns import AS_USUAL, FLOAT, INT, MEANT, STRING, Note, Reading, joined
from tabular.data.files import content
from tabular.data.narrowing import narrowest
from tabular.data.parts import Parts, Place
from tabular.data.readers import Readers
from tabular.data.spills import Spill
from tabular.errors import UserError, first_line, listed, nearest


@dataclass(frozen=True)
class Table:
    """A table whose columns, types and length are known; its rows stay in its file, or in its parts.

    Attributes
    ----------
    path : Path or Parts
        Where it lies.
    schema : pa.Schema
        Columns in the file's order; each type one of int64, float64, string, bool and timestamp("us"). Columns that
        nobody looked at (those of `Reading.dropped`, and in `scan_for` all that were not asked for) are strings in a
        text file, and keep their types in a file that has types.
    rows : int
    reading : Reading
        How the file is read, with the separator that was found.
    notes : mapping of str to Note
        Column: what became of its cells, for each column that was looked at.
    of_paths : mapping of str to pa.Array
        The columns that stand in the paths of parts, with a value for each part; they come last.
    spill : Spill, optional
        Where the blocks of the table are kept, from which its rows are read then.
    form : str
        What its files hold, as `files.content` names it.

    """

    path: Place
    schema: pa.Schema
    rows: int
    reading: Reading = AS_USUAL
    notes: Mapping[str, Note] = field(default_factory=dict)
    of_paths: Mapping[str, pa.Array] = field(default_factory=dict)
    spill: Spill | None = None
    form: str = "text"

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Stream the rows, from the start at every call, in batches of at most `columns.BATCH_ROWS` rows.

        Parameters
        ----------
        columns : sequence of str, optional
            The columns to read, which come in the file's order; all by default.

        Raises
        ------
        UserError
            When a column is not in the table, or the file has changed since it was scanned.

        """
        wanted = self.schema if columns is None else self._selected(columns)
        yield from regrouped(self._blocks(wanted, coded=False), len(wanted))

    def coded(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """As `batches`, in blocks as they come, and columns of a text table as dictionaries of their values.

        What is to be known of each value, such as a hash of it, is then found once a value and not once a row.
        """
        return self._blocks(self.schema if columns is None else self._selected(columns), coded=True)

    def found_out(self, asked: Reading) -> list[str]:
        """What was found out about how the file is read, beside what was asked: its sheet, an unusual separator."""
        said = [] if self.reading.sheet is None else [f"read the sheet {self.reading.sheet!r}"]
        if asked.separator is None and self.reading.separator not in (None, ","):
            said.append(f"read with {self.reading.separator!r} between the columns")
        return said

    def _blocks(self, wanted: pa.Schema, *, coded: bool) -> Iterator[pa.RecordBatch]:
        """Stream the columns of a schema from all files."""
        try:
            for place, file in enumerate(parts.files(self.path)):
                yield from self._of_file(place, file, wanted, coded=coded)
        except pa.ArrowInvalid as error:
            raise UserError(
                f"{self.path}: changed while it was being read; start again ({first_line(error)})"
            ) from error

    def _of_file(self, place: int, file: Path, wanted: pa.Schema, *, coded: bool) -> Iterator[pa.RecordBatch]:
        """Stream the columns of a schema from one file, the columns of its path among them."""
        held = pa.schema([column for column in self.schema if column.name not in self.of_paths])
        read = pa.schema([column for column in wanted if column.name not in self.of_paths])
        if not read.names:  # only how many rows there are is asked
            read = pa.schema([next((one for one in held if self.reading.looks_at(one.name)), held.field(0))])
        form, spilled = typed.FORMS.get(self.form), self._spilled(place, read.names)
        if form is not None:
            blocks = typed.batches(form, file, read, self.reading, spilled)
        else:
            blocks = text.batches(file, held.names, read, self.reading, spilled, coded=coded)
        if not self.of_paths:
            yield from blocks
            return
        for block in blocks:
            columns = [
                pa.repeat(self.of_paths[name][place], len(block)) if name in self.of_paths else block[name]
                for name in wanted.names
            ]
            yield pa.record_batch(columns, names=wanted.names)

    def _spilled(self, place: int, names: Sequence[str]) -> Path | None:
        """The file with the blocks of the file at a place, where they have the columns of these names."""
        spill = self.spill
        if spill is None or not (spill.alone or all(spill.holds(name, self.reading) for name in names)):
            return None
        return spill.path(place)

    def _selected(self, columns: Sequence[str]) -> pa.Schema:
        known, asked = set(self.schema.names), set(columns)
        for name in columns:
            if name not in known:
                hint = nearest(name, self.schema.names) or f"; it has {listed(self.schema.names)}"
                raise UserError(f"{self.path}: no column {name!r}{hint}")
        return pa.schema([column for column in self.schema if column.name in asked])


def scan(
    path: Place,
    reading: Reading = AS_USUAL,
    *,
    progress: bool = False,
    block_bytes: int = text.BLOCK_BYTES,
    spill: Spill | None = None,
    readers: Readers | None = None,
) -> Table:
    """Read a table once, in bounded memory, to find its columns, their types over all rows, and its length.

    Text and JSON lines may be plain or compressed by gzip, bzip2, xz or zip (with one table in it). They, Parquet, ORC,
    Feather and workbooks are told apart by their content.

    Parameters
    ----------
    path : Path or Parts
        The file, or the files that make up the table: all of one form, with the same columns.
    reading : Reading
        How the file is to be read, as far as it is known.
    progress : bool
        Whether a scan of more than half a second draws a progress bar on stderr.
    block_bytes : int
        Bytes of text that are parsed at a time.
    spill : Spill, optional
        Where a text table is kept as it was parsed, for the passes over it to come. The caller removes the folder.
    readers : Readers, optional
        Who looks at the parts of the table elsewhere. They need a spill, `alone`, in which the rows are kept.

    Returns
    -------
    Table
        With at least one row and at least one column, each of which has a value.

    Raises
    ------
    UserError
        When the file is not a table that can be learnt from: absent, empty, binary, damaged, in another encoding, with
        rows of uneven length, unnamed or repeated columns, columns without values, infinities, or nested values. When
        parts differ in form, columns or types; the error names two files and the first difference.

    """
    files, where = parts.files(path), parts.folder(path)
    name = _common_form(files, readers)
    form = typed.FORMS.get(name)
    if reading.sheet is not None and not (form is not None and form.takes_names):
        raise UserError(f"data.sheet: {where.name} is no workbook with sheets: leave it out")
    if form is not None:
        found = typed.scan(form, where, reading, progress, files, spill, readers)
    else:
        found = text.scan(where, reading, progress, block_bytes, files, spill, readers)
    is_kept = form is None or readers is not None
    table = Table(path, *found, spill=spill if is_kept else None, form=name)
    of_paths = {name: narrowest(texts, name, reading, where) for name, texts in _of_paths(table).items()}
    return _with_paths(table, of_paths)


def scan_for(
    path: Place,
    wanted: pa.Schema,
    reading: Reading = AS_USUAL,
    *,
    progress: bool = False,
    block_bytes: int = text.BLOCK_BYTES,
) -> Table:
    """Read a file once, in bounded memory, to check that it holds the wanted columns, and only values of their types.

    Unlike in `scan`, the types are known beforehand, so that a column may have no values, and the table no rows.

    Parameters
    ----------
    path, progress, block_bytes
        As for `scan`.
    wanted : pa.Schema
        Columns by name, in any order, each type one of float64, string, bool and timestamp("us"). The file may hold
        more.
    reading : Reading
        How the file is to be read. Its `columns` are used only for a text file whose first line has no wanted name.

    Returns
    -------
    Table
        The table with all columns of the file. In a float64 column, whole numbers beyond 2**53 are rounded.

    Raises
    ------
    UserError
        Where columns are missing (the error lists them), a column holds an infinite value or one of another type (the
        error names the row, counted from 1 below the header), or the file cannot be read.

    """
    files = parts.files(path)
    name = _common_form(files)
    form = typed.FORMS.get(name)
    if form is None or not form.takes_names:  # a sheet is one of the table that the model has learnt from
        reading = replace(reading, sheet=None)

    def scanned(file: Path, wanted: pa.Schema, reading: Reading) -> Table:
        if form is not None:
            return Table(file, *typed.scan_for(form, file, wanted, reading, progress), form=name)
        return Table(file, *text.scan_for(file, wanted, reading, progress, block_bytes))

    if not isinstance(path, Parts):
        return scanned(path, wanted, reading)
    first = scanned(files[0], _without(wanted, parts.partition_columns(path)), reading)
    in_paths = _of_paths(replace(first, path=path))
    # all parts are read as the first one is: with its separator, and with a header or without
    found = [scanned(file, _without(wanted, in_paths), first.reading) for file in files]
    rows, notes = sum(one.rows for one in found), _common_notes(found)
    table = replace(found[0], path=path, rows=rows, schema=_common_schema(found), notes=notes)
    given = {name: wanted.field(name).type if name in wanted.names else STRING for name in in_paths}
    return _with_paths(table, {name: _as(path, name, texts, given[name]) for name, texts in in_paths.items()})


def _common_form(files: Sequence[Path], readers: Readers | None = None) -> str:
    """The form of all parts, as `files.content` names it; text and JSON lines may be compressed."""
    found = list((map if readers is None else readers.each)(content, files))
    if len(set(found)) > 1:
        other = next(place for place, name in enumerate(found) if name != found[0])
        raise UserError(
            f"{files[other]}: is {found[other]}, and {files[0]} is {found[0]}: name parts of one form by a glob, such "
            f"as {files[0].parent}/*{files[0].suffix}"
        )
    return found[0]


def _common_notes(found: Sequence[Table]) -> Mapping[str, Note]:
    return {name: joined([one.notes[name] for one in found if name in one.notes]) for name in found[0].notes}


def _common_schema(found: Sequence[Table]) -> pa.Schema:
    """The columns of all parts, as the first one has them."""
    first = found[0]
    for other in found[1:]:
        names = first.schema.names
        parts.check_same_names(
            parts.folder(first.path), names, parts.folder(other.path), other.schema.names, ordered=False
        )
        for name in names:
            one, two = first.schema.field(name).type, other.schema.field(name).type
            if one != two:
                raise UserError(
                    f"{other.path}: column {name!r} is of type {two}, and of {one} in {first.path}: write both with "
                    "one type, or name parts that have one by a glob"
                )
    return first.schema


def _of_paths(table: Table) -> Mapping[str, list[str | None]]:
    """The columns that stand in the paths of a table's parts and not in the parts, whose own columns go before them."""
    if not isinstance(table.path, Parts):
        return {}
    found = parts.partition_columns(table.path)
    return {name: texts for name, texts in found.items() if name not in table.schema.names}


def _with_paths(table: Table, of_paths: Mapping[str, pa.Array]) -> Table:
    fields = [pa.field(name, values.type) for name, values in of_paths.items()]
    return replace(table, schema=pa.schema([*table.schema, *fields]), of_paths=of_paths)


def _without(schema: pa.Schema, names: Collection[str]) -> pa.Schema:
    return pa.schema([column for column in schema if column.name not in names])


def _as(path: Parts, name: str, texts: Sequence[str | None], kind: pa.DataType) -> pa.Array:
    """The texts of a column in paths as values of a type that is known beforehand."""
    if kind == STRING or not any(texts):
        return pa.array(texts, STRING).cast(kind)
    values = narrowest(texts, name, AS_USUAL, path.root)
    if values.type != kind and (values.type, kind) != (INT, FLOAT):
        example = next(filter(None, texts))
        raise UserError(f"{path}: the column {name!r} of its paths holds texts such as {example!r}, not {MEANT[kind]}")
    return values.cast(kind)
