"""The owner of a run: its user and its process, so that a later process can tell whether the run is still worked on."""

import getpass
import os
from contextlib import suppress

from mlflow.entities import Run

from steps.process import identity
from steps.process.identity import Process
from steps.run.tags import OWNER_HOST, OWNER_PID, OWNER_STARTED, USER


def tags() -> dict[str, str]:
    """The owner tags of a run that this process makes."""
    me = identity.me()
    return {
        USER: _user(),
        OWNER_HOST: identity.host(),
        OWNER_PID: str(me.pid),
        OWNER_STARTED: f"{me.started:.2f}",
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have a number and no name
        return str(os.getuid())


def of(run: Run) -> Process | None:
    """The process that owns a run; None where the run names no owner, or one of another machine."""
    told = run.data.tags
    with suppress(KeyError, ValueError):
        if told[OWNER_HOST] == identity.host():
            return Process(int(told[OWNER_PID]), float(told[OWNER_STARTED]))
    return None
