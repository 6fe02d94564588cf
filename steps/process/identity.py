"""The identity of a process: its pid and start time, since another process may get the same pid later."""

import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

# psutil computes start times from the boot time, which moves when the clock is set.
SAME_START_SECONDS = 1.5
# The number of the first pid namespace on any Linux.
FIRST_PID_SPACE = "4026531836"


@dataclass(frozen=True)
class Process:
    """A process, identified by pid and start time."""

    pid: int
    started: float  # seconds since 1970

    @staticmethod
    def of(process: psutil.Process) -> "Process":
        """The identity of a psutil process."""
        return Process(process.pid, round(process.create_time(), 2))

    @staticmethod
    def parse(text: str) -> "Process":
        """Read an identity from its `str`, PID:STARTED."""
        pid, started = text.split(":")
        return Process(int(pid), float(started))

    def __str__(self) -> str:
        return f"{self.pid}:{self.started:.2f}"

    def is_alive(self) -> bool:
        """Whether the process still runs; a zombie does not."""
        try:
            found = psutil.Process(self.pid)
            is_same = abs(found.create_time() - self.started) < SAME_START_SECONDS
            # where the clock was set by more, any of ours with this pid counts as the same: this error closes no run
            return runs(found) and (is_same or found.cmdline()[1:3] == ["-m", "steps"])
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True

    def found(self) -> psutil.Process | None:
        """The process as a psutil object, which survives that the clock is set; None where the process is dead."""
        with suppress(psutil.Error):
            if self.is_alive():
                return psutil.Process(self.pid)
        return None


def me() -> Process:
    """The identity of this process."""
    return Process.of(psutil.Process())


def host() -> str:
    """The name of this machine, with its pid namespace: a container with pids of its own counts as another machine."""
    name = socket.gethostname()
    space = pid_space()
    return name if space in ("", FIRST_PID_SPACE) else f"{name}/{space}"


def runs(process: psutil.Process) -> bool:
    """Whether a process still runs; a zombie, whose parent has not asked for its exit status, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pid_space() -> str:
    """The number of this process's pid namespace; "" where the system has none."""
    with suppress(OSError):
        return "".join(letter for letter in str(Path("/proc/self/ns/pid").readlink()) if letter.isdigit())
    return ""
