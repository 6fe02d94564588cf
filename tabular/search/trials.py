"""Parallel trials of Hyperopt on any executor, the same trials however many of them run at once.

Hyperopt's own parallel trials (SparkTrials) suggest a point from the trials that happen to have ended, so that every
suggestion depends on timing. Here the suggestion for trial t sees exactly the trials up to t - max_pending; with
max_pending = 1 this is Hyperopt's serial search.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from pathlib import Path
from typing import Any, TypeAlias

from hyperopt import STATUS_OK, Trials, space_eval
from hyperopt.base import JOB_STATE_DONE, JOB_STATE_ERROR, JOB_STATE_RUNNING, Domain, spec_from_misc, trials_from_docs
from hyperopt.utils import coarse_utcnow

# A trial in Hyperopt's form: its number `tid`, its state, its result, and its point in `misc`.
Doc: TypeAlias = dict[str, Any]
# While no trial ends: how often to check whether the search is over and whether more trials may be started.
POLL_SECONDS = 0.1


class ExecutorTrials(Trials):  # type: ignore[misc]
    """Trials for `hyperopt.fmin(…, trials=ExecutorTrials(executor))`, evaluated by a `concurrent.futures.Executor`.

    Results are recorded in the order of the trials' numbers: a trial that finishes early waits for those before it. A
    decision to stop, by `early_stop_fn` or `loss_threshold`, therefore sees a prefix of the trials without gaps, and is
    the same on any machine.

    Parameters
    ----------
    executor
        An executor of threads, of processes or of a cluster; the latter two need an objective and results that can be
        pickled.
    max_pending
        The suggestion for trial t sees the results of the trials 0 to t - max_pending, so that at most `max_pending`
        trials are under way.
    at_once
        Returns how many trials may run at this moment, within `max_pending`; by default `max_pending`.

    Raises
    ------
    ValueError
        `max_pending` is below 1.

    Notes
    -----
    The design follows hyperopt.spark.SparkTrials. The parameters of `fmin` mean what they mean in Hyperopt, with two
    differences: at `timeout` the trials that are still running are discarded, except for the first trial of all; and
    `trials_save_file` holds a line of JSON for each trial that has ended, from which a later call with the same
    arguments goes on. Trials that are inserted beforehand, in the form of
    `hyperopt.fmin.generate_trials_to_calculate`, are evaluated first.

    """

    def __init__(self, executor: Executor, *, max_pending: int = 1, at_once: Callable[[], int] | None = None) -> None:
        super().__init__()
        if max_pending < 1:
            raise ValueError(f"max_pending is {max_pending}: a suggestion cannot see its own trial")
        self.max_pending = max_pending
        self.at_once = at_once or (lambda: max_pending)
        self._executor = executor
        self.suggest_seconds: dict[int, float] = {}  # by trial number: how long its suggestion took

    def submit(self, fn: Callable[[Any], Any], number: int, point: Any, seen: Sequence[Doc]) -> "Future[Any]":
        """Start a trial; `seen` are the earlier trials from which it was suggested. Subclasses may override this."""
        return self._executor.submit(fn, point)

    def ended(self, doc: Doc, point: Any) -> None:
        """Called when a trial and all trials before it have ended. Subclasses may override this."""

    def meanwhile(self) -> None:
        """Called while the executor is busy, and once at the end: the place for work that should not delay trials."""

    def is_over(self) -> bool:
        """Whether to stop; called at least every `POLL_SECONDS` once the first trial has ended."""
        return False

    def fmin(
        self,
        fn: Callable[[Any], Any],
        space: Any,
        algo: Any,
        max_evals: int,
        timeout: float | None = None,
        loss_threshold: float | None = None,
        rstate: Any = None,
        catch_eval_exceptions: bool = False,
        return_argmin: bool = True,
        early_stop_fn: Callable[..., tuple[bool, Any]] | None = None,
        trials_save_file: str = "",
        **_: Any,
    ) -> Any:
        """Run the search; called by `hyperopt.fmin`, whose other parameters are ignored."""
        saved = Path(trials_save_file) if trials_save_file else None
        queue = _Queue(self, fn, space, algo, max_evals, rstate, saved)
        until = time.monotonic() + timeout if timeout is not None else math.inf
        state: Any = []
        try:
            for doc in queue.ended(lambda: time.monotonic() >= until or self.is_over()):
                self.ended(doc, queue.point(doc))
                if doc["state"] == JOB_STATE_ERROR and not catch_eval_exceptions:
                    raise doc["misc"]["exception"]
                if early_stop_fn is not None:
                    stop, state = early_stop_fn(self, *state)
                    if stop:
                        break
                loss = doc["result"].get("loss")
                if loss_threshold is not None and loss is not None and loss <= loss_threshold:
                    break
        finally:
            queue.cancel()
            self.meanwhile()
        if return_argmin:
            return self.argmin
        return space_eval(space, self.argmin) if self.trials else None


class _Queue:
    """The trials of one call of `fmin`, from their suggestion to their result."""

    def __init__(
        self,
        trials: ExecutorTrials,
        fn: Callable[[Any], Any],
        space: Any,
        algo: Any,
        most: int,
        rstate: Any,
        saved: Path | None,
    ) -> None:
        self._trials, self._fn, self._space, self._algo, self._most = trials, fn, space, algo, most
        self._rstate, self._saved = rstate, saved
        self._domain = Domain(fn, space)
        self._docs: list[Doc] = trials._dynamic_trials  # the trials that were inserted beforehand
        trials._dynamic_trials = []
        self._first, self._done = len(self._docs), 0
        self._started = 0
        self._futures: dict[int, Future[Any]] = {}
        self._known = _read(saved)

    def ended(self, is_over: Callable[[], bool]) -> Iterator[Doc]:
        """Run the trials and yield each one that has ended, in the order of their numbers, until the search is over."""
        while self._done < self._most:
            self._start()
            self._trials.meanwhile()
            future = self._futures.get(self._done)
            if future is not None and not future.done():
                if self._done and is_over():
                    return
                # wait for any trial: one that ends out of order leaves its worker free for another
                pending = [future for future in self._futures.values() if not future.done()]
                wait(pending, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                continue
            yield self._end(self._done)
            if is_over():
                yield from self._ended_before_their_turn()
                return

    def _ended_before_their_turn(self) -> Iterator[Doc]:
        """Yield the trials that have ended and directly follow the last one that was yielded."""
        while (future := self._futures.get(self._done)) is not None and future.done():
            yield self._end(self._done)

    def point(self, doc: Doc) -> Any:
        """The point of the space that a trial evaluates."""
        return space_eval(self._space, spec_from_misc(doc["misc"]))

    def cancel(self) -> None:
        """Cancel the trials that have not begun; only the executor can end one that is running."""
        for future in self._futures.values():
            future.cancel()

    def _start(self) -> None:
        """Start as many trials as may run now; a trial that has ended but waits for an earlier one does not count."""
        while (number := self._started) < min(self._most, self._done + self._trials.max_pending):
            under_way = sum(not future.done() for future in self._futures.values())
            if under_way >= max(1, self._trials.at_once()):
                return
            seen = self._docs[: max(0, number - self._trials.max_pending + 1)]
            if number >= self._first:
                self._docs.append(self._suggest(number, seen))
            doc = self._docs[number]
            doc["state"], doc["book_time"] = JOB_STATE_RUNNING, coarse_utcnow()
            if not self._is_known(doc):
                self._futures[number] = self._trials.submit(self._fn, number, self.point(doc), seen)
            self._started += 1

    def _suggest(self, number: int, seen: Sequence[Doc]) -> Doc:
        started = time.perf_counter()
        view = trials_from_docs(list(seen), validate=False)
        seed = self._rstate.integers(2**31 - 1)
        doc: Doc = self._algo([number], self._domain, view, seed)[0]
        self._trials.suggest_seconds[number] = time.perf_counter() - started
        return doc

    def _is_known(self, doc: Doc) -> bool:
        """Whether the save file has the result of this point.

        From the first trial whose point differs from the saved one, saved results are no longer used.
        """
        known = self._known.get(doc["tid"])
        if known is not None and known["vals"] == _vals(doc):
            return True
        self._known = {number: known for number, known in self._known.items() if number < doc["tid"]}
        return False

    def _end(self, number: int) -> Doc:
        doc = self._docs[number]
        future = self._futures.pop(number, None)
        if future is None:
            doc["result"], doc["state"] = self._known[number]["result"], JOB_STATE_DONE
        else:
            try:
                doc["result"], doc["state"] = _result(future.result()), JOB_STATE_DONE
            except Exception as error:
                doc["state"] = JOB_STATE_ERROR
                doc["misc"] |= {"error": (str(type(error)), str(error)), "exception": error}
        doc["refresh_time"] = coarse_utcnow()
        self._done += 1
        self._trials._insert_trial_docs([doc])
        self._trials.refresh()
        if self._saved is not None and future is not None and doc["state"] == JOB_STATE_DONE:
            with self._saved.open("a", encoding="utf-8") as file:
                file.write(saved_line(doc) + "\n")
        return doc


def saved_line(doc: Doc) -> str:
    """The line of a `trials_save_file` for a trial that has ended."""
    return json.dumps({"tid": doc["tid"], "vals": _vals(doc), "result": doc["result"]})


def _read(saved: Path | None) -> dict[int, Mapping[str, Any]]:
    """Read the trials that an earlier call saved, by number; a last line that was cut off is ignored."""
    found: dict[int, Mapping[str, Any]] = {}
    if saved is not None and saved.exists():
        for line in saved.read_text(encoding="utf-8").splitlines():
            try:
                trial = json.loads(line)
            except ValueError:
                break
            found[trial["tid"]] = trial
    return found


def _vals(doc: Doc) -> dict[str, list[Any]]:
    """A trial's point, as values that fit into JSON."""
    vals: dict[str, list[Any]] = json.loads(json.dumps(doc["misc"]["vals"], default=lambda value: value.item()))
    return vals


def _result(returned: Any) -> dict[str, Any]:
    """An objective's result in Hyperopt's form: a bare number is a loss."""
    if isinstance(returned, Mapping):
        return dict(returned)
    return {"loss": float(returned), "status": STATUS_OK}
