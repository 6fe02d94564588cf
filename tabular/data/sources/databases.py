"""Rows of databases: the answer to a query, streamed into a Parquet file.

PostgreSQL and DuckDB are asked through ADBC, which gives typed columns, where its driver is installed; all others, and
SQLite, through SQLAlchemy. ADBC's driver for SQLite is not used: it takes the types of the first thousand rows for all.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import date, datetime
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote
from uuid import UUID

import pyarrow as pa

from tabular.addresses import FILE_DATABASES, shown, with_secrets, without_secrets
from tabular.data.batches import regrouped
from tabular.data.columns import BATCH_ROWS, FLOAT, INT, MOMENT, STRING
from tabular.errors import UserError, first_line

INSTALL = (
    "`uv pip install -r requirements-databases.txt`, and for `mlflow run` name that file among the dependencies of "
    "python_env.yaml"
)
# The rows of an answer: blocks that all have this schema, or None where each block has the types of its own values.
Answer: TypeAlias = tuple[pa.Schema | None, Iterator[pa.RecordBatch]]


class _AnswerError(Exception):
    """An error that a database sends among the rows of an answer."""


def snapshot(address: str, query: str, path: Path, progress: bool) -> Path:
    """Write the answer to a query as Parquet: the same rows in the same order are the same bytes.

    Parameters
    ----------
    address
        The database's URL, as SQLAlchemy reads it; `${NAME}` stands for a variable of the environment.
    query
        The query. What it changes in the database is never committed.
    path
        The file to write, in a folder that may not be there yet.
    progress
        Whether a count of the rows is drawn on stderr.

    Raises
    ------
    UserError
        Where there is no driver or no database, the query fails, or its answer is no table.

    """
    import pyarrow.parquet as pq
    from tqdm import tqdm

    path.parent.mkdir(parents=True, exist_ok=True)
    rows = 0
    with _asked(address, query) as (told, answer), _spool(path) as folder:
        has_dates = not address.startswith("sqlite")
        schema, blocks = (told, answer) if told is not None else _unified(answer, folder, has_dates)
        _check_names(schema.names)
        bar = tqdm(desc=f"asking {shown(address)}", leave=False, delay=0.5, disable=not progress, unit="rows")
        with _whole(path), bar, pq.ParquetWriter(path, schema) as writer:
            for batch in regrouped(blocks, len(schema)):
                writer.write_batch(batch)
                rows += len(batch)
                bar.update(len(batch))
    if rows == 0:
        path.unlink()
        raise UserError(f"data.query: {shown(address)} answers with no rows; look at what the query asks for")
    return path


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Remove a file that an error leaves incomplete."""
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@contextmanager
def _spool(path: Path) -> Iterator[Path]:
    folder = path.with_name(f"{path.name}.blocks")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _check_names(names: list[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"data.query: two columns are called {twice!r}: give one of them another name by `as`")


@contextmanager
def _asked(address: str, query: str) -> Iterator[Answer]:
    """Ask a database; its errors, while rows are read too, are one line without secrets."""
    import sqlalchemy.exc

    url = _url(address)
    dialect, driver = url.get_backend_name(), url.drivername.partition("+")[2]
    if dialect in FILE_DATABASES:
        _check_file(address, url)
    connect = None if driver else ADBC.get(dialect)
    try:
        if connect is not None and all(_is_there(name) for name in DRIVERS[dialect]):
            with _through_adbc(connect(url), dialect, query) as answer:
                yield answer
        else:
            with _through_sqlalchemy(url, query) as answer:
                yield answer
    except UserError:
        raise
    except (ModuleNotFoundError, sqlalchemy.exc.NoSuchModuleError) as error:
        raise UserError(f"{shown(address)}: {_no_driver(dialect, error)}") from None
    except Exception as error:  # every driver has errors of its own, which share no other class
        if not _is_of_database(error):
            raise
        said = without_secrets(_said(error), address)
        raise UserError(f"data.query: {shown(address)} says: {said}") from None


def _url(address: str) -> Any:
    """The URL with the environment's variables in the place of `${NAME}`, part by part, so that none is misread."""
    import sqlalchemy

    def filled(text: str | None) -> str | None:
        return None if text is None else with_secrets(text, shown(address))

    try:
        url = sqlalchemy.make_url(re.sub("^postgres:", "postgresql:", address))
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise UserError(
            f"{shown(address)}: is no URL of a database, such as postgresql://${{USER}}:${{PASSWORD}}@host:5432/database"
        ) from None
    many = {name: [texts] if isinstance(texts, str) else texts for name, texts in url.query.items()}
    return url.set(
        username=filled(url.username),
        password=filled(url.password),
        host=filled(url.host),
        database=filled(url.database),
        query={name: [str(filled(text)) for text in texts] for name, texts in many.items()},
    )


def _check_file(address: str, url: Any) -> None:
    """Raise an error where the file of a database is not there: SQLite would make an empty one."""
    if not url.database or not Path(url.database).is_file():
        raise UserError(
            f"{shown(address)}: there is no such file; after {url.get_backend_name()}:/// comes its path, which begins "
            "with one more / where it is absolute"
        )


def _is_there(module: str) -> bool:
    return find_spec(module) is not None


def _no_driver(dialect: str, error: Exception) -> str:
    if dialect in DRIVERS:
        return f"its driver is not installed: {INSTALL}"
    if isinstance(error, ModuleNotFoundError):
        return (
            f"needs the package of the module {error.name}: install it, and for `mlflow run` name it in python_env.yaml"
        )
    return (
        f"SQLAlchemy knows no database {dialect!r}: install the package that brings its dialect, or check the address"
    )


# --- through ADBC -----------------------------------------------------------------------------------------------------


def _postgresql(url: Any) -> Any:
    from adbc_driver_postgresql import dbapi

    return dbapi.connect(url.render_as_string(hide_password=False))


def _duckdb(url: Any) -> Any:
    import adbc_driver_duckdb
    from adbc_driver_manager import dbapi

    where = {"path": url.database, "access_mode": "READ_ONLY"}
    return dbapi.connect(driver=adbc_driver_duckdb.driver_path(), entrypoint="duckdb_adbc_init", db_kwargs=where)


ADBC: dict[str, Callable[[Any], AbstractContextManager[Any]]] = {"postgresql": _postgresql, "duckdb": _duckdb}
# The modules that are needed for these.
DRIVERS = {"postgresql": ("adbc_driver_postgresql",), "duckdb": ("duckdb", "adbc_driver_manager")}


@contextmanager
def _through_adbc(connection: Any, dialect: str, query: str) -> Iterator[Answer]:
    with connection, connection.cursor() as cursor:
        if dialect == "postgresql":
            cursor.execute("set transaction read only")
        cursor.execute(query)
        reader = cursor.fetch_record_batch()
        schema = pa.schema([(column.name, _plain_type(column)) for column in reader.schema])
        if not schema:
            raise UserError("data.query: answers with no table: begin it with select")
        yield schema, _plain_blocks(reader, schema)


def _plain_blocks(reader: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    blocks = iter(reader)
    while True:
        try:
            block = next(blocks)
        except StopIteration:
            return
        except (OSError, pa.ArrowException) as error:  # what the server says while it sends rows
            raise _AnswerError(str(error)) from error
        columns = [_plain(values, column) for values, column in zip(block.columns, schema, strict=True)]
        yield pa.record_batch(columns, schema=schema)


def _plain_type(column: pa.Field) -> pa.DataType:
    """The type that a column of a database is kept in."""
    kind, metadata = column.type, column.metadata or {}
    told = metadata.get(b"POSTGRESQL:type", b"").decode()
    if told == "numeric":
        return FLOAT  # comes as text
    if told.startswith("unnamed<"):
        return STRING  # an enum, by the names of its values
    if isinstance(kind, pa.BaseExtensionType) and kind.storage_type == STRING:
        return STRING  # JSON
    if isinstance(kind, pa.UuidType):
        return STRING
    if told == "money" or isinstance(kind, pa.BaseExtensionType):
        raise UserError(
            f"data.query: column {column.name!r} is of the type {told or kind}, which is not read: make a number or a "
            f'text of it, as in cast("{column.name}" as text), or leave it out'
        )
    return kind


def _plain(values: pa.Array, column: pa.Field) -> pa.Array:
    if isinstance(values.type, pa.UuidType):
        return pa.array([None if one is None else str(one) for one in values.to_pylist()], STRING)
    stored = values.storage if isinstance(values.type, pa.BaseExtensionType) else values
    try:
        return stored.cast(column.type)
    except pa.ArrowInvalid:
        raise UserError(
            f"data.query: column {column.name!r} holds values that cannot be read as {column.type}: make a number or a "
            f'text of it, as in cast("{column.name}" as text), or leave it out'
        ) from None


# --- through SQLAlchemy -----------------------------------------------------------------------------------------------


@contextmanager
def _through_sqlalchemy(url: Any, query: str) -> Iterator[Answer]:
    import sqlalchemy

    if url.get_backend_name() == "sqlite":  # read only
        url = url.set(database=f"file:{quote(str(Path(url.database).resolve()))}", query={"mode": "ro", "uri": "true"})
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.connect() as connection:
            answer = connection.execution_options(stream_results=True).exec_driver_sql(query)
            if not answer.returns_rows:
                raise UserError("data.query: answers with no table: begin it with select")
            names = list(answer.keys())
            _check_names(names)
            yield None, (_block(rows, names) for rows in answer.partitions(BATCH_ROWS))
    finally:
        engine.dispose()


def _block(rows: Any, names: list[str]) -> pa.RecordBatch:
    return pa.record_batch([_array(list(values)) for values in zip(*rows, strict=True)], names=names)


def _array(values: list[Any]) -> pa.Array:
    """Values of one column as an array of the type that holds them all: texts, where there is no other."""
    told = [_plain_value(value) for value in values]
    kinds = {type(value) for value in told} - {type(None)}
    if len(kinds) > 1 and not (kinds <= {int, float} or kinds <= {date, datetime}):
        told = [None if value is None else str(value) for value in told]
    try:
        return pa.array(told)
    except OverflowError:  # whole numbers beyond 64 bits
        return pa.array([None if value is None else float(value) for value in told])


def _plain_value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    return str(value) if isinstance(value, UUID) else value


def _unified(
    blocks: Iterator[pa.RecordBatch], folder: Path, has_dates: bool
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Blocks of different types as blocks of one schema; they wait in files until the types of all are known.

    Where a database has no type for dates (SQLite), texts that are all dates are dates.
    """
    kinds: dict[str, pa.DataType] = {}
    dates: dict[str, bool] = {}
    files: list[Path] = []
    for block in blocks:
        for column, values in zip(block.schema, block.columns, strict=True):
            kinds[column.name] = _wider(kinds.get(column.name, pa.null()), column.type)
            if column.type == STRING and not has_dates:
                dates[column.name] = dates.get(column.name, True) and _dates(values) is not None
        files.append(folder / f"{len(files)}.arrow")
        with pa.OSFile(str(files[-1]), "wb") as file, pa.ipc.new_file(file, block.schema) as writer:
            writer.write_batch(block)
    kinds |= {name: MOMENT for name, all_dates in dates.items() if all_dates and kinds[name] == STRING}
    schema = pa.schema(list(kinds.items()))
    return schema, (_as(block, schema) for file in files for block in _read(file))


def _read(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        yield from (reader.get_batch(place) for place in range(reader.num_record_batches))


def _wider(held: pa.DataType, kind: pa.DataType) -> pa.DataType:
    """The type that holds the values of two types; texts hold all."""
    if held == kind or pa.types.is_null(kind):
        return held
    if pa.types.is_null(held):
        return kind
    if {held, kind} <= {INT, FLOAT}:
        return FLOAT
    both_times = all(pa.types.is_date(one) or pa.types.is_timestamp(one) for one in (held, kind))
    return MOMENT if both_times else STRING


def _as(block: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = []
    for values, column in zip(block.columns, schema, strict=True):
        dates = _dates(values) if values.type == STRING and column.type == MOMENT else None
        columns.append(values.cast(column.type) if dates is None else dates)
    return pa.record_batch(columns, schema=schema)


def _dates(texts: pa.Array) -> pa.Array | None:
    """Texts as dates, with null for empty ones; None where one of them is no date."""
    from tabular.data import kinds, missing

    given = missing.texts(texts, ("",))
    return pa.nulls(len(given), MOMENT) if given.null_count == len(given) else kinds.parsed(given, MOMENT)


# --- errors -----------------------------------------------------------------------------------------------------------


def _is_of_database(error: Exception) -> bool:
    """Whether an error is one of PEP 249, which every driver has of its own, or comes with the rows of an answer."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"DatabaseError", "InterfaceError", "SQLAlchemyError", "_AnswerError"})


def _said(error: Exception) -> str:
    """The first line of what the server says, without what drivers put before it."""
    line = first_line(getattr(error, "orig", None) or error)
    line = re.sub(r"\.? ?SQLSTATE: \w+$", "", line)
    return re.sub(r"^.*?\b(ERROR|FATAL|PANIC): +|^[A-Z_]+: (\[libpq\] )?", "", line)
