"""The memory that a step may use: what is free now, within a container's limit, and its part of the machine."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from steps.run import thread_budget

# Where Linux says what a container may use; the roots of tests are others.
PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
# A limit as large as this is none.
NO_LIMIT = 1 << 60


def room(share: str) -> float | None:
    """The bytes that a step may use beside what it holds; None where the system does not say.

    Parameters
    ----------
    share
        The file in which main writes the step's threads, or "" outside a chain. Of the machine's memory, or of the
        container's, a step has the part that it has of the cores; and no more than is free.
    """
    try:
        memory = psutil.virtual_memory()
    except (OSError, psutil.Error, NotImplementedError):
        return None
    whole, free = float(memory.total), float(memory.available)
    for limit, used in _limits():
        whole, free = min(whole, limit), min(free, limit - used)
    return max(0.0, min(free, whole * min(1.0, thread_budget.threads(share) / thread_budget.cores())))


def killed() -> int:
    """How many processes the system has killed so far since memory ran out; 0 where it does not say."""
    counts = [_numbers(folder / "memory.events").get("oom_kill", 0) for folder in _folders("", CGROUPS)]
    return max([*counts, _numbers(PROC / "vmstat").get("oom_kill", 0)])


def _limits() -> Iterator[tuple[float, float]]:
    """The limit of each group of processes that this one is in, and what the group uses that cannot be dropped."""
    for folder in _folders("", CGROUPS):
        yield from _limit(folder, "memory.max", "memory.current", "inactive_file")
    for folder in _folders("memory", CGROUPS / "memory"):
        yield from _limit(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _limit(folder: Path, limit: str, usage: str, droppable: str) -> Iterator[tuple[float, float]]:
    with suppress(OSError, ValueError):  # "max", which is no number, is no limit
        most, used = (int((folder / name).read_text()) for name in (limit, usage))
        if most < NO_LIMIT:
            yield float(most), float(used - _numbers(folder / "memory.stat").get(droppable, 0))


def _folders(controller: str, root: Path) -> Iterator[Path]:
    """The folders of the groups that this process is in: of version 2 where no controller is named, and of version 1.

    A container sees its own group as the root, though its path is that outside.
    """
    with suppress(OSError):
        for line in (PROC / "self" / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(","):
                own = root / path.lstrip("/")
                yield from (one for one in (own, *own.parents) if one.is_relative_to(root) and one.is_dir())


def _numbers(path: Path) -> dict[str, int]:
    """The lines `name number` of a file; empty where it is not there."""
    with suppress(OSError, ValueError):
        return {name: int(value) for name, value in map(str.split, path.read_text().splitlines())}
    return {}
