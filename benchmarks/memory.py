"""The memory of running processes, from the outside: Linux only, it reads /proc."""

import os
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

# How often the processes are looked at, and how often their shares of memory are summed, which takes longer.
SECONDS, SECONDS_OF_SUM = 0.2, 0.5
STEP = re.compile(r"-m\0steps\0(\w+)\0")
MODEL = re.compile(r"--model=(\w+)")


@dataclass
class Memory:
    """The most memory of the processes below one, in MB.

    Attributes
    ----------
    root
        The process.
    of_steps
        Of each step's largest process (VmHWM, which counts what a fork shares with its parent).
    together
        Of all processes of a step at once (proportional set size, which counts shared pages once).
    of_all
        Of all processes at once.
    work
        The seconds that each process of a step has worked, as last seen.

    """

    root: int
    of_steps: dict[str, float] = field(default_factory=dict)
    together: dict[str, float] = field(default_factory=dict)
    of_all: float = 0.0
    work: dict[str, dict[int, float]] = field(default_factory=dict)
    ended: bool = False

    def watch(self) -> None:
        """Look at the processes until told to end."""
        summed = 0.0
        while not self.ended:
            parents = _below(self.root)
            for pid in parents:
                self._see(pid)
            if time.monotonic() - summed > SECONDS_OF_SUM:
                summed = time.monotonic()
                self._sum(parents)
            time.sleep(SECONDS)

    def _see(self, pid: int) -> None:
        name = _step(pid)
        high = re.search(r"VmHWM:\s+(\d+)", _read(pid, "status"))
        if name and high:
            self.of_steps[name] = max(self.of_steps.get(name, 0.0), int(high[1]) / 1024)
            ticks = _read(pid, "stat").rpartition(")")[2].split()[11:13]
            self.work.setdefault(name, {})[pid] = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    def _sum(self, parents: Mapping[int, int]) -> None:
        """Sum the shares of all processes, and of each step: a process belongs to the step that it descends from."""
        held: dict[str, float] = defaultdict(float)
        steps: dict[int, str] = {}
        for pid, parent in parents.items():
            steps[pid] = _step(pid) or steps.get(parent, "")
            held[steps[pid]] += _share(pid)
        self.of_all = max(self.of_all, sum(held.values()))
        for name, share in held.items():
            self.together[name] = max(self.together.get(name, 0.0), share)


@contextmanager
def watched(pid: int) -> Iterator[Memory]:
    """Watch a process and all below it."""
    memory = Memory(pid)
    watcher = threading.Thread(target=memory.watch)
    watcher.start()
    try:
        yield memory
    finally:
        memory.ended = True
        watcher.join()


def _step(pid: int) -> str:
    """Which step a process is of, by its own words; "" where they do not say."""
    words = _read(pid, "cmdline")
    step, model = STEP.search(words), MODEL.search(words)
    return "" if step is None else f"{step[1]} {model[1]}" if model else step[1]


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")
    except OSError:  # it has ended
        return ""


def _share(pid: int) -> float:
    found = re.search(r"^Pss:\s+(\d+)", _read(pid, "smaps_rollup"), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def _below(root: int) -> dict[int, int]:
    """A process and all that descend from it, each after its parent: {process: its parent}."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        stat = _read(int(path.name), "stat")
        if stat:
            parents[int(path.name)] = int(stat.rpartition(")")[2].split()[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return {pid: parents.get(pid, 0) for pid in found}
