"""The started tasks of a chain, and the threads that they share."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from steps.pipeline import Task
from steps.run import thread_budget
from steps.run.thread_budget import Time


@dataclass
class Started:
    """A task whose process has been started."""

    task: Task
    run_id: str
    parameters: Mapping[str, str]  # of the entry point
    share: Path  # the file that lets the step begin, and says how many threads it may use
    threads: int = 0  # 0: the task waits for its inputs
    begun: float = 0.0
    time: Time = field(default_factory=Time)

    def give(self, threads: int, time_: Time | None = None) -> None:
        """Set the number of threads that the task may use, and until when; the first time, this lets the task begin."""
        if not self.threads:
            self.begun = time.perf_counter()
        self.threads = threads
        self.time = time_ or self.time
        thread_budget.write(self.share, self.threads, self.time)


@dataclass
class StartedTasks:
    """The tasks of a chain that have been started and have not ended, by their names; they share `cores` threads."""

    cores: int
    by_name: dict[str, Started] = field(default_factory=dict)

    @property
    def begun(self) -> list[Started]:
        """The tasks that work."""
        return [one for one in self.by_name.values() if one.threads]

    @property
    def waiting(self) -> int:
        """The number of tasks that wait for their inputs."""
        return len(self.by_name) - len(self.begun)

    @property
    def free(self) -> int:
        """The number of threads that no task uses."""
        return self.cores - sum(one.threads for one in self.begun)

    def share_out(self) -> None:
        """Add the free threads to the tasks that work.

        A task never loses threads, so that none are used twice.
        """
        begun, free = self.begun, self.free
        if begun and free > 0:
            for place, one in enumerate(begun):
                more = free // len(begun) + (place < free % len(begun))
                if more:
                    one.give(one.threads + more)
