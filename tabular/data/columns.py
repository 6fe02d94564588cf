"""Shared by all forms of tables: options for reading, the types of columns, notes on cells, and checks with errors."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import pyarrow as pa

from tabular.errors import UserError, as_yaml, listed, similar

BATCH_ROWS = 65_536

USUAL_MISSING = (
    *("", "NA", "N/A", "n/a", "<NA>", "#N/A", "#N/A N/A", "#NA", "NULL", "null", "Null", "None", "none"),
    *("NaN", "nan", "NAN", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)

BOOL, INT, FLOAT, MOMENT, STRING = pa.bool_(), pa.int64(), pa.float64(), pa.timestamp("us"), pa.string()
# The expected value of a column of each type, in words for errors.
MEANT = {BOOL: "true or false", INT: "a whole number", FLOAT: "a number", MOMENT: "a date such as 2021-03-04"}
# The column with the weight of each row in the files of a data set whose rows are weighted.
WEIGHT = "__weight__"
# The name that pandas gives a first column without one, which most often is an index that pandas has written.
UNNAMED = "Unnamed: 0"


@dataclass(frozen=True)
class Words:
    """Words that mean missing in one column besides those of all columns, and words that do not mean it there."""

    add: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()


@dataclass(frozen=True)
class Expected:
    """The type that a problem says a column has; where `lenient`, cells that are not of it are missing."""

    type: Literal["number", "category", "date", "boolean"]
    lenient: bool = False


@dataclass(frozen=True)
class Reading:
    """Options for reading a file.

    Attributes
    ----------
    columns : tuple of str, optional
        Names for a text file that has no header line.
    missing : tuple of str
        Texts that mean "missing" besides `USUAL_MISSING`, compared without the blanks around them.
    separator : str, optional
        The one character between fields; detected when None.
    encoding : str
        A name that Python's `codecs` knows.
    keep : tuple of str
        Texts of `USUAL_MISSING` that do not mean "missing".
    of_columns : mapping of str to Words
        What is different in some columns; it goes before `missing` and `keep`.
    types : mapping of str to Expected
        The types of columns, where the problem names them.
    dropped : collection of str
        Columns that need not be of any use: `scan` looks at none of their values.
    only : collection of str, optional
        Where they are named, all other columns are as those of `dropped`.
    needed : sequence of str
        Columns that the problem cannot do without, such as the target.
    escape : str, optional
        What stands before a quote within a quoted field of a text file: "double", another quote, or "backslash";
        detected when None.
    verbatim : collection of str
        Columns whose texts keep the blanks at their ends, and of which, in a file with types of its own, only the words
        of `missing` are missing: keys that are passed on, and what a model reads that was made before the rule for
        texts.
    sheet : str, optional
        The sheet of a workbook that is read.
    learnt : bool
        Whether a model has learnt by the problem, so that nothing can be said there any more.
    nameless : tuple of str
        Columns of a text file that have no name in its header, and no value in its first rows; found out.

    """

    columns: tuple[str, ...] | None = None
    missing: tuple[str, ...] = ()
    separator: str | None = None
    encoding: str = "utf-8"
    keep: tuple[str, ...] = ()
    of_columns: Mapping[str, Words] = field(default_factory=dict)
    types: Mapping[str, Expected] = field(default_factory=dict)
    dropped: Collection[str] = ()
    only: Collection[str] | None = None
    needed: Sequence[str] = ()
    escape: Literal["backslash", "double"] | None = None
    verbatim: Collection[str] = ()
    sheet: str | None = None
    learnt: bool = False
    nameless: tuple[str, ...] = ()

    def looks_at(self, name: str) -> bool:
        """Whether `scan` looks at the values of a column."""
        return name not in self.dropped and (self.only is None or name in self.only)

    def words(self, name: str) -> tuple[str, ...]:
        """The words that mean "missing" in a column; the empty text always does."""
        own = self.of_columns.get(name, Words())
        return _words(self.missing, self.keep, own)


@lru_cache(maxsize=1024)
def _words(added: tuple[str, ...], kept: tuple[str, ...], own: Words) -> tuple[str, ...]:
    taken_away = {*own.keep, *(set(kept) - set(own.add))}
    every = (word.strip() for word in (*USUAL_MISSING, *added, *own.add))
    return tuple(word for word in dict.fromkeys(every) if not word or word not in taken_away)


AS_USUAL = Reading()


@dataclass(frozen=True)
class Note:
    """What became of the cells of a column when all rows of a file were read.

    Attributes
    ----------
    missing : mapping of str to int
        Word: the number of cells that it made missing; "" for those that are empty.
    trimmed : int
        Cells of texts that had blanks at an end.
    unfit : int
        Cells that are not of the type that almost all others have (`meant`), or that the problem asks for.
    examples : tuple of str
        Up to three of these cells.
    meant : str
        "number", "date" or "boolean" where there are unfit cells.
    left_out : bool
        Whether unfit cells are missing; else they have made the column one of texts.
    thousands : str
        A cell whose point, which was read as a decimal one, may mark thousands, as those of all cells may; else "".
    index : str
        "counts" where the column counts the rows, as an index that pandas or R has written; "named" where a file says
        that the column was the index of a pandas frame; "empty" where it has neither a name nor a value.

    """

    missing: Mapping[str, int] = field(default_factory=dict)
    trimmed: int = 0
    unfit: int = 0
    examples: tuple[str, ...] = ()
    meant: str = ""
    left_out: bool = False
    thousands: str = ""
    index: Literal["", "counts", "named", "empty"] = ""


def joined(notes: Sequence[Note]) -> Note:
    """The note of a column for several files together; that it counts the rows is of one file only."""
    counts: Counter[str] = sum((Counter(note.missing) for note in notes), Counter())
    told = [note for note in notes if note.unfit] or list(notes)
    examples = dict.fromkeys(example for note in told for example in note.examples)
    return replace(
        told[0],
        missing=counts,
        trimmed=sum(note.trimmed for note in notes),
        unfit=sum(note.unfit for note in notes),
        examples=tuple(examples)[:3],
        index="",
    )


# Columns with their types, the number of rows, how the file is read, and notes on the columns that were looked at.
Scanned = tuple[pa.Schema, int, Reading, Mapping[str, Note]]


def check_names(path: Path, names: Sequence[str], hint: str = "") -> None:
    """Raise an error for names that are empty or repeated; its text ends with the hint."""
    if not all(names):
        position = list(names).index("") + 1
        raise UserError(f"{path}: column {position} of {len(names)} has no name{hint or '; give it one'}")
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise UserError(f"{path}: column names must differ, more than one is {listed(twice)}{hint}")


def check_present(path: Path, wanted: pa.Schema, names: Sequence[str], hint: str = "") -> None:
    """Raise an error for a table that lacks wanted columns, which names all that it lacks and ends with the hint."""
    lacking = [name for name in wanted.names if name not in set(names)]
    if lacking:
        spare = [name for name in names if name not in set(wanted.names)]  # others are read by their own names
        near = similar(lacking[0], spare)[:1] if len(lacking) == 1 else []
        what = f"lacks {'column' if len(lacking) == 1 else f'{len(lacking)} columns'} {listed(lacking)}"
        way = f": if that is the column, rename it to {lacking[0]!r}" if near else ""
        raise UserError(f"{path}: {what}; it has {listed(near or names)}{way}{hint}")


def check_finite(path: Path, name: str, numbers: pa.Array, before: int) -> None:
    """Raise an error for the first infinite number of a block; `before` rows of the file precede the block."""
    import pyarrow.compute as pc

    place = pc.index(pc.is_inf(numbers), True).as_py()
    if place >= 0:
        raise wrong_value(path, name, before + place, numbers[place].as_py(), "a finite number")


def wrong_value(path: Path, name: str, before: int, value: object, meant: str) -> UserError:
    """The error for a value that is not what is `meant`; `before` rows of the file precede its row."""
    return UserError(f"{path}: column {name!r}, row {before + 1:,}: {value!r} is not {meant}")


def check_usable(path: Path, faults: Mapping[str, str], reading: Reading) -> None:
    """Raise an error for columns that nothing can be learnt from, with what to paste into the problem.

    Parameters
    ----------
    path
        The file.
    faults
        Column: what is wrong with it, such as "has no values".
    reading
        Says which columns cannot be dropped.

    """
    if not faults:
        return
    for name in reading.needed:
        if name in faults:
            other = ", or name another column in target, data.weight, split or evaluation.slices"
            what = f"the problem needs it: mend the file{'' if reading.learnt else other}"
            raise UserError(f"{path}: column {name!r} {faults[name]}, and {what}")
    drop = f"data: {{drop: {as_yaml(dict(faults))}}}"
    if len(faults) == 1:
        ((name, fault),) = faults.items()
        raise UserError(f"{path}: column {name!r} {fault}: say {drop} in the problem, or mend the file")
    what = ", ".join(f"{name!r} {fault}" for name, fault in faults.items())
    raise UserError(
        f"{path}: {len(faults)} columns cannot be used: {what}: say {drop} in the problem, or mend the file"
    )


NO_VALUES = "has no values"
INFINITE = "holds an infinite number"
