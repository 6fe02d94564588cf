"""What it is worth that the model which is registered learns from the holdout too.

    uv pip install -r benchmarks/real-tables-requirements.in
    python benchmarks/refit.py FOLDER [--tables develop | report | NAME …] [--seeds 0 1] [--trials 10]

Of each table (benchmarks/race_tables.py) and seed, rows are set aside that nobody sees. The chain runs on the others
with its defaults, and both models of its winner answer for the unseen rows: the one that was judged, and the one that
was fitted on all rows. No seconds are measured, so that other work on the machine does no harm.
"""

import argparse
import sys
import tempfile
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
from mlflow import MlflowClient

from benchmarks import race_tables, typed
from benchmarks.race import METRICS, Entry, Race, judged, reason
from benchmarks.race_tables import LISTS, TABLES
from steps.run.tags import TRAIN
from tabular.metrics.lookup import sign


def main() -> None:
    """Run the chains, and print what both models give."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=lambda path: Path(path).resolve())
    parser.add_argument("--tables", nargs="+", choices=[*LISTS, *TABLES], default=["develop"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--data", type=Path, default=typed.PROJECT.parent / "shared" / "data")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    gains: dict[str, list[float]] = {}
    for name, seed in product(race_tables.chosen(options.tables, options.data), options.seeds):
        race = Race(name, race_tables.cut(name, seed, options.data, options.folder / "tables"), 0.0, seed)
        with tempfile.TemporaryDirectory(dir=options.folder) as made:
            scored = both(Path(made), race, options.trials)
        metric = METRICS[race.table.task][0]
        before, after = (scored[what][metric] for what in ("judged", "refit"))
        # of numbers as a share of the error, since each table has a scale of its own
        gain = after - before if sign(metric) > 0 else (before - after) / before
        gains.setdefault(metric, []).append(gain)
        print(
            f"{name:16} {seed}  {metric} {before:.4f} judged, {after:.4f} on all rows, better by {gain:+.4f}",
            flush=True,
        )
    for metric, found in gains.items():
        error = np.std(found, ddof=1) / np.sqrt(len(found)) if len(found) > 1 else np.nan
        wins = sum(gain > 0 for gain in found)
        print(f"{metric}: better by {np.mean(found):+.5f} (standard error {error:.5f}), {wins} of {len(found)} better")


def both(folder: Path, race: Race, trials: int) -> dict[str, dict[str, float]]:
    """The scores on the unseen rows of both models of a chain's winner."""
    client = MlflowClient(typed.store(folder))
    experiment = client.create_experiment("refit", (folder / "artifacts").as_uri())
    about = {"data": race.rows.folder / "train.csv", "target": race.table.target, "task": race.table.task}
    ended = typed.ended(
        folder, str(typed.PROJECT), "--experiment-name", "refit", *typed.words(**about, trials=trials, seed=race.seed)
    )
    if ended.status:
        sys.exit(f"{race.name}: {reason(ended)}")
    (refit,) = client.search_runs([experiment], "tags.`mlflow.project.entryPoint` = 'refit'")
    runs = {"judged": refit.data.tags[TRAIN], "refit": refit.info.run_id}
    return {what: score(folder, race, run_id) for what, run_id in runs.items()}


def score(folder: Path, race: Race, run_id: str) -> dict[str, float]:
    """The scores on the unseen rows of the model of a run."""
    answers = folder / f"{run_id}.parquet"
    words = typed.words(model=run_id, data=race.rows.folder / "unseen.csv", output=answers)
    ended = typed.ended(folder, str(typed.PROJECT), "-e", "predict", "--experiment-name", "refit", *words)
    if ended.status:
        sys.exit(f"{race.name}: {reason(ended)}")
    found = pd.read_parquet(answers)
    found.columns = [column.removeprefix("probability_") for column in found]
    return dict(judged(race, run_id, Entry(0.0, "", found)).scores)


if __name__ == "__main__":
    main()
