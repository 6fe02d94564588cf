"""Tables from where they lie: a file, parts of a folder, a store, a database, an artifact; read, scored and replayed.

A chain of a query, which is reused and replayed, is in test_left_out.py.
"""

import shutil
import sqlite3
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import fs

from tests import servers
from tests.running import PROJECT

pytestmark = pytest.mark.usefixtures("undrawn")

N = 120
FRAME = pd.DataFrame(
    {
        "amount": [None if i % 9 == 0 else i * 1.5 for i in range(N)],
        "city": [None if i % 11 == 0 else ("Paris", "Rome", "Oslo")[i % 3] for i in range(N)],
        "churn": [("no", "yes")[(i % 7) > 3] for i in range(N)],
    }
)
KEYS = {"access_key": "ann", "secret_key": "hush"}
YAML = """
name: bought
data:
  source: sqlite:///shop.db
  query: select amount, city, churn from customers order by rowid
  target: churn
models: {logistic: {estimator: sklearn.linear_model.LogisticRegression}}
search: {folds: 2}
"""


@pytest.fixture
def stand(store, tmp_path, monkeypatch):
    """The folder that the user stands in."""
    monkeypatch.setattr(store, "cwd", tmp_path)
    return tmp_path


def write_parts(folder: Path, rows: int = N) -> None:
    (folder / "parts").mkdir()
    for place, start in enumerate(range(0, rows, 50)):
        FRAME[start : min(start + 50, rows)].to_parquet(folder / "parts" / f"part-{place}.parquet")
    (folder / "parts" / "_SUCCESS").touch()


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    with servers.s3(tmp_path_factory.mktemp("s3")) as address:
        yield address


@pytest.fixture
def objects(endpoint, store, monkeypatch):
    """The endpoint of an object store that steps know of."""
    for name in [name for name in store.environment if name.startswith("AWS_")]:
        monkeypatch.delitem(store.environment, name)
    keys = {"ACCESS_KEY_ID": KEYS["access_key"], "SECRET_ACCESS_KEY": KEYS["secret_key"]}
    for name, value in {**keys, "REGION": "us-east-1", "ENDPOINT_URL": endpoint}.items():
        monkeypatch.setitem(store.environment, f"AWS_{name}", value)
    return endpoint


@pytest.fixture(scope="module")
def plain(store, tmp_path_factory):
    """A run of etl on the table as a plain CSV."""
    path = tmp_path_factory.mktemp("plain") / "t.csv"
    FRAME.to_csv(path, index=False)
    return store.step("etl", data=str(path), target="churn")


FORMS = {
    "t.csv.gz": lambda path: FRAME.to_csv(path, index=False),
    "t.tsv": lambda path: FRAME.to_csv(path, index=False, sep="\t"),
    "t.parquet": FRAME.to_parquet,
    "t.feather": FRAME.to_feather,
    "t.jsonl": lambda path: FRAME.to_json(path, orient="records", lines=True),
}


@pytest.mark.parametrize("name", FORMS)
def test_one_table_is_the_same_data_set_in_every_format(store, stand, plain, name):
    FORMS[name](stand / name)
    ended = store.step("etl", data=name, target="churn")
    assert ended.status == 0, ended.stderr
    assert ended.tags["tabular.digest.train"] == plain.tags["tabular.digest.train"]


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "parts/"])
def test_a_table_in_an_object_store_is_the_same_data_set(store, stand, plain, objects, name):
    system = fs.S3FileSystem(endpoint_override=objects, allow_bucket_creation=True, region="us-east-1", **KEYS)
    FRAME.to_csv(stand / "t.csv", index=False)
    FRAME.to_parquet(stand / "t.parquet")
    write_parts(stand)
    system.create_dir("tables")
    fs.copy_files(str(stand), "tables", fs.LocalFileSystem(), system)
    ended = store.step("etl", data=f"s3://tables/{name}", target="churn")
    assert ended.status == 0, ended.stderr
    assert ended.tags["tabular.digest.train"] == plain.tags["tabular.digest.train"]


def test_the_answer_of_postgresql_is_the_same_data_set(store, stand, plain, tmp_path_factory, monkeypatch):
    dbapi = pytest.importorskip("adbc_driver_postgresql.dbapi", reason="requirements-databases.txt is not installed")
    monkeypatch.setitem(store.environment, "TABULAR_TEST_PASSWORD", "hush-hush")
    with servers.postgresql(tmp_path_factory.mktemp("pg")) as address:
        with dbapi.connect(address.replace("${TABULAR_TEST_PASSWORD}", "hush-hush")) as connection:
            with connection.cursor() as cursor:
                cursor.adbc_ingest("customers", pa.Table.from_pandas(FRAME.assign(id=range(N))))
            connection.commit()
        ask = "select amount, city, churn from customers order by id"
        ended = store.step("etl", data=address, query=ask, target="churn")
    assert ended.status == 0, ended.stderr
    assert ended.tags["tabular.digest.train"] == plain.tags["tabular.digest.train"]
    assert "hush" not in ended.stdout + str(ended.tags)


@pytest.mark.parametrize("data", ["parts", "parts/*.parquet"])
def test_a_folder_of_parts_is_the_same_data_set_and_says_what_was_read(store, stand, plain, data):
    write_parts(stand)
    ended = store.step("etl", data=data, target="churn")
    assert ended.status == 0, ended.stderr
    assert ended.tags["tabular.digest.train"] == plain.tags["tabular.digest.train"]
    digest = ended.tags["tabular.data_digest"]
    beside = "; no parts: '_SUCCESS'" * (data == "parts")
    said = f"read 3 parts in the order of their names, sha256 {digest}{beside}"
    assert f"  data: {said}\n" in ended.stdout
    assert f"R{said[1:]}." in ended.tags["mlflow.note.content"]
    assert store.artifact(ended.run, "source/parts.sha256").read_text().count("\n") == 3
    assert ended.tags["tabular.problem"] == "parts"


def test_an_artifact_of_a_run_is_a_source(store, stand, plain):
    write_parts(stand)
    store.client.log_artifacts(plain.id, str(stand / "parts"), "tables/parts")
    ended = store.step("etl", data=f"runs:/{plain.id}/tables/parts", target="churn")
    assert ended.status == 0, ended.stderr
    assert ended.tags["tabular.digest.train"] == plain.tags["tabular.digest.train"]
    ended = store.step("etl", data=f"runs:/{plain.id}/tables/parts/part-0.parquet", target="churn")
    assert ended.tags["mlflow.note.content"].startswith("50 rows")
    gone = store.step("etl", data=f"runs:/{plain.id}/nowhere.csv", target="churn")
    assert gone.status == 1
    assert len(gone.lines) == 1
    assert "nowhere.csv: cannot be had from" in gone.lines[0]


def test_a_query_of_the_command_line_is_asked_and_its_answer_kept(store, stand, plain):
    with sqlite3.connect(stand / "shop.db") as connection:
        FRAME.to_sql("customers", connection, index=False)
    ended = store.step("etl", data="sqlite:///shop.db", query="select * from customers", target="churn")
    assert ended.status == 0, ended.stderr
    assert ended.tags["tabular.digest.train"] == plain.tags["tabular.digest.train"]
    assert "no `order by`" in ended.stdout
    assert ended.tags["tabular.problem"] == "shop"
    kept = store.artifact(ended.run, "source/answer.parquet")
    assert pd.read_parquet(kept).equals(FRAME)
    assert "select * from customers" in ended.run.inputs.dataset_inputs[0].dataset.source


def test_a_run_of_parts_is_replayed_from_these_when_more_have_come(store, stand, chains, monkeypatch):
    if not (PROJECT / ".git").exists():
        pytest.skip("the project is not a git clone")
    write_parts(stand)
    parts = stand / "parts"
    ended = store.project("etl", uri=str(chains.clone), cwd=stand, data="parts", target="churn")
    assert ended.status == 0, ended.stderr
    shutil.copy(parts / "part-0.parquet", parts / "part-9.parquet")
    # another machine, which knows no listing
    monkeypatch.setitem(store.environment, "XDG_CACHE_HOME", str(stand / "cache"))
    again = store.step("reproduce", run=ended.id)
    assert again.status == 0, again.stdout + again.stderr
    assert again.tags["tabular.outcome"] == "same"
    parts.rename(stand / "moved")
    gone = store.step("reproduce", run=ended.id)
    assert gone.status == 1
    assert "is not there; -P data=" in gone.lines[0]
    (stand / "moved" / "part-1.parquet").unlink()
    lacking = store.step("reproduce", run=ended.id, data="moved")
    assert "the part part-1.parquet is gone" in lacking.lines[0]


def test_a_folder_of_parts_is_scored_as_the_file_is(store, stand):
    (stand / "p.yaml").write_text(YAML)
    with sqlite3.connect(stand / "shop.db") as connection:
        FRAME.to_sql("customers", connection, index=False)
    FRAME.to_csv(stand / "t.csv", index=False)
    write_parts(stand)
    trained = store.step("train", dataset=store.step("etl", problem="p.yaml").id, model="logistic")
    ask = {"data": "sqlite:///shop.db", "query": "select * from customers order by rowid"}
    for name, given in {"csv": {"data": "t.csv"}, "parts": {"data": "parts"}, "query": ask}.items():
        ended = store.step("predict", model=trained.id, output=f"{name}.parquet", **given)
        assert ended.status == 0, ended.stderr
    one, *others = (pd.read_parquet(stand / f"{name}.parquet") for name in ("csv", "parts", "query"))
    assert all(one.equals(other) for other in others)
