"""What the steps of a chain take as a table grows: seconds, memory and bytes on disk, against the same work by hand.

    python benchmarks/size.py [--rows 100000 --rows 1000000 --rows 10000000] [--steps etl] [--trials 5] [--rounds 1]
    python benchmarks/size.py --flights ../shared/data/flights-3m.parquet

The tables are synthetic, in the shape of the hotel bookings (benchmarks/big_table.py); the problem is
problems/hotel_bookings.yaml with LightGBM alone. 100 million rows, on demand, are 15 GB. The chain is an `mlflow run …
--env-manager local -P jobs=1` in the environment that runs this file, without a fork server, so that each step's
processes can be told. For each step it prints

- the seconds of its run, from its beginning to its end;
- the most memory that all its processes held at once (proportional set size, which counts shared pages once; looked at
  twice a second), and the most that its largest one ever held (VmHWM);
- the bytes of its artifacts and of its model, and for the whole chain the most bytes in temporary files.

`--steps etl` runs that step alone. In turn with the chain, a bare copy of the CSV to Parquet by pyarrow is timed, and
the ratio of the copy's seconds to those of etl; and where the table fits into memory, the chain's work by pandas and
LightGBM (benchmarks/by_hand.py; `--no-hand` leaves it out).

`--flights` runs etl and a search of 5 trials on the 3 million flights (four columns; is a flight more than 15 minutes
late?), and then does the search's fits on whole folds once more by hand, with the iterations that were found: one of
each trial that was not pruned before it, and of the best one those of its cross-validation.
Linux only: it reads /proc.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

import big_table
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from memory import Memory, watched
from mlflow import MlflowClient
from mlflow.entities import Run
from typed import PROJECT, command, environment, store, words

from steps.run.tags import PRUNED

# How many bytes of memory a byte of CSV takes in pandas, at its most; measured at 1 million rows.
BYTES_BY_HAND = 12
MB = 1e6
FLIGHTS_FOLDS = 3


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, action="append")
    parser.add_argument("--steps", choices=["etl", "all"], default="all")
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--no-hand", action="store_true")
    parser.add_argument("--flights", type=Path)
    parser.add_argument("--keep", type=Path, help="a folder for tables and stores; a temporary one by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = (options.keep or Path(made)).resolve()
        folder.mkdir(exist_ok=True)
        if options.flights is not None:
            flights(folder, options.flights.resolve(), options.trials)
            return
        for rows in options.rows or [100_000, 1_000_000, 10_000_000]:
            path = big_table.write(folder, rows)
            for _ in range(options.rounds):
                bookings(folder, path, options)


def bookings(folder: Path, path: Path, options: argparse.Namespace) -> None:
    """Measure a table in the shape of the hotel bookings: the copy, the chain, the copy again, the work by hand."""
    problem = yaml.safe_load((PROJECT / "problems" / "hotel_bookings.yaml").read_text(encoding="utf-8"))
    problem["data"]["source"] = str(path)
    del problem["data"]["sha256"]
    problem["models"] = {"lightgbm": problem["models"]["lightgbm"]}
    print(f"\n{path.name}, {path.stat().st_size / MB:,.0f} MB", flush=True)
    copies = [_by_hand("copy", path)[0]["copy"]]
    taken = chain(folder, path.stem, problem, options.steps, options.trials)
    copies.append(_by_hand("copy", path)[0]["copy"])
    taken.tell()
    if "etl" in taken.seconds:
        ratio = min(copies) / taken.seconds["etl"]
        print(f"  bare copy by pyarrow {copies[0]:.1f} s before, {copies[1]:.1f} s after; copy / etl {ratio:.2f}")
    if options.steps == "all" and not options.no_hand:
        if path.stat().st_size * BYTES_BY_HAND > _free_memory():
            print("  by hand: would not fit into memory")
            return
        seconds, memory = _by_hand("bookings", path, "--trials", str(options.trials))
        auc = seconds.pop("holdout roc_auc")
        said = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
        print(
            f"  by hand: {said}; together {sum(seconds.values()):.1f} s; {memory:,.0f} MB; roc_auc {auc:.4f}",
            flush=True,
        )


def flights(folder: Path, source: Path, trials: int) -> None:
    """Measure the search on the flights, and its fits by hand."""
    table = pq.read_table(source)
    late = pc.cast(pc.greater(table["delay"], 15), pa.int64())
    path = folder / "flights.parquet"
    pq.write_table(table.drop_columns(["delay"]).append_column("late", late), path)
    problem = {
        "name": "flights",
        "data": {"source": str(path), "target": "late"},
        "models": {"lightgbm": {"estimator": "lightgbm.LGBMClassifier", "space": "default"}},
        "search": {"metric": "roc_auc", "folds": FLIGHTS_FOLDS},
    }
    taken = chain(folder, "flights", problem, "hpo", trials)
    taken.tell()
    if "hpo lightgbm" not in taken.runs:
        return
    search = taken.runs["hpo lightgbm"]
    asked = folder / "fits.json"
    asked.write_text(
        json.dumps({"target": "late", "folds": FLIGHTS_FOLDS, "trials": _fits(taken.client, search)}), encoding="utf-8"
    )
    rows = Path(taken.runs["etl"].info.artifact_uri.removeprefix("file://")) / "dataset" / "train.parquet"
    seconds, memory = _by_hand("fits", rows, "--fits", str(asked))
    own = search.data.metrics["search_seconds"]
    print(f"  the fits of {trials} trials by hand {seconds['fits']:.1f} s, {memory:,.0f} MB")
    print(f"  the search {own:.1f} s, {own / seconds['fits']:.2f} times as long")


def _fits(client: MlflowClient, search: Run) -> list[dict[str, Any]]:
    """The fits of a search on whole folds: the parameters of a trial, the iterations that it found, on how many folds.

    A trial is fitted on one fold, unless it was pruned on the sample before it; the best one is then cross-validated.
    """
    below = client.search_runs([search.info.experiment_id], f"tags.mlflow.parentRunId = '{search.info.run_id}'")
    found: list[tuple[float, dict[str, Any]]] = []
    for run in below:
        params = {name: _number(text) for name, text in run.data.params.items() if name != "model_type"}
        iterations = params.pop("n_estimators", None)
        if iterations is None:  # the baseline, or a trial that failed
            continue
        if PRUNED not in run.data.tags:
            found.append((run.data.metrics["search_roc_auc"], {"params": params, "iterations": iterations, "fits": 1}))
    found.sort(key=lambda trial: trial[0])
    found[-1][1]["fits"] += FLIGHTS_FOLDS
    return [fits for _, fits in found]


def _number(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


@dataclass
class Taken:
    """What the steps of a chain took: their runs, by names such as `hpo lightgbm`, and what was seen from outside."""

    client: MlflowClient
    runs: dict[str, Run]
    memory: Memory
    temporary: int
    status: int
    last: str

    @property
    def seconds(self) -> dict[str, float]:
        """Of each step's run."""
        ended = {name: run.info for name, run in self.runs.items() if run.info.end_time}
        return {name: (info.end_time - info.start_time) / 1000 for name, info in ended.items()}

    def tell(self) -> None:
        """Print it."""
        if self.status:
            print(f"  ended with {self.status}:\n{self.last}")
        print(f"  {'':24}  seconds   memory    largest    on disk")
        for name, seconds in self.seconds.items():
            held, largest = self.memory.together.get(name, 0.0), self.memory.of_steps.get(name, 0.0)
            on_disk = self._bytes(self.runs[name]) / MB
            print(f"  {name:24} {seconds:8.1f} {held:6.0f} MB {largest:7.0f} MB {on_disk:7.1f} MB")
        print(
            f"  all processes at once {self.memory.of_all:,.0f} MB; temporary files {self.temporary / MB:,.0f} MB",
            flush=True,
        )

    def _bytes(self, run: Run) -> int:
        """The bytes of a run's artifacts and of the models that it logged."""
        models = self.client.search_logged_models(
            [run.info.experiment_id], filter_string=f"source_run_id = '{run.info.run_id}'"
        )
        places = [run.info.artifact_uri, *(model.artifact_location for model in models)]
        return sum(_size(Path(place.removeprefix("file://"))) for place in places)


def chain(folder: Path, name: str, problem: dict[str, Any], steps: str, trials: int) -> Taken:
    """Run a chain, or its first steps, on a problem, in a store in the folder, and watch it."""
    place, experiment = folder / f"{name}.yaml", f"{name}-{time.time():.0f}"
    place.write_text(yaml.safe_dump(problem, sort_keys=False), encoding="utf-8")
    client = MlflowClient(store(folder))
    known = client.create_experiment(experiment, artifact_location=(folder / "artifacts" / experiment).as_uri())
    if steps == "all":
        status, last, memory, temporary = _run(
            folder, experiment, [], problem=place, trials=trials, jobs=1, reuse="false"
        )
    else:
        status, last, memory, temporary = _run(folder, experiment, ["-e", "etl"], problem=place)
    if steps == "hpo" and not status:
        dataset = _runs(client, known)["etl"].info.run_id
        given = {"problem": place, "dataset": dataset, "model": "lightgbm", "trials": trials}
        status, last, more, above = _run(folder, experiment, ["-e", "hpo"], **given)
        memory.together |= more.together
        memory.of_steps |= more.of_steps
        memory.of_all, temporary = max(memory.of_all, more.of_all), max(temporary, above)
    return Taken(client, _runs(client, known), memory, temporary, status, last)


def _runs(client: MlflowClient, experiment: str) -> dict[str, Run]:
    """The runs of the steps of an experiment, in the order in which they began."""
    found = client.search_runs(
        [experiment], "tags.`mlflow.project.entryPoint` LIKE '%'", order_by=["attributes.start_time"]
    )
    named = {}
    for run in found:
        step, model = run.data.tags["mlflow.project.entryPoint"], run.data.params.get("model", "").strip("'")
        named[f"{step} {model}" if model and step in ("hpo", "train") else step] = run
    return named


def _run(folder: Path, experiment: str, which: list[str], **parameters: object) -> tuple[int, str, Memory, int]:
    """An `mlflow run`: its exit status, its last lines, its memory, and the most bytes in temporary files."""
    room = folder / "temporary"
    room.mkdir(exist_ok=True)
    typed = command(PROJECT, *which, "--experiment-name", experiment, *words(**parameters))
    env = {**environment(folder), "TABULAR_FORK_SERVER": "none", "TMPDIR": str(room)}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with (
        subprocess.Popen(typed, cwd=folder, env=env, **pipes) as process,
        watched(process.pid) as memory,
        _sizes(room) as sizes,
    ):
        lines = list(process.stdout)  # type: ignore[arg-type]
    return process.returncode, "".join(lines[-12:]), memory, max(sizes)


@contextmanager
def _sizes(room: Path) -> Iterator[list[int]]:
    """The bytes in a folder, seen once a second."""
    found, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(1.0):
            found.append(_size(room))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        ended.set()
        watcher.join()


def _size(folder: Path) -> int:
    """The bytes of all files below a folder."""
    found = 0
    for path in folder.rglob("*"):
        try:
            found += path.lstat().st_size if path.is_file() else 0
        except OSError:  # removed meanwhile
            continue
    return found


def _by_hand(work: str, path: Path, *more: str) -> tuple[dict[str, float], float]:
    """Work of benchmarks/by_hand.py: the seconds of its parts, and the most memory in MB."""
    typed = [sys.executable, str(Path(__file__).parent / "by_hand.py"), work, str(path), *more]
    with subprocess.Popen(typed, stdout=subprocess.PIPE, text=True) as process, watched(process.pid) as memory:
        output, _ = process.communicate()
    if process.returncode:
        sys.exit(f"{work} by hand failed")
    return json.loads(output.splitlines()[-1]), memory.of_all


def _free_memory() -> int:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
