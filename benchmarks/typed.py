"""`mlflow run` as a user types it, from a benchmark: in the environment that runs the benchmark, on a store of its own.

Bytecode is kept: what is not kept is compiled by every process anew.
"""

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Ended:
    """What a command printed, its exit status, its seconds by the clock and those of work on all cores."""

    output: str
    status: int
    seconds: float
    work: float

    @property
    def reasons(self) -> list[str]:
        """The lines that say what was wrong, in our words."""
        return [line for line in self.output.splitlines() if line.startswith("tabular: ")]


def words(**parameters: object) -> list[str]:
    """Parameters as `mlflow run` takes them; one that is empty is not given."""
    given = {name: value for name, value in parameters.items() if value not in ("", None)}
    return [word for name, value in given.items() for word in ("-P", f"{name}={value}")]


def command(project: object, *arguments: str, manager: str = "local") -> list[str]:
    """The words of an `mlflow run`."""
    return [sys.executable, "-m", "mlflow", "run", str(project), "--env-manager", manager, *arguments]


def store(folder: Path) -> str:
    """The URI of the store in a folder."""
    return f"sqlite:///{folder}/mlflow.db"


def environment(folder: Path) -> dict[str, str]:
    """The variables of a run on the store in a folder."""
    found = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{found['PATH']}"
    return {**found, "MLFLOW_TRACKING_URI": store(folder), "PATH": path}


def ended(folder: Path, project: object, *arguments: str, manager: str = "local") -> Ended:
    """One `mlflow run`, timed from the caller's side, however it ends."""
    typed = command(project, *arguments, manager=manager)
    before, started = os.times(), time.perf_counter()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(typed, cwd=folder, env=environment(folder), check=False, **pipes)
    seconds, after = time.perf_counter() - started, os.times()
    return Ended(done.stdout, done.returncode, seconds, sum(after[2:4]) - sum(before[2:4]))


def run(folder: Path, project: object, *arguments: str) -> Ended:
    """As `ended`, of a run that has to end well."""
    found = ended(folder, project, *arguments)
    if found.status:
        sys.exit(f"mlflow run {project} {' '.join(arguments)} failed:\n{found.output}")
    return found


def tell(seconds: Mapping[str, Sequence[float]], measured: str, over: str, what: str) -> None:
    """Print the best, the median and the spread of each one's rounds, and the ratio of the best rounds of two."""
    for name, times in seconds.items():
        spread = (max(times) - min(times)) / statistics.median(times)
        print(f"{name:8} best {min(times):.2f} s, median {statistics.median(times):.2f} s, spread {spread:.0%}")
    ratio = min(seconds[measured]) / min(seconds[over])
    print(f"ratio    {ratio:.2f} ({what}; {os.cpu_count()} cores, {platform.platform()})")
