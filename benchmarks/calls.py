"""How many requests a chain sends to a tracking server, by what they ask.

    python benchmarks/calls.py [--project FOLDER]

A relay stands between the chain and `mlflow server` on sqlite, and counts. iris runs with 5 trials and with 15, each on
an empty server, and then once more, which reuses each step. The difference of the first two is what a trial asks. The
counts do not depend on the machine, save the few that wait for something.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from typed import PROJECT, command, environment, store, words

from tests import relay, servers

FEW, MANY = 5, 15


def main() -> None:
    """Count the requests of each chain, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", default=PROJECT, type=Path, help="the project to count, such as another commit's")
    options = parser.parse_args()
    few, _ = counted(options.project, FEW)
    many, again = counted(options.project, MANY)
    for name, counts in ((f"{FEW} trials", few), (f"{MANY} trials", many), ("once more", again)):
        print(f"{name}: {counts.total()} requests")
        for kind, number in counts.most_common():
            print(f"  {number:4} {kind}")
    trial = (many.total() - few.total()) / (MANY - FEW)
    print(f"a chain of iris with {FEW} trials {few.total()}, with {MANY} {many.total()}, once more {again.total()}")
    print(f"a trial {trial:.1f}, a chain but for its trials {few.total() - FEW * trial:.0f}")


def counted(project: Path, trials: int) -> tuple[Counter[str], Counter[str]]:
    """The requests of a chain on an empty server, and of the same chain once more."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        with servers.tracking(store(folder), folder / "artifacts") as server, relay.before(server) as between:
            return chain(between, folder, project, trials), chain(between, folder, project, trials)


def chain(between: relay.Relay, folder: Path, project: Path, trials: int) -> Counter[str]:
    """The requests of a chain of iris."""
    between.counts.clear()
    typed = command(project, "--experiment-name", "calls", *words(problem="iris", trials=trials))
    variables = {**environment(folder), "MLFLOW_TRACKING_URI": between.address}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(typed, cwd=folder, env=variables, check=False, **pipes)
    if done.returncode:
        sys.exit(f"{' '.join(typed)} failed:\n{done.stdout}")
    return Counter(between.counts)


if __name__ == "__main__":
    main()
