"""What ranks that learn one LightGBM model together say to each other, and how long an iteration of a rank takes.

    python benchmarks/ranks.py [--rows 50000] [--columns 30] [--ranks 1 2 4 8] [--leaves 31]

Each number of ranks fits 10 and then 30 iterations of made numbers, `rows` of them at each rank, one thread each; what
20 iterations take is the difference. The bytes are those of the loopback interface of a network of its own, in which
the script runs itself again (`unshare --net`), so that nothing else is counted. They do not depend on the rows, nor on
how many ranks share a core; the seconds do, and say something up to as many ranks as there are cores. Linux only.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

from tabular.model.ranks import Part

INSIDE = "TABULAR_BENCHMARK_NETWORK"
FEW, MANY = 10, 30
PORTS = itertools.count(12400)  # each once, since the system keeps a port for a while that was closed


def main() -> None:
    """Measure, in a network of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--columns", type=int, default=30)
    parser.add_argument("--leaves", type=int, default=31)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4, 8])
    options = parser.parse_args()
    if INSIDE not in os.environ:
        again = ["unshare", "--map-root-user", "--net", sys.executable, *sys.argv]
        os.execvpe(again[0], again, {**os.environ, INSIDE: "1"})
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    print(f"{options.rows:,} rows a rank, {options.columns} columns, {options.leaves} leaves; an iteration:")
    for ranks in options.ranks:
        parts = [_part(options, number) for number in range(ranks)]
        seconds, sent = np.subtract(_fit(parts, MANY), _fit(parts, FEW)) / (MANY - FEW)
        print(f"  {ranks} ranks: {seconds:.3f} s, {sent / 1e6 / ranks:.2f} MB sent by each", flush=True)


def _part(options: argparse.Namespace, number: int) -> Part:
    draw = np.random.default_rng(number)
    X = draw.normal(size=(options.rows, options.columns))
    y = (X[:, 0] + X[:, 1] * X[:, 2] + draw.normal(size=options.rows) > 0).astype(int)
    parameters = {"objective": "binary", "num_leaves": options.leaves, "verbose": -1, "seed": 0}
    return Part(X, y, None, parameters, 0)


def _fit(parts: list[Part], iterations: int) -> tuple[float, float]:
    """The seconds of a fit, and the bytes that went over the loopback interface meanwhile."""
    with tempfile.TemporaryDirectory() as made:
        ports = list(itertools.islice(PORTS, len(parts)))
        machines = [f"127.0.0.1:{port}" for port in ports]
        folders = []
        for number, (part, port) in enumerate(zip(parts, ports, strict=True)):
            folders.append(Path(made) / str(number))
            folders[-1].mkdir()
            replace(part, iterations=iterations).write(folders[-1], machines, port, threads=1)
        before, started = _sent(), time.perf_counter()
        typed = [sys.executable, "-m", Part.program]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        ranks = [subprocess.Popen([*typed, str(folder)], **pipes) for folder in folders]
        for rank in ranks:
            rank.wait()
        taken = time.perf_counter() - started, float(_sent() - before)
        for folder in folders:
            kind, said = Part.read(folder)
            if kind != "model":
                sys.exit(f"a rank ended without a model: {said}")
        return taken


def _sent() -> int:
    line = next(line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith("lo:"))
    return int(line.split(":")[1].split()[8])


if __name__ == "__main__":
    main()
