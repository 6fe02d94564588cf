"""The mark of a run that was ended early: the status KILLED, and the reason.

    python -m steps.run.termination RUN_ID PID:STARTED REASON

marks a run again after its `mlflow run` process, which writes FAILED over main's KILLED: the command waits until that
process has written or ended. It is started detached, since it outlives all other processes of the chain.
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

KILLED, RUNNING, FAILED = "KILLED", "RUNNING", "FAILED"
STOPPED = "stopped with the chain that it belongs to"
# Where the caller goes on living (a notebook), it has written FAILED long before this time is over.
MOST_SECONDS = 30.0
MOST_RUNS = 1000


def mark(run_id: str, reason: str) -> None:
    """Mark a run KILLED, with the reason unless the run has one already."""
    client = MlflowClient()
    run = client.get_run(run_id)
    if REASON not in run.data.tags:
        client.log_batch(run_id, tags=[RunTag(REASON, reason), _note(reason)])
    client.set_terminated(run_id, KILLED, end_time=run.info.end_time or get_current_time_millis())


def end(run_id: str, reason: str, *, is_step: bool) -> None:
    """Mark the run of this process, which is about to exit, and close all other runs that this process owns.

    A step's reason goes into its note only: main takes the reason's tag to mean that the step has printed the reason on
    the terminal. Where main has ended the step's run already, what main said stands: also where the step has adopted
    the run after that, by which it is RUNNING once more.
    """
    client = MlflowClient()
    run = client.get_run(run_id)
    if not is_step:
        mark(run_id, reason)
    elif run.info.status == RUNNING:
        mains = run.data.tags.get(REASON)
        if mains is None:
            client.log_batch(run_id, tags=[_note(reason)])
        client.set_terminated(run_id, KILLED if mains in (None, STOPPED) else FAILED)
    close(client, run.info.experiment_id, mine=True)


def close(client: MlflowClient, experiment_id: str, *, mine: bool = False) -> list[tuple[Run, Process]]:
    """Mark KILLED all runs of an experiment that are RUNNING and whose owner is a dead process of this machine.

    Parameters
    ----------
    client
        Client of the tracking store.
    experiment_id
        The experiment to search.
    mine
        Whether to close the runs of this process as well, because it is about to exit.

    Returns
    -------
    list
        The closed runs with their owners.
    """
    me = identity.me()
    closed = []
    for run in running(client, experiment_id):
        owner = run_owner.of(run)
        is_mine = mine and owner is not None and owner.pid == me.pid and owner.is_alive()
        if owner is None or (owner.is_alive() and not is_mine):
            continue
        # the run may have FINISHED between the search and the exit of its process
        if client.get_run(run.info.run_id).info.status == RUNNING:
            mark(run.info.run_id, STOPPED if is_mine else f"its process ({owner.pid}) was killed")
            closed.append((run, owner))
    return closed


def running(client: MlflowClient, experiment_id: str) -> list[Run]:
    """The runs of an experiment that have the status RUNNING."""
    return client.search_runs([experiment_id], f"attributes.status = '{RUNNING}'", max_results=MOST_RUNS)


def mark_again(run_id: str, caller: Process, reason: str) -> None:
    """Mark a run KILLED once its caller has ended or written FAILED, at the latest after `MOST_SECONDS`."""
    client = MlflowClient()
    until = time.monotonic() + MOST_SECONDS
    while caller.is_alive() and time.monotonic() < until and client.get_run(run_id).info.status != FAILED:
        time.sleep(0.1)
    mark(run_id, reason)


def _note(reason: str) -> RunTag:
    return RunTag(NOTE, f"{reason[0].upper()}{reason[1:]}.")


if __name__ == "__main__":
    mark_again(sys.argv[1], Process.parse(sys.argv[2]), sys.argv[3])
