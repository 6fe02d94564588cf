"""Chains under way, as `mlflow run` starts them: to be watched and ended in the ways in which chains end."""

import contextlib
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests import typed
from tests.running import MOST_SECONDS, PROJECT, Store

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
gate: {beat_prior: false}  # so few rows are no evidence
"""
# The same of a number.
OF_NUMBERS = (
    PROBLEM.replace("LogisticRegression", "Ridge")
    .replace("LGBMClassifier", "LGBMRegressor")
    .replace("metric: roc_auc", "metric: rmse")
)
STEPS = ("etl", "hpo", "train", "blend", "evaluate", "refit", "register")


def words_of(process):
    """A process's command line; none where it has gone meanwhile."""
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


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


def write_problem_of_numbers(folder):
    """The same table with a number in the place of its classes."""
    path = write_problem(folder)
    header, *rows = (folder / "ending.csv").read_text().splitlines()
    cells = [row.split(",") for row in rows]
    lines = [f"{a},{b},{c},{2 * float(a) + float(b) ** 2:.4f}" for a, b, c, _ in cells]
    (folder / "ending.csv").write_text("\n".join([header, *lines]) + "\n")
    Path(path).write_text(OF_NUMBERS)
    return path


@dataclass
class Live:
    """A `mlflow run` that is under way, as a group of processes of its own."""

    outer: typed.Typed
    output: Path
    place: "Place"

    @property
    def said(self):
        return self.output.read_text(errors="replace")

    @property
    def run_id(self):
        """Main's run, which its first lines name."""
        return self.said.partition("  run ")[2].split()[0]

    def wait_for(self, text, seconds=MOST_SECONDS):
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

    def wait_until_gone(self):
        """Wait until no process of it is left, the one that marks main's run once more included."""
        until = time.monotonic() + MOST_SECONDS
        while alive := self.place.processes():
            self.outer.poll()
            assert time.monotonic() < until, f"still there: {[*map(words_of, alive)]}\n{self.said}"
            time.sleep(0.05)

    def lines(self):
        """What it has said, without MLflow's own lines."""
        return [line for line in self.said.splitlines() if " INFO mlflow" not in line and " ERROR mlflow" not in line]


class Place:
    """A store, a folder for temporary files and a problem of its own."""

    def __init__(self, folder, fork_server=""):
        self.folder = folder
        self.temporary = folder / "t"
        self.temporary.mkdir()
        self.store = Store(folder, fork_server=fork_server)
        self.problem = write_problem(folder)
        self.started = 0
        self.outers = []

    def start(self, **parameters):
        """Type `mlflow run`."""
        words = ["run", str(PROJECT), "--env-manager", "local"]
        for name, value in {"problem": self.problem, **parameters}.items():
            words += ["-P", f"{name}={value}"]
        self.started += 1
        output = self.folder / f"output-{self.started}"
        with output.open("wb") as file:
            environment = {**self.store.environment, "TMPDIR": str(self.temporary)}
            outer = typed.start(words, cwd=self.folder, env=environment, stdout=file, stderr=file)
        self.outers.append(outer)
        return Live(outer, output, self)

    def processes(self):
        """All processes that work on this store."""
        found = [outer for outer in self.outers if outer.poll() is None]
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
    assert "Traceback" not in live.said, live.said


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
