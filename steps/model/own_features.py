"""The user's own columns in a data set: made by their function, as a served model makes them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from mlflow.exceptions import MlflowException

from steps.model import served
from tabular.data import carried_code, own_features
from tabular.data.datasets import Own, Prepared, Schema
from tabular.errors import UserError, first_line
from tabular.model import dates, wide_tables
from tabular.problem import Problem

# The rows of a block, of which a function is asked about the first ones also one by one.
BLOCK = 20_000


def add(prepared: Prepared, problem: Problem, folder: Path) -> Prepared:
    """Find the columns that `data.features` makes of a data set's training rows, and write them into its schema.

    Parameters
    ----------
    prepared
        Result of `tabular.data.datasets.prepare`; returned as it is where the problem has no features of its own.
    problem
        The problem.
    folder
        The folder of the data set.

    Raises
    ------
    UserError
        Where the code fails, or does not make columns of each row by itself.
    """
    asked, schema = problem.data.features, prepared.schema
    if asked is None:
        return prepared
    where = f"data.features: {asked.file}:{asked.function}"
    carried_code.packages(asked.code, where)
    try:
        function = served.named_in(asked.code, asked.function)
    except Exception as error:  # the user's code may raise anything
        raise UserError(f"{where}: it fails when it is loaded ({type(error).__name__}: {first_line(error)})") from None
    raw = [vars(column) for column in schema.columns]
    dates = served.Own(function, [], raw).dates

    def blocks() -> Iterator[pd.DataFrame]:
        for frame in _frames(folder / "train.parquet", schema):
            yield served.as_given(dict(served.as_features(frame, raw).items()), dates)

    def make(rows: pd.DataFrame) -> pd.DataFrame:
        return served.asked(function, rows)

    taken = {schema.target, *problem.data.drop, *([] if schema.weight is None else [schema.weight])}
    try:
        columns = own_features.found(make, blocks(), where, taken)
        own = served.Own(function, list(map(vars, columns)), raw)
        for part in ("train.parquet", "holdout.parquet"):  # what cannot be read of it is found now
            for frame in _frames(folder / part, schema):
                served.as_features(frame, raw, own)
    except MlflowException as error:
        raise UserError(f"{where}: {error.message.removeprefix('data.features: ')}") from None
    whole = replace(schema, own=Own(asked.function, asked.code, columns))
    (folder / "schema.json").write_text(whole.to_json(), encoding="utf-8")
    return replace(prepared, schema=whole)


def as_features(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Raw rows as the features that estimators learn from, the user's own columns after those of the table."""
    raw = [vars(column) for column in schema.columns]
    if schema.own is None:
        if not wide_tables.is_wide(*frame.shape):
            return served.as_features(frame, raw)
        starts = range(0, len(raw), wide_tables.COLUMNS_AT_ONCE)
        blocks = (raw[start : start + wide_tables.COLUMNS_AT_ONCE] for start in starts)
        return pd.concat([with_shared_texts(served.as_features(frame, block)) for block in blocks], axis=1)
    function = served.named_in(schema.own.code, schema.own.function)
    return served.as_features(frame, raw, served.Own(function, [vars(one) for one in schema.own.columns], raw))


def with_dates(features: pd.DataFrame, schema: Schema, parts: Sequence[str] | None) -> pd.DataFrame:
    """Features with the columns that a model learns of dates after them, made as a served model makes them.

    Raises
    ------
    UserError
        A column of the data set has the name of one of them.
    """
    made = dates.made(schema.features, parts)
    taken = [one["name"] for one in made if one["name"] in features]
    if taken:
        raise UserError(
            f"preprocessing.dates: {taken[0]!r} is what it would make of {made[0]['of']!r}, and a column of the table: "
            "rename it, or leave that part out"
        )
    if not made:
        return features
    days = {column.name: features[column.name].to_numpy() for column in schema.columns if column.dtype == "datetime"}
    found = served.Dates(made).added(days)
    return features.assign(**{one["name"]: found[one["name"]] for one in made})


def with_shared_texts(features: pd.DataFrame) -> pd.DataFrame:
    """Features in which equal texts of a column are one object: as objects of their own they take seven times as much.

    The values are the same, and so is all that is made of them.
    """

    def shared(values: pd.Series) -> pd.Series:
        if values.dtype != object:
            return values
        codes, known = pd.factorize(values.to_numpy(), use_na_sentinel=False)
        return pd.Series(known[codes], features.index, object)

    return pd.DataFrame({name: shared(values) for name, values in features.items()}, index=features.index)


def _frames(path: Path, schema: Schema) -> Iterator[pd.DataFrame]:
    import pyarrow.parquet as pq

    names = [column.name for column in schema.columns]
    for batch in pq.ParquetFile(path).iter_batches(BLOCK, columns=names):
        yield batch.select(names).to_pandas()
