"""The type of a column of texts, found block by block."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from tabular.data import kinds, missing
from tabular.data.columns import (
    BOOL,
    FLOAT,
    INFINITE,
    INT,
    MEANT,
    MOMENT,
    NO_VALUES,
    STRING,
    UNNAMED,
    Expected,
    Note,
    Reading,
    check_finite,
    check_usable,
    wrong_value,
)
from tabular.data.missing import Array, Tally
from tabular.errors import UserError, as_yaml

MOST_EXAMPLES = 3
# A column is one of numbers or dates with a few cells that are none where these are at most so many of a hundred.
FEW = 20
# Of fewer cells than this a column is not yet given up as one of numbers or dates.
SURE = 1_000
# Texts that were seen before need not be looked at again: of blocks of at most so many, and so many in all.
FEW_TEXTS, MOST_KNOWN = 2_000, 20_000
CODE = r"^0[0-9]+$"  # a code such as 007, which is no number with a flaw
# Numbers whose point may mark thousands have three digits behind it, or no point and at most three digits. As decimals
# they would not end in 0 beside numbers that are written without a point.
POINT_OF_THOUSANDS, ENDS_IN_0 = r"^[+-]?([1-9]\d{0,2}\.\d{3}|\d{1,3})$", r"\.\d\d0$"
# A float holds every whole number up to this one.
LARGEST_WHOLE = 2**53
MEANINGS = {FLOAT: "number", MOMENT: "date", BOOL: "boolean"}
ASKED = {"number": FLOAT, "date": MOMENT, "boolean": BOOL}


@dataclass
class _Unfit:
    """The cells of a column that are not of a type, as long as they are few."""

    kind: pa.DataType
    asked: bool = False  # by the problem: they are counted however many they are
    cells: int = 0
    examples: list[str] = field(default_factory=list)
    few: bool = True

    def see(self, text: pa.Array, cells: Array, fits: pa.Array, before: int | None) -> None:
        """Count the unfit cells of a block, as different texts with the cells of each.

        `before` cells, all of which are counted, precede it; None: that is not known here.
        """
        import pyarrow.compute as pc

        is_unfit = pc.invert(fits)
        unfit = text.filter(is_unfit)
        self.cells += int(cells[is_unfit.to_numpy(zero_copy_only=False)].sum())
        if len(self.examples) < MOST_EXAMPLES:
            self.examples = list(dict.fromkeys([*self.examples, *pc.unique(unfit).slice(0, MOST_EXAMPLES).to_pylist()]))
            self.examples = self.examples[:MOST_EXAMPLES]
        if not self.asked and self.kind == FLOAT and pc.any(pc.match_substring_regex(unfit, CODE)).as_py():
            self.few = False
        if before is not None:
            self.give_up(self.cells, before + int(cells.sum()))

    def give_up(self, cells: int, values: int) -> None:
        """Follow the type no more where, at the end of a block, so many of the cells so far are not of it."""
        if not self.asked and values >= SURE and cells * 100 > FEW * values:
            self.few = False

    def add(self, other: "_Unfit") -> None:
        """Add the cells of the part that comes next."""
        self.cells += other.cells
        self.examples = list(dict.fromkeys([*self.examples, *other.examples]))[:MOST_EXAMPLES]
        self.few &= other.few


@dataclass
class Narrowing:
    """The types that a column of texts may still have, after the blocks seen so far, and notes on its cells.

    Attributes
    ----------
    name
        The column's name.
    words
        The words that mean missing in it.
    expected
        The type that the problem says it has.
    kinds
        The types that are still possible, the narrowest first; none: texts.
    known
        Texts that were seen since nothing but their number mattered, and how many of each are not counted yet.
    thousands
        Whether the point of all numbers so far may mark thousands.
    pointed
        The first number with a point that ends in 0, as long as `thousands` holds.
    pointless
        Whether a number was seen that has no point.
    ends
        Of a part of a table that is looked at apart from those before it: at the end of each block, the values so far,
        and of each type that is followed the cells that are not of it. By them `add` decides what depends on the cells
        before. Blocks that are only noted have no such cells, and rule out nothing. None where all cells come by in
        their order.

    """

    name: str
    words: tuple[str, ...] = ()
    expected: Expected | None = None
    kinds: list[pa.DataType] = field(default_factory=lambda: list(kinds.PATTERNS))
    tally: Tally = field(default_factory=Tally)
    values: int = 0
    infinite: str | None = None
    whole: bool = True  # all texts are whole numbers, however long
    rounded: bool = False
    thousands: bool = True
    pointed: str | None = None
    pointless: bool = False
    unfit: dict[pa.DataType, _Unfit] = field(default_factory=dict)
    known: dict[str | None, int] = field(default_factory=dict)
    ends: list[tuple[int, tuple[int, ...]]] | None = None

    def __post_init__(self) -> None:
        asked = self.expected.type if self.expected is not None else None
        if asked == "category":
            self.kinds = [kind for kind in self.kinds if kind != MOMENT]
        elif asked is not None:
            self.kinds = [kind for kind in self.kinds if kind in (ASKED[asked], *([INT] if asked == "number" else []))]
        follow = (ASKED[asked],) if asked in ASKED else () if asked == "category" else (FLOAT, MOMENT)
        self.unfit = {kind: _Unfit(kind, asked in ASKED) for kind in follow}

    def see(self, found: pa.Array) -> None:
        """Count a block of texts as they were found, and rule out types that do not fit it."""
        texts, cells = missing.distinct(found)
        if self._is_settled and len(texts) <= FEW_TEXTS and len(self.known) <= MOST_KNOWN:
            told = texts.to_pylist()
            if self._still_fits([text for text in told if text not in self.known]):
                for text, count in zip(told, cells.tolist(), strict=True):
                    self.known[text] = self.known.get(text, 0) + count
                return
        self._count_known()
        self._see(texts, cells)
        if self.ends is not None:
            self.ends.append((self.values, tuple(unfit.cells for unfit in self.unfit.values())))

    def apart(self) -> "Narrowing":
        """The column before the first block of a part: what has been ruled out so far stays ruled out in each part."""
        begun = Narrowing(self.name, self.words, self.expected, ends=[])
        begun.kinds, begun.thousands = list(self.kinds), self.thousands
        for kind, unfit in begun.unfit.items():
            unfit.few = self.unfit[kind].few
        return begun

    def close(self) -> None:
        """Count what was only noted, and let go of it: what is left is small."""
        self._count_known()
        self.known = {}

    def add(self, other: "Narrowing") -> None:
        """Add what was found in the part that comes next, which was looked at `apart`: as if its blocks had been seen.

        Numbers are looked at as the narrowest type that is left, which may be narrower in one part than in all. What
        that changes is nothing: where whole numbers are all that there is, each part has found those that are too
        large.
        """
        self.close()
        other.close()
        for values, cells in other.ends or ():
            for unfit, more in zip(self.unfit.values(), cells, strict=True):
                unfit.give_up(unfit.cells + more, self.values + values)
        for kind, unfit in self.unfit.items():
            unfit.add(other.unfit[kind])
        self.kinds = [kind for kind in self.kinds if kind in other.kinds]
        self.tally.add(other.tally)
        self.values += other.values
        self.infinite = other.infinite if self.infinite is None else self.infinite
        self.whole &= other.whole
        self.rounded |= other.rounded
        self.thousands &= other.thousands
        self.pointed = other.pointed if self.pointed is None else self.pointed
        self.pointless |= other.pointless

    @property
    def _is_settled(self) -> bool:
        """Whether nothing is to be done for texts that were seen before but to count them."""
        lenient = self.expected is not None and self.expected.lenient
        return not lenient and all(kind in self.kinds or not unfit.few for kind, unfit in self.unfit.items())

    def _still_fits(self, new: list[str | None]) -> bool:
        """Whether texts that were not seen before rule out no type."""
        if not new:
            return True
        before = list(self.kinds)
        self._narrow(missing.texts(pa.array(new, STRING), self.words).drop_null())
        return self.kinds == before

    def _count_known(self) -> None:
        """Count the texts that were only noted."""
        noted = {text: count for text, count in self.known.items() if count}
        if noted:
            texts, cells = pa.array(list(noted), STRING), np.array(list(noted.values()))
            text = missing.texts(texts, self.words)
            self.tally.see(texts, text, cells)
            self.values += int(_present(text, cells)[1].sum())
            self.known = dict.fromkeys(self.known, 0)

    def _see(self, texts: pa.Array, cells: Array) -> None:
        """Count different texts, and rule out types that do not fit them."""
        text = missing.texts(texts, self.words)
        self.tally.see(texts, text, cells)
        text, cells = _present(text, cells)
        if not len(text):
            return
        if self.expected is not None and self.expected.lenient:
            fits = kinds.fitting(text, ASKED[self.expected.type], truths=True)
            self.unfit[ASKED[self.expected.type]].see(text, cells, fits, self._before)
            text, cells = text.filter(fits), cells[fits.to_numpy(zero_copy_only=False)]
        self._narrow(text)
        self._look_for_unfit(text, cells)
        self.values += int(cells.sum())

    def _narrow(self, text: pa.Array) -> None:
        if not self.kinds or not len(text):
            return
        kept: list[pa.DataType] = []
        for kind in self.kinds:
            # Every integer is also a float: skip the check, which takes time.
            if (kind == FLOAT and INT in kept) or kinds.parsed(text, kind, truths=self._is_truth) is not None:
                kept.append(kind)
        self.kinds = kept
        if kept and kept[0] in (INT, FLOAT):
            self._look_at_numbers(text, kept[0])

    @property
    def _is_truth(self) -> bool:
        return self.expected is not None and self.expected.type == "boolean"

    def _look_at_numbers(self, text: pa.Array, kind: pa.DataType) -> None:
        import pyarrow.compute as pc

        found = missing.values(kinds.converted(text, kind), self.words)
        if kind == INT:
            ends = pc.min_max(found).as_py()
            largest = max(-(ends["min"] or 0), ends["max"] or 0)
            self.rounded |= largest > LARGEST_WHOLE
            self.thousands &= largest < 1_000
            self.pointless |= ends["min"] is not None
            return
        if self.thousands:
            self._look_at_points(text if not found.null_count else text.filter(found.is_valid()))
        self.whole = self.whole and pc.all(pc.match_substring_regex(text, kinds.PATTERNS[INT])).as_py()
        self.rounded |= self.whole
        if self.infinite is None:
            infinite = text.filter(pc.fill_null(pc.is_inf(found), False))
            self.infinite = infinite[0].as_py() if len(infinite) else None

    def _look_at_points(self, text: pa.Array) -> None:
        import pyarrow.compute as pc

        self.thousands = pc.all(pc.match_substring_regex(text, POINT_OF_THOUSANDS), min_count=0).as_py()
        if self.thousands and self.pointed is None:
            found = text.filter(pc.match_substring_regex(text, ENDS_IN_0))
            self.pointed = found[0].as_py() if len(found) else None
        if self.thousands and not self.pointless:
            shortest = pc.min(pc.binary_length(text)).as_py()
            self.pointless = shortest is not None and shortest < len("1.000")

    def _look_for_unfit(self, text: pa.Array, cells: Array) -> None:
        """Count the cells that do not fit, once a type is ruled out for their sake alone."""
        lenient = self.expected is not None and self.expected.lenient
        for kind, unfit in self.unfit.items():
            if kind not in self.kinds and unfit.few and not lenient:
                unfit.see(text, cells, kinds.fitting(text, kind, truths=self._is_truth), self._before)

    @property
    def _before(self) -> int | None:
        return self.values if self.ends is None else None

    def fault(self) -> str | None:
        """Why nothing can be learnt from the column: None where it is of use."""
        self._count_known()
        if not self.values:
            return (
                f"has no value that is a {self.expected.type}" if self.expected and self.expected.lenient else NO_VALUES
            )
        # Not earlier: in a column of words, "inf" is a word.
        if self.kinds[:1] == [FLOAT] and self.infinite is not None and not self._as_text:
            return f"{INFINITE} ({self.infinite})"
        return None

    def check_expected(self, path: Path) -> None:
        """Raise an error where the problem says a type that some cells are not of."""
        self._count_known()
        if self.expected is None or self.kinds or self.expected.type == "category":
            return
        asked, unfit = self.expected.type, self.unfit[ASKED[self.expected.type]]
        cells = (
            f"{unfit.cells:,} cell{'s are' * (unfit.cells > 1) or ' is'} none ({shown(unfit.examples, unfit.cells)})"
        )
        lenient = as_yaml({self.name: {"type": asked, "errors": "missing"}})
        way = f"say data.types: {lenient}, which reads such cells as missing, or correct them"
        raise UserError(
            f"data.types: column {self.name!r} of {path.name} is not a {asked} throughout: {cells}: "
            f"{way if unfit.cells < self.values else 'leave the type out'}"
        )

    @property
    def _as_text(self) -> bool:
        """Whether its numbers are names that a float would mix up."""
        return self.expected is not None and self.expected.type == "category" and self.rounded and self.whole

    @property
    def type(self) -> pa.DataType:
        """The narrowest type that holds all values."""
        return self.kinds[0] if self.kinds and not self._as_text else STRING

    def note(self) -> Note:
        """The notes on its cells."""
        self._count_known()
        kind = self.type
        unfit = next((one for one in self.unfit.values() if self._is_said(one)), None)
        return Note(
            missing=dict(self.tally.missing),
            trimmed=self.tally.trimmed if kind == STRING else 0,
            unfit=unfit.cells if unfit else 0,
            examples=tuple(unfit.examples) if unfit else (),
            meant=MEANINGS[unfit.kind] if unfit else "",
            left_out=bool(unfit) and kind != STRING,
            thousands=self.pointed or "" if kind == FLOAT and self.thousands and self.pointless else "",
        )

    def _is_said(self, unfit: _Unfit) -> bool:
        return unfit.cells > 0 and (unfit.asked or (unfit.few and unfit.cells * 100 <= FEW * self.values))


class State(Protocol):
    """What is known of a column during a scan: `Narrowing`, or the state of one whose cells have a type."""

    name: str

    def see(self, found: pa.Array) -> None:
        """Look at a block of the column."""

    def apart(self) -> Any:
        """The state before the first block of a part that is looked at apart from those before it."""

    def close(self) -> None:
        """Let go of what is not needed once the last block was seen."""

    def add(self, other: Any) -> None:
        """Add what was found in the part that comes next."""

    def check_expected(self, path: Path) -> None:
        """Raise an error where the problem says a type that some cells are not of."""

    def fault(self) -> str | None:
        """Why nothing can be learnt from the column: None where it is of use."""

    def note(self) -> Note:
        """The notes on its cells."""

    @property
    def type(self) -> pa.DataType:
        """The type that the column is read as."""


@dataclass
class Check:
    """A column of texts whose type is known beforehand, and notes on its cells."""

    path: Path
    name: str
    kind: pa.DataType
    reading: Reading
    tally: Tally = field(default_factory=Tally)
    values: int = 0

    def __post_init__(self) -> None:
        self.words = self.reading.words(self.name)
        self._unfit = _Unfit(self.kind, asked=True)

    def see(self, found: pa.Array, before: int) -> None:
        """Raise an error for the first text that is not of the type; `before` rows of the file precede these texts."""
        texts, cells = missing.distinct(found)
        text = missing.texts(texts, self.words)
        self.tally.see(texts, text, cells)
        if self.kind == STRING:
            return
        if _is_lenient(self.reading, self.name):
            present, held = _present(text, cells)
            self._unfit.see(present, held, kinds.fitting(present, self.kind, truths=True), self.values)
            self.values += int(held.sum())
            text = _only_fitting(text, self.kind)
        import pyarrow.compute as pc

        typed = kinds.parsed(text, self.kind, truths=True)
        if typed is None:
            wrong = texts[kinds.first_wrong(text, self.kind)]  # different texts are in the order of their first rows
            place = before + plain(found).index(wrong).as_py()
            raise wrong_value(self.path, self.name, place, wrong.as_py(), MEANT[self.kind])
        if self.kind == FLOAT and pc.any(pc.is_inf(typed)).as_py():
            numbers = as_typed(found, pa.field(self.name, FLOAT), self.reading)
            check_finite(self.path, self.name, numbers, before)

    def note(self) -> Note:
        """The notes on its cells."""
        return Note(
            missing=dict(self.tally.missing),
            unfit=self._unfit.cells,
            examples=tuple(self._unfit.examples),
            meant=MEANINGS[self.kind] if self._unfit.cells else "",
            left_out=self._unfit.cells > 0,
        )


def _present(text: pa.Array, cells: Array) -> tuple[pa.Array, Array]:
    """The texts that are not missing, and the cells that hold each."""
    if not text.null_count:
        return text, cells
    return text.drop_null(), cells[text.is_valid().to_numpy(zero_copy_only=False)]


def plain(found: pa.Array) -> pa.Array:
    """A block without a dictionary."""
    return found.dictionary_decode() if pa.types.is_dictionary(found.type) else found


def narrowest(texts: Sequence[str | None], name: str, reading: Reading, path: Path) -> pa.Array:
    """Texts as values of the narrowest type that holds all of them, as in a column of a text file."""
    column = Narrowing(name, reading.words(name), reading.types.get(name))
    found = pa.array(texts, STRING)
    held = missing.texts(found, column.words)
    column.see(found)
    column.check_expected(path)
    fault = column.fault() if reading.looks_at(name) else None
    check_usable(path, {name: fault} if fault is not None else {}, reading)
    return as_typed(held, pa.field(name, column.type), reading) if column.values else held


def as_typed(found: pa.Array, column: pa.Field, reading: Reading) -> pa.Array:
    """Texts as they are written as values of a column's type, null where the reading says that they are missing.

    Of a block that is a dictionary, each of its texts is looked at once.
    """
    if pa.types.is_dictionary(found.type):
        return as_typed(found.dictionary, column, reading).take(found.indices)
    words = reading.words(column.name)
    text = missing.texts(found, words, trim=column.type != STRING or column.name not in reading.verbatim)
    if column.type == STRING:
        return text
    if _is_lenient(reading, column.name):
        text = _only_fitting(text, column.type)
    return missing.values(kinds.converted(text, column.type), words)


def _is_lenient(reading: Reading, name: str) -> bool:
    return name in reading.types and reading.types[name].lenient


def _only_fitting(text: pa.Array, kind: pa.DataType) -> pa.Array:
    import pyarrow.compute as pc

    return pc.if_else(kinds.fitting(text, kind, truths=True), text, None)


@dataclass
class Counting:
    """Whether the first column of a table counts its rows, from 0 as pandas' index does or from 1 as R's.

    Attributes
    ----------
    start
        The number from which it counts, where it counts so far; a part of a table counts on from any number.
    rows
        How many rows were seen.

    """

    start: int | None = None
    rows: int = 0
    counts: bool = True

    def see(self, values: pa.Array) -> None:
        """Look at a block of whole numbers, or of texts."""
        before, self.rows = self.rows, self.rows + len(values)
        if not self.counts or not len(values):
            return
        if values.type == STRING:
            values = kinds.parsed(values, INT)
        if values is None or values.type != INT or values.null_count:
            self.counts = False
            return
        start = values[0].as_py() - before
        found = values.to_numpy() - np.arange(before, self.rows)
        self.counts = bool((found == start).all()) if self.start in (None, start) else False
        self.start = start

    def add(self, other: "Counting") -> None:
        """Add the part that comes next."""
        before, self.rows = self.rows, self.rows + other.rows
        if other.start is None:
            self.counts &= other.counts
            return
        start = other.start - before
        self.counts &= other.counts and self.start in (None, start)
        self.start = start

    @property
    def is_index(self) -> bool:
        """Whether the column is nothing but the numbers of the rows."""
        return self.counts and self.start in (None, 0, 1)


@dataclass
class Seen:
    """The columns of a table after the blocks seen so far.

    Attributes
    ----------
    columns
        A state for each column that is looked at.
    counting
        Whether the first of them counts the rows; None where nobody asks.
    rows
        How many rows were seen.
    faults
        Column: why it cannot be read.

    """

    columns: Sequence["State"]
    counting: Counting | None = None
    rows: int = 0
    faults: dict[str, str] = field(default_factory=dict)

    def apart(self) -> "Seen":
        """The state before the first block of a part that is looked at apart from those before it."""
        return Seen([column.apart() for column in self.columns], None if self.counting is None else Counting())

    def add(self, other: "Seen") -> None:
        """Add what was found in the part that comes next."""
        for column, more in zip(self.columns, other.columns, strict=True):
            column.add(more)
        if self.counting is not None and other.counting is not None:
            self.counting.add(other.counting)
        self.rows += other.rows
        self.faults |= other.faults

    def close(self) -> "Seen":
        """Let go of what is not needed once the last block was seen."""
        for column in self.columns:
            column.close()
        return self

    def notes(self) -> dict[str, Note]:
        """The notes on the cells of each column."""
        found = {column.name: column.note() for column in self.columns}
        if self.counting is not None and self.counting.is_index:
            found[UNNAMED] = replace(found[UNNAMED], index="counts")
        return found


def unfit(notes: Mapping[str, Note]) -> list[str]:
    """A line for each column with cells that were read as missing because they are not of its type."""
    return [
        f"{note.unfit:,} cells of {name!r} ({shown(note.examples, note.unfit)}) are no {note.meant}s and "
        "were read as missing, as the model's problem says"
        for name, note in notes.items()
        if note.unfit
    ]


def shown(examples: Sequence[str], cells: int) -> str:
    """Some of the cells that do not fit, for people: `'< 5', '> 9' and others`."""
    others = " and others" if cells > len(examples) >= MOST_EXAMPLES else ""
    return ", ".join(repr(text[:40]) for text in examples) + others
