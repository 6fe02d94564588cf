"""The order of candidates: the gate first, then what cross-validation promises."""

import math

from hypothesis import given
from hypothesis import strategies as st

from tabular.evaluation.ranking import Promise, ranked

SCORES = st.floats(-1, 1) | st.just(math.nan)
PROMISES = st.lists(st.tuples(st.booleans(), SCORES, st.floats(0, 0.5), st.integers(1, 9)), min_size=1, max_size=8).map(
    lambda rows: [Promise(str(number), *row) for number, row in enumerate(rows)]
)


@given(PROMISES)
def test_who_passes_the_gate_comes_before_who_does_not(promises: list[Promise]) -> None:
    for ties in ("score", "smaller"):
        order = [next(one for one in promises if one.name == name) for name in ranked(promises, ties=ties)]
        assert sorted(one.name for one in order) == sorted(one.name for one in promises)
        assert [one.passes for one in order] == sorted((one.passes for one in order), reverse=True)


@given(PROMISES)
def test_the_first_has_the_best_score_of_those_that_pass(promises: list[Promise]) -> None:
    (first,) = [one for one in promises if one.name == ranked(promises)[0]]
    beside = [one.score for one in promises if one.passes == first.passes and not math.isnan(one.score)]
    assert math.isnan(first.score) or first.score == max(beside)
    assert not math.isnan(first.score) or not beside


def test_of_candidates_within_a_standard_error_the_smallest_wins_where_that_is_asked_for() -> None:
    promises = [
        Promise("blend", True, 0.90, 0.01, 900),
        Promise("forest", True, 0.895, 0.01, 500),
        Promise("linear", True, 0.891, 0.02, 10),
        Promise("constant", True, 0.889, 0.5, 1),
    ]
    assert ranked(promises) == ["blend", "forest", "linear", "constant"]
    assert ranked(promises, ties="smaller") == ["linear", "forest", "blend", "constant"]


def test_a_smaller_one_that_does_not_pass_the_gate_ties_with_none_that_does() -> None:
    promises = [Promise("forest", True, 0.9, 0.05, 500), Promise("linear", False, 0.9, 0.05, 10)]
    assert ranked(promises, ties="smaller") == ["forest", "linear"]
