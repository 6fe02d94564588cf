"""The bootstrap: what is computed for many resamples at once is what each would have by itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular.evaluation import bootstrap
from tabular.evaluation.bootstrap import FEWEST, MOST_DRAWS, RESAMPLES_ONE_BY_ONE, drawn, draws, interval, resampled
from tabular.metrics.classification import METRICS, ClassPredictions, as_predictions, metric

Array = np.ndarray


@st.composite
def tables(draw: st.DrawFn) -> tuple[ClassPredictions, int]:
    """Answers with ties and, now and then, a class that is hardly there."""
    k, n = draw(st.integers(2, 4)), draw(st.integers(4, 40))
    seed = draw(st.integers(0, 2**31 - 1))
    generator = np.random.default_rng(seed)
    y = generator.integers(0, k, n) if draw(st.booleans()) else np.minimum(generator.poisson(0.2, n), k - 1)
    weights = generator.integers(0, 4, (n, k)) + 1e-3
    positive = draw(st.sampled_from([None, 0, 1])) if k == 2 else None
    return as_predictions(y, weights / weights.sum(axis=1, keepdims=True), classes=k, positive=positive), seed


@pytest.mark.parametrize("name", [*METRICS, "f1_macro", "neg_log_loss"])
@given(tables())
@settings(max_examples=25, deadline=None)
def test_a_resamples_metric_is_that_of_its_rows(name: str, table: tuple[ClassPredictions, int]) -> None:
    answers, seed = table
    if name == "neg_log_loss" and len(answers.present) < answers.probabilities.shape[1]:
        return  # scikit-learn's own refuses rows that lack a class
    if name == "neg_log_loss":
        answers = answers.taken(np.repeat(np.arange(len(answers.y)), 8))  # no resample lacks one, as good as surely
    values = resampled({"a": answers}, [name], seed=seed, resamples=7)["a"][name]
    (times,) = draws(len(answers.y), seed=seed, resamples=7)
    rows = np.arange(len(answers.y))
    alone = [metric(name).score(answers.taken(np.repeat(rows, one.astype(int)))) for one in times]
    np.testing.assert_allclose(values, alone, atol=1e-12)


def test_every_resample_has_as_many_rows_as_there_are() -> None:
    times = np.concatenate(list(draws(50, seed=1, resamples=100)))
    assert times.shape == (100, 50)
    assert (times.sum(axis=1) == 50).all()


def test_groups_are_drawn_whole() -> None:
    groups = np.repeat(["a", "b", "c", "d"], [1, 2, 3, 4])
    for times in draws(10, seed=1, groups=groups, resamples=50):
        for group in "abcd":
            assert (np.ptp(times[:, groups == group], axis=1) == 0).all()


def test_models_are_scored_on_the_same_resamples() -> None:
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, 100)
    p = generator.random(100)
    one = as_predictions(y, np.column_stack([1 - p, p]), classes=2)
    values = resampled({"a": one, "b": one}, ["roc_auc", "log_loss"], seed=3, resamples=20)
    for name in ("roc_auc", "log_loss"):
        assert (values["a"][name] == values["b"][name]).all()
        apart = resampled({"b": one}, [name], seed=3, resamples=20)["b"][name]
        assert (values["a"][name] == apart).all()


def test_a_table_of_many_rows_gets_fewer_resamples() -> None:
    rows = MOST_DRAWS // FEWEST
    assert sum(len(times) for times in draws(rows * 2, seed=0, groups=np.zeros(rows * 2))) == FEWEST


def test_a_metric_without_a_short_way_gets_fewer_resamples() -> None:
    y = np.tile([0, 1], 10)
    answers = as_predictions(y, np.column_stack([1 - y * 0.6, y * 0.6]), classes=2)
    assert len(resampled({"a": answers}, ["f1_macro"], seed=0)["a"]["f1_macro"]) == RESAMPLES_ONE_BY_ONE


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(300):
        right = np.random.default_rng(seed).random(200) < 0.8
        p = np.where(right, 0.9, 0.1)
        answers = as_predictions(np.ones(200, dtype=int), np.column_stack([1 - p, p]), classes=2)
        found = interval(resampled({"a": answers}, ["accuracy"], seed=seed, resamples=400)["a"]["accuracy"])
        covered += found.low <= 0.8 <= found.high
    assert 0.90 <= covered / 300 <= 0.99


@given(st.lists(st.floats(-5, 5), min_size=1), st.integers(0, 9))
def test_an_interval_passes_over_what_has_no_value(values: list[float], holes: int) -> None:
    assert interval(np.array([*values, *[np.nan] * holes])) == interval(np.array(values))


def test_where_nothing_has_a_value_there_is_no_interval() -> None:
    assert np.isnan(interval(np.array([np.nan])).low)


def test_of_a_table_with_more_rows_than_are_wanted_so_many_are_resampled() -> None:
    generator = np.random.default_rng(0)
    y, p = generator.integers(0, 2, 400), generator.random(400)
    one = as_predictions(y, np.column_stack([1 - p, p]), classes=2)
    rows = drawn(400, 100, seed=5)
    assert rows is not None
    assert len(set(rows.tolist())) == 100
    about = {"names": ["roc_auc", "log_loss"], "seed": 5, "resamples": 20}
    of_all, of_some = (resampled({"a": one}, most_rows=most, **about)["a"] for most in (None, 100))
    alone = resampled({"a": one.taken(rows)}, **about)["a"]
    for name in ("roc_auc", "log_loss"):
        np.testing.assert_array_equal(of_some[name], alone[name])
        assert np.std(of_some[name]) > 1.4 * np.std(of_all[name])


@pytest.mark.parametrize("most", [None, 10])
def test_of_a_table_with_as_many_rows_as_are_wanted_all_are_resampled(most: int | None) -> None:
    assert drawn(10, most, seed=0) is None


def test_groups_are_drawn_whole_into_what_is_resampled(monkeypatch) -> None:
    monkeypatch.setattr(bootstrap, "FEWEST_GROUPS", 3)
    groups = np.repeat(np.arange(40), 10)
    rows = drawn(400, 100, seed=0, groups=groups)
    assert rows is not None
    taken, counts = np.unique(groups[rows], return_counts=True)
    assert (len(taken), set(counts)) == (10, {10})
    assert len(np.unique(groups[drawn(400, 10, seed=0, groups=groups)])) == 3
