"""Tables of any size as Arrow streams: one pass over a file finds its types, every later pass yields typed batches.

A text column starts as everything that it may be and is narrowed block by block, so that a value in the last line
counts as much as one in the first. What is kept meanwhile is a few words a column: a file may outgrow the memory.
"""

import codecs
import csv
import io
import re
import zipfile
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow as pa

from tabular.errors import UserError, first_line, listed, nearest

BATCH_ROWS = 65_536
BATCH_BYTES = 256 << 20  # a very wide table yields fewer rows at a time
BLOCK_BYTES = 4 << 20  # of text parsed at a time
ROW_CHARACTERS = 16 << 20  # of the longest row; beyond it, a quote was left open
PARQUET_BYTES = 1 << 20  # of a column read ahead; Arrow would keep all that it has read until the file is closed
PEEK_BYTES = 4 << 20  # of text in which the header and the separator are found
PEEK_ROWS = 200

USUAL_MISSING = (
    *("", "NA", "N/A", "n/a", "<NA>", "#N/A", "#N/A N/A", "#NA", "NULL", "null", "Null", "None", "none"),
    *("NaN", "nan", "NAN", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)
SEPARATORS = ",;\t|"
TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".data")

BOOL, INT, FLOAT, MOMENT, STRING = pa.bool_(), pa.int64(), pa.float64(), pa.timestamp("us"), pa.string()
# What a text must look like to be of a type, from the narrowest type on. A leading zero marks a code ("007").
PATTERNS = {
    BOOL: r"^(true|True|TRUE|false|False|FALSE)$",
    INT: r"^[+-]?(0|[1-9][0-9]*)$",
    FLOAT: r"(?i)^[+-]?(((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?|inf|infinity)$",
    MOMENT: r"^\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?)?$",
}
# What a value of a column should have been, for an error.
MEANT = {BOOL: "true or false", INT: "a whole number", FLOAT: "a number", MOMENT: "a date such as 2021-03-04"}
ZONE = r":.*(Z|[+-]\d\d(:?\d\d)?)$"  # after a colon, or the day of a bare date would pass for one

MAGIC = {
    "parquet": rb"PAR1(?![\s -~])",  # a CSV may begin with a column of that name
    "zip": rb"PK(\x03\x04|\x05\x06)",
    "gzip": rb"\x1f\x8b",
    "bz2": rb"BZh[1-9]1AY&SY",
    "xz": rb"\xfd7zXZ\x00",
}
SUFFIXES = {".parquet": "Parquet", ".zip": "zip", ".gz": "gzip", ".bz2": "bzip2", ".xz": "xz"}
BINARY = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"%PDF-", b"\xd0\xcf\x11\xe0", b"PK\x03\x04", b"\x1f\x8b")


@dataclass(frozen=True)
class Reading:
    """How a file is to be read.

    Attributes
    ----------
    columns : tuple of str, optional
        Names for a text file that has no header line.
    missing : tuple of str
        Texts that mean "missing" besides `USUAL_MISSING`, compared without the blanks around them.
    separator : str, optional
        The one character between fields; found out when None.
    encoding : str
        A name that Python's `codecs` knows.

    """

    columns: tuple[str, ...] | None = None
    missing: tuple[str, ...] = ()
    separator: str | None = None
    encoding: str = "utf-8"


AS_USUAL = Reading()


@dataclass(frozen=True)
class Table:
    """A file whose columns, types and length are known; its rows stay in the file.

    Attributes
    ----------
    path : Path
    schema : pa.Schema
        In the file's order; each type one of int64, float64, string, bool and timestamp("us"). Of a table that was
        scanned for some columns (`scan_for`), the others are text in a text file, and what they are in Parquet.
    rows : int
    reading : Reading
        As asked for, with the separator that was found.

    """

    path: Path
    schema: pa.Schema
    rows: int
    reading: Reading = AS_USUAL

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Stream the rows, from the start at every call, in batches of at most `BATCH_ROWS` rows.

        Parameters
        ----------
        columns : sequence of str, optional
            The columns wanted, which come in the file's order; all by default.

        Raises
        ------
        UserError
            When a column is not in the table, or the file is no longer what it was when it was scanned.

        """
        wanted = self.schema if columns is None else self._selected(columns)
        if _form(self.path) == "parquet":
            typed = _parquet_batches(self.path, wanted, self.reading)
        else:
            typed = _text_batches(self.path, self.schema.names, wanted, self.reading)
        try:
            yield from _regrouped(typed)
        except pa.ArrowInvalid as error:
            raise UserError(
                f"{self.path}: changed while it was being read; start again ({first_line(error)})"
            ) from error

    def _selected(self, columns: Sequence[str]) -> pa.Schema:
        for name in columns:
            if name not in self.schema.names:
                hint = nearest(name, self.schema.names) or f"; it has {listed(self.schema.names)}"
                raise UserError(f"{self.path}: no column {name!r}{hint}")
        return pa.schema([column for column in self.schema if column.name in set(columns)])


def scan(
    path: Path,
    reading: Reading = AS_USUAL,
    *,
    progress: bool = False,
    block_bytes: int = BLOCK_BYTES,
) -> Table:
    """Read a file once, in bounded memory, to find its columns, their types over all rows, and its length.

    Text may be plain or packed by gzip, bzip2, xz or zip (with one table in it). Parquet is known by its first bytes.

    Parameters
    ----------
    path : Path
        The file.
    reading : Reading
        What is known of it beforehand.
    progress : bool
        Whether a scan that lasts draws a bar on stderr.
    block_bytes : int
        Bytes of text that are parsed at a time.

    Returns
    -------
    Table
        With at least one row and at least one column, each of which has a value.

    Raises
    ------
    UserError
        When the file is not a table that can be learnt from: absent, empty, binary, damaged, in another encoding, with
        rows of uneven length, unnamed or repeated columns, columns without values, infinities, or nested values.

    """
    if _form(path) == "parquet":
        return _scan_parquet(path, reading, progress)
    return _scan_text(path, reading, progress, block_bytes)


def scan_for(
    path: Path,
    wanted: pa.Schema,
    reading: Reading = AS_USUAL,
    *,
    progress: bool = False,
    block_bytes: int = BLOCK_BYTES,
) -> Table:
    """Read a file once, in bounded memory, to check that it holds these columns, and only values of their types.

    As `scan`, but what the columns are is known beforehand: a column may have no values, and the table no rows.

    Parameters
    ----------
    path, progress, block_bytes
        As `scan` takes them.
    wanted : pa.Schema
        Columns by name, in any order, each type one of float64, string, bool and timestamp("us"). The file may hold
        more.
    reading : Reading
        Its `columns` name those of a text file whose first line has none of the names that are wanted.

    Returns
    -------
    Table
        Of all columns of the file. Whole numbers of a float64 column beyond 2**53 are rounded.

    Raises
    ------
    UserError
        Where a column is lacking (all that are in one line), or holds a value that is not of its type or infinite (its
        row, counted from 1 below the header), or the file cannot be read.

    """
    if _form(path) == "parquet":
        return _scan_parquet_for(path, wanted, reading, progress)
    return _scan_text_for(path, wanted, reading, progress, block_bytes)


# --- text -----------------------------------------------------------------------------------------------------------


@dataclass
class _Narrowing:
    """What a text column may still be, after the blocks seen so far."""

    name: str
    kinds: list[pa.DataType] = field(default_factory=lambda: list(PATTERNS))
    seen: bool = False
    infinite: str | None = None

    def see(self, text: pa.Array) -> None:
        """Narrow the candidates by a block, whose missing values are null."""
        if text.null_count == len(text):
            return
        self.seen = True
        if not self.kinds:
            return
        import pyarrow.compute as pc

        text = pc.ascii_trim_whitespace(text)
        kept: list[pa.DataType] = []
        for kind in self.kinds:
            # Whatever is an integer is a float as well, and a check is not free.
            if (kind == FLOAT and INT in kept) or _parsed(text, kind) is not None:
                kept.append(kind)
        self.kinds = kept
        if kept[:1] == [FLOAT] and self.infinite is None:
            infinite = text.filter(pc.is_inf(_parsed(text, FLOAT)))
            self.infinite = infinite[0].as_py() if len(infinite) else None

    def type(self, path: Path) -> pa.DataType:
        """Return the narrowest type that holds all values."""
        if not self.seen:
            raise _no_values(path, self.name)
        kind = self.kinds[0] if self.kinds else STRING
        # Only now: among words, "inf" is a word.
        if kind == FLOAT and self.infinite is not None:
            raise _infinity(path, self.name, self.infinite)
        return kind


def _scan_text(path: Path, reading: Reading, progress: bool, block_bytes: int) -> Table:
    reading, names = _layout(path, reading)
    columns = [_Narrowing(name) for name in names]
    rows = 0
    for block in _text_blocks(path, reading, len(names), progress=progress, block_bytes=block_bytes):
        rows += len(block)
        for column, text in zip(columns, block.columns, strict=True):
            column.see(text)
    if rows == 0:
        raise UserError(f"{path}: has a header and no rows")
    schema = pa.schema([(column.name, column.type(path)) for column in columns])
    return Table(path, schema, rows, reading)


def _scan_text_for(path: Path, wanted: pa.Schema, reading: Reading, progress: bool, block_bytes: int) -> Table:
    reading, names = _layout_for(path, wanted, reading)
    _check_present(path, wanted, names)
    types = dict(zip(wanted.names, wanted.types, strict=True))
    positions = [names.index(name) for name in wanted.names]
    rows = 0
    for block in _text_blocks(path, reading, len(names), positions, progress=progress, block_bytes=block_bytes):
        for (name, kind), text in zip(types.items(), block.columns, strict=True):
            if kind != STRING:
                _check_texts(path, name, kind, text, rows)
        rows += len(block)
    return Table(path, pa.schema([(name, types.get(name, STRING)) for name in names]), rows, reading)


def _layout_for(path: Path, wanted: pa.Schema, reading: Reading) -> tuple[Reading, list[str]]:
    """As `_layout`, of a file that may have a header, though the one that `reading` is about has none."""
    if reading.columns is not None:
        with suppress(UserError):  # a first row makes no good header
            found, names = _layout(path, replace(reading, columns=None))
            if set(names) & set(wanted.names):
                return found, names
    return _layout(path, reading)


def _check_texts(path: Path, name: str, kind: pa.DataType, text: pa.Array, before: int) -> None:
    """Refuse the first text that is not of a type; `before` rows of the file come before these."""
    import pyarrow.compute as pc

    if text.null_count == len(text):
        return
    trimmed = pc.ascii_trim_whitespace(text)
    values = _parsed(trimmed, kind)
    if values is None:
        place = _first_wrong(trimmed, kind)
        raise _wrong(path, name, before + place, text[place], MEANT[kind])
    if kind == FLOAT:
        _check_finite(path, name, values, before)


def _first_wrong(text: pa.Array, kind: pa.DataType) -> int:
    """The position of the first text that is not of a type, of texts among which there is one."""

    def holds_until(place: int) -> bool:
        part = text.slice(0, place + 1)
        return part.null_count == len(part) or _parsed(part, kind) is not None

    return bisect_left(range(len(text)), True, key=lambda place: not holds_until(place))


def _text_batches(path: Path, names: list[str], wanted: pa.Schema, reading: Reading) -> Iterator[pa.RecordBatch]:
    positions = [names.index(name) for name in wanted.names]
    for block in _text_blocks(path, reading, len(names), positions):
        yield pa.record_batch([_typed(*pair) for pair in zip(block.columns, wanted.types, strict=True)], schema=wanted)


def _text_blocks(
    path: Path,
    reading: Reading,
    width: int,
    positions: Sequence[int] | None = None,
    *,
    progress: bool = False,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[pa.RecordBatch]:
    """Stream a text file as blocks of strings, in which what means "missing" is null; columns are named by position."""
    import pyarrow.compute as pc

    missing = pa.array({*USUAL_MISSING, *(text.strip() for text in reading.missing)}, STRING)
    header = int(reading.columns is None)
    rest = ""  # the beginning of a row whose end is yet to come
    with _opened_text(path, reading.encoding, progress) as stream:
        for piece in chain(stream.pieces(block_bytes), ["\n"]):
            block, broken, rest = _parse(rest + piece, reading.separator, width, positions)
            if broken:
                raise _uneven_row(path, reading, width, broken[0])
            if len(rest) > ROW_CHARACTERS:
                break
            block, header = block.slice(header), header - min(header, len(block))
            columns = [
                pc.if_else(pc.is_in(pc.ascii_trim_whitespace(text), value_set=missing), None, text)
                for text in block.columns
            ]
            if len(block):
                yield pa.record_batch(columns, names=block.schema.names)
        if rest:
            line = stream.lines - rest.removesuffix("\n").count("\n") + 1
            raise UserError(f"{path}: a quote opened in line {line} is never closed; close it")


def _parse(
    text: str, separator: str | None, width: int, positions: Sequence[int] | None
) -> tuple[pa.RecordBatch, list[str], str]:
    """Parse the whole rows of a text; return them, the rows of another width, and the beginning of a row at its end.

    Arrow's streaming reader is not used: it reads ahead in threads of its own, which crash if Python exits while they
    are in a Python file, and it does not notice a quote that stays open. Here Arrow tells where the last row ends,
    by a mark put after the text: it closes a quote that is open and then has more fields than any row, so that whatever
    it completes is set aside, as it stands, as a row of the wrong width.
    """
    from pyarrow import csv as arrow_csv

    separator = separator or ","
    mark = '\x01"' + separator * width
    data = (text + mark + "\n").encode()
    names = [str(position) for position in range(width)]
    aside: list[str] = []

    def set_aside(row: Any) -> str:
        aside.append(row.text)
        return "skip"

    table = arrow_csv.read_csv(
        pa.BufferReader(data),
        arrow_csv.ReadOptions(block_size=len(data) + 1, column_names=names),
        arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True, invalid_row_handler=set_aside),
        arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, STRING),
            include_columns=names if positions is None else [names[position] for position in positions],
        ),
    )
    *broken, last = aside
    columns = [column.combine_chunks() for column in table.columns]
    return pa.record_batch(columns, names=table.column_names), broken, last.removesuffix(mark)


def _typed(text: pa.Array, kind: pa.DataType) -> pa.Array:
    import pyarrow.compute as pc

    return text if kind == STRING else _converted(pc.ascii_trim_whitespace(text), kind)


def _parsed(text: pa.Array, kind: pa.DataType) -> pa.Array | None:
    """Return texts as values of a type, or None where one of them is not of it."""
    import pyarrow.compute as pc

    if not pc.all(pc.match_substring_regex(text, PATTERNS[kind])).as_py():
        return None
    try:
        return _converted(text, kind)
    except pa.ArrowInvalid:  # the 30th of February; an integer of 20 digits
        return None


def _converted(text: pa.Array, kind: pa.DataType) -> pa.Array:
    """Convert texts that look like values of a type."""
    import pyarrow.compute as pc

    if kind == BOOL:
        return pc.equal(pc.ascii_lower(text), "true")
    if kind != MOMENT:
        return pc.ascii_ltrim(text, "+").cast(kind)
    text = pc.replace_substring_regex(text, r"(\.\d{6})\d+", r"\1")  # nanoseconds
    zoned = pc.match_substring_regex(text, ZONE)
    if not pc.any(zoned).as_py():
        return text.cast(MOMENT)
    none = pa.scalar(None, STRING)
    utc = pc.if_else(zoned, text, none).cast(pa.timestamp("us", "UTC")).cast(MOMENT)
    return pc.coalesce(utc, pc.if_else(zoned, none, text).cast(MOMENT))


def _uneven_row(path: Path, reading: Reading, width: int, text: str) -> UserError:
    """Describe the first row that is not `width` fields long, whose text Arrow tells, but not its line."""
    held: list[str] = []  # the lines of one row

    def remembered(lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            held.append(line)
            yield line

    start, fields = 1, 0
    with _opened_text(path, reading.encoding) as stream, suppress(csv.Error):
        lines = io.TextIOWrapper(io.BufferedReader(stream), encoding="utf-8", newline="")
        for row in csv.reader(remembered(lines), delimiter=reading.separator or ","):
            fields = len(row)
            if row and fields != width:
                break
            start += len(held)
            held.clear()
    if fields == width:  # Python's parser gave up before, at a field of more than 128 KiB
        return UserError(f"{path}: a row has not {width} fields: {text[:60]!r}; correct it")
    hint = "is a quote left open there?" if "\n" in text else "correct the line"
    return UserError(f"{path}: line {start} has {fields} field{'s' * (fields > 1)} where {width} are expected; {hint}")


# --- the layout of a text file ---------------------------------------------------------------------------------------


def _layout(path: Path, reading: Reading) -> tuple[Reading, list[str]]:
    """Find the separator and the column names."""
    _check_encoding(reading.encoding)
    _check_text(path, reading.encoding)
    with _opened_text(path, reading.encoding) as stream:
        peek = io.BufferedReader(stream).read(PEEK_BYTES)
    text = peek.decode(errors="ignore")  # the last character may be cut
    if not text.strip():
        raise UserError(f"{path}: is empty")
    whole = len(peek) < PEEK_BYTES
    separator = reading.separator or _separator(text, whole, len(reading.columns or ()))
    if len(separator) != 1 or not separator.isascii() or separator in '"\r\n':
        raise UserError(f"data.separator {separator!r}: must be one ASCII character, such as , ; | or a tab")
    rows = _records(text, separator, whole)
    if not rows:
        raise UserError(f"{path}: line 1 is too long for a header; is a quote left open there?")
    first = rows[0]
    if reading.columns is None:
        names = [name.strip() for name in first]
        _check_names(path, names, "; if line 1 is not a header, name the columns in data.columns")
    else:
        names = list(reading.columns)
        if len(names) != len(first):
            raise UserError(f"{path}: line 1 has {len(first)} fields, data.columns names {len(names)}")
        _check_names(path, names, " in data.columns")
    return replace(reading, separator=separator), names


def _records(text: str, separator: str, whole: bool) -> list[list[str]]:
    """Return the first rows of a text; if it is not the whole text, without the last one, which may be cut."""
    rows: list[list[str]] = []
    try:
        for row in islice(csv.reader(io.StringIO(text, newline=""), delimiter=separator), PEEK_ROWS):
            rows += [row] if row else []  # a blank line is no row
    except csv.Error:  # a field of more than 128 KiB: the rows before it are whole
        return rows
    return rows if whole else rows[:-1]


def _separator(text: str, whole: bool, width: int) -> str:
    """Choose what cuts most rows into as many fields as the header (or `width`) has, and into most fields.

    A file with a bad row still gets its separator, so that the error is about that row.
    """

    def score(separator: str) -> float:
        widths = [len(row) for row in _records(text, separator, whole)]
        expected = width or (widths[0] if widths else 1)
        return (expected - 1) * widths.count(expected) / max(len(widths), 1)

    return max(SEPARATORS, key=score)


def _check_names(path: Path, names: Sequence[str], hint: str = "") -> None:
    if not all(names):
        position = list(names).index("") + 1
        if position == 1 and len(names) > 1:
            raise UserError(
                f"{path}: column 1 has no name, as when pandas writes its index; "
                "write the file with to_csv(..., index=False), or give the column a name"
            )
        raise UserError(f"{path}: column {position} of {len(names)} has no name{hint or '; give it one'}")
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise UserError(f"{path}: column names must differ, more than one is {listed(twice)}{hint}")


def _check_encoding(encoding: str) -> None:
    try:
        "".encode(encoding)
    except LookupError:
        raise UserError(f"data.encoding {encoding!r}: no such encoding; usual are utf-8, latin-1, cp1252") from None


def _check_text(path: Path, encoding: str) -> None:
    """Refuse what is not text before it is reported as text in a strange encoding."""
    with _opened(path) as file:
        head = _Utf8(file, path, encoding).raw(4096)
    codec = codecs.lookup(encoding).name
    if codec == "utf-8" and head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{path}: is in UTF-16; say data.encoding: utf-16, or save it as UTF-8")
    if head.startswith(BINARY) or (b"\0" in head and not codec.startswith(("utf-16", "utf-32"))):
        raise UserError(f"{path}: is not a text table but binary data; give text with separators, or Parquet")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise UserError(f"{path}: is a web page, not a table; open it in a browser to see what it says")


# --- the bytes of a text file ----------------------------------------------------------------------------------------


class _Utf8(io.RawIOBase):
    """Text in any encoding as a stream of UTF-8, which fails with the line that is not in that encoding."""

    def __init__(self, file: IO[bytes], path: Path, encoding: str):
        self._file, self._path, self._encoding = file, path, encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self.lines = 0  # ended so far
        self._begun = False
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(self._next(len(buffer)).encode())
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size

    def raw(self, size: int) -> bytes:
        """Read the file's own bytes; damage in what was packed shows here."""
        import lzma
        import zlib

        try:
            return self._file.read(size)
        except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
            raise UserError(f"{self._path}: is damaged and cannot be read to its end ({first_line(error)})") from error

    def pieces(self, size: int) -> Iterator[str]:
        """Yield the text in pieces made of about `size` bytes."""
        while text := self._next(size):
            yield text

    def _next(self, size: int) -> str:
        while True:
            chunk = self.raw(size)
            try:
                text = self._decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                raise self._undecodable(error) from None
            self.lines += text.count("\n")
            if not self._begun and text:
                self._begun, text = True, text.removeprefix("\ufeff")
            if text or not chunk:
                return text

    def _undecodable(self, error: UnicodeDecodeError) -> UserError:
        line = self.lines + error.object[: error.start].count(b"\n") + 1
        byte = f"0x{error.object[error.start]:02x}"
        hint = "say data.encoding: latin-1 (or what it is) in the problem, or save the file as UTF-8"
        return UserError(f"{self._path}: line {line} holds the byte {byte}, which is not {self._encoding}; {hint}")


@contextmanager
def _opened_text(path: Path, encoding: str, progress: bool = False) -> Iterator[_Utf8]:
    with _opened(path, progress) as file:
        yield _Utf8(file, path, encoding)


@contextmanager
def _opened(path: Path, progress: bool = False) -> Iterator[IO[bytes]]:
    """Open a text file as its unpacked bytes; the bar counts the packed ones, whose number is known."""
    import bz2
    import gzip
    import lzma

    unpack: dict[str, Callable[[Any], Any]] = {
        "text": lambda file: file,
        "gzip": gzip.open,
        "bz2": bz2.open,
        "xz": lzma.open,
        "zip": lambda file: _zip_member(file, path),
    }
    with path.open("rb") as packed, _bar(packed, path, progress) as file:
        yield unpack[_form(path)](file)


def _bar(file: IO[bytes], path: Path, progress: bool) -> Any:
    if not progress:
        return nullcontext(file)
    from tqdm import tqdm

    size = path.stat().st_size
    return tqdm.wrapattr(file, "read", total=size, desc=f"reading {path.name}", leave=False, delay=0.5)


def _zip_member(file: IO[bytes], path: Path) -> IO[bytes]:
    """Open the one table in a zip archive."""
    try:
        archive = zipfile.ZipFile(file)
        return archive.open(_only_table([entry.filename for entry in archive.infolist() if not entry.is_dir()], path))
    except (zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{path}: is a damaged zip archive ({first_line(error)}); fetch it again") from error
    except RuntimeError as error:  # a password, or a way of packing that Python lacks
        raise UserError(f"{path}: cannot be unpacked ({first_line(error)}); unpack it by hand") from error


def _only_table(members: list[str], path: Path) -> str:
    if "[Content_Types].xml" in members:
        raise UserError(f"{path}: is not a text table but an Office document; save its sheet as CSV")
    # macOS adds a shadow of each file; dot files are for machines.
    kept = [name for name in members if not name.startswith("__MACOSX/") and PurePosixPath(name).name[:1] != "."]
    tables = [name for name in kept if name.lower().endswith(TABLE_SUFFIXES)]
    if len(kept) == 1:
        return kept[0]
    if len(tables) == 1:  # beside a readme
        return tables[0]
    if not kept:
        raise UserError(f"{path}: the archive holds no file")
    raise UserError(f"{path}: the archive must hold one table, it holds {listed(kept)}; unpack it and give one")


def _form(path: Path) -> str:
    """Say what a file is by its first bytes: a key of `MAGIC`, or else "text"."""
    if not path.is_file():
        raise UserError(f"{path}: {'is not a file; name one' if path.exists() else 'no such file'}")
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if not head:
        raise UserError(f"{path}: is empty")
    form = next((form for form, magic in MAGIC.items() if re.match(magic, head)), "text")
    suffix = path.suffix.lower()
    # Plain text named .gz is what some servers make of a packed file, and is read; noise is a damaged archive.
    if form == "text" and suffix in SUFFIXES and (suffix == ".parquet" or not head.isascii() or b"\0" in head):
        raise UserError(f"{path}: is not a {SUFFIXES[suffix]} file, though named so, or is damaged; fetch it again")
    return form


# --- Parquet ---------------------------------------------------------------------------------------------------------


def _scan_parquet(path: Path, reading: Reading, progress: bool) -> Table:
    import pyarrow.compute as pc

    if reading.columns is not None:
        raise UserError(f"{path}: a Parquet file names its columns itself; leave out data.columns")
    with _opened_parquet(path) as file:
        rows, columns = file.metadata.num_rows, _plain_columns(file.schema_arrow)
        _check_names(path, [column.name for column in columns])
        kinds = {column.name: _plain_type(path, column) for column in columns}
    if rows == 0:
        raise UserError(f"{path}: has columns and no rows")
    seen = set()
    for block in parquet_blocks(path, list(kinds), progress):
        for name, values in zip(kinds, block.columns, strict=True):
            if kinds[name] == INT and values.type == pa.uint64() and (pc.max(values).as_py() or 0) >= 2**63:
                kinds[name] = FLOAT
            plain = _plain(values, kinds[name], reading.missing)
            if kinds[name] == FLOAT and pc.any(pc.is_inf(plain)).as_py():
                raise _infinity(path, name, "inf")
            seen |= {name} if plain.null_count < len(plain) else set()
    for name in kinds:
        if name not in seen:
            raise _no_values(path, name)
    return Table(path, pa.schema(list(kinds.items())), rows, reading)


def _scan_parquet_for(path: Path, wanted: pa.Schema, reading: Reading, progress: bool) -> Table:
    reading = replace(reading, columns=None)  # it names its columns itself
    with _opened_parquet(path) as file:
        rows, columns = file.metadata.num_rows, _plain_columns(file.schema_arrow)
    _check_names(path, [column.name for column in columns])
    _check_present(path, wanted, [column.name for column in columns])
    types = {column.name: _kept_type(column) for column in columns}
    for column in columns:
        if column.name in wanted.names:
            types[column.name] = wanted.field(column.name).type
            _check_fits(path, column, types[column.name])
    numbers = [column.name for column in wanted if column.type == FLOAT]
    before = 0
    for block in parquet_blocks(path, numbers, progress) if numbers else ():
        for name, values in zip(numbers, block.columns, strict=True):
            _check_finite(path, name, _plain(values, FLOAT, reading.missing), before)
        before += len(block)
    return Table(path, pa.schema(list(types.items())), rows, reading)


def _kept_type(column: pa.Field) -> pa.DataType:
    """What a column is read as that is only passed on: what it is, without dictionaries and extensions."""
    kind = _storage(column.type)
    return STRING if kind in (pa.large_string(), pa.string_view(), pa.null()) else kind


def _check_fits(path: Path, column: pa.Field, wanted: pa.DataType) -> None:
    """Refuse a column whose type says that its values are not what is wanted; one without values fits."""
    found = _plain_type(path, column)
    if found != wanted and (found, wanted) != (INT, FLOAT) and not pa.types.is_null(_storage(column.type)):
        held = {BOOL: "true and false", INT: "whole numbers", FLOAT: "numbers", MOMENT: "dates", STRING: "text"}
        what = f"{held[found]} ({column.type})"
        raise UserError(f"{path}: column {column.name!r} holds {what}; what is needed is {held[wanted]}")


def _parquet_batches(path: Path, wanted: pa.Schema, reading: Reading) -> Iterator[pa.RecordBatch]:
    for block in parquet_blocks(path, wanted.names):
        plain = [
            _plain(values, kind, reading.missing) for values, kind in zip(block.columns, wanted.types, strict=True)
        ]
        yield pa.record_batch(plain, schema=wanted)


def parquet_blocks(path: Path, names: list[str], progress: bool = False) -> Iterator[pa.RecordBatch]:
    """Stream a Parquet file's columns, in this order, as they were written."""
    from tqdm import tqdm

    with _opened_parquet(path) as file:
        rows = file.metadata.num_rows
        bar = tqdm(total=rows, desc=f"reading {path.name}", leave=False, delay=0.5, disable=not progress, unit="rows")
        with bar:
            for block in file.iter_batches(BATCH_ROWS, columns=names):
                yield block.select(names)  # a name with a dot would also ask for fields inside its first part
                bar.update(len(block))


@contextmanager
def _opened_parquet(path: Path) -> Iterator[Any]:
    import pyarrow.parquet as pq

    try:
        # Spark's int96 would overflow in nanoseconds for years after 2262.
        how = {"coerce_int96_timestamp_unit": "us", "pre_buffer": False, "buffer_size": PARQUET_BYTES}
        with pq.ParquetFile(path, **how) as file:
            yield file
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: is a damaged Parquet file ({first_line(error)}); fetch it again") from error


def _plain_columns(schema: pa.Schema) -> list[pa.Field]:
    """Leave out the index that pandas writes beside the columns."""
    return [column for column in schema if not re.fullmatch(r"__index_level_\d+__", column.name)]


def _plain_type(path: Path, column: pa.Field) -> pa.DataType:
    """Return the type that a Parquet column is read as."""
    kind = _storage(column.type)
    plain = {
        BOOL: pa.types.is_boolean(kind),
        INT: pa.types.is_integer(kind),
        FLOAT: pa.types.is_floating(kind) or pa.types.is_decimal(kind),
        MOMENT: pa.types.is_date(kind) or pa.types.is_timestamp(kind),
        # The time of a day has no type of its own in text tables either.
        STRING: kind in (STRING, pa.large_string(), pa.string_view())
        or pa.types.is_time(kind)
        or pa.types.is_null(kind),
    }
    found = next((target for target, holds in plain.items() if holds), None)
    if found is None:
        what = "lists" if pa.types.is_list(kind) or pa.types.is_large_list(kind) else f"values of type {kind}"
        raise UserError(f"{path}: column {column.name!r} holds {what}: drop it, or make numbers or texts of it")
    return found


def _storage(kind: pa.DataType) -> pa.DataType:
    """Return the type inside a dictionary or an extension type."""
    if pa.types.is_dictionary(kind):
        return _storage(kind.value_type)
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _plain(values: pa.Array, kind: pa.DataType, missing: Sequence[str]) -> pa.Array:
    """Convert a Parquet column to its plain type; not-a-number and the texts of `missing` become null."""
    import pyarrow.compute as pc

    if isinstance(values.type, pa.BaseExtensionType):
        values = values.storage
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values)
    # Cut nanoseconds and the digits beyond a float's; anything else that does not fit is an error.
    exact = not (kind == FLOAT or (pa.types.is_timestamp(values.type) and values.type.unit == "ns"))
    plain = values.cast(kind, safe=exact)
    if not missing or pa.types.is_nested(kind):
        return plain
    texts = pc.ascii_trim_whitespace(plain.cast(STRING))
    named = pa.array([text.strip() for text in missing], STRING)
    return pc.if_else(pc.is_in(texts, value_set=named), None, plain)


# --- both ------------------------------------------------------------------------------------------------------------


def _regrouped(blocks: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Join small blocks and cut large ones, so that a batch is worth the work on it and fits in memory."""
    held: list[pa.RecordBatch] = []
    for block in blocks:
        held.append(block)
        if sum(map(len, held)) >= BATCH_ROWS or sum(part.nbytes for part in held) >= BATCH_BYTES:
            yield from _joined(held)
            held = []
    yield from _joined(held)


def _joined(blocks: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    return pa.Table.from_batches(blocks).combine_chunks().to_batches(max_chunksize=BATCH_ROWS) if blocks else []


def _check_present(path: Path, wanted: pa.Schema, names: Sequence[str]) -> None:
    lacking = [name for name in wanted.names if name not in set(names)]
    if lacking:
        hint = nearest(lacking[0], names) if len(lacking) == 1 else ""
        what = f"lacks {'column' if len(lacking) == 1 else f'{len(lacking)} columns'} {listed(lacking)}"
        raise UserError(f"{path}: {what}{hint or f'; it has {listed(names)}'}")


def _check_finite(path: Path, name: str, numbers: pa.Array, before: int) -> None:
    import pyarrow.compute as pc

    place = pc.index(pc.is_inf(numbers), True).as_py()
    if place >= 0:
        raise _wrong(path, name, before + place, numbers[place], "a finite number")


def _wrong(path: Path, name: str, before: int, value: pa.Scalar, meant: str) -> UserError:
    return UserError(f"{path}: column {name!r}, row {before + 1:,}: {value.as_py()!r} is not {meant}")


def _no_values(path: Path, name: str) -> UserError:
    return UserError(f"{path}: column {name!r} has no values: drop it, or fill it")


def _infinity(path: Path, name: str, text: str) -> UserError:
    return UserError(
        f"{path}: column {name!r} holds an infinite number ({text}): leave the field empty, or drop the row"
    )
