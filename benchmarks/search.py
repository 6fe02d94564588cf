"""What our search finds, beside FLAML, Optuna's LightGBM tuner and the loop of Hyperopt's tutorials.

    uv pip install -r benchmarks/search-requirements.in
    python benchmarks/search.py [--seeds 0 1 2] [--seconds 30] [--tables …] [--data FOLDER]

All get the same training rows, seconds and cores, in turn, each in a process of its own (benchmarks/searchers.py); then
what each found is fitted on all training rows, and asked of the same holdout. The clock starts when the rows are in
memory, for ours when its step begins, which reads them once more. All search LightGBM for ROC AUC:

- ours: the step `hpo` on a store of its own, with the default space and a lag of 4; the cross-validation of its best is
  within the seconds;
- flaml: `AutoML(estimator_list=["lgbm"])`, which cuts its own folds;
- optuna: `LightGBMTuner` on a quarter of the training rows drawn at random, as in its documentation;
- tutorial: `hyperopt.fmin`, a nested run a trial, `cross_val_score` of a fresh classifier.

Of numbers (diabetes, diamonds) whole chains are compared, for RMSE: ours is `main` with the default models, `seconds`
for its search, and what its best model by cross-validation gets; FLAML with all its estimators and the tutorial's loop
then get all the seconds that main took.

FOLDER holds hotel_bookings.csv.zip and diamonds.csv.gz (docs/search.md says where they are from). The bookings are all
columns but the two that tell the answer; by time, they get twice the seconds. `promised` is the
score that a search reports of its best, `holdout` what that then gets. `outside` is the share of the seconds of all
cores that was not spent in LightGBM; so are the shares of MLflow and Hyperopt, at work while trials are. The benchmark
takes the seconds that it is given and about a third more.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient

PROJECT = Path(__file__).resolve().parent.parent
CORES = 2  # that each search is given
WAYS = ("ours", "flaml", "optuna", "tutorial")
PACKAGES = ("lightgbm", "mlflow", "hyperopt", "flaml", "optuna", "scikit-learn")
BOOKINGS = """
  source: {source}
  target: is_canceled
  positive: 1
  drop: {{reservation_status: it is the answer, reservation_status_date: it is the day of the answer}}
  types: {{agent: category, company: category}}
"""
MADE = """
  source: {source}
  target: target
  positive: 1
"""
NUMBER = """
  source: {source}
  target: {target}
"""
BY_TIME = "{by: time, column: {year: arrival_date_year, month: arrival_date_month, day: arrival_date_day_of_month}}"
PROBLEM = """
name: benchmark
seed: {seed}
data: {data}
split: {split}
models: {{lightgbm: {{estimator: lightgbm.LGBMClassifier, space: default}}}}
search: {{metric: roc_auc, trials: 100000, timeout: {seconds}, folds: {folds}}}
"""
PROBLEM_OF_NUMBERS = """
name: benchmark
task: regression
seed: {seed}
data: {data}
split: {split}
search: {{trials: 100000, timeout: {seconds}, folds: {folds}}}
gate: {{beat_prior: false}}
"""


@dataclass(frozen=True)
class Table:
    """A problem to search for."""

    data: str
    source: str
    split: str = "{by: random}"
    folds: int = 3
    times: int = 1  # of the seconds
    target: str = ""  # of a number

    @property
    def ways(self) -> tuple[str, ...]:
        """What is compared on it; ours comes first, where it decides how long the others get."""
        return ("chain", "flaml", "tutorial") if self.target else WAYS

    @property
    def problem(self) -> str:
        """The problem, to be filled in."""
        return PROBLEM_OF_NUMBERS if self.target else PROBLEM


TABLES = {
    "breast cancer": Table(MADE, "sklearn:breast_cancer", folds=5),
    "bookings": Table(BOOKINGS, "bookings"),
    "bookings by time": Table(BOOKINGS, "bookings", BY_TIME, times=2),
    "synthetic": Table(MADE, "synthetic", folds=2),
    "diabetes": Table(NUMBER, "sklearn:diabetes", folds=5, target="target"),
    "diamonds": Table(NUMBER, "diamonds", target="price"),
}
FILES = {"bookings": "hotel_bookings.csv.zip", "diamonds": "diamonds.csv.gz"}
# The rows' own difficulty: a tenth of the labels are wrong.
SYNTHETIC = {"n_samples": 200_000, "n_features": 30, "n_informative": 12, "n_clusters_per_class": 8, "flip_y": 0.1}


def main() -> None:
    """Run all searches in turn, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--tables", nargs="+", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--data", type=Path, default=PROJECT.parent / "shared" / "data")
    options = parser.parse_args()
    for source, file in FILES.items():
        if not (options.data / file).exists():
            options.tables = [name for name in options.tables if TABLES[name].source != source]
            print(f"{options.data / file} is not there: without it (give --data)")
    outcomes: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        sources = {source: str((options.data / file).resolve()) for source, file in FILES.items()}
        sources["synthetic"] = str(folder / "synthetic.parquet")
        if "synthetic" in options.tables:
            synthesise(Path(sources["synthetic"]))
        for place, seed in enumerate(options.seeds):
            for name in options.tables:
                table, seconds = TABLES[name], options.seconds * TABLES[name].times
                source = sources.get(table.source, table.source)
                dataset = prepared(folder, table, source, seed, seconds)
                ways = table.ways if table.target else [way for way in table.ways if way in options.ways]
                for turn in range(len(ways)):
                    way = ways[turn if table.target else (turn + place) % len(ways)]
                    outcome = search(folder, way, dataset, seconds, seed)
                    seconds = outcome["seconds"] if way == "chain" else seconds
                    outcomes[name][way].append(outcome)
                    print(f"{name}, seed {seed}, {way}: {json.dumps(outcome)}", flush=True)
    minutes = (time.perf_counter() - started) / 60
    print(report(outcomes, options.seconds, len(options.seeds), minutes))


def synthesise(path: Path) -> None:
    """Write the synthetic table."""
    import pandas as pd
    from sklearn.datasets import make_classification

    X, y = make_classification(**SYNTHETIC, class_sep=0.8, random_state=0)
    pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])]).assign(target=y).to_parquet(path)


def environment(folder: Path) -> dict[str, str]:
    """Of the processes: a store of their own."""
    return {
        **os.environ,
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "MLFLOW_EXPERIMENT_NAME": "benchmark",
    }


def prepared(folder: Path, table: Table, source: str, seed: int, seconds: float) -> str:
    """Run etl on a table; gives its run."""
    problem = folder / "problem.yaml"
    data = table.data.format(source=source, target=table.target)
    problem.write_text(
        table.problem.format(data=data, split=table.split, folds=table.folds, seconds=seconds, seed=seed),
        encoding="utf-8",
    )
    subprocess.run(
        [sys.executable, "-m", "steps", "etl", f"--problem={problem}"],
        check=True, cwd=PROJECT, env=environment(folder), stdout=subprocess.DEVNULL,
    )  # fmt: skip
    client = MlflowClient(environment(folder)["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("benchmark").experiment_id
    asked = "tags.`mlflow.project.entryPoint` = 'etl'"
    (run,) = client.search_runs([experiment], asked, max_results=1, order_by=["attributes.start_time DESC"])
    return str(run.info.run_id)


def search(folder: Path, way: str, dataset: str, seconds: float, seed: int) -> dict[str, Any]:
    """One search; its outcome."""
    script = Path(__file__).with_name("searchers.py")
    words = [sys.executable, str(script), way, f"--dataset={dataset}", f"--seconds={seconds}", f"--seed={seed}"]
    ended = subprocess.run(words, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(f"{way} failed:\n{ended.stderr}")
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def report(outcomes: dict[str, dict[str, list[dict[str, Any]]]], seconds: float, seeds: int, minutes: float) -> str:
    """All outcomes as Markdown tables."""
    ranks: dict[str, list[float]] = defaultdict(list)
    gaps: dict[str, list[float]] = defaultdict(list)
    lines = []
    for name, ways in outcomes.items():
        metric = "RMSE, seconds of the chain" if TABLES[name].target else f"{seconds * TABLES[name].times:g} s"
        lines += ["", f"**{name}**, {metric}", ""]
        lines += ["| | holdout | spread | rank | promised | gap | trials | seconds | outside | MLflow | Hyperopt |"]
        lines += ["|---|---|---|---|---|---|---|---|---|---|---|"]
        scores = np.array([[found["holdout"] for found in ways[way]] for way in ways])
        order = (scores if TABLES[name].target else -scores).argsort(axis=0).argsort(axis=0) + 1.0
        for way, rank, score in zip(ways, order, scores, strict=True):
            found = ways[way]
            mean = {
                key: float(np.mean([f[key] for f in found])) for key in ("promised", "trials", "seconds", "outside")
            }
            gap = [abs(f["promised"] - f["holdout"]) for f in found]
            ranks[way] += list(rank)
            gaps[way] += [] if TABLES[name].target else gap
            lines.append(
                f"| {way} | {score.mean():.4f} | {np.ptp(score):.4f} | {rank.mean():.1f} | {mean['promised']:.4f} "
                f"| {np.mean(gap):.4f} | {mean['trials']:.0f} | {mean['seconds']:.1f} | {mean['outside']:.0%} "
                f"| {share(found, 'log')} | {share(found, 'suggest')} |"
            )
    lines += ["", "| | mean rank | mean gap |", "|---|---|---|"]
    lines += [f"| {way} | {np.mean(ranks[way]):.2f} | {np.mean(gaps[way] or [np.nan]):.4f} |" for way in ranks]
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    machine = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    lines += ["", f"{seeds} seeds, {minutes:.0f} minutes in all; {versions}; {machine}."]
    return "\n".join(lines)


def share(found: list[dict[str, Any]], name: str) -> str:
    """What something beside the fits takes of the seconds of all cores; "" where that is not known."""
    if name not in found[0]["beside"]:
        return ""
    return f"{np.mean([one['beside'][name] / one['seconds'] / CORES for one in found]):.1%}"


if __name__ == "__main__":
    main()
