"""What a trial of a search does: fit and score a candidate part by part, until it is seen that it cannot win.

What does not depend on the trial is done once: each fold's columns are encoded, and for LightGBM cut into bins, before
the first trial. Large tables are raced on a sample first.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tabular.data.folds import Fold
from tabular.errors import UserError
from tabular.metrics.classification import sign
from tabular.model import boosting, training
from tabular.model.estimators import build, takes_sparse
from tabular.model.training import Candidate
from tabular.problem import hyperparameters
from tabular.search.search import Evaluation, Point, best

Array: TypeAlias = np.ndarray[Any, Any]
# At each stage what is followed and the metric, the higher the better.
Curve: TypeAlias = list[tuple[float, float]]
# A fold with more than twice as many rows to fit on is raced on a sample of so many first, scored on as many at most.
SAMPLE_ROWS = 20_000
# So many scored rows tell candidates apart; what has more is raced on some of its folds.
ENOUGH_ROWS = 15_000
# On fewer scored rows than these a difference from the best says little.
TELLING_ROWS = 2_000
# Of the trials on the sample the best third goes on: the usual eta of successive halving.
ETA = 3
# Among so many trials one is seen to be of the best.
ENOUGH_TRIALS = 5
# Metrics that see each iteration's gain; one of labels moves in steps, and log_loss is followed in its place.
FOLLOWED = ("roc_auc", "average_precision", "log_loss", "brier_score")


@dataclass(frozen=True)
class Part:
    """A part of a trial: rows to fit on and rows to score."""

    rows: Fold
    is_sample: bool = False


def parts(folds: Sequence[Fold], *, latest_first: bool, seed: int) -> list[Part]:
    """The parts of a trial, the cheapest first.

    Parameters
    ----------
    folds
        Of the search.
    latest_first
        Whether the last fold, as one in time, is most like what is to be predicted.
    seed
        Of the sample.

    Returns
    -------
    list of Part
        Where a fold is large a sample of it; then folds until enough rows are scored, all of them where rows are few.

    Notes
    -----
    Small samples first as in Petrak, "Fast Subsampling Performance Estimates for Classification Algorithm Selection",
    ECML workshop 2000, and Klein, Falkner, Bartels, Hennig and Hutter, "Fast Bayesian Optimization of Machine Learning
    Hyperparameters on Large Datasets", AISTATS 2017.
    """
    order = list(reversed(folds)) if latest_first else list(folds)
    made = []
    if len(order[0].fit) > 2 * SAMPLE_ROWS:
        generator = np.random.default_rng(seed)
        sample = Fold(_sample(order[0].fit, generator), _sample(order[0].score, generator))
        made.append(Part(sample, is_sample=True))
    scored = 0
    for fold in order:
        made.append(Part(fold))
        scored += len(fold.score)
        if scored >= ENOUGH_ROWS:
            break
    return made


def _sample(rows: Array, generator: np.random.Generator) -> Array:
    if len(rows) <= SAMPLE_ROWS:
        return rows
    return np.sort(generator.choice(rows, SAMPLE_ROWS, replace=False))


def goes_on(scores: Sequence[float], parts: Sequence[Part], point: Point) -> bool:
    """Whether a trial may still win, after the parts that have these scores; the higher the better.

    The points that a search is given to begin with are not raced: the others are, against them. Where all of these have
    failed, others take their place until one has been evaluated whole.

    Notes
    -----
    On the sample it must be among the best third of the trials before it (successive halving: Jamieson and Talwalkar,
    "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS 2016; one trial after another as
    in Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020). On folds its mean must be above
    that of the best trial before it on the same folds (the aggressive racing of Hutter, Hoos and Leyton-Brown,
    "Sequential Model-Based Optimization for General Algorithm Configuration", LION 2011). While few rows are scored
    that would be chance: there it must be of the best third of those before it on the same folds, of equals all, which
    is successive halving once more, with folds in place of a sample.
    """
    complete = [trial for trial in point.seen if trial.is_complete]
    if point.is_given or (point.given_failed and not complete):
        return True
    done = parts[: len(scores)]
    if done[-1].is_sample:
        return _is_of_the_best(scores[0], point)
    folds = slice(1 if parts[0].is_sample else 0, len(scores))
    score = float(np.mean(scores[folds]))
    if sum(len(part.rows.score) for part in done if not part.is_sample) < TELLING_ROWS:
        others = [float(np.mean(trial.parts[folds])) for trial in point.seen if len(trial.parts) >= len(scores)]
        return len(others) < ENOUGH_TRIALS or score >= float(np.quantile(others, 1 - 1 / ETA))
    if not complete:
        return False  # it began beside the first ones, and there is nothing to race it with yet
    return score > float(np.mean(best(complete).parts[folds]))


def _is_of_the_best(score: float, point: Point) -> bool:
    seen = [trial.parts[0] for trial in point.seen if trial.parts]
    return bool(seen) and sum(other >= score for other in seen) < max(1, (len(seen) + 1) // ETA)


@dataclass
class _Encoded:
    """A part's rows as classifiers take them."""

    bins: boosting.Bins
    y_scored: Array


class _EncodedParts:
    """The rows of a trial's parts, encoded once for all trials, and the estimators that are fitted on them."""

    def __init__(self, candidate: Candidate, X: Any, y: Array, parts: Sequence[Part]) -> None:
        self.candidate, self.parts = candidate, parts
        self._X, self._y = X, y
        self._encoded: dict[int, _Encoded] = {}

    def prepare(self) -> None:
        """Encode and bin all parts now."""
        for number in range(len(self.parts)):
            bins = self.rows(number).bins
            if self.finds_iterations({}):
                bins.build(self.estimator({}, threads=1))

    def rows(self, number: int) -> _Encoded:
        """A part's rows by its number."""
        if number not in self._encoded:
            rows = self.parts[number].rows
            sparse = takes_sparse(self.estimator({}, threads=1))
            features, X_encoded = training.encode(self.candidate, self._X.iloc[rows.fit], sparse=sparse)
            bins = boosting.Bins(X_encoded, self._y[rows.fit], features.transform(self._X.iloc[rows.score]))
            self._encoded[number] = _Encoded(bins, self._y[rows.score])
        return self._encoded[number]

    def estimator(self, params: Mapping[str, Any], *, threads: int) -> Any:
        """An unfitted estimator with these hyperparameters over the candidate's own."""
        candidate = self.candidate
        given, where = {**candidate.params, **params}, f"models.{candidate.name}"
        return build(candidate.model, given, where=where, seed=candidate.seed, threads=threads)

    def finds_iterations(self, params: Mapping[str, Any]) -> bool:
        """Whether the number of iterations is found by staged scores."""
        model = self.candidate.model
        named = {**model.params, **dict.fromkeys(hyperparameters(model.space)), **self.candidate.params, **params}
        return boosting.finds_iterations(model.estimator, named)


class TrialRunner:
    """The parts of one model's search, with what its trials share.

    Parameters
    ----------
    candidate
        Whose hyperparameters are searched.
    X, y
        (n, columns) features and (n,) positions of classes.
    parts
        Of a trial.
    metric
        The name of the score.
    seconds
        That the search has, of which the fits are planned; None where trials alone end it.
    """

    def __init__(
        self, candidate: Candidate, X: Any, y: Array, parts: Sequence[Part], metric: str, seconds: float | None = None
    ) -> None:
        self.parts = parts
        self._most = boosting.affordable_iterations(seconds, max(len(part.rows.fit) for part in parts) * X.shape[1])
        self._encoded, self._metric = _EncodedParts(candidate, X, y, parts), metric

    def prepare(self) -> None:
        """Encode and bin all parts now: processes that are forked afterwards share them."""
        self._encoded.prepare()

    def run(self, point: Point, *, threads: int = 1) -> Evaluation:
        """A trial: fit and score part by part until it cannot win any more.

        Raises
        ------
        UserError
            Where the estimator refuses its hyperparameters, or a fold cannot be scored.
        """
        started = time.perf_counter()
        curves: list[Curve] = []
        for number in range(len(self.parts)):
            curves.append(self._part(number, point.params, threads))
            scores, stage = self._judged(curves)
            if number + 1 < len(self.parts) and not goes_on(scores, self.parts, point):
                break
        folds = [score for score, part in zip(scores, self.parts, strict=False) if not part.is_sample]
        return Evaluation(
            score=float(np.mean(folds or scores)),
            parts=tuple(scores),
            is_complete=len(scores) == len(self.parts),
            found=self._found(point.params, stage),
            seconds=time.perf_counter() - started,
        )

    def _judged(self, curves: Sequence[Curve]) -> tuple[list[float], int]:
        """Each part's score, and the stage that the folds have in common; the sample, being smaller, has its own."""
        scores, stage = [], 0
        samples = int(self.parts[0].is_sample)
        for group in (curves[:samples], curves[samples:]):
            if group:
                stage = _best_stage(group)
                scores += [curve[stage][1] for curve in group]
        return scores, stage

    def _found(self, params: Mapping[str, Any], stage: int) -> dict[str, Any]:
        if not self._encoded.finds_iterations(params):
            return {}
        every = boosting.iterations_a_stage(self._encoded.estimator(params, threads=1).get_params()["learning_rate"])
        return {"n_estimators": min((stage + 1) * every, self._most)}

    def _part(self, number: int, params: Mapping[str, Any], threads: int) -> Curve:
        """What is followed and the metric at each stage, both the higher the better; one where there are no stages."""
        rows = self._encoded.rows(number)
        estimator = self._encoded.estimator(params, threads=threads)
        present = np.unique(rows.bins.y)

        def score(probabilities: Array) -> tuple[float, float]:
            return self._scores(rows.y_scored, training.spread(probabilities, present, self._encoded.candidate.classes))

        if not self._encoded.finds_iterations(params):
            training.fit_encoded(self._encoded.candidate, estimator, rows.bins.X_encoded, rows.bins.y)
            return [score(estimator.predict_proba(rows.bins.Z_scored))]
        return boosting.staged_scores(estimator, rows.bins, score, most=self._most)

    def _scores(self, y: Array, probabilities: Array) -> tuple[float, float]:
        followed = self._metric if self._metric in FOLLOWED else "log_loss"
        found = training.score(self._encoded.candidate, y, probabilities, [followed, self._metric])
        signed = {name: sign(name) * value for name, value in found.items()}
        if math.isnan(signed[self._metric]):
            raise UserError(f"{self._metric} has no value: a fold's scored rows are of one class")
        return signed[followed], signed[self._metric]


def _best_stage(curves: Sequence[Curve]) -> int:
    """The stage at which the mean of what is followed is best: one number of iterations for all folds."""
    length = min(len(curve) for curve in curves)
    return int(np.argmax(np.mean([[followed for followed, _ in curve[:length]] for curve in curves], axis=0)))
