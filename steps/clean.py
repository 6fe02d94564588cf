"""clean: delete runs that nobody needs any more, with their models and artifacts.

Without `delete=true` it says what would go, and deletes nothing. A chain goes or stays as a whole.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlflow.entities import LoggedModel, Run
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENTRY_POINT

from steps.pipeline import STEPS
from steps.run import artifact_store, artifacts, cli, lookup, tracking
from steps.run.step import Step
from steps.run.tags import MONITORED, PARENT, PROBLEM, REGISTRY, SUMMARY, TRIAL
from steps.run.terminal import say, table
from tabular.errors import UserError

TABLE = "cleaned.json"
DEFAULT_AGE, DEFAULT_KEEP = "30d", 10
UNITS = {"h": 1 / 24, "d": 1, "w": 7}
# How many rows of each kind the terminal shows.
MOST_SHOWN = 15
# The id of a run, or of a logged model, within the value of a tag or a parameter; no part of a longer digest.
ID = re.compile(r"(?<![0-9a-zA-Z])(?:m-)?[0-9a-f]{32}(?![0-9a-zA-Z])")


@dataclass(frozen=True)
class Policy:
    """What may go: what has ended so many days ago, but not the newest of each kind."""

    days: float
    keep: int

    @property
    def said(self) -> str:
        """The policy in words."""
        return f"older than {self.days:g} days, and not among the newest {self.keep} of its kind"


@dataclass(frozen=True)
class Tree:
    """A run that is nobody's child in the experiment, with all runs below it: a chain, or a run by hand.

    Attributes
    ----------
    root
        The run.
    runs
        It, its children and theirs.
    models
        What these runs have logged.

    """

    root: Run
    runs: tuple[Run, ...]
    models: tuple[LoggedModel, ...]

    @property
    def kind(self) -> tuple[str, str]:
        """Which runs it counts among: those of an entry point, about one problem or registered model."""
        tags = self.root.data.tags
        return tags.get(MLFLOW_PROJECT_ENTRY_POINT, ""), tags.get(PROBLEM, tags.get(MONITORED, ""))

    @property
    def is_ours(self) -> bool:
        """Whether an entry point of this project made it."""
        return self.kind[0] in {*cli.ENTRY_POINTS, *STEPS}

    @property
    def under_way(self) -> bool:
        """Whether one of its runs has not ended."""
        return any(run.info.end_time is None for run in self.runs)

    @property
    def ended(self) -> float:
        """When the last of its runs ended, in seconds of the epoch; of one without an end, when it began."""
        return max(run.info.end_time or run.info.start_time for run in self.runs) / 1000

    @property
    def ids(self) -> set[str]:
        """The ids of its runs and models."""
        return {run.info.run_id for run in self.runs} | {model.model_id for model in self.models}

    @property
    def elsewhere(self) -> set[str]:
        """Where its models are registered, if that is not the registry that is asked now."""
        return {run.data.tags[REGISTRY] for run in self.runs if REGISTRY in run.data.tags} - {tracking.registry()}

    @property
    def names(self) -> set[str]:
        """The ids that its runs' tags and parameters name."""
        return {one for run in self.runs for values in (run.data.tags, run.data.params) for one in _ids(values)}

    def places(self) -> Iterator[str]:
        """Where its artifacts and models lie. A trial has none: a large search would be a thousand questions."""
        yield from (run.info.artifact_uri for run in self.runs if TRIAL not in run.data.tags)
        yield from (model.artifact_location for model in self.models)


def clean(step: Step) -> None:
    """Find what may go by the policy, say it, and delete it if that is asked for."""
    policy, deletes = _policy(step.arguments), _deletes(step.arguments["delete"])
    trees = _trees(step)
    reasons = _kept(trees, policy, _registered(step))
    gone = [tree for tree in trees if tree.root.info.run_id not in reasons]
    sizes = {tree.root.info.run_id: sum(map(artifact_store.size, tree.places())) for tree in gone}
    rows = _rows(trees, reasons, sizes)
    _say(step, policy, rows)
    if deletes:
        _refuse_beside_chains(trees)
        for tree in gone:
            _delete(step, tree)
    step.table(artifacts.by_column(rows), TABLE)
    _log(step, policy, gone, sum(sizes.values()), deletes=deletes)


# --- the request ------------------------------------------------------------------------------------------------------


def _policy(given: Mapping[str, str]) -> Policy:
    age, keep = given["older_than"] or DEFAULT_AGE, given["keep"] or str(DEFAULT_KEEP)
    found = re.fullmatch(r"(\d+)([hdw])", age)
    if found is None:
        raise UserError(f"older_than: {age!r} is no age such as 12h, 30d or 8w: hours, days or weeks")
    if not keep.isdecimal():
        raise UserError(f"keep: {keep!r} is not a whole number from 0 up; it says how many of each kind stay")
    return Policy(int(found[1]) * UNITS[found[2]], int(keep))


def _deletes(text: str) -> bool:
    if text not in ("", "true", "false"):
        raise UserError(f"delete: {text!r} is neither 'true' nor 'false'; 'true' deletes what is listed, for good")
    return text == "true"


# --- what there is ----------------------------------------------------------------------------------------------------


def _trees(step: Step) -> list[Tree]:
    """All runs of the experiment but this one, as trees; the newest first."""
    client, here = step.client, [step.experiment_id]
    found = lookup.every(lambda page: client.search_runs(here, max_results=1000, page_token=page))
    runs = {run.info.run_id: run for run in found if run.info.run_id != step.run_id}
    below: dict[str, list[Run]] = {}
    for run in runs.values():
        below.setdefault(_root(run, runs), []).append(run)
    logged: dict[str, list[LoggedModel]] = {}
    for model in lookup.every(lambda page: client.search_logged_models(here, page_token=page)):
        if model.source_run_id in runs:
            logged.setdefault(_root(runs[model.source_run_id], runs), []).append(model)
    trees = [Tree(runs[root], tuple(each), tuple(logged.get(root, ()))) for root, each in below.items()]
    return sorted(trees, key=lambda tree: tree.ended, reverse=True)


def _root(run: Run, runs: Mapping[str, Run]) -> str:
    """The id of the run that a run lies below, itself where it is nobody's child."""
    while (parent := run.data.tags.get(PARENT)) in runs:
        run = runs[parent]
    return run.info.run_id


def _registered(step: Step) -> dict[str, str]:
    """What the registry points to, as far as this account sees it: {id of a run or a logged model: which version}."""
    found = {}
    for version in lookup.every(lambda page: step.client.search_model_versions(max_results=1000, page_token=page)):
        named = {**version.tags, "run": version.run_id or "", "source": version.source or ""}
        found |= dict.fromkeys(_ids(named), f"{version.name} version {version.version}")
    return found


def _ids(values: Mapping[str, str]) -> set[str]:
    return {one for value in values.values() for one in ID.findall(value)}


# --- what stays -------------------------------------------------------------------------------------------------------


def _kept(trees: Sequence[Tree], policy: Policy, registered: Mapping[str, str]) -> dict[str, str]:
    """Why trees stay, {id of the root: reason}: for a reason of their own, or since one that stays names them."""
    counts: dict[tuple[str, str], int] = {}
    found, latest = {}, time.time() - 86400 * policy.days
    for tree in trees:
        counts[tree.kind] = counts.get(tree.kind, 0) + 1
        versions = sorted({registered[one] for one in tree.ids & registered.keys()})
        reasons = {
            "not made by this project": not tree.is_ours,
            "under way": tree.under_way,
            f"the registry has it: {', '.join(versions)}": bool(versions),
            f"registered in {', '.join(sorted(tree.elsewhere))}, which MLFLOW_REGISTRY_URI names": bool(tree.elsewhere),
            f"among the newest {policy.keep} of its kind": counts[tree.kind] <= policy.keep,
            f"not older than {policy.days:g} days": tree.ended > latest,
        }
        why = next((reason for reason, holds in reasons.items() if holds), None)
        if why is not None:
            found[tree.root.info.run_id] = why
    holders = {one: tree for tree in trees for one in tree.ids}
    to_ask = [tree for tree in trees if tree.root.info.run_id in found]
    while to_ask:
        tree = to_ask.pop()
        for other in {holders[one].root.info.run_id: holders[one] for one in tree.names & holders.keys()}.values():
            if other.root.info.run_id not in found:
                found[other.root.info.run_id] = f"run {tree.root.info.run_id}, which stays, points to it"
                to_ask.append(other)
    return found


# --- what goes --------------------------------------------------------------------------------------------------------


def _refuse_beside_chains(trees: Sequence[Tree]) -> None:
    """Refuse to delete beside a chain, which may be about to take the work of a run that goes."""
    for tree in trees:
        if tree.is_ours and tree.under_way:
            raise UserError(
                f"delete: run {tree.root.info.run_id} ({tree.kind[0]}) of this experiment is under way, and may take "
                "the work of a run that would go: delete when it has ended; where its process is gone, the next chain "
                "of its machine closes it"
            )


def _delete(step: Step, tree: Tree) -> None:
    """Delete a tree: what it holds first, so that what is cut short is found again by the next clean."""
    for place in tree.places():
        artifact_store.remove(place)
    for model in tree.models:
        step.client.delete_logged_model(model.model_id)
    for run in reversed(tree.runs):
        step.client.delete_run(run.info.run_id)


# --- what is said -----------------------------------------------------------------------------------------------------


def _say(step: Step, policy: Policy, rows: Sequence[Mapping[str, Any]]) -> None:
    experiment = step.client.get_experiment(step.experiment_id)
    say(f"tabular  clean the experiment {experiment.name!r}: what is {policy.said}")
    gone, kept = [row for row in rows if not row["stays"]], [row for row in rows if row["stays"]]
    for title, some in (("goes", gone), ("stays", kept)):
        say()
        say(f"  {title}: {len(some)}")
        if some:
            shown = [{name: value for name, value in row.items() if name != "summary"} for row in some[:MOST_SHOWN]]
            say(table(shown))
            if some[MOST_SHOWN:]:
                say(f"  and {len(some) - MOST_SHOWN} more, in {TABLE} of this run")
    say()


def _rows(trees: Sequence[Tree], reasons: Mapping[str, str], sizes: Mapping[str, int]) -> list[dict[str, Any]]:
    return [
        {
            "run": tree.root.info.run_id,
            "of": " ".join(tree.kind).strip(),
            "ended": datetime.fromtimestamp(tree.ended, UTC).strftime("%Y-%m-%d %H:%M"),
            "runs": len(tree.runs),
            "MB": round(sizes.get(tree.root.info.run_id, 0) / 1e6, 1),
            "stays": reasons.get(tree.root.info.run_id, ""),
            "summary": tree.root.data.tags.get(SUMMARY, ""),
        }
        for tree in trees
    ]


def _log(step: Step, policy: Policy, gone: Sequence[Tree], freed: int, *, deletes: bool) -> None:
    runs, models = sum(len(tree.runs) for tree in gone), sum(len(tree.models) for tree in gone)
    step.log(
        params={"older_than_days": f"{policy.days:g}", "kept_of_a_kind": policy.keep, "deleted": deletes},
        metrics={"runs_found": runs, "models_found": models, "bytes_found": freed},
    )
    what = f"{runs} runs and {models} models, {freed / 1e6:,.1f} MB"
    said = f"{what}: deleted" if deletes else f"{what}: nothing was deleted; -P delete=true deletes them for good"
    say(f"  {said}")
    if deletes:
        say("  their rows stay in the store, as deleted, until its keeper runs `mlflow gc`")
    step.finish("clean", said, f"What is {policy.said}: {said}.")
