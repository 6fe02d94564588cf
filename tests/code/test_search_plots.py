"""Pictures of a search, with trials that failed, were pruned, or had no use for a hyperparameter."""

import warnings

import numpy as np
import pytest

from tabular.plots.search_plots import (
    FEWEST_TRIALS,
    MOST_SLICES,
    hyperparameter_importance,
    importances,
    search_history,
    search_slices,
)
from tests.drawn import HARD_NAMES, assert_drawn, text_of

pytestmark = pytest.mark.slow

ABOUT = {"metric": "f1_score", "greater_is_better": True, "title": "The search"}
SCORES = [[], [np.nan] * 3, [0.5], [0.1, np.nan, 0.9, 0.4], list(np.linspace(0, 1, 500))]


@pytest.fixture(autouse=True)
def every_warning_is_an_error():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def history(scores, complete=None, **options):
    whole = [True] * len(scores) if complete is None else complete
    return search_history(scores, list(range(len(scores))), whole, **{**ABOUT, **options})


@pytest.mark.parametrize("scores", SCORES)
@pytest.mark.parametrize("greater_is_better", [True, False])
def test_a_history_is_drawn(scores, greater_is_better, tmp_path):
    assert_drawn(history(scores, greater_is_better=greater_is_better), tmp_path)


@pytest.mark.parametrize(("greater_is_better", "best"), [(True, [0.1, 0.1, 0.9, 0.9]), (False, [0.1, 0.1, 0.1, 0.04])])
def test_the_best_so_far_passes_over_trials_that_failed_or_were_pruned(greater_is_better, best):
    scores = [0.1, np.nan, 0.9, 0.04, 1.0, 0.0]
    figure = history(scores, [True, False, True, True, False, False], greater_is_better=greater_is_better)
    line = next(line for line in figure.axes[0].lines if line.get_drawstyle() == "steps-post")
    assert line.get_ydata().tolist() == [*best, best[-1], best[-1]]
    words = text_of(figure)
    assert "1 failed trial" in words
    assert "pruned" in words


def test_a_history_says_what_any_model_has_to_be_above():
    assert "the classes' shares alone score 0.25" in text_of(history([0.5], baseline=0.25))


def columns(n, seed=0):
    generator = np.random.default_rng(seed)
    return {
        "rate": (10 ** generator.uniform(-3, 0, n)).tolist(),
        "leaves": generator.integers(2, 9, n).tolist(),
        "kind": generator.choice(["a", "b"], n).tolist(),
        "drop": [None if i % 3 else float(i) for i in range(n)],
    }


@pytest.mark.parametrize("n", [0, 1, FEWEST_TRIALS, 80])
def test_slices_and_importances_are_drawn(n, tmp_path):
    scores = [np.nan if i % 7 == 3 else i / 80 for i in range(n)]
    assert_drawn(search_slices(columns(n), scores, [i % 2 == 0 for i in range(n)], **ABOUT), tmp_path)
    assert_drawn(hyperparameter_importance(columns(n), scores, title="What mattered"), tmp_path)


def test_hard_names_survive(tmp_path):
    hard = {name: list(range(30)) for name in HARD_NAMES}
    scores = np.linspace(0, 1, 30)
    for figure in (
        search_slices(hard, scores, [True] * 30, **ABOUT),
        hyperparameter_importance(hard, scores, title="$"),
    ):
        assert_drawn(figure, tmp_path)
        assert "_hidden" in text_of(figure)


def test_of_many_hyperparameters_the_first_are_drawn(tmp_path):
    many = {f"h{i}": [1.0, 2.0] for i in range(MOST_SLICES + 3)}
    figure = search_slices(many, [0.1, 0.2], [True, True], **ABOUT)
    assert_drawn(figure, tmp_path)
    assert f"the first {MOST_SLICES} of {MOST_SLICES + 3} hyperparameters" in text_of(figure)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_decides_the_score_matters_most(seed):
    found = columns(100, seed)
    for name, scores in {
        "rate": [abs(np.log10(rate) + 1.5) for rate in found["rate"]],
        "leaves": found["leaves"],
        "kind": [kind == "a" for kind in found["kind"]],
    }.items():
        shares = importances(found, scores)
        assert max(shares, key=shares.get) == name
        assert shares[name] > 0.7
        assert sum(shares.values()) == pytest.approx(1)


def test_a_number_that_some_trials_have_no_use_for_is_still_a_number():
    found = []
    for seed in range(6):
        generator = np.random.default_rng(seed)
        # as texts they would be in another order, 1e-05 after 0.5, and harder to learn from
        rates = [None if place % 10 == 0 else float(10 ** generator.uniform(-7, 0)) for place in range(40)]
        scores = [0.5 if rate is None else np.log10(rate) for rate in rates]
        found.append(importances({"rate": rates, "noise": generator.random(40).tolist()}, scores)["rate"])
    assert np.mean(found) > 0.995


def test_too_few_trials_or_equal_ones_tell_nothing():
    assert importances(columns(FEWEST_TRIALS - 1), range(FEWEST_TRIALS - 1)) == {}
    assert importances(columns(40), [0.5] * 40) == {}


def test_importances_are_the_same_each_time():
    assert importances(columns(40), range(40)) == importances(columns(40), range(40))
