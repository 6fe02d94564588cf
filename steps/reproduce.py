"""reproduce: run main or a step once more, and check that the result is the same.

Restores the run's source tree and runs its entry point on the frozen problem and the same data, with nothing reused and
the registry left alone. Then compares all that both runs recorded. The run of reproduce ends well only where all is
equal.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from mlflow.entities import Run
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENTRY_POINT

from steps.chain import launch
from steps.pipeline import STEPS, plan
from steps.replay import checkout, equality
from steps.replay.equality import DIFFERENT, MAIN, NOT_COMPARED, SAME, Finding, Pair
from steps.run import artifacts, fetching, lookup, paths, working_tree
from steps.run.step import Step
from steps.run.tags import (
    ARGUMENTS,
    DATA_DIGEST,
    MET,
    MODEL,
    OUTCOME,
    PARENT,
    PROBLEM,
    REASON,
    REPLAY_OF,
    REUSED_FROM,
    TREE,
    TRIAL,
)
from steps.run.terminal import say
from tabular.data.sources import Source
from tabular.data.sources import cache as copies
from tabular.errors import UserError
from tabular.problem import Problem

TABLE = "replay.json"
PROBLEM_FILE = "replayed.yaml"
# The parameters that the frozen problem holds already.
IN_PROBLEM = ("problem", *paths.OVERRIDES)
MOST_DIFFERENCES = 5


@dataclass(frozen=True)
class Replay:
    """A run that is to be repeated."""

    then: Run
    step: str  # main, or a row of the chain
    task: str  # name of the task in a chain, such as `train lightgbm`
    holder: Run  # the run that holds the frozen problem
    problem: Problem
    arguments: Mapping[str, str]  # of the entry point


def reproduce(step: Step) -> None:
    """Run it again, compare the two runs, report the findings."""
    asked = _asked(step)
    say(f"tabular  reproduce {asked.task} {asked.problem.name}, run {asked.then.info.run_id}")
    step.name_run(f"reproduce {asked.task}")
    step.log(tags={PROBLEM: asked.problem.name})
    given = _problem(step, asked)
    root = checkout.root(step.client, asked.then)
    project = checkout.make(root, step.folder)
    missing = _say_tree(root, project)
    now, failed = _again(step, asked, root, project, given)
    found = list(_compared(step, asked, now, failed))
    _conclude(step, asked, found, missing)


def _asked(step: Step) -> Replay:
    """The run to repeat, which the parameter `run` names; a child that shows a reused run stands for the reused run.

    Raises
    ------
    UserError
        Where there is nothing to repeat.
    """
    given = step.arguments["run"]
    run = lookup.run(step.client, given, "run")
    run = lookup.run(step.client, run.data.tags.get(REUSED_FROM, given), "run")
    tags = run.data.tags
    settled = MLFLOW_PROJECT_ENTRY_POINT not in tags and MET in tags
    name = "register" if settled else tags.get(MLFLOW_PROJECT_ENTRY_POINT, "")
    if name != MAIN and name not in STEPS:
        what = f"of {name!r}" if name else "a trial of a search" if TRIAL in tags else "not of ours"
        raise UserError(f"run: {given} is {what}, and one of main or of a step ({', '.join(STEPS)}) is needed")
    if run.info.status != "FINISHED":
        raise UserError(f"run: {given} of {name} is {run.info.status}: what did not end well has no result to compare")
    if settled:
        holder = lookup.run(step.client, tags[PARENT], "run", MAIN)
        arguments = _settled(step, holder)
    elif ARGUMENTS in tags:
        holder, arguments = run, json.loads(tags[ARGUMENTS])
    else:
        raise UserError(f"run: {given} does not say what it was given: it is older than reproduce")
    task = f"{name} {arguments['model']}" if "model" in arguments else name
    return Replay(run, name, task, holder, lookup.problem(holder, step.folder), arguments)


def _settled(step: Step, main: Run) -> dict[str, str]:
    """The parameters of a register that was not run because there was nothing to do: those main would have given."""
    runs = lookup.chain(main, step.folder)
    task = next(task for task in plan(lookup.problem(main, step.folder)) if task.name == "register")
    return task.parameters(main.info.run_id, runs)


def _problem(step: Step, asked: Replay) -> str:
    """The parameter `problem` of the entry point: the frozen problem, with the place where its data is now.

    Raises
    ------
    UserError
        Where the data is gone or has changed: nothing is run on it.
    """
    moved = step.arguments["data"]
    if asked.step not in (MAIN, "etl"):
        if moved:
            raise UserError(f"data: {asked.step} reads the data set that a run of etl left, and no table: leave it out")
        return asked.holder.info.run_id
    problem = asked.problem
    # as the run wrote it: the old tree does not know keys that have been added to problems since
    frozen = yaml.safe_load(artifacts.artifact(asked.holder, artifacts.PROBLEM, step.folder).read_text("utf-8"))
    if fetching.source(problem.data).kind != "sklearn":
        recorded = problem.data.sha256 or asked.then.data.tags[DATA_DIGEST]
        _check_data(step, asked, source := _where(step, asked, moved), recorded)
        frozen["data"] |= {"source": source.address, "sha256": recorded}
        if problem.data.query is not None:
            frozen["data"]["query"] = source.query
    elif moved:
        raise UserError(
            f"data: run {asked.then.info.run_id} read {problem.data.source}, which is part of the lock: leave it out"
        )
    path = step.folder / PROBLEM_FILE
    path.write_text(yaml.safe_dump(frozen, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return str(path)


def _where(step: Step, asked: Replay, moved: str) -> Source:
    """Where the data of the run is now: where it was, where it was said to be, or in the run's own artifacts.

    What a database answered is an artifact, since the database may give another answer today. Of a table of several
    parts, the artifact says which parts were read.
    """
    etl = _etl(step, asked)
    if etl is not None:
        with contextlib.suppress(UserError):  # a table of one file has no listing
            copies.keep_listing(
                paths.cache(), artifacts.artifact(etl, artifacts.LISTING, step.folder).read_text("utf-8")
            )
    if moved:
        return fetching.source(paths.set_over(asked.problem, {"data": moved}).data)
    source = fetching.source(asked.problem.data)
    if source.kind != "database" or etl is None:
        return source
    return Source(str(artifacts.artifact(etl, artifacts.SNAPSHOT, step.folder)))


def _etl(step: Step, asked: Replay) -> Run | None:
    """The run of etl that read the table; None where it is gone."""
    if asked.step != MAIN:
        return asked.then
    return lookup.shown(step.client, lookup.chain(asked.then, step.folder)["etl"])


def _check_data(step: Step, asked: Replay, source: Source, recorded: str) -> None:
    told = "-P data=… says where it lies now"
    if source.kind == "path":
        _check_place(step, asked, source, recorded, told)
        return
    try:
        fetching.fetch(step, source, recorded)
    except UserError as error:
        raise UserError(f"data: the table of run {asked.then.info.run_id} cannot be had: {error}; {told}") from None


def _check_place(step: Step, asked: Replay, source: Source, recorded: str, told: str) -> None:
    """Check a table on this machine."""
    run_id = asked.then.info.run_id
    try:
        found = fetching.digest(source, recorded)
    except UserError as error:
        gone = f"data: {source}, which run {run_id} read, is not there; {told}"
        raise UserError(gone if not Path(source.address).exists() else f"data: {error}; {told}") from None
    if found != recorded:
        said = f"sha256: {recorded} then, {found} now"
        _log_findings(step, [Finding(asked.task, "data", DIFFERENT, 1, (said,))])
        step.upload_artifacts()
        raise UserError(
            f"data: {source} is not what run {run_id} read: its sha256 is {found[:12]}…, and was {recorded[:12]}…; "
            f"nothing was run. {told[0].upper()}{told[1:]}"
        )


def _say_tree(root: Run, project: Path) -> list[str]:
    """Print which tree is run; return what that tree lacks of the original one."""
    tags = root.data.tags
    over = f" with {working_tree.PATCH} of run {root.info.run_id}" if tags.get(TREE) == "changed" else ""
    say(f"  the tree of commit {tags[checkout.COMMIT][:12]}{over}, in a folder of its own")
    missing = checkout.missing(root, project)
    for line in missing:
        say(f"  note: {line}")
    return missing


def _again(step: Step, asked: Replay, root: Run, project: Path, problem: str) -> tuple[Run, launch.StepFailed | None]:
    """Run the entry point again in a child of this run; return the child, and why it failed or None."""
    parameters = {name: value for name, value in asked.arguments.items() if name not in IN_PROBLEM}
    row = STEPS.get(asked.step)
    kinds: Mapping[str, Any] = row.parameters if row is not None else {}
    parameters = {name: value for name, value in parameters.items() if kinds.get(name, "conduct") != "conduct"}
    parameters["problem"] = problem
    if asked.step == MAIN:
        parameters |= {"jobs": step.arguments["jobs"]}
    if asked.step == MAIN or "replays" in kinds:
        parameters |= _replays(project, asked, root)
    parent = launch.parent(step)
    run_id = _create(step, asked, root, parent, parameters)
    try:
        now = launch.start(step.client, asked.task, asked.step, run_id, parent, parameters, project)
        return now, None
    except launch.StepFailed as error:
        return step.client.get_run(run_id), error


def _replays(project: Path, asked: Replay, root: Run) -> dict[str, str]:
    """The parameter by which an entry point repeats a run; none for a train of a tree whose train knows no clock.

    Raises
    ------
    UserError
        Where the tree is older than replays, and would reuse earlier work and change the registry.
    """
    doors = yaml.safe_load((project / "MLproject").read_text(encoding="utf-8"))["entry_points"]
    if "replays" in doors.get(asked.step, {}).get("parameters", {}):
        return {"replays": asked.then.info.run_id}
    if asked.step == "train":
        return {}
    commit = root.data.tags[checkout.COMMIT][:12]
    raise UserError(
        f"run: its commit {commit} is older than reproduce: its {asked.step} cannot be told to repeat a run"
    )


def _create(step: Step, asked: Replay, root: Run, parent: launch.Parent, parameters: Mapping[str, str]) -> str:
    """Make the child's run; its source is that of the run that it repeats, not the tree of `reproduce`."""
    source = {n: root.data.tags[n] for n in (checkout.COMMIT, *checkout.ADDRESSES) if n in root.data.tags}
    tags = {**source, REPLAY_OF: asked.then.info.run_id}
    return launch.create(step.client, f"{asked.task} (replay)", asked.step, parent, parameters, tags)


def _compared(step: Step, asked: Replay, now: Run, failed: launch.StepFailed | None):
    """The findings; for a chain, those of its tasks come before main's own."""
    if asked.step == MAIN:
        then_runs = lookup.chain(asked.then, step.folder)
        now_runs = _children(step, now)
        for task, run_id in then_runs.items():
            again, then = now_runs.pop(task, None), lookup.shown(step.client, run_id)
            if again is not None and then is not None and lookup.is_left_out(then):
                yield equality.failure(task, then, again)
            elif again is None or again.info.status != "FINISHED":
                yield equality.absent(task, _why(again, failed))
            elif then is None:
                yield equality.absent(task, f"run {run_id} is no longer there")
            else:
                yield from equality.findings(Pair(step.client, task, then, again, step.folder))
        for task in now_runs:
            yield Finding(task, "run", DIFFERENT, 1, ("none then, one now",))
    if failed is not None:
        yield equality.absent(asked.task, _why(now, failed))
    else:
        yield from equality.findings(Pair(step.client, asked.task, asked.then, now, step.folder))


def _children(step: Step, main: Run) -> dict[str, Run]:
    """The child runs of a repeated main, {task: run}."""
    asked = f"tags.`{PARENT}` = '{main.info.run_id}'"
    found = {}
    for run in step.client.search_runs([main.info.experiment_id], asked, max_results=1000):
        step_name = run.data.tags[MLFLOW_PROJECT_ENTRY_POINT]
        model = run.data.tags.get(MODEL) if STEPS[step_name].each_model else None
        found[f"{step_name} {model}" if model else step_name] = run
    return found


def _why(run: Run | None, failed: launch.StepFailed | None) -> str:
    own = run.data.tags.get(REASON) if run is not None else None
    return own or (f"not run: {failed}" if failed is not None else "not run")


def _conclude(step: Step, asked: Replay, found: list[Finding], missing: list[str]) -> None:
    """Print and log the table of findings, and end the run: well only where all is the same."""
    say()
    for line in _lines(found):
        say(line)
    say()
    _log_findings(step, found)
    run_id = asked.then.info.run_id
    wrong = _wrong(found)
    values = f"{sum(one.count for one in found):,} values"
    summary = f"the same: run {run_id} and its replay agree in {values}" if wrong is None else f"not the same: {wrong}"
    note = "\n".join(["```", *_lines(found), "```", *(f"\nLook at this: {line}." for line in missing)])
    step.finish(f"reproduce {asked.task} {asked.problem.name}", summary, f"Of run {run_id}: {summary}.\n\n{note}")
    if wrong is not None:
        step.upload_artifacts()  # the table is the purpose of this run
        raise UserError(f"run {run_id} is not the same again: {wrong}")


def _log_findings(step: Step, found: list[Finding]) -> None:
    step.table(
        {
            "task": [one.task for one in found],
            "subject": [one.subject for one in found],
            "result": [one.result for one in found],
            "values": [one.count for one in found],
            "said": ["; ".join(one.said) for one in found],
        },
        TABLE,
    )
    equal = all(one.result == SAME for one in found)
    step.log(tags={OUTCOME: SAME if equal else DIFFERENT})


def _wrong(found: list[Finding]) -> str | None:
    """What differs and what was not compared, in a line; None where all is the same."""
    parts = []
    for result in (DIFFERENT, NOT_COMPARED):
        named: dict[str, list[str]] = {}
        for one in found:
            if one.result == result:
                named.setdefault(one.task, []).append(one.subject)
        if named:
            tasks = ", ".join(f"{task} ({', '.join(subjects)})" for task, subjects in named.items())
            parts.append(f"{result}: {tasks}")
    return "; ".join(parts) or None


def _lines(found: list[Finding]) -> list[str]:
    """The findings as lines: one for each task with all that is the same, one for each subject that is not."""
    width = max(len(one.task) for one in found)
    lines = []
    for task in dict.fromkeys(one.task for one in found):
        own = [one for one in found if one.task == task]
        equal = [one for one in own if one.result == SAME and one.count]
        if equal:
            values = f"{sum(one.count for one in equal):>5,} values of {', '.join(one.subject for one in equal)}"
            lines.append(f"  {task:<{width}}  {SAME:<12}  {values}")
        for one in own:
            if one.result != SAME:
                lines.append(f"  {task:<{width}}  {one.result:<12}  {one.subject}: {_some(one.said)}")
    return lines


def _some(said: tuple[str, ...]) -> str:
    more = len(said) - MOST_DIFFERENCES
    return "; ".join(said[:MOST_DIFFERENCES]) + (f"; and {more} more ({TABLE})" if more > 0 else "")
