"""Files as bytes: their format, their decompressed content, and their text as UTF-8 whatever the encoding."""

import codecs
import io
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tabular.errors import UserError, first_line, listed

TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".data")
MAGIC = {
    "parquet": rb"PAR1(?![\s -~])",  # a CSV may begin with a column of the name PAR1
    "feather": rb"ARROW1\0\0",
    "zip": rb"PK(\x03\x04|\x05\x06)",
    "gzip": rb"\x1f\x8b",
    "bz2": rb"BZh[1-9]1AY&SY",
    "xz": rb"\xfd7zXZ\x00",
    "ole": rb"\xd0\xcf\x11\xe0",  # old Office documents, .xls among them, and new ones with a password
}
NEVER_TEXT = {".parquet": "Parquet", ".feather": "Feather", ".orc": "ORC"}
SUFFIXES = {**NEVER_TEXT, ".zip": "zip", ".gz": "gzip", ".bz2": "bzip2", ".xz": "xz"}
ORC = b"ORC"
SEPARATOR_BYTES = 64  # of Excel's line about the separator, with a mark of the byte order, and more
HEAD_BYTES = 1 << 16  # bytes in which the first line of JSON lines ends, most often
BINARY = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"%PDF-", b"PK\x03\x04", b"\x1f\x8b")
SPREADSHEET = b"application/vnd.oasis.opendocument.spreadsheet"


class Utf8(io.RawIOBase):
    """Text in any encoding as a stream of UTF-8; an undecodable byte is an error that names the line."""

    def __init__(self, file: IO[bytes], path: Path, encoding: str):
        self._file, self._path, self._encoding = file, path, encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self.lines = 0  # line ends so far
        self.separator: str | None = None  # that a first line `sep=;` names, as Excel writes it; the line is left out
        self._begun = False
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """As `io` asks."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As `io` asks."""
        if not self._rest:
            self._rest = memoryview(self._next(len(buffer)).encode())
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size

    def raw(self, size: int) -> bytes:
        """Read bytes of the decompressed file; UserError where the compressed file is damaged."""
        import lzma
        import zlib

        try:
            return self._file.read(size)
        except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
            raise UserError(f"{self._path}: is damaged and cannot be read to its end ({first_line(error)})") from error

    def pieces(self, size: int) -> Iterator[str]:
        """Yield the text in pieces, each of at most `size` bytes of the file."""
        while text := self._next(size):
            yield text

    def _next(self, size: int) -> str:
        while True:
            chunk = self.raw(size if self._begun else max(size, SEPARATOR_BYTES))
            try:
                text = self._decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                raise self._undecodable(error) from None
            self.lines += text.count("\n")
            if not self._begun and text:
                self._begun, text = True, text.removeprefix("\ufeff")
                if said := re.match(r'"?sep=(.)"?[ \t]*(\r\n?|\n)', text):
                    self.separator, text = said[1], text[said.end() :]
            if text or not chunk:
                return text

    def _undecodable(self, error: UnicodeDecodeError) -> UserError:
        line = self.lines + error.object[: error.start].count(b"\n") + 1
        byte = f"0x{error.object[error.start]:02x}"
        hint = "say data.encoding: latin-1 (or what it is) in the problem, or save the file as UTF-8"
        return UserError(f"{self._path}: line {line} holds the byte {byte}, which is not {self._encoding}; {hint}")


@contextmanager
def opened_text(path: Path, encoding: str, progress: bool = False) -> Iterator[Utf8]:
    """Open a text file, decompressed and as UTF-8."""
    with opened(path, progress) as file:
        yield Utf8(file, path, encoding)


@contextmanager
def opened(path: Path, progress: bool = False) -> Iterator[IO[bytes]]:
    """Open a text file as decompressed bytes; the progress bar counts compressed bytes, whose number is known."""
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
        yield unpack[form(path)](file)


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
    except RuntimeError as error:  # a password, or a compression method that Python lacks
        raise UserError(f"{path}: cannot be unpacked ({first_line(error)}); unpack it by hand") from error


def _only_table(members: list[str], path: Path) -> str:
    if "[Content_Types].xml" in members or {"mimetype", "content.xml"} <= {*members}:
        raise UserError(f"{path}: is not a text table but an Office document; save its sheet as CSV")
    # macOS adds a metadata file for each file; dot files are not for people.
    kept = [name for name in members if not name.startswith("__MACOSX/") and PurePosixPath(name).name[:1] != "."]
    tables = [name for name in kept if name.lower().endswith(TABLE_SUFFIXES)]
    if len(kept) == 1:
        return kept[0]
    if len(tables) == 1:  # beside a readme
        return tables[0]
    if not kept:
        raise UserError(f"{path}: the archive holds no file")
    raise UserError(f"{path}: the archive must hold one table, it holds {listed(kept)}; unpack it and give one")


def form(path: Path) -> str:
    """The format of a file by its first bytes: a key of `MAGIC`, or else "text"."""
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
    if head.startswith(ORC) and _tail(path, len(ORC) + 1).startswith(ORC):  # a CSV may begin with these letters too
        form = "orc"
    suffix = path.suffix.lower()
    # Some servers decompress a .gz file and keep its name: such text is read. Binary data are a damaged archive.
    if form == "text" and suffix in SUFFIXES and (suffix in NEVER_TEXT or not head.isascii() or b"\0" in head):
        raise UserError(f"{path}: is not a {SUFFIXES[suffix]} file, though named so, or is damaged; fetch it again")
    return form


def content(path: Path) -> str:
    """What a file holds, within its packing if it has one: a key of `tabular.data.typed.FORMS`, or else "text".

    Raises
    ------
    UserError
        Where the file is no table: JSON that is not one object a line.

    """
    outer = form(path)
    if outer == "ole" or (outer == "zip" and _is_workbook(path)):
        return "workbook"
    if outer in ("parquet", "feather", "orc"):
        return outer
    with opened(path) as file:
        head = Utf8(file, path, "utf-8").raw(HEAD_BYTES).removeprefix(codecs.BOM_UTF8).lstrip()
    first, _, more = head.partition(b"\n")
    if not first.startswith((b"{", b"[")):
        return "text"
    if first.startswith(b"{") and (_is_json(first) or (not more and len(head) >= HEAD_BYTES // 2)):
        return "json lines"
    if re.match(rb"\[\s*(\{|\[|$)", first) or (first.strip() == b"{" and more.lstrip().startswith(b'"')):
        raise UserError(
            f"{path}: is one JSON value, not a table: write an object a line (JSON lines), as pandas does with "
            "to_json(..., orient='records', lines=True)"
        )
    return "text"


def _is_workbook(path: Path) -> bool:
    """Whether a zip archive is a workbook of Excel or of OpenDocument."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if any(name.lower().startswith("xl/workbook.") for name in names):
                return True
            return "mimetype" in names and archive.read("mimetype").startswith(SPREADSHEET)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError):
        return False  # what is wrong with it is told when it is opened


def _is_json(line: bytes) -> bool:
    import json

    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _tail(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(-size, io.SEEK_END)
        return file.read()
