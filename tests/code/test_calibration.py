"""Calibration: it mends probabilities that promise too much or too little, leaves good ones alone, and never cheats."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tabular.evaluation import bootstrap
from tabular.metrics.classification import CALIBRATION_ERROR, as_predictions, log_losses, metric
from tabular.model.calibration import FEWEST_OF_A_CLASS, FEWEST_ROWS, METHODS, Calibration, Learnt, learn
from tabular.model.cross_validation import CrossValidation, joined
from tabular.model.tasks import Classification
from tabular.model.thresholds import tune
from tabular.model.training import Candidate, OnFold
from tabular.sections.models import Model

Array = np.ndarray
FOLDS = 4


def made(n: int, k: int = 2, *, slope: float = 1.0, offset: float = 0.0, seed: int = 0) -> tuple[Array, Array, Array]:
    """Probabilities whose logits are `slope` times the true ones, the truth, and folds."""
    generator = np.random.default_rng(seed)
    true = _softmax(generator.normal(0, 1.5, (n, k)))
    y = np.minimum((true.cumsum(axis=1) < generator.random((n, 1))).sum(axis=1), k - 1)
    said = slope * np.log(true)
    said[:, 0] += offset
    return _softmax(said), y, generator.permutation(n) % FOLDS


def _softmax(scores: Array) -> Array:
    parts = np.exp(scores - scores.max(axis=1, keepdims=True))
    return parts / parts.sum(axis=1, keepdims=True)


def bent(n: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """Probabilities of two classes that no sigmoid mends: all the unsure ones are true in a third of the rows."""
    generator = np.random.default_rng(seed)
    said = generator.random(n)
    true = np.where(said < 0.3, 0.05, np.where(said < 0.8, 0.35, 0.95))
    y = (generator.random(n) < true).astype(int)
    return np.column_stack([1 - said, said]), y, generator.permutation(n) % FOLDS


def learnt(rows: tuple[Array, Array, Array], how: str = "auto", **about: Any) -> Learnt:
    probabilities, y, fold = rows
    return learn(probabilities, y, fold, how=how, positive=1, **about)


def loss(y: Array, probabilities: Array, weights: Array | None = None) -> float:
    return float(np.average(log_losses(probabilities[np.arange(len(y)), y]), weights=weights))


def error(y: Array, probabilities: Array, weights: Array | None = None) -> float:
    predictions = as_predictions(y, probabilities, classes=probabilities.shape[1], weights=weights)
    return metric(CALIBRATION_ERROR).score(predictions)


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize(("slope", "offset"), [(2.0, 0.0), (0.5, 0.0), (1.0, 1.0)])
@pytest.mark.parametrize("seeds", [range(8), pytest.param(range(8, 25), marks=pytest.mark.long)], ids=["few", "more"])
def test_probabilities_that_are_off_are_mended_on_rows_that_nothing_was_learnt_from(
    slope: float, offset: float, k: int, seeds: range
) -> None:
    for seed in seeds:
        found = learnt(made(1500, k, slope=slope, offset=offset, seed=seed)).calibration
        probabilities, y, _ = made(8000, k, slope=slope, offset=offset, seed=seed + 1000)
        mended = found.apply(probabilities)
        assert found.method != "none"
        assert loss(y, mended) < loss(y, probabilities)
        assert error(y, mended) < error(y, probabilities)
        assert mended.sum(axis=1) == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("n", [150, 1500])
def test_good_probabilities_are_left_alone_in_nearly_all_tables(n: int, k: int) -> None:
    chosen = [learnt(made(n, k, seed=seed)).calibration.method for seed in range(60)]
    assert chosen.count("none") >= 56


def test_what_no_sigmoid_mends_isotonic_regression_does() -> None:
    found = learnt(bent(6000)).calibration
    probabilities, y, _ = bent(6000, seed=1)
    assert found.method == "isotonic"
    assert list(found.losses) == list(METHODS)
    assert error(y, found.apply(probabilities)) < 0.03
    assert error(y, probabilities) > 0.1


def test_of_few_rows_or_of_a_rare_class_isotonic_regression_is_not_chosen() -> None:
    probabilities, y, fold = bent(FEWEST_ROWS - 1)
    assert "isotonic" not in learnt((probabilities, y, fold)).calibration.losses
    probabilities, y, fold = bent(6000)
    few = np.r_[np.flatnonzero(y == 0), np.flatnonzero(y == 1)[: FEWEST_OF_A_CLASS - 1]]
    assert "isotonic" not in learnt((probabilities[few], y[few], fold[few])).calibration.losses
    assert learnt((probabilities[few], y[few], fold[few]), "isotonic").calibration.method == "isotonic"  # as was said


def test_of_two_classes_sigmoid_is_platts() -> None:
    probabilities, y, _ = made(3000, slope=2.0)
    found = learnt((probabilities, y, np.arange(3000) % 2), "sigmoid").calibration
    n = np.bincount(y)
    targets = np.where(y == 1, (n[1] + 1) / (n[1] + 2), 1 / (n[0] + 2))
    logits = np.log(probabilities + found.floor)[:, 1] - np.log(probabilities + found.floor)[:, 0]
    # soft targets are rows of both classes that count so much
    rows, classes = np.r_[logits, logits][:, None], np.repeat([1, 0], 3000)
    theirs = LogisticRegression(C=1e10, tol=1e-10).fit(rows, classes, sample_weight=np.r_[targets, 1 - targets])
    assert found.slope == pytest.approx(theirs.coef_[0, 0], rel=1e-4)
    assert found.offsets[1] - found.offsets[0] == pytest.approx(theirs.intercept_[0], abs=1e-4)


@pytest.mark.parametrize("how", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("k", [2, 3])
def test_a_folds_own_rows_have_no_say_in_how_they_are_calibrated(k: int, how: str) -> None:
    probabilities, y, fold = made(600, k, slope=2.0)
    before = learnt((probabilities, y, fold), how).cross_fitted
    other = np.where(fold == 1, (y + 1) % k, y)
    after = learnt((probabilities, other, fold), how).cross_fitted
    assert np.array_equal(before[fold == 1], after[fold == 1])
    assert not np.array_equal(before[fold != 1], after[fold != 1])


@pytest.mark.parametrize("how", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("k", [2, 3])
def test_no_probability_becomes_0_or_1_or_costs_without_bound(k: int, how: str) -> None:
    probabilities, y, fold = made(400, k)
    sure = np.eye(k)[y]  # right in every row, and certain
    found = learnt((sure, y, fold), how).calibration
    for asked in (sure, probabilities, np.eye(k)):
        answers = found.apply(asked)
        assert np.isfinite(answers).all()
        assert answers.min() > 1 / (4 * len(y))
        assert answers.max() < 1
    assert loss(y, found.apply(np.roll(sure, 1, axis=1))) < np.log(4 * len(y))


@pytest.mark.parametrize("how", ["sigmoid", "isotonic"])
def test_a_class_that_a_fold_or_all_rows_lack_is_no_obstacle(how: str) -> None:
    probabilities, y, fold = made(600, 3)
    fold = np.where(y == 2, 0, fold)  # only fold 0 has rows of it
    for rows in (np.ones(600, bool), y != 2):
        found = learnt((probabilities[rows], y[rows], fold[rows]), how)
        assert np.isfinite(found.cross_fitted).all()
        assert np.isfinite(found.calibration.apply(probabilities)).all()
        assert found.cross_fitted.sum(axis=1) == pytest.approx(1)


def test_answers_that_are_worse_than_none_are_not_reversed() -> None:
    probabilities, y, fold = made(2000)
    found = learnt((probabilities[:, ::-1], y, fold), "sigmoid").calibration
    assert found.slope == 0
    assert found.apply(probabilities)[:, 1] == pytest.approx(np.mean(y), abs=1e-3)


@pytest.mark.parametrize("how", ["auto", *METHODS])
@pytest.mark.parametrize("k", [2, 3])
def test_plain_values_bring_it_back(k: int, how: str) -> None:
    probabilities, *rest = made(1500, k, slope=2.0)
    found = learnt((probabilities, *rest), how).calibration
    again = Calibration.from_dict(json.loads(json.dumps(found.as_dict())))
    assert again == found
    assert np.array_equal(again.apply(probabilities), found.apply(probabilities))


@pytest.mark.parametrize("how", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("k", [2, 3])
def test_a_row_of_weight_2_teaches_as_much_as_two_rows(k: int, how: str) -> None:
    rows = made(500, k, slope=2.0)
    weights = np.random.default_rng(1).integers(1, 4, 500)
    one = learnt(rows, how, weights=weights.astype(float))
    places = np.repeat(np.arange(500), weights)
    other = learnt(tuple(part[places] for part in rows), how)  # type: ignore[arg-type]
    assert one.calibration.apply(rows[0]) == pytest.approx(other.calibration.apply(rows[0]), abs=1e-9)
    assert one.cross_fitted[places] == pytest.approx(other.cross_fitted, abs=1e-9)
    for told in ("losses", "errors"):
        assert getattr(one.calibration, told) == pytest.approx(getattr(other.calibration, told))


@pytest.mark.slow
def test_the_scale_of_weights_makes_no_choice() -> None:
    chosen = []
    for seed in range(20):
        rows = made(500, seed=seed)
        weights = np.random.default_rng(seed).uniform(0.5, 1.5, 500)
        chosen += [learnt(rows, weights=scale * weights).calibration.method for scale in (1e-3, 1.0, 1e3)]
    assert chosen.count("none") >= 56


def test_of_one_fold_nothing_is_learnt() -> None:
    probabilities, y, _ = made(300, slope=2.0)
    found = learnt((probabilities, y, np.zeros(300, int)), "sigmoid")
    assert found.calibration.method == "none"
    assert found.cross_fitted is probabilities


def cross_validated(calibrate: str, threshold: float | str = 0.5) -> tuple[CrossValidation, list[OnFold]]:
    """A cross-validation of a model that is too sure, and the answers of its folds."""
    probabilities, y, fold = made(2000, slope=3.0, offset=1.0)
    folds = [OnFold(np.flatnonzero(fold == n), y[fold == n], probabilities[fold == n], {}) for n in range(FOLDS)]
    candidate = Candidate("mine", Model(estimator="a.B"), {}, (), Classification(2, 1), 0, threshold, calibrate)
    return joined(candidate, folds, 0.0, ["log_loss", "f1_score"]), folds


def test_a_cross_validation_is_of_calibrated_answers_and_says_what_they_were_before() -> None:
    (none, folds), (auto, _) = cross_validated("none"), cross_validated("auto")
    assert auto.calibration is not None
    told = auto.of_calibration()
    assert auto.summary()["cv_log_loss_mean"] < none.summary()["cv_log_loss_mean"]
    assert told["cv_log_loss_uncalibrated"] == pytest.approx(none.summary()["cv_log_loss_mean"])
    assert told["cv_log_loss_calibrated"] == pytest.approx(auto.summary()["cv_log_loss_mean"])
    assert told["cv_calibration_error"] < 0.05
    assert told["cv_calibration_error_uncalibrated"] > 0.1
    assert np.array_equal(auto.calibrated(folds[0].outputs), auto.calibration.apply(folds[0].outputs))
    assert CrossValidation.from_dict(json.loads(json.dumps(auto.as_dict())), None) == replace(
        auto, scores=[dict(one) for one in auto.scores], out_of_fold=None
    )


def test_a_threshold_is_tuned_on_calibrated_answers() -> None:
    found, folds = cross_validated("sigmoid", "f1_score")
    assert found.out_of_fold is not None
    rows = found.out_of_fold
    y = np.concatenate([fold.y for fold in folds])
    answers = learn(rows.outputs, y, rows.fold, how="sigmoid", positive=1).cross_fitted
    expected = tune([(y[rows.fold == n], answers[rows.fold == n]) for n in range(FOLDS)], "f1_score", positive=1)
    assert found.threshold == expected.whole
    assert found.threshold != cross_validated("none", "f1_score")[0].threshold


def test_an_earlier_cross_validation_calibrates_nothing() -> None:
    values = {"scores": [], "curves": {}, "seconds": 0.0, "threshold": 0.5}
    earlier = CrossValidation.from_dict(values, None)
    assert earlier.calibrated(np.eye(2)).tolist() == np.eye(2).tolist()
    assert earlier.of_calibration() == {}


@pytest.mark.parametrize(("k", "slope"), [(2, 1.5), (3, 1.5)])
def test_the_calibration_error_is_the_mean_distance_in_bins_of_equal_rows(k: int, slope: float) -> None:
    probabilities, y, _ = made(1000, k, slope=slope)
    score, came = (probabilities[:, 1], y == 1) if k == 2 else (probabilities.max(1), probabilities.argmax(1) == y)
    tenths = np.array_split(np.argsort(score), 10)
    expected = np.mean([abs(score[rows].mean() - came[rows].mean()) for rows in tenths])
    assert error(y, probabilities) == pytest.approx(expected)


def test_rows_of_one_probability_lie_in_one_bin() -> None:
    y = np.arange(100) % 4 == 0
    assert error(y.astype(int), np.tile([0.75, 0.25], (100, 1))) == pytest.approx(0)
    assert error(y.astype(int), np.tile([0.65, 0.35], (100, 1))) == pytest.approx(0.1)


def test_the_calibration_error_of_weights_is_that_of_repeated_rows() -> None:
    probabilities, y, _ = made(300, slope=2.0)
    weights = np.random.default_rng(0).integers(0, 4, 300)
    places = np.repeat(np.arange(300), weights)
    assert error(y, probabilities, weights.astype(float)) == pytest.approx(error(y[places], probabilities[places]))


@pytest.mark.slow
def test_the_interval_of_the_calibration_error_takes_off_what_noise_adds() -> None:
    held = below = 0
    for seed in range(40):
        probabilities, y, _ = made(500, seed=seed)
        found = bootstrap.wide_interval(as_predictions(y, probabilities, classes=2), CALIBRATION_ERROR, seed=0)
        held += found.low == 0  # as it truly is
        probabilities, y, _ = made(500, slope=2.5, seed=seed)
        found = bootstrap.wide_interval(as_predictions(y, probabilities, classes=2), CALIBRATION_ERROR, seed=0)
        below += found.low > 0
    assert held >= 36
    assert below >= 36
