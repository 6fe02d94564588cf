"""However a chain is ended, it leaves no process, no run that says RUNNING, and no folder; and the next one goes on."""

import contextlib
import errno
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from steps import guard, killed, sweep, tracked
from steps.killed import REASON
from tests.running import PROJECT, Store

slow = pytest.mark.slow

# Within which a chain is gone; and until main's run is marked once more, by a process that has to import MLflow.
GONE_SECONDS = 10.0
MARKED_SECONDS = 20.0
FIRST_LINE = "in the experiment"
PROBLEM = """
name: ending
data: {source: ending.csv, target: y}
models:
  logistic: {estimator: sklearn.linear_model.LogisticRegression}
  lightgbm:
    estimator: lightgbm.LGBMClassifier
    params: {n_estimators: 20}
    space: {num_leaves: {type: int, low: 4, high: 16}}
search: {metric: roc_auc, trials: 2, folds: 2}
"""
STEPS = ("etl", "hpo", "train", "evaluate", "register")


def is_marker(process):
    with contextlib.suppress(psutil.Error):
        return process.cmdline()[1:3] == ["-m", "steps.killed"]
    return True  # it has gone meanwhile


def write_problem(folder, *, seed=7, rows=120):
    """A small table with some signal, and the problem that it poses."""
    draw = random.Random(seed)
    lines = ["a,b,c,y"]
    for row in range(rows):
        y = row % 2
        lines.append(f"{y * 0.8 + draw.gauss(0, 1):.4f},{draw.gauss(0, 1):.4f},{draw.choice('uvw')},{y}")
    (folder / "ending.csv").write_text("\n".join(lines) + "\n")
    (folder / "ending.yaml").write_text(PROBLEM)
    return str(folder / "ending.yaml")


@dataclass
class Live:
    """A `mlflow run` that is under way, as a group of processes of its own."""

    outer: psutil.Popen
    output: Path
    place: "Place"

    @property
    def said(self):
        return self.output.read_text(errors="replace")

    @property
    def run_id(self):
        """Main's run, which its first lines name."""
        return self.said.partition("  run ")[2].split()[0]

    def wait_for(self, text, seconds=60.0):
        """Wait until it has said something; whether it has, and has not ended before."""
        until = time.monotonic() + seconds
        while text not in self.said:
            if self.outer.poll() is not None:
                return text in self.said
            assert time.monotonic() < until, f"no {text!r} after {seconds} s:\n{self.said}"
            time.sleep(0.05)
        return True

    def main(self):
        """Main's process: the one that the outer one, or the bash in between, has started."""
        for process in self.outer.children(recursive=True):
            words = process.cmdline()
            if words[1:4] == ["-m", "steps", "main"] and process.parent().cmdline()[1:4] != words[1:4]:
                return process
        raise AssertionError(f"no main:\n{self.said}")

    def steps(self):
        """The steps' processes: those that `mlflow run` started, and the workers that were forked for them."""
        main = self.main()
        found = []
        for process in main.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                words, parent = process.cmdline(), process.parent()
                is_worker = words == main.cmdline() and parent.pid != main.pid
                if is_worker or (words[1:3] == ["-m", "steps"] and words[3] in STEPS):
                    found.append(process)
        return found

    def wait_until_gone(self, seconds=GONE_SECONDS):
        """Wait until no process of it is left, and then for the one that marks main's run once more."""
        until = time.monotonic() + seconds
        while alive := self.place.processes():
            self.outer.poll()
            at_work = [process.cmdline() for process in alive if not is_marker(process)]
            assert not at_work or time.monotonic() < until, f"still there: {at_work}\n{self.said}"
            assert time.monotonic() < until + MARKED_SECONDS, f"still marks: {alive}"
            time.sleep(0.05)

    def lines(self):
        """What it has said, without MLflow's own lines."""
        return [line for line in self.said.splitlines() if " INFO mlflow" not in line and " ERROR mlflow" not in line]


class Place:
    """A store, a folder for temporary files and a problem of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.temporary = folder / "t"
        self.temporary.mkdir()
        self.store = Store(folder)
        self.problem = write_problem(folder)
        self.started = 0

    def start(self, *, between=(), **parameters):
        """Type `mlflow run`."""
        words = [sys.executable, "-m", "mlflow", "run", str(PROJECT), "--env-manager", "local"]
        for name, value in {"problem": self.problem, **parameters}.items():
            words += ["-P", f"{name}={value}"]
        self.started += 1
        output = self.folder / f"output-{self.started}"
        with output.open("wb") as file:
            outer = psutil.Popen(
                [*between, *words],
                cwd=self.folder,
                env={**self.store.environment, "TMPDIR": str(self.temporary)},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Live(outer, output, self)

    def processes(self):
        """All processes that work on this store."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                is_ours = process.environ().get("MLFLOW_TRACKING_URI") == self.store.uri
                if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def runs(self):
        return self.store.client.search_runs([self.store.experiment], max_results=5000)

    def running(self):
        """The runs that say RUNNING."""
        return [run for run in self.runs() if run.info.status == "RUNNING"]

    def folders(self):
        """What of ours is in the folder for temporary files."""
        return sorted(path.name for path in self.temporary.iterdir() if path.name.startswith("tabular-"))

    def champion(self):
        """The digest of the champion, or None."""
        try:
            version = self.store.client.get_model_version_by_alias("ending_classifier", "champion")
        except MlflowException:
            return None
        return version.tags["tabular.digest.model"]


@pytest.fixture
def place():
    """A place whose path is short, as that of a person's temporary folder is."""
    folder = Path(tempfile.mkdtemp(prefix="ending-"))
    yield Place(folder)
    shutil.rmtree(folder, ignore_errors=True)


def family(place, live):
    """Main's run and those below it."""
    runs = {run.info.run_id: run for run in place.runs()}
    ids, size = {live.run_id}, 0
    while len(ids) != size:
        size = len(ids)
        ids |= {name for name, run in runs.items() if run.data.tags.get("mlflow.parentRunId") in ids}
    return [runs[name] for name in ids]


def check_killed(place, live, reason):
    """What holds after an end by a signal: no process, no folder, and every run that had not ended is KILLED."""
    live.wait_until_gone()
    assert place.folders() == []
    left = {run.info.status for run in family(place, live)}
    assert left <= {"KILLED", "FINISHED"}, left
    main = place.store.client.get_run(live.run_id)
    assert main.info.status == "KILLED"
    assert reason in main.data.tags["tabular.reason"]
    ours = [line for line in live.lines() if line.startswith("tabular: ")]
    assert len(ours) == 1, live.said
    assert reason in ours[0]
    assert "Traceback" not in live.said


def begin(place, moment, **options):
    """A chain that is at some moment of its life."""
    live = place.start(**options)
    assert live.wait_for(moment), live.said
    return live


def interrupt(live):
    """Ctrl-C: the signal goes to all processes of the terminal's foreground group."""
    os.killpg(live.outer.pid, signal.SIGINT)


def hang_up(live):
    """The terminal is closed."""
    os.killpg(live.outer.pid, signal.SIGHUP)


def terminate_main(live):
    live.main().terminate()


def terminate_outer(live):
    live.outer.terminate()


def kill_outer(live):
    live.outer.kill()


@slow
@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (interrupt, "ended by SIGINT"),
        (hang_up, "ended by SIGHUP"),
        (terminate_main, "ended by SIGTERM"),
        (terminate_outer, "has died"),
        (kill_outer, "has died"),
    ],
)
def test_a_chain_that_is_ended_is_gone_and_killed(place, end, reason):
    live = begin(place, FIRST_LINE, jobs=2)
    time.sleep(4)
    end(live)
    check_killed(place, live, reason)


@slow
@pytest.mark.parametrize("end", [interrupt, terminate_outer])
def test_a_bash_between_changes_nothing(place, end):
    # with a trap to keep, bash stays in between, as it does where it activates an environment first
    (place.folder / "trap").write_text("trap true EXIT\n")
    place.store.environment["BASH_ENV"] = str(place.folder / "trap")
    live = begin(place, FIRST_LINE, jobs=1)
    assert live.main().parent().name() == "bash"
    time.sleep(4)
    end(live)
    check_killed(place, live, "SIGINT" if end is interrupt else "has died")


@slow
def test_a_step_that_fails_stops_those_beside_it(place):
    text = PROBLEM.replace("LogisticRegression}", "LogisticRegression, params: {C: -1}}")
    text = text.replace("n_estimators: 20", "n_estimators: 100000")
    (place.folder / "ending.yaml").write_text(text)
    live = place.start(jobs=2)
    live.wait_until_gone(60)
    main = place.store.client.get_run(live.run_id)
    assert main.info.status == "FAILED"
    assert main.data.tags["step.failed"] == "train logistic"
    left = {run.info.run_name: run.info.status for run in family(place, live) if run.info.run_id != live.run_id}
    assert left.pop("etl ending") == "FINISHED"
    assert left.pop("train logistic") == "FAILED"
    assert set(left.values()) <= {"KILLED", "FINISHED"}
    assert left["hpo lightgbm"] == "KILLED"
    assert place.folders() == []
    assert "Traceback" not in live.said


@slow
def test_a_step_that_is_killed_fails_the_chain(place):
    live = begin(place, "  etl  ", jobs=1)
    while not (steps := live.steps()):
        time.sleep(0.05)
    steps[0].kill()
    live.wait_until_gone()
    main = place.store.client.get_run(live.run_id)
    assert main.info.status == "FAILED"
    assert main.data.tags["step.failed"] in ("hpo lightgbm", "train logistic")
    assert [line for line in live.lines() if line.startswith("tabular: ")] == [f"tabular: {main.data.tags[REASON]}"]
    assert place.running() == []
    assert place.folders() == []


@pytest.fixture(scope="module")
def undisturbed():
    """The champion of a chain that nobody disturbs, and the seconds from its first line to its end."""
    folder = Path(tempfile.mkdtemp(prefix="ending-"))
    calm = Place(folder)
    live = begin(calm, FIRST_LINE)
    started = time.monotonic()
    live.outer.wait(120)
    assert "registered after" in live.said
    yield calm.champion(), time.monotonic() - started
    shutil.rmtree(folder, ignore_errors=True)


# An end that is told to all is over when they are gone; what a SIGKILL leaves, the next main removes.
TOLD = {
    "SIGTERM to main": terminate_main,
    "SIGTERM to mlflow run": terminate_outer,
    "SIGKILL to mlflow run": kill_outer,
}
UNTOLD = ("SIGKILL to main", "SIGKILL to a step", "SIGKILL to all")
MOMENTS = 20


@slow
def test_a_chain_that_is_ended_again_and_again_ends_well(place, undisturbed):
    champion, seconds = undisturbed
    draw = random.Random(20261121)
    # each way at least three times, in some order
    ways = [*TOLD, *UNTOLD] * 4
    draw.shuffle(ways)
    stale = set()
    for way in ways[:MOMENTS]:
        # half of them go on where the last one stopped; what is reused is over soon
        live = begin(place, FIRST_LINE, jobs=draw.choice([1, 2]), reuse=draw.choice(["true", "false"]))
        delay = draw.uniform(0, seconds)
        with contextlib.suppress(psutil.TimeoutExpired):
            live.outer.wait(delay)
        where = f"{way} after {delay:.1f} s\n{live.said}"
        if delay > 3:  # it has cleaned up after the one before
            assert not stale & {run.info.run_id for run in place.running()}, where
            assert len(place.folders()) <= 1, where
            stale = set()
        disturb(live, way, draw)
        live.wait_until_gone()
        left = {run.info.run_id for run in place.running()}
        if way in TOLD:
            assert left <= stale, where
            status = place.store.client.get_run(live.run_id).info.status
            assert status == "KILLED" or (status == "FINISHED" and "after" in live.said), where
        stale |= left
    last = place.start()
    last.outer.wait(120)
    assert last.outer.returncode == 0, last.said
    assert place.running() == []
    assert place.folders() == []
    assert place.champion() == champion
    # a run with a key is whole, whatever happened while it was made
    again = place.start()
    again.outer.wait(120)
    assert "ran: " not in again.said


def disturb(live, way, draw):
    """End a chain in some way, if it is still there."""
    with contextlib.suppress(psutil.NoSuchProcess, AssertionError):
        if way in TOLD:
            TOLD[way](live)
        elif way == "SIGKILL to all":
            for process in live.place.processes():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        else:
            steps = live.steps() if way == "SIGKILL to a step" else []
            (draw.choice(steps) if steps else live.main()).kill()
            if steps:  # it may have been at its end: then the chain goes on
                live.outer.wait(90)


@slow
def test_four_chains_at_once_on_one_store_end_well(place):
    check_many(place, seeds=[1, 1, 2, 3])


def check_many(place, seeds):
    """Chains at once, of which some are the same, end well; and what they did is whole, and is reused."""
    chains = [place.start(seed=seed, jobs=1) for seed in seeds]
    for live in chains:
        live.outer.wait(300)
    for live in chains:
        assert live.outer.returncode == 0, live.said
        assert "Traceback" not in live.said
    assert place.running() == []
    assert place.folders() == []
    again = place.start(seed=seeds[0], jobs=1)
    again.outer.wait(120)
    assert again.outer.returncode == 0, again.said
    assert "has been altered" not in again.said
    # what register says of its verdict depends on who became the champion last
    steps = [line for line in again.said.splitlines() if "  reused " in line and not line.startswith("  register")]
    assert len(steps) == 5, again.said


@pytest.fixture
def connected(store, monkeypatch):
    """The shared store as the one that MLflow uses in this process."""
    import mlflow

    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    mlflow.set_tracking_uri(store.uri)
    yield store
    mlflow.set_tracking_uri(None)


def owned(store, experiment, host, process):
    """A run that is RUNNING, and says whose it is."""
    tags = {
        "tabular.owner.host": host,
        "tabular.owner.pid": str(process.pid),
        "tabular.owner.started": f"{process.started:.2f}",
    }
    return store.client.create_run(experiment, tags=tags).info.run_id


def test_runs_of_dead_processes_of_this_machine_alone_are_closed(connected, tmp_path, capsys):
    experiment = connected.client.create_experiment(f"swept {tmp_path.name}", artifact_location=str(tmp_path))
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    dead = guard.Process.of(psutil.Process(child.pid))
    child.communicate(b"\n")
    left = owned(connected, experiment, guard.host(), dead)
    alive = owned(connected, experiment, guard.host(), guard.me())
    elsewhere = owned(connected, experiment, "another machine", dead)
    nobodys = connected.client.create_run(experiment).info.run_id
    sweep.sweep(tracked.Step("main", {}, "", experiment, tmp_path, connected.client))
    closed = connected.client.get_run(left)
    assert closed.info.status == "KILLED"
    assert closed.data.tags[REASON] == f"its process ({dead.pid}) was killed"
    assert {connected.client.get_run(run).info.status for run in (alive, elsewhere, nobodys)} == {"RUNNING"}
    said = capsys.readouterr().out
    assert f"run {left} was RUNNING and its process ({dead.pid}) is dead: closed as KILLED" in said
    assert f"run {nobodys} of this experiment is RUNNING without an owner" in said


def test_what_a_dying_process_made_is_closed_with_it(connected, tmp_path):
    experiment = connected.client.create_experiment(f"closed {tmp_path.name}", artifact_location=str(tmp_path))
    run = connected.client.create_run(experiment).info.run_id
    child = owned(connected, experiment, guard.host(), guard.me())
    killed.end(run, "ended by SIGTERM", is_step=False)
    assert [connected.client.get_run(each).info.status for each in (run, child)] == ["KILLED", "KILLED"]
    assert connected.client.get_run(run).data.tags[REASON] == "ended by SIGTERM"


def test_a_step_that_main_has_ended_keeps_the_end_that_main_gave(connected, tmp_path):
    experiment = connected.client.create_experiment(f"ended {tmp_path.name}", artifact_location=str(tmp_path))
    run = connected.client.create_run(experiment).info.run_id
    connected.client.set_terminated(run, "FAILED")
    killed.end(run, "ended by SIGTERM", is_step=True)
    assert connected.client.get_run(run).info.status == "FAILED"


@pytest.fixture
def judged(store, tmp_path):
    """A run of evaluate with a winner that nobody has registered; gives it and the name of its registered model."""
    name = f"cut_{tmp_path.name}".replace("-", "_")
    path = Path(write_problem(tmp_path))
    path.write_text(PROBLEM.replace("name: ending", f"name: {name}"))
    etl = store.step("etl", problem=str(path))
    train = store.step("train", dataset=etl.id, model="logistic")
    evaluation = store.step("evaluate", dataset=etl.id, models=train.id)
    assert evaluation.status == 0, evaluation.stderr
    return evaluation, f"{name}_classifier"


def test_a_registration_that_was_killed_before_its_alias_is_finished_by_the_next(store, judged, monkeypatch):
    evaluation, name = judged

    def die(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", die)
        assert store.step("register", evaluation=evaluation.id).status == 1
    assert [version.aliases for version in store.versions(name)] == [[]]
    ended = store.step("register", evaluation=evaluation.id)
    assert ended.status == 0, ended.stderr
    assert ended.tags["tabular.outcome"] == "registered"
    assert len(store.versions(name)) == 1
    assert (
        str(store.client.get_model_version_by_alias(name, "champion").version) == ended.tags["tabular.champion.version"]
    )


REGISTER_SLOWLY = """
from steps import guard
guard.begin()
import sys, time
from mlflow import MlflowClient
give = MlflowClient.set_registered_model_alias
def slowly(*words):
    print("between", flush=True)
    time.sleep(1)
    give(*words)
MlflowClient.set_registered_model_alias = slowly
sys.argv = ["steps", f"--evaluation={sys.argv[1]}"]
from steps import register, tracked
tracked.run("register", register.register)
"""


@slow
def test_a_registration_under_way_is_finished_before_a_signal_ends_it(store, judged):
    evaluation, name = judged
    words = [sys.executable, "-c", REGISTER_SLOWLY, evaluation.id]
    process = subprocess.Popen(words, cwd=PROJECT, env=store.environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "between\n"
    process.terminate()
    process.communicate(timeout=GONE_SECONDS)
    assert process.returncode == 1
    assert store.client.get_model_version_by_alias(name, "champion").version == 1
    assert store.newest().info.status == "KILLED"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "full", "/from", None, "/to"), "no space is left on the disk of /to: make some"),
        (OSError(errno.EROFS, "Read-only file system", "/there"), "/there may not be written (Read-only file system)"),
        (PermissionError(errno.EACCES, "Permission denied", "/there"), "/there may not be written (Permission denied)"),
        (MlflowException("(sqlite3.OperationalError) database or disk is full"), "disk of the tracking store"),
        (MlflowException("(sqlite3.OperationalError) attempt to write a readonly database"), "may not be written"),
    ],
)
def test_a_disk_that_takes_nothing_is_named_in_one_line_with_what_to_do(error, said):
    try:
        raise MlflowException("wrapped") from error
    except MlflowException as wrapped:
        line = tracked.explain(error if isinstance(error, MlflowException) else wrapped)
    assert said in line
    assert "make some, then" in line or "give this user the right" in line
    assert len(line.splitlines()) == 1


def test_an_artifact_folder_that_may_not_be_written_fails_the_run_in_one_line(store, tmp_path, monkeypatch):
    # where nobody may make a folder, root included
    store.client.create_experiment(f"closed to all {tmp_path.name}", artifact_location="/sys/kernel/tabular")
    experiment = store.client.get_experiment_by_name(f"closed to all {tmp_path.name}")
    monkeypatch.setitem(store.environment, "MLFLOW_EXPERIMENT_NAME", experiment.name)
    ended = store.step("etl", problem=write_problem(tmp_path))
    assert ended.status == 1
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert "/sys/kernel/tabular may not be written" in ended.stderr
    (run,) = store.client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"
    assert "tabular.key" not in run.data.tags


@pytest.fixture
def served(place):
    """A place whose store is a tracking server, which keeps the artifacts too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--serve-artifacts"]
    words += ["--backend-store-uri", place.store.uri, "--artifacts-destination", str(place.folder / "served")]
    with (place.folder / "server").open("wb") as log:
        server = psutil.Popen([sys.executable, "-m", "mlflow", *words], stdout=log, stderr=log, start_new_session=True)
    uri = f"http://127.0.0.1:{port}"
    until = time.monotonic() + 90
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{uri}/health", timeout=5):
            break
        assert time.monotonic() < until, (place.folder / "server").read_text()
        time.sleep(0.3)
    place.store.uri, place.store.client = uri, MlflowClient(uri, uri)
    place.store.experiment = place.store.client.create_experiment("served")
    place.store.environment |= {"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_NAME": "served"}
    yield place
    os.killpg(server.pid, signal.SIGTERM)
    server.wait()


@slow
def test_chains_at_once_on_one_tracking_server_end_well(served):
    check_many(served, seeds=[1, 1, 2])
