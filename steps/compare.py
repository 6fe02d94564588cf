"""compare: the best runs of an experiment by a metric, as a comparison table with the parameters in which they differ.

MLflow filters, sorts and pages the runs. Runs that did the same work are listed once.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlflow.entities import Experiment, Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENTRY_POINT
from mlflow.utils.validation import validate_param_and_metric_name

from steps.comparison import comparison_table
from steps.comparison.comparison_table import Board, Entry
from steps.run import artifacts, lookup
from steps.run.step import Step
from steps.run.tags import OF_A_STEP, PROBLEM, PRUNED, TRIAL
from steps.run.terminal import fitting, markdown, say, table
from steps.search import trial_runs
from tabular.errors import UserError, first_line, listed, nearest
from tabular.metrics.lookup import CLASSIFICATION, METRICS, REGRESSION, metric, sign, task_of
from tabular.metrics.metric import rounded
from tabular.plots import run_plots, style

TABLE = "comparison.json"
DEFAULT_TOP, MOST_TOP = 10, 200
LONGEST_NOTE, MOST_COLUMNS_OF_NOTE = 4000, 16
FINISHED = "attributes.status = 'FINISHED'"
ALIKE = "Runs that did the same work as one of these are not listed."
EXAMPLE = f"-P filter='metrics.roc_auc > 0.9 and tags.{PROBLEM} = \"hotel_bookings\"'"
# Prefixes and suffixes that the steps add to a metric's name when they log it.
AROUND = re.compile(r"^(.*/)?((best|baseline)_)?((cv|training|search|challenger|champion)_)?|_(mean|low|high)$")


@dataclass(frozen=True)
class Kind:
    """A kind of runs that can be compared with each other."""

    named: str
    asked: str  # the filter that finds them, in MLflow's search language
    logged: str  # the name by which they log a metric of ours
    beside: tuple[str, ...]  # the other metrics that are shown; `first` and `second` of BESIDE


KINDS = {
    "main": Kind(
        "runs of main",
        f"tags.`{MLFLOW_PROJECT_ENTRY_POINT}` = 'main'",
        "{}",
        ("cv_{}_mean", "{first}", "{second}", "chain_seconds"),
    ),
    "train": Kind(
        "runs of train",
        f"tags.`{MLFLOW_PROJECT_ENTRY_POINT}` = 'train'",
        "cv_{}_mean",
        ("cv_{}_std", "training_{}", "cv_{second}_mean", "fit_seconds"),
    ),
    # without pruned trials, whose scores are estimates
    "trials": Kind(
        "trials",
        f"tags.`{TRIAL}` != '' and tags.`{PRUNED}` IS NULL",
        "search_{}",
        ("trial_seconds",),
    ),
    "all": Kind("runs", "", "{}", ("{first}", "{second}")),
}
# The metrics of a task that are shown beside the one that ranks.
BESIDE = {CLASSIFICATION: ("accuracy", "log_loss"), REGRESSION: ("mae", "r2")}


@dataclass(frozen=True)
class Asked:
    """A request to compare: which runs, by which metric, and how many."""

    experiment: Experiment
    kind: Kind
    filter: str
    metric: str  # the name by which the runs log it
    greater_is_better: bool
    top: int

    @property
    def condition(self) -> str:
        """The filter that finds the runs, in MLflow's search language."""
        return " and ".join(filter(None, [self.kind.asked, FINISHED, self.filter]))

    @property
    def shown(self) -> list[str]:
        """The metrics that are shown to a person, the one that ranks first."""
        bare = _bare(self.metric)
        first, second = BESIDE[task_of(bare)]
        beside = (name.format(bare, first=first, second=second) for name in self.kind.beside)
        return list(dict.fromkeys([self.metric, *beside]))

    @property
    def title(self) -> str:
        """A short title for the comparison."""
        return f"{self.kind.named} by {self.metric}"


def compare(step: Step) -> None:
    """Find the best runs, and log, draw and print the comparison table."""
    asked = _asked(step)
    works = _best(step, asked)
    found = comparison_table.of_entries(step.client, [entries[0] for entries in works], asked.shown)
    better = "more" if asked.greater_is_better else "less"
    say(f"tabular  compare {asked.title} ({better} is better) in the experiment {asked.experiment.name!r}")
    _log(step, asked, found)
    _draw(step, asked, found)
    _conclude(step, asked, found, is_listed_once=any(len(entries) > 1 for entries in works))


# --- the request ------------------------------------------------------------------------------------------------------


def _asked(step: Step) -> Asked:
    given = step.arguments
    experiment = _experiment(step, given["experiment"])
    of = given["of"] or "main"
    if of not in KINDS:
        raise UserError(f"of: {of!r} is not known{nearest(of, KINDS)}; one of {', '.join(KINDS)}")
    text = given["top"] or str(DEFAULT_TOP)
    if not text.isdecimal() or not 1 <= int(text) <= MOST_TOP:
        raise UserError(f"top: {text!r} is not a whole number from 1 to {MOST_TOP}; it says how many runs to compare")
    _check_filter(step, experiment, given["filter"])
    logged = _logged(KINDS[of], given["metric"] or _searched_by(step, experiment))
    return Asked(experiment, KINDS[of], given["filter"], logged, _more_is_better(logged, given["direction"]), int(text))


def _experiment(step: Step, name: str) -> Experiment:
    """The experiment with this name, else with this id; without a name, the experiment of this run."""
    if not name:
        return step.client.get_experiment(step.experiment_id)
    found = step.client.get_experiment_by_name(name)
    if found is None and name.isdecimal():
        try:
            found = step.client.get_experiment(name)
        except MlflowException:
            found = None
    if found is not None and found.lifecycle_stage == "active":
        return found
    known = [experiment.name for experiment in step.client.search_experiments(max_results=1000)]
    raise UserError(f"experiment: there is none named {name!r}{nearest(name, known)}; there are {listed(known)}")


def _check_filter(step: Step, experiment: Experiment, asked: str) -> None:
    """Search with the user's filter alone, so that an error message of MLflow is about the user's words only."""
    try:
        step.client.search_runs([experiment.experiment_id], asked, max_results=1)
    except MlflowException as error:
        if not asked or error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        said = first_line(error).removeprefix(f"{error.error_code}: ")  # a tracking server begins its message so
        raise UserError(f"filter: MLflow does not understand {asked!r}: {said}; for instance {EXAMPLE}") from None


def _searched_by(step: Step, experiment: Experiment) -> str:
    """The metric that the newest FINISHED run of main searched by."""
    newest = step.client.search_runs([experiment.experiment_id], f"{KINDS['main'].asked} and {FINISHED}", max_results=1)
    if not newest:
        raise UserError(
            f"metric: the experiment {experiment.name!r} has no FINISHED run of main that would tell one: give "
            "-P metric=roc_auc, for instance, or another experiment (-P experiment=NAME)"
        )
    return lookup.problem(newest[0], step.folder).search.metric


def _logged(kind: Kind, name: str) -> str:
    """The name by which these runs log a metric; a name that is not a metric of ours is left as it is."""
    try:
        return kind.logged.format(metric(name).name)
    except UserError:
        return name


def _bare(logged: str) -> str:
    """The metric without the prefixes and suffixes of a logged name: `cv_roc_auc_mean` gives `roc_auc`."""
    return AROUND.sub("", logged)


def _more_is_better(logged: str, direction: str) -> bool:
    if direction not in ("", "maximize", "minimize"):
        raise UserError(f"direction: {direction!r} is neither 'maximize' nor 'minimize'")
    if direction:
        return direction == "maximize"
    if logged.endswith(("_seconds", "_std", "_loss_by_iteration")) or logged in OF_A_STEP:
        return False
    try:
        return sign(_bare(logged)) > 0
    except UserError:
        known = [name for table in METRICS.values() for name in table]
        raise UserError(
            f"metric: {logged!r} is none of ours{nearest(_bare(logged), known)}; of another one say which is better: "
            "-P direction=maximize or minimize"
        ) from None


# --- the runs ---------------------------------------------------------------------------------------------------------


def _best(step: Step, asked: Asked) -> list[list[Entry]]:
    """The best runs in groups that did the same work; the best group first, and in a group the best run.

    Raises
    ------
    UserError
        Where there are no runs, or none with the metric.
    """
    found: dict[Any, list[Entry]] = {}
    for run in _ordered(step, asked):
        entry = comparison_table.entry(run, step.folder)
        if entry.work not in found and len(found) == asked.top:
            break
        found.setdefault(entry.work, []).append(entry)
    if not found:
        raise UserError(_nothing(step, asked))
    return list(found.values())


def _ordered(step: Step, asked: Asked) -> Iterator[Run]:
    """The runs that have the metric, the best first; equal runs in the order of their start."""
    if not validate_param_and_metric_name(asked.metric):
        return  # MLflow neither logs such a name nor sorts by it
    order = [f"metrics.`{asked.metric}` {'DESC' if asked.greater_is_better else 'ASC'}", "attributes.start_time ASC"]
    about = {"order_by": order, "max_results": 2 * asked.top}
    ids = [asked.experiment.experiment_id]
    for run in lookup.every(lambda page: step.client.search_runs(ids, asked.condition, page_token=page, **about)):
        if math.isnan(run.data.metrics.get(asked.metric, math.nan)):
            return  # MLflow sorts runs without the metric last
        yield run


def _nothing(step: Step, asked: Asked) -> str:
    """Why there is nothing to compare."""
    where = f"the experiment {asked.experiment.name!r} has no FINISHED {asked.kind.named}"
    where += " that the filter lets pass" if asked.filter else ""
    newest = step.client.search_runs([asked.experiment.experiment_id], asked.condition, max_results=1)
    if not newest:
        return f"of: {where}; -P experiment=NAME names another experiment, -P of= other runs ({', '.join(KINDS)})"
    known = sorted(newest[0].data.metrics)
    return f"metric: {where} with {asked.metric!r}{nearest(asked.metric, known)}; the newest has {listed(known)}"


# --- the result -------------------------------------------------------------------------------------------------------


def _log(step: Step, asked: Asked, found: Board) -> None:
    """Log the comparison table with all metrics, and the filter and order that made it."""
    step.table(found.columns, TABLE)
    step.log(
        params={
            "compared_experiment": asked.experiment.name,
            "compared_runs": asked.condition[: trial_runs.LONGEST],
            "compared_metric": asked.metric,
            "compared_direction": "maximize" if asked.greater_is_better else "minimize",
        }
    )


def _draw(step: Step, asked: Asked, found: Board) -> None:
    scores = found.metrics[asked.metric]
    spreads = found.metrics.get(f"{asked.metric.removesuffix('_mean')}_std")
    names = [f"{run_id[:8]} {name}" for run_id, name in zip(found.about["run"], found.names, strict=True)]
    about = {"metric": asked.metric, "greater_is_better": asked.greater_is_better}
    drawn = {
        "ranking": run_plots.ranking(names, scores, spreads, title=f"The best {asked.title}", **about),
        "parallel_coordinates": run_plots.parallel_coordinates(
            found.axes, scores, title=f"What the best {asked.title} differ in", **about
        ),
    }
    style.save_all(drawn, step.artifacts / artifacts.PICTURES)


def _conclude(step: Step, asked: Asked, found: Board, *, is_listed_once: bool) -> None:
    """Print the comparison table, as many columns as fit the terminal, and write it into the run's note."""
    rows = found.shown(asked.shown)
    remarks = [line for line in (found.remark, ALIKE if is_listed_once else "") if line]
    names = fitting(rows)
    hidden = len(rows[0]) - len(names)
    say()
    say(table([{name: row[name] for name in names} for row in rows]))
    say()
    for line in [
        *([f"{style.count(hidden, 'more column is', 'more columns are')} in {TABLE}."] if hidden else []),
        *remarks,
    ]:
        say(f"  {line}")
    value = found.metrics[asked.metric][0]
    summary = f"the best of {len(rows)} {asked.title}: {rounded(value)}, {found.names[0]}, run {found.about['run'][0]}"
    note = [f"In the experiment {asked.experiment.name!r}, {summary}.", *remarks, _table_of_note(asked, found, rows)]
    step.finish(f"compare {asked.title}", summary, "\n\n".join(note))


def _table_of_note(asked: Asked, found: Board, rows: list[dict[str, Any]]) -> str:
    """The first rows and columns of the table, as many as a tag holds, with a link to each run."""
    pages = [f"#/experiments/{asked.experiment.experiment_id}/runs/{run_id}" for run_id in found.about["run"]]
    linked = [{**row, "run": f"[{row['run']}]({page})"} for row, page in zip(rows, pages, strict=True)]
    few = [{name: row[name] for name in list(row)[:MOST_COLUMNS_OF_NOTE]} for row in linked]
    while len(few) > 1 and len(markdown(few)) > LONGEST_NOTE:
        few.pop()
    return f"{markdown(few)}\n\nAll rows and columns: {TABLE}."
