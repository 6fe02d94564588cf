"""The threshold: scikit-learn's own choice among the same candidates, and never chosen by the rows that judge it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, TunedThresholdClassifierCV

from tabular.metrics.classification import classification_metrics
from tabular.model.thresholds import tune

Array = np.ndarray
few = settings(max_examples=10)
SCORERS = {"f1_score": "f1", "balanced_accuracy": "balanced_accuracy", "accuracy": "accuracy", "jaccard": "jaccard"}

JACCARD = pytest.param("jaccard", 3, marks=pytest.mark.long)  # it orders thresholds as F1 does


def table(seed: int, positives: float = 0.1) -> tuple[Array, Array]:
    return make_classification(600, 5, flip_y=0.1, weights=[1 - positives], random_state=seed)


def answered(X: Array, y: Array, folds: int = 4) -> tuple[list[tuple[Array, Array]], StratifiedKFold]:
    cuts = StratifiedKFold(folds)
    answers = [
        (y[score], LogisticRegression().fit(X[fit], y[fit]).predict_proba(X[score])) for fit, score in cuts.split(X, y)
    ]
    return answers, cuts


def mean_score(answers: list[tuple[Array, Array]], metric: str, threshold: float, positive: int = 1) -> float:
    about = {"classes": [0, 1], "positive": positive, "names": [metric], "threshold": threshold}
    return float(np.mean([classification_metrics(y, p, **about)[metric] for y, p in answers]))  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "seed"), [("f1_score", 0), ("balanced_accuracy", 1), ("accuracy", 2), JACCARD])
def test_it_is_as_good_as_the_one_that_scikit_learn_tunes(metric: str, seed: int) -> None:
    X, y = table(seed)
    answers, cuts = answered(X, y)
    found = tune(answers, metric, positive=1).whole
    theirs = TunedThresholdClassifierCV(LogisticRegression(), scoring=SCORERS[metric], cv=cuts).fit(X, y)
    # theirs tries others
    assert mean_score(answers, metric, found) >= mean_score(answers, metric, theirs.best_threshold_) - 0.02
    given_ours = TunedThresholdClassifierCV(
        LogisticRegression(), scoring=SCORERS[metric], cv=cuts, thresholds=np.array([0.0, found, 1.0])
    ).fit(X, y)
    assert mean_score(answers, metric, found) >= given_ours.best_score_ - 1e-12


@pytest.mark.slow
@few
@given(seed=st.integers(0, 50), metric=st.sampled_from([*SCORERS, "recall", "precision"]), positive=st.integers(0, 1))
def test_it_is_never_worse_than_one_half_on_the_folds(seed: int, metric: str, positive: int) -> None:
    answers, _ = answered(*table(seed))
    found = tune(answers, metric, positive=positive).whole
    assert mean_score(answers, metric, found, positive) >= mean_score(answers, metric, 0.5, positive)


@few
@given(seed=st.integers(0, 50), fold=st.integers(0, 3))
def test_a_folds_own_rows_have_no_say_in_the_threshold_that_it_is_judged_at(seed: int, fold: int) -> None:
    answers, _ = answered(*table(seed))
    y, probabilities = answers[fold]
    # other truths for the same probabilities, so that the same thresholds are tried
    negatives = np.flatnonzero(y == 0)
    changed = np.delete(y, negatives[:20]), np.delete(probabilities, negatives[:20], axis=0)
    others = [*answers[:fold], changed, *answers[fold + 1 :]]
    before, after = tune(answers, "f1_score", positive=1), tune(others, "f1_score", positive=1)
    assert before.without[fold] == after.without[fold]


def test_where_all_are_equally_good_it_is_one_half() -> None:
    y = np.array([0, 1] * 10)
    sure = np.column_stack([1.0 - y, y])
    assert tune([(y, sure), (y, sure)], "f1_score", positive=1).whole == 0.5


def test_a_rare_class_is_found_where_its_probabilities_are() -> None:
    generator = np.random.default_rng(0)
    y = (np.arange(4000) % 100 == 0).astype(int)
    positive = np.where(y == 1, generator.uniform(0.01, 0.03, 4000), generator.uniform(0, 0.011, 4000))
    positive[1] = 0.9  # one that stands out
    probabilities = np.column_stack([1 - positive, positive])
    found = tune([(y[:2000], probabilities[:2000]), (y[2000:], probabilities[2000:])], "f1_score", positive=1).whole
    assert 0.0105 < found < 0.012
