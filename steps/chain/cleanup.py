"""Cleanup of stale runs: after a `kill -9`, runs stay RUNNING that nobody works on, and temporary folders stay."""

from steps.process import lifecycle
from steps.run import termination
from steps.run.step import Step
from steps.run.tags import OWNER_HOST
from steps.run.terminal import say


def sweep(step: Step) -> None:
    """Close the experiment's RUNNING runs whose owner is a dead process of this machine; remove temporary folders.

    RUNNING runs without an owner are not ours: they are reported and left alone.
    """
    lifecycle.forget()
    for run, owner in termination.close(step.client, step.experiment_id):
        say(f"  note: run {run.info.run_id} was RUNNING and its process ({owner.pid}) is dead: closed as KILLED")
    left = termination.running(step.client, step.experiment_id)
    strangers = [run.info.run_id for run in left if OWNER_HOST not in run.data.tags]
    if strangers:
        more = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
        say(f"  note: run {strangers[0]}{more} of this experiment is RUNNING without an owner: left as it is")
