"""Tables from where they lie: parts of a folder, the answer of a database, an artifact; reused, scored and replayed."""

import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from tests.running import PROJECT, Ended, Store

pytestmark = pytest.mark.usefixtures("undrawn")

N = 120
FRAME = pd.DataFrame(
    {
        "amount": [None if i % 9 == 0 else i * 1.5 for i in range(N)],
        "city": [None if i % 11 == 0 else ("Paris", "Rome", "Oslo")[i % 3] for i in range(N)],
        "churn": [("no", "yes")[(i % 7) > 3] for i in range(N)],
    }
)
YAML = """
name: bought
data:
  source: sqlite:///shop.db
  query: select amount, city, churn from customers order by rowid
  target: churn
models: {logistic: {estimator: sklearn.linear_model.LogisticRegression}}
search: {folds: 2}
gate: {beat_prior: false}  # nothing can be learnt from these rows
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
def plain(store, tmp_path_factory):
    """A run of etl on the table as a plain CSV."""
    path = tmp_path_factory.mktemp("plain") / "t.csv"
    FRAME.to_csv(path, index=False)
    return store.step("etl", data=str(path), target="churn")


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


# --- a chain ----------------------------------------------------------------------------------------------------------


@dataclass
class Lab:
    """A folder with a clone of this project, a database, a problem, and a store with two chains of it."""

    folder: Path
    clone: Path
    store: Store
    first: Ended
    again: Ended

    @property
    def database(self) -> Path:
        return self.folder / "shop.db"


@pytest.fixture(scope="module")
def lab(chains, fork_server, tmp_path_factory):
    if not (PROJECT / ".git").exists():
        pytest.skip("the project is not a git clone")
    folder = tmp_path_factory.mktemp("lab")
    (folder / "p.yaml").write_text(YAML)
    with sqlite3.connect(folder / "shop.db") as connection:
        FRAME.to_sql("customers", connection, index=False)
    store = Store(folder, fork_server=fork_server)
    ended = [store.project(uri=str(chains.clone), problem="p.yaml", jobs=1) for _ in range(2)]
    assert [one.status for one in ended] == [0, 0], ended[0].stderr
    return Lab(folder, chains.clone, store, *ended)


def test_an_answer_that_is_the_same_is_not_worked_on_again(lab):
    assert "reused" in next(line for line in lab.again.stdout.splitlines() if line.strip().startswith("etl"))


def test_a_chain_of_a_query_is_replayed_from_the_answer_of_then_when_the_database_is_another(lab):
    before = lab.database.read_bytes()
    with sqlite3.connect(lab.database) as connection:
        connection.execute("delete from customers where rowid > 60")
    try:
        changed = lab.store.step("etl", problem="p.yaml")
        ended = lab.store.project("reproduce", uri=str(lab.clone), run=lab.again.id, jobs=1)
    finally:
        lab.database.write_bytes(before)
    assert (
        changed.tags["tabular.data_digest"] != lab.store.children(lab.first.id)["etl"].data.tags["tabular.data_digest"]
    )
    assert ended.status == 0, ended.stdout + ended.stderr
    assert ended.tags["tabular.outcome"] == "same"


def test_a_run_of_parts_is_replayed_from_these_when_more_have_come(lab, monkeypatch):
    write_parts(lab.folder)
    parts = lab.folder / "parts"
    ended = lab.store.project("etl", uri=str(lab.clone), data="parts", target="churn")
    assert ended.status == 0, ended.stderr
    shutil.copy(parts / "part-0.parquet", parts / "part-9.parquet")
    (cache,) = (Path(path) for path in [lab.folder / "cache"])
    monkeypatch.setitem(lab.store.environment, "XDG_CACHE_HOME", str(cache))  # another machine, which knows no listing
    again = lab.store.step("reproduce", run=ended.id)
    assert again.status == 0, again.stdout + again.stderr
    assert again.tags["tabular.outcome"] == "same"
    parts.rename(lab.folder / "moved")
    gone = lab.store.step("reproduce", run=ended.id)
    assert gone.status == 1
    assert "is not there; -P data=" in gone.lines[0]
    (lab.folder / "moved" / "part-1.parquet").unlink()
    lacking = lab.store.step("reproduce", run=ended.id, data="moved")
    assert "the part part-1.parquet is gone" in lacking.lines[0]


def test_a_folder_of_parts_is_scored_as_the_file_is(lab):
    model = "models:/bought_classifier@champion"
    (lab.folder / "score").mkdir()
    FRAME.to_csv(lab.folder / "score" / "t.csv", index=False)
    write_parts(lab.folder / "score")
    ask = {"data": "sqlite:///shop.db", "query": "select * from customers order by rowid"}
    for name, given in {"csv": {"data": "score/t.csv"}, "parts": {"data": "score/parts"}, "query": ask}.items():
        ended = lab.store.step("predict", model=model, output=f"{name}.parquet", **given)
        assert ended.status == 0, ended.stderr
    one, *others = (pd.read_parquet(lab.folder / f"{name}.parquet") for name in ("csv", "parts", "query"))
    assert all(one.equals(other) for other in others)
