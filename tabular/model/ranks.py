"""LightGBM learnt by several processes together, each with a part of the rows: its data-parallel learning.

The model is of the same kind as one that a single process learns, and not the same to the last bits: each rank cuts a
part of the columns into bins by its own rows, and histograms are sums of sums. It is the same for the same number of
ranks.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tabular.errors import CandidateError, first_line
from tabular.model import boosting, rank, seeds, training
from tabular.model.estimators import takes_sparse
from tabular.model.formats import settle
from tabular.model.training import Candidate, Fitted

Array: TypeAlias = np.ndarray[Any, Any]
# Rows that are given to ranks one by one, so that each rank has rows of all times, places and groups, in whatever order
# the table is: it cuts its share of the columns into bins by them.
Together: TypeAlias = Callable[[Sequence["Part"]], str]
# What of a model's text depends on where its ranks ran.
_OF_PLACE = {"machines": "", "local_listen_port": "12400", "num_threads": "0", "time_out": "120"}
# Minutes after which LightGBM gives up a rank that does not answer.
MOST_MINUTES = 10


@dataclass(frozen=True)
class Part:
    """What a rank learns from: encoded rows, their labels and weights, and the hyperparameters of all ranks."""

    X_encoded: Any
    y: Array
    weights: Array | None
    parameters: Mapping[str, Any]
    iterations: int

    # The program of a rank, which takes a folder.
    program = rank.__name__

    def write(self, folder: Path, machines: Sequence[str], port: int, threads: int) -> None:
        """Write the part for a rank that listens at a port, one of the machines (`HOST:PORT` of each, in order)."""
        network = {
            "tree_learner": "data",
            "pre_partition": True,
            "machines": ",".join(machines),
            "num_machines": len(machines),
            "local_listen_port": port,
            "time_out": MOST_MINUTES,
            "num_threads": threads,
        }
        known = boosting.aliases("num_threads")
        params = {name: value for name, value in self.parameters.items() if name not in known}
        about = {"parameters": {**params, **network}, "iterations": self.iterations}
        (folder / rank.ABOUT).write_text(json.dumps(about, default=lambda value: value.item()), encoding="utf-8")
        if hasattr(self.X_encoded, "tocsr"):
            from scipy.sparse import save_npz

            save_npz(folder / rank.SPARSE, self.X_encoded.tocsr(), compressed=False)
        else:
            np.save(folder / rank.DENSE, self.X_encoded)
        np.save(folder / rank.TARGET, self.y)
        if self.weights is not None:
            np.save(folder / rank.WEIGHTS, self.weights)

    @staticmethod
    def read(folder: Path) -> tuple[str, str]:
        """What came of a rank: ("model", its text), ("refused", why), ("network", why) or ("killed", "")."""
        if (folder / rank.MODEL).exists():
            return "model", placeless((folder / rank.MODEL).read_text(encoding="utf-8"))
        if not (folder / rank.ERROR).exists():
            return "killed", ""
        said = (folder / rank.ERROR).read_text(encoding="utf-8")
        of_network = re.search(r"socket|connect|bind|network", said, re.IGNORECASE)
        return "network" if of_network else "refused", said


def placeless(text: str) -> str:
    """A model's text without the addresses and threads of its ranks, on which it does not depend."""
    for name, value in _OF_PLACE.items():
        text = re.sub(rf"\[{name}: [^\]\n]*\]", f"[{name}: {value}]", text)
    return text


def positions(rows: int, number: int, ranks: int) -> Array:
    """The positions of the rows of a rank, by its number: each rank has every `ranks`-th row."""
    return np.arange(number, rows, ranks)


def fit(
    candidate: Candidate,
    X: Any,
    y: Array,
    *,
    ranks: int,
    together: Together,
    rows: Array | None = None,
    weights: Array | None = None,
) -> Fitted:
    """Fit a candidate's preprocessor here, and its LightGBM estimator by several ranks.

    Parameters
    ----------
    candidate, X, y, rows, weights
        As for `training.fit`.
    ranks
        How many processes learn together.
    together
        Runs a program for each part at the same time, and returns the text of the model that they have learnt; raises
        ValueError with the reason where they refuse.

    Raises
    ------
    CandidateError
        The estimator refuses its hyperparameters or the rows, or there are too few rows for so many ranks.
    """
    import lightgbm

    estimator = training.unfitted(candidate, threads=1)
    if rows is not None:
        X, y, weights = X.iloc[rows], y[rows], None if weights is None else weights[rows]
    if len(y) < 2 * ranks:
        raise CandidateError(f"models.{candidate.name}: {len(y)} rows are too few for {ranks} ranks")
    features, X_encoded = training.encode(candidate, X, y, sparse=takes_sparse(estimator))
    X_encoded = X_encoded.tocsr() if hasattr(X_encoded, "tocsr") else X_encoded
    labels = candidate.task.without_gaps(y)

    def learnt(one: Any) -> Any:
        params, of_rows = boosting.to_train(one, y, candidate.task, weights)
        iterations = int(one.get_params()["n_estimators"])
        parts = [
            Part(X_encoded[at], labels[at], None if of_rows is None else of_rows[at], params, iterations)
            for at in (positions(len(y), number, ranks) for number in range(ranks))
        ]
        try:
            return lightgbm.Booster(model_str=together(parts))
        except ValueError as error:
            message = f"{candidate.model.estimator} refuses to fit: {first_line(error)}"
            raise CandidateError(f"models.{candidate.name}: {message}") from error

    boosters = [learnt(one) for one in (estimator, *training.others_of(candidate, estimator))]
    # a fit on a row of each class, or of the least and the greatest number (the first ones may all be 0, which some
    # objectives refuse), makes the estimator a fitted one, whose trees are then those of the ranks
    ends = np.array([np.argmin(labels), np.argmax(labels)])
    few = np.unique(labels, return_index=True)[1] if candidate.task.seen(y).size else ends
    training.fit_encoded(replace(candidate, seeds=1), estimator, X_encoded[few], y[few])
    estimator._Booster = boosters[0] if len(boosters) == 1 else seeds.mean(boosters)
    settle(estimator)
    return Fitted(features, estimator, candidate.task, candidate.task.seen(y), {}, candidate.model.preprocessing.dates)
