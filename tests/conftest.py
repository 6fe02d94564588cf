"""What the tests share: one store for those that can share one."""

import gc
import os
import re

import hypothesis
import pytest

from tests.chains import Chains, built
from tests.running import Store, draw_pixels, kept_fork_server

# A thread of OpenMP that waits for the others in a loop holds a core that another process of the tests needs: fits of
# a second took a minute. Read once, when LightGBM is loaded; what the tests start inherits it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# how long an example takes says nothing here: other tests and their chains run beside it
# `--hypothesis-profile=long` draws as many examples as Hypothesis does by itself
hypothesis.settings.register_profile("tabular", deadline=None, max_examples=20)
hypothesis.settings.register_profile("long", deadline=None)
hypothesis.settings.load_profile("tabular")


def pytest_collection_modifyitems(items):
    """What is in tests/pipeline runs steps in stores, and has no place among the first tests of an edit."""
    for item in items:
        if "pipeline" in item.path.parts:
            item.add_marker(pytest.mark.slow)


# What a CI machine may lack. In .ci/run a test that is skipped for anything else fails, as it would hide a failure;
# in .ci/extras also one that is skipped for a package.
MAY_LACK = re.compile(
    r"requirements-(boosting|torch)\.txt is not installed|PostgreSQL's server is not|setpriv, with which|no Chromium"
    r"|an object store for tests, does not|promtool is not|no docker command|no engine answers|the image \S+ is not"
    r"|the lock has changed since|none of conda, |the channel \S+ is not reached"
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Judge the skip of a test."""
    return judged((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    """Judge the skip of a whole module."""
    return judged((yield))


def judged(report):
    """A report, which is one of a failure where `SKIPS_FAIL` is set and CI has what the test was skipped for."""
    if report.skipped and "SKIPS_FAIL" in os.environ and isinstance(report.longrepr, tuple):
        path, line, reason = report.longrepr
        of_extras = os.environ["SKIPS_FAIL"] == "extras" and "requirements-" in reason
        if of_extras or not MAY_LACK.search(reason):
            report.outcome = "failed"
            report.longrepr = f"{path}:{line}: skipped for what CI has: {reason.removeprefix('Skipped: ')}"
    return report


def pytest_collection_finish():
    """Have collections pass over what was imported, hundreds of thousands of objects, and over the tests themselves."""
    gc.freeze()


def pytest_make_parametrize_id(config, val, argname):
    """Bytes by their name: archives hold the time of day, and both workers must collect tests of the same names."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory, modules_read) -> str:
    """The address of a process that chains and steps are forked off, as main's steps are off main's.

    "" where there is none: they all import for themselves then, which takes minutes in all.
    """
    folder = tmp_path_factory.mktemp("fork_server")
    with kept_fork_server(folder):
        yield str(folder / "fork_server") if (folder / "fork_server").exists() else ""


@pytest.fixture(scope="session")
def modules_read(tmp_path_factory):
    """What the modules mean is read once for all processes of the tests, as main reads it for its steps."""
    from steps.pipeline import STEPS
    from steps.run import source_digest

    for step in STEPS:
        source_digest.digests(step)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(source_digest.HANDED, "")
        source_digest.hand_over(tmp_path_factory.mktemp("modules"))
        yield


@pytest.fixture(scope="session")
def store(tmp_path_factory, fork_server) -> Store:
    """The store that most tests share: to make one takes seconds."""
    return Store(tmp_path_factory.mktemp("store"), fork_server=fork_server)


@pytest.fixture(scope="session")
def chains(tmp_path_factory, fork_server) -> Chains:
    """Three chains that many tests read, run once for all workers."""
    root = tmp_path_factory.getbasetemp()
    return built(root.parent if "PYTEST_XDIST_WORKER" in os.environ else root, fork_server)


@pytest.fixture(scope="module")
def undrawn():
    """Evaluations in this process draw nothing: for modules that look at no picture, which is most of what one costs.

    Chains, which are processes of their own, draw as ever, and so do the tests that are about pictures and the report.
    """
    from steps.evaluation import plots

    with pytest.MonkeyPatch.context() as patch:
        drawing = plots._save
        patch.setattr(plots, "_save", draw_pixels)
        yield drawing


@pytest.fixture
def drawn(undrawn, monkeypatch):
    """For a test about pictures in a module of others: its evaluations draw."""
    from steps.evaluation import plots

    monkeypatch.setattr(plots, "_save", undrawn)
