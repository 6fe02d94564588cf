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
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from typed import PROJECT, command, environment, words

# How often the processes are looked at, and how often their shares of memory are summed, which takes longer.
SECONDS, SECONDS_OF_SUM = 0.2, 1.0
STEP = re.compile(r"-m\0steps\0(\w+)\0")
MODEL = re.compile(r"--model=(\w+)")


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


@dataclass
class Memory:
    """The most memory of the processes below one, in MB: of each step's largest process, and of all at once.

    Also the seconds that each process of a step has worked, as last seen.
    """

    root: int
    of_steps: dict[str, float] = field(default_factory=dict)
    work: dict[str, dict[int, float]] = field(default_factory=dict)
    of_all: float = 0.0
    ended: bool = False

    def watch(self) -> None:
        """Look at the processes until told to end."""
        summed = 0.0
        while not self.ended:
            found = _below(self.root)
            for pid in found:
                self._see(pid)
            if time.monotonic() - summed > SECONDS_OF_SUM:
                summed = time.monotonic()
                self.of_all = max(self.of_all, sum(map(_share, found)))
            time.sleep(SECONDS)

    def _see(self, pid: int) -> None:
        words_ = _read(pid, "cmdline")
        step, model = STEP.search(words_), MODEL.search(words_)
        if step is None:
            return
        name = f"{step[1]} {model[1]}" if model else step[1]
        high = re.search(r"VmHWM:\s+(\d+)", _read(pid, "status"))
        if high:
            self.of_steps[name] = max(self.of_steps.get(name, 0.0), int(high[1]) / 1024)
            ticks = _read(pid, "stat").rpartition(")")[2].split()[11:13]
            self.work.setdefault(name, {})[pid] = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")
    except OSError:  # it has ended
        return ""


def _share(pid: int) -> float:
    found = re.search(r"^Pss:\s+(\d+)", _read(pid, "smaps_rollup"), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def _below(root: int) -> list[int]:
    """A process and all that descend from it."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        stat = _read(int(path.name), "stat")
        if stat:
            parents[int(path.name)] = int(stat.rpartition(")")[2].split()[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


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
        memory = Memory(process.pid)
        watcher = threading.Thread(target=memory.watch)
        watcher.start()
        lines = []
        for line in process.stdout:
            lines.append(line)
            if os.environ.get("TABULAR_DEBUG"):
                print(line, end="", flush=True)
        memory.ended = True
        watcher.join()
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
