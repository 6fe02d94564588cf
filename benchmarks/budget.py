"""Whether a chain keeps to its seconds: wall seconds of `mlflow run … -P timeout=…` over what was asked.

    python benchmarks/budget.py --data FOLDER [--tables …] [--seconds 30 60 120] [--jobs 2]

Each chain is a cold one, as a user types it: default models, `--env-manager local` in the environment that runs this
file, on a store and a registry of its own. FOLDER holds hotel_bookings.csv.zip and diamonds.csv.gz (docs/search.md says
where they are from). Seconds count from the command to its end. It prints a line for each chain, with the load of the
machine before it, then what each step was given and took, and the worst ratio. What else runs on the machine counts.
"""

import argparse
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from typed import PROJECT, Ended, ended, words

# Table: its file, or how many rows are made, and its target.
TABLES = {
    "breast_cancer": ("sklearn:breast_cancer", "target"),
    "bookings": ("hotel_bookings.csv.zip", "is_canceled"),
    "diamonds": ("diamonds.csv.gz", "price"),
    "synthetic": (100_000, "target"),
}


def main() -> None:
    """Run the chains one after the other, and print how long they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with the files")
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=TABLES)
    parser.add_argument("--seconds", nargs="+", type=int, default=[30, 60, 120])
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    ratios = []
    for name in options.tables:
        for seconds in options.seconds:
            load = os.getloadavg()[0]
            with tempfile.TemporaryDirectory() as made:
                source, target = place(Path(made), options.data, name)
                asked = words(data=source, target=target, timeout=seconds, jobs=options.jobs)
                done = ended(Path(made), PROJECT, *asked)
            ratios.append(done.seconds / seconds)
            print(f"{name:14} {seconds:4} s  took {done.seconds:6.1f} s  {done.seconds / seconds:.2f}  "
                  f"{how(done)}  load before {load:.1f}", flush=True)  # fmt: skip
            print("\n".join(f"    {line}" for line in told(done.output)), flush=True)
    print(f"worst ratio {max(ratios):.2f}; {os.cpu_count()} cores, {platform.platform()}")


def place(folder: Path, data: Path, name: str) -> tuple[object, str]:
    """Where a table lies, and its target; one that is made is written as Parquet."""
    source, target = TABLES[name]
    if isinstance(source, int):
        import pandas as pd
        from sklearn.datasets import make_classification

        X, y = make_classification(source, 20, n_informative=8, n_clusters_per_class=4, flip_y=0.1, random_state=0)
        frame = pd.DataFrame(X, columns=[f"x{number}" for number in range(X.shape[1])]).assign(target=y)
        frame.to_parquet(folder / "synthetic.parquet")
        return folder / "synthetic.parquet", target
    return (source if ":" in source else (data / source).resolve()), target


def how(done: Ended) -> str:
    """How a chain ended."""
    outcome = re.search(r"^ *(registered|kept_champion|refused) after", done.output, re.MULTILINE)
    return outcome[1] if outcome else f"FAILED: {done.output.strip().splitlines()[-1]}"


def told(output: str) -> Iterator[str]:
    """What the chain says, without MLflow's own lines and without what comes after the verdict."""
    lines = [line for line in output.splitlines() if line.strip() and " INFO mlflow" not in line]
    for line in lines:
        if re.match(" *(report|champion|first|look|serve|a row|score|hint:)  ", line) is None:
            yield line


if __name__ == "__main__":
    main()
