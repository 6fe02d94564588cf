"""What `monitor` would have said of later months: as they were, with labels swapped, and with a column in another unit.

    python benchmarks/monitor.py --data hotel_bookings.csv.zip [--problem problems/hotel_bookings.yaml] [--months 2]

The table is cut by the problem's own rule, in time. LightGBM with the problem's own hyperparameters learns from the
training rows; the first --months months that are held out are the promise, and each later one is a month whose truth
is known. Nothing is searched. Prints the metric, its lower limit of the drop, and the verdict of each month, three
times: as it was; with the truth of every fifth row swapped; and with --column divided by 100, as in another unit.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pyarrow as pa

from steps.model.served import as_features
from tabular.data import datasets, splits, tables
from tabular.evaluation import drift, health
from tabular.metrics.metric import rounded
from tabular.model import training
from tabular.model.estimators import in_terms_of_data
from tabular.model.tasks import Classification
from tabular.problem import Problem, read

PROBLEM = Path(__file__).resolve().parent.parent / "problems" / "hotel_bookings.yaml"


def main() -> None:
    """Print the verdict of each month."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--problem", type=Path, default=PROBLEM)
    parser.add_argument("--months", type=int, default=2)
    parser.add_argument("--column", default="adr")
    options = parser.parse_args()
    problem, started = read(options.problem), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        schema = datasets.prepare(tables.scan(options.data, datasets.reading(problem)), problem, Path(folder)).schema
        train, held = (datasets.load(Path(folder) / f"{name}.parquet", schema) for name in ("train", "holdout"))
    model = Model(problem, schema, train.frame, train.y)
    months = np.asarray(held.key).astype("datetime64[M]")
    first = np.unique(months)[: options.months]
    promise = model.asked(held.frame[np.isin(months, first)], held.y[np.isin(months, first)])
    print(f"{len(train.y):,} rows to learn from; promise: {len(promise.y):,} rows of {first[0]} to {first[-1]}")
    for month in np.unique(months)[options.months :]:
        rows = months == month
        frame, y = held.frame[rows].reset_index(drop=True), held.y[rows]
        swapped = np.where(np.arange(len(y)) % 5 == 0, 1 - y, y)
        other_unit = frame.assign(**{options.column: frame[options.column] / 100})
        cases = {"as it was": (frame, y), "labels swapped": (frame, swapped), "another unit": (other_unit, y)}
        for what, (seen, truth) in cases.items():
            print(f"{month}  {what:14}  {model.verdict(seen, truth, promise)}", flush=True)
    print(f"{time.perf_counter() - started:.0f} s")


class Model:
    """LightGBM, and the bins of the rows that it was fitted on."""

    def __init__(self, problem: Problem, schema: datasets.Schema, frame: Any, y: np.ndarray) -> None:
        self.problem, self.schema = problem, schema
        self.columns = [vars(column) for column in schema.columns]
        chosen = in_terms_of_data(
            problem.models["lightgbm"], "lightgbm", schema.features, schema.classes, schema.positive
        )
        task = Classification(len(schema.classes), schema.positive)
        candidate = training.Candidate("lightgbm", chosen, {}, schema.columns, task, seed=problem.seed)
        self.fitted = training.fit(candidate, as_features(frame, self.columns), y, threads=2)
        batch = self.batch(frame)
        self.bins = drift.tally(lambda: [batch], schema.columns, len(batch))

    def batch(self, frame: Any) -> pa.RecordBatch:
        """Rows as they are counted."""
        arrow = pa.schema([(column.name, datasets.ARROW[column.dtype]) for column in self.schema.columns])
        return pa.Table.from_pandas(frame, arrow, preserve_index=False).combine_chunks().to_batches()[0]

    def asked(self, frame: Any, y: np.ndarray) -> Any:
        """What it predicts, beside the truth."""
        outputs = self.fitted.outputs(as_features(frame, self.columns))
        return Classification(len(self.schema.classes), self.schema.positive).predictions(y, outputs)

    def verdict(self, frame: Any, y: np.ndarray, promise: Any) -> str:
        """The verdict on a month, as monitor finds it, in a line."""
        now, rule, seed = self.asked(frame, y), self.problem.monitor, self.problem.seed
        about = {"most": rule.drop.most, "confidence": rule.drop.confidence, "seed": seed, "resamples": 500}
        drop = health.drop(now, promise, rule.drop.metric, **about)
        counted = drift.Tally(self.bins.bins)
        counted.add(self.batch(frame))
        passing = splits.columns(self.problem.split)
        moved = health.shifted(drift.shifts(self.bins, counted, len(self.columns)), [], rule.shift, passing)
        verdict = health.verdict([*health.too_few(now, rule.rows, self.schema.classes), *drop.findings(), *moved])
        columns = ", ".join(one.why.split("'")[1] for one in moved)
        said = f"{len(y):6,} rows  {drop.metric} {rounded(drop.found)}, drop at least {rounded(drop.lower)}"
        return f"{said}  {verdict}" + (f" (moved: {columns})" if columns else "")


if __name__ == "__main__":
    main()
