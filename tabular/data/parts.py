"""Tables in several files: which files of a folder are parts, their order, their partition columns and their digest."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote

from tabular import digests
from tabular.errors import UserError, listed

# Files beside the parts that hold the digests of parts.
CHECKSUMS = (".crc", ".md5", ".sha1", ".sha256", ".sha512")
# How Hive and Spark write a missing value of a partition column.
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
DEEPEST = 30  # folders within folders: more of them are a link that leads in a circle
# What lies in the folder of a table whose files are not all of them parts: some may have been deleted since.
OTHER_TABLES = {
    "_delta_log": "a Delta table",
    ".hoodie": "a Hudi table",
    "metadata/*.metadata.json": "an Iceberg table",
}


@dataclass(frozen=True)
class Parts:
    """A table in several files of one form.

    Attributes
    ----------
    root : Path
        The folder from which the parts are named.
    names : tuple of str
        The path of each part below `root`, with `/`, in the order of the rows.

    """

    root: Path
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the folder, as a file has one."""
        return self.root.name

    def __str__(self) -> str:
        return str(self.root)


# Where a table lies on this machine.
Place: TypeAlias = Path | Parts


@dataclass(frozen=True)
class Entry:
    """What a folder holds: a file of `size` bytes, or another folder, where `size` is None."""

    name: str
    size: int | None


@dataclass(frozen=True)
class Found:
    """The parts that were found in a folder, in their order, and what lies there too and is no part."""

    names: tuple[str, ...]
    others: tuple[str, ...]


# Lists a folder, which is named by its path below the one that is searched.
Lister: TypeAlias = Callable[[str], Iterable[Entry]]


def find(list_folder: Lister, pattern: Sequence[str], shown: str) -> Found:
    """Find the parts of a table in a folder and those below it.

    Names that begin with `_`, `.` or `~$` (`_SUCCESS`, `_metadata`), checksums and empty files are no parts.

    Parameters
    ----------
    list_folder
        Lists a folder by its path below the one that is searched, "" for that one.
    pattern
        The components of a pattern with `*`, `?`, `[…]` and `**`; empty: all files.
    shown
        The source, for errors.

    Raises
    ------
    UserError
        Where there is no part, or the folder is that of a Delta, Hudi or Iceberg table.

    """
    _refuse_other_tables(list_folder, shown)
    seen = dict(_walk(list_folder, "", tuple(pattern), shown))
    names = sorted((name for name, is_part in seen.items() if is_part), key=natural)
    others = sorted((name for name, is_part in seen.items() if not is_part), key=natural)
    if not names:
        what = "matches no file" if pattern else "holds no file of a table"
        beside = f" beside {listed(others, 3)}: one of these can be named by its own path" if others else ""
        raise UserError(f"{shown}: {what}{beside or '; look at what lies there, and name a file, a folder or a glob'}")
    return Found(tuple(names), tuple(others))


def _walk(list_folder: Lister, folder: str, pattern: tuple[str, ...], shown: str) -> Iterator[tuple[str, bool]]:
    """The files below a folder that match a pattern, by their paths, and whether each of them is a part."""
    if folder.count("/") > DEEPEST:
        raise UserError(
            f"{shown}: its folders lie {DEEPEST} deep: does a link lead in a circle? name the parts by a glob"
        )
    head, rest = (pattern[0], pattern[1:]) if pattern else ("", ())
    if head == "**" and rest:
        yield from _walk(list_folder, folder, rest, shown)  # `**` also stands for no folder at all
    for entry in list_folder(folder):
        path = f"{folder}/{entry.name}" if folder else entry.name
        if head not in ("", "**") and not fnmatchcase(entry.name, head):
            continue
        # a partition column's name may begin with _; Excel leaves ~$book.xlsx beside a book that is open
        hidden = (entry.name[0] in "_." and "=" not in entry.name) or entry.name.startswith("~$")
        if entry.size is not None:
            if not rest:
                yield path, not (hidden or entry.size == 0 or entry.name.lower().endswith(CHECKSUMS))
        elif hidden:
            yield f"{path}/", False
        else:
            yield from _walk(list_folder, path, pattern if head == "**" else rest, shown)


def _refuse_other_tables(list_folder: Lister, shown: str) -> None:
    held = {entry.name for entry in list_folder("") if entry.size is None}
    if "metadata" in held:
        held |= {f"metadata/{entry.name}" for entry in list_folder("metadata")}
    for sign, what in OTHER_TABLES.items():
        if any(fnmatchcase(name, sign) for name in held):
            raise UserError(
                f"{shown}: is {what}, whose files are not all of them rows of today; write it as Parquet into a folder "
                "of its own, and name that"
            )


def natural(path: str) -> tuple[list[list[tuple[int, int, str]]], str]:
    """A key that sorts paths as people do: `part-2` before `part-10`, and a folder's files together."""
    pieces = [re.findall(r"[0-9]+|[^0-9]+", name) for name in path.split("/")]
    found = [[(0, int(one), "") if "0" <= one[0] <= "9" else (1, 0, one) for one in piece] for piece in pieces]
    return found, path  # the path itself tells part-1 from part-01


def files(place: Place) -> list[Path]:
    """The files of a table, in the order of their rows."""
    return [place.root / name for name in place.names] if isinstance(place, Parts) else [place]


def folder(place: Place) -> Path:
    """Where a table lies, for messages: the file, or the folder of its parts."""
    return place.root if isinstance(place, Parts) else place


# --- digests ----------------------------------------------------------------------------------------------------------


def digest(place: Place) -> str:
    """SHA-256 of a table's content: of the file, or of the `listing` of its parts."""
    return digest_of_listing(listing(place)) if isinstance(place, Parts) else digests.of_file(place)


def listing(parts: Parts) -> str:
    """The digest and the path of each part, sorted by path: a line for each, as `sha256sum` prints it."""
    return listing_of({name: digests.of_file(parts.root / name) for name in parts.names})


def listing_of(found: Mapping[str, str]) -> str:
    """The listing of parts, whose digests are {path: sha256}."""
    return "".join(f"{found[name]}  {name}\n" for name in sorted(found))


def digest_of_listing(text: str) -> str:
    """SHA-256 of a listing, which stands for all that it lists."""
    return digests.of_text(text)


def listed_parts(text: str) -> dict[str, str]:
    """The parts that a listing names, {path: sha256}."""
    return {line[66:]: line[:64] for line in text.splitlines()}


# --- what parts must have in common -----------------------------------------------------------------------------------


def check_same_names(first: Path, names: Sequence[str], other: Path, others: Sequence[str], *, ordered: bool) -> None:
    """Raise an error for the first difference between the columns of two parts; it names both files."""
    if list(names) == list(others) or (not ordered and set(names) == set(others)):
        return
    way_out = "give all parts the same columns, or name those that have them by a glob"
    for holder, held, lacker, lacking in ((first, names, other, others), (other, others, first, names)):
        absent = [name for name in held if name not in set(lacking)]
        if absent:
            raise UserError(f"{lacker}: has no column {absent[0]!r}, which {holder} has: {way_out}")
    place = next(place for place, pair in enumerate(zip(names, others, strict=False)) if pair[0] != pair[1])
    raise UserError(f"{other}: column {place + 1} is {others[place]!r}, and {names[place]!r} in {first}: {way_out}")


def partition_columns(parts: Parts) -> Mapping[str, list[str | None]]:
    """The columns that stand in the paths of parts (`year=2024/part.csv`): {name: the text of each part, or None}.

    Raises
    ------
    UserError
        Where two parts have not the same of them; it names both files.

    """
    found = [_of_path(name) for name in parts.names]
    for name, held in zip(parts.names, found, strict=True):
        if list(held) != list(found[0]):
            raise UserError(
                f"{parts.root}: {name} has {_in_words(held)} in its path, and {parts.names[0]} {_in_words(found[0])}: "
                "name parts that have the same by a glob"
            )
    return {column: [held[column] for held in found] for column in found[0]}


def _of_path(path: str) -> dict[str, str | None]:
    pairs = (above.partition("=") for above in path.split("/")[:-1] if "=" in above)
    return {unquote(name): None if value in (NO_VALUE, "") else unquote(value) for name, _, value in pairs if name}


def _in_words(columns: Mapping[str, str | None]) -> str:
    return f"the columns {listed(list(columns))}" if columns else "no column"
