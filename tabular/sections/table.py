"""The sections of a problem about its table: where it lies, what its columns are, and how the holdout is split off."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from tabular import addresses
from tabular.sections.base import Label, Section

# The keys of the section data that say where the table lies. What lies there counts by its content, its digest.
PLACE = ("source", "query", "headers", "sha256")
# The keys of the section data that say how a model learns, and change no data set.
OF_FITS = ("target_transform",)
# The names of the two forms, which are no keys of the YAML.
SHORT, FULL = "in short", "in full"


def _word(value: Any) -> Any:
    if value is None:
        raise ValueError("YAML reads null and ~ as nothing: put the word in quotes")
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Word = Annotated[str, BeforeValidator(_word)]


class MissingInColumn(Section):
    """The words that mean missing in one column, besides those of all columns, and those that do not mean it there."""

    add: list[Word] = Field(default=[])
    keep: list[Word] = Field(default=[])

    @model_validator(mode="after")
    def _add_or_keep(self) -> Self:
        both = [word for word in self.add if word in self.keep]
        if both:
            raise ValueError(f"{both[0]!r} stands in add and in keep: leave it out of one of them")
        if "" in self.keep:
            raise ValueError("keep: an empty cell is always missing: leave '' out")
        return self


class Missing(MissingInColumn):
    """The words that mean missing besides the usual ones, and those of the usual ones that do not mean it."""

    columns: dict[str, MissingInColumn] = Field(default={})


class Typed(Section):
    """The type of a column, and what becomes of its cells that are not of it."""

    type: Literal["number", "date", "boolean"]
    errors: Literal["refuse", "missing"] = "refuse"


class Rare(Section):
    """Classes of few rows: made one class, or left out."""

    fewer_than: int = Field(ge=2, description="rows of a class that is rare")
    into: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="the class that rare ones become; without it their rows are left out"
    )


def _form(value: Any) -> str:
    """Which of two forms a key has that may be given in short or in full, for errors about the right one."""
    return FULL if isinstance(value, dict | Section) else SHORT


class OwnFeatures(Section):
    """Columns of the user's own: a function in a Python file that makes them of raw rows."""

    file: str
    function: str = Field(pattern=r"^[A-Za-z_]\w*$")
    code: str = Field(default="", description="what the file says, without comments; filled in when a chain begins")


def _named_function(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    file, _, function = value.rpartition(":")
    if not file.endswith(".py") or not function.isidentifier():
        raise ValueError(f"{value!r} names no function in a file, such as features.py:make")
    return {"file": file, "function": function}


class Data(Section):
    """The table, its target, and the columns that no model may see."""

    source: str = Field(
        description="a path, a folder or a glob, a URL, a database, or sklearn:NAME for a data set of scikit-learn"
    )
    query: str | None = Field(default=None, min_length=1, description="of a database: which rows, in SQL")
    headers: dict[str, str] = Field(default={}, description="of the request to a web server; ${NAME} is a variable")
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    target: str
    positive: Label | None = Field(default=None, description="of two classes, the one whose probability is asked for")
    classes: dict[str, list[Label]] | None = Field(default=None, description="class: the target's values that mean it")
    rare: Rare | None = Field(default=None, description="what becomes of classes of few rows")
    target_transform: Literal["none", "log", "log1p"] = Field(
        default="none", description="of a number to predict: the scale on which it is learnt"
    )
    weight: str | None = Field(default=None, description="column: how much each row counts; no model sees it")
    drop: dict[str, str] = Field(default={}, description="column: the reason why no model may see it")
    duplicates: Literal["keep", "drop"] = "keep"
    types: dict[
        str,
        Annotated[
            Annotated[Literal["number", "category", "date", "boolean"], Tag(SHORT)] | Annotated[Typed, Tag(FULL)],
            Discriminator(_form),
        ],
    ] = Field(default={})
    columns: list[str] | None = Field(default=None, description="the names, for a file without a header")
    missing: Annotated[Annotated[list[Word], Tag(SHORT)] | Annotated[Missing, Tag(FULL)], Discriminator(_form)] = Field(
        default=[], description="words that mean missing besides the usual ones, or a mapping: add, keep, columns"
    )
    escape: Literal["backslash", "double"] | None = Field(
        default=None, description="what stands before a quote within a quoted field; found out by default"
    )
    separator: str | None = None
    encoding: str = "utf-8"
    sheet: str | None = Field(default=None, min_length=1, description="of a workbook: the name of the sheet")
    features: Annotated[OwnFeatures | None, BeforeValidator(_named_function)] = Field(
        default=None, description="file.py:function, which makes columns of your own of raw rows"
    )

    @field_validator("source")
    @classmethod
    def _no_password(cls, source: str) -> str:
        secret = addresses.written_secret(source)
        if secret:
            raise ValueError(
                "a password or token in a URL would be logged: name a variable, as in "
                "https://${USER}:${PASSWORD}@host/…?token=${TOKEN}"
            )
        return source

    @field_validator("headers")
    @classmethod
    def _no_secret(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if re.search("(?i)auth|token|key|secret|cookie|password|signature", name) and "${" not in value:
                raise ValueError(f"{name} would be logged: name a variable, as in {{{name}: '${{TOKEN}}'}}")
        return headers


class DateParts(Section):
    """The columns that make up a date; the month as a number or as its English name."""

    year: str
    month: str
    day: str


class Split(Section):
    """How the holdout and the folds are split off."""

    by: Literal["random", "time", "group"] = "random"
    column: str | DateParts | None = None
    holdout: float = Field(default=0.2, gt=0, lt=1)

    @model_validator(mode="after")
    def _column_where_needed(self) -> Self:
        if (self.column is None) != (self.by == "random"):
            need = "takes no column" if self.by == "random" else "needs a column"
            raise ValueError(f"a split by {self.by} {need}")
        if self.by == "group" and isinstance(self.column, DateParts):
            raise ValueError("a split by group needs the name of one column")
        return self
