"""Chains at once on one tracking server: all end well, and none is in the way of another's reuse."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests import servers
from tests.live import PROBLEM, Place
from tests.running import MOST_SECONDS

slow = pytest.mark.slow


@pytest.fixture
def place(tmp_path, fork_server):
    """A place whose chains begin at once, and search alone: they are in each other's way all the more."""
    made = Place(tmp_path, fork_server)
    problem = Path(made.problem)
    logistic = "  logistic: {estimator: sklearn.linear_model.LogisticRegression}\n"
    assert logistic in PROBLEM
    problem.write_text(PROBLEM.replace(logistic, ""))
    return made


def check_many(place, seeds):
    """Chains at once, of which two are the same, end well; and what they did is whole, and is reused."""
    chains = [place.start(seed=seed, jobs=1) for seed in seeds]
    for live in chains:
        live.outer.wait(MOST_SECONDS)
    for live in chains:
        assert live.outer.returncode == 0, live.said
        assert "Traceback" not in live.said
    assert place.running() == []
    assert place.folders() == []
    again = place.start(seed=seeds[0], jobs=1)
    again.outer.wait(MOST_SECONDS)
    assert again.outer.returncode == 0, again.said
    assert "has been altered" not in again.said
    # what register says of its verdict depends on who became the champion last
    steps = [line for line in again.said.splitlines() if "  reused " in line and not line.startswith("  register")]
    assert len(steps) == 4, again.said


@pytest.fixture
def served(place):
    """A place whose store is a tracking server, which keeps the artifacts too."""
    with servers.tracking(place.store.uri, place.folder / "served") as uri:
        place.store.uri, place.store.client = uri, MlflowClient(uri, uri)
        place.store.experiment = place.store.client.create_experiment("served")
        place.store.environment |= {"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_NAME": "served"}
        yield place


@slow
@pytest.mark.long
def test_three_chains_at_once_on_one_tracking_server_end_well(served):
    check_many(served, seeds=[1, 1, 2])


@slow
@pytest.mark.long
def test_eight_chains_at_once_on_one_tracking_server_end_well(served):
    check_many(served, seeds=[1, 1, 2, 2, 3, 4, 5, 6])
