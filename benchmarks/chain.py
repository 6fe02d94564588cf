"""How long the chain takes, over what a user writes from MLflow's guides: the same five steps, one model, no pictures.

    python benchmarks/chain.py PLAIN_CHAIN [--rounds 3] [--all-models]

PLAIN_CHAIN is the folder of an MLflow project whose main chains etl, hpo, train, evaluate and register by `mlflow.run`
and takes `data`, `target` and `trials`. Both run on scikit-learn's breast cancer table (569 rows) with 10 trials,
`--env-manager local` in the environment that runs this file, on a store that exists, in turn, and the best round of
each counts. Bytecode is compiled before, and kept.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
TRIALS = 10
LIGHTGBM_ALONE = """
name: benchmark
data: {{source: {data}, target: target}}
models:
  lightgbm:
    estimator: lightgbm.LGBMClassifier
    params: {{n_estimators: 200, subsample_freq: 1}}
    space:
      num_leaves: {{type: int, low: 8, high: 256, log: true}}
      learning_rate: {{type: float, low: 0.02, high: 0.3, log: true}}
      min_child_samples: {{type: int, low: 5, high: 200, log: true}}
      colsample_bytree: {{type: float, low: 0.4, high: 1.0}}
      reg_lambda: {{type: float, low: 0.001, high: 10.0, log: true}}
      n_estimators: {{type: int, low: 50, high: 1000, log: true}}
search: {{trials: {trials}}}
registry: {{name: benchmark}}
"""


def main() -> None:
    """Time both in turn, and print the ratio of their best rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plain_chain", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--all-models", action="store_true", help="ours with all three models of breast_cancer")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_data(folder)
        if options.all_models:
            ours = [str(PROJECT), "-P", f"trials={TRIALS}"]
        else:
            problem = folder / "benchmark.yaml"
            problem.write_text(LIGHTGBM_ALONE.format(data=data, trials=TRIALS))
            ours = [str(PROJECT), "-P", f"problem={problem}"]
        plain = [
            str(options.plain_chain.resolve()),
            "-P",
            f"data={data}",
            "-P",
            "target=target",
            "-P",
            f"trials={TRIALS}",
        ]
        chains = {"plain": plain, "tabular": ours}
        for chain in chains.values():
            run(chain, folder)  # opens the store and fills the caches: not counted
        seconds = {chain: [] for chain in chains}
        for _ in range(options.rounds):
            for chain, words in chains.items():
                seconds[chain].append(run(words, folder))
                print(f"{chain:8} {seconds[chain][-1]:6.1f} s", flush=True)
    report(seconds)


def write_data(folder: Path) -> Path:
    """scikit-learn's breast cancer table as CSV."""
    from sklearn.datasets import load_breast_cancer

    path = folder / "breast_cancer.csv"
    load_breast_cancer(as_frame=True).frame.to_csv(path, index=False)
    return path


def run(words: list[str], folder: Path) -> float:
    """Seconds of one `mlflow run`, from the caller's side."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what is not kept is compiled by every process anew
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    command = [sys.executable, "-m", "mlflow", "run", *words, "--env-manager", "local"]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return seconds


def report(seconds: dict[str, list[float]]) -> None:
    """The best rounds, their ratio, and how far the rounds lie apart."""
    best = {chain: min(rounds) for chain, rounds in seconds.items()}
    for chain, rounds in seconds.items():
        spread = (max(rounds) - min(rounds)) / statistics.median(rounds)
        print(f"{chain:8} best {best[chain]:.1f} s, median {statistics.median(rounds):.1f} s, spread {spread:.0%}")
    machine = f"{os.cpu_count()} cores, {platform.platform()}"
    print(f"ratio    {best['tabular'] / best['plain']:.2f} (tabular over plain; {machine})")


if __name__ == "__main__":
    main()
