"""What the served file saves by asking a forest's trees itself, in the place of `predict_proba`.

    python benchmarks/forest.py

Prints for one row, a thousand and twenty thousand the processor time of both, asked in turn, and their ratio by round.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestClassifier

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from steps.model import served

ROUNDS = {1: 60, 1000: 10, 20_000: 5}


def seconds(ask: Callable[[], np.ndarray]) -> float:
    """The processor time of one call."""
    started = time.process_time()
    ask()
    return time.process_time() - started


def main() -> None:
    """Fit a forest of 100 trees, ask it both ways."""
    generator = np.random.default_rng(0)
    X = generator.normal(size=(20_000, 30))
    y = (X[:, 0] + generator.normal(size=len(X)) > 0).astype(int)
    forest = RandomForestClassifier(100, n_jobs=1, random_state=0, min_samples_leaf=5).fit(X[:5000], y[:5000])
    for rows, rounds in ROUNDS.items():
        ways = (lambda rows=rows: forest.predict_proba(X[:rows]), lambda rows=rows: served._ask_trees(forest, X[:rows]))
        found = [[seconds(way) for way in ways] for _ in range(rounds)]
        ratios = [ours / theirs for theirs, ours in found]
        theirs, ours = (1000 * statistics.median(column) for column in zip(*found, strict=True))
        print(
            f"{rows:>6,} rows: predict_proba {theirs:.2f} ms, ours {ours:.2f} ms, "
            f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
