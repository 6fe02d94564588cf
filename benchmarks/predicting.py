"""What memory `predict` takes, and how many rows it scores a second: the peak for a large table over that for a small.

    python benchmarks/predicting.py [--rows 1000000 10000000] [--format parquet] [--rounds 1] [--cores 1 2]

Makes a table of ten columns (an id, a date, four numbers, three columns of categories, one of truths) of each size,
trains LightGBM on 50,000 rows of the same kind by the chain, and scores each table by the champion as a user would:
`mlflow run . -e predict`. Meanwhile it adds up, twenty times a second, the resident memory of `mlflow run` and of all
processes below it; what they share counts several times, alike for all sizes. The output is of the input's format.
With several numbers of `--cores` (Linux), each table is scored in turn on so many of them, and so by as many processes:
the outputs must have the same bytes.
"""

import argparse
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import psutil
import pyarrow as pa
from pyarrow import csv
from pyarrow import parquet as pq
from typed import PROJECT, command, environment, words

CORES = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else list(range(os.cpu_count() or 1))
WRITERS = {"parquet": pq.ParquetWriter, "csv": csv.CSVWriter}
BLOCK_ROWS = 250_000
TRAINED_ON = 50_000
PROBLEM = """
name: predicting
data: {{source: {source}, target: left, drop: {{id: a name}}}}
models: {{lightgbm: {{estimator: lightgbm.LGBMClassifier, params: {{n_estimators: 100}}}}}}
search: {{folds: 3}}
"""


@dataclass(frozen=True)
class Round:
    """One run of predict: seconds by the clock, rows a second while it scored, the peak of memory, what was written."""

    seconds: float
    rate: float
    peak: int
    digest: str = ""


def main() -> None:
    """Score each size in turn, and print the ratio of the peaks of the largest and the smallest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--format", choices=WRITERS, default="parquet")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--cores", type=int, nargs="+", default=[len(CORES)])
    options = parser.parse_args()
    peaks: dict[int, list[int]] = {rows: [] for rows in options.rows}
    written: dict[int, set[str]] = {rows: set() for rows in options.rows}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train(folder)
        for rows in options.rows:
            write(folder / f"{rows}.{options.format}", rows, seed=1)
        for _, rows, cores in product(range(options.rounds), options.rows, options.cores):
            table = folder / f"{rows}.{options.format}"
            ended = predict(folder, table, cores)
            peaks[rows].append(ended.peak)
            written[rows].add(ended.digest)
            size = f"{rows:>12,} rows, {table.stat().st_size / 1e6:8,.1f} MB of {options.format}, {cores} cores"
            took = f"{ended.seconds:7.1f} s in all, {ended.rate:9,.0f} rows a second while scoring"
            print(f"{size}: {took}, peak {ended.peak / 1e6:7,.0f} MB", flush=True)
    if any(len(digests) > 1 for digests in written.values()):
        sys.exit("the outputs differ")
    least, most = min(options.rows), max(options.rows)
    machine = f"{os.cpu_count()} cores, {platform.platform()}"
    print(f"ratio of peaks {max(peaks[most]) / min(peaks[least]):.2f} ({most:,} rows over {least:,}; {machine})")


def write(path: Path, rows: int, *, seed: int) -> None:
    """A made table, a block of rows at a time."""
    generator = np.random.default_rng(seed)
    schema = block(generator, 0, 1).schema
    with WRITERS[path.suffix.removeprefix(".")](str(path), schema) as writer:
        for start in range(0, rows, BLOCK_ROWS):
            writer.write_batch(block(generator, start, min(BLOCK_ROWS, rows - start)))


def block(generator: np.random.Generator, start: int, rows: int) -> pa.RecordBatch:
    """Rows whose class follows some of their columns; one number in fifty and one category in fifty is missing."""
    amount, distance = generator.lognormal(3, 1, rows), generator.normal(100, 30, rows)
    town = generator.zipf(1.6, rows) % 40
    member = generator.random(rows) < 0.4
    score = np.log(amount) - distance / 50 + (town % 3 == 0) + member + generator.normal(0, 1, rows)
    days = np.datetime64("2024-01-01") + generator.integers(0, 700, rows).astype("timedelta64[D]")
    missing = generator.random((2, rows)) < 0.02
    return pa.record_batch(
        {
            "id": pa.array(np.arange(start, start + rows)),
            "day": pa.array(days),
            "amount": pa.array(amount.round(2)),
            "distance": pa.array(distance.round(3), mask=missing[0]),
            "visits": pa.array(generator.poisson(2, rows)),
            "share": pa.array(generator.random(rows).round(4)),
            "town": pa.array(np.char.add("town ", town.astype(str)), mask=missing[1]),
            "channel": pa.array(generator.choice(["web", "shop", "phone", "agent"], rows)),
            "agent": pa.array(np.char.add("agent ", generator.integers(0, 300, rows).astype(str))),
            "member": pa.array(member),
            "left": pa.array((score > 3.2).astype(np.int64)),
        }
    )


def train(folder: Path) -> None:
    """A champion, by the chain."""
    write(folder / "train.parquet", TRAINED_ON, seed=0)
    (folder / "predicting.yaml").write_text(PROBLEM.format(source=folder / "train.parquet"))
    watched(folder, *words(problem=folder / "predicting.yaml"))


def predict(folder: Path, table: Path, cores: int) -> Round:
    """Score a table on so many cores, and watch."""
    output = folder / f"scored{table.suffix}"
    asked = words(model="models:/predicting_classifier@champion", data=table, output=output)
    if cores < len(CORES):
        os.sched_setaffinity(0, CORES[:cores])  # what is started from now on inherits it
    try:
        ended = watched(folder, "-e", "predict", *asked)
    finally:
        if cores < len(CORES):
            os.sched_setaffinity(0, CORES)
    with output.open("rb") as file:
        return replace(ended, digest=hashlib.file_digest(file, "sha256").hexdigest())


def watched(folder: Path, *arguments: str) -> Round:
    """One `mlflow run`, watched from the caller's side."""
    typed = command(PROJECT, "--experiment-name", "predicting", *arguments)
    started, peak = time.perf_counter(), 0
    with (folder / "output").open("w+") as output:
        process = psutil.Popen(typed, cwd=folder, env=environment(folder), stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, resident(process))
            time.sleep(0.05)
        seconds = time.perf_counter() - started
        output.seek(0)
        said = output.read()
    if process.returncode != 0:
        sys.exit(f"{' '.join(typed)} failed:\n{said}")
    rates = [line.split()[-3] for line in said.splitlines() if line.endswith(" a second")]
    return Round(seconds, float(rates[0].replace(",", "")) if rates else 0.0, peak)


def resident(process: psutil.Process) -> int:
    """Bytes of memory that a process and all below it hold."""
    total = 0
    with suppress(psutil.Error):
        for one in [process, *process.children(recursive=True)]:
            with suppress(psutil.Error):
                total += one.memory_info().rss
    return total


if __name__ == "__main__":
    main()
