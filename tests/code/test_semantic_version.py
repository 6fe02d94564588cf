"""The semantic version of a registered model, by the tags of the one before it."""

import pytest

from steps.model.semantic_version import following
from steps.run.tags import INTERFACE_DIGEST, MAKING_DIGEST, SEMANTIC_VERSION

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
