"""A tracking server on a bad day: whatever breaks off on the way, a chain ends as on a good one."""

import contextlib
import itertools
import re
import threading
from functools import partial
from pathlib import Path

import pytest
from mlflow import MlflowClient

from steps.run import creations, retries
from steps.run.tags import lasting
from tests import relay, servers
from tests.chains import PROBLEM, write_table
from tests.running import MOST_SECONDS, Store

pytestmark = pytest.mark.slow
# What `mlflow run` itself asks, before our code begins and when it has ended.
MLFLOWS = ("GET runs/get", "POST runs/update", "GET experiments/get-by-name", "POST runs/set-tag")
# So few rows tell no model from the classes' shares.
MORE = "gate: {beat_prior: false}\n"
STEPS = {"main", "etl", "hpo", "train", "blend", "evaluate", "refit", "register"}


class Scene:
    """A store behind a server that can be killed, which is behind a relay.

    Parameters
    ----------
    folder
        Where all lies.
    fork_server
        As for `Store`.
    uri, artifacts, variables
        The database, the place of the artifacts and the environment of the server; sqlite and a folder.
    """

    def __init__(self, folder: Path, fork_server: str, uri: str = "", artifacts: str = "", **variables: str) -> None:
        self.folder = folder
        self._steps: dict[str, str] = {}
        write_table(folder / "table.csv")
        self.alone = Store(folder, fork_server=fork_server, database="alone.db")
        self.store = Store(folder, fork_server=fork_server, most_seconds=3 * MOST_SECONDS)
        place = artifacts or str(folder / "served")
        begin = partial(servers.tracking, uri or self.store.uri, place, servers.free_port(), **variables)
        self.server = servers.Mortal(begin)
        # past the relay: the test is to see what there is, whatever the chains are told
        self.store.client = MlflowClient(self.server.address, self.server.address)

    def metrics(self) -> dict[str, float]:
        """The metrics of a chain on a good day, without a server."""
        good = self.alone.project(problem=self.problem("alone"))
        assert good.status == 0, good.stderr
        return lasting(good.run.data.metrics)

    def problem(self, name: str) -> str:
        """A problem with a registered model of its own."""
        path = self.folder / f"{name}.yaml"
        path.write_text(f"{PROBLEM.replace('trials: 6', 'trials: 2')}{MORE}registry: {{name: {name}}}\n")
        return str(path)

    def chain(self, between: relay.Relay, name: str):
        """A chain in an experiment and with a registered model of its own."""
        held = self.store.client.get_experiment_by_name(name)
        self.store.experiment = held.experiment_id if held else self.store.client.create_experiment(name)
        self.store.environment |= {"MLFLOW_TRACKING_URI": between.address, "MLFLOW_EXPERIMENT_NAME": name}
        return self.store.project(problem=self.problem(name))

    def step_of(self, path: str) -> str | None:
        """The step whose run an upload is of; None where it is of no run."""
        found = re.search(r"/([0-9a-f]{32})/artifacts/", path)
        if found is None:
            return None
        if found[1] not in self._steps:
            self._steps[found[1]] = self.store.client.get_run(found[1]).data.tags["mlflow.project.entryPoint"]
        return self._steps[found[1]]

    def check(self, ended, name: str, good: dict[str, float]) -> None:
        """A chain has ended as on a good day: no run is RUNNING, and the one version has its model and its alias."""
        assert ended.status == 0, ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr
        assert "  registered after " in ended.stdout, ended.stdout
        assert lasting(ended.run.data.metrics) == good
        client = self.store.client
        assert client.search_runs([self.store.experiment], "attributes.status = 'RUNNING'") == []
        (version,) = client.search_model_versions(f"name = '{name}'")
        assert client.get_model_version_by_alias(name, "champion").version == version.version
        assert client.get_logged_model(version.source.removeprefix("models:/")).status == "READY"
        assert {str(model.status) for model in client.search_logged_models([self.store.experiment])} == {"READY"}


@pytest.fixture(scope="module")
def scene(tmp_path_factory, fork_server):
    made = Scene(tmp_path_factory.mktemp("bad days"), fork_server)
    with contextlib.closing(made.server):
        yield made


@pytest.fixture(scope="module")
def good(scene):
    return scene.metrics()


@pytest.fixture
def between(scene):
    with relay.before(scene.server.address) as made:
        yield made


def test_answers_that_break_off_cost_nothing(scene, between, good):
    cut = []

    def fails(kind, path):
        method, _, what = kind.partition(" ")
        known = retries.is_same_twice(f"/{what}", method) or creations.lookup(f"{creations.API}/{what}", method)
        if between.counts.total() > 8 and between.counts[kind] % 3 == 1 and kind not in MLFLOWS and known:
            cut.append(kind)
            return "cut"
        return None

    between.fails = fails
    scene.check(scene.chain(between, "cut_off"), "cut_off", good)
    assert len({*cut}) > 5


class FirstUploads:
    """Calls something at the first upload of each step, and says what is to become of that upload."""

    def __init__(self, scene: Scene, between: relay.Relay, trouble) -> None:
        self.scene, self.trouble, self.seen, self._lock = scene, trouble, set(), threading.Lock()
        between.fails = self.fails

    def fails(self, kind: str, path: str):
        step = self.scene.step_of(path) if kind == "PUT mlflow-artifacts/artifacts" else None
        with self._lock:
            if step is None or step in self.seen:
                return None
            self.seen.add(step)
        return self.trouble()


@pytest.mark.long
@pytest.mark.parametrize("seconds", [0, 60])
def test_a_server_that_is_killed_in_each_step_and_comes_back_costs_nothing(scene, between, good, seconds):
    def trouble():
        scene.server.go_away(seconds)
        return "away"

    name = f"killed_{seconds}"
    watched = FirstUploads(scene, between, trouble)
    scene.check(scene.chain(between, name), name, good)
    assert watched.seen == STEPS


@pytest.mark.long
def test_a_server_that_is_killed_in_the_middle_of_its_answers_costs_nothing(scene, between, good):
    def trouble():
        threading.Timer(0.2, scene.server.go_away, [0]).start()
        return "cut"

    watched = FirstUploads(scene, between, trouble)
    scene.check(scene.chain(between, "killed_in_answers"), "killed_in_answers", good)
    assert watched.seen == STEPS


@pytest.mark.long
@pytest.mark.parametrize("step", sorted(STEPS - {"main"}))
def test_after_a_server_that_is_away_for_long_the_same_command_goes_on(scene, between, good, step):
    name = f"away_in_{step}"
    away = threading.Event()

    def fails(kind, path):
        if kind == "PUT mlflow-artifacts/artifacts" and scene.step_of(path) == step:
            away.set()
        return "away" if away.is_set() else None

    between.fails = fails
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(scene.store.environment, "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        ended = scene.chain(between, name)
    assert ended.status == 1
    assert away.is_set()
    (line,) = ended.lines  # main's, whichever processes have lost the server; the traceback is that of `mlflow run`
    assert f"{between.address} does not answer any more (connection broken off): wait until it does, then type" in line
    between.fails = relay.well
    again = scene.chain(between, name)
    scene.check(again, name, good)
    assert step == "etl" or re.search(r"^  etl +reused ", again.stdout, re.MULTILINE)


@pytest.mark.long
def test_a_database_that_goes_away_behind_a_living_server_costs_nothing(tmp_path_factory, fork_server, good):
    folder = tmp_path_factory.mktemp("postgresql_away")
    (folder / "pg").mkdir()
    database = servers.Mortal(partial(servers.postgresql, folder / "pg", servers.free_port()))
    with contextlib.closing(database):
        scene = Scene(folder, fork_server, database.address.replace("${TABULAR_TEST_PASSWORD}", "hush-hush"))
        with contextlib.closing(scene.server), relay.before(scene.server.address) as between:
            watched = FirstUploads(scene, between, lambda: database.go_away(5))
            scene.check(scene.chain(between, "no_database"), "no_database", good)
            assert watched.seen == STEPS


@pytest.mark.long
def test_a_store_of_artifacts_that_goes_away_behind_a_living_server_costs_nothing(tmp_path_factory, fork_server, good):
    boto3 = pytest.importorskip("boto3", reason="requirements-dev.txt is not installed here")
    folder = tmp_path_factory.mktemp("s3 away")
    (folder / "s3").mkdir()
    with servers.s3(folder / "s3") as endpoint, relay.before(endpoint) as objects:
        key = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hush-hush", "AWS_DEFAULT_REGION": "us-east-1"}
        about = {"endpoint_url": endpoint, "region_name": "us-east-1"}
        secrets = {"aws_access_key_id": "key", "aws_secret_access_key": "hush-hush"}
        boto3.client("s3", **about, **secrets).create_bucket(Bucket="mlflow")
        scene = Scene(folder, fork_server, artifacts="s3://mlflow", MLFLOW_S3_ENDPOINT_URL=objects.address, **key)

        def trouble():
            objects.fails = lambda kind, path: 503
            threading.Timer(15, lambda: setattr(objects, "fails", relay.well)).start()

        with contextlib.closing(scene.server), relay.before(scene.server.address) as between:
            watched = FirstUploads(scene, between, trouble)
            scene.check(scene.chain(between, "no_objects"), "no_objects", good)
            assert watched.seen == STEPS


# --- a clock that jumps -----------------------------------------------------------------------------------------------


# Python imports this as it starts: its clock is that of the machine and what a file says, in seconds.
CLOCK = """
import os, time
def _jumping(clock, unit):
    def now():
        with open(os.environ["CLOCK"]) as file:
            return clock() + int(file.read() or 0) * unit
    return now
time.time, time.time_ns = _jumping(time.time, 1), _jumping(time.time_ns, 10**9)
"""


@pytest.mark.long
def test_a_clock_that_jumps_costs_nothing(tmp_path):
    write_table(tmp_path / "table.csv")
    (tmp_path / "problem.yaml").write_text(f"{PROBLEM.replace('trials: 6', 'trials: 3')}{MORE}")
    store = Store(tmp_path)
    good = store.project(problem=str(tmp_path / "problem.yaml"))
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(CLOCK)
    offset = tmp_path / "offset"
    offset.write_text("0")
    store.environment |= {"PYTHONPATH": str(tmp_path / "clock"), "CLOCK": str(offset)}
    ended = threading.Event()

    def jump() -> None:
        for seconds in itertools.cycle([86_400, -3_600, 400 * 86_400, -400 * 86_400, 0]):
            offset.write_text(str(seconds))
            if ended.wait(0.7):
                return

    jumping = threading.Thread(target=jump)
    jumping.start()
    try:
        jumped = store.project(problem=str(tmp_path / "problem.yaml"), reuse="false")
        again = store.project(problem=str(tmp_path / "problem.yaml"))
    finally:
        ended.set()
        jumping.join()
    for one in (jumped, again):
        assert one.status == 0, one.stderr
        assert "Traceback" not in one.stderr
    runs = {run.info.run_id: run for run in store.client.search_runs([store.experiment])}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    mains = [run for run in runs.values() if "mlflow.parentRunId" not in run.data.tags]
    assert len(mains) == 3
    assert [lasting(run.data.metrics) for run in mains] == [lasting(good.run.data.metrics)] * 3
    assert again.stdout.count("  reused ") == 5
    starts = [run.info.start_time for run in runs.values()]
    assert max(starts) - min(starts) > 1000 * 3_000
