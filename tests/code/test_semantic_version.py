"""The semantic version of a registered model, by the tags of the one before it."""

import pytest

from steps.model.semantic_version import following, learnt_by
from steps.run.tags import INTERFACE_DIGEST, MAKING_DIGEST, SEMANTIC_VERSION
from tabular.problem import build

BEFORE = {SEMANTIC_VERSION: "2.3.4", INTERFACE_DIGEST: "a", MAKING_DIGEST: "b"}


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, "2.3.5"),
        ({MAKING_DIGEST: "other"}, "2.4.0"),
        ({INTERFACE_DIGEST: "other"}, "3.0.0"),
        ({INTERFACE_DIGEST: "other", MAKING_DIGEST: "other"}, "3.0.0"),
    ],
)
def test_the_gravest_change_counts(changed, found):
    assert following(BEFORE, {**BEFORE, **changed}) == found


def test_the_first_is_one():
    assert following({}, BEFORE) == "1.0.0"


PROBLEM = {"name": "mine", "task": "classification", "data": {"source": "mine.csv", "target": "y"}}


@pytest.mark.parametrize(
    "more",
    [{"seed": 7}, {"timeout": 60}, {"search": {"timeout": 60}}, {"search": {"trials": 7}}, {"description": "of today"}],
)
def test_the_seed_and_how_long_is_searched_are_no_other_problem(more):
    assert learnt_by(build({**PROBLEM, **more}, "mine.yaml")) == learnt_by(build(PROBLEM, "mine.yaml"))


@pytest.mark.parametrize(
    "more", [{"models": "quick"}, {"search": {"folds": 3}}, {"split": {"holdout": 0.3}}, {"blend": False}]
)
def test_other_models_folds_or_rows_are_another_problem(more):
    assert learnt_by(build({**PROBLEM, **more}, "mine.yaml")) != learnt_by(build(PROBLEM, "mine.yaml"))
