"""What the tests of real runs share: a store in a temporary folder, and ways to run a step in it as people do."""

import atexit
import base64
import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import pytest

from steps.run.source_digest import HANDED
from tests import typed

PROJECT = Path(__file__).resolve().parent.parent
EXPERIMENT = "tests"
# After which something that is waited for will not come: no test says by it how fast a machine is.
MOST_SECONDS = 300
# A picture of one pixel.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
# In the environment of a chain that is to draw its pictures; others leave pixels: to draw takes a third of a chain.
DRAWS = "DRAWS_PICTURES"
# Keeps a fork server in the folder that it is given, until its stdin is closed; says its pid when it is there.
KEEPER = """
import sys
from pathlib import Path
from steps.process import fork_server
sys.path.append(sys.argv[2])  # the folder of these tests, whatever tree the steps are of
from tests import running
sys.path.remove(sys.argv[2])
running.leave_pixels()
others = dict.fromkeys(("main", "check", "clean", "compare", "monitor", "predict", "promote", "reproduce"), ())
fork_server.MODULES = {**others, **fork_server.MODULES}
fork_server.fork()
fork_server.warm(Path(sys.argv[1]))
print(fork_server._MAIN.pid, flush=True)
sys.stdin.read()
fork_server.close()
"""


def surroundings() -> dict[str, str]:
    """The environment of what the tests start: none of MLflow's variables but the one that sends nothing to MLflow."""
    ours = ("MLFLOW_", "TABULAR_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours) or name == HANDED}
    return {**kept, "MLFLOW_DISABLE_TELEMETRY": "true"}


@contextlib.contextmanager
def kept_fork_server(folder: Path, project: Path = PROJECT):
    """A process that stands for main, with its fork server in a folder; gives it and the fork server's pid."""
    words = [sys.executable, "-c", KEEPER, str(folder), str(PROJECT)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with typed.popen(words, cwd=project, env=surroundings(), text=True, **pipes) as process:
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def draw_pixels(drawings: Mapping[str, object], folder: Path, most: int) -> None:
    """A pixel in the place of each picture of an evaluation, by its name, where no test looks at them."""
    for name in drawings:
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PIXEL)


def leave_pixels() -> None:
    """Have matplotlib write a pixel for each figure of this process and those that it forks, but those of `DRAWS`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    draw = FigureCanvasAgg.print_png

    def write(canvas, path, **words) -> None:
        draw(canvas, path, **words) if DRAWS in os.environ else Path(path).write_bytes(PIXEL)

    FigureCanvasAgg.print_png = write


@dataclass(frozen=True)
class Ended:
    """A step or a chain that has ended: its exit status, what it wrote, and its run where there is one."""

    status: int
    stdout: str
    stderr: str
    run: object = None

    @property
    def lines(self) -> list[str]:
        """Our own lines on stderr."""
        return [line for line in self.stderr.splitlines() if line.startswith("tabular: ")]

    @property
    def id(self) -> str:
        """The run's id."""
        return self.run.info.run_id

    @property
    def tags(self) -> dict[str, str]:
        """The run's tags."""
        return self.run.data.tags


@cache
def _database() -> Path:
    """An empty store of MLflow's, which takes seconds to make."""
    from mlflow import MlflowClient

    folder = Path(tempfile.mkdtemp(prefix="database-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    MlflowClient(uri, uri).search_experiments()
    return folder / "mlflow.db"


@dataclass
class Store:
    """A tracking store of MLflow in a folder, and the three ways to start a step in it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    fork_server: str = ""  # the address of a process to fork chains off
    cwd: Path | None = None  # where `step` and `project` stand; the store's folder
    database: str = "mlflow.db"  # taken as it is where it is there
    most_seconds: float = MOST_SECONDS  # that an `mlflow run` may take

    def __post_init__(self) -> None:
        if not (self.folder / self.database).exists():
            shutil.copy(_database(), self.folder / self.database)
        self.uri = f"sqlite:///{self.folder / self.database}"
        self.client = self._client()
        # without a location of its own, artifacts would go to the folder that the tests run in
        artifacts = str(self.folder / "artifacts")
        held = self.client.get_experiment_by_name(EXPERIMENT)
        self.experiment = (
            held.experiment_id if held else self.client.create_experiment(EXPERIMENT, artifact_location=artifacts)
        )
        self.environment = {
            **surroundings(),
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_EXPERIMENT_NAME": EXPERIMENT,
            # the steps are started as `python`, which must be the one that runs the tests
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            **({"TABULAR_FORK_SERVER": self.fork_server} if self.fork_server else {}),
        }

    def _client(self):
        from mlflow import MlflowClient

        return MlflowClient(self.uri, self.uri)

    def project(
        self,
        entry_point: str = "main",
        *,
        uri: str = str(PROJECT),
        cwd: Path | None = None,
        run_name: str = "",
        **parameters,
    ) -> Ended:
        """`mlflow run`, typed in a folder that is not the project's: what a user does."""
        words = ["run", uri, "-e", entry_point, "--env-manager", "local"]
        words += ["--run-name", run_name] if run_name else []
        words += [word for name, value in parameters.items() for word in ("-P", f"{name}={value}")]

        def type_() -> tuple[int, str, str]:
            with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
                files = {"stdout": stdout, "stderr": stderr}
                status = typed.start(words, cwd=cwd or self.folder, env=self.environment, **files).wait(
                    self.most_seconds
                )
                return status, *(file.seek(0) or file.read() for file in (stdout, stderr))

        return self._ended(type_)

    def process(
        self, step: str, *, env: Mapping[str, str] | None = None, project: Path = PROJECT, **parameters
    ) -> Ended:
        """`python -m steps <step>`: the step in a process of its own, without `mlflow run` around it."""
        words = [sys.executable, "-m", "steps", step, *self._words(parameters)]
        environment = {**self.environment, **(env or {})}

        def call() -> tuple[int, str, str]:
            pipes = {"capture_output": True, "text": True, "timeout": MOST_SECONDS}
            done = subprocess.run(words, check=False, cwd=project, env=environment, **pipes)
            return done.returncode, done.stdout, done.stderr

        return self._ended(call)

    def step(self, step: str, **parameters) -> Ended:
        """The step as in `process`, in this process: the fast way, since importing MLflow takes seconds."""
        import importlib

        import mlflow

        from steps.chain import keys
        from steps.run import shell, source_digest

        body = getattr(importlib.import_module(f"steps.{step}"), step)
        stdout, stderr = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
            contextlib.chdir(self.cwd or self.folder),
        ):
            for name, value in self.environment.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", [f"steps.{step}", *self._words(parameters)])
            mlflow.set_tracking_uri(self.uri)
            with pytest.raises(SystemExit) as exit_:
                shell.run(step, body, partial(keys.of_step, source=source_digest.digests(step)))
            mlflow.set_tracking_uri(None)
        return Ended(exit_.value.code, stdout.getvalue(), stderr.getvalue(), self.newest())

    def newest(self):
        """The run that was started last and is nobody's child; None in an empty store."""
        token = None
        while True:  # a few at a time: to read hundreds of runs takes longer than most steps
            runs = self.client.search_runs(
                [self.experiment], order_by=["attributes.start_time DESC"], max_results=5, page_token=token
            )
            found = next((run for run in runs if "mlflow.parentRunId" not in run.data.tags), None)
            token = runs.token
            if found or not token:
                return found

    def children(self, run_id: str) -> dict[str, object]:
        """The children of a run by their names in the chain, such as `train lightgbm`."""
        found = self.client.search_runs(
            [self.experiment], f"tags.`mlflow.parentRunId` = '{run_id}'", order_by=["attributes.start_time ASC"]
        )
        return {_title(run): run for run in found}

    def artifacts(self, run) -> set[str]:
        """The paths of all artifacts of a run."""
        root = Path(run.info.artifact_uri.removeprefix("file://"))
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}

    def artifact(self, run, path: str) -> Path:
        """An artifact of a run."""
        return Path(run.info.artifact_uri.removeprefix("file://")) / path

    def versions(self, name: str) -> list:
        """The versions of a registered model; none where there is no such model."""
        return list(self.client.search_model_versions(f"name = '{name}'"))

    @staticmethod
    def _words(parameters: Mapping[str, object]) -> list[str]:
        return [f"--{name}={value}" for name, value in parameters.items()]

    def _ended(self, call: Callable[[], tuple[int, str, str]]) -> Ended:
        """What a call did: its exit status, what it wrote, and the run that it made."""
        before = self.newest()
        done = call()
        run = self.newest()
        is_new = run is not None and (before is None or run.info.run_id != before.info.run_id)
        return Ended(*done, run if is_new else None)


def _title(run) -> str:
    """A child's name in the chain; a trial's is its run's name."""
    tags = run.data.tags
    step = tags.get("mlflow.project.entryPoint")
    if step is None:
        return run.info.run_name
    model = run.data.params.get("model")
    return f"{step} {model}" if model else step
