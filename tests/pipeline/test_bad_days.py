"""A tracking server on a bad day: whatever breaks off on the way, a chain ends as on a good one."""

import time

import pytest

from steps.run import retries
from tests import relay, servers
from tests.chains import PROBLEM, write_table
from tests.running import Store

pytestmark = pytest.mark.slow
# What `mlflow run` itself asks, before our code begins and when it has ended.
MLFLOWS = ("GET runs/get", "POST runs/update", "GET experiments/get-by-name", "POST runs/set-tag")


@pytest.fixture(scope="module")
def scene(tmp_path_factory, fork_server):
    """A store behind a server behind a relay, and the metrics of a chain on a good day."""
    folder = tmp_path_factory.mktemp("bad days")
    write_table(folder / "table.csv")
    (folder / "problem.yaml").write_text(PROBLEM.replace("trials: 6", "trials: 2"))
    store = Store(folder, fork_server=fork_server)
    good = store.project(problem=str(folder / "problem.yaml"))
    assert good.status == 0, good.stderr
    with servers.tracking(store.uri, folder / "served") as address, relay.before(address) as between:
        experiment = store.client.create_experiment("bad days", artifact_location=f"mlflow-artifacts:/{folder.name}")
        store.environment |= {"MLFLOW_TRACKING_URI": between.address, "MLFLOW_EXPERIMENT_NAME": "bad days"}
        store.experiment = experiment
        yield store, between, lasting(good)


def lasting(ended):
    return {name: value for name, value in ended.run.data.metrics.items() if not name.endswith("_seconds")}


def check(store, ended, good):
    assert ended.status == 0, ended.stderr
    assert lasting(ended) == good
    assert not store.client.search_runs([store.experiment], "attributes.status = 'RUNNING'")
    for version in store.versions("small"):
        assert store.client.get_logged_model(version.source.removeprefix("models:/")).status == "READY"


def test_answers_that_break_off_cost_nothing(scene):
    store, between, good = scene
    cut = []

    def fails(kind, number):
        method, _, path = kind.partition(" ")
        if (
            number > 8
            and between.counts[kind] % 3 == 1
            and kind not in MLFLOWS
            and retries.is_same_twice(f"/{path}", method)
        ):
            cut.append(kind)
            return "cut"
        return None

    between.fails = fails
    try:
        check(store, store.project(problem=str(store.folder / "problem.yaml"), reuse="false"), good)
    finally:
        between.fails = lambda kind, number: None
    assert len({*cut}) > 5


@pytest.mark.long
def test_a_server_that_is_away_for_a_while_in_each_step_costs_nothing(scene):
    store, between, good = scene
    away = {"until": 0.0, "steps": 0}

    def fails(kind, number):
        if kind == "POST runs/create":  # each task is made with one
            away["steps"] += 1
        if kind == "POST runs/log-batch" and away["steps"] > 1:
            away["until"], away["steps"] = time.monotonic() + 8, 1
        return 503 if time.monotonic() < away["until"] else None

    between.fails = fails
    try:
        check(store, store.project(problem=str(store.folder / "problem.yaml"), reuse="false"), good)
    finally:
        between.fails = lambda kind, number: None
