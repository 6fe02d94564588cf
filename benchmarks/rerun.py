"""How long an unchanged chain takes once more, over a project whose main does nothing but start a run.

    python benchmarks/rerun.py [--rounds 5]

Both run by `mlflow run … --env-manager local` in the environment that runs this file, on one store, in turn; the best
round of each counts. Ours is breast_cancer with 5 trials, run once before: no step computes anything then.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from typed import PROJECT, run, tell, words

NOTHING = """
name: nothing
entry_points:
  main:
    command: "python -c 'import mlflow; mlflow.start_run()'"
"""


def main() -> None:
    """Time both in turn, and print the ratio of their best rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "nothing").mkdir()
        (folder / "nothing" / "MLproject").write_text(NOTHING)
        commands = {
            "nothing": [folder / "nothing", "--experiment-name", "rerun"],
            "rerun": [PROJECT, "--experiment-name", "rerun", *words(trials=5)],
        }
        run(folder, *commands["rerun"])  # does the work
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(options.rounds + 1):
            for name, command in commands.items():
                ended = run(folder, *command)
                if name == "rerun" and "(ran: " in ended.output:
                    sys.exit(f"a step was run again:\n{ended.output}")
                if number:  # the first fills the caches
                    seconds[name].append(ended.seconds)
                    print(f"{name:8} {ended.seconds:6.2f} s", flush=True)
    tell(seconds, "rerun", "nothing", "an unchanged chain over nothing")


if __name__ == "__main__":
    main()
