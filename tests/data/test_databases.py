"""Tables that databases answer with: SQLite always, PostgreSQL and DuckDB where their drivers are."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tabular import digests
from tabular.data import datasets
from tabular.data.sources import Source, databases, fetch
from tabular.data.tables import scan
from tabular.errors import UserError
from tabular.problem import build
from tests import servers

N = 90
FRAME = pd.DataFrame(
    {
        "amount": [None if i % 9 == 0 else i * 1.5 for i in range(N)],
        "count": [i % 7 for i in range(N)],
        "city": [None if i % 11 == 0 else ("Paris", "Rome", "Oslo")[i % 3] for i in range(N)],
        "joined": [f"2024-{1 + i % 12:02d}-{1 + i % 28:02d}" for i in range(N)],
        "y": [("no", "yes")[(i % 7) > 3] for i in range(N)],
    }
)
ASK = "select amount, count, city, joined, y from t order by id"
PROBLEM = build({"name": "p", "data": {"source": "t", "target": "y"}}, "made")


def get(address: str, query: str | None, folder: Path) -> Path:
    found = fetch(Source(address, query), sha256=None, cache=Path("unused"), folder=folder, progress=False).place
    assert isinstance(found, Path)
    return found


def refusal(address: str, query: str | None, folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        get(address, query, folder)
    assert "\n" not in str(caught.value)
    assert [path for path in folder.rglob("*") if path.suffix in (".parquet", ".blocks")] == []
    return str(caught.value)


def of_train(path: Path, folder: Path) -> str:
    folder.mkdir()
    datasets.prepare(scan(path), PROBLEM, folder)
    return digests.of_file(folder / "train.parquet")


@pytest.fixture
def as_csv(tmp_path: Path) -> str:
    """The digest of the training rows of the table as a CSV."""
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    return of_train(tmp_path / "t.csv", tmp_path / "of csv")


# --- SQLite -----------------------------------------------------------------------------------------------------------


def sqlite(path: Path, create: str, rows: list[tuple[Any, ...]], insert: str = "") -> str:
    """A database with a table; gives its URL."""
    connection = sqlite3.connect(path)
    connection.execute(create)
    connection.executemany(insert or f"insert into t values ({', '.join('?' * len(rows[0]))})", rows)
    connection.commit()
    connection.close()
    return f"sqlite:///{path}"


def numbered() -> list[tuple[Any, ...]]:
    rows = [tuple(None if pd.isna(value) else value for value in row) for row in FRAME.itertuples()]
    return [(int(row[0]), float(row[1]) if row[1] is not None else None, int(row[2]), *row[3:]) for row in rows][::-1]


TABLE = "create table t (id integer, amount float, count integer, city text, joined date, y text)"


def test_a_query_is_the_same_data_set_as_the_file(tmp_path, as_csv):
    address = sqlite(tmp_path / "a b.db", TABLE, numbered())
    path = get(address, ASK, tmp_path / "run")
    assert path.name == "a_b.db.parquet"
    assert of_train(path, tmp_path / "set") == as_csv


def test_the_same_answer_has_the_same_digest_and_another_one_another(tmp_path):
    address = sqlite(tmp_path / "a.db", TABLE, numbered())
    first = digests.of_file(get(address, ASK, tmp_path / "1"))
    assert digests.of_file(get(address, ASK, tmp_path / "2")) == first
    assert digests.of_file(get(address, f"{ASK} desc", tmp_path / "3")) != first


def test_values_of_many_blocks_have_one_type(tmp_path, monkeypatch):
    monkeypatch.setattr(databases, "BATCH_ROWS", 4)
    values = [
        (i, None if i < 5 else i, float(i) if i == 9 else i, "x" if i == 9 else i, f"2024-01-{i + 1:02d}")
        for i in range(10)
    ]
    address = sqlite(tmp_path / "a.db", "create table t (id, late, number, mixed, day)", values)
    table = pq.read_table(get(address, "select * from t order by id", tmp_path / "run"))
    kinds = [pa.int64(), pa.int64(), pa.float64(), pa.string(), pa.timestamp("us")]
    assert table.schema.types == kinds
    assert table["mixed"].to_pylist() == [*map(str, range(9)), "x"]
    assert table["late"].to_pylist() == [None] * 5 + [5, 6, 7, 8, 9]


def test_texts_are_dates_only_where_all_of_them_are(tmp_path, monkeypatch):
    monkeypatch.setattr(databases, "BATCH_ROWS", 2)
    values = [("2024-01-02", "2024-01-02"), ("", "x"), (None, "2024-01-02"), ("2024-01-03 04:05:06", "2024-01-02")]
    address = sqlite(tmp_path / "a.db", "create table t (day, word)", values)
    table = pq.read_table(get(address, "select * from t order by rowid", tmp_path / "run"))
    assert [str(kind) for kind in table.schema.types] == ["timestamp[us]", "string"]
    assert table["day"].null_count == 2
    assert table["word"].to_pylist() == [word for _, word in values]


def test_a_query_changes_nothing_in_the_database(tmp_path):
    address = sqlite(tmp_path / "a.db", TABLE, numbered())
    before = digests.of_file(tmp_path / "a.db")
    assert "readonly database" in refusal(address, "delete from t", tmp_path / "run")
    assert digests.of_file(tmp_path / "a.db") == before


FAULTS = {
    "no such column": ("select nox from t", "no such column: nox"),
    "no SQL": ("selec 1", 'near "selec": syntax error'),
    "no rows": ("select * from t where id < 0", "answers with no rows"),
    "two columns of one name": ("select y, id as y from t", "two columns are called 'y'"),
    "no table": ("pragma user_version = 7", "data.query"),
}


@pytest.mark.parametrize(("query", "says"), FAULTS.values(), ids=FAULTS)
def test_a_query_that_gives_no_table_is_one_line(tmp_path, query, says):
    message = refusal(sqlite(tmp_path / "a.db", TABLE, numbered()), query, tmp_path / "run")
    assert message.startswith("data.query: ")
    assert says in message


def test_a_database_that_is_not_there_is_one_line_and_is_not_made(tmp_path):
    message = refusal(f"sqlite:///{tmp_path}/none.db", "select 1", tmp_path / "run")
    assert "none.db: there is no such file" in message
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "text.db").write_text("a,b\n1,2\n" * 200)
    assert "not a database" in refusal(f"sqlite:///{tmp_path}/text.db", "select * from t", tmp_path / "run")


def test_a_database_without_its_driver_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(databases, "_is_there", lambda module: False)
    message = refusal("postgresql://ann:${PASSWORD_OF_NOBODY}@localhost/d", "select 1", tmp_path)
    assert "PASSWORD_OF_NOBODY" in message
    message = refusal("postgresql+no_such_driver://localhost/d", "select 1", tmp_path)
    assert "requirements-databases.txt" in message
    assert "'nosuch'" in refusal("nosuch://localhost/d", "select 1", tmp_path)


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("adbc_driver_postgresql", reason="requirements-databases.txt is not installed here")
    with pytest.MonkeyPatch.context() as patch, servers.postgresql(tmp_path_factory.mktemp("pg")) as address:
        patch.setenv("TABULAR_TEST_PASSWORD", "hush-hush")
        from adbc_driver_postgresql import dbapi

        with (
            dbapi.connect(address.replace("${TABULAR_TEST_PASSWORD}", "hush-hush")) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(TABLE.replace("float", "double precision"))
            rows = pa.Table.from_pylist([dict(zip(["id", *FRAME], row, strict=True)) for row in numbered()])
            day = rows["joined"].cast(pa.date32())
            rows = rows.set_column(4, "joined", day).set_column(0, "id", rows["id"].cast(pa.int32()))
            rows = rows.set_column(2, "count", rows["count"].cast(pa.int32()))
            cursor.adbc_ingest("t", rows, mode="append")
            cursor.execute("create type mood as enum ('fine', 'bad')")
            connection.commit()
        yield address


@pytest.mark.slow
def test_postgresql_gives_the_same_data_set_as_the_file(tmp_path, server, as_csv):
    path = get(server, ASK, tmp_path / "run")
    assert of_train(path, tmp_path / "set") == as_csv
    assert digests.of_file(get(server.replace("postgresql:", "postgres:"), ASK, tmp_path / "2")) == digests.of_file(
        path
    )


@pytest.mark.slow
def test_the_types_of_postgresql_are_read_as_numbers_texts_and_dates(tmp_path, server):
    values = {
        "a": ("1.50::numeric(10, 2)", 1.5),
        "b": ("'fine'::mood", "fine"),
        "c": ("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        "d": ("3::smallint", 3),
        "e": ("timestamptz '2024-01-02 03:04:05+02'", pd.Timestamp("2024-01-02 01:04:05")),
        "f": ("true", True),
        "g": ("null::numeric", None),
        "h": ("""'{"a": 1}'::json""", '{"a": 1}'),
    }
    query = "select " + ", ".join(f"{sql} as {name}" for name, (sql, _) in values.items())
    (row,) = pq.read_table(get(server, query, tmp_path / "run")).to_pylist()
    assert row.pop("e").replace(tzinfo=None) == values.pop("e")[1].to_pydatetime()
    assert row == {name: value for name, (_, value) in values.items()}


@pytest.mark.slow
def test_a_type_that_cannot_be_read_is_told_with_a_cast_that_helps(tmp_path, server):
    message = refusal(server, "select 12.30::money as m, 1 as x", tmp_path)
    assert "column 'm' is of the type money" in message
    assert 'cast("m" as text)' in message
    assert get(server, "select cast(m as text) from (select 12.30::money as m) t", tmp_path).is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("select nox from t", 'column "nox" does not exist'),
        ("select 1/(id - 5) from t", "division by zero"),
        ("delete from t returning *", "read-only transaction"),
        ("create table u (x int)", "read-only transaction"),
        ("set search_path = x", "answers with no table"),
    ],
)
def test_what_postgresql_refuses_is_its_first_line(tmp_path, server, query, says):
    message = refusal(server, query, tmp_path)
    assert message.startswith("data.query: ")
    assert says in message
    assert "hush" not in message


@pytest.mark.slow
def test_a_server_that_lets_nobody_in_is_one_line_without_the_password(tmp_path, server, monkeypatch):
    monkeypatch.setenv("TABULAR_TEST_PASSWORD", "wr@ng/p?ss")
    message = refusal(server, ASK, tmp_path)
    assert 'password authentication failed for user "ann"' in message
    assert "wr@ng" not in message
    port = servers.free_port()
    assert "Connection refused" in refusal(f"postgresql://ann@127.0.0.1:{port}/d", ASK, tmp_path)


# --- DuckDB -----------------------------------------------------------------------------------------------------------


def test_duckdb_gives_the_same_data_set_as_the_file(tmp_path, as_csv):
    duckdb = pytest.importorskip("duckdb", reason="requirements-databases.txt is not installed here")
    pytest.importorskip("adbc_driver_manager", reason="requirements-databases.txt is not installed here")
    with duckdb.connect(str(tmp_path / "a.duckdb")) as connection:
        connection.execute(TABLE)
        connection.executemany("insert into t values (?, ?, ?, ?, ?, ?)", numbered())
    address = f"duckdb:///{tmp_path}/a.duckdb"
    assert of_train(get(address, ASK, tmp_path / "run"), tmp_path / "set") == as_csv
    assert "nox" in refusal(address, "select nox from t", tmp_path / "2")
    assert "read-only" in refusal(address, "drop table t", tmp_path / "2")
