"""Which process is which: by pid and start time, so that another one which got the pid later does not pass for it."""

import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

# psutil reckons start times from the boot time, which moves when the clock is set.
SAME_START_SECONDS = 1.5
# The number that the first pid namespace has on any Linux.
FIRST_PID_SPACE = "4026531836"


@dataclass(frozen=True)
class Process:
    """A process, and not another one that got its pid later."""

    pid: int
    started: float  # seconds since 1970

    @staticmethod
    def of(process: psutil.Process) -> "Process":
        """The identity of a process of psutil's."""
        return Process(process.pid, round(process.create_time(), 2))

    @staticmethod
    def parse(text: str) -> "Process":
        """From `str`."""
        pid, started = text.split(":")
        return Process(int(pid), float(started))

    def __str__(self) -> str:
        return f"{self.pid}:{self.started:.2f}"

    def is_alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        try:
            found = psutil.Process(self.pid)
            is_same = abs(found.create_time() - self.started) < SAME_START_SECONDS
            # where the clock was set by more, one of ours that has the pid counts as the same: to err so closes nothing
            return runs(found) and (is_same or found.cmdline()[1:3] == ["-m", "steps"])
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True

    def found(self) -> psutil.Process | None:
        """The process as psutil knows it, which a clock that is set does not make another one; None if it is dead."""
        with suppress(psutil.Error):
            if self.is_alive():
                return psutil.Process(self.pid)
        return None


def me() -> Process:
    """The identity of this process."""
    return Process.of(psutil.Process())


def host() -> str:
    """The name of this machine as far as pids go: a container that counts its own is another one."""
    name = socket.gethostname()
    space = pid_space()
    return name if space in ("", FIRST_PID_SPACE) else f"{name}/{space}"


def runs(process: psutil.Process) -> bool:
    """Whether a process still runs, and has not ended without its parent having asked for its status."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pid_space() -> str:
    """The number of the namespace that pids are counted in; "" where the system has none."""
    with suppress(OSError):
        return "".join(letter for letter in str(Path("/proc/self/ns/pid").readlink()) if letter.isdigit())
    return ""
