"""The budget of a step: the threads, and the seconds, that main writes into a file; else all cores, and no limit."""

import math
import time
from dataclasses import dataclass
from pathlib import Path


def cores() -> int:
    """The number of cores that this process may use, within a container's limit and the process's CPU affinity."""
    import joblib

    return joblib.cpu_count()


@dataclass(frozen=True)
class Time:
    """Until when a step may take, in seconds of the epoch."""

    until: float = math.inf  # when it is to have ended
    last: float = math.inf  # when it is ended, whatever it has done
    slowness: float = 1.0  # of this machine today, over what is usual: by it is planned what is not measured


def write(share: Path, threads: int, time_: Time) -> None:
    """Write the file `share`: how many threads the step may use, and until when."""
    new = share.with_suffix(".new")
    new.write_text(f"{threads} {time_.until} {time_.last} {time_.slowness}")
    new.replace(share)


def threads(share: str) -> int:
    """The number of threads a step may use now; `share` is the file in which main writes it, or "" outside a chain."""
    return int(Path(share).read_text().split()[0]) if share else cores()


def seconds_left(share: str) -> float:
    """The seconds that a step is still to take; main may give it more as others end. Infinite without a limit."""
    return _time(share).until - time.time()


def seconds_to_end(share: str) -> float:
    """The seconds after which a step is ended. Infinite without a limit."""
    return _time(share).last - time.time()


def slowness(share: str) -> float:
    """How much slower this machine is today than is usual."""
    return _time(share).slowness


def _time(share: str) -> Time:
    _, *given = Path(share).read_text().split() if share else ("",)
    return Time(*map(float, given))


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
