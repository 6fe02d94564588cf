"""Data sets made from tables: training and holdout rows as Parquet files, and the schema of both.

The table is streamed twice. Only these are in memory for all rows at once: the target's classes (a byte a row, or two)
or numbers, the weights, which of the different split keys each row has, and which rows go where.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa

from tabular.data import duplicates, evidence, narrowing, profiles, splits, summaries, tables, targets
from tabular.data.ahead import ahead
from tabular.data.columns import USUAL_MISSING, WEIGHT, Expected, Reading, Words
from tabular.data.parts import Place
from tabular.data.profiles import Profile
from tabular.data.readers import Readers
from tabular.data.spills import Spill
from tabular.data.splits import Keys
from tabular.data.summaries import Summary
from tabular.data.tables import Table
from tabular.data.targets import Target
from tabular.errors import UserError, as_yaml, listed, nearest
from tabular.metrics.lookup import CLASSIFICATION, REGRESSION
from tabular.metrics.lookup import Task as Name
from tabular.problem import Problem
from tabular.sections.base import Label
from tabular.sections.table import Data, MissingInColumn, Split, Typed

# The column with the time or the group of each row, kept beside the features to cut folds by the holdout's rule.
SPLIT_KEY = "__split_key__"
# The Arrow types, in a data set's files, of the types in a schema.
ARROW = {"double": pa.float64(), "string": pa.string(), "boolean": pa.bool_(), "datetime": pa.timestamp("us")}

Array: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Column:
    """A feature of raw rows.

    Attributes
    ----------
    name : str
    dtype : str
        Its type, by MLflow's names for signatures.
    kind : str
        How a model uses it.
    missing : tuple of str, optional
        The words that mean missing in it, where texts lose the blanks around them. None in a data set or a model that
        was made before this rule, whose texts stay as they are.

    """

    name: str
    dtype: Literal["double", "string", "boolean", "datetime"]
    kind: Literal["number", "category"]
    missing: tuple[str, ...] | None = None


def described(columns: Sequence[Column]) -> dict[str, Any]:
    """Columns as plain values: the words that mean missing in most of them stand once, in `missing`."""
    usual = Counter(column.missing for column in columns).most_common(1)[0][0] if columns else None
    plain = [
        {name: value for name, value in vars(column).items() if name != "missing" or value != usual}
        for column in columns
    ]
    return {"columns": plain, "missing": usual}


def columns_of(values: Mapping[str, Any]) -> tuple[Column, ...]:
    """The columns that `described` wrote, also after JSON."""

    def words(column: Mapping[str, Any]) -> tuple[str, ...] | None:
        own = column.get("missing", values.get("missing"))
        return None if own is None else tuple(own)

    return tuple(Column(**{**column, "missing": words(column)}) for column in values["columns"])


@dataclass(frozen=True)
class Own:
    """Columns of the user's own: the function that makes them of raw rows, its file's code, and what it makes."""

    function: str
    code: str
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Schema:
    """The schema of a data set: the columns of raw rows, the target and its classes, the kind of split, the weights."""

    columns: tuple[Column, ...]
    target: str
    classes: tuple[Label, ...]  # empty where a number is predicted
    positive: int  # position in `classes`; with more than two classes it has no meaning and is the last by default
    split_by: Literal["random", "time", "group"]
    own: Own | None = None
    weight: str | None = None  # the column of the rows' weights; None where all rows count alike

    @property
    def task(self) -> Name:
        """What is predicted: classes or a number."""
        return CLASSIFICATION if self.classes else REGRESSION

    @property
    def features(self) -> tuple[Column, ...]:
        """What a model learns from: the columns of raw rows, and the user's own after them."""
        return self.columns + (self.own.columns if self.own else ())

    @property
    def weighted(self) -> str:
        """The end of a phrase about rows: by which column they are weighted; empty where all count alike."""
        return "" if self.weight is None else f", weighted by {self.weight!r}"

    def to_json(self) -> str:
        """The schema as the JSON text that `from_json` takes."""
        values = {**asdict(self), **described(self.columns)}
        for name in ("own", "weight"):
            if values[name] is None:
                del values[name]
        return json.dumps(values, indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Schema":
        """The schema that `to_json` wrote."""
        values = json.loads(text)
        columns = columns_of(values)
        own = values.get("own")
        if own is not None:
            own = Own(own["function"], own["code"], tuple(Column(**column) for column in own["columns"]))
        apart = ("columns", "missing", "classes", "own")
        others = {name: value for name, value in values.items() if name not in apart}
        return cls(columns=columns, classes=tuple(values["classes"]), own=own, **others)


@dataclass(frozen=True)
class Rows:
    """Rows of a data set in memory.

    Attributes
    ----------
    frame
        (n, columns) a pandas frame of the raw features.
    y
        (n,) positions in the schema's classes, or the numbers to predict.
    key
        (n,) the time or the group of each row; None for a random split.
    slice_only
        (n, any) a pandas frame of columns that no model sees, by which the holdout is cut into slices.
    weights
        (n,) how much each row counts; None where all count alike.

    """

    frame: Any
    y: Array
    key: Array | None
    slice_only: Any
    weights: Array | None = None


@dataclass(frozen=True)
class _Sides:
    """The target and the split keys of all rows of a table, and (n,) arrays: masks of both sides, weight."""

    target: Target
    keys: Keys | None
    train: Array
    holdout: Array
    weights: Array | None = None


@dataclass(frozen=True)
class Weighted:
    """The weights of a data set's rows: their column, their sum for each class or part on both sides, and their range.

    Attributes
    ----------
    column
        The name of the column.
    train, holdout
        Class, or part of the numbers: the sum of the weights of its rows.
    low, high
        The least weight and the greatest.
    zeros
        The number of rows of weight 0, which count nothing.
    mean
        The mean weight.

    """

    column: str
    train: dict[str, float]
    holdout: dict[str, float]
    low: float
    high: float
    zeros: int
    mean: float

    def said(self) -> str:
        """Their range and their sums, in words."""
        return weights_in_words(self.low, self.high, sum(self.train.values()), sum(self.holdout.values()), self.zeros)


def weights_in_words(low: float, high: float, train: float, holdout: float, zeros: int) -> str:
    """The range of weights, their sums on both sides, and how many are 0."""
    said = f"from {low:g} to {high:g}, in sum {train:,.6g} to learn from and {holdout:,.6g} held out"
    return f"{said}; {zeros:,} rows of weight 0 count nothing" if zeros else said


@dataclass(frozen=True)
class Prepared:
    """The schema, the numbers of rows and the profile of a data set that `prepare` wrote."""

    schema: Schema
    rows: int
    duplicates: int
    without_target: int
    train: dict[str, int]  # class, or part of the numbers: rows
    holdout: dict[str, int]
    profile: Profile
    summary: Summary
    target_missing: str = ""  # the words that made the target missing, and how often, in all rows
    rare: str = ""  # what became of the rows of rare classes
    weighted: Weighted | None = None


def reading(problem: Problem) -> Reading:
    """The options for reading the problem's file."""
    data = problem.data
    needed = (data.target, *_weight_columns(data), *splits.columns(problem.split), *problem.evaluation.slices)
    words = {name: _words(one) for name, one in getattr(data.missing, "columns", {}).items()}
    words[data.target] = _never_missing(data, words.get(data.target, Words()))
    everywhere = Words(tuple(data.missing)) if isinstance(data.missing, list) else _words(data.missing)
    return Reading(
        columns=tuple(data.columns) if data.columns else None,
        missing=everywhere.add,
        separator=data.separator,
        encoding=data.encoding,
        keep=everywhere.keep,
        of_columns=words,
        types={name: _expected(one) for name, one in data.types.items()},
        dropped=frozenset(data.drop) - {*needed},
        needed=needed,
        escape=data.escape,
        sheet=data.sheet,
    )


def _words(given: MissingInColumn) -> Words:
    return Words(tuple(word.strip() for word in given.add), tuple(word.strip() for word in given.keep))


def _never_missing(data: Data, given: Words) -> Words:
    """The words of the target: a class that the problem names is a class, also where it is called `none`."""
    named = [label for group in (data.classes or {}).values() for label in group] + [data.positive]
    classes = tuple(label.strip() for label in named if isinstance(label, str) and label.strip())
    return Words(tuple(word for word in given.add if word not in classes), (*given.keep, *classes))


def _expected(given: str | Typed) -> Expected:
    if isinstance(given, Typed):
        return Expected(given.type, lenient=given.errors == "missing")
    return Expected(given)  # type: ignore[arg-type]


def reading_for(columns: Sequence[Column], given: Reading) -> Reading:
    """The options for reading a table that a model is asked about: what is missing in its columns, it says itself."""
    words = {column.name: column.missing for column in columns if column.missing is not None}
    return replace(
        given,
        of_columns={
            name: Words(here, tuple({*USUAL_MISSING, *given.missing, ""} - {*here})) for name, here in words.items()
        },
        verbatim=frozenset(column.name for column in columns) - words.keys(),
    )


def looks_like(place: Place, problem: Problem, readers: Readers | None = None) -> targets.Looks:
    """Which task the target of a table looks like, which is read once for it; only the target is looked at."""
    target = problem.data.target
    how = replace(reading(problem), only={target}, needed=(target,))
    with TemporaryDirectory() as room:
        spill = Spill(Path(room), alone=readers is not None)
        table = tables.scan(place, how, spill=spill, readers=readers)
        _check_columns(table, "target", [target])
        return targets.looks_like((batch[target] for batch in table.batches([target])), target)


def prepare(table: Table, problem: Problem, folder: Path) -> Prepared:
    """Write `train.parquet`, `holdout.parquet` and `schema.json` into `folder`.

    Parameters
    ----------
    table
        The scanned table.
    problem
        The problem; its sections data and split say which columns are dropped, what the target is and how the holdout
        is split off.
    folder
        The folder for the files, which must exist.

    Raises
    ------
    UserError
        Where a named column is not in the table, the target is not usable for classification, or a part of the split
        would have too few rows or classes.
    """
    data, split = problem.data, problem.split
    columns = _features(table, data, split)
    slice_only = _slice_only_columns(table, columns, problem)
    found, keys, weights, first = _collect(table, problem, folder)
    target = targets.of(found, problem)
    without_target = int((~target.known).sum())
    kept, repeated = target.known, 0
    if first is not None:
        kept &= first
        repeated = int((~first).sum())
        del first
    target = target.settled(kept, problem)
    kept &= target.known
    _check_weights(weights, kept, table, data)
    positive = targets.positive(target.classes, data) if target.classes else 0
    schema = Schema(columns, data.target, target.classes, positive, split.by, weight=data.weight)
    sides = _Sides(target, keys, *_cut(target, keys, kept, problem), weights)
    target.check_sides(sides.train, sides.holdout, problem)
    _check_rows_that_count(sides, problem)
    profile, weighted = _write(table, schema, slice_only, sides, folder), _weighted(sides, schema)
    (folder / "schema.json").write_text(schema.to_json(), encoding="utf-8")
    return Prepared(
        schema=schema,
        rows=table.rows,
        duplicates=repeated,
        without_target=without_target,
        train=_counts(target, sides.train),
        holdout=_counts(target, sides.holdout),
        profile=profile,
        target_missing=profiles.counted(table.notes[data.target].missing) if data.target in table.notes else "",
        rare=target.said,
        weighted=weighted,
        summary=_summary(sides, weighted),
    )


def _cut(target: Target, keys: Keys | None, kept: Array, problem: Problem) -> tuple[Array, Array]:
    """(n,) bool of the training rows and of the holdout rows; all that are kept are one or the other."""
    held_out = np.zeros(len(kept), dtype=bool)
    codes = None if keys is None else keys.codes[kept]
    held_out[kept] = splits.holdout(target.parts[kept], codes, problem.split, problem.seed)
    kept[held_out] = False
    return kept, held_out


def load(path: Path, schema: Schema, *, features: bool = True) -> Rows:
    """Read `train.parquet` or `holdout.parquet` into memory, all rows at once; without `features` only what is beside.

    What is beside the features is the target, the key of the split and the weights.
    """
    import pyarrow.parquet as pq

    if not features:
        return _load_beside(path, schema)
    table = pq.read_table(path)
    key = table[SPLIT_KEY].to_numpy() if SPLIT_KEY in table.column_names else None
    weights = table[WEIGHT].to_numpy() if schema.weight is not None else None
    names = [column.name for column in schema.columns]
    named = {*names, schema.target, SPLIT_KEY, *([] if weights is None else [WEIGHT])}
    others = [name for name in table.column_names if name not in named]
    y = _codes(table[schema.target], schema) if schema.classes else table[schema.target].to_numpy()
    slice_only, frame = table.select(others).to_pandas(), table.select(names).to_pandas()
    del table
    give_back()
    return Rows(frame, y, key, slice_only, weights)


def _load_beside(path: Path, schema: Schema) -> Rows:
    import pandas as pd
    import pyarrow.parquet as pq

    known = {schema.target, SPLIT_KEY, *([] if schema.weight is None else [WEIGHT])}
    table = pq.read_table(path, columns=[name for name in pq.read_schema(path).names if name in known])
    found = {name: table[name].to_numpy() for name in table.column_names if name != schema.target}
    y = _codes(table[schema.target], schema) if schema.classes else table[schema.target].to_numpy()
    nothing = pd.DataFrame(index=range(len(y)))
    return Rows(nothing, y, found.get(SPLIT_KEY), nothing, found.get(WEIGHT))


def give_back() -> None:
    """Give the memory that has been freed back to the system: of a wide table it is as much as the table."""
    pa.default_memory_pool().release_unused()


def _codes(labels: pa.ChunkedArray, schema: Schema) -> Array:
    position = {(type(label), label): code for code, label in enumerate(schema.classes)}
    coded = labels.dictionary_encode().unify_dictionaries()
    codes: Array = np.concatenate([np.empty(0, np.int32), *(chunk.indices.to_numpy() for chunk in coded.chunks)])
    known = coded.chunk(0).dictionary.to_pylist() if coded.num_chunks else []
    return np.array([position[type(label), label] for label in known], dtype=np.int64)[codes]


def counting(rows: Rows) -> Rows:
    """The rows whose weight is above 0; all, where all rows count alike."""
    if rows.weights is None or (rows.weights > 0).all():
        return rows
    counts = rows.weights > 0
    return Rows(
        frame=rows.frame[counts].reset_index(drop=True),
        y=rows.y[counts],
        key=None if rows.key is None else rows.key[counts],
        slice_only=rows.slice_only[counts].reset_index(drop=True),
        weights=rows.weights[counts],
    )


def _features(table: Table, data: Data, split: Split) -> tuple[Column, ...]:
    """The columns that a model may see, in the table's order."""
    _check_columns(table, "target", [data.target])
    _check_columns(table, "data.weight", _weight_columns(data))
    _check_columns(table, "data.drop", data.drop)
    _check_columns(table, "data.types", data.types)
    _check_columns(table, "data.missing.columns", getattr(data.missing, "columns", {}))
    _check_columns(table, "split.column", splits.columns(split))
    # rows to predict belong to groups that the model has not seen, so the group's name tells the model nothing
    hidden = {data.target, data.weight, *data.drop, *(splits.columns(split) if split.by == "group" else [])}
    hidden |= set(_left_out(table, data)) - set(splits.columns(split))
    columns = [_column(field.name, field.type, table, data) for field in table.schema if field.name not in hidden]
    if not columns:
        raise UserError(f"data.drop: no column is left beside the target {data.target!r}")
    return tuple(columns)


def _left_out(table: Table, data: Data) -> list[str]:
    """The columns that count the rows, unless the problem says what they are, and those without name and value."""
    found = {name: note.index for name, note in table.notes.items()}
    return [name for name, index in found.items() if index == "empty" or (index == "counts" and name not in data.types)]


def _slice_only_columns(table: Table, columns: tuple[Column, ...], problem: Problem) -> list[pa.Field]:
    """The columns by which the holdout is cut into slices, but which no model may see, such as a person's sex."""
    names = problem.evaluation.slices
    _check_columns(table, "evaluation.slices", names)
    if problem.data.target in names:
        raise UserError(f"evaluation.slices: {problem.data.target!r} is the target: name another column")
    seen = {column.name for column in columns}
    return [table.schema.field(name) for name in dict.fromkeys(names) if name not in seen]


def _check_columns(table: Table, where: str, names: Iterable[str]) -> None:
    known = set(table.schema.names)
    for name in names:
        if name not in known:
            raise UserError(
                f"{where}: {table.path.name} has no column {name!r}{nearest(name, table.schema.names) or ';'}"
                f" its columns: {listed(table.schema.names)}"
            )


def _column(name: str, type_: pa.DataType, table: Table, data: Data) -> Column:
    if pa.types.is_boolean(type_):
        dtype, kind = "boolean", "number"
    elif pa.types.is_timestamp(type_):
        dtype, kind = "datetime", "number"
    elif pa.types.is_string(type_):
        dtype, kind = "string", "category"
    else:
        dtype, kind = "double", "number"
    wanted = _expected(data.types[name]).type if name in data.types else None
    fits = {"number": {"double"}, "date": {"datetime"}, "boolean": {"boolean"}}
    if wanted is not None and wanted in fits and dtype not in fits[wanted]:
        raise UserError(f"data.types: column {name!r} is not a {wanted} throughout: it was read as {dtype}")
    if wanted == "category":
        if dtype == "datetime":
            raise UserError(f"data.types: column {name!r} holds dates, which cannot be categories")
        kind = "category" if dtype != "boolean" else "number"
    return Column(name, dtype, kind, table.reading.words(name))  # type: ignore[arg-type]


def _collect(
    table: Table, problem: Problem, folder: Path
) -> tuple[targets.Found, Keys | None, Array | None, Array | None]:
    """What is held of all rows: the target, the split keys, (n,) weights (NaN), (n,) whether it repeats no earlier row.

    None for what the problem does not ask for.
    """
    data, split = problem.data, problem.split
    whole_rows = data.duplicates == "drop"
    found, keys, weights = targets.Found(problem), splits.Found(split, table.path.name), []
    names = {data.target, *_weight_columns(data), *splits.columns(split)}
    with TemporaryDirectory(dir=folder) as room:
        seen = duplicates.Seen(table.rows, Path(room))
        for block in ahead(table.coded(None if whole_rows else list(names))):
            found.see(block[data.target])
            if split.column is not None:
                keys.see(block)
            if data.weight is not None:
                weights.append(_weights(narrowing.plain(block[data.weight]), table, data))
            if whole_rows:
                seen.add(duplicates.hashes(block))
        first = seen.first() if whole_rows else None
    return found, keys.whole() if keys.held else None, np.concatenate(weights) if weights else None, first


def _weight_columns(data: Data) -> list[str]:
    return [] if data.weight is None else [data.weight]


def _weights(values: pa.Array, table: Table, data: Data) -> Array:
    """(n,) the weights of rows as float64, NaN where missing."""
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise UserError(
            f"data.weight: column {data.weight!r} of {table.path.name} is not a number throughout: it was read as "
            f"{values.type}: {_way_without_weights(data)}"
        )
    return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def _way_without_weights(data: Data) -> str:
    without = as_yaml({str(data.weight): "it was meant as a weight"})
    return f"name a column of numbers from 0 up, or say data.drop: {without} in the place of data.weight"


def _check_weights(weights: Array | None, kept: Array, table: Table, data: Data) -> None:
    """That the rows of a data set have weights that can be: none is missing, negative or infinite."""
    if weights is None:
        return
    for fault, wrong in {"missing": np.isnan(weights), "negative": weights < 0, "infinite": np.isinf(weights)}.items():
        rows = np.flatnonzero(kept & wrong)
        if len(rows):
            raise UserError(
                f"data.weight: {data.weight!r} of {table.path.name} is {fault} in {len(rows):,} of {int(kept.sum()):,} "
                f"rows, first in row {rows[0] + 1:,}: give each a number from 0 up (0: the row counts nothing), or "
                f"{_way_without_weights(data)}"
            )


def _check_rows_that_count(sides: _Sides, problem: Problem) -> None:
    """That each side has what it needs among the rows whose weight is above 0 too."""
    if sides.weights is None:
        return
    counts, folds = sides.weights > 0, problem.search.folds
    for name, side, need in (("training rows", sides.train, folds), ("holdout rows", sides.holdout, 1)):
        lack = sides.target.lack(side & counts, need, problem)
        if lack:
            raise UserError(
                f"data.weight: of the {name} whose {problem.data.weight!r} is above 0, {lack}: give more of them a "
                f"weight, or {_way_without_weights(problem.data)}"
            )


def _weighted(sides: _Sides, schema: Schema) -> Weighted | None:
    if sides.weights is None:
        return None
    weights: Array = sides.weights
    every = weights[sides.train | sides.holdout]
    names = sides.target.names

    def sums(side: Array) -> dict[str, float]:
        found = np.bincount(sides.target.parts[side], weights=weights[side], minlength=len(names))
        return {str(name): float(total) for name, total in zip(names, found, strict=True)}

    return Weighted(
        column=str(schema.weight),
        train=sums(sides.train),
        holdout=sums(sides.holdout),
        low=float(every.min()),
        high=float(every.max()),
        zeros=int((every == 0).sum()),
        mean=float(every.mean()),
    )


def _summary(sides: _Sides, weighted: Weighted | None) -> Summary:
    """What is told of the target in both parts of the data set."""
    target, train, holdout = sides.target, sides.train, sides.holdout
    if isinstance(target, targets.Numbers):
        weights = None if sides.weights is None else sides.weights[train]
        return summaries.of_numbers(target.values[train], target.values[holdout], weights)
    sums = (
        {}
        if weighted is None
        else {
            summaries.WEIGHT_OF_TRAIN: weighted.train,
            summaries.WEIGHT_OF_HOLDOUT: weighted.holdout,
        }
    )
    return summaries.OfClasses(_counts(target, train), _counts(target, holdout), sums, target.said)


def _write(table: Table, schema: Schema, slice_only: list[pa.Field], sides: _Sides, folder: Path) -> Profile:
    """Stream the table and write each row to its file; columns that are only for slices go to the holdout alone."""
    import pyarrow.parquet as pq

    arrow = _arrow_schema(schema, table, sides)
    wide = pa.schema([*arrow, *slice_only])
    features = [column.name for column in schema.columns]
    profile = Profile(schema, table.notes, table.reading.missing, sides.target.names)
    sampled, sample = np.flatnonzero(evidence.sampled(sides.target.parts, sides.train, len(features))), []

    def of_sides() -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
        for rows, batch in _typed(table, wide, len(features), sides):
            narrow = batch.select(arrow.names)
            profile.add(_some(narrow, sides.train[rows] | sides.holdout[rows]))
            first, last = np.searchsorted(sampled, [rows.start, rows.stop])
            sample.append(narrow.select(features).take(pa.array(sampled[first:last] - rows.start)))
            yield _some(narrow, sides.train[rows]), _some(batch, sides.holdout[rows])

    with (
        pq.ParquetWriter(folder / "train.parquet", arrow) as train,
        pq.ParquetWriter(folder / "holdout.parquet", wide) as holdout,
    ):
        for to_learn_from, held_out in ahead(of_sides()):
            train.write_batch(to_learn_from)
            holdout.write_batch(held_out)
    looked_at = pa.Table.from_batches(sample, pa.schema(list(arrow)[: len(features)]))
    numbers = sides.target.values[sampled] if isinstance(sides.target, targets.Numbers) else None
    profile.look_at(looked_at, sides.target.parts[sampled], numbers)
    return profile


def _typed(table: Table, wide: pa.Schema, features: int, sides: _Sides) -> Iterator[tuple[slice, pa.RecordBatch]]:
    """Stream all rows with all columns of a data set, in its types: features, target, key, weight, those for slices."""
    beside = wide.names[features + 1 + (sides.keys is not None) + (sides.weights is not None) :]
    start = 0
    for batch in table.batches([*wide.names[:features], *beside]):
        rows = slice(start, start + len(batch))
        start += len(batch)
        key = [] if sides.keys is None else [pa.array(sides.keys.of(rows))]
        weight = [] if sides.weights is None else [pa.array(sides.weights[rows])]
        given = [batch[name] for name in wide.names[:features]], [batch[name] for name in beside]
        arrays = [*given[0], sides.target.column(rows), *key, *weight, *given[1]]
        # whole numbers beyond 2**53 are rounded, as they are when the model is served
        typed = [
            array.cast(field.type, safe=not pa.types.is_floating(field.type))
            for array, field in zip(arrays, wide, strict=True)
        ]
        yield rows, pa.RecordBatch.from_arrays(typed, schema=wide)


def _some(batch: pa.RecordBatch, rows: Array) -> pa.RecordBatch:
    """Some rows of a batch, given as (n,) bool."""
    return batch if rows.all() else batch.filter(pa.array(rows))


def _arrow_schema(schema: Schema, table: Table, sides: _Sides) -> pa.Schema:
    fields = [pa.field(column.name, ARROW[column.dtype]) for column in schema.columns]
    fields.append(pa.field(schema.target, pa.array(list(schema.classes)).type if schema.classes else pa.float64()))
    if sides.keys is not None:
        fields.append(pa.field(SPLIT_KEY, pa.array(sides.keys.points[:1]).type))
    if sides.weights is not None:
        fields.append(pa.field(WEIGHT, pa.float64()))
    for name in (SPLIT_KEY, *([] if sides.weights is None else [WEIGHT])):
        if name in table.schema.names:
            raise UserError(f"{table.path.name}: the column name {name!r} is taken by Tabular: rename it")
    return pa.schema(fields)


def _counts(target: Target, side: Array) -> dict[str, int]:
    return {str(name): int(rows) for name, rows in zip(target.names, target.rows(side), strict=True)}
