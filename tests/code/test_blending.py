"""Blends: never worse than the best candidate where they are chosen, and scored on rows that chose nothing."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular.errors import UserError
from tabular.metrics.regression import as_predictions
from tabular.model.blending import MOST_ROWS, Blend, learn, mean, measured_by, select
from tabular.model.cross_validation import OutOfFold
from tabular.model.tasks import Classification, Regression

Array = np.ndarray
FOLDS = 4


def folds(n: int, seed: int = 0) -> Array:
    """(n,) the fold of each row, in the order of the folds."""
    return np.sort(np.random.default_rng(seed).permutation(n) % FOLDS)


def of_classes(n: int, noise: list[float], seed: int = 0) -> tuple[list[OutOfFold], Array]:
    """Candidates that know the logit of two classes as far as their own noise lets them; and the truth."""
    draw = np.random.default_rng(seed)
    logit = draw.normal(0, 2, n)
    y = (draw.random(n) < 1 / (1 + np.exp(-logit))).astype(int)
    said = [1 / (1 + np.exp(-(logit + draw.normal(0, one, n)))) for one in noise]
    rows, fold = draw.permutation(n), folds(n)
    return [OutOfFold(rows, fold, np.column_stack([1 - one, one])[rows]) for one in said], y


def of_numbers(n: int, noise: list[float], seed: int = 0) -> tuple[list[OutOfFold], Array]:
    draw = np.random.default_rng(seed)
    y = draw.normal(10, 3, n)
    rows, fold = draw.permutation(n), folds(n)
    return [OutOfFold(rows, fold, (y + draw.normal(0, one, n))[rows, None]) for one in noise], y


def learnt(made: tuple[list[OutOfFold], Array], name: str, **about: Any):
    found, y = made
    task = Classification(2, 1) if found[0].outputs.shape[1] == 2 else Regression()
    return learn(Blend(task), found, y, name, names=[name], seed=0, **about)


@settings(max_examples=40)
@given(st.lists(st.floats(0.1, 3), min_size=1, max_size=5), st.integers(0, 99))
def test_a_blend_is_at_least_as_good_as_the_best_candidate_where_it_is_chosen(noise: list[float], seed: int) -> None:
    found, y = of_numbers(60, noise, seed)
    outputs = np.stack([one.outputs for one in found])

    def measure(predicted: Array) -> float:
        return -float(np.mean((predicted[:, 0] - y[found[0].rows]) ** 2))

    weights = select(outputs, measure)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    assert measure(mean(outputs, weights)) >= max(map(measure, outputs)) - 1e-12


def test_candidates_that_err_apart_are_blended_and_one_that_knows_nothing_is_left_out() -> None:
    found, y = of_numbers(2000, [1.0, 1.0, 30.0])
    weights = learnt((found, y), "rmse").weights
    assert weights[:2] == pytest.approx([0.5, 0.5], abs=0.1)
    assert weights[2] == 0


def test_of_equal_candidates_the_first_is_taken_and_alone() -> None:
    (one,), y = of_classes(500, [1.0])
    assert learnt(([one, one, one], y), "roc_auc").weights.tolist() == [1, 0, 0]


def test_the_score_of_a_blend_is_better_than_those_of_its_members() -> None:
    made = of_classes(3000, [1.5, 1.5, 1.5])
    alone = [learnt(([one], made[1]), "log_loss").result.summary()["cv_log_loss_mean"] for one in made[0]]
    assert learnt(made, "log_loss").result.summary()["cv_log_loss_mean"] < min(alone) - 0.01


@pytest.mark.parametrize("fold", range(FOLDS))
def test_no_row_is_blended_by_weights_that_have_seen_its_truth(fold: int) -> None:
    found, y = of_classes(400, [1.0, 1.2, 1.4])
    mine = found[0].fold == fold
    other = y.copy()
    other[found[0].rows[mine]] = 1 - y[found[0].rows[mine]]
    before, after = (learnt((found, truth), "roc_auc") for truth in (y, other))
    assert np.array_equal(*(one.result.out_of_fold.outputs[mine] for one in (before, after)))
    assert not np.array_equal(*(one.result.out_of_fold.outputs[~mine] for one in (before, after)))


def test_the_score_of_a_blend_of_candidates_that_know_nothing_is_that_of_chance() -> None:
    """Twelve of them, 60 times: by the rows that chose the weights, they would be better than chance each time."""
    honest, flattered = [], []
    for seed in range(60):
        draw = np.random.default_rng(seed)
        rows, fold, y = np.arange(200), folds(200), draw.integers(0, 2, 200)
        said = draw.random((12, 200))
        found = [OutOfFold(rows, fold, np.column_stack([1 - one, one])) for one in said]
        blended = learnt((found, y), "roc_auc")
        honest.append(blended.result.summary()["cv_roc_auc_mean"])
        outputs = mean(np.stack([one.outputs for one in found]), blended.weights)
        flattered.append(float(np.mean(outputs[y == 1, 1][:, None] > outputs[y == 0, 1])))
    error = np.std(honest) / np.sqrt(len(honest))
    assert abs(np.mean(honest) - 0.5) < 3 * error
    assert min(flattered) > 0.5


def test_weights_of_rows_count() -> None:
    (low, high), y = of_numbers(400, [0.0, 0.0])
    half = np.arange(400) < 200
    low = OutOfFold(low.rows, low.fold, low.outputs + np.where(half[low.rows], 0, 5)[:, None])
    high = OutOfFold(high.rows, high.fold, high.outputs + np.where(half[high.rows], 5, 0)[:, None])
    found = [learnt(([low, high], y), "rmse", weights=np.where(half, a, b)).weights for a, b in ((9, 1), (1, 9))]
    assert found[0][0] > 0.8
    assert found[1][1] > 0.8


def test_many_rows_are_sampled_by_the_seed_alone() -> None:
    made = of_numbers(2 * MOST_ROWS, [1.0, 1.1])
    assert learnt(made, "rmse").weights.tolist() == learnt(made, "rmse").weights.tolist()


def test_a_metric_of_labels_is_blended_by_the_log_loss() -> None:
    assert (measured_by("accuracy"), measured_by("roc_auc"), measured_by("mae")) == ("log_loss", "roc_auc", "mae")


def test_candidates_of_different_folds_are_refused() -> None:
    (one, other), y = of_numbers(100, [1.0, 1.0])
    with pytest.raises(UserError, match="cross-validated on different folds"):
        learnt(([one, OutOfFold(other.rows, other.fold[::-1], other.outputs)], y), "rmse")


def test_a_blend_of_numbers_keeps_the_predictions_that_its_intervals_are_learnt_from() -> None:
    found, y = of_numbers(400, [1.0, 1.0])
    kept = learnt((found, y), "rmse").result.out_of_fold
    assert np.array_equal(kept.rows, found[0].rows)
    score = as_predictions(y[kept.rows], kept.outputs[:, 0])
    assert np.sqrt(np.mean((score.predicted - score.y) ** 2)) < 0.9
