"""What a `kill -9` leaves: runs that say RUNNING and that nobody works on, and temporary folders."""

from steps import guard, killed, tracked
from steps.terminal import say


def sweep(step: tracked.Step) -> None:
    """Close the experiment's runs whose owner was a process of this machine and is dead; remove its folders.

    Runs without an owner are not ours: they are named, and left alone.
    """
    guard.forget()
    for run, owner in killed.close(step.client, step.experiment_id):
        say(f"  note: run {run.info.run_id} was RUNNING and its process ({owner.pid}) is dead: closed as KILLED")
    left = killed.running(step.client, step.experiment_id)
    strangers = [run.info.run_id for run in left if "tabular.owner.host" not in run.data.tags]
    if strangers:
        more = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
        say(f"  note: run {strangers[0]}{more} of this experiment is RUNNING without an owner: left as it is")
