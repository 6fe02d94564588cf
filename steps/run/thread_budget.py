"""The thread budget of a step: the number of threads that main writes into a file, else the number of cores."""

import time
from pathlib import Path


def cores() -> int:
    """The number of cores that this process may use, within a container's limit and the process's CPU affinity."""
    import joblib

    return joblib.cpu_count()


def threads(share: str) -> int:
    """The number of threads a step may use now; `share` is the file in which main writes it, or "" outside a chain."""
    return int(Path(share).read_text()) if share else cores()


def wait(share: str) -> bool:
    """Wait until main lets the step begin, by writing the file `share`.

    Main starts steps early, so that they import modules while they wait for their inputs.

    Returns
    -------
    bool
        Whether the step had to wait.
    """
    if not share or Path(share).exists():
        return False
    while not Path(share).exists():
        time.sleep(0.02)
    return True
