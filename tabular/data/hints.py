"""Hints: what a person should look at in a table before trusting a model, the gravest first, each with a way out."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular.data.columns import FLOAT, USUAL_MISSING, Note
from tabular.data.counts import OTHER_DATE, PLAIN_NUMBER, ColumnCounts, alike
from tabular.data.evidence import NONE, Drift, Evidence
from tabular.data.kinds import PATTERNS
from tabular.data.narrowing import shown
from tabular.errors import as_yaml, listed

# The kinds of hints, the gravest first: what makes a score promise too much, then what is lost, then what is of no use.
LEAK, TARGET, GROUP, TIME, UNFIT = "leak", "target", "group", "order of time", "cells that do not fit"
LARGE, MARK = "number too large", "number that may mean missing"
NUMBER, DATE, ROUNDED, WORD = "number in disguise", "date in disguise", "rounded number", "word read as missing"
INDEX, ID, CASE, ONE_VALUE, WEIGHTS, TEXT = "index", "id", "case", "one value", "weights", "text"
KINDS = (
    LEAK,
    TARGET,
    GROUP,
    TIME,
    WEIGHTS,
    UNFIT,
    LARGE,
    MARK,
    NUMBER,
    DATE,
    ROUNDED,
    WORD,
    INDEX,
    ID,
    TEXT,
    CASE,
    ONE_VALUE,
)
# Words that say "missing" in the language of numbers, and are no value in a column of texts either.
NOT_A_NUMBER = ("", *(word for word in USUAL_MISSING if "nan" in word.lower() or "#" in word))
# Rows from which on it is no chance that a column has another value in each of them, or grows with each.
ROWS_OF_IDS = 20
# Of a whole number that does not grow it takes more to be an id: so many rows, hardly two of which are alike, and
# numbers that fill their range as only numbering does, or a name that says so.
ROWS_OF_NUMBERS, EQUAL, FILLED = 50, 0.05, 2
CALLED_ID = r"(?i:(^|.*[^a-z])(id|ids|uuid|guid|key|nr|no|number|ident[a-z]*))|.*[a-z](Id|ID|Key|Nr|No|Number)"
# A column is of texts, of which words tell more than the whole, with so many different ones, of so many words each.
FEWEST_TEXTS, FEWEST_WORDS = 100, 4
# The most classes, and the most columns, that a hint writes out.
MOST_LISTED = 12
# Of more columns than these one hint is made of what is said of each alone.
MOST_OF_A_KIND = 3
AFTER = "it is known only after the answer"
# The largest number of 32 bits, in which forests and other trees hold what they are given.
LARGEST = float(np.finfo(np.float32).max)
MEASURES = {0: "R² of its values or of their tenths", 2: "ROC AUC"}  # by the number of classes


@dataclass(frozen=True)
class Hint:
    """A hint: its kind (one of `KINDS`), the columns that it is about, and its text, without a full stop."""

    kind: str
    columns: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Looked:
    """What was looked at: the schema, the counts of its columns, notes on cells, evidence, and the problem's own words.

    Attributes
    ----------
    schema : tabular.data.datasets.Schema
        Of the data set.
    columns : sequence of ColumnCounts
        Of each column of the schema.
    notes : mapping of str to Note
        What became of the cells of the file's columns, the target's too.
    evidence : mapping of str to Evidence
        What a sample of the training rows shows of a column.
    said : collection of str
        The words that the problem itself says mean missing.
    parts : sequence
        The classes, or the parts of a number to predict by their names.

    """

    schema: Any
    columns: Sequence[ColumnCounts]
    notes: Mapping[str, Note]
    evidence: Mapping[str, Evidence]
    said: Collection[str]
    parts: Sequence[Any] = ()

    def note(self, name: str) -> Note:
        """The note on a column's cells."""
        return self.notes.get(name, Note())

    def doubtful(self, word: str) -> bool:
        """Whether a word that was read as missing may be a value."""
        return word in USUAL_MISSING and word not in NOT_A_NUMBER and word not in self.said


def find(looked: Looked) -> tuple[Hint, ...]:
    """All hints at a data set, the gravest first."""
    of_columns = [hint for column in looked.columns for hint in _of_column(column, looked)]
    found = [
        *_of_target(looked),
        *_of_unfit(looked),
        *_of_points(looked),
        *_of_words(looked),
        *_of_indices(looked),
        *_of_large(looked),
        *_of_marks(looked),
        *_together(of_columns, looked),
    ]
    return tuple(sorted(found, key=lambda hint: KINDS.index(hint.kind)))


def first(found: Sequence[Hint], most: int, where: str) -> list[str]:
    """The texts of the first hints, and a line that says how many more there are, and where."""
    more = len(found) - most
    return [hint.text for hint in found[:most]] + ([f"{more:,} more in {where}"] if more > 0 else [])


# --- of the target, and of cells --------------------------------------------------------------------------------------


def _of_target(looked: Looked) -> Iterator[Hint]:
    target = looked.schema.target
    lost = {word: cells for word, cells in looked.note(target).missing.items() if looked.doubtful(word)}
    for word, cells in lost.items():
        text = f"{cells:,} rows whose {target!r} is {word!r} were left out: {_way_to_keep([target], word)}"
        yield Hint(TARGET, (target,), text)
    labels = [label for label in looked.schema.classes if isinstance(label, str)]
    same = alike(labels)
    if same:
        groups = {same[0]: same, **{label: [label] for label in labels if label not in same}}
        way = f"say data.classes: {as_yaml(groups)}" if len(labels) <= MOST_LISTED else "group them in data.classes"
        text = f"the classes {listed(same)} of {target!r} differ in case only: if they mean the same, {way}"
        yield Hint(TARGET, (target,), text)


def _of_unfit(looked: Looked) -> Iterator[Hint]:
    for name, note in looked.notes.items():
        if not note.unfit:
            continue
        if note.left_out:
            cells = _cells(name, note.unfit, note.examples)
            yield Hint(UNFIT, (name,), f"{cells} are no {note.meant}s and were read as missing, as data.types says")
        else:
            yield Hint(UNFIT, (name,), _of_texts(name, note.unfit, note.examples, note.meant))


def _cells(name: str, cells: int, examples: Sequence[str]) -> str:
    return f"{cells:,} cell{'s' * (cells > 1)} of {name!r} ({shown(examples, cells)})"


def _of_texts(name: str, cells: int, examples: Sequence[str], meant: str) -> str:
    """What to do where some cells alone make a column one of texts."""
    way = as_yaml({name: {"type": meant, "errors": "missing"}})
    return (
        f"{_cells(name, cells, examples)} are no {meant}s, all others are, so the column is one of texts: correct "
        f"them, or say data.types: {way}, which reads them as missing"
    )


def _of_points(looked: Looked) -> Iterator[Hint]:
    for name, note in looked.notes.items():
        if note.thousands:
            kind = TARGET if name == looked.schema.target else NUMBER
            read = f"{name!r} has {note.thousands!r} and the like, read as {float(note.thousands):g}, beside numbers "
            way = "if the point marks thousands, write them without a mark between thousands"
            yield Hint(kind, (name,), f"{read}below 1000 without a point: {way}")


def _of_words(looked: Looked) -> Iterator[Hint]:
    """Words that mean missing, and look like a value among texts: one hint for all columns of a word."""
    columns: dict[str, list[str]] = {}
    for column in looked.columns:
        if column.dtype == "string":
            for word in filter(looked.doubtful, looked.note(column.name).missing):
                columns.setdefault(word, []).append(column.name)
    for word, names in columns.items():
        cells = sum(looked.notes[name].missing[word] for name in names)
        text = f"{cells:,} cells {word!r} of {listed(names, 3)} were read as missing: {_way_to_keep(names, word)}"
        yield Hint(WORD, tuple(names), text)


def _of_indices(looked: Looked) -> Iterator[Hint]:
    used = {column.name for column in looked.columns}
    empty = [name for name, note in looked.notes.items() if note.index == "empty"]
    if empty:
        what = "no name in line 1 and no value in any row, as where each line ends with a separator"
        yield Hint(INDEX, tuple(empty), f"left out, with {what}: {listed(empty, 3)}")
    for name, note in looked.notes.items():
        if note.index == "counts" and name not in used:
            keep = f"to keep it, say data.types: {as_yaml({name: 'number'})}"
            yield Hint(
                INDEX, (name,), f"{name!r} counts the rows, as an index that pandas writes, and is left out: {keep}"
            )
        elif note.index == "named" and name in used:
            drop = as_yaml({name: "pandas' index"})
            text = f"{name!r} was the index of a pandas frame: if it is an id, say data.drop: {drop}"
            yield Hint(INDEX, (name,), text)


def _of_large(looked: Looked) -> Iterator[Hint]:
    """Numbers that fail every estimator that holds what it is given in 32 bits."""
    for column in looked.columns:
        if column.dtype != "double" or _largest(column) <= LARGEST:
            continue
        name = column.name
        value = column.high if column.high > LARGEST else column.low
        missing = as_yaml({"columns": {name: {"add": [f"{value!r}"]}}})
        text = (
            f"{name!r} holds {value:g}, too large for forests and others that hold numbers in 32 bits: they fail, and "
            f"the chain goes on without them; correct it, or if it means missing, say data.missing: {missing}"
        )
        yield Hint(LARGE, (name,), text)


def _of_marks(looked: Looked) -> Iterator[Hint]:
    for column in looked.columns:
        if (found := column.mark()) is not None:
            (mark, rows), name = found, column.name
            missing = as_yaml({"columns": {name: {"add": [f"{mark:g}"]}}})
            far = f"far from all others ({column.least:g} to {column.most:g})"
            yield Hint(
                MARK,
                (name,),
                f"{rows:,} cells of {name!r} are {mark:g}, {far}: if missing is meant, say data.missing: {missing}",
            )


def _largest(column: ColumnCounts) -> float:
    """The largest absolute value of a column of numbers; 0 of others."""
    return max(-column.low, column.high) if column.dtype == "double" and column.present else 0.0


# --- of a column ------------------------------------------------------------------------------------------------------


def _of_column(column: ColumnCounts, looked: Looked) -> Iterator[Hint]:
    """The hints at a column: one at what its values look like, and one at what they say of the target or of time."""
    name, seen = column.name, looked.evidence.get(column.name, NONE)
    if looked.schema.split_by == "random" and seen.groups and not column.missing:
        yield Hint(GROUP, (name,), _of_groups(name, seen, looked))
        return
    if seen.is_leak:
        yield Hint(LEAK, (name,), _of_leak(column, seen, looked))
        return
    in_disguise = _disguised(column, seen) if not looked.note(name).unfit else None
    if in_disguise is not None:  # what does not fit is said already
        yield in_disguise
        return
    time = _time(column, seen, looked)
    if time is not None:
        yield Hint(TIME, (name,), time)
        return
    if not looked.note(name).unfit:
        yield from _of_use(column, seen, is_split_by_time=looked.schema.split_by == "time")


def _of_leak(column: ColumnCounts, seen: Evidence, looked: Looked) -> str:
    name, target = column.name, looked.schema.target
    way = _drop_after([name])
    if looked.schema.split_by != "time" and numbers_on(column):
        way = f"it grows with every row, and the rows are in the order of {target!r}: if it is an id, say data.drop: "
        way += as_yaml({name: "an id"})
    return (
        f"{name!r} alone tells {target!r} nearly without error ({_measure(looked)} {seen.score:.3f}, out of fold, in "
        f"{seen.rows:,} training rows): {way}"
    )


def numbers_on(column: ColumnCounts) -> bool:
    """Whether each row has a greater number than the one before it."""
    return column.dtype == "double" and column.present > ROWS_OF_IDS and column.grows


def _measure(looked: Looked) -> str:
    return MEASURES.get(len(looked.schema.classes), "balanced accuracy")


def _drop_after(names: Sequence[str]) -> str:
    if len(names) > MOST_LISTED:
        return "what is known only after the answer belongs into data.drop"
    drop = as_yaml(dict.fromkeys(names, AFTER))
    return f"if {'it is' if len(names) == 1 else 'they are'} known only after the answer, say data.drop: {drop}"


def _of_groups(name: str, seen: Evidence, looked: Looked) -> str:
    split, drop = as_yaml({"by": "group", "column": name}), as_yaml({name: AFTER})
    one = f"{'one' if looked.schema.classes else 'about one'} {looked.schema.target!r}"
    return (
        f"{seen.groups:,} values of {name!r} are in several rows each, which all have {one}: if rows of a value "
        f"belong together, as those of a customer do, say split: {split}; if it is known only after "
        f"the answer, say data.drop: {drop}"
    )


def _disguised(column: ColumnCounts, seen: Evidence) -> Hint | None:
    """Texts that are numbers or dates in another form than those that are read."""
    name = column.name
    words = [] if column.more_values else column.words_among_numbers()
    if words:  # more cells than those that the scan takes for a few that do not fit
        return Hint(UNFIT, (name,), _of_texts(name, sum(column.values[word] for word in words), words, "number"))
    example = next(iter(column.values), "")
    with_point = next((value for value in column.values if re.search(r"\d\.\d", value)), "")
    found = column.number_in_disguise()
    if found is None and with_point and column.looks_like(PLAIN_NUMBER):
        words = [value for value in column.values if not re.match(PATTERNS[FLOAT], value.strip())]
        way = as_yaml({name: {"type": "number", "errors": "missing"} if words else "number"})
        found = with_point, f"say data.types: {way}{f', which reads {listed(words, 3)} as missing' if words else ''}"
    if found is not None:
        return Hint(NUMBER, (name,), f"{name!r} has texts such as {found[0]!r}: numbers? {found[1]}")
    if example and column.looks_like(OTHER_DATE):
        order = ""
        if seen.is_ordered:
            split = as_yaml({"by": "time", "column": name})
            order = f"; the rows are in their order: if later rows are to be predicted, then say split: {split}"
        return Hint(DATE, (name,), f"{name!r} has texts such as {example!r}: dates? write them as 2024-12-31{order}")
    return None


def _time(column: ColumnCounts, seen: Evidence, looked: Looked) -> str | None:
    """Why a split at random may not be right: the column is when the rows came about."""
    if looked.schema.split_by != "random" or column.dtype not in ("datetime", "double") or column.missing:
        return None
    name, split = column.name, as_yaml({"by": "time", "column": column.name})
    if seen.is_ordered:
        return f"the rows are in the order of {name!r}: if later rows are to be predicted, say split: {split}"
    if seen.drift is not None:
        label, earliest, latest = _of_drift(seen.drift, looked)
        change = f"from {earliest:.0%} of the earliest to {latest:.0%} of the latest rows"
        return (
            f"the share of {label!r} changes with {name!r}, {change}: if later rows are to be predicted, "
            f"say split: {split}"
        )
    return None


def _of_drift(drift: Drift, looked: Looked) -> tuple[object, float, float]:
    """A class or part and its share among the earliest and the latest rows; of two classes the positive one's."""
    schema = looked.schema
    if len(schema.classes) == 2 and drift.code != schema.positive:
        return schema.classes[schema.positive], 1 - drift.earliest, 1 - drift.latest
    return looked.parts[drift.code], drift.earliest, drift.latest


def _of_use(column: ColumnCounts, seen: Evidence, *, is_split_by_time: bool) -> Iterator[Hint]:
    """What makes a column of little use: it names rows, it was rounded, it has one value, or spellings of one."""
    name, dtype = column.name, column.dtype
    largest = _largest(column)
    drop = f"data.drop: {as_yaml({name: 'an id'})}"
    if _is_of_words(column):
        way = f"say models.NAME.preprocessing: {as_yaml({'texts': {name: 30}})}"
        what = f"{name!r} holds texts of several words, which are categories to models, each of its own"
        yield Hint(TEXT, (name,), f"{what}: that a model may learn from their words, {way}")
    elif dtype == "string" and column.present > ROWS_OF_IDS and column.is_nearly_unique:
        every = "nearly every" if column.repeated else "every"
        yield Hint(ID, (name,), f"{name!r} has another value in {every} row: if it is a name or an id, say {drop}")
    elif LARGEST >= largest > 2**53 and (seen.is_whole or not seen.rows):  # of fractions nothing is lost that they had
        exact = f", or say data.types: {as_yaml({name: 'category'})}"  # of what may be a whole number
        way = f"say {drop}{exact if largest < 1e30 else ''}"
        yield Hint(ROUNDED, (name,), f"{name!r} has numbers of more than 15 digits, which are rounded: an id? {way}")
    elif numbers_on(column) and not is_split_by_time:
        split = as_yaml({"by": "time", "column": name})
        yield Hint(
            ID,
            (name,),
            f"{name!r} grows with every row: if it is an id, say {drop}; if it is a time, say split: {split}",
        )
    elif dtype == "double" and numbers_rows(column, is_whole=seen.is_whole, equal=seen.equal):
        yield Hint(ID, (name,), f"{name!r} is another number in nearly every row: if it is an id, say {drop}")
    elif column.has_one_value:
        yield Hint(ONE_VALUE, (name,), f"{name!r} has one value only: it says nothing")
    elif same := column.alike():
        spellings = f"{name!r} has texts that differ in case only, {listed(same, 4)}"
        yield Hint(CASE, (name,), f"{spellings}: if they mean the same, write them alike")


def _is_of_words(column: ColumnCounts) -> bool:
    """Whether a column has many different texts of several words."""
    if column.dtype != "string" or len(column.values) < FEWEST_TEXTS:
        return False
    return sum(len(text.split()) for text in column.values) >= FEWEST_WORDS * len(column.values)


def numbers_rows(column: ColumnCounts, *, is_whole: bool, equal: float) -> bool:
    """Whether a number names the rows: `equal` other rows have a row's value, on average."""
    if not is_whole or column.present < ROWS_OF_NUMBERS or equal > EQUAL:
        return False
    fills = column.high - column.low + 1 < FILLED * column.present
    return bool(fills) or re.fullmatch(CALLED_ID, column.name) is not None


def _together(found: Sequence[Hint], looked: Looked) -> Iterator[Hint]:
    """The hints at columns, of which those of a kind that are many become one."""
    for kind in KINDS:
        alone = [hint for hint in found if hint.kind == kind]
        names = [name for hint in alone for name in hint.columns]
        if len(alone) <= MOST_OF_A_KIND:
            yield from alone
        elif kind == LEAK:
            scores = ", ".join(f"{name!r} {looked.evidence[name].score:.3f}" for name in names[:MOST_LISTED])
            more = f" and {len(names) - MOST_LISTED:,} more" if len(names) > MOST_LISTED else ""
            measure = _measure(looked)
            text = f"{len(names):,} columns, each alone, tell {looked.schema.target!r} nearly without error ({measure} "
            yield Hint(kind, tuple(names), f"{text}out of fold: {scores}{more}): {_drop_after(names)}")
        elif kind == ONE_VALUE:
            yield Hint(kind, tuple(names), f"{listed(names)} have one value only: they say nothing")
        elif kind == ID:
            text = f"{len(names):,} columns have another value in every row or nearly so, {listed(names)}: those that "
            yield Hint(kind, tuple(names), f"{text}are names or ids belong into data.drop")
        else:
            yield from alone


def _way_to_keep(columns: Sequence[str], word: str) -> str:
    keep = {name: {"keep": [word]} for name in columns[:MOST_LISTED]}
    return f"if that is a value, say data.missing: {as_yaml({'columns': keep})}"
