"""What each step's run says of itself, whichever step it is."""

import time
from types import SimpleNamespace

import pytest

from steps.run import shell, thread_budget

HOUR = 3600.0


@pytest.fixture
def started_an_hour_ago(monkeypatch):
    """The step's process has been there for an hour."""
    monkeypatch.setattr(shell, "STARTED", shell.STARTED - HOUR)


def let_begin(monkeypatch, share):
    """Main gives a step threads while it waits for them."""
    monkeypatch.setattr(thread_budget, "time", SimpleNamespace(sleep=lambda _: share.write_text("1"), time=time.time))


def seconds(ended):
    assert ended.status == 0, ended.stderr
    return ended.run.data.metrics["step_seconds"]


def test_the_seconds_of_a_step_that_was_started_early_count_from_when_it_was_let_begin(
    store, tmp_path, monkeypatch, started_an_hour_ago
):
    let_begin(monkeypatch, tmp_path / "share")
    ended = store.step("etl", data="sklearn:iris", target="target", share=tmp_path / "share")
    assert 0 < seconds(ended) < HOUR


def test_the_seconds_of_a_step_that_may_begin_at_once_count_from_the_start_of_its_process(
    store, tmp_path, started_an_hour_ago
):
    (tmp_path / "share").write_text("1")
    ended = store.step("etl", data="sklearn:iris", target="target", share=tmp_path / "share")
    assert seconds(ended) > HOUR
