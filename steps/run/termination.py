"""The mark of a run that was ended before its time: KILLED, with the reason.

    python -m steps.run.termination RUN_ID PID:STARTED REASON

waits for a process, the `mlflow run` that writes FAILED over main's KILLED, and marks the run again once that one has
ended or written. It is started detached, since it outlives all others.
"""

import sys
import time

from mlflow import MlflowClient
from mlflow.entities import Run, RunTag
from mlflow.utils.time import get_current_time_millis

from steps.process import identity
from steps.process.identity import Process
from steps.run import run_owner
from steps.run.tags import NOTE, REASON

KILLED, RUNNING = "KILLED", "RUNNING"
STOPPED = "stopped with the chain that it belongs to"
# A caller that goes on living (a notebook) has written long before.
MOST_SECONDS = 30.0
MOST_RUNS = 1000


def mark(run_id: str, reason: str) -> None:
    """Mark a run KILLED, and say why where that is not said yet."""
    client = MlflowClient()
    run = client.get_run(run_id)
    if REASON not in run.data.tags:
        client.log_batch(run_id, tags=[RunTag(REASON, reason), _note(reason)])
    client.set_terminated(run_id, KILLED, end_time=run.info.end_time or get_current_time_millis())


def end(run_id: str, reason: str, *, is_step: bool) -> None:
    """Mark the run of this process, which is about to exit, and close all others that it answers for.

    A step's reason is only a note: main takes a tag for what the step has said on the terminal. Where main has marked
    the step's run already, its word stands.
    """
    client = MlflowClient()
    run = client.get_run(run_id)
    if not is_step:
        mark(run_id, reason)
    elif run.info.status == RUNNING:
        client.log_batch(run_id, tags=[_note(reason)])
        client.set_terminated(run_id, KILLED)
    close(client, run.info.experiment_id, mine=True)


def close(client: MlflowClient, experiment_id: str, *, mine: bool = False) -> list[tuple[Run, Process]]:
    """Mark KILLED what is RUNNING in an experiment and has a dead process of this machine for its owner.

    Parameters
    ----------
    client
        Of the store.
    experiment_id
        Where to look.
    mine
        Whether this process is as good as dead.

    Returns
    -------
    list
        The runs that were closed, with their owners.
    """
    me = identity.me()
    closed = []
    for run in running(client, experiment_id):
        owner = run_owner.of(run)
        is_mine = mine and owner is not None and owner.pid == me.pid and owner.is_alive()
        if owner is None or (owner.is_alive() and not is_mine):
            continue
        # it may have ended well between the search and its process's exit
        if client.get_run(run.info.run_id).info.status == RUNNING:
            mark(run.info.run_id, STOPPED if is_mine else f"its process ({owner.pid}) was killed")
            closed.append((run, owner))
    return closed


def running(client: MlflowClient, experiment_id: str) -> list[Run]:
    """The runs of an experiment that say that they are being worked on."""
    return client.search_runs([experiment_id], f"attributes.status = '{RUNNING}'", max_results=MOST_RUNS)


def mark_again(run_id: str, caller: Process, reason: str) -> None:
    """Mark a run KILLED after its caller has written what it writes."""
    client = MlflowClient()
    until = time.monotonic() + MOST_SECONDS
    while caller.is_alive() and time.monotonic() < until and client.get_run(run_id).info.status != "FAILED":
        time.sleep(0.1)
    mark(run_id, reason)


def _note(reason: str) -> RunTag:
    return RunTag(NOTE, f"{reason[0].upper()}{reason[1:]}.")


if __name__ == "__main__":
    mark_again(sys.argv[1], Process.parse(sys.argv[2]), sys.argv[3])
