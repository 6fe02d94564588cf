"""Errors from a full disk or a folder that may not be written: which one it is, and what to do."""

import errno
import tempfile
from collections.abc import Iterator
from pathlib import Path

from steps.run import tracking

FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
AGAIN = "then type the same command again: it goes on where it stopped"
# What SQLite or a tracking server says of its disk, and the line for it.
STORE = (
    (
        ("database or disk is full",),
        "no space is left on the disk of the tracking store {store}: make some, {again}",
    ),
    (
        ("readonly database", "unable to open database file"),
        "the tracking store {store} may not be written: give this user the right to write the file and its folder, or "
        "name another store in MLFLOW_TRACKING_URI",
    ),
    (
        ("database is locked", "locking protocol", "disk I/O error"),
        "the tracking store {store} cannot be locked: another process holds it, or it lies on a network drive (NFS) on "
        "which SQLite's locks do not work; name a store on a disk of this machine, or a server, in MLFLOW_TRACKING_URI",
    ),
    (
        ("No space left on device",),
        "no space is left on the disk of the tracking server {store}, or of its artifacts: make some, {again}",
    ),
)


def trouble(error: BaseException) -> str | None:
    """What an error, or one of its causes, says about a disk, in one line; None where it is about something else."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in FULL:
            return f"no space is left on the disk of {_place(cause)}: make some, {AGAIN}"
        if isinstance(cause, OSError) and cause.errno in CLOSED and cause.filename is not None:
            return (
                f"{_place(cause)} may not be written ({cause.strerror}): give this user the right to, or name another "
                "place (for artifacts: mlflow experiments create -n NAME --artifact-location FOLDER)"
            )
    told = next((line for words, line in STORE if any(one in str(error) for one in words)), None)
    return told and told.format(store=tracking.address(), again=AGAIN)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _place(error: OSError) -> str:
    """The path that could not be written.

    An error of a write into an open file has no path; such files are in the folder for temporary files.
    """
    return str(error.filename2 or error.filename or Path(tempfile.gettempdir()))
