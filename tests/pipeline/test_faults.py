"""A chain that is ended at any moment leaves nothing behind, and the same command ends as if nothing had been."""

import contextlib
import random
import shutil
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from tests.live import FIRST_LINE, MARKED_SECONDS, Place, begin, kill_outer, terminate_main, terminate_outer

slow = pytest.mark.slow


@pytest.fixture(scope="module")
def uninterrupted():
    """The champion of a chain that nobody disturbs, and how many lines it has said when it has one."""
    folder = Path(tempfile.mkdtemp(prefix="ending-"))
    calm = Place(folder)
    live = calm.start()
    live.outer.wait(120)
    assert "registered after" in live.said
    yield calm.champion(), next(number for number, line in enumerate(live.lines()) if "registered after" in line)
    shutil.rmtree(folder, ignore_errors=True)


# An end that is told to all is over when they are gone; what a SIGKILL leaves, the next main removes.
TOLD = {
    "SIGTERM to main": (terminate_main, "ended by SIGTERM"),
    "SIGTERM to mlflow run": (terminate_outer, "has died"),
    "SIGKILL to mlflow run": (kill_outer, "has died"),
}
UNTOLD = ("SIGKILL to main", "SIGKILL to a step", "SIGKILL to all")
MOMENTS = 20


@slow
def test_a_chain_that_is_ended_again_and_again_ends_well(place, uninterrupted):
    champion, lines = uninterrupted
    draw = random.Random(20261121)
    # each way at least three times, in some order
    ways = [*TOLD, *UNTOLD] * 4
    draw.shuffle(ways)
    stale = set()
    for way in ways[:MOMENTS]:
        # half of them go on where the last one stopped; what is reused is over soon
        live = begin(place, FIRST_LINE, jobs=draw.choice([1, 2]), reuse=draw.choice(["true", "false"]))
        moment = draw.randrange(lines), draw.uniform(0, 1)
        wait_for_moment(live, *moment)
        where = f"{way} at {moment}\n{live.said}"
        if "  etl  " in live.said:  # it has cleaned up after the one before
            assert not stale & {run.info.run_id for run in place.running()}, where
            assert len(place.folders()) <= 1, where
            stale = set()
        disturb(live, way, draw)
        live.wait_until_gone()
        left = {run.info.run_id for run in place.running()}
        if way in TOLD:
            assert left <= stale, where
            main = marked(place, live)
            if main.info.status == "KILLED":
                assert TOLD[way][1] in main.data.tags["tabular.reason"], where
            else:
                assert main.info.status == "FINISHED" and "after" in live.said, where
        stale |= left
    last = place.start()
    last.outer.wait(120)
    assert last.outer.returncode == 0, last.said
    assert place.running() == []
    assert place.folders() == []
    assert place.champion() == champion
    # a run with a key is whole, whatever happened while it was made
    again = place.start()
    again.outer.wait(120)
    assert "ran: " not in again.said


def wait_for_moment(live, lines, seconds):
    """Wait until it has said so many lines, or has ended, and then for a part of a second."""
    while len(live.lines()) < lines and live.outer.poll() is None:
        time.sleep(0.02)
    time.sleep(seconds)


def marked(place, live):
    """Main's run when MLflow's FAILED has been put right, which a process of its own does after the chain is gone."""
    until = time.monotonic() + MARKED_SECONDS
    while (main := place.store.client.get_run(live.run_id)).info.status == "FAILED" and time.monotonic() < until:
        time.sleep(0.2)
    return main


def disturb(live, way, draw):
    """End a chain in some way, if it is still there."""
    with contextlib.suppress(psutil.NoSuchProcess, AssertionError):
        if way in TOLD:
            TOLD[way][0](live)
        elif way == "SIGKILL to all":
            for process in live.place.processes():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        else:
            steps = live.steps() if way == "SIGKILL to a step" else []
            (draw.choice(steps) if steps else live.main()).kill()
            if steps:  # it may have been at its end: then the chain goes on
                live.outer.wait(90)
