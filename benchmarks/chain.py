"""How long the chain takes, over what a user writes from MLflow's guides: the same five steps, one model, no pictures.

    python benchmarks/chain.py PLAIN_CHAIN [--rounds 3] [--one-model]

PLAIN_CHAIN is the folder of an MLflow project whose main chains etl, hpo, train, evaluate and register by `mlflow.run`
and takes `data`, `target` and `trials`. Ours runs all three models of breast_cancer, or LightGBM alone. Both run on
scikit-learn's breast cancer table (569 rows) with 10 trials, `--env-manager local` in the environment that runs this
file, on a store that exists, in turn, and the best round of each counts. Each round of ours is a cold one: in an
experiment of its own, where nothing has been done before, and with a registry name of its own, without a champion.
Bytecode is compiled before, and kept. At the end it says where the time of our best round went.
"""

import argparse
import os
import platform
import re
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import yaml
from typed import PROJECT, Ended, run, words

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
registry: {{name: {name}}}
"""


def main() -> None:
    """Time both in turn, and print the ratio of their best rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plain_chain", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one-model", action="store_true", help="ours with LightGBM alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_data(folder)
        plain = [options.plain_chain.resolve(), *words(data=data, target="target", trials=TRIALS)]
        rounds: dict[str, list[Ended]] = {"plain": [], "tabular": []}
        for number in range(options.rounds + 1):
            problem = write_problem(folder, data, number, one_model=options.one_model)
            ours = [PROJECT, "--experiment-name", f"round {number}", *words(problem=problem)]
            for chain, arguments in (("plain", plain), ("tabular", ours)):
                ended = run(folder, *arguments)
                if number:  # the first opens the store and fills the caches: not counted
                    rounds[chain].append(ended)
                    print(f"{chain:8} {ended.seconds:6.1f} s", flush=True)
    report(rounds)


def write_problem(folder: Path, data: Path, number: int, *, one_model: bool) -> Path:
    """The problem of a round."""
    path = folder / f"round_{number}.yaml"
    if one_model:
        path.write_text(LIGHTGBM_ALONE.format(data=data, trials=TRIALS, name=f"benchmark_{number}"))
        return path
    shipped = yaml.safe_load((PROJECT / "problems" / "breast_cancer.yaml").read_text())
    shipped["data"]["source"] = str(data)
    shipped["search"]["trials"] = TRIALS
    shipped["registry"]["name"] = f"benchmark_{number}"
    path.write_text(yaml.safe_dump(shipped))
    return path


def write_data(folder: Path) -> Path:
    """scikit-learn's breast cancer table as CSV."""
    from sklearn.datasets import load_breast_cancer

    path = folder / "breast_cancer.csv"
    load_breast_cancer(as_frame=True).frame.to_csv(path, index=False)
    return path


def report(rounds: dict[str, list[Ended]]) -> None:
    """The best rounds, their ratio, how far the rounds lie apart, and where the time went."""
    best = {chain: min(ended, key=lambda one: one.seconds) for chain, ended in rounds.items()}
    for chain, ended in rounds.items():
        times = [one.seconds for one in ended]
        spread = (max(times) - min(times)) / statistics.median(times)
        print(
            f"{chain:8} best {best[chain].seconds:.1f} s, median {statistics.median(times):.1f} s, "
            f"spread {spread:.0%}; work {best[chain].work:.1f} s"
        )
    machine = f"{os.cpu_count()} cores, {platform.platform()}"
    print(f"ratio    {best['tabular'].seconds / best['plain'].seconds:.2f} (tabular over plain; {machine})")
    print(
        "\nWhere our best round went: each step from its inputs being there to its end, then the chain as main saw it"
    )
    for line in best["tabular"].output.splitlines():
        if re.match(r"  (\w+( \w+)? +[\d.]+ s  |registered after|kept_champion after|refused after)", line):
            print(line)
    print("The rest is `mlflow run` and main: two imports of MLflow, and the store opened twice.")


if __name__ == "__main__":
    main()
