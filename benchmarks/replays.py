"""How many replays prove equal: a chain once, then `mlflow run . -e reproduce` on its run, again and again.

    python benchmarks/replays.py [--problem breast_cancer] [--times 20] [--data PATH] [--trials N] [--single]

The replays alternate between one and two jobs and between the environment managers `uv` and `virtualenv` (which needs
pyenv). Each is a chain of its own, all of its steps anew. With `--single`, each step's own run is replayed too. Ends
with 0 only if all were equal. Needs a clone of this repository, since a replay starts from the run's commit.
"""

import argparse
import itertools
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from typed import PROJECT, Ended, ended, store, words

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
        chain = entered(folder, "main", "uv", **given)
        if chain.status:
            sys.exit(chain.output)
        run_id = re.search(r"  run (\w{32}) in the experiment", chain.output)[1]
        print(f"chain of {options.problem}: {chain.seconds:.0f} s", flush=True)
        runs = [run_id] + (children(folder, run_id) if options.single else [])
        tries = [(run_id, *WAYS[number % len(WAYS)]) for number in range(options.times)]
        tries += [(child, *WAYS[number % len(WAYS)]) for number, child in enumerate(runs[1:])]
        equal = sum(replay(folder, number, *one) for number, one in enumerate(tries, start=1))
    print(f"{equal} of {len(tries)} replays of {options.problem} are equal")
    sys.exit(equal != len(tries))


def replay(folder: Path, number: int, run_id: str, manager: str, jobs: int) -> bool:
    """One replay; whether it proved equal. What is different is printed."""
    done = entered(folder, "reproduce", manager, run=run_id, jobs=jobs)
    said = "NOT EQUAL" if done.status else "equal"
    print(f"{number:3}  {manager:10} jobs {jobs}  {done.seconds:4.0f} s  {said}", flush=True)
    if done.status:
        print(done.output, flush=True)
    return done.status == 0


def entered(folder: Path, entry_point: str, manager: str, **parameters: object) -> Ended:
    """One `mlflow run` of an entry point of ours."""
    arguments = ["-e", entry_point, "--experiment-name", "replays", *words(**parameters)]
    return ended(folder, PROJECT, *arguments, manager=manager)


def children(folder: Path, run_id: str) -> list[str]:
    """The runs of the steps of a chain."""
    from mlflow import MlflowClient

    client = MlflowClient(store(folder))
    experiment = client.get_run(run_id).info.experiment_id
    return [run.info.run_id for run in client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run_id}'")]


if __name__ == "__main__":
    main()
