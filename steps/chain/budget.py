"""The budget of a chain: its seconds, divided among its steps so that all of them fit in.

What comes before the models takes what it takes. For what comes after them, the table of the chain says how much is
left. The models get the rest, each by its share (`tabular.model.shares`) of what is left when it begins. Models without
a search begin first, so that what they leave goes to the searches.
"""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mlflow.entities import Run

from steps.chain.launch import Parent
from steps.pipeline import Task
from steps.process import lifecycle
from steps.run import lookup
from steps.run.terminal import say
from steps.run.thread_budget import Time
from tabular.model import shares
from tabular.problem import REFIT, Problem

# The start of `mlflow run` and main on two cores; what main does when the last step has ended, and the end of both.
START_SECONDS, END_SECONDS = 6.0, 2.0
# Models get as much at least, whatever the steps before them have taken.
LEAST_SECONDS = 3.0
# The start of `mlflow run` counts, but not an environment that it builds, nor a notebook that calls it: longer ones.
LONGEST_START, LONGEST_LOCAL_START = 15.0, 60.0
# What comes after the models is taken to be as much slower than the table says as what came before, within bounds.
SLOWEST, FASTEST = 3.0, 0.8
# Of the seconds that the models would have, what is kept to fit the winner on all rows: about a quarter of what a model
# without a search takes, and less of one with it.
SHARE_OF_REFIT = 0.12
# A model is ended when it has taken so many times its seconds, or is late for what comes after, and a grace.
TIMES, GRACE_SECONDS = 2.0, 3.0


def begun(main: Parent) -> float:
    """When the chain began, in seconds of the epoch: with the command, unless that began much earlier."""
    import psutil

    mine, caller = psutil.Process().create_time(), lifecycle.calling()
    if caller is None:
        return mine
    longest = LONGEST_LOCAL_START if main.env_manager == "local" else LONGEST_START
    return caller.create_time() if mine - caller.create_time() <= longest else mine


@dataclass
class Budget:
    """The seconds of a chain under way.

    Attributes
    ----------
    problem, tasks
        Of the chain; without `timeout` the problem sets no limit.
    jobs
        How many steps may work at the same time.
    begun
        When the chain began, in seconds of the epoch; None where no clock counts.
    """

    problem: Problem
    tasks: Sequence[Task]
    jobs: int
    begun: float | None
    _models_end: float = math.inf  # in seconds of the epoch
    _ends: dict[str, float] = field(default_factory=dict)  # {model: until when it may take, search and training}
    _begun: dict[str, float] = field(default_factory=dict)  # {model: when it began}
    _planned: dict[str, float] = field(default_factory=dict)
    _used: dict[str, float] = field(default_factory=dict)
    _ended: set[str] = field(default_factory=set)  # models
    _kept: float = 0.0  # seconds, for what comes after the models
    _has_model: bool = False  # whether a model has ended well
    _size: tuple[int, int] = (0, 0)  # rows and columns of the table
    _slowness: float = 1.0  # of this machine today, over what the table of the chain says

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit."""
        return self.begun is not None and self.problem.timeout is not None

    def place(self, task: Task) -> int:
        """The place of a task among those that are ready: what a search found, models without one, searches."""
        if not self.is_limited or task.model is None:
            return 0
        return 2 if task.step.name == "hpo" else 0 if self.problem.models[task.model].space else 1

    def begin(self, task: Task) -> Time:
        """Note that a task begins now; return until when it may take."""
        now = time.time()
        if not self.is_limited:
            return Time()
        if task.model is None:
            self._planned.setdefault(task.name, self._expected(task))
            return self.time_of(task)
        if task.model not in self._ends:
            self._begun[task.model], self._ends[task.model] = now, now + self._seconds(task.model, now)
        found = self.time_of(task)
        self._planned[task.name] = max(0.0, found.until - now)
        return found

    def time_of(self, task: Task) -> Time:
        """Until when a task that has begun may take: all that is left, once no other model waits."""
        if not self.is_limited:
            return Time()
        if task.model is None:
            if task.step.name != REFIT:
                return Time()
            return Time(self._last_moment(one for one in self.tasks if not one.step.pure), slowness=self._slowness)
        if len({*self._ends, *self._ended}) == len(self.problem.models):
            self._ends[task.model] = self._models_end
        end, begun = self._ends[task.model], self._begun[task.model]
        last = min(self._models_end, begun + TIMES * (end - begun))
        if task.step.name == "train" and not self._is_unsearched(task.model):
            # what a search found is fitted even if that takes longer than it should, and the fit on all rows its place
            end = self._models_end
            last = max(end, self._last_moment(one for one in self._after() if one.step.name != REFIT))
        sure = task.model == self._sure and not self._has_model
        return Time(end, math.inf if sure else last + GRACE_SECONDS, self._slowness)

    def _end(self) -> float:
        """When the chain is to end."""
        return (self.begun or 0.0) + (self.problem.timeout or math.inf)

    def _last_moment(self, after: Iterable[Task]) -> float:
        """When a fit is to have ended, so that these tasks after it fit in."""
        return self._end() - sum(map(self._expected, after)) - self._slowness * END_SECONDS

    @property
    def _sure(self) -> str:
        """The model that is not ended before another one has ended well, so that the chain ends with a model."""
        names = list(self.problem.models)
        return next(filter(self._is_unsearched, names), names[0])

    def _is_unsearched(self, model: str) -> bool:
        return not self.problem.models[model].space

    def _seconds(self, model: str, now: float) -> float:
        """The seconds of a model that begins now: its share of what is left of all jobs."""
        left = max(LEAST_SECONDS, self._models_end - now)
        under_way = [one for one in self._ends if one not in self._ended]
        of_others = sum(max(0.0, min(left, self._ends[one] - now)) for one in under_way)
        every = shares.of_models(self.problem)
        waiting = sum(share for one, share in every.items() if one not in {*self._ended, *under_way})
        free = min(self.jobs, len(every)) * left - of_others
        return min(left, max(LEAST_SECONDS, free * every[model] / waiting))

    def end(self, task: Task, seconds: float | None, ended: Mapping[str, Run]) -> None:
        """Note that a task has ended, after so many seconds; None where an earlier run had done its work."""
        if not self.is_limited:
            return
        if seconds is not None:
            self._used[task.name] = seconds
        if task.model is not None and task.step.name == "train":
            self._ended.add(task.model)
            if lookup.is_left_out(ended[task.name]):
                self._give_back()
            else:
                self._has_model = True
        if math.isinf(self._models_end) and all(one.name in ended for one in self._before()):
            self._divide(ended)

    def _give_back(self) -> None:
        """Give the other models what was kept for the evaluation of one that is left out."""
        sizes = [task.step.seconds for task in self._after()]
        self._kept -= self._slowness * sum(one.of(1, *self._size) - one.of(0, *self._size) for one in sizes)
        self._models_end = max(self._models_end, self._end() - self._kept)

    def _divide(self, ended: Mapping[str, Run]) -> None:
        """Settle until when the models may take, and say it."""
        told = ended["etl"].data.params
        self._size = int(told["rows_train"]) + int(told["rows_holdout"]), int(told["columns"])
        for task in self._before():
            if task.name in self._used:
                self._planned[task.name] = task.step.seconds.of(0, *self._size)
        now, begun, total = time.time(), self.begun or 0.0, self.problem.timeout or math.inf
        expected = START_SECONDS + sum(self._planned.values())
        self._slowness = min(SLOWEST, max(FASTEST, (now - begun) / expected))
        after = sum(self._expected(task) for task in self._after()) + self._slowness * END_SECONDS
        end = self._end()
        if any(task.step.name == REFIT for task in self._after()):
            after += SHARE_OF_REFIT * max(0.0, end - after - now)
        self._kept = after
        self._models_end = max(end - after, now + LEAST_SECONDS)
        names = ", ".join(task.step.name for task in self._after())
        few = "" if end - after > now + LEAST_SECONDS else ", which is too little: raise timeout"
        say(
            f"  {total:g} s for the chain: {now - begun:.0f} s are gone, "
            f"{self._models_end - now:.0f} s are for the models{few}, {after:.0f} s are kept for {names}"
        )

    def _expected(self, task: Task) -> float:
        candidates = len(self.problem.models) + self.problem.is_blended
        return self._slowness * task.step.seconds.of(candidates, *self._size)

    def _before(self) -> list[Task]:
        """The tasks that come before all models."""
        after = {task.name for task in self._after()}
        return [task for task in self.tasks if task.model is None and task.name not in after]

    def _after(self) -> list[Task]:
        """The tasks that come after the models: that need what a model's task leaves, or what such a task leaves."""
        found: list[Task] = []
        for task in self.tasks:  # each comes after those that it needs
            needs = {one.name for one in self.tasks if one.model is not None} | {one.name for one in found}
            if task.model is None and task.inputs() & needs:
                found.append(task)
        return found

    def left(self) -> float:
        """The seconds of the limit that are left."""
        return self._end() - time.time()

    def told(self) -> list[dict[str, str]]:
        """What was planned and used, a row for each step that ran; none where there is no limit."""
        if not self.is_limited:
            return []
        ran = [task.name for task in self.tasks if task.name in self._used]
        rows = [_row(name, self._planned.get(name), self._used[name]) for name in ran]
        return [*rows, _row("chain", self.problem.timeout, time.time() - (self.begun or 0.0))]


def _row(step: str, planned: float | None, used: float) -> dict[str, str]:
    return {"step": step, "planned s": "" if planned is None else f"{planned:.1f}", "used s": f"{used:.1f}"}
