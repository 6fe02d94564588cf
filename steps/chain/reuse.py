"""Reuse of finished work: runs found by their key, checked for damage, and shown as children of main."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENTRY_POINT

from steps.chain import keys
from steps.chain.keys import Key
from steps.chain.launch import Parent
from steps.model import registry
from steps.pipeline import Task
from steps.process import lifecycle
from steps.run import artifacts, inputs, run_owner, source_digest
from steps.run.tags import (
    KEY,
    MET,
    MODEL,
    MODEL_URI,
    NOTE,
    OUTCOME,
    OWN_KEY,
    PARENT,
    PROBLEM,
    REGISTER,
    REPORTED,
    REUSED_FROM,
    SUMMARY,
    TOO_LARGE,
    TRANSIENT,
)
from tabular.errors import UserError
from tabular.problem import BLEND, REFIT, Problem

# The most runs with one key that are checked for damage before the work is done again.
MOST_CANDIDATES = 5
FIRST = "for the first time"


@dataclass(frozen=True)
class Earlier:
    """The runs of earlier chains in main's experiment, as candidates for reuse by the tasks of this chain."""

    client: MlflowClient
    main: Parent
    problem: Problem

    def find(self, task: Task, ended: Mapping[str, Run]) -> tuple[Run | None, str]:
        """Find a run whose work a task can reuse.

        Parameters
        ----------
        task
            The task.
        ended
            {task: its run}, with all tasks whose runs this one needs.

        Returns
        -------
        tuple
            The run and a line that says that it is reused; or None and why the task has to be run.
        """
        key = self._key(task, ended)
        if not task.step.pure:
            fitted = [run for parameter in ("models", BLEND) for run in _runs(task, parameter, ended)]
            winner = registry.winner(ended["evaluate"], fitted, self.main.folder, ended.get(REFIT))
            crowned = registry.champion(self.client, self.problem)
            stands = crowned is not None and not winner["unmet"]
            if stands and registry.is_winner(self.client, crowned, winner, self.main.folder):
                return self._show_settled(task, winner["model"], crowned), "nothing to do"
        if self._is_first:
            return None, FIRST
        damaged = ""
        for run in self._finished(f"tags.`{KEY}` = '{key.whole}'", MOST_CANDIDATES):
            if run.data.tags.get(OUTCOME) == registry.REGISTERED:
                continue  # a registration that was undone since is done again
            if TRANSIENT in run.data.tags:
                wrong = "what could not be done then may be possible now"
            else:
                wrong = run.data.tags.get(TOO_LARGE) or artifacts.damage(self.client, run, self.main.folder)
            if wrong is None:
                self._show(task, run)
                return run, f"reused {run.info.run_id}"
            damaged = damaged or f"{wrong} (run {run.info.run_id})"
        return None, damaged or self._changes(task, key)

    def changes(self, task: Task, ended: Mapping[str, Run]) -> str:
        """What has changed since the last run of a task, in words."""
        return FIRST if self._is_first else self._changes(task, self._key(task, ended))

    def is_certain_to_run(self, task: Task) -> bool:
        """Whether no run can have done a task's work, whatever its inputs turn out to be."""
        if not task.step.pure and registry.champion(self.client, self.problem) is not None:
            return False  # the winner may be the champion already
        return self._is_first or not self._finished(f"tags.`{OWN_KEY}` = '{self._key(task, None).own}'", 1)

    def _key(self, task: Task, ended: Mapping[str, Run] | None) -> Key:
        contents: dict[str, str] = {}
        if ended is not None:
            if "data" in task.step.parameters:
                contents |= keys.content_of_data(self.problem, str(self.problem.data.sha256))
            for parameter in task.needs:
                contents |= keys.contents(task.step, parameter, _runs(task, parameter, ended))
            if not task.step.pure:
                contents[keys.CHAMPION] = registry.identity(registry.champion(self.client, self.problem))
        return keys.of_task(task.step, task.model, self.problem, _source(task.step.name), contents)

    def _changes(self, task: Task, key: Key) -> str:
        asked = {
            MLFLOW_PROJECT_ENTRY_POINT: task.step.name,
            PROBLEM: self.problem.name,
            **({MODEL: task.model} if task.model is not None else {}),
        }
        words = [f"tags.`{name}` = '{value}'" for name, value in asked.items()]
        for last in self._finished(" and ".join([*words, f"tags.`{OWN_KEY}` != ''"]), 1):
            try:
                before = artifacts.artifact(last, artifacts.KEY_PARTS, self.main.folder).read_text(encoding="utf-8")
            except UserError:
                return f"run {last.info.run_id}, the last one, is damaged"
            # another chain may have done the same meanwhile, or what was done may have been undone since
            same = f"nothing has changed since run {last.info.run_id}, which could not be reused"
            return _in_a_line(keys.changed(json.loads(before), key.parts)) or same
        return FIRST

    @cached_property
    def _is_first(self) -> bool:
        """Whether nothing of the experiment can be reused, so that not each task has to be looked for."""
        return not self._finished(f"tags.`{KEY}` != ''", 1)

    def _finished(self, asked: str, most: int) -> list[Run]:
        return self.client.search_runs(
            [self.main.experiment_id],
            f"{asked} and attributes.status = 'FINISHED'",
            max_results=most,
            order_by=["attributes.start_time DESC"],
        )

    def _show(self, task: Task, found: Run) -> None:
        """Make a small finished child of main that shows the run whose work is reused.

        The child has no key and no metrics, so that neither reuse nor a comparison of runs finds it.
        """
        tags = found.data.tags
        page = f"#/experiments/{found.info.experiment_id}/runs/{found.info.run_id}"
        note = f"Not run again: [run {found.info.run_id}]({page}) did this already.\n\n{tags.get(SUMMARY, '')}"
        run_id = self._child(f"{task.name} (reused)", {REUSED_FROM: found.info.run_id, NOTE: note})
        if MODEL_URI in tags:
            inputs.log_output(self.client, run_id, artifacts.model_id(tags[MODEL_URI]))
        self.client.set_terminated(run_id)

    def _show_settled(self, task: Task, winner: str, crowned) -> Run:
        """Make a finished child of main that shows that register had nothing to do; return its run."""
        reason = f"{winner} is the champion (version {crowned.version}) already"
        tags = registry.verdict_tags(self.problem, registry.KEPT, reason, winner, crowned)
        met = {MET: registry.identity(crowned), REPORTED: crowned.tags.get(REGISTER, "")}
        run_id = self._child(f"{task.name} (nothing to do)", {**tags, **met, SUMMARY: reason, NOTE: f"{reason}."})
        self.client.set_terminated(run_id)
        return self.client.get_run(run_id)

    def _child(self, name: str, tags: Mapping[str, str]) -> str:
        own = {PARENT: self.main.run_id, PROBLEM: self.problem.name, **self.problem.tags}
        all_tags = {**self.main.tags, **run_owner.tags(), **own, **tags}
        with lifecycle.uninterrupted():
            return self.client.create_run(self.main.experiment_id, tags=all_tags, run_name=name).info.run_id


@cache
def _source(step: str) -> Mapping[str, str]:
    return source_digest.digests(step)


def _runs(task: Task, parameter: str, ended: Mapping[str, Run]) -> list[Run]:
    return [ended[name] for name in task.needs[parameter]]


def _in_a_line(words: list[str], most: int = 4) -> str:
    shown = ", ".join(words[:most])
    return f"{shown} and {len(words) - most} more" if len(words) > most else shown
