"""How many replays prove equal: a chain once, then `mlflow run . -e reproduce` on its run, again and again.

    python benchmarks/replays.py [--problem breast_cancer] [--times 20] [--data PATH] [--trials N] [--single]

The replays alternate between one and two jobs and between the environment managers `uv` and `virtualenv` (which needs
pyenv). Each is a chain of its own, all of its steps anew. With `--single`, each step's own run is replayed too. Ends
with 0 only if all were equal. Needs a clone of this repository, since a replay starts from the run's commit.
"""

import argparse
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
WAYS = list(itertools.product(("uv", "virtualenv"), (1, 2)))


def main() -> None:
    """Run the chain and the replays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", default="breast_cancer")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--data", default="")
    parser.add_argument("--trials", default="")
    parser.add_argument("--single", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        data = str(Path(options.data).resolve()) if options.data else ""
        given = {"problem": options.problem, "data": data, "trials": options.trials, "jobs": 2}
        status, said, seconds = run("main", folder, "uv", given)
        if status:
            sys.exit(said)
        run_id = re.search(r"  run (\w{32}) in the experiment", said)[1]
        print(f"chain of {options.problem}: {seconds:.0f} s", flush=True)
        runs = [run_id] + (children(folder, run_id) if options.single else [])
        tries = [(run_id, *WAYS[number % len(WAYS)]) for number in range(options.times)]
        tries += [(child, *WAYS[number % len(WAYS)]) for number, child in enumerate(runs[1:])]
        equal = sum(replay(folder, number, *one) for number, one in enumerate(tries, start=1))
    print(f"{equal} of {len(tries)} replays of {options.problem} are equal")
    sys.exit(equal != len(tries))


def replay(folder: Path, number: int, run_id: str, manager: str, jobs: int) -> bool:
    """One replay; whether it proved equal. What is different is printed."""
    status, said, seconds = run("reproduce", folder, manager, {"run": run_id, "jobs": jobs})
    print(f"{number:3}  {manager:10} jobs {jobs}  {seconds:4.0f} s  {'NOT EQUAL' if status else 'equal'}", flush=True)
    if status:
        print(said, flush=True)
    return status == 0


def children(folder: Path, run_id: str) -> list[str]:
    """The runs of the steps of a chain."""
    from mlflow import MlflowClient

    client = MlflowClient(uri(folder))
    experiment = client.get_run(run_id).info.experiment_id
    return [run.info.run_id for run in client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run_id}'")]


def uri(folder: Path) -> str:
    """The store."""
    return f"sqlite:///{folder}/mlflow.db"


def run(entry_point: str, folder: Path, manager: str, given: dict[str, object]) -> tuple[int, str, float]:
    """One `mlflow run`: its exit status, what it said, and its seconds."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri(folder)}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    words = [sys.executable, "-m", "mlflow", "run", str(PROJECT), "-e", entry_point, "--env-manager", manager]
    words += ["--experiment-name", "replays"]
    words += [word for name, value in given.items() if value for word in ("-P", f"{name}={value}")]
    started = time.perf_counter()
    done = subprocess.run(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout, time.perf_counter() - started


if __name__ == "__main__":
    main()
