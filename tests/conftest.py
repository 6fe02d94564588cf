"""What the tests share: one store for those that can share one."""

import hypothesis
import pytest

from tests.running import Store

# how long an example takes says nothing here: other tests and their chains run beside it
hypothesis.settings.register_profile("tabular", deadline=None)
hypothesis.settings.load_profile("tabular")


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Store:
    """The store that most tests share: to make one takes seconds."""
    return Store(tmp_path_factory.mktemp("store"))
