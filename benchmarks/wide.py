"""How long the steps of a chain take on wide tables, and how much memory.

    python benchmarks/wide.py [--shape 200x20000] [--shape 20000x3000] [--trials 2] [--keep FOLDER] [--fork-server]

Each shape (rows x columns) is a CSV of numbers, every tenth column a category, of which the first five numbers and one
category tell two classes apart. The chain is an `mlflow run … --env-manager local` with the default models, in the
environment that runs this file, without a fork server, so that each step can be told by its words; with `--fork-server`
as users have it, and only the sums over all processes mean anything. For each step it
prints the seconds that main says (clock), those of its processes on all cores (work), and the most memory that one of
them held (VmHWM, which counts what a fork shares with its parent); and of the whole chain the most memory that all its
processes held at once (proportional set size, which counts shared pages once). Linux only: it reads /proc.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from memory import watched
from typed import PROJECT, command, environment, words


def main() -> None:
    """Run a chain on each shape, and print what its steps took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", action="append", help="rows x columns, such as 2000x3000")
    parser.add_argument("--trials", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="a folder for the tables and the store; a temporary one by default")
    parser.add_argument("--fork-server", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = options.keep or Path(made)
        folder.mkdir(exist_ok=True)
        for shape in options.shape or ["200x20000", "20000x3000"]:
            rows, columns = map(int, shape.split("x"))
            path = folder / f"wide_{shape}.csv"
            if not path.exists():
                write_table(path, rows, columns)
            measure(folder, path, options.trials, fork_server=options.fork_server)


def write_table(path: Path, rows: int, columns: int) -> None:
    """A table whose class follows five of its numbers and one of its categories; row by row, so that it needs none."""
    generator = np.random.default_rng(0)
    is_category = np.arange(columns) % 10 == 9
    names = [f"c{place}" if category else f"x{place}" for place, category in enumerate(is_category)]
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join([*names, "y"]) + "\n")
        for _ in range(rows):
            numbers = generator.normal(size=columns)
            towns = generator.integers(0, 5, columns)
            signal = numbers[:5].sum() + 2.0 * (towns[9] == 0) if columns > 9 else numbers[:5].sum()
            y = int(signal + generator.normal() > 0)
            cells = [
                f"town{town}" if category else f"{number:.4f}"
                for category, town, number in zip(is_category, towns, numbers, strict=True)
            ]
            file.write(",".join([*cells, str(y)]) + "\n")


def measure(folder: Path, path: Path, trials: int, *, fork_server: bool) -> None:
    """Run a chain on a table, and print what its steps took."""
    typed = command(
        PROJECT,
        *["--experiment-name", f"{path.stem} {time.time():.0f}"],
        *words(data=path, target="y", trials=trials, reuse="false"),
    )
    started = time.perf_counter()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    env = environment(folder) if fork_server else {**environment(folder), "TABULAR_FORK_SERVER": "none"}
    with subprocess.Popen(typed, cwd=folder, env=env, **pipes) as process:
        lines = []
        with watched(process.pid) as memory:
            for line in process.stdout:
                lines.append(line)
                if os.environ.get("TABULAR_DEBUG"):
                    print(line, end="", flush=True)
    seconds = time.perf_counter() - started
    print(f"\n{path.name}, {path.stat().st_size / 1e6:.0f} MB, ended with {process.returncode} after {seconds:.0f} s")
    if process.returncode:
        print("".join(lines[-12:]))
    print(f"  {'':28}     clock      work")
    clock = {ended[1]: ended[2] for line in lines if (ended := re.match(r"  (\w+(?: \w+)?) +([\d.]+) s  ", line))}
    for name, held in memory.of_steps.items():
        work = sum(memory.work[name].values())
        print(f"  {name:28} {clock.get(name, ''):>7} s {work:7.1f} s {held:7.0f} MB")
    print(f"  all processes at once {memory.of_all:30.0f} MB", flush=True)


if __name__ == "__main__":
    main()
