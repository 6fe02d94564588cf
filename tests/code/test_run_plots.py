"""Pictures of runs side by side, with runs that have no score, lack parameters, or differ in nothing."""

import warnings

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tabular.plots import style
from tabular.plots.run_plots import MOST_AXES, MOST_RUNS, parallel_coordinates, ranking
from tests.drawn import HARD_NAMES, assert_drawn, text_of

pytestmark = pytest.mark.slow

ABOUT = {"metric": "roc_auc", "greater_is_better": True, "title": "The best runs"}
SCORES = [[], [0.5], [np.nan] * 3, [0.9, np.nan, 0.4, np.inf, 1.8e308], [0.7] * 5, list(np.linspace(0, 1, 200))]
numbers = st.integers(-(10**15), 10**15) | st.floats(allow_nan=False, allow_infinity=False)
columns = st.lists(st.none() | numbers, min_size=4, max_size=4) | st.lists(
    st.none() | st.sampled_from(["gini", "None", "10", *HARD_NAMES]), min_size=4, max_size=4
)


@pytest.fixture(autouse=True)
def every_warning_is_an_error():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def run_names(scores):
    return [f"{place:08x} train lightgbm" for place in range(len(scores))]


def lines(figure):
    """The curves of a picture in the order in which they are drawn: their colours and their points."""
    from matplotlib.patches import PathPatch

    return [found for found in figure.axes[0].patches if isinstance(found, PathPatch)]


@pytest.mark.parametrize("scores", SCORES)
@pytest.mark.parametrize("greater_is_better", [True, False])
def test_a_ranking_is_drawn(scores, greater_is_better, tmp_path):
    about = {**ABOUT, "greater_is_better": greater_is_better}
    assert_drawn(ranking(run_names(scores), scores, [0.1] * len(scores), **about), tmp_path)


@pytest.mark.parametrize(("greater_is_better", "order"), [(True, [2, 0, 1]), (False, [1, 0, 2])])
def test_a_ranking_begins_with_the_best_run(greater_is_better, order):
    figure = ranking(["a", "b", "c"], [0.5, 0.4, 0.6], **{**ABOUT, "greater_is_better": greater_is_better})
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert [label.split()[0] for label in labels] == ["abc"[place] for place in order]
    assert f"{'more' if greater_is_better else 'less'} is better" in text_of(figure)


def test_a_bar_is_what_a_run_lacks_to_the_best():
    figure = ranking(["a", "b"], [0.5, 0.9], **ABOUT)
    bars = [patch.get_width() for patch in figure.axes[0].patches]
    assert bars == pytest.approx([0.0, -0.4])


def test_a_run_without_a_score_is_last_and_says_so():
    words = text_of(ranking(["a", "b"], [np.nan, 0.9], **ABOUT))
    assert words.index("b   0.9000") < words.index("a   n/a")


def test_deviations_are_drawn_where_they_are_known():
    assert "standard deviation" in text_of(ranking(["a", "b"], [0.5, 0.9], [None, 0.1], **ABOUT))
    assert "standard deviation" not in text_of(ranking(["a", "b"], [0.5, 0.9], [None, None], **ABOUT))


def test_of_many_runs_the_best_are_drawn():
    scores = list(np.linspace(0, 1, MOST_RUNS + 7))
    assert f"the first {MOST_RUNS} of {MOST_RUNS + 7} runs" in text_of(ranking(run_names(scores), scores, **ABOUT))


def drawn_columns(n, seed=0):
    generator = np.random.default_rng(seed)
    return {
        "rate": (10 ** generator.uniform(-6, 0, n)).tolist(),
        "leaves": generator.integers(2, 300, n).tolist(),
        "model": generator.choice(["forest", "boosted", "logistic_regression"], n).tolist(),
        "penalty": [0.0, *(10 ** generator.uniform(-6, 0, n)).tolist()][:n],
        "depth": [None if place % 3 else place for place in range(n)],
        "never": [None] * n,
    }


@pytest.mark.parametrize("scores", SCORES)
@pytest.mark.parametrize("greater_is_better", [True, False])
def test_parallel_coordinates_are_drawn(scores, greater_is_better, tmp_path):
    about = {**ABOUT, "greater_is_better": greater_is_better}
    assert_drawn(parallel_coordinates(drawn_columns(len(scores)), scores, **about), tmp_path)


@pytest.mark.parametrize("greater_is_better", [True, False])
def test_the_best_run_is_drawn_over_the_others_in_red_and_ends_on_top(greater_is_better):
    from matplotlib.colors import to_hex

    scores = [0.5, 0.9, 0.1, np.nan]
    about = {**ABOUT, "greater_is_better": greater_is_better}
    *others, best = lines(parallel_coordinates({"leaves": [1, 2, 3, 4]}, scores, **about))
    assert to_hex(best.get_edgecolor()) == style.RED
    assert best.get_path().vertices[0].tolist() == [0.0, 0.5 if greater_is_better else 1.0]
    assert best.get_path().vertices[-1].tolist() == [1.0, 1.0]
    assert len(others) == 2
    assert all(to_hex(line.get_edgecolor()) != style.RED for line in others)


def test_the_better_a_run_the_darker():
    figure = parallel_coordinates({"leaves": [1, 2, 3, 4]}, [0.9, 0.8, 0.5, 0.6], **ABOUT)
    ends = [(line.get_path().vertices[-1][1], sum(line.get_edgecolor()[:3])) for line in lines(figure)[:-1]]
    assert [light for _, light in sorted(ends)] == sorted((light for _, light in ends), reverse=True)


def test_a_run_without_a_parameter_is_drawn_below_its_axis():
    figure = parallel_coordinates({"depth": [4, None, 8]}, [0.9, 0.8, 0.7], **ABOUT)
    starts = sorted(line.get_path().vertices[0][1] for line in lines(figure))
    assert starts[0] < 0 == starts[1]
    assert "(none)" in text_of(figure)


def test_numbers_of_many_orders_of_magnitude_are_drawn_by_these():
    figure = parallel_coordinates({"rate": [0.001, 0.01, 0.1]}, [1, 2, 3], **ABOUT)
    assert sorted(line.get_path().vertices[0][1] for line in lines(figure)) == pytest.approx([0, 0.5, 1])


def test_a_zero_among_them_has_its_place_below_the_least():
    figure = parallel_coordinates({"penalty": [0, 0.001, 0.1]}, [1, 2, 3], **ABOUT)
    assert sorted(line.get_path().vertices[0][1] for line in lines(figure)) == pytest.approx([0, 0.2, 1])
    assert {"0", "0.01", "0.1"} <= set(text_of(figure).split("\n"))


def test_every_dot_of_a_ranking_lies_within_its_axes():
    axes = ranking(["a", "b"], [0.5, 0.9], **ABOUT).axes[0]
    low, high = axes.get_xlim()
    assert (low < 0.5, high > 0.9) == (True, True)


def test_runs_that_differ_in_nothing_or_are_alone_are_said_to():
    for columns, scores in [({}, [0.5, 0.6]), ({"a": [1]}, [0.5]), ({"a": [1, 2]}, [0.5, np.nan])]:
        assert "two runs that differ" in text_of(parallel_coordinates(columns, scores, **ABOUT))


def test_of_many_parameters_the_first_are_drawn(tmp_path):
    many = {f"h{place}": [1, 2] for place in range(MOST_AXES + 3)}
    figure = parallel_coordinates(many, [0.1, 0.2], **ABOUT)
    assert_drawn(figure, tmp_path)
    assert f"the first {MOST_AXES} of {MOST_AXES + 3} columns" in text_of(figure)
    assert f"h{MOST_AXES}" not in text_of(figure)


def test_hard_names_survive(tmp_path):
    hard = {name: [*HARD_NAMES] for name in HARD_NAMES[:5]}
    scores = list(range(len(HARD_NAMES)))
    assert_drawn(parallel_coordinates(hard, scores, **ABOUT), tmp_path)
    assert_drawn(ranking(HARD_NAMES, scores, **ABOUT), tmp_path)


@given(
    st.dictionaries(st.sampled_from("abc"), columns), st.lists(numbers | st.just(float("nan")), min_size=4, max_size=4)
)
@example({"a": [None] * 4}, [0, 0, 1, 2.2e-311])
def test_whatever_the_values_every_line_lies_within_the_picture(found, scores):
    figure = parallel_coordinates(found, scores, **ABOUT)
    low, high = figure.axes[0].get_ylim()
    for line in lines(figure):
        heights = line.get_path().vertices[:, 1]
        assert ((low <= heights) & (heights <= high)).all()
