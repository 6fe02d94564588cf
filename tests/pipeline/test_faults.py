"""A chain that is ended at any moment leaves nothing behind, and the same command ends as if nothing had been.

A run of the tests ends one chain, in the way that leaves most behind. `TABULAR_FAULTS=36 pytest
tests/pipeline/test_faults.py` ends one in each way in each step, at a random moment of that, and a larger number goes
on with other moments: for who has changed how a chain ends.
"""

import contextlib
import os
import random
import re
import time

import psutil
import pytest

from steps.process import fork_server as forking
from tests.live import (
    FIRST_LINE,
    begin,
    kill_outer,
    terminate_main,
    terminate_outer,
    write_problem_of_numbers,
)
from tests.running import MOST_SECONDS

slow = pytest.mark.slow

# An end that is told to all is over when they are gone; what a SIGKILL leaves, the next main removes.
TOLD = {
    "SIGTERM to main": (terminate_main, "ended by SIGTERM"),
    "SIGKILL to mlflow run": (kill_outer, "has died"),
    "SIGTERM to mlflow run": (terminate_outer, "has died"),
}
# The first ones are those that no test of test_ending.py meets.
WAYS = ("SIGKILL to all", "SIGTERM to main", "SIGKILL to mlflow run", "SIGKILL to main")
WAYS += ("SIGTERM to mlflow run", "SIGKILL to a step")
# What a chain says as it begins, and as each of its steps begins or is found done. The first ones lie far apart.
LINES = ("  evaluate ", "  hpo lightgbm ", "  etl ", "  train lightgbm ", "  register ", FIRST_LINE)
MOMENTS = int(os.environ.get("TABULAR_FAULTS", "1"))


def moments(number):
    """So many ways, each with the line after which it comes: each way and each line once in every six of them."""
    for moment in range(number):
        turn, place = divmod(moment, len(WAYS))
        yield WAYS[place], LINES[(place + turn) % len(LINES)]


def test_each_way_to_end_a_chain_meets_each_of_its_steps():
    assert len({*moments(36)}) == 36
    first = [*moments(6)]
    assert {way for way, _ in first} == {*WAYS}
    assert {line for _, line in first} == {*LINES}


@slow
@pytest.mark.parametrize("kind", ["classes", pytest.param("numbers", marks=pytest.mark.long)])
def test_a_chain_that_is_ended_again_and_again_ends_well_also_twice_at_once(place, fork_server, kind):
    if kind == "numbers":
        place.problem = write_problem_of_numbers(place.folder)
    draw = random.Random(20261121)
    stale = set()
    for moment, (way, line) in enumerate(moments(MOMENTS)):
        # half of them go on where the last one stopped; what is reused is over soon
        reuse, jobs = ("false", "true")[moment % 2], 1 + moment // 2 % 2
        live = begin(place, FIRST_LINE, jobs=jobs, reuse=reuse)
        wait_for_moment(live, line, draw.uniform(0, 1))
        where = f"{way} after {line!r}\n{live.said}"
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
    # those that nobody ends need no imports of their own; two at once are in each other's way, and do the same
    place.store.environment[forking.ADDRESS] = fork_server
    last = [place.start(jobs=1) for _ in range(2)]
    for live in last:
        live.outer.wait(MOST_SECONDS)
    for live in last:
        assert live.outer.returncode == 0, live.said
        assert "Traceback" not in live.said
    assert place.running() == []
    assert place.folders() == []
    # a run with a key is whole, whatever happened while it was made
    again = place.start()
    again.outer.wait(MOST_SECONDS)
    # what register does depends on which of the two was champion last
    assert [line for line in again.said.splitlines() if "ran: " in line and not line.startswith("  register")] == []
    assert "has been altered" not in again.said
    # and its work is that of a chain which nobody has disturbed: what wins there is the champion, to the last bit
    calm = place.start(reuse="false")
    calm.outer.wait(MOST_SECONDS)
    assert calm.outer.returncode == 0, calm.said
    assert re.search(r"is the champion \(version \d+\) already", calm.said), calm.said


def wait_for_moment(live, line, seconds):
    """Wait until it has said a line, or has ended, and then for a part of a second."""
    while line not in live.said and live.outer.poll() is None:
        time.sleep(0.02)
    time.sleep(seconds)


def marked(place, live):
    """Main's run when MLflow's FAILED has been put right, which a process of its own does after the chain is gone."""
    until = time.monotonic() + MOST_SECONDS
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
                live.outer.wait(MOST_SECONDS)
