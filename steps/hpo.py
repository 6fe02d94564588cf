"""hpo: search a model's hyperparameters on the training rows, and cross-validate the best.

Writes a nested run for each trial that the problem wants as one, the trials as a table, and `best_params.json` and
`cross_validation.json` for train.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import dataclass
from pathlib import Path

from steps.chain import keys
from steps.model import dataset
from steps.run import engine, run_problem, source_digest, terminal
from steps.run.engine import Engine
from steps.run.step import Step
from steps.run.tags import SEARCH_KEY, SEEDS
from steps.search import trial_runs
from steps.search.choice import Choice
from steps.search.limits import CHOSEN, Limits, limits_of
from steps.search.result import Result, log_result
from steps.search.work import Work, cross_validated, evaluate, iteration, prepared
from tabular.errors import CandidateError, UserError
from tabular.metrics.lookup import sign
from tabular.model import estimators, wide_tables
from tabular.model.binned import BinnedRows
from tabular.model.cross_validation import prior
from tabular.search.forecast import USUAL_ITERATIONS, Forecast, in_words, limited
from tabular.search.search import Trial, best, killed, search


def hpo(step: Step) -> None:
    """Run the search and log its result."""
    source = dataset.source(step, step.arguments["dataset"])
    problem = run_problem.problem_of(step, source)
    name = run_problem.model_of(step, problem)
    if not problem.models[name].space:
        raise UserError(f"model: {name!r} has no space to search in the problem {problem.name!r}")
    limits = limits_of(step, problem, name)
    saved = _earlier(step, limits)
    rows = dataset.load(step, problem, source, "train", model=name)
    with engine.opened(step, problem.models[name].paths()) as place:
        work = prepared(rows, problem, name, limits, place)
        choice = Choice(limits, work)
        ended = _searched(step, work, choice, saved, place)
        log_result(step, _concluded(step, work, choice, ended, place))


@dataclass(frozen=True)
class _Ended:
    """The trials of a search; when each ended, in seconds of the search; and the seconds of logging each one."""

    trials: Sequence[Trial]
    at: Sequence[float]
    logged: Sequence[float]


def _searched(step: Step, work: Work, choice: Choice, saved: Path | None, place: Engine) -> _Ended:
    """Search, and log each trial as it ends where the problem wants each as a run."""
    problem, name, limits = work.problem, work.model, choice.limits
    model, metric, at, logged = work.rows.model(problem, name), problem.search.metric, [], []
    most = model.wide if work.rows.is_wide else {}
    with terminal.progress(limits.trials, f"hpo {name}", metric) as bar, place.workers(work.at_most) as executor:
        forecast = _told(work, limits, executor)

        def tell(trial: Trial) -> None:
            forecast(trial)
            at.append(time.perf_counter() - limits.begun)
            if problem.tracking.most_trials is None:
                logged.append(trial_runs.log(step, problem, name, trial))
            score = None if trial.score is None or not trial.is_complete else sign(metric) * trial.score
            bar.score(score, greater_is_better=sign(metric) > 0)

        try:
            trials = search(
                evaluate,
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
            step.log(metrics={"trials_ended": len(at)})  # a replay has to fail after as many
            raise
    return _Ended(trials, at, logged)


def _concluded(step: Step, work: Work, choice: Choice, ended: _Ended, place: Engine) -> Result:
    """Cross-validate the trial that is chosen, and log what else the problem wants as runs."""
    problem, name, limits, trials = work.problem, work.model, choice.limits, ended.trials
    winner = choice.of(trials)
    if winner.number != best(trials).number:
        step.log(params={CHOSEN: winner.number})
    seeds = work.seeds(winner) if limits.seeds is None else limits.seeds
    if seeds > 1:
        step.log(params={SEEDS: seeds})
    result = cross_validated(work, winner, seeds, place)
    baseline = prior(work.candidate({}), work.rows.y, work.cuts, work.names, work.rows.weights).summary()
    trial_runs.log_baseline(step, problem, name, baseline, work.rows.task(problem).prior)
    since = time.time() - time.perf_counter() + limits.begun
    of_best = trial_runs.log_best(step, problem, name, trials, winner, [since + at for at in ended.at])
    seconds = {
        "cv_seconds": result.seconds,
        "log_seconds": sum(ended.logged) + of_best,
        "suggest_seconds": sum(trial.suggest_seconds for trial in trials),
        "search_seconds": time.perf_counter() - limits.begun,
    }
    return Result(work, trials, ended.at, winner, seeds, result, baseline, seconds)


def _earlier(step: Step, limits: Limits) -> Path | None:
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


def _told(work: Work, limits: Limits, executor: Executor) -> Callable[[Trial], None]:
    """Say how a large table is worked on, and about how long; returns what is to be called with each trial."""
    title, large = f"  hpo {work.model}", work.rows.told_of_large(work.problem, work.model)
    if large:
        most = work.course.most_iterations
        terminal.say(f"{title}: {large}" + ("" if most is None else f"; {most:,} iterations a trial at most"))
    if not isinstance(work.rows.X, BinnedRows):
        return lambda trial: None
    try:
        seconds = executor.submit(iteration).result()
    except CandidateError:
        return lambda trial: None  # the trials tell why
    except BrokenExecutor as error:
        raise killed("a process that measured an iteration") from error
    forecast = Forecast(
        trials=limits.trials,
        given=1 + len(work.rows.model(work.problem, work.model).start),
        at_once=work.at_most,
        fit=seconds * USUAL_ITERATIONS,
        after=lambda fit: work.seconds_to_cross_validate(
            Trial(0, {}, None, parts=(0.0,) * len(work.course.parts), seconds=fit)
        ),
    )
    rows = max(len(part.rows.fit) for part in work.course.parts)
    expected = forecast.left(time.perf_counter() - limits.begun)
    terminal.say(
        f"{title}: about {in_words(expected)}{limited(expected, limits.left())}, by {seconds:.3g} s an iteration on "
        f"{rows:,} rows and {USUAL_ITERATIONS} iterations a fit"
    )

    def tell(trial: Trial) -> None:
        left = forecast.changed(trial, time.perf_counter() - limits.begun)
        if left is not None and forecast.ended < limits.trials:
            more = f"about {in_words(left)} more{limited(left, limits.left())}"
            terminal.say(f"{title}: {more}, after {forecast.ended} of {limits.trials} trials")

    return tell
