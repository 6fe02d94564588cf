"""From a table to a data set: train and holdout Parquet, and the schema that both follow.

The table is read as a stream, twice. What is held for all rows at once: the target, the column of the split and, where
duplicates are dropped, a hash of eight bytes a row.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabular.data.columns import Reading
from tabular.data.profiles import Profile
from tabular.data.tables import Table
from tabular.errors import UserError, first_line, listed, nearest
from tabular.problem import YAML_BOOLEANS, Data, DateParts, Label, Problem, Split

# The rows' place in time, or their group: kept beside the features, so that folds can be cut as the holdout was.
SPLIT_KEY = "__split_key__"
MAX_CLASSES = 100
# How a data set's files hold what a schema's columns are.
ARROW = {"double": pa.float64(), "string": pa.string(), "boolean": pa.bool_(), "datetime": pa.timestamp("us")}

Array: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Column:
    """A feature: how raw rows carry it (`dtype`, in the words of MLflow's signatures) and how a model reads it."""

    name: str
    dtype: Literal["double", "string", "boolean", "datetime"]
    kind: Literal["number", "category"]


@dataclass(frozen=True)
class Schema:
    """What the rows of a data set are."""

    columns: tuple[Column, ...]
    target: str
    classes: tuple[Label, ...]
    positive: int  # position in `classes`; of more than two classes none is special and this is the last
    split_by: Literal["random", "time", "group"]

    def to_json(self) -> str:
        """The schema as the JSON text that `from_json` takes."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Schema":
        """The schema that `to_json` wrote."""
        values = json.loads(text)
        columns = tuple(Column(**column) for column in values.pop("columns"))
        return cls(columns=columns, classes=tuple(values.pop("classes")), **values)


@dataclass(frozen=True)
class Rows:
    """Rows of a data set in memory: `frame` (n, columns) of raw rows, `y` (n,) positions in the schema's classes.

    `slice_only` (n, any) are columns that no model sees, of a holdout whose slices they name.
    """

    frame: Any
    y: Array
    key: Array | None
    slice_only: Any


@dataclass(frozen=True)
class _Sides:
    """Of all rows of a table, (n,) each: the class (-1 is none), the split's key, and which of the two parts has it."""

    codes: Array
    keys: Array | None
    train: Array
    holdout: Array


@dataclass(frozen=True)
class Prepared:
    """What `prepare` did, in figures."""

    schema: Schema
    rows: int
    duplicates: int
    without_target: int
    train: dict[str, int]  # class: rows
    holdout: dict[str, int]
    profile: Profile


def reading(problem: Problem) -> Reading:
    """How the problem says that its file is to be read."""
    data = problem.data
    columns = tuple(data.columns) if data.columns else None
    return Reading(columns, tuple(data.missing), data.separator, data.encoding)


def prepare(table: Table, problem: Problem, folder: Path) -> Prepared:
    """Write `train.parquet`, `holdout.parquet` and `schema.json` into `folder`.

    Parameters
    ----------
    table
        The table as it was scanned.
    problem
        Its data and split say what is dropped, what the target is and how the holdout is cut.
    folder
        Where the files go; must exist.

    Raises
    ------
    UserError
        Where a named column is not in the table, the target is no target, or a part of the split would be empty.
    """
    data, split = problem.data, problem.split
    columns = _features(table, data, split)
    slice_only = _slice_only_columns(table, columns, problem)
    labels, keys, hashes = _collect(table, data, split)
    classes, codes = _classes(labels, data)
    kept = _kept(codes, hashes)
    schema = Schema(columns, data.target, classes, _positive(classes, data), split.by)
    _enough_rows(codes[kept], schema, 2, "rows")
    in_holdout = np.zeros(len(codes), dtype=bool)
    in_holdout[kept] = holdout_mask(codes[kept], keys[kept] if keys is not None else None, split, problem.seed)
    sides = _Sides(codes, keys, kept & ~in_holdout, kept & in_holdout)
    _check_sides(sides, schema, problem)
    profile = _write(table, schema, slice_only, sides, folder)
    (folder / "schema.json").write_text(schema.to_json(), encoding="utf-8")
    return Prepared(
        schema=schema,
        rows=table.rows,
        duplicates=0 if hashes is None else int(len(codes) - len(np.unique(hashes))),
        without_target=int((codes < 0).sum()),
        train=_counts(codes[sides.train], classes),
        holdout=_counts(codes[sides.holdout], classes),
        profile=profile,
    )


def load(path: Path, schema: Schema) -> Rows:
    """Read `train.parquet` or `holdout.parquet` into memory, all rows at once."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    key = table[SPLIT_KEY].to_numpy() if SPLIT_KEY in table.column_names else None
    features = [column.name for column in schema.columns]
    others = [name for name in table.column_names if name not in {*features, schema.target, SPLIT_KEY}]
    position = {(type(label), label): code for code, label in enumerate(schema.classes)}
    y = np.array([position[type(label), label] for label in table[schema.target].to_pylist()], dtype=np.int64)
    return Rows(table.select(features).to_pandas(), y, key, table.select(others).to_pandas())


def holdout_mask(codes: Array, keys: Array | None, split: Split, seed: int) -> Array:
    """Which rows are held out: (n,) bool.

    By time it is the latest rows, cut between two points in time, never within one; by group, whole groups, and at
    random, both with the classes in proportion.
    """
    if split.by == "time":
        return _latest(np.asarray(keys), split.holdout)
    try:
        if split.by == "group":
            held_out = _some_groups(codes, np.asarray(keys), split.holdout, seed)
        else:
            held_out = _some_rows(codes, split.holdout, seed)
    except ValueError as error:
        raise UserError(
            f"split.holdout: {split.holdout:g} of {len(codes)} rows cannot be held out by a {split.by} split: "
            f"{first_line(error)}"
        ) from None
    mask = np.zeros(len(codes), dtype=bool)
    mask[held_out] = True
    return mask


def _some_rows(codes: Array, share: float, seed: int) -> Array:
    from sklearn.model_selection import StratifiedShuffleSplit

    splitter = StratifiedShuffleSplit(n_splits=1, test_size=share, random_state=seed)
    _, held_out = next(splitter.split(np.zeros(len(codes)), codes))
    return np.asarray(held_out)


def _some_groups(codes: Array, groups: Array, share: float, seed: int) -> Array:
    """Whole groups with about a share of the rows: as many folds as it takes, cut by the rule that cuts the others."""
    from sklearn.model_selection import StratifiedGroupKFold

    part = Fraction(share).limit_denominator(max(10, round(1 / min(share, 1 - share))))  # 0.2 is one of 5 folds
    found = len(np.unique(groups))
    if found < part.denominator:
        raise ValueError(f"there are {found} groups, and {part.denominator} are needed")
    splitter = StratifiedGroupKFold(n_splits=part.denominator, shuffle=True, random_state=seed)
    folds = islice(splitter.split(np.zeros(len(codes)), codes, groups), part.numerator)
    return np.concatenate([held_out for _, held_out in folds])


def _latest(times: Array, share: float) -> Array:
    points, counts = np.unique(times, return_counts=True)
    later = np.cumsum(counts[::-1])[::-1] / len(times)  # the share of rows at or after each point
    cut = points[np.argmin(np.abs(later - share))]
    return np.asarray(times >= cut)


def _features(table: Table, data: Data, split: Split) -> tuple[Column, ...]:
    """The columns that a model may see, in the table's order."""
    _check_columns(table, "target", [data.target])
    _check_columns(table, "data.drop", data.drop)
    _check_columns(table, "data.types", data.types)
    _check_columns(table, "split.column", _split_columns(split))
    # a group that is asked about later is none of those learnt from: its name says nothing
    hidden = {data.target, *data.drop, *(_split_columns(split) if split.by == "group" else [])}
    columns = [_column(field.name, field.type, data) for field in table.schema if field.name not in hidden]
    if not columns:
        raise UserError(f"data.drop: no column is left beside the target {data.target!r}")
    return tuple(columns)


def _slice_only_columns(table: Table, columns: tuple[Column, ...], problem: Problem) -> list[pa.Field]:
    """The columns that no model may see and that the holdout is to be cut into slices by, such as who somebody is."""
    names = problem.evaluation.slices
    _check_columns(table, "evaluation.slices", names)
    if problem.data.target in names:
        raise UserError(f"evaluation.slices: {problem.data.target!r} is the target: name another column")
    seen = {column.name for column in columns}
    return [table.schema.field(name) for name in dict.fromkeys(names) if name not in seen]


def _check_columns(table: Table, where: str, names: Iterable[str]) -> None:
    for name in names:
        if name not in table.schema.names:
            raise UserError(
                f"{where}: {table.path.name} has no column {name!r}{nearest(name, table.schema.names) or ';'}"
                f" its columns: {listed(table.schema.names)}"
            )


def _column(name: str, type_: pa.DataType, data: Data) -> Column:
    if pa.types.is_boolean(type_):
        dtype, kind = "boolean", "number"
    elif pa.types.is_timestamp(type_):
        dtype, kind = "datetime", "number"
    elif pa.types.is_string(type_):
        dtype, kind = "string", "category"
    else:
        dtype, kind = "double", "number"
    wanted = data.types.get(name)
    fits = {"number": {"double"}, "date": {"datetime"}, "boolean": {"boolean"}}
    if wanted in fits and dtype not in fits[wanted]:
        raise UserError(f"data.types: column {name!r} is not a {wanted} throughout: it was read as {dtype}")
    if wanted == "category":
        if dtype == "datetime":
            raise UserError(f"data.types: column {name!r} holds dates, which cannot be categories")
        kind = "category" if dtype != "boolean" else "number"
    return Column(name, dtype, kind)  # type: ignore[arg-type]


def _collect(table: Table, data: Data, split: Split) -> tuple[Array, Array | None, Array | None]:
    """For all rows: the target as objects (None where missing), the split's key, and a hash of the row."""
    whole_rows = data.duplicates == "drop"
    labels, keys, hashes = [], [], []
    for batch in table.batches(None if whole_rows else list({data.target, *_split_columns(split)})):
        labels.append(_labels(batch[data.target], data))
        if split.column is not None:
            keys.append(_keys(batch, split, table.path.name))
        if whole_rows:
            hashes.append(_hashes(batch))
    whole = _whole_numbers(np.concatenate(labels))
    return whole, np.concatenate(keys) if keys else None, np.concatenate(hashes) if hashes else None


def _hashes(batch: pa.RecordBatch) -> Array:
    """A number for each row that depends on its values only: (n,) uint64.

    What is missing goes apart from the values, since pandas makes floats of whole numbers of which some are missing:
    a row would have another hash beside such a row.
    """
    import pandas as pd

    columns = {}
    for place, values in enumerate(batch.columns):
        columns[f"{place} is there"] = values.is_valid().to_numpy(zero_copy_only=False)
        columns[f"{place}"] = values.fill_null(pa.scalar(0).cast(values.type)).to_numpy(zero_copy_only=False)
    return np.asarray(pd.util.hash_pandas_object(pd.DataFrame(columns), index=False))


def _split_columns(split: Split) -> list[str]:
    if split.column is None:
        return []
    return [split.column] if isinstance(split.column, str) else list(split.column.model_dump().values())


def _labels(values: pa.Array, data: Data) -> Array:
    if pa.types.is_timestamp(values.type):
        raise UserError(f"target: column {data.target!r} holds dates, which are no classes")
    labels = np.empty(len(values), dtype=object)
    labels[:] = values.to_pylist()
    return labels


def _whole_numbers(labels: Array) -> Array:
    """1.0 is class 1, where all labels are such: whole numbers are read as floats where some are missing."""
    present = set(labels) - {None}
    if not present or not all(isinstance(label, float) and label.is_integer() for label in present):
        return labels
    whole = np.empty(len(labels), dtype=object)
    whole[:] = [None if label is None else int(label) for label in labels]
    return whole


def _keys(batch: pa.RecordBatch, split: Split, file: str) -> Array:
    """The rows' place in time as datetime64[D] or a number, or their group."""
    if isinstance(split.column, DateParts):
        return _dates(batch, split.column, file)
    values = batch[split.column]
    if values.null_count:
        raise UserError(f"split.column: {values.null_count} rows of {file} have no {split.column!r}")
    if split.by == "time" and pa.types.is_string(values.type):
        example = values[0].as_py()
        raise UserError(
            f"split.column: {split.column!r} of {file} is neither a date nor a number, but text: {example!r}"
        )
    return np.asarray(values.to_numpy(zero_copy_only=False))


def _dates(batch: pa.RecordBatch, parts: DateParts, file: str) -> Array:
    import pandas as pd

    month = batch[parts.month]
    if pa.types.is_string(month.type):
        names = ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october"]
        names += ["november", "december"]
        short = pc.utf8_slice_codeunits(pc.utf8_lower(month), 0, 3)
        month = pc.add(pc.index_in(short, value_set=pa.array([name[:3] for name in names])), 1)
    frame = pd.DataFrame({"year": batch[parts.year].to_numpy(zero_copy_only=False)})
    frame["month"] = month.to_numpy(zero_copy_only=False)
    frame["day"] = batch[parts.day].to_numpy(zero_copy_only=False)
    dates = pd.to_datetime(frame, errors="coerce")
    if dates.isna().any():
        row = frame[dates.isna()].iloc[0].to_dict()
        raise UserError(f"split.column: rows of {file} have no date: {row}")
    return np.asarray(dates.to_numpy(), dtype="datetime64[D]")


def _classes(labels: Array, data: Data) -> tuple[tuple[Label, ...], Array]:
    """The classes in order, and each row's position in them (-1 where the target is missing)."""
    present = set(labels) - {None}
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
    if len(classes) > MAX_CLASSES:
        raise UserError(
            f"target: column {data.target!r} has {len(classes)} different values; Tabular tells at most {MAX_CLASSES} "
            "classes apart: choose a column of classes, or group its values in data.classes"
        )
    return classes, np.array([-1 if label is None else code[_key(label)] for label in labels], dtype=np.int64)


def _key(label: Label) -> tuple[bool, Label]:
    """True and 1 are equal to Python and two classes to us; 1 and 1.0 are one."""
    return isinstance(label, bool), label


def _positive(classes: tuple[Label, ...], data: Data) -> int:
    if data.positive is None:
        return len(classes) - 1
    keys = [_key(label) for label in classes]
    if _key(data.positive) not in keys:
        hint = YAML_BOOLEANS if isinstance(data.positive, bool) else ""
        raise UserError(
            f"data.positive: {data.positive!r} is no class of {data.target!r}; its classes: {listed(classes)}{hint}"
        )
    return keys.index(_key(data.positive))


def _kept(codes: Array, hashes: Array | None) -> Array:
    kept = np.asarray(codes >= 0)
    if hashes is not None:
        first = np.zeros(len(hashes), dtype=bool)
        first[np.unique(hashes, return_index=True)[1]] = True
        kept &= first
    return kept


def _enough_rows(codes: Array, schema: Schema, need: int, what: str) -> None:
    rows = np.bincount(codes, minlength=len(schema.classes))
    rarest = int(rows.argmin())
    if rows[rarest] < need:
        raise UserError(
            f"target: class {schema.classes[rarest]!r} of {schema.target!r} has {rows[rarest]} {what}, and {need} are "
            "needed: lower search.folds, change split.holdout, or group or drop the class"
        )


def _check_sides(sides: _Sides, schema: Schema, problem: Problem) -> None:
    codes, folds = sides.codes, problem.search.folds
    if schema.split_by == "random":  # each fold takes a row of each class, and so does the holdout
        _enough_rows(codes[sides.train], schema, folds, f"training rows for {folds} folds")
        _enough_rows(codes[sides.holdout], schema, 1, "rows in the holdout")
    for name, side in (("training rows", sides.train), ("holdout", sides.holdout)):
        present = len(np.unique(codes[side]))
        if present < 2:
            raise UserError(
                f"split: the {name} of a split by {schema.split_by} ({int(side.sum())} rows) hold {present} of the "
                f"{len(schema.classes)} classes: change split.holdout ({problem.split.holdout:g}) or split.by"
            )


def _write(table: Table, schema: Schema, slice_only: list[pa.Field], sides: _Sides, folder: Path) -> Profile:
    """Stream the table once more, each row to its file; the columns aside to the holdout's alone."""
    import pyarrow.parquet as pq

    arrow = _arrow_schema(schema, table, sides.keys)
    wide = pa.schema([*arrow, *slice_only])
    features, beside = [column.name for column in schema.columns], [field.name for field in slice_only]
    profile = Profile(schema)
    labels = np.array(schema.classes, dtype=object)
    start = 0
    with (
        pq.ParquetWriter(folder / "train.parquet", arrow) as train,
        pq.ParquetWriter(folder / "holdout.parquet", wide) as holdout,
    ):
        for batch in table.batches([*features, *beside]):
            rows = slice(start, start + len(batch))
            start += len(batch)
            target = pa.array([None if code < 0 else labels[code] for code in sides.codes[rows]])
            key = [] if sides.keys is None else [pa.array(sides.keys[rows])]
            arrays = [*(batch[name] for name in features), target, *key, *(batch[name] for name in beside)]
            # a whole number beyond 2**53 is rounded, as it would be when served
            typed = [
                array.cast(field.type, safe=not pa.types.is_floating(field.type))
                for array, field in zip(arrays, wide, strict=True)
            ]
            whole = pa.RecordBatch.from_arrays(typed, schema=wide)
            narrow = whole.select(arrow.names)
            profile.add(narrow.filter(pa.array(sides.train[rows] | sides.holdout[rows])))
            train.write_batch(narrow.filter(pa.array(sides.train[rows])))
            holdout.write_batch(whole.filter(pa.array(sides.holdout[rows])))
    return profile


def _arrow_schema(schema: Schema, table: Table, keys: Array | None) -> pa.Schema:
    fields = [pa.field(column.name, ARROW[column.dtype]) for column in schema.columns]
    fields.append(pa.field(schema.target, pa.array(list(schema.classes)).type))
    if keys is not None:
        fields.append(pa.field(SPLIT_KEY, pa.array(keys[:1]).type))
    taken = [name for name in table.schema.names if name == SPLIT_KEY]
    if taken:
        raise UserError(f"{table.path.name}: the column name {SPLIT_KEY!r} is taken by Tabular: rename it")
    return pa.schema(fields)


def _counts(codes: Array, classes: tuple[Label, ...]) -> dict[str, int]:
    rows = np.bincount(codes, minlength=len(classes))
    return {str(label): int(count) for label, count in zip(classes, rows, strict=True)}
