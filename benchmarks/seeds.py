"""What the mean of several LightGBM fits with different seeds is worth, beside one fit.

    uv pip install -r benchmarks/real-tables-requirements.in
    python benchmarks/seeds.py [--tables develop | NAME …] [--points 10] [--rows 10000] [--data ../shared/data]

Of each table of benchmarks/race_tables.py, a sample of rows is learnt from, with the best of so many points, drawn at
random from the default search space, by folds on which its iterations are found too. Eight fits, of which none shares
a seed with another, are scored on the rows held out: alone, and the means of two, four and eight of them.

Prints for each table the score of a fit, and by how much the mean of several is better: of numbers the share of the
RMSE, of classes ROC AUC and log loss. Then the mean over the tables, and on how many of them it is better.
"""

import argparse
import copy
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from hyperopt.pyll import stochastic

from benchmarks import candidates, race_tables
from benchmarks.race_tables import LISTS, TABLES
from tabular.data import folds
from tabular.metrics.lookup import CLASSIFICATION, sign
from tabular.model import cross_validation, seeds, training
from tabular.problem import Problem, build
from tabular.search.racing import TrialRunner, parts
from tabular.search.search import Point
from tabular.search.spaces import flat, to_hyperopt

FITS, MEANS, FOLDS = 8, (2, 4, 8), 3
MEASURED = {True: ("roc_auc", "log_loss"), False: ("rmse",)}


def main() -> None:
    """Measure each table, and print what it comes to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", choices=[*LISTS, *TABLES], default=["develop"])
    parser.add_argument("--points", type=int, default=10)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    options = parser.parse_args()
    gains: dict[str, list[Mapping[int, float]]] = {}
    for name in race_tables.chosen(options.tables, options.data):
        for metric, (one, gained) in measured(name, options).items():
            gains.setdefault(metric, []).append(gained)
            print(f"{name:<16} {metric:<8} {one:>12,.5g}  {shown(metric, gained)}", flush=True)
    for metric, every in gains.items():
        mean = {many: statistics.mean(one[many] for one in every) for many in MEANS}
        wins = ", ".join(f"{sum(one[many] > 0 for one in every)} of {len(every)} better" for many in MEANS)
        print(f"{'mean':<16} {metric:<8} {'':>12}  {shown(metric, mean)}  ({wins})")


def measured(name: str, options: argparse.Namespace) -> dict[str, tuple[float, Mapping[int, float]]]:
    """{metric: a fit's score, and {fits: by how much their mean is better}}."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        data = race_tables.cut(name, 0, options.data, folder).folder / "train.csv"
        problem = asked(name, data)
        rows = candidates.load(problem, data, options.rows, folder)
    one, rows = candidates.candidate(problem, "it", rows)
    cuts = folds.cut(rows.y, rows.key, by=rows.schema.split_by, folds=FOLDS, seed=0)
    runner = TrialRunner(one, rows.X, rows.y, parts(cuts, latest_first=False, seed=0), problem.search.metric)
    draw, space = np.random.default_rng(0), to_hyperopt(one.model.space)
    points = [flat(stochastic.sample(space, draw)) for _ in range(options.points)]
    tried = [(point, runner.run(Point(point, is_given=True), threads=options.threads)) for point in points]
    best, evaluated = max(tried, key=lambda pair: pair[1].score)
    found = scored(replace(one, params={**best, **evaluated.found}), rows, options.threads)
    return {
        metric: (values[1], {many: better(metric, values, many) for many in MEANS}) for metric, values in found.items()
    }


def asked(name: str, data: Path) -> Problem:
    """The problem of a table, with LightGBM and its default space."""
    table = TABLES[name]
    kind = "LGBMClassifier" if table.task == CLASSIFICATION else "LGBMRegressor"
    values = {
        "name": name, "task": table.task, "data": {"source": str(data), "target": table.target},
        "models": {"it": {"estimator": f"lightgbm.{kind}", "space": "default"}},
    }  # fmt: skip
    return build(values, name)


def scored(one: training.Candidate, rows: candidates.Rows, threads: int) -> dict[str, dict[int, float]]:
    """{metric: {fits: the score of their mean for the rows held out, averaged over all such means}}."""
    fitted = [training.fit(replace(one, seed=seed), rows.X, rows.y, threads=threads) for seed in range(FITS)]
    names = MEASURED[bool(rows.schema.classes)]
    found: dict[str, dict[int, float]] = {metric: {} for metric in names}
    for many in (1, *MEANS):
        groups = [fitted[at : at + many] for at in range(0, FITS, many)]
        values = [cross_validation.score(one, rows.y_held, mean(group).outputs(rows.X_held), names) for group in groups]
        for metric in names:
            found[metric][many] = statistics.mean(value[metric] for value in values)
    return found


def mean(fitted: Sequence[training.Fitted]) -> training.Fitted:
    """The mean of fits, as the chain makes it."""
    estimator: Any = copy.copy(fitted[0].estimator)
    estimator._Booster = seeds.mean([one.estimator.booster_ for one in fitted])
    return replace(fitted[0], estimator=estimator)


def better(metric: str, values: Mapping[int, float], many: int) -> float:
    """By how much the mean of so many fits is better than one: the difference, of the RMSE the share."""
    gain = sign(metric) * (values[many] - values[1])
    return gain / values[1] if metric == "rmse" else gain


def shown(metric: str, gained: Mapping[int, float]) -> str:
    """By how much the means of several are better, on a line."""
    form = "{:+.2%}" if metric == "rmse" else "{:+.4f}"
    return ", ".join(f"{many} fits {form.format(gain)}" for many, gain in gained.items())


if __name__ == "__main__":
    main()
