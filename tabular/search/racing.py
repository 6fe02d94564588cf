"""Racing: a trial of a search is evaluated part by part, and pruned once it is unlikely to win.

A part is a fold or, for a large table, a sample of a fold, which comes first. Work that does not depend on the trial is
done once, before the first trial: each fold's columns are encoded and, for LightGBM, cut into bins; once for each way
to encode them, where that is searched.
"""

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from tabular.data.datasets import give_back
from tabular.data.folds import Fold, some
from tabular.metrics.lookup import sign
from tabular.model import boosting, cross_validation, training, wide_tables
from tabular.model.binned import BinnedRows
from tabular.model.estimators import takes_sparse, treatment
from tabular.model.training import Candidate
from tabular.search.search import Evaluation, Point, best
from tabular.sections.models import hyperparameters

Array: TypeAlias = np.ndarray[Any, Any]
# At each stage of a fit, the score of the followed metric and that of the search's metric; higher is better for both.
Curve: TypeAlias = list[tuple[float, float]]
# The rows of a sample: a fold with more than twice as many rows to fit on is first raced on a sample of this many rows
# to fit on, and of at most this many rows to score.
SAMPLE_ROWS = 20_000
# This many scored rows are enough to tell candidates apart: no further folds are evaluated.
ENOUGH_ROWS = 15_000
# As many are enough of a wide table (`tabular.model.wide_tables`), where each fold takes minutes.
ENOUGH_ROWS_OF_WIDE = 5_000
# So many rows of a fold are scored of a large table: to rank some hundred thousands after each stage costs as much as
# the iterations between.
MOST_SCORED = 200_000
# So many iterations tell how long one takes.
FIRST_ITERATIONS = 5
# On fewer scored rows than this, a difference from the best trial says little.
TELLING_ROWS = 2_000
# The best 1/ETA of the trials go on: 3 is the usual eta of successive halving.
ETA = 3
# With fewer trials to compare with, whether a trial is among the best third cannot be told.
ENOUGH_TRIALS = 5
# Metrics that change with each iteration, by which the number of iterations is found. A metric of labels moves in
# steps: the task's loss is followed in its place.
FOLLOWED = ("roc_auc", "average_precision", "log_loss", "brier_score", "rmse", "mae", "r2", "mape", "rmsle")


@dataclass(frozen=True)
class Part:
    """A part of a trial's evaluation: the rows to fit on and the rows to score, of a fold or of a sample of one."""

    rows: Fold
    is_sample: bool = False


def parts(
    folds: Sequence[Fold], *, latest_first: bool, seed: int, enough: int = ENOUGH_ROWS, most: int | None = None
) -> list[Part]:
    """Choose the parts of a trial's evaluation, the cheapest first.

    Parameters
    ----------
    folds
        The folds of the search.
    latest_first
        Whether the last fold comes first, since folds in time order are the more like future rows the later they are.
    seed
        The seed of the sample.
    enough
        After how many scored rows no further folds are evaluated.
    most
        The most rows of a fold that are scored, drawn at random; None: all.

    Returns
    -------
    list of Part
        A sample of the first fold, if that is large; then folds until `enough` rows are scored, or all folds.

    Notes
    -----
    Small samples first: Petrak, "Fast Subsampling Performance Estimates for Classification Algorithm Selection",
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
        made.append(Part(fold if most is None else Fold(fold.fit, some(fold.score, most, seed))))
        scored += len(fold.score)
        if scored >= enough:
            break
    return made


def _sample(rows: Array, generator: np.random.Generator) -> Array:
    if len(rows) <= SAMPLE_ROWS:
        return rows
    return np.sort(generator.choice(rows, SAMPLE_ROWS, replace=False))


def goes_on(scores: Sequence[float], parts: Sequence[Part], point: Point) -> bool:
    """Whether a trial may still win after the parts evaluated so far; if not, it is pruned.

    The starting points of a search are never pruned; the other trials race against them. If all starting points have
    failed, no trial is pruned until one has been evaluated on all parts.

    Parameters
    ----------
    scores
        The trial's score on each part evaluated so far; higher is better.
    parts
        All parts of the evaluation.
    point
        The trial's point, with the earlier trials that it is compared with.

    Notes
    -----
    On the sample, the trial must be among the best third of the earlier trials (successive halving: Jamieson and
    Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS 2016; one trial after
    another as in Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020).

    On folds, the trial's mean score must be above that of the best earlier trial on the same folds (the aggressive
    racing of Hutter, Hoos and Leyton-Brown, "Sequential Model-Based Optimization for General Algorithm Configuration",
    LION 2011).

    While fewer than `TELLING_ROWS` rows are scored, a difference from the best trial may be chance. There the trial
    must be among the best third of the earlier trials on the same folds, ties included: successive halving again, with
    folds in place of a sample.
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
        return False  # it was started alongside the starting points: no complete trial to race against
    return score > float(np.mean(best(complete).parts[folds]))


def _is_of_the_best(score: float, point: Point) -> bool:
    seen = [trial.parts[0] for trial in point.seen if trial.parts]
    return bool(seen) and sum(other >= score for other in seen) < max(1, (len(seen) + 1) // ETA)


@dataclass
class _Encoded:
    """A part's encoded rows, and the (m,) truth and weights of the rows to score."""

    bins: boosting.Bins
    y_scored: Array
    weights_scored: Array | None


class _EncodedParts:
    """The parts' rows, encoded once for all trials of one preprocessing, and the estimators that are fitted on them."""

    def __init__(self, candidate: Candidate, X: Any, y: Array, weights: Array | None, parts: Sequence[Part]) -> None:
        self.candidate, self.parts = candidate, parts
        self._X, self._y, self._weights = X, y, weights
        # what is searched of the preprocessing, as it is where a trial does not say
        self._treatment = treatment(candidate.model, list(candidate.model.treatments()[0]))
        self._encoded: dict[tuple[int, tuple[Any, ...]], _Encoded] = {}

    def prepare(self) -> None:
        """Encode all parts now, and cut them into bins if the number of iterations is found by staged scores."""
        treatments = [{}, *self.candidate.model.treatments()]
        for number, params in itertools.product(range(len(self.parts)), treatments):
            bins = self.rows(number, params).bins
            if bins.make is not None or (self.finds_iterations({}) and bins.X_encoded is not None):
                with training.refusing(self.candidate, 1):
                    bins.build(self.estimator(params, threads=1))
                # the bins of a wide table need an eighth of the memory
                if wide_tables.is_wide(*self._X.shape) and self._bins_are_enough():
                    bins.free_rows()
                    give_back()  # before processes are forked that would hold it too

    def rows(self, number: int, params: Mapping[str, Any]) -> _Encoded:
        """The encoded rows of the part of this number, for a trial of these hyperparameters."""
        asked = {name: params.get(name, own) for name, own in self._treatment.items()}
        key = number, tuple(asked.values())
        if key not in self._encoded:
            self._encoded[key] = self._encode(number, asked)
        return self._encoded[key]

    def _encode(self, number: int, params: Mapping[str, Any]) -> _Encoded:
        rows, candidate = self.parts[number].rows, self._with(params)
        if isinstance(self._X, BinnedRows):
            return self._of_bins(self._X, rows, candidate)
        sparse = takes_sparse(self.estimator(params, threads=1))
        y_fit = self._y[rows.fit]
        features, X_encoded = training.encode(candidate, self._X.iloc[rows.fit], y_fit, sparse=sparse)
        of_fit, of_score = (None if self._weights is None else self._weights[side] for side in (rows.fit, rows.score))
        Z_scored = features.transform(self._X.iloc[rows.score])
        return _Encoded(
            boosting.Bins(X_encoded, y_fit, Z_scored, candidate.task, of_fit), self._y[rows.score], of_score
        )

    def _of_bins(self, X: BinnedRows, rows: Fold, candidate: Candidate) -> _Encoded:
        scored = np.sort(rows.score)  # as they lie among the bins
        of_score = None if self._weights is None else self._weights[scored]
        return _Encoded(X.bins(candidate, self._y, rows, self._weights), self._y[scored], of_score)

    def _with(self, params: Mapping[str, Any]) -> Candidate:
        return replace(self.candidate, params={**self.candidate.params, **params})

    def estimator(self, params: Mapping[str, Any], *, threads: int) -> Any:
        """Make an unfitted estimator; `params` replace the candidate's own hyperparameters of the same name."""
        return training.unfitted(self._with(params), threads=threads)

    def finds_iterations(self, params: Mapping[str, Any]) -> bool:
        """Whether the number of iterations is found by staged scores: see `tabular.model.boosting`."""
        model = self.candidate.model
        named = {**model.params, **dict.fromkeys(hyperparameters(model.space)), **self.candidate.params, **params}
        return boosting.finds_iterations(model.estimator, named)

    def _bins_are_enough(self) -> bool:
        """Whether no trial needs the encoded rows beside their bins."""
        model = self.candidate.model
        asked = {*hyperparameters(model.space), *(name for point in model.start for name in point)}
        return boosting.fits_on_bins(asked)


class TrialRunner:
    """Evaluates the trials of one model's search, on encoded rows that all trials share.

    Parameters
    ----------
    candidate
        The candidate whose hyperparameters are searched.
    X, y
        (n, columns) features and (n,) class codes or numbers.
    parts
        The parts of each trial's evaluation, from `parts`.
    metric
        The name of the search's metric.
    seconds
        The length of the search in seconds, which limits the iterations of a fit; None if only the number of trials
        limits the search.
    weights
        (n,) how much each row counts, above 0; None where all count alike.
    """

    def __init__(
        self,
        candidate: Candidate,
        X: Any,
        y: Array,
        parts: Sequence[Part],
        metric: str,
        seconds: float | None = None,
        weights: Array | None = None,
    ) -> None:
        self.candidate, self.parts = candidate, parts
        rows, columns = max(len(part.rows.fit) for part in parts), X.shape[1]
        self._most = boosting.affordable_iterations(seconds, rows * columns)
        if isinstance(X, BinnedRows):
            self._most = min(self._most, boosting.iterations_of_large(rows, columns))
        self._encoded, self._metric = _EncodedParts(candidate, X, y, weights, parts), metric

    @property
    def most_iterations(self) -> int | None:
        """The most iterations of a fit whose number of iterations is found; None where it is given or searched."""
        return self._most if self._encoded.finds_iterations({}) else None

    def prepare(self) -> None:
        """Encode all parts now, so that processes that are forked afterwards share them in memory."""
        self._encoded.prepare()

    def run(self, point: Point, *, threads: int = 1) -> Evaluation:
        """Evaluate a trial: fit and score part by part, until all parts are scored or the trial is pruned.

        Raises
        ------
        UserError
            The estimator refuses its hyperparameters, or a fold cannot be scored.
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

    def seconds_an_iteration(self, *, threads: int) -> float:
        """How long an iteration takes in the largest part, by the first ones of a fit that is made for this alone.

        Raises
        ------
        CandidateError
            The estimator refuses its own hyperparameters; a trial may have others.
        """
        started = time.perf_counter()
        rows, estimator = self._encoded.rows(len(self.parts) - 1, {}), self._encoded.estimator({}, threads=threads)
        with training.refusing(self.candidate, threads):
            boosting.final_score(estimator, rows.bins, lambda raw: (0.0, 0.0), iterations=FIRST_ITERATIONS)
        return (time.perf_counter() - started) / FIRST_ITERATIONS

    def _judged(self, curves: Sequence[Curve]) -> tuple[list[float], int]:
        """Each part's score at the best stage, and the number of that stage.

        All folds are scored at one common stage. The sample is smaller, and has a best stage of its own.
        """
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
        """Fit one part, and return its curve; the curve of a fit without stages has one point."""
        rows = self._encoded.rows(number, params)
        estimator = self._encoded.estimator(params, threads=threads)
        task = self.candidate.task
        seen = task.seen(rows.bins.y)

        def score(found: Array) -> tuple[float, float]:
            return self._scores(rows.y_scored, task.whole(found, seen), rows.weights_scored)

        if self._encoded.finds_iterations(params):
            return boosting.staged_scores(estimator, rows.bins, score, most=self._most)
        if rows.bins.X_encoded is None:
            iterations = estimator.get_params()["n_estimators"]
            return [boosting.final_score(estimator, rows.bins, score, iterations=iterations)]
        fitted = (rows.bins.X_encoded, rows.bins.y)
        training.fit_encoded(self.candidate, estimator, *fitted, weights=rows.bins.weights, threads=threads)
        with training.limited(threads):
            outputs = task.outputs(estimator, rows.bins.Z_scored, seen)
        return [self._scores(rows.y_scored, outputs, rows.weights_scored)]

    @property
    def _followed(self) -> str:
        """The metric by which the number of iterations is found."""
        return self._metric if self._metric in FOLLOWED else self.candidate.task.loss

    def _scores(self, y: Array, outputs: Array, weights: Array | None) -> tuple[float, float]:
        task = self.candidate.task
        followed = self._followed
        found = cross_validation.score(self.candidate, y, outputs, [followed, self._metric], weights=weights)
        signed = {name: sign(name) * value for name, value in found.items()}
        if math.isnan(signed[self._metric]):
            raise task.no_value(self._metric, y, outputs)
        return signed[followed], signed[self._metric]


def _best_stage(curves: Sequence[Curve]) -> int:
    """The stage with the best mean of the followed score, so that all folds have one number of iterations."""
    length = min(len(curve) for curve in curves)
    return int(np.argmax(np.mean([[followed for followed, _ in curve[:length]] for curve in curves], axis=0)))
