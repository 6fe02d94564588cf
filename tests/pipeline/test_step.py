"""What each step's run says of itself, whichever step it is."""

import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

import steps.etl
from steps.run import shell, thread_budget, usage

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


def test_a_step_that_allocates_200_mb_shows_it(store, monkeypatch):
    peak = usage.Usage().end()["peak_memory_bytes"]
    etl = steps.etl.etl

    def greedy(step):
        free = peak - psutil.Process().memory_info().rss
        np.ones(free + 200_000_000, dtype=np.uint8)
        etl(step)

    monkeypatch.setattr(steps.etl, "etl", greedy)
    monkeypatch.setattr(usage, "_held_together", lambda: 0)  # with the processes that the tests have started
    ended = store.step("etl", data="sklearn:iris", target="target")
    assert ended.status == 0, ended.stderr
    assert peak + 190e6 < ended.run.data.metrics["peak_memory_bytes"] < peak + 600e6


def test_a_step_tells_what_it_read_and_wrote(store, tmp_path):
    (tmp_path / "table.csv").write_text("x,y\n" + "1.5,no\n2.5,yes\n" * 100_000)
    ended = store.step("etl", data=tmp_path / "table.csv", target="y")
    assert ended.status == 0, ended.stderr
    metrics = ended.run.data.metrics
    assert metrics["bytes_read"] > (tmp_path / "table.csv").stat().st_size
    assert metrics["bytes_written"] > store.artifact(ended.run, "dataset/train.parquet").stat().st_size


def test_a_step_that_fails_tells_what_it_took(store):
    ended = store.step("etl", data="sklearn:iris", target="nothing")
    assert ended.run.info.status == "FAILED"
    assert {"peak_memory_bytes", "bytes_read", "bytes_written"} <= set(ended.run.data.metrics)
