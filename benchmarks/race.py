"""The model that comes out of the whole chain, beside what people would type instead: FLAML and AutoGluon.

    uv pip install -r benchmarks/real-tables-requirements.in
    python benchmarks/race.py FOLDER [--tables develop | report | NAME …] [--seconds 60 300] [--seeds 0 1]
        [--systems tabular flaml autogluon_medium autogluon_best] [--data ../shared/data]

Of each table (benchmarks/race_tables.py) and seed, rows are set aside that nobody sees. Each system learns from the
same other rows, by the same metric (ROC AUC, of more than two classes the mean over one against the rest, or RMSE), on
two cores, and is told the same seconds in its own words; then its answers for the unseen rows are scored:

- tabular: `mlflow run . -P data=… -P target=… -P task=… -P timeout=SECONDS`, with all defaults, on a store of its own
  that exists; its champion answers by `mlflow run . -e predict`, or, where none was registered, its winner. It promises
  the score of the holdout, of the folds, and, where seconds were left, of the cross-validation on all rows; `last` is
  the latter, or that of the folds where there is none;
- flaml: `AutoML.fit(time_budget=SECONDS)` with all estimators;
- autogluon_medium, autogluon_best: `TabularPredictor.fit(time_limit=SECONDS)` with the preset of that name.

Seconds are taken by the clock, from the start of the command to the model: for tabular to the end of the command. The
peers' environments are made in FOLDER with uv (benchmarks/race-requirements-*.in), once. Each run leaves a line in
FOLDER/results.jsonl and what it printed in FOLDER/printed; what is there is not run again, so that a race that was
interrupted goes on where it stopped. `--project TREE --as NAME` enters another tree of this repository, with the
environment that runs this file. `--show` only prints the standings of what is there (benchmarks/standings.py).

A race takes the sum of the seconds that it gives, and about a quarter more: of the 13 reported tables, two seeds and
four systems 2 hours at 60 seconds, and 11 at 300.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
from mlflow import MlflowClient

from benchmarks import race_tables, standings, typed
from benchmarks.race_tables import LISTS, TABLES, Rows, Table
from benchmarks.racers import CORES, PEERS
from benchmarks.standings import Result
from benchmarks.typed import Ended
from steps.run import tags
from tabular.errors import listed
from tabular.metrics.lookup import scores
from tabular.model.tasks import Classification, Regression, Task
from tabular.model.training import Array

CHAIN = "tabular"
# What a system is asked to optimise, and what else it is scored by.
METRICS = {"classification": ("roc_auc", "log_loss"), "regression": ("rmse",)}
# The peers' environments.
PYTHON, OVERRIDES = "3.11.7", Path(__file__).with_name("race-overrides.txt")


@dataclass(frozen=True)
class Race:
    """What every system is given: the table and its rows, the seconds, and the seed."""

    name: str
    rows: Rows
    seconds: float
    seed: int

    @property
    def table(self) -> Table:
        """The table."""
        return TABLES[self.name]


@dataclass(frozen=True)
class Entry:
    """What a system came to in a race, before it is scored.

    Attributes
    ----------
    took
        Seconds by the clock, to the model.
    printed
        All that it printed.
    answers
        (n, classes) probabilities by class, or (n, 1) `prediction`, of the unseen rows; None of a failure.
    promised, model, version, failed
        As in `Result`.

    """

    took: float
    printed: str
    answers: pd.DataFrame | None = None
    promised: Mapping[str, float] = field(default_factory=dict)
    model: str = ""
    version: str = ""
    failed: str = ""


def main() -> None:
    """Run the races that have not been run, and print the standings."""
    options = arguments()
    options.tables = race_tables.chosen(options.tables, options.data)
    path = options.folder / "results.jsonl"
    results = [Result(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []
    if not options.show:
        options.folder.mkdir(parents=True, exist_ok=True)
        keep_to_cores()
        results += run(options, {(*one.race, one.system) for one in results}, path)
    asked = {*product(options.tables, options.seeds, options.seconds)}
    systems = [options.name if system == CHAIN else system for system in options.systems]
    kept = [one for one in results if one.race in asked]
    print(standings.report(kept, [*systems, *options.beside], unseen(options.folder, kept)))
    print(f"{CORES} of {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}")


def unseen(folder: Path, results: Sequence[Result]) -> dict[tuple[str, int], tuple[int, int]]:
    """The unseen rows of the rarer class and of the other, by table and seed, of the tables of two classes."""
    found = {}
    for table, seed in {(one.table, one.seed) for one in results if TABLES[one.table].task == "classification"}:
        truth = folder / "tables" / f"{table}_{seed}" / "truth.csv"
        counts = pd.read_csv(truth).iloc[:, 0].value_counts() if truth.exists() else ()
        if len(counts) == 2:
            found[table, seed] = (int(min(counts)), int(max(counts)))
    return found


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=lambda path: Path(path).resolve())
    parser.add_argument("--tables", nargs="+", choices=[*LISTS, *TABLES], default=["develop"])
    parser.add_argument("--seconds", type=float, nargs="+", default=[60, 300])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--systems", nargs="+", choices=[CHAIN, *PEERS], default=[CHAIN, *PEERS])
    parser.add_argument("--data", type=Path, default=typed.PROJECT.parent / "shared" / "data")
    parser.add_argument("--project", default=str(typed.PROJECT), help="the tree whose chain runs")
    parser.add_argument("--as", dest="name", default=CHAIN, help="what the chain is called in the results")
    parser.add_argument("--beside", nargs="+", default=[], help="other chains of the results to show in the standings")
    parser.add_argument("--show", action="store_true", help="run nothing")
    return parser.parse_args()


def keep_to_cores() -> None:
    """Keep this process, and all that it starts, to as many cores as each system is given."""
    if not hasattr(os, "sched_setaffinity"):
        sys.exit("race.py: this system cannot keep a process to some cores; run it on Linux")
    own = sorted(os.sched_getaffinity(0))
    if len(own) < CORES:
        sys.exit(f"race.py: a race needs {CORES} cores, and there is {len(own)}")
    os.sched_setaffinity(0, own[:CORES])


def run(options: argparse.Namespace, done: set[tuple[Any, ...]], path: Path) -> list[Result]:
    """Run what is not done, and write each result down; gives the new ones."""
    entrants = {options.name if system == CHAIN else system: system for system in options.systems}
    found = []
    for seconds, seed, name in product(options.seconds, options.seeds, options.tables):
        waiting = {key: system for key, system in entrants.items() if (name, seed, seconds, key) not in done}
        if waiting:
            race = Race(name, race_tables.cut(name, seed, options.data, options.folder / "tables"), seconds, seed)
        for key, system in waiting.items():
            entry = enter(options, race, system)
            printed = options.folder / "printed" / f"{name}_{seed}_{seconds:g}_{key}.txt"
            printed.parent.mkdir(exist_ok=True)
            printed.write_text(entry.printed)
            found.append(judged(race, key, entry))
            line = json.dumps(asdict(found[-1]))
            with path.open("a") as file:
                file.write(f"{line}\n")
            print(line, flush=True)
    return found


def enter(options: argparse.Namespace, race: Race, system: str) -> Entry:
    """Have a system learn and answer, in a folder that is gone afterwards."""
    python = environment(options.folder, system) if system in PEERS else None
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        folder = Path(made)
        return chain(folder, options.project, race) if python is None else peer(folder, python, system, race)


def environment(folder: Path, system: str) -> Path:
    """The Python of a peer's environment, which is made where it is not there as its requirements want it."""
    kind = system.partition("_")[0]
    wanted = Path(__file__).with_name(f"race-requirements-{kind}.in")
    place, told = folder / "environments" / kind, folder / "environments" / f"{kind}.in"
    python = place / "bin" / "python"
    if not told.exists() or told.read_text() != wanted.read_text():
        print(f"making the environment of {kind}", flush=True)
        subprocess.run(["uv", "venv", "-q", "--clear", "--python", PYTHON, place], check=True)
        words = ["uv", "pip", "install", "-q", "--python", python, "-r", wanted, "--override", OVERRIDES]
        subprocess.run(words, check=True)
        told.write_text(wanted.read_text())
    return python


def chain(folder: Path, project: str, race: Race) -> Entry:
    """The whole chain, and its answers by `predict`."""
    client, version = MlflowClient(typed.store(folder)), commit(project)
    experiment = client.create_experiment("race", (folder / "artifacts").as_uri())
    given = {"data": race.rows.folder / "train.csv", "target": race.table.target, "task": race.table.task}
    words = typed.words(**given, timeout=f"{race.seconds:g}", seed=race.seed)
    ended = typed.ended(folder, project, "--experiment-name", "race", *words)
    if ended.status:
        return Entry(ended.seconds, ended.output, version=version, failed=reason(ended))
    (main,) = client.search_runs([experiment], "tags.`mlflow.project.entryPoint` = 'main'")
    answers = folder / "answers.parquet"
    words = typed.words(model=champion(client, main, folder), data=race.rows.folder / "unseen.csv", output=answers)
    scored = typed.ended(folder, project, "-e", "predict", "--experiment-name", "race", *words)
    printed = ended.output + scored.output
    if scored.status:
        return Entry(ended.seconds, printed, version=version, failed=reason(scored))
    metric = METRICS[race.table.task][0]
    said = {"holdout": metric, "folds": f"cv_{metric}_mean"}
    promised = {on: main.data.metrics[name] for on, name in said.items() if name in main.data.metrics}
    for refit in client.search_runs([experiment], "tags.`mlflow.project.entryPoint` = 'refit'"):
        if said["folds"] in refit.data.metrics:
            promised["all_rows"] = refit.data.metrics[said["folds"]]
    if "folds" in promised:
        promised["last"] = promised.get("all_rows", promised["folds"])
    found = pd.read_parquet(answers)
    found.columns = [column.removeprefix("probability_") for column in found]
    model = f"{main.data.tags[tags.WINNER]}, {main.data.tags[tags.OUTCOME]}"
    return Entry(ended.seconds, printed, found, promised, model, version)


def champion(client: MlflowClient, run: Any, folder: Path) -> str:
    """The champion of a chain as `predict` takes it; the run that trained its winner, where nothing was registered."""
    if run.data.tags[tags.OUTCOME] == "registered":
        return str(run.data.tags[tags.CHAMPION])
    board = json.loads(Path(client.download_artifacts(run.info.run_id, "leaderboard.json", str(folder))).read_text())
    rows = [dict(zip(board["columns"], row, strict=True)) for row in board["data"]]
    return str(next(row["run"] for row in rows if row["model"] == run.data.tags[tags.WINNER]))


def commit(project: str) -> str:
    """The commit of a tree, with a mark where it has changes; "" where git does not know."""
    words = ["git", "-C", project, "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def peer(folder: Path, python: Path, system: str, race: Race) -> Entry:
    """A peer in its environment."""
    answers = folder / "answers.csv"
    given = {
        "rows": race.rows.folder, "target": race.table.target, "task": race.table.task,
        "seconds": race.seconds, "seed": race.seed, "answers": answers,
    }  # fmt: skip
    words = [python, Path(__file__).with_name("racers.py"), system]
    words += [f"--{name}={value}" for name, value in given.items()]
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")}
    started = time.time()
    done = subprocess.run(words, cwd=folder, env=own, capture_output=True, text=True, check=False)
    seconds, printed = time.time() - started, done.stdout + done.stderr
    # its processes may print more while they end
    told = next((line for line in reversed(done.stdout.splitlines()) if line.startswith('{"promised"')), None)
    if done.returncode or told is None or not answers.exists():
        return Entry(seconds, printed, failed=last_line(done.stderr))
    said = json.loads(told)
    promised = {"validation": said["promised"]}
    return Entry(said["fitted"] - started, printed, pd.read_csv(answers), promised, said["model"], said["version"])


def reason(ended: Ended) -> str:
    """Why a command of ours failed."""
    return ended.reasons[-1] if ended.reasons else last_line(ended.output)


def last_line(text: str) -> str:
    """The last line of what a command printed that is not blank: of a traceback, the error."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")


def judged(race: Race, system: str, entry: Entry) -> Result:
    """Score the answers of an entry; of a failure the prior's, or the mean's."""
    task, seen, truth, names = targets(race.table, race.rows)
    failed = entry.failed
    outputs = task.baselines(seen, None, len(truth))[0]
    if entry.answers is not None:
        failed = wrong(entry.answers, names, len(truth))
        outputs = outputs if failed else entry.answers[names].to_numpy(float)
    metrics = METRICS[race.table.task]
    values = scores(task.predictions(truth, outputs), metrics)
    of_unseen = {name: values[name] for name in metrics}
    about = {name: getattr(entry, name) for name in ("promised", "took", "model", "version")}
    return Result(race.name, race.seed, race.seconds, system, of_unseen, **about, failed=failed)


def wrong(answers: pd.DataFrame, names: Sequence[str], rows: int) -> str:
    """Why answers cannot be scored; "" where they can."""
    if lacking := [name for name in names if name not in answers]:
        return f"it gives no answers of {listed(lacking)}"
    if len(answers) != rows:
        return f"it gives {len(answers):,} answers for {rows:,} rows"
    return "" if np.isfinite(answers[names].to_numpy(float)).all() else "it gives answers that are no finite numbers"


def targets(table: Table, rows: Rows) -> tuple[Task, Array, Array, Sequence[str]]:
    """The task; the targets of the rows to learn from, and of the unseen ones; the columns of answers for them."""
    if table.task == "regression":
        return Regression(), rows.seen.to_numpy(float), rows.truth.to_numpy(float), ["prediction"]
    seen, truth = rows.seen.astype(str), rows.truth.astype(str)
    names = sorted({*seen})
    codes = {name: code for code, name in enumerate(names)}
    task = Classification(len(names), positive=1)
    return task, *(np.array([codes[label] for label in of]) for of in (seen, truth)), names


if __name__ == "__main__":
    main()
