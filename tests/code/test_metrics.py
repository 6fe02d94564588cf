import time
import warnings

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given
from hypothesis import strategies as st

from tabular.errors import UserError
from tabular.metrics.classification import (
    METRICS,
    ClassPredictions,
    classification_metrics,
    metric,
    never_predicted,
    predicted_codes,
    scorer_names,
)

RANKS = ("roc_auc", "average_precision")


@st.composite
def scored_rows(draw, smallest=2, every_class=True):
    """y, probabilities and the number of classes; with ties, since probabilities of trees have many."""
    k = draw(st.integers(smallest, 6))
    seed = draw(st.integers(0, 2**32 - 1))
    n = draw(st.integers(k, 60))
    rng = np.random.default_rng(seed)
    y = np.r_[np.arange(k), rng.integers(0, k, n - k)] if every_class else rng.integers(0, k, n)
    weights = rng.integers(0, 5, (n, k)) + draw(st.sampled_from([0.0, 0.01, 3.0])) * np.eye(k)[y] + 1e-9
    return y, weights / weights.sum(axis=1, keepdims=True), k


def scored(y, probabilities, **options):
    """All metrics, with every warning an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return classification_metrics(y, probabilities, classes=range(probabilities.shape[1]), **options)


@given(scored_rows(smallest=3))
def test_more_than_two_classes_score_as_scikit_learn_says(rows):
    y, p, k = rows
    label = p.argmax(axis=1)
    macro = {"average": "macro", "zero_division": 0}
    expected = {
        "accuracy": sk.accuracy_score(y, label),
        "balanced_accuracy": sk.balanced_accuracy_score(y, label),
        "precision": sk.precision_score(y, label, **macro),
        "recall": sk.recall_score(y, label, **macro),
        "f1_score": sk.f1_score(y, label, **macro),
        "roc_auc": sk.roc_auc_score(y, p, multi_class="ovr", average="macro"),
        "log_loss": sk.log_loss(y, p, labels=range(k)),
        "brier_score": sk.brier_score_loss(y, p, labels=range(k)),
        "average_precision": sk.average_precision_score(y, p, average="macro"),
    }
    assert scored(y, p) == pytest.approx(expected, abs=1e-12)


@given(scored_rows().filter(lambda rows: rows[2] == 2), st.sampled_from([0, 1]))
def test_two_classes_score_the_positive_one_as_scikit_learn_says(rows, positive):
    y, p, _ = rows
    truth, score = (y == positive).astype(int), p[:, positive]
    label = (score >= 0.5).astype(int)
    expected = {
        "accuracy": sk.accuracy_score(truth, label),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, label),
        "precision": sk.precision_score(truth, label, zero_division=0),
        "recall": sk.recall_score(truth, label, zero_division=0),
        "f1_score": sk.f1_score(truth, label, zero_division=0),
        "roc_auc": sk.roc_auc_score(truth, score),
        "log_loss": sk.log_loss(y, p),
        "brier_score": sk.brier_score_loss(truth, score),
        "average_precision": sk.average_precision_score(truth, score),
    }
    assert scored(y, p, positive=positive) == pytest.approx(expected, abs=1e-12)


@given(scored_rows(every_class=False))
def test_absent_classes_neither_warn_nor_make_anything_but_ranks_undefined(rows):
    y, p, _ = rows
    values = scored(y, p)
    undefined = {name for name, value in values.items() if np.isnan(value)}
    assert undefined == (set(RANKS) if len(set(y)) == 1 else set())


def test_ranks_average_over_the_classes_that_are_present():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), 50)
    y = rng.choice([0, 2], 50)
    assert scored(y, p)["roc_auc"] == pytest.approx(np.mean([sk.roc_auc_score(y == c, p[:, c]) for c in (0, 2)]))


def test_log_loss_counts_a_class_that_never_occurs():
    p = np.array([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]])
    assert scored(np.array([0, 1]), p)["log_loss"] == pytest.approx(np.log(2))


@given(scored_rows(every_class=False), st.integers(0, 2**32 - 1))
def test_the_order_of_rows_changes_nothing(rows, seed):
    y, p, _ = rows
    order = np.random.default_rng(seed).permutation(len(y))
    assert scored(y[order], p[order]) == pytest.approx(scored(y, p), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("k", [2, 3, 100])
def test_a_perfect_prediction_has_the_best_value_of_every_metric(k):
    y = np.arange(5 * k) % k
    values = scored(y, np.eye(k)[y])
    best = {name: float(metric.greater_is_better) for name, metric in METRICS.items()}
    assert values == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("k", [2, 3])
def test_a_single_row_can_be_scored(k):
    values = scored(np.array([1]), np.full((1, k), 1 / k))
    assert values["log_loss"] == pytest.approx(np.log(k))


def test_one_half_is_the_positive_class():
    even = np.array([[0.5, 0.5]])
    assert [predicted_codes(even)[0], predicted_codes(even, positive=0)[0]] == [1, 0]


def test_single_precision_probabilities_neither_warn_nor_move_the_loss():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(7), 400)
    y = np.arange(400) % 7
    assert scored(y, p.astype(np.float32)) == pytest.approx(scored(y, p), abs=1e-5)


def test_values_are_python_floats_in_the_order_of_the_table():
    values = scored(np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]]))
    assert list(values) == list(METRICS)
    assert {type(value) for value in values.values()} == {float}


def test_only_the_named_metrics_are_computed():
    assert list(scored(np.array([0, 1]), np.eye(2), names=["log_loss", "accuracy"])) == ["accuracy", "log_loss"]


def test_an_unknown_name_is_told_with_the_known_ones():
    with pytest.raises(UserError, match=r"unknown metric 'auc'.*roc_auc"):
        scored(np.array([0, 1]), np.eye(2), names=["auc"])


def test_probabilities_that_are_not_finite_are_told():
    with pytest.raises(UserError, match="not finite"):
        scored(np.array([0, 1]), np.array([[np.nan, 1], [0, 1]]))


def test_no_rows_are_told():
    with pytest.raises(UserError, match="no rows"):
        scored(np.array([], dtype=int), np.empty((0, 2)))


@pytest.mark.parametrize(
    ("y", "shape", "positive"), [([0, 2], (2, 2), None), ([-1, 0], (2, 2), None), ([0], (2, 2), None), ([0], (1, 2), 2)]
)
def test_arguments_that_do_not_fit_are_refused(y, shape, positive):
    with pytest.raises(ValueError, match=r"codes|fit|code"):
        scored(np.array(y), np.full(shape, 0.5), positive=positive)


def test_all_metrics_cost_what_a_few_of_scikit_learns_do():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(2)
    y, p = rng.integers(0, 2, 24_000), rng.random(24_000)
    both = np.c_[1 - p, p]
    ours, one = [], []
    for _ in range(5):  # in turn: whatever else the machine does slows both
        start = time.process_time()
        scored(y, both)
        ours.append(time.process_time() - start)
        start = time.process_time()
        roc_auc_score(y, p)
        one.append(time.process_time() - start)
    assert min(ours) < 10 * min(one)


def fitted(classes: int):
    """A classifier, and rows that it was not fitted on."""
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression

    X, y = make_classification(300, 6, n_informative=4, n_classes=classes, flip_y=0.2, random_state=0)
    return LogisticRegression().fit(X[:200], y[:200]), X[200:], y[200:]


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", [name for name in scorer_names() if name not in METRICS])
def test_a_scorer_says_what_it_says_of_the_model_itself(name, classes):
    from sklearn.metrics import get_scorer

    model, X, y = fitted(classes)
    asked = {"classes": range(classes), "names": [name]}
    try:
        expected = float(get_scorer(name)(model, X, y))
    except ValueError:  # one for two classes, asked about four
        with pytest.raises(UserError, match=f"{name} cannot be told"):
            classification_metrics(y, model.predict_proba(X), **asked)
        return
    assert classification_metrics(y, model.predict_proba(X), **asked)[name] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["f1", "precision_macro", "roc_auc_ovr", "neg_log_loss", "matthews_corrcoef"])
def test_a_scorer_is_asked_about_the_positive_class_of_two(name):
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import get_scorer

    _, X, y = fitted(2)
    turned = LogisticRegression().fit(X, 1 - y)
    probabilities = turned.predict_proba(X)[:, ::-1]
    found = classification_metrics(y, probabilities, classes="ab", positive=0, names=[name])
    assert found[name] == pytest.approx(float(get_scorer(name)(turned, X, 1 - y)))


@pytest.mark.parametrize("name", ["r2", "neg_mean_squared_error", "adjusted_rand_score", "f1_samples", "rocauc"])
def test_what_is_no_scorer_of_classifiers_is_not_known(name):
    with pytest.raises(UserError, match="unknown metric"):
        metric(name)


def test_a_class_that_only_rows_without_weight_have_or_are_predicted_to_have_does_not_count():
    y, predicted = np.array([0, 1, 2, 0, 3]), np.array([0, 0, 0, 1, 0])
    probabilities = np.full((5, 4), 0.25)
    assert never_predicted(ClassPredictions(y, probabilities, predicted, None)) == [2, 3]
    weights = np.array([1.0, 1, 1, 0, 0])
    assert never_predicted(ClassPredictions(y, probabilities, predicted, None, weights)) == [1, 2]
