"""One rank of a LightGBM model: a process that holds a part of the rows, and grows the same trees as the other ranks.

    python -m tabular.model.rank FOLDER

reads its part from the folder and leaves the model's text there, or why there is none. It ends when its stdin does:
LightGBM itself goes on waiting for a rank that is gone.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

DENSE, SPARSE, TARGET, WEIGHTS = "X.npy", "X.npz", "y.npy", "weights.npy"
ABOUT, MODEL, ERROR = "about.json", "model.txt", "error.txt"


def read(folder: Path) -> tuple[Any, Any, Any]:
    """The encoded rows of the part, what is learnt of them, and their weights or None."""
    if (folder / SPARSE).exists():
        from scipy.sparse import load_npz

        X_encoded = load_npz(folder / SPARSE)
    else:
        X_encoded = np.load(folder / DENSE, mmap_mode="r")
    weights = np.load(folder / WEIGHTS) if (folder / WEIGHTS).exists() else None
    return X_encoded, np.load(folder / TARGET), weights


def train(folder: Path) -> str:
    """Train together with the other ranks; return the model's text."""
    import lightgbm

    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    params = about["parameters"]
    X_encoded, y, weights = read(folder)
    # the bins are cut by all ranks together, once the Booster has connected them
    part = lightgbm.Dataset(X_encoded, y, weight=weights, params=params)
    return str(lightgbm.train(params, part, num_boost_round=about["iterations"]).model_to_string())


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main(folder: Path) -> None:
    """Train, and leave what came of it."""
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        text, name = train(folder), MODEL
    except Exception as error:  # LightGBM's own class of error, and numpy's
        text, name = f"{type(error).__name__}: {error}", ERROR
    (folder / name).write_text(text, encoding="utf-8")
    os._exit(0)  # a Booster that is connected waits for the others where the interpreter ends


if __name__ == "__main__":
    main(Path(sys.argv[1]))
