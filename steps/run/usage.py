"""What a step takes of the machine, as metrics of its run: its peak of memory, the bytes that it reads and writes."""

import resource
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil

from steps.run.tags import BYTES_READ, BYTES_WRITTEN, PEAK_MEMORY

# How often it is seen how much the processes of a step hold together. That takes milliseconds for each gigabyte, and so
# as long is waited that it takes a hundredth of a core at most.
SECONDS, MOST_OF_A_CORE = 0.2, 0.01
STATUS = Path("/proc/self/status")
# What the system counts of a process, and of its children that have ended: bytes that were read and written by it,
# whether from a disk, the cache of a disk, a pipe or the network.
COUNTED, READ, WRITTEN = Path("/proc/self/io"), "rchar", "wchar"


class Usage:
    """What this process takes from now on, until `end`.

    A single process's peak is what the system says of it, and misses nothing. Of several at once, such as those of a
    process pool, the system knows no peak: a thread looks now and then, and counts once what they share.
    """

    def __init__(self) -> None:
        self._together = 0
        self._before = _counted()
        self._ended = threading.Event()
        if sys.platform == "linux":  # elsewhere a step forks nothing
            threading.Thread(target=self._watch, daemon=True, name="usage").start()

    def end(self) -> dict[str, int]:
        """The metrics; without those of bytes where the system does not count them."""
        self._ended.set()
        found = {PEAK_MEMORY: max(self._together, _peak())}
        now = _counted()
        if self._before and now:
            found |= {name: now[of] - self._before[of] for name, of in ((BYTES_READ, READ), (BYTES_WRITTEN, WRITTEN))}
        return found

    def _watch(self) -> None:
        pause = SECONDS
        while not self._ended.wait(pause):
            started = time.perf_counter()
            with suppress(psutil.Error):
                self._together = max(self._together, _held_together())
            pause = max(SECONDS, (time.perf_counter() - started) / MOST_OF_A_CORE)


def _held_together() -> int:
    """The bytes of memory that this process and all below it hold, those that several hold once; 0 of one alone."""
    mine = psutil.Process()
    below = mine.children(recursive=True)
    total = 0
    for one in [mine, *below] if below else []:
        with suppress(psutil.Error):  # it has ended meanwhile
            total += one.memory_full_info().pss
    return total


def _peak() -> int:
    """The most resident memory that this process has had, in bytes."""
    try:
        told = STATUS.read_text(encoding="utf-8").partition("VmHWM:")[2]
        return int(told.split()[0]) * 1024
    except (OSError, IndexError):  # not Linux, whose own getrusage counts also what the process was before its exec
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def _counted() -> dict[str, int]:
    """What the system has counted of this process so far; empty where it does not."""
    try:
        lines = COUNTED.read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    return {name: int(value) for name, value in (line.split(": ") for line in lines)}
