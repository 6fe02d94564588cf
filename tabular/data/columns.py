"""Shared by text and Parquet files: options for reading, the types of columns, and checks with their errors."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tabular.errors import UserError, listed, nearest

BATCH_ROWS = 65_536

USUAL_MISSING = (
    *("", "NA", "N/A", "n/a", "<NA>", "#N/A", "#N/A N/A", "#NA", "NULL", "null", "Null", "None", "none"),
    *("NaN", "nan", "NAN", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)

BOOL, INT, FLOAT, MOMENT, STRING = pa.bool_(), pa.int64(), pa.float64(), pa.timestamp("us"), pa.string()
# The expected value of a column of each type, in words for errors.
MEANT = {BOOL: "true or false", INT: "a whole number", FLOAT: "a number", MOMENT: "a date such as 2021-03-04"}


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

    """

    columns: tuple[str, ...] | None = None
    missing: tuple[str, ...] = ()
    separator: str | None = None
    encoding: str = "utf-8"


AS_USUAL = Reading()


def check_names(path: Path, names: Sequence[str], hint: str = "") -> None:
    """Raise an error for names that are empty or repeated; its text ends with the hint."""
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


def check_present(path: Path, wanted: pa.Schema, names: Sequence[str]) -> None:
    """Raise an error for a table that lacks wanted columns, with the names of all that it lacks."""
    lacking = [name for name in wanted.names if name not in set(names)]
    if lacking:
        hint = nearest(lacking[0], names) if len(lacking) == 1 else ""
        what = f"lacks {'column' if len(lacking) == 1 else f'{len(lacking)} columns'} {listed(lacking)}"
        raise UserError(f"{path}: {what}{hint or f'; it has {listed(names)}'}")


def check_finite(path: Path, name: str, numbers: pa.Array, before: int) -> None:
    """Raise an error for the first infinite number of a block; `before` rows of the file precede the block."""
    import pyarrow.compute as pc

    place = pc.index(pc.is_inf(numbers), True).as_py()
    if place >= 0:
        raise wrong_value(path, name, before + place, numbers[place], "a finite number")


def wrong_value(path: Path, name: str, before: int, value: pa.Scalar, meant: str) -> UserError:
    """The error for a value that is not what is `meant`; `before` rows of the file precede its row."""
    return UserError(f"{path}: column {name!r}, row {before + 1:,}: {value.as_py()!r} is not {meant}")


def no_values(path: Path, name: str) -> UserError:
    """The error for a column without values."""
    return UserError(f"{path}: column {name!r} has no values: drop it, or fill it")


def infinity(path: Path, name: str, text: str) -> UserError:
    """The error for a column that holds an infinite number."""
    return UserError(
        f"{path}: column {name!r} holds an infinite number ({text}): leave the field empty, or drop the row"
    )
