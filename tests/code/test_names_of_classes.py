"""Names that are made of a user's names: as many as there were, on stores and disks that compare without case too."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import validate_param_and_metric_name

from tabular.data import class_names
from tabular.errors import UserError
from tabular.problem import build

names = st.lists(st.text(min_size=1, max_size=6) | st.text("aAé+*-_0", min_size=1, max_size=210), unique=True)
TWO = {"Forest": {"estimator": "a.b.C"}, "forest": {"estimator": "a.b.D"}}


def test_classes_that_differ_in_a_sign_have_metrics_of_their_own():
    assert len(set(class_names.in_metrics(["a+", "a*"]).values())) == 2


def test_classes_that_differ_in_case_have_metrics_of_their_own():
    assert len({name.casefold() for name in class_names.in_metrics(["Yes", "yes"]).values()}) == 2


def test_a_class_that_clashes_with_none_is_called_by_its_own_name():
    alone = ["no", "Große Stadt", "0.5"]
    found = class_names.in_metrics(["a+", "a*", *alone])
    assert [found[name] for name in alone] == alone


def test_a_class_that_clashes_begins_as_it_is_called():
    assert all(name.startswith("a_") for name in class_names.in_metrics(["a+", "a*"]).values())


def test_the_order_of_the_classes_does_not_matter():
    found = [class_names.in_metrics(list(order)) for order in itertools.permutations(["a+", "a*", "A", "a"])]
    assert all(one == found[0] for one in found)


def test_a_class_that_is_called_as_another_ones_metric_has_one_of_its_own():
    taken = class_names.in_metrics(["a+", "a*"])["a+"]
    assert len(set(class_names.in_metrics(["a+", "a*", taken]).values())) == 3


@given(names)
def test_all_classes_have_metrics_of_their_own_that_mlflow_takes(classes):
    found = [f"rows_holdout_{name}" for name in class_names.in_metrics(classes).values()]
    assert len({name.casefold() for name in found}) == len(classes)
    assert all(len(name) <= 250 and validate_param_and_metric_name(name) for name in found)


def test_models_that_differ_in_case_only_are_refused():
    with pytest.raises(UserError, match=r"models: .Forest. and .forest. differ in case only.*rename one"):
        build({"name": "small", "data": {"source": "a.csv", "target": "y"}, "models": TWO}, "a.yaml")
