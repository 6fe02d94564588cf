"""monitor: hold rows whose truth is known by now against what the holdout of their model promised.

Leaves the metrics with their intervals, the slices, the shift, a verdict, and the history of the model's verdicts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from steps.evaluation import monitored, shift_report
from steps.evaluation.candidates import IN_SLICES
from steps.evaluation.monitored import Monitored, Promise, Subject
from steps.run import artifacts, inputs, lookup, terminal
from steps.run.step import Step
from steps.run.tags import HEALTH, MONITORED, SCORED_BY, VERDICT
from tabular.errors import UserError
from tabular.evaluation import bootstrap, health, slices
from tabular.evaluation.bootstrap import Interval
from tabular.evaluation.drift import Shift
from tabular.evaluation.health import DEGRADED, HEALTHY, WATCH, Drop, Finding
from tabular.evaluation.slices import Scored
from tabular.metrics.classification import CALIBRATION_ERROR
from tabular.metrics.lookup import scores, with_named
from tabular.metrics.metric import rounded
from tabular.plots import monitor_plots, style

METRICS, SLICES, HISTORY = "metrics.json", "slices.json", "history.json"
# The earlier runs that the history goes back to, and those of them that a terminal shows.
MOST_RUNS, MOST_SHOWN = 1000, 12


@dataclass(frozen=True)
class Looks:
    """What the predictions of rows are worth: metrics, their intervals, and the metrics of each slice."""

    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]
    slices: Sequence[Scored] = ()


def monitor(step: Step) -> None:
    """Score the rows, compare them with the holdout, judge, and go on with the history."""
    wanted = step.arguments["require"]
    if wanted not in ("", HEALTHY, WATCH):
        said = f"{HEALTHY!r} makes any other verdict FAILED, {WATCH!r} only {DEGRADED!r}"
        raise UserError(f"require: {wanted!r} is not known; {said}")
    asked = monitored.subject(step)
    against = monitored.references(step, asked)
    rows = monitored.read(step, asked, against)
    inputs.log_model(step, asked.origin.model_id)
    promise = monitored.promise(step, asked)
    now = _look(asked, rows)
    drop = _drop(asked, rows, promise)
    drawn = asked.problem.tracking.pictures
    shifts, of_shift = shift_report.log(step, asked.origin, against, rows.tallies, rows.of_table, pictures=drawn)
    findings = _findings(asked, rows, promise, now, drop, shifts)
    verdict = health.verdict(findings)
    why = "; ".join(finding.why for finding in findings) or "nothing speaks against it"
    step.log(tags={**asked.origin.tags, MONITORED: _name(asked), HEALTH: verdict, VERDICT: why[:5000]})
    _log(step, asked, rows, promise, now, drop)
    told = {"verdict": verdict, "findings": [asdict(one) for one in findings], "notes": rows.notes}
    step.json({**told, "drop": None if drop is None else asdict(drop)}, artifacts.VERDICT)
    _tell(step, asked, rows, promise, now, drop, findings, of_shift)
    _log_history(step, asked, verdict)
    if wanted and not health.is_at_least(verdict, wanted):
        step.upload_artifacts()  # its work is done, and its run should show it
        raise UserError(f"require: {asked.origin.name} is {verdict}: {why}")


def _name(asked: Subject) -> str:
    """By what the runs of one history are found: the registered model, or a model that is not registered."""
    uri = asked.origin.uri
    name, mark, _ = uri.removeprefix("models:/").rpartition("/")
    return name if mark and uri.startswith("models:/") else uri


def _look(asked: Subject, rows: Monitored) -> Looks:
    """The metrics of the rows, with intervals and slices as `evaluate` has them of the holdout."""
    problem, task = asked.problem, asked.schema.task
    required, compared = problem.monitor.require, problem.monitor.drop.metric
    of_classes = [CALIBRATION_ERROR] if asked.schema.classes else []
    names = with_named(task, problem.search.metric, compared, *required, *of_classes)
    metrics = scores(rows.predictions, names)
    about: dict[str, Any] = {"seed": problem.seed, "groups": rows.groups}
    is_large = asked.is_large(rows.of_table)
    most, in_slice = (bootstrap.ROWS_OF_LARGE, slices.ROWS_OF_LARGE) if is_large else (None, None)
    intervals, _ = bootstrap.intervals(rows.predictions, list(metrics), **about, most_rows=most)
    parts = slices.cut(rows.frame, list(rows.frame), rows.predictions.weights)
    in_slices = list(dict.fromkeys([compared, *required, *IN_SLICES[task]]))
    return Looks(metrics, intervals, slices.score(parts, rows.predictions, in_slices, **about, most_rows=in_slice))


def _drop(asked: Subject, rows: Monitored, promise: Promise) -> Drop | None:
    """How far the model has fallen behind its holdout; None where that is not known."""
    if promise.predictions is None:
        return None
    rule = asked.problem.monitor.drop
    is_large = asked.is_large(max(rows.of_table, len(promise.predictions.y)))
    return health.drop(
        rows.predictions,
        promise.predictions,
        rule.metric,
        most=rule.most,
        confidence=rule.confidence,
        seed=asked.problem.seed,
        groups=(rows.groups, promise.groups),
        most_rows=bootstrap.ROWS_OF_LARGE if is_large else None,
    )


def _findings(
    asked: Subject,
    rows: Monitored,
    promise: Promise,
    now: Looks,
    drop: Drop | None,
    shifts: Mapping[str, Sequence[Shift]],
) -> list[Finding]:
    """All that speaks against the model; the gravest first."""
    rule, (unknown, examples) = asked.problem.monitor, rows.unknown
    found = health.too_few(rows.predictions, rule.rows, asked.schema.classes)
    if unknown:
        strange = ", ".join(map(repr, examples))
        found.append(Finding(WATCH, f"{unknown:,} rows are of no class that it tells apart: {strange}"))
    found += [Finding(WATCH, promise.of)] if drop is None else drop.findings()
    found += health.unmet(rule.require, now.metrics, now.intervals, now.slices)
    found += health.shifted(shifts["input"], shifts["score"], rule.shift, asked.passing)
    return sorted(found, key=lambda one: (not one.is_last_word, one.verdict != DEGRADED))


# --- what is left -----------------------------------------------------------------------------------------------------


def _log(step: Step, asked: Subject, rows: Monitored, promise: Promise, now: Looks, drop: Drop | None) -> None:
    name = asked.problem.monitor.drop.metric
    promised = scores(promise.predictions, list(now.metrics)) if promise.predictions is not None else {}
    table = [
        {
            "metric": metric,
            "now": value,
            "low": now.intervals[metric].low,
            "high": now.intervals[metric].high,
            "holdout": promised.get(metric),
        }
        for metric, value in now.metrics.items()
    ]
    step.table(artifacts.by_column(table), METRICS)
    if now.slices:
        step.table(slices.as_columns(now.slices, name), SLICES)
    interval = now.intervals[name]
    measured = {
        **now.metrics,
        f"{name}_low": interval.low,
        f"{name}_high": interval.high,
        **{f"holdout_{metric}": value for metric, value in promised.items()},
        **({} if drop is None else {f"drop_{name}": drop.size, f"drop_{name}_at_least": drop.lower}),
        "rows": len(rows.predictions.y),
        "rows_of_table": rows.of_table,
    }
    step.log(
        params={"monitored_metric": name, "monitored_rows": len(rows.predictions.y)},
        metrics={metric: value for metric, value in measured.items() if not np.isnan(value)},
    )


def _tell(
    step: Step,
    asked: Subject,
    rows: Monitored,
    promise: Promise,
    now: Looks,
    drop: Drop | None,
    findings: Sequence[Finding],
    of_shift: Sequence[str],
) -> None:
    """Print what was found, and give the run its summary and its note."""
    name, verdict = asked.problem.monitor.drop.metric, health.verdict(findings)
    interval = f"95 %: {rounded(now.intervals[name].low)} to {rounded(now.intervals[name].high)}"
    if drop is None or np.isnan(drop.lower):
        told = [f"{name} {rounded(now.metrics[name])} ({interval})"]
    else:
        seen = f"in so many rows a model that is worse by {rounded(drop.seen_from)} or more would be seen"
        told = [drop.said(interval), seen]
    lines = [*told, *rows.notes]
    reasons = [f"{one.verdict}: {one.why}" for one in findings]
    for line in [*lines, *reasons]:
        terminal.say(f"  {line}")
    done = f"{verdict}: {asked.origin.name} on {len(rows.predictions.y):,} rows"
    summary = "; ".join([f"{done}, {name} {rounded(now.metrics[name])}", *(one.why for one in findings)])
    note = [f"{done}.", *(f"- {line}" for line in [*reasons, *lines, f"against {promise.of}"])]
    note += [shift_report.TITLE, *(f"- {line}" for line in of_shift)]
    step.finish(f"monitor {asked.origin.name}", summary[:5000], "\n\n".join(note))


# --- the history ------------------------------------------------------------------------------------------------------


def _log_history(step: Step, asked: Subject, verdict: str) -> None:
    """Log this run and the earlier ones of the same registered model as a table and a picture, and print the last."""
    step.flush()  # so that this run is found as the earlier ones are
    name = asked.problem.monitor.drop.metric
    quoted = _name(asked).replace("'", "''")
    runs = step.client.search_runs(
        lookup.experiments(step.client),
        f"tags.`{MONITORED}` = '{quoted}'",
        order_by=["attributes.start_time DESC"],
        max_results=MOST_RUNS,
    )
    rows = [_row(run, name) for run in reversed(runs)]
    step.table(artifacts.by_column(rows), HISTORY)
    terminal.say()
    last = rows[-MOST_SHOWN:]
    fitting = [column for column in terminal.fitting(last) if column not in ("why", "run")]
    terminal.say(terminal.table([{column: row[column] for column in fitting} for row in last]))
    terminal.say()
    if not asked.problem.tracking.pictures:
        return
    drawn = [
        {
            "label": row["at"][:10],
            "verdict": row["verdict"],
            **{place: np.nan if row[column] is None else row[column] for place, column in _drawn(name).items()},
        }
        for row in rows
    ]
    figure = monitor_plots.history(drawn, metric=name, title=f"{_name(asked)}: {verdict} today")
    style.save_all({"history": figure}, step.artifacts / artifacts.PICTURES)


def _drawn(name: str) -> dict[str, str]:
    """The columns of the history that its picture shows, by what they are there."""
    return {"value": name, "low": f"{name}_low", "high": f"{name}_high", "promised": f"holdout_{name}"}


def _row(run: Any, name: str) -> dict[str, Any]:
    """A run of monitor as a row of the history."""
    tags, measured = run.data.tags, run.data.metrics
    at = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    version = tags.get(SCORED_BY, "").rpartition("/")[2]
    named = (name, f"{name}_low", f"{name}_high", f"holdout_{name}", "psi_input_worst", "psi_score_worst")
    return {
        "at": f"{at:%Y-%m-%d %H:%M}",
        "version": version,
        "rows": int(measured.get("rows", 0)),
        "verdict": tags.get(HEALTH, ""),
        **{column: measured.get(column) for column in named},
        "why": tags.get(VERDICT, ""),
        "run": run.info.run_id,
    }
