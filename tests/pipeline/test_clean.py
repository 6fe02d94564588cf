"""`clean`: what goes and what stays of an experiment, and that what stays can still be used."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest

from tests.running import Ended, Store

pytestmark = pytest.mark.slow

DAY = 86400
# Chains of ten runs each; the first three made a registered version each.
CHAINS, BELOW, REGISTERED = 20, 9, 3
NAME = "held_classifier"
BYTES = 1000  # of each run's artifact


def ids(store: Store) -> set[str]:
    """The runs that are there."""
    return {run.info.run_id for run in store.client.search_runs([store.experiment], max_results=1000)}


def make_run(store: Store, step: str, *, days: float = 100, ends: bool = True, **tags) -> str:
    """A run of an entry point that ended so many days ago, with an artifact."""
    at = int((time.time() - days * DAY) * 1000)
    told = {"mlflow.project.entryPoint": step, "tabular.problem": "held", **tags}
    run = store.client.create_run(store.experiment, start_time=at, tags=told)
    place = store.artifact(run, "table.bin")
    place.parent.mkdir(parents=True)
    place.write_bytes(bytes(BYTES))
    if ends:
        store.client.set_terminated(run.info.run_id, end_time=at + 1000)
    return run.info.run_id


def register(store: Store, run_id: str) -> None:
    """A version of a registered model, as the run's logged model."""
    model = store.client.create_logged_model(store.experiment, name="model", source_run_id=run_id)
    place = Path(model.artifact_location.removeprefix("file://"))
    place.mkdir(parents=True, exist_ok=True)
    (place / "MLmodel").write_bytes(bytes(BYTES))
    store.client.finalize_logged_model(model.model_id, "READY")
    mlflow.set_tracking_uri(store.uri)  # the registry asks for the model by the address of the process
    store.client.create_model_version(NAME, f"models:/{model.model_id}", run_id, model_id=model.model_id)
    mlflow.set_tracking_uri(None)


def columns(store: Store, ended: Ended) -> dict[str, dict]:
    """What a run of clean says of each tree, by the id of its root."""
    found = json.loads(store.artifact(ended.run, "cleaned.json").read_text())
    rows = [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]
    return {row["run"]: row for row in rows}


@dataclass
class Many:
    """A store of 200 runs: their ids by chain, and two runs of clean, of which the second deletes."""

    store: Store
    chains: list[set[str]]
    after_dry: set[str]
    dry: Ended
    size: int
    done: Ended


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("many"))
    store.client.create_registered_model(NAME)
    chains = []
    for number in range(CHAINS):
        main = make_run(store, "main", days=100 + number)
        below = {make_run(store, "train", days=100 + number, **{"mlflow.parentRunId": main}) for _ in range(BELOW)}
        chains.append({main, *below})
        if number < REGISTERED:
            register(store, max(below))
    dry = store.step("clean", keep=0)
    after_dry, before = ids(store), on_disk(store)
    done = store.step("clean", keep=0, delete="true")
    return Many(store, chains, after_dry, dry, before - on_disk(store), done)


def on_disk(store: Store) -> int:
    """The bytes of all runs' and models' files but those of clean itself."""
    names = ("table.bin", "MLmodel")
    return sum(path.stat().st_size for path in store.folder.rglob("*") if path.name in names)


def test_of_200_runs_those_of_the_30_that_the_registry_points_to_stay(many):
    assert many.done.status == 0, many.done.stderr
    held = set().union(*many.chains[:REGISTERED])
    assert len(set().union(*many.chains)) == 200 and len(held) == 30
    assert ids(many.store) == {*held, many.dry.id, many.done.id}
    assert "held_classifier version 2" in "".join(row["stays"] for row in columns(many.store, many.done).values())


def test_nothing_is_deleted_unless_it_is_asked_for(many):
    assert many.dry.status == 0, many.dry.stderr
    assert many.after_dry == {*set().union(*many.chains), many.dry.id}
    assert "170 runs and 0 models, 0.2 MB: nothing was deleted; -P delete=true" in many.dry.stdout


def test_what_is_said_to_have_come_free_is_what_came_free(many):
    assert many.done.run.data.metrics["bytes_found"] == many.size == 170 * BYTES


def test_the_models_of_runs_that_go_go_too(tmp_path):
    store = Store(tmp_path)
    store.client.create_registered_model(NAME)
    run_id = make_run(store, "train")
    register(store, run_id)
    (version,) = store.versions(NAME)
    store.client.delete_model_version(NAME, version.version)
    ended = store.step("clean", keep=0, delete="true")
    assert "1 runs and 1 models" in ended.stdout
    assert store.client.search_logged_models([store.experiment]) == []
    assert on_disk(store) == 0


def test_what_is_young_or_among_the_newest_of_its_kind_stays(tmp_path):
    store = Store(tmp_path)
    young = make_run(store, "main", days=1)
    second = make_run(store, "main", days=50)
    make_run(store, "main", days=60)
    only = make_run(store, "predict", days=70)
    ended = store.step("clean", older_than="2w", keep=1, delete="true")
    assert ids(store) == {young, only, ended.id}
    assert columns(store, ended)[young]["stays"] == "among the newest 1 of its kind"
    again = store.step("clean", older_than="12h", keep=0)
    assert {young, only, second} - columns(store, again).keys() == {second}


def test_a_run_that_another_project_made_is_left_alone(tmp_path):
    store = Store(tmp_path)
    other = make_run(store, "their_own")
    store.step("clean", keep=0, delete="true")
    assert other in ids(store)


def test_a_run_whose_work_a_kept_chain_took_stays_with_its_whole_chain(tmp_path):
    store = Store(tmp_path)
    first = make_run(store, "main", days=90)
    etl = make_run(store, "etl", days=90, **{"mlflow.parentRunId": first})
    last = make_run(store, "main", days=1)
    reused = make_run(store, "etl", days=1, **{"mlflow.parentRunId": last, "tabular.reused_from": etl})
    ended = store.step("clean", keep=0, delete="true")
    assert ids(store) == {first, etl, last, reused, ended.id}
    assert columns(store, ended)[first]["stays"] == f"run {last}, which stays, points to it"


def test_nothing_is_deleted_beside_a_chain_that_is_under_way(tmp_path):
    store = Store(tmp_path)
    old, running = make_run(store, "main"), make_run(store, "main", days=0, ends=False)
    ended = store.step("clean", keep=0, delete="true")
    assert ended.status == 1
    assert f"delete: run {running} (main) of this experiment is under way" in ended.lines[0]
    assert old in ids(store)


def test_all_runs_that_the_report_of_a_kept_chain_names_stay(chains, fork_server):
    store, ended = chains.store("clean", after="other", fork_server=fork_server)
    first, again = ended["first"].id, ended["again"].id
    done = store.step("clean", older_than="0h", keep=1)  # artifacts are shared with other tests: nothing is deleted
    assert done.status == 0, done.stderr
    rows = columns(store, done)
    report = store.artifact(ended["other"].run, "report.html").read_text()
    gone = {run_id for run_id, row in rows.items() if not row["stays"]}
    assert gone == {again} - {run_id for run_id in rows if run_id in report}
    assert rows[first]["stays"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"older_than": "30"}, "older_than: '30' is no age such as 12h, 30d or 8w"),
        ({"keep": "-1"}, "keep: '-1' is not a whole number from 0 up"),
        ({"delete": "yes"}, "delete: 'yes' is neither 'true' nor 'false'"),
    ],
)
def test_a_wrong_parameter_is_told_in_one_line(tmp_path, given, said):
    ended = Store(tmp_path).step("clean", **given)
    assert ended.status == 1
    assert len(ended.lines) == 1 and said in ended.lines[0]
