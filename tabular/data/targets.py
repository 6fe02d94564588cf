"""The target of a table's rows: classes or numbers, which of the two it looks like, and whether it has rows enough."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabular.data import compact, narrowing, rare
from tabular.data.counts import ColumnCounts
from tabular.errors import UserError, as_yaml, listed
from tabular.metrics.lookup import CLASSIFICATION, REGRESSION
from tabular.metrics.lookup import Task as Name
from tabular.problem import Problem
from tabular.sections.base import YAML_BOOLEANS, Label
from tabular.sections.table import Data

Array: TypeAlias = np.ndarray[Any, Any]
MAX_CLASSES = 100
# A target of whole numbers with more values than these looks like a number to predict.
MOST_VALUES_OF_CLASSES = 20
# A number to predict is cut into so many parts of equal numbers of rows, by which random splits are stratified.
PARTS = 10
# A number in a column of texts.
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
# Texts may be a number to predict where so many of the different ones, at least, are numbers.
NEARLY_NUMBERS = 0.8


@dataclass(frozen=True)
class Looks:
    """What a target looks like: the task, and why, in words."""

    task: Name
    why: str


def looks_like(values: Iterator[pa.Array], target: str) -> Looks:
    """Which task a target is of: fractions, or many whole numbers (`MOST_VALUES_OF_CLASSES`), are numbers to predict.

    All else are classes: texts, truths, few whole numbers, and dates, which are refused later.
    """
    found: set[Any] = set()
    for array in values:
        if pa.types.is_string(array.type):
            texts = pc.unique(array.drop_null()).to_pylist()
            if not texts:
                continue
            text = next((text for text in texts if not _is_number(text)), texts[0])
            return Looks(CLASSIFICATION, f"{target!r} holds texts such as {text!r}")
        if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
            return Looks(CLASSIFICATION, f"the values of {target!r} are no numbers")
        fractions = array.filter(pc.not_equal(pc.round(array), array)) if pa.types.is_floating(array.type) else []
        if len(fractions):
            return Looks(REGRESSION, f"{target!r} holds fractions such as {fractions[0].as_py():g}")
        found.update(pc.unique(array.drop_null()).to_pylist())
        if len(found) > MOST_VALUES_OF_CLASSES:
            return Looks(REGRESSION, f"{target!r} holds more than {MOST_VALUES_OF_CLASSES} different numbers")
    return Looks(CLASSIFICATION, f"{target!r} holds {len(found)} different whole numbers")


@dataclass(frozen=True)
class Classes:
    """Classes to tell apart.

    Attributes
    ----------
    names
        The classes in order.
    parts
        (n,) the position of each row's class; -1 where the target is missing or the row is left out.
    said
        Which rows of which rare classes became what; "" where none did.
    """

    names: tuple[Label, ...]
    parts: Array
    said: str = ""

    @property
    def classes(self) -> tuple[Label, ...]:
        """The classes that a model tells apart."""
        return self.names

    @property
    def known(self) -> Array:
        """(n,) bool, the rows that have a target."""
        return np.asarray(self.parts >= 0)

    def settled(self, kept: Array, problem: Problem) -> "Classes":
        """These classes once it is known which rows are kept: rare ones grouped, as the problem says.

        Raises
        ------
        UserError
            Where there are too few classes or too many, or one has too few rows.
        """
        grouped = rare.group(self.names, self.parts, kept, problem.data.rare)
        found = Classes(grouped.classes, grouped.codes, grouped.said)
        rows = found.rows(kept & found.known)
        _check_number(found.names, rows, problem)
        _enough_rows(found, rows, rows, 2, "rows", problem)
        _enough_for_all(found.names, rows, problem)
        return found

    def rows(self, some: Array) -> Array:
        """(classes,) the rows of each class among some, given as (n,) bool."""
        return compact.counts(self.parts[some], len(self.names))

    def check_sides(self, train: Array, holdout: Array, problem: Problem) -> None:
        """That both sides, (n,) bool, have the classes that they need."""
        folds, rows = problem.search.folds, self.rows(train | holdout)
        if problem.split.by == "random":  # each fold needs a row of each class, and so does the holdout
            _enough_rows(self, self.rows(train), rows, folds, f"training rows for {folds} folds", problem)
            _enough_rows(self, self.rows(holdout), rows, 1, "rows in the holdout", problem)
        for name, side in (("training rows", train), ("holdout", holdout)):
            present = len(np.unique(self.parts[side]))
            if present < 2:
                raise UserError(
                    f"split: the {name} of a split by {problem.split.by} ({int(side.sum())} rows) hold {present} of "
                    f"the {len(self.names)} classes: change split.holdout ({problem.split.holdout:g}) or split.by"
                )

    def lack(self, side: Array, need: int, problem: Problem) -> str:
        """What some rows, given as (n,) bool, lack where each class needs so many rows of a random split; else ""."""
        rows = self.rows(side)
        rarest, present = int(rows.argmin()), np.count_nonzero(rows)
        if problem.split.by == "random" and rows[rarest] < need:
            return f"class {self.names[rarest]!r} of {problem.data.target!r} has {rows[rarest]}, and {need} are needed"
        if present < 2:
            return f"they are {rows.sum():,} and hold {present} of the {len(self.names)} classes, and two are needed"
        return ""

    def column(self, rows: slice) -> pa.Array:
        """The target of some rows, as a data set's files hold it; null where it is missing."""
        codes = self.parts[rows]
        return pa.array(list(self.names)).take(pa.array(codes, mask=codes < 0))


@dataclass(frozen=True)
class Numbers:
    """Numbers to predict.

    Attributes
    ----------
    values
        (n,) the number of each row; NaN where it is missing.
    names
        The parts into which the numbers are cut, as texts such as `3 to 7`; empty before `settled`.
    parts
        (n,) the part of each row's number; -1 where it is missing.
    """

    values: Array
    names: tuple[str, ...]
    parts: Array
    classes: tuple[Label, ...] = ()
    said: str = ""

    @property
    def known(self) -> Array:
        """(n,) bool, the rows that have a target."""
        return np.asarray(~np.isnan(self.values))

    def settled(self, kept: Array, problem: Problem) -> "Numbers":
        """These numbers cut into parts, once it is known which rows are kept.

        Raises
        ------
        UserError
            Where there are too few rows, or all have one number.
        """
        found, name = self.values[kept], problem.data.target
        need = 2 * problem.search.folds + 2
        if len(found) < need:
            raise UserError(
                f"target: {len(found)} rows have a {name!r}, and {need} are needed for {problem.search.folds} folds "
                "and a holdout: add rows, or lower search.folds"
            )
        if found.min() == found.max():
            raise UserError(f"target: all rows have the same {name!r}, {found[0]:g}: there is nothing to predict")
        parts, edges = strata(found, _fewest_rows(problem))
        whole = np.full(len(self.values), -1, dtype=compact.kind(len(edges)))
        whole[kept] = parts
        return replace(self, names=_named(edges), parts=whole)

    def rows(self, some: Array) -> Array:
        """(parts,) the rows of each part among some, given as (n,) bool."""
        return compact.counts(self.parts[some], len(self.names))

    def check_sides(self, train: Array, holdout: Array, problem: Problem) -> None:
        """That both sides, (n,) bool, have the rows that they need, and more numbers than one."""
        self._check_coverage(train, problem)
        for name, side, need in (("training rows", train, 2 * problem.search.folds), ("holdout", holdout, 2)):
            lack = self.lack(side, need, problem)
            if lack:
                raise UserError(
                    f"split: of the {name} of a split by {problem.split.by}, {lack}: change split.holdout "
                    f"({problem.split.holdout:g}) or split.by"
                )

    def _check_coverage(self, train: Array, problem: Problem) -> None:
        """That the rows suffice for intervals of the problem's coverage, which train would find out after a search."""
        # of rows in the order of time only the later half is predicted by models that have not learnt from it
        rows, share = int(train.sum()) // (2 if problem.split.by == "time" else 1), problem.evaluation.coverage
        most = rows / (rows + 1)
        if share > most:
            raise UserError(
                f"evaluation.coverage: {share:g} is too much for {rows} rows that tell how far predictions are off: "
                f"say at most {math.floor(1000 * most) / 1000:g}"
            )

    def lack(self, side: Array, need: int, problem: Problem) -> str:
        """What some rows, given as (n,) bool, lack where so many are needed; "" where nothing."""
        rows, distinct = int(side.sum()), len(np.unique(self.values[side]))
        if rows < max(need, 2):
            return f"there {'is' if rows == 1 else 'are'} {rows}, and {max(need, 2)} are needed"
        return "" if distinct > 1 else f"all {rows} have the same {problem.data.target!r}"

    def column(self, rows: slice) -> pa.Array:
        """The target of some rows, as a data set's files hold it; null where it is missing."""
        return pa.array(self.values[rows], pa.float64(), from_pandas=True)


Target: TypeAlias = Classes | Numbers


def strata(values: Array, least: int) -> tuple[Array, Array]:
    """Cut numbers into at most `PARTS` parts of about equal numbers of rows; equal numbers are in one part.

    Parameters
    ----------
    values
        (n,) numbers.
    least
        The fewest rows of a part, as far as there are so many.

    Returns
    -------
    tuple
        (n,) the part of each number, and the parts' edges, of which each part holds its lower one.
    """
    ordered, counts = np.unique(values, return_counts=True)
    upto, firsts, rows = np.cumsum(counts), [0], 0
    while len(firsts) < PARTS:
        wanted = max(least, (len(values) - rows) / (PARTS + 1 - len(firsts)))
        after = int(np.searchsorted(upto, rows + wanted)) + 1  # the first number of the next part
        rows = int(upto[min(after, len(upto)) - 1])
        if len(values) - rows < max(least, 1):
            break
        firsts.append(after)
    return np.searchsorted(ordered[firsts], values, side="right") - 1, np.append(ordered[firsts], ordered[-1])


def _fewest_rows(problem: Problem) -> int:
    """The fewest rows of a part, of which each fold and both sides of the holdout get some."""
    share = min(problem.split.holdout, 1 - problem.split.holdout)
    pieces = max(math.ceil(1 / share), 10 if problem.split.by == "group" else 0)  # as `splits.holdout` cuts
    return max(pieces, problem.search.folds)


def _named(edges: Array) -> tuple[str, ...]:
    """The parts between edges, in words that tell each from the others."""
    found: tuple[str, ...] = ()
    for digits in (6, 9, 17):
        found = tuple(f"{low:.{digits}g} to {high:.{digits}g}" for low, high in pairwise(edges))
        if len({*found}) == len(found):
            break
    return found


def median(y: Array, weights: Array | None) -> float:
    """The median of (n,) numbers; with weights, the least number up to which at least half of the weights lie."""
    if weights is None:
        return float(np.median(y))
    order = np.argsort(y, kind="stable")
    upto = np.cumsum(weights[order])
    return float(y[order][np.searchsorted(upto, upto[-1] / 2)])


@dataclass
class Found:
    """The target of the rows seen so far, batch by batch: numbers as they are, of classes each label once."""

    problem: Problem
    labels: dict[Any, int] = field(default_factory=dict)  # label: its code
    held: list[Array] = field(default_factory=list)  # numbers, or codes; -1 where the target is missing

    def see(self, values: pa.Array) -> None:
        """Add a batch of rows, whose target may be given as a dictionary."""
        if self.problem.task == REGRESSION:
            self.held.append(batch(narrowing.plain(values), self.problem))
            return
        coded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode(null_encoding="encode")
        _check_not_dates(coded.dictionary, self.problem)
        known = [
            -1 if label is None else self.labels.setdefault(label, len(self.labels))
            for label in coded.dictionary.to_pylist()
        ]
        codes = np.array(known, dtype=compact.kind(len(self.labels)))
        self.held.append(codes[coded.indices.to_numpy()])

    def whole(self) -> Array:
        """(n,) the numbers, or codes, of all rows, which are held no longer."""
        found, self.held = np.concatenate(self.held), []
        return found


def batch(values: pa.Array, problem: Problem, truth: str = "") -> Array:
    """(n,) the target of a batch of rows: floats of a number to predict, else labels as objects; None where missing.

    Parameters
    ----------
    values
        (n,) as they were read.
    problem
        The problem, with its task.
    truth
        The table that holds them, where a model has learnt by the problem already, so that it cannot be changed.

    """
    data = problem.data
    _check_not_dates(values, problem, truth)
    if problem.task == REGRESSION:
        return _numbers(values, data, truth)
    labels = np.empty(len(values), dtype=object)
    labels[:] = values.to_pylist()
    return labels


def _check_not_dates(values: pa.Array, problem: Problem, truth: str = "") -> None:
    if pa.types.is_timestamp(values.type):
        what, name = "numbers" if problem.task == REGRESSION else "classes", problem.data.target
        if truth:
            raise UserError(f"data: {name!r} of {truth}, the truth, holds dates, which are no {what}: mend the column")
        raise UserError(f"target: column {name!r} holds dates, which are no {what}")


def _numbers(values: pa.Array, data: Data, truth: str = "") -> Array:
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        found = values.drop_null()
        texts = pc.unique(found).to_pylist()
        wrong = [one for one in texts if not _is_number(one)]
        example = f", such as {wrong[0]!r}" if wrong else ""
        lenient = as_yaml({data.target: {"type": "number", "errors": "missing"}})
        disguised = _counted(texts, None, data).number_in_disguise() if pa.types.is_string(values.type) else None
        if truth:
            way = "write numbers" if disguised is None else disguised[1]
            raise UserError(
                f"data: {data.target!r} of {truth}, the truth, was read as {values.type}{example}, and the model "
                f"predicts numbers: {way}; leave a cell empty where the truth is not known"
            )
        way = "say "
        if disguised is not None:
            example, way = f", such as {disguised[0]!r}", f"{disguised[1]}, or say "
        elif len(wrong) < len(texts):
            way = f"say data.types: {lenient}, which leaves out the rows of what is none, or "
        raise UserError(
            f"target: {data.target!r} was read as {values.type}{example}, and task: regression predicts numbers: "
            f"{way}task: classification"
        )
    return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)


def _is_number(value: Any) -> bool:
    return re.fullmatch(NUMBER, str(value).strip()) is not None


def _counted(texts: Sequence[str], rows: Array | None, data: Data) -> ColumnCounts:
    """The different texts of the target, with the (texts,) rows of each where they are known."""
    times = [1] * len(texts) if rows is None else rows.tolist()
    return ColumnCounts(data.target, "string", values=Counter(dict(zip(texts, times, strict=True))))


def of(found: Found, problem: Problem) -> Target:
    """The target of all rows.

    Raises
    ------
    UserError
        Where a value is of no class, or there are fewer than two classes.
    """
    rows = found.whole()
    if problem.task == REGRESSION:
        return Numbers(rows, (), np.full(len(rows), -1, dtype=np.int8))
    classes, code_of_label = _classes(_whole_numbers(list(found.labels)), problem.data)
    places = np.array([*code_of_label, -1], dtype=compact.kind(len(classes)))  # the last one is for -1
    return Classes(classes, places[rows])


def _whole_numbers(labels: list[Label]) -> list[Label]:
    """Labels with 1.0 as 1, where all are such floats: whole numbers with missing values are read as floats."""
    whole = [int(label) for label in labels if isinstance(label, float) and label.is_integer()]
    return labels if len(whole) < len(labels) else [*whole]


def _classes(present: list[Label], data: Data) -> tuple[tuple[Label, ...], list[int]]:
    """The classes in order, and the position of each label's class."""
    if data.classes is not None:
        meaning = {_key(label): name for name, group in data.classes.items() for label in group}
        unknown = [label for label in present if _key(label) not in meaning]
        if unknown:
            booleans = any(isinstance(label, bool) for group in data.classes.values() for label in group)
            raise UserError(
                f"data.classes: the value {unknown[0]!r} of {data.target!r} belongs to no class"
                f"{YAML_BOOLEANS if booleans else ''}"
            )
        used = {meaning[_key(label)] for label in present}
        classes: tuple[Label, ...] = tuple(name for name in data.classes if name in used)
        code = {_key(label): classes.index(meaning[_key(label)]) for label in present}
    else:
        classes = tuple(sorted(present))
        code = {_key(label): position for position, label in enumerate(classes)}
    if len(classes) < 2:
        only = f"only the class {classes[0]!r}" if classes else "no value"
        raise UserError(f"target: column {data.target!r} has {only}; a classifier needs two classes and more")
    return classes, [code[_key(label)] for label in present]


def known_codes(labels: Array, classes: Sequence[Label], data: Data) -> Array:
    """The classes of later rows, in terms of those that were learnt.

    Parameters
    ----------
    labels
        (n,) labels as `batch` gives them.
    classes
        The classes that were learnt, in order.
    data
        What groups values into classes, and says what becomes of those that are none of them.

    Returns
    -------
    ndarray
        (n,) positions in `classes`; -1 where the target is missing or its row is left out, -2 where its value is no
        class that was learnt.
    """
    # a table of a few rows may hold the same values as another type: 1 for "1", where all of them are numbers
    meaning = {_as_text(label): name for name, group in (data.classes or {}).items() for label in group}
    place = {_as_text(label): code for code, label in enumerate(classes)}
    other = -2 if data.rare is None else place.get(str(data.rare.into), -1)
    named = {text: place.get(_as_text(meaning.get(text, text)), other) for text in map(_as_text, {*labels} - {None})}
    return np.array([-1 if label is None else named[_as_text(label)] for label in labels], dtype=np.int64)


def _as_text(label: Label) -> str:
    """A label as text, where 1.0 is written as 1."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def _check_number(classes: tuple[Label, ...], rows: Array, problem: Problem) -> None:
    """That there are two classes and not too many; `rows` are (classes,) those of each."""
    data, found = problem.data, len(classes)
    if found < 2:
        raise UserError(
            f"data.rare: {'no class' if not classes else f'only the class {classes[0]!r}'} of {data.target!r} is left; "
            f"a classifier needs two: lower fewer_than ({getattr(data.rare, 'fewer_than', 0)})"
        )
    if found <= MAX_CLASSES:
        return
    most = f"Tabular tells at most {MAX_CLASSES} classes apart"
    many = f"target: column {data.target!r} has {found} different values; {most}"
    way = rare.way_out(rows, rare.least_rows(problem.split, problem.search.folds), most=MAX_CLASSES)
    number = _if_a_number(classes, rows, data, fractions=False)
    if number:
        raise UserError(f"{many}, and {number}{f'; if its values are names, {way}' if way else ''}")
    raise UserError(
        f"{many}: {f'{way}, ' if way else ''}choose a column of classes, or group its values in data.classes"
    )


def _if_a_number(classes: Sequence[Label], rows: Array, data: Data, *, fractions: bool) -> str:
    """What to say where classes look like a number to predict; "" where they do not.

    Parameters
    ----------
    classes
        In order.
    rows
        (classes,) the rows of each.
    data
        The problem's section.
    fractions
        Whether one of them has to be no whole number.

    """
    if rare.looks_like_a_number(classes, fractions=fractions):
        return rare.REGRESSION
    texts = [label for label in classes if isinstance(label, str)]
    if len(texts) < len(classes) or data.classes is not None or data.rare is not None:  # which mean classes
        return ""
    if fractions and not any(re.search(r"\d[.,]\d", text) for text in texts):
        return ""
    disguised = _counted(texts, rows, data).number_in_disguise()
    if disguised is not None:
        return f"values such as {disguised[0]!r} look like numbers: if it is a number to predict, {disguised[1]}"
    wrong = {text: int(times) for text, times in zip(texts, rows, strict=True) if not _is_number(text)}
    if len(texts) - len(wrong) < NEARLY_NUMBERS * len(texts):
        return ""
    what = "its values are numbers, written as texts"
    expected: str | dict[str, str] = "number"
    if wrong:
        some = f"{sum(wrong.values()):,} of {rows.sum():,} values of {data.target!r}, such as {next(iter(wrong))!r},"
        what, expected = f"{some} are no numbers", {"type": "number", "errors": "missing"}
    way = f"task: regression and data.types: {as_yaml({data.target: expected})} in a YAML"
    return f"{what}: if it is a number, say {way} (-P problem=…; docs/problems.md#classes-or-a-number)"


def _key(label: Label) -> tuple[bool, Label]:
    """A key that tells True from 1, which are equal in Python but different classes; 1 and 1.0 are one class."""
    return isinstance(label, bool), label


def positive(classes: tuple[Label, ...], data: Data) -> int:
    """The position of the positive class; the last one where the problem names none."""
    if data.positive is None:
        return len(classes) - 1
    keys = [_key(label) for label in classes]
    as_text = _key(str(data.positive))
    if data.rare is not None and _key(data.positive) not in keys and as_text in keys:
        return keys.index(as_text)  # the names of all classes became texts
    if _key(data.positive) not in keys:
        hint = YAML_BOOLEANS if isinstance(data.positive, bool) else ""
        raise UserError(
            f"data.positive: {data.positive!r} is no class of {data.target!r}; its classes: {listed(classes)}{hint}"
        )
    return keys.index(_key(data.positive))


def _enough_rows(target: Classes, found: Array, rows: Array, need: int, what: str, problem: Problem) -> None:
    """That each class has what it needs of `found`, (classes,) some of its rows; `rows` are all of them."""
    rarest = int(found.argmin())
    if found[rarest] < need:
        some = what.replace("rows", "row", 1) if found[rarest] == 1 else what
        named = f"class {target.names[rarest]!r} of {problem.data.target!r}"
        lack = f"{named} has {found[rarest]} {some}, and {need} are needed"
        raise UserError(f"target: {lack}{_way_to_more_rows(target.names, rows, problem)}")


def _enough_for_all(classes: Sequence[Label], rows: Array, problem: Problem) -> None:
    """That both sides of a random split have a row for each class."""
    held_out = int(np.ceil(problem.split.holdout * rows.sum()))
    if problem.split.by == "random" and min(held_out, int(rows.sum()) - held_out) < len(rows):
        name = problem.data.target
        lack = f"{name!r} has {len(rows)} classes, and {held_out} of {rows.sum()} rows are to be held out"
        raise UserError(
            f"target: {lack}: both sides need a row of each class{_way_to_more_rows(classes, rows, problem)}"
        )


def _way_to_more_rows(classes: Sequence[Label], rows: Array, problem: Problem) -> str:
    number = _if_a_number(classes, rows, problem.data, fractions=True)
    if number:
        return f"; {number}"
    split, folds = problem.split, problem.search.folds
    ways = [rare.way_out(rows, rare.least_rows(split, folds)), rare.other_split(rows, split, folds)]
    if len(classes) > 2 and rare.looks_like_a_number(classes, fractions=False):
        ways.append("if it is a number to predict, such as a count, say task: regression (-P task=regression)")
    return f": {', or '.join(way for way in ways if way) or 'choose another target, or add rows of this class'}"
