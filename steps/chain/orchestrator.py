"""The orchestrator of a chain: each task is reused from an earlier run or run, side by side where that is possible.

A task whose inputs are there is looked up by its key, and run where no run has done its work. A task that is certain
to run is started before its inputs are there, so that it does its imports while it waits.
"""

import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from steps.chain import launch
from steps.chain.budget import Budget
from steps.chain.reuse import Earlier
from steps.chain.started import Started, StartedTasks
from steps.pipeline import Task, plan
from steps.process import fork_server, lifecycle
from steps.run import connection, environment, kept, source_digest, termination
from steps.run.tags import PROBLEM, SUMMARY
from steps.run.terminal import say
from tabular.data.size import is_large
from tabular.metrics.lookup import CLASSIFICATION
from tabular.problem import Problem

# Enough time to check the estimators of most problems: those that use the default estimators or similar ones.
QUICK_SECONDS = 0.5


@dataclass(frozen=True)
class Orders:
    """How a chain is run; none of these settings changes a result."""

    jobs: int  # the most steps that work at the same time
    cores: int  # threads that these steps share; at least `jobs`
    reuse: bool
    begun: float | None = None  # when the chain began, in seconds of the epoch; None: no clock counts, as in a replay
    extra: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # {task: further parameters}, in a replay
    engine: Mapping[str, str] = field(default_factory=dict)  # the parameters of main that say where fits run


class Chain:
    """A chain that is being run."""

    def __init__(self, client: MlflowClient, problem: Problem, main: launch.Parent, orders: Orders) -> None:
        self._client, self._problem, self._main, self._orders = client, problem, main, orders
        self._earlier = Earlier(client, main, problem)
        self._tasks = plan(problem)
        self._width = max(len(task.name) for task in self._tasks)
        self._ended: dict[str, Run] = {}
        self._why: dict[str, str] = {}  # {task: reason}, for tasks that have to be run
        self._certain: dict[str, bool] = {}
        self._started = StartedTasks(orders.cores)
        self._checked: Future[None] | None = None  # the check of the problem's estimators
        self.budget = Budget(problem, self._tasks, orders.jobs, orders.begun)
        self._left_out: set[str] = set()  # models whose hpo or train has FAILED by the candidate alone

    def run(self) -> dict[str, Run]:
        """Run all tasks, or reuse their work.

        A candidate whose estimator refuses the rows is left out, and the chain goes on with the others.

        Returns
        -------
        dict
            {task: the run that did its work}; of a candidate that is left out, its FAILED run.

        Raises
        ------
        launch.StepFailed
            The first failure that is not of one candidate alone, that of a candidate which the problem requires, or the
            one after which no candidate is left; the other steps have been stopped.
        """
        calls: dict[Future[Run], Task] = {}
        with ThreadPoolExecutor(max_workers=len(self._tasks) + 1) as threads:
            try:
                while len(self._ended) < len(self._tasks):
                    for task in self._take_up(threads):
                        calls[threads.submit(self._start, task)] = task
                    self._wait(calls)
            except BaseException as error:
                with connection.hasty(error):
                    self._stop()
                raise
            finally:
                fork_server.close()
        return {task.name: self._ended[task.name] for task in self._tasks}

    def _wait(self, calls: dict[Future[Run], Task]) -> None:
        """Wait until a step has ended or the estimators are checked; remove the calls that have returned."""
        checks = [self._checked] if self._checked is not None and not self._checked.done() else []
        done, _ = wait([*calls, *checks], return_when=FIRST_COMPLETED)
        for future in done & calls.keys():
            self._end(calls.pop(future), future)
        if self._checked is not None and self._checked.done():
            self._checked.result()

    def _stop(self) -> None:
        """Stop the steps under way, and close their runs: runs made but not started, and trials of killed steps."""
        lifecycle.stop()
        with suppress(MlflowException):
            for one in self._started.by_name.values():
                if self._client.get_run(one.run_id).info.status == termination.RUNNING:
                    termination.mark(one.run_id, termination.STOPPED)
            termination.close(self._client, self._main.experiment_id)

    def _take_up(self, threads: ThreadPoolExecutor) -> list[Task]:
        """Reuse finished work, and let waiting tasks begin; return the tasks whose processes are to be started."""
        while any(self._take_finished(task) for task in self._ready() if task.name not in self._why):
            pass  # reused work may have made other tasks ready
        before = set(self._started.by_name)
        ready = self._ready()[: self._orders.jobs - len(self._started.begun)]
        if ready and not self._started.by_name:
            self._prepare(threads)
        for place, task in enumerate(ready):
            if task.model is not None and self._checked is not None:
                self._checked.result()  # wait for the check, slow on a busy machine: no step is to find a fault first
            say(f"  {task.name} …")
            self._create(task)
            threads = max(1, self._started.free // (len(ready) - place))
            self._started.by_name[task.name].give(threads, self.budget.begin(task))
        for task in sorted(self._tasks, key=self.budget.place):
            if self._is_early(task):
                self._create(task)
        self._started.share_out()
        return [one.task for name, one in self._started.by_name.items() if name not in before]

    def _prepare(self, threads: ThreadPoolExecutor) -> None:
        """Prepare for steps that run: hand them what they need, and check the estimators while main would only wait."""
        fork_server.warm(self._main.folder)
        source_digest.hand_over(self._main.folder)
        environment.hand_over(self._main.folder)
        if self._checked is None:
            self._checked = threads.submit(_check_estimators, self._problem)
            wait([self._checked], timeout=QUICK_SECONDS)

    def _ready(self) -> list[Task]:
        """The tasks whose inputs are there, and that have neither ended nor begun."""
        begun = {one.task.name for one in self._started.begun}
        ready = [
            task
            for task in self._tasks
            if task.name not in self._ended and task.name not in begun and task.inputs() <= set(self._ended)
        ]
        return sorted(ready, key=self.budget.place)

    def _take_finished(self, task: Task) -> bool:
        """Reuse an earlier run's work for a task, where there is one; else note why the task has to be run."""
        if not self._orders.reuse:
            self._why[task.name] = "reuse=false"
            return False
        if task.name in self._started.by_name:  # under way, whatever a concurrent chain has done meanwhile
            self._why[task.name] = self._earlier.changes(task, self._ended)
            return False
        found, said = self._earlier.find(task, self._ended)
        if found is None:
            self._why[task.name] = said
            return False
        self._finish(task, found)
        say(f"  {task.name:<{self._width}}  {said}  {found.data.tags.get(SUMMARY, '')}")
        self._say_plan(task, found)
        return True

    def _is_early(self, task: Task) -> bool:
        """Whether to start a task that has to wait: only if it is certain to run, and at most `jobs` such tasks."""
        known = {*self._ended, *self._started.by_name}
        if task.name in known or not task.inputs() <= known or self._started.waiting >= self._orders.jobs:
            return False
        if self._checked is None or not self._checked.done() or self._checked.exception():
            return False
        if task.name not in self._certain:
            self._certain[task.name] = not self._orders.reuse or self._earlier.is_certain_to_run(task)
        return self._certain[task.name]

    def _create(self, task: Task) -> None:
        if task.name in self._started.by_name:
            return
        runs = {name: run.info.run_id for name, run in self._ended.items()}
        runs |= {name: one.run_id for name, one in self._started.by_name.items()}
        asked = {**task.parameters(self._main.run_id, runs), **self._orders.extra.get(task.name, {})}
        asked |= {name: value for name, value in self._orders.engine.items() if name in task.step.parameters}
        if "resume" in task.step.parameters and not self._orders.reuse:
            asked["resume"] = "false"
        parameters = {name: value for name, value in asked.items() if value}
        tags = {PROBLEM: self._problem.name, **self._problem.tags}
        run_id = launch.create(self._client, task.name, task.step.name, self._main, parameters, tags)
        share = self._main.folder / f"share-{run_id}"
        self._started.by_name[task.name] = Started(task, run_id, parameters, share)

    def _start(self, task: Task) -> Run:
        one = self._started.by_name[task.name]
        parameters = {**one.parameters, "share": str(one.share)}
        return launch.start(self._client, task.name, task.step.name, one.run_id, self._main, parameters)

    def _end(self, task: Task, future: Future[Run]) -> None:
        """Print how a task has ended, and keep its run."""
        one = self._started.by_name[task.name]
        seconds = time.perf_counter() - one.begun
        try:
            run = future.result()
        except launch.StepFailed as failed:
            say(f"  {task.name:<{self._width}}  FAILED  run {one.run_id}")
            run = self._left_out_run(task, one.run_id, failed)
        else:
            did = f"{run.data.tags.get(SUMMARY, '')}  (ran: {self._why[task.name]})"
            say(f"  {task.name:<{self._width}}  {seconds:6.1f} s  {did}")
            self._say_plan(task, run)
        del self._started.by_name[task.name]
        self._finish(task, run, seconds)
        for other in self._started.begun:  # what this task has left may be theirs
            other.give(other.threads, self.budget.time_of(other.task))

    def _say_plan(self, task: Task, run: Run) -> None:
        """Say how the chain works on a large table, once etl has told its size."""
        rows, columns = (int(run.data.params.get(name, 0)) for name in ("rows_train", "columns"))
        if task.step.name == "etl" and is_large(rows, columns):
            from tabular.model import large_tables  # here, since few chains need it

            say(f"  {'plan':<{self._width}}  {large_tables.plan(self._problem, rows, columns)}")

    def _finish(self, task: Task, run: Run, seconds: float | None = None) -> None:
        self._ended[task.name] = run
        self.budget.end(task, seconds, self._ended)
        kept.keep(run)  # for the steps that work on it

    def _left_out_run(self, task: Task, run_id: str, failed: launch.StepFailed) -> Run:
        """The run of a candidate that is left out; raises the failure where the chain cannot go on without it."""
        if task.model is None or not failed.is_candidates or self._problem.models[task.model].required:
            raise failed
        self._left_out.add(task.model)
        if self._left_out == {*self._problem.models}:
            raise failed
        return self._client.get_run(run_id)


def _check_estimators(problem: Problem) -> None:
    from tabular.model import model_checks  # here, since it is not needed where all steps are reused

    model_checks.check(problem.models, problem.task or CLASSIFICATION, weighted=problem.data.weight is not None)
