"""hpo: search a model's hyperparameters on the training rows, and cross-validate the best.

Writes a nested run for each trial that the problem wants as one, the trials as a table, and `best_params.json` and
`cross_validation.json` for train.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steps.chain import keys
from steps.model import dataset, fits, memory_budget, out_of_fold
from steps.model.dataset import DataSet
from steps.run import artifacts, engine, lookup, run_problem, source_digest, terminal, thread_budget
from steps.run.engine import Engine
from steps.run.step import Step, describe
from steps.run.tags import SEARCH_KEY, SEEDS, digest_tag
from steps.search import trial_runs
from tabular import digests
from tabular.data.folds import Fold
from tabular.errors import CandidateError, UserError
from tabular.metrics.lookup import sign, with_named
from tabular.metrics.metric import rounded
from tabular.model import estimators, training, wide_tables
from tabular.model.binned import BinnedRows
from tabular.model.seeds import can_differ
from tabular.model.training import CrossValidation
from tabular.problem import Problem, hyperparameters
from tabular.search.forecast import USUAL_ITERATIONS, Forecast, in_words, limited
from tabular.search.racing import ENOUGH_ROWS, ENOUGH_ROWS_OF_WIDE, MOST_SCORED, TrialRunner, parts
from tabular.search.search import Evaluation, Point, Trial, best, killed, search

# How much longer cross-validation takes, with all metrics and loss curves, than a trial with its one score.
MORE_WORK = 1.3
# What train takes beside its fit: a process, the training scores, the model logged.
TRAIN_SECONDS = 3.0
# With a limit for the chain, the last model is the mean of as many fits as its cross-validation and final fit can be of
# in this share of the search's seconds. More than four gain little (benchmarks/seeds.py).
SEVERAL, SHARE_OF_SEVERAL = (4, 3, 2), 0.25
# The parameters of a run whose fits were planned by the chain's seconds, and that did not end with its best trial.
PLANNED, CHOSEN = "planned_seconds", "chosen_trial"


def hpo(step: Step) -> None:
    """Run the search and log its result."""
    source = dataset.source(step, step.arguments["dataset"])
    problem = run_problem.problem_of(step, source)
    name = run_problem.model_of(step, problem)
    if not problem.models[name].space:
        raise UserError(f"model: {name!r} has no space to search in the problem {problem.name!r}")
    limits = _limits(step, problem, name)
    saved = _earlier(step, limits)
    rows = dataset.load(step, problem, source, "train", model=name)
    with engine.opened(step, problem.models[name].paths()) as place:
        _searched(step, _prepared(rows, problem, name, limits, place), limits, saved, place)


def _searched(step: Step, work: "_Work", limits: "_Limits", saved: Path | None, place: Engine) -> None:
    """Search, cross-validate the best trial, and log both."""
    problem, name = work.problem, work.model
    model, metric, ended, logged = work.rows.model(problem, name), problem.search.metric, [], []
    most = model.wide if work.rows.is_wide else {}
    with terminal.progress(limits.trials, f"hpo {name}", metric) as bar, place.workers(work.at_most) as executor:
        forecast = _told(work, limits, executor)

        def tell(trial: Trial) -> None:
            forecast(trial)
            ended.append(time.perf_counter() - limits.begun)
            if problem.tracking.most_trials is None:
                logged.append(trial_runs.log(step, problem, name, trial))
            score = None if trial.score is None or not trial.is_complete else sign(metric) * trial.score
            bar.score(score, greater_is_better=sign(metric) > 0)

        choice = _Choice(limits, work)
        try:
            trials = search(
                _evaluate,
                model.space,
                start=[wide_tables.bounded(estimators.defaults(model), most), *model.start],
                trials=limits.trials,
                seed=problem.seed,
                executor=executor,
                max_pending=problem.search.max_pending,
                at_once=lambda: work.at_once(place.free),
                is_over=choice.is_over,
                saved=saved,
                tell=tell,
            )
        except CandidateError:
            step.log(metrics={"trials_ended": len(ended)})  # a replay has to fail after as many
            raise
    winner = choice.of(trials)
    if winner.number != best(trials).number:
        step.log(params={CHOSEN: winner.number})
    seeds = work.seeds(winner) if limits.seeds is None else limits.seeds
    if seeds > 1:
        step.log(params={SEEDS: seeds})
    result = _cross_validated(work, winner, seeds, place)
    baseline = training.prior(work.candidate({}), work.rows.y, work.cuts, work.names, work.rows.weights).summary()
    trial_runs.log_baseline(step, problem, name, baseline, work.rows.task(problem).prior)
    since = time.time() - time.perf_counter() + limits.begun
    logged.append(trial_runs.log_best(step, problem, name, trials, winner, [since + at for at in ended]))
    seconds = {
        "cv_seconds": result.seconds,
        "log_seconds": sum(logged),
        "suggest_seconds": sum(trial.suggest_seconds for trial in trials),
        "search_seconds": time.perf_counter() - limits.begun,
    }
    _log(step, work, _table(work, trials, ended), trials, winner, seeds, result, baseline, seconds)


@dataclass(frozen=True)
class _Limits:
    """The limits of a search: after how many trials and seconds it ends."""

    trials: int
    seconds: float  # cross-validation of the best included; infinite where only the trials count
    begun: float  # a value of `time.perf_counter`
    planned: float | None = None  # by which fits are planned: the seconds there were when it began
    share: str = ""  # the file with the seconds that main gives, the final fit included; "" without a limit
    of_chain: float | None = None  # what main gives, as it is planned by; None where that is no limit

    chosen: int | None = None  # in a replay, the number of the trial that the search ended with, if not with the best
    seeds: int | None = None  # in a replay, how many fits the model is the mean of

    def _own(self) -> float:
        """What is left of the search's own seconds."""
        return self.seconds - (time.perf_counter() - self.begun)

    def left(self) -> float:
        """The seconds that are left; infinite where only the trials count."""
        return max(0.0, min(self._own(), thread_budget.seconds_left(self.share)))

    def slack(self, work: "_Work", trials: Sequence[Trial]) -> dict[int, float]:
        """{trial: the seconds left after its cross-validation, and its final fit where main gives the seconds}."""
        own = self._own()
        whole = thread_budget.seconds_left(self.share)  # asked again: main gives more as other steps end
        if own == whole == math.inf:
            return {trial.number: math.inf for trial in trials}
        cross_validation = {trial.number: work.seconds_to_cross_validate(trial) for trial in trials}
        return {
            trial.number: min(own, whole - train) - cross_validation[trial.number]
            for trial, train in zip(trials, work.seconds_to_train(trials), strict=True)
        }


@dataclass
class _Choice:
    """The choice of the trial that a search ends with: the best of those for which there is time."""

    limits: _Limits
    work: "_Work"
    number: int | None = None  # the trial that is chosen so far

    def is_over(self, trials: Sequence[Trial]) -> bool:
        """Whether the seconds that are left are needed for the trial that is chosen; if not, choose anew."""
        among = _of_use(trials)
        slack = self.limits.slack(self.work, among)
        fits = [trial for trial in among if slack[trial.number] > 0]
        if not fits or self.number not in (None, *(trial.number for trial in fits)):
            return True
        ahead = best(fits)
        self.number = None if ahead.score is None or not ahead.is_complete else ahead.number
        return False

    def of(self, trials: Sequence[Trial]) -> Trial:
        """The trial that the search ends with; where there is time for none, the one that takes least."""
        number = self.number if self.limits.chosen is None else self.limits.chosen
        known = {trial.number: trial for trial in trials}
        if number in known:
            return known[number]
        among = [trial for trial in _of_use(trials) if trial.score is not None]
        slack = self.limits.slack(self.work, among)
        least = max(slack.values())
        return best(among) if least > 0 else next(trial for trial in among if slack[trial.number] == least)


def _of_use(trials: Sequence[Trial]) -> Sequence[Trial]:
    """The trials that were evaluated whole, or all where none was."""
    return [trial for trial in trials if trial.is_complete] or trials


def _limits(step: Step, problem: Problem, model: str) -> _Limits:
    """The limits of the search.

    A replay ends after as many trials as the search that it repeats, however fast this machine is today.

    Raises
    ------
    UserError
        Where the run to repeat was another search.
    """
    begun, replayed = time.perf_counter(), step.arguments["replays"]
    if not replayed:
        own, of_chain = problem.search.timeout or math.inf, _seconds_given(step)
        if of_chain < own:
            step.log(params={PLANNED: of_chain})
        planned = min(own, of_chain) if min(own, of_chain) < math.inf else None
        by_chain = planned if of_chain < math.inf else None
        return _Limits(problem.search.trials, own, begun, planned, step.arguments["share"], by_chain)
    run = lookup.repeated(step, model)
    then = lookup.problem(run, step.folder)
    if (then.search, then.timeout, then.models.get(model)) != (problem.search, problem.timeout, problem.models[model]):
        raise UserError(f"replays: run {replayed} was another search than this one: give one of the same problem")
    told = run.data.params
    if PLANNED in told:
        step.log(params={PLANNED: told[PLANNED]})
    planned = float(told[PLANNED]) if PLANNED in told else problem.search.timeout
    chosen = int(told[CHOSEN]) if CHOSEN in told else None
    seeds = int(told.get(SEEDS, 1))
    return _Limits(int(run.data.metrics["trials_ended"]), math.inf, begun, planned, chosen=chosen, seeds=seeds)


def _seconds_given(step: Step) -> float:
    """The seconds that main gives, as many as a machine that is not slow today needs for as much.

    They are at least 1, and have one digit: what is planned by them is the same more often then.
    """
    share = step.arguments["share"]
    return max(1.0, float(f"{thread_budget.seconds_left(share) / thread_budget.slowness(share):.1g}"))


def _earlier(step: Step, limits: _Limits):
    """What an earlier search with the same key, which planned its fits alike, left when it was killed.

    None in a replay, with resume=false, and where nothing was left.
    """
    key = keys.of_step(step, source_digest.digests(step.name))
    if key is None or step.arguments["replays"]:
        return None
    of_search = key.whole if limits.planned is None else f"{key.whole} {limits.planned:g}"
    step.log(tags={SEARCH_KEY: of_search})
    step.flush()  # by which the trials are found where this process is killed
    return None if step.arguments["resume"] == "false" else trial_runs.earlier(step, of_search)


@dataclass(frozen=True)
class _Work:
    """What a worker process needs to evaluate trials, and to cross-validate the best."""

    rows: DataSet
    problem: Problem
    model: str
    cuts: list[Fold]
    course: TrialRunner
    at_most: int  # the most worker processes
    folds_at_most: int  # that evaluate folds of the best trial
    seconds: float | None  # the seconds of the chain that are this search's, as it was planned; None without a limit

    def candidate(self, params: Mapping[str, Any], seeds: int = 1) -> training.Candidate:
        """The model with these hyperparameters, as the mean of so many fits."""
        return self.rows.candidate(self.problem, self.model, params, seeds)

    @property
    def names(self) -> list[str]:
        """The names of the metrics of the cross-validation."""
        return with_named(self.rows.schema.task, self.problem.search.metric)

    @property
    def threads(self) -> int:
        """The number of threads that each process may use."""
        return max(1, self.rows.threads // self.at_most)

    def at_once(self, threads: int) -> int:
        """The number of trials that may be under way.

        With all processes at work, more trials may wait for the first free process. `threads` may grow during the
        search: main gives this step more threads as other steps end.
        """
        return threads if threads < self.at_most else self.problem.search.max_pending

    def seeds(self, trial: Trial) -> int:
        """How many fits the model is the mean of: as the problem says, or in a chain with a limit as many as fit in."""
        model = self.rows.model(self.problem, self.model)
        if model.seeds is not None:
            return model.seeds
        can_be_more = can_differ(model.estimator, {**model.params, **trial.params})
        if self.seconds is None or isinstance(self.rows.X, BinnedRows) or not can_be_more:
            return 1
        one = self._seconds_of_folds(trial) + self._seconds_of_all(trial)
        return next((seeds for seeds in SEVERAL if seeds * one <= SHARE_OF_SEVERAL * self.seconds), 1)

    def seconds_to_cross_validate(self, trial: Trial) -> float:
        """An estimate of the seconds that cross-validation takes, from the seconds of a trial."""
        return (MORE_WORK - 1 + self.seeds(trial)) * self._seconds_of_folds(trial)

    def seconds_to_train(self, trials: Sequence[Trial]) -> list[float]:
        """Estimates of the seconds that train takes: a fit on all rows, its predictions, and its model logged."""
        beside = TRAIN_SECONDS * thread_budget.slowness(self.rows.share)
        return [beside + (MORE_WORK - 1 + self.seeds(trial)) * self._seconds_of_all(trial) for trial in trials]

    def _seconds_of_folds(self, trial: Trial) -> float:
        """The seconds of a fit on each fold, several at a time."""
        to_fit = sum(len(fold.fit) for fold in self.cuts)
        # the last folds may have the machine to themselves
        beside = self.folds_at_most
        rounds = math.ceil(len(self.cuts) / beside) * beside / len(self.cuts)
        return trial.seconds * to_fit / self._fitted(trial) * rounds / beside

    def _seconds_of_all(self, trial: Trial) -> float:
        """The seconds of a fit on all rows."""
        final = len(self.rows.y) if self.rows.most is None else min(self.rows.most, len(self.rows.y))
        return trial.seconds * final / self._fitted(trial) / max(1, self.rows.threads)

    def _fitted(self, trial: Trial) -> int:
        """The number of rows that a trial was fitted on, of all its parts together; at least 1."""
        return max(1, sum(len(part.rows.fit) for part in self.course.parts[: len(trial.parts)]))


# The work that the forked processes share, or that a worker of a cluster has been sent.
_HELD: list[_Work] = []


def _hold(work: _Work | None, share: str) -> None:
    """Keep the work in this process, with all that trials share computed once; None: let go of it.

    `share` is the thread budget of a worker of a cluster, which has one call at a time; "" where processes are forked.
    """
    _HELD.clear()
    if work is not None:
        work.course.prepare()
        _HELD.append(replace(work, rows=replace(work.rows, share=share), at_most=1, folds_at_most=1) if share else work)


def _prepared(rows: DataSet, problem: Problem, model: str, limits: _Limits, place: Engine) -> _Work:
    """The work, with all that trials share computed once, and kept where trials are evaluated."""
    cuts, candidate = rows.folds(problem), rows.candidate(problem, model, {})
    made_of = parts(
        rows.folds_to_choose(problem),
        latest_first=rows.schema.split_by == "time",
        seed=problem.seed,
        enough=ENOUGH_ROWS_OF_WIDE if rows.is_wide else ENOUGH_ROWS,
        most=MOST_SCORED if isinstance(rows.X, BinnedRows) else None,
    )
    most = min(problem.search.max_pending, limits.trials, place.at_most)
    fitting = memory_budget.of_search(candidate, rows, [part.rows for part in made_of], cuts, most, place)
    course = TrialRunner(
        candidate,
        rows.X,
        rows.y,
        made_of,
        problem.search.metric,
        limits.planned,
        rows.weights,
    )
    work = _Work(rows, problem, model, cuts, course, fitting.trials, fitting.folds, limits.of_chain)
    place.give(_hold, work)
    return work


def _told(work: _Work, limits: _Limits, executor: Executor) -> Callable[[Trial], None]:
    """Say how a large table is worked on, and about how long; returns what is to be called with each trial."""
    title, large = f"  hpo {work.model}", work.rows.told_of_large(work.problem, work.model)
    if large:
        most = work.course.most_iterations
        terminal.say(f"{title}: {large}" + ("" if most is None else f"; {most:,} iterations a trial at most"))
    if not isinstance(work.rows.X, BinnedRows):
        return lambda trial: None
    try:
        iteration = executor.submit(_iteration).result()
    except CandidateError:
        return lambda trial: None  # the trials tell why
    except BrokenExecutor as error:
        raise killed("a process that measured an iteration") from error
    forecast = Forecast(
        trials=limits.trials,
        given=1 + len(work.rows.model(work.problem, work.model).start),
        at_once=work.at_most,
        fit=iteration * USUAL_ITERATIONS,
        after=lambda fit: work.seconds_to_cross_validate(
            Trial(0, {}, None, parts=(0.0,) * len(work.course.parts), seconds=fit)
        ),
    )
    rows = max(len(part.rows.fit) for part in work.course.parts)
    expected = forecast.left(time.perf_counter() - limits.begun)
    terminal.say(
        f"{title}: about {in_words(expected)}{limited(expected, limits.left())}, by {iteration:.3g} s an iteration on "
        f"{rows:,} rows and {USUAL_ITERATIONS} iterations a fit"
    )

    def tell(trial: Trial) -> None:
        left = forecast.changed(trial, time.perf_counter() - limits.begun)
        if left is not None and forecast.ended < limits.trials:
            more = f"about {in_words(left)} more{limited(left, limits.left())}"
            terminal.say(f"{title}: {more}, after {forecast.ended} of {limits.trials} trials")

    return tell


def _iteration() -> float:
    (work,) = _HELD
    return work.course.seconds_an_iteration(threads=work.threads)


def _evaluate(point: Point) -> Evaluation:
    """Evaluate a trial, in a worker process."""
    (work,) = _HELD
    return work.course.run(point, threads=work.threads)


def _cross_validated(work: _Work, winner: Trial, seeds: int, place: Engine) -> CrossValidation:
    """Cross-validate the winner on all folds with all metrics, several folds at a time."""
    started = time.perf_counter()
    params, folds = {**winner.params, **winner.found}, len(work.cuts)
    most = min(work.folds_at_most, folds, place.free)
    if work.rows.is_wide:  # each would hold a copy of the rows: one after the other, with all threads
        most = 1
    with place.workers(most) as executor:
        made = [executor.submit(_on_fold, params, seeds, number, most) for number in range(folds)]
        try:
            found = [future.result() for future in made]
        except BrokenExecutor as error:
            raise killed("a process that evaluated a fold") from error
    return training.joined(work.candidate(params), found, time.perf_counter() - started, work.names)


def _on_fold(params: Mapping[str, Any], seeds: int, number: int, most: int) -> training.OnFold:
    (work,) = _HELD
    folds, most = len(work.cuts), min(most, work.at_most)
    # folds run side by side, `most` at a time; the folds of an incomplete last round share all threads
    beside = most if number < folds - folds % most else folds % most
    threads = max(1, work.rows.threads // beside)
    fold = work.cuts[number]
    about = {"threads": threads, "curves": True, "weights": work.rows.weights}
    return training.on_fold(work.candidate(params, seeds), work.rows.X, work.rows.y, fold, **about)


def _log(
    step: Step,
    work: _Work,
    columns: Mapping[str, list[Any]],
    trials: Sequence[Trial],
    winner: Trial,
    seeds: int,
    result: CrossValidation,
    baseline: Mapping[str, float],
    seconds: Mapping[str, float],
) -> None:
    problem, model = work.problem, work.model
    metric = problem.search.metric
    found = {**winner.params, **winner.found}
    score = result.summary()[f"cv_{metric}_mean"]
    step.json({"params": found, SEEDS: seeds, "trial": winner.number, metric: score}, artifacts.BEST_PARAMS)
    step.json(result.as_dict(), artifacts.CROSS_VALIDATION)
    step.table(columns, artifacts.TRIALS)
    kept = {name: values for name, values in columns.items() if not name.endswith("_seconds")}
    folds = {name: value for name, value in result.as_dict().items() if name != "seconds"}
    folds["out_of_fold"] = out_of_fold.write(step, result.out_of_fold)
    step.log(
        params={"model_type": model, "search_metric": metric, "folds": problem.search.folds, "seed": problem.seed,
                "search_trials": problem.search.trials, "search_timeout": problem.search.timeout,
                **{f"best_{name}": value for name, value in found.items()}},
        metrics={"trials_ended": len(trials), "trials_complete": sum(trial.is_complete for trial in trials),
                 f"best_cv_{metric}": score, f"baseline_cv_{metric}": baseline[f"cv_{metric}_mean"],
                 **seconds},
        tags={
            **run_problem.model_tags(problem, model),
            digest_tag("params"): digests.of_values(found),
            digest_tag("trials"): digests.of_values(kept),
            digest_tag("cross_validation"): digests.of_values(folds),
        },
    )  # fmt: skip
    ended = f"{len(trials)} trials"
    if len(trials) < problem.search.trials:
        ended += f" of {problem.search.trials} ({_what_ended(problem)})"
    failed = [trial for trial in trials if trial.score is None]
    if failed:
        ended += f", {len(failed)} failed"
    if not winner.is_complete:
        ended += ", none evaluated whole"
    summary = f"{ended}, best cross-validated {metric} {rounded(score)}"
    took = f"{seconds['search_seconds']:.1f} s"
    note = f"{ended}; Hyperopt's TPE, {took}. Best: trial {winner.number}, `{describe(found)}`."
    if not winner.is_complete:
        note += " It is the best of those that were pruned."
    if (ahead := best(trials)).number != winner.number:
        note += f" Trial {ahead.number} was better; to cross-validate it would have taken longer than there was time."
    if failed:
        note += f" Trial {failed[0].number} failed: {failed[0].reason}"
    prior = f"of {work.rows.task(problem).prior} alone: {rounded(baseline[f'cv_{metric}_mean'])}"
    said = f"Cross-validated {metric}: {rounded(score)}; {prior}."
    if told := fits.mean_of(seeds):
        summary += f"; {told}"
        said += f"\n\nWhat was cross-validated at last is {told}; trials are one fit each."
    for lighter in filter(None, [work.rows.told_of_wide(problem, model), work.rows.told_of_sample(problem)]):
        summary += f"; {lighter}"
        said += f"\n\nThe search: {lighter}."
    if large := work.rows.told_of_large(problem, model):
        said += f"\n\nA {large}."
    if work.rows.is_wide:
        said += f"\n\nA wide table: each trial is fitted and scored {len(work.course.parts)} times at most."
    step.finish(f"hpo {model}", summary, f"{note}\n\n{said}")


def _what_ended(problem: Problem) -> str:
    """What ended a search before its trials: its own seconds, or those of the chain."""
    own, whole = problem.search.timeout, problem.timeout
    if whole is None:
        return f"its {own or 0:g} s were over"
    return f"its part of the chain's {whole:g} s was over" if own is None else "its seconds were over"


def _table(work: _Work, trials: Sequence[Trial], ended: Sequence[float]) -> dict[str, list[Any]]:
    """The trials as the columns of a table, {name: values}; `ended` is when each ended, in seconds of the search."""
    metric, space = work.problem.search.metric, work.problem.models[work.model].space
    found = list(dict.fromkeys(name for trial in trials for name in trial.found))
    return {
        "trial": [trial.number for trial in trials],
        metric: [None if trial.score is None else sign(metric) * trial.score for trial in trials],
        "complete": [trial.is_complete for trial in trials],
        **{name: [trial.params.get(name) for trial in trials] for name in hyperparameters(space)},
        **{name: [trial.found.get(name) for trial in trials] for name in found},
        "trial_seconds": [trial.seconds for trial in trials],
        "ended_seconds": list(ended),
    }
