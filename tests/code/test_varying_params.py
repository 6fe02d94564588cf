"""In what runs differ: which parameters become columns, and what these hold."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabular.evaluation.varying_params import differing, number

names = st.sampled_from(["a", "b", "c", "d"])
values = st.sampled_from(["1", "1.0", "2", "0.5", "None", "gini", ""]) | st.integers(-3, 3) | st.booleans()
runs = st.lists(st.tuples(st.dictionaries(names, values), st.sampled_from(["forest", "boosted"])), max_size=7)


def drawn(made: list[tuple[Mapping[str, object], str]]) -> tuple[list[Mapping[str, object]], list[str]]:
    return [params for params, _ in made], [model for _, model in made]


def test_what_is_the_same_in_all_runs_is_left_out() -> None:
    assert differing([{"seed": 1, "folds": 5}, {"seed": 2, "folds": 5}], ["m", "m"]) == {"seed": [1, 2]}


def test_a_parameter_that_another_model_does_not_have_is_left_out() -> None:
    assert differing([{"leaves": "31"}, {"depth": "4"}], ["boosted", "tree"]) == {}


def test_a_parameter_in_which_two_runs_of_one_model_differ_is_kept_and_missing_in_the_others() -> None:
    found = differing([{"leaves": "31"}, {"depth": "4"}, {"leaves": "63"}], ["boosted", "tree", "boosted"])
    assert found == {"leaves": [31, None, 63]}


def test_a_parameter_that_only_one_of_two_runs_of_a_model_has_is_kept() -> None:
    assert differing([{"drop": "0.1"}, {}], ["boosted", "boosted"]) == {"drop": [0.1, None]}


def test_a_parameter_of_all_models_is_kept_where_models_differ_in_it() -> None:
    assert differing([{"seed": "1"}, {"seed": "2"}], ["boosted", "tree"]) == {"seed": [1, 2]}


def test_numbers_are_compared_as_numbers_and_texts_as_texts() -> None:
    assert differing([{"rate": "0.10"}, {"rate": 0.1}], ["m", "m"]) == {}
    assert differing([{"depth": "10"}, {"depth": "None"}], ["m", "m"]) == {"depth": ["10", "None"]}


def test_what_most_runs_have_comes_first_and_of_these_what_varies_most() -> None:
    params = [{"few": 1, "two": 1, "many": 1}, {"few": 2, "two": 2, "many": 2}, {"two": 1, "many": 3}]
    assert list(differing(params, ["m"] * 3)) == ["many", "two", "few"]


def test_no_run_and_one_run_differ_in_nothing() -> None:
    assert differing([], []) == differing([{"seed": 1}], ["m"]) == {}


@given(runs)
def test_each_column_has_a_value_a_run_and_more_than_one_of_them(made: list[tuple[Mapping[str, object], str]]) -> None:
    params, models = drawn(made)
    for name, column in differing(params, models).items():
        assert len(column) == len(params)
        assert len(set(column)) > 1
        assert [value is None for value in column] == [name not in own for own in params]


@given(runs)
def test_what_is_left_out_has_one_value_or_is_missing_in_whole_models(
    made: list[tuple[Mapping[str, object], str]],
) -> None:
    params, models = drawn(made)
    kept = differing(params, models)
    for name in {name for own in params for name in own} - kept.keys():
        for model in set(models):
            assert len({str(own.get(name)).replace("1.0", "1") for own, of in zip(params, models, strict=True)
                        if of == model}) == 1  # fmt: skip


@given(runs, st.randoms())
def test_the_order_of_the_runs_decides_nothing(made: list[tuple[Mapping[str, object], str]], random) -> None:
    shuffled = random.sample(made, len(made))
    before, after = (differing(*drawn(some)) for some in (made, shuffled))
    assert before.keys() == after.keys()
    assert all(sorted(map(str, before[name])) == sorted(map(str, after[name])) for name in before)


@given(st.integers(-(10**12), 10**12) | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_as_it_was_written(value: float) -> None:
    assert number(str(value)) == value


@pytest.mark.parametrize("text", ["", "nan", "inf", "-inf", "1e999", "1_000", " 1", "0x1f", "1" * 40, "٣", "True"])
def test_what_is_no_finite_number_is_a_text(text: str) -> None:
    assert number(text) is None
