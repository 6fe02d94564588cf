"""How many threads a step may use: what main gives it in a file, else as many as there are cores."""

import time
from pathlib import Path


def cores() -> int:
    """How many cores this process may use: a container's limit and the process's own affinity count."""
    import joblib

    return joblib.cpu_count()


def threads(share: str) -> int:
    """How many threads a step may use at this moment; `share` is the file in which main says so, "" where none does."""
    return int(Path(share).read_text()) if share else cores()


def wait(share: str) -> bool:
    """Wait until main lets the step begin: it starts steps early, so that they import while they would wait.

    Returns
    -------
    bool
        Whether it had to wait.
    """
    if not share or Path(share).exists():
        return False
    while not Path(share).exists():
        time.sleep(0.02)
    return True
