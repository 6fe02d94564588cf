"""What a step takes of the machine is measured as it is: of one process and of several, and bytes in and out."""

import json
import subprocess
import sys

import pytest

from steps.run import usage
from tests.running import PROJECT

ABOUT = """
import json, multiprocessing, sys, time
from steps.process import pool
from steps.run import usage
from steps.run.usage import Usage

usage.MOST_OF_A_CORE = 1.0  # it looks five times a second, however slow this machine is today
both = multiprocessing.Barrier(2)

def hold(size):
    held = bytearray(b"1") * size
    both.wait()
    time.sleep(1.0)
    return len(held)

before, MB = Usage().end(), 1_000_000
"""


def measured(words: str) -> tuple[dict[str, int], dict[str, int]]:
    """What a process took up to some work, and in the end."""
    code = f"{ABOUT}\nused = Usage()\n{words}\nprint(json.dumps([before, used.end()]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    before, after = json.loads(done.stdout)
    return before, after


def test_memory_that_was_given_back_counts() -> None:
    before, after = measured("held = bytearray(b'1') * (200 * MB); del held")
    assert 190e6 < after["peak_memory_bytes"] - before["peak_memory_bytes"] < 230e6


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a step has no processes of its own")
def test_what_processes_hold_at_the_same_time_is_summed_and_what_they_share_counts_once() -> None:
    before, after = measured(
        "shared = bytearray(b'1') * (100 * MB)\n"
        "with pool.workers(2) as executor: list(executor.map(hold, [60 * MB, 60 * MB]))"
    )
    assert 210e6 < after["peak_memory_bytes"] - before["peak_memory_bytes"] < 300e6


@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells")
def test_bytes_that_are_read_and_written_are_counted_from_the_beginning_on() -> None:
    _, after = measured(
        "open(sys.executable, 'rb').read(500)\n"
        "open('/dev/null', 'wb').write(b'1' * 3 * MB)\n"
        "open('/dev/zero', 'rb', buffering=0).read(2 * MB)"
    )
    assert 2e6 <= after["bytes_read"] < 2.5e6
    assert 3e6 <= after["bytes_written"] < 3.1e6


def test_where_the_system_does_not_count_bytes_none_are_told(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(usage, "COUNTED", tmp_path / "nothing")
    assert set(usage.Usage().end()) == {"peak_memory_bytes"}
