"""A table of any size scored by a model: batch after batch, those of a large table by several processes at once.

Only a few batches are in memory, in whatever order they are answered; they come out in the table's.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from itertools import starmap

import pandas as pd
import pyarrow as pa
from threadpoolctl import threadpool_limits

from steps.model import drift_reference
from steps.model.drift_reference import Reference
from steps.model.served import TabularModel
from steps.process import pool
from steps.run import terminal, thread_budget
from tabular.data import size
from tabular.data.tables import Table
from tabular.evaluation.drift import Tally

# Gives a model's answer to raw rows.
Ask = Callable[[pd.DataFrame], pd.DataFrame]
# How many batches a process has before it, so that it need not wait for the next one.
AHEAD = 2


def answers(
    table: Table,
    model: TabularModel,
    ask: Ask,
    tallies: Mapping[str, Tally],
    beside: Sequence[str] = (),
) -> Iterator[tuple[pa.RecordBatch, pd.DataFrame]]:
    """Score a table, and show how far it is.

    Parameters
    ----------
    table
        The table.
    model
        The model, whose columns the table has.
    ask
        Gives its answer to rows with these columns.
    tallies
        In which rows and scores are counted for their shift: `input` and `score`.
    beside
        Columns that each batch has as well.

    Yields
    ------
    tuple
        A batch, and the answer to it.

    Notes
    -----
    Of a large table each process has one thread, on however many cores, so that the bits are those of any machine.
    """
    features, told = [column.name for column in drift_reference.columns(model)], drift_reference.scores(model)
    most = thread_budget.threads("")
    is_large = size.is_large(table.rows, len(features))
    with ExitStack() as stack:
        stack.enter_context(threadpool_limits(1 if is_large else most))
        executor = None
        if is_large and most > 1:
            _ASKED[:] = [ask]
            stack.callback(_ASKED.clear)
            executor = stack.enter_context(pool.workers(most))
        bar = stack.enter_context(terminal.rows_done(table.rows, f"scoring {table.path.name}"))
        batches = table.batches([*features, *beside])
        for batch, answer in _in_order(batches, features, ask, executor, AHEAD * most):
            tallies["input"].add(batch)
            tallies["score"].add(drift_reference.answered(answer, told))
            bar.update(len(batch))
            yield batch, answer


def begin(against: Mapping[str, Reference]) -> dict[str, Tally]:
    """Empty tallies with the bins of some references."""
    return {what: reference.begin() for what, reference in against.items()}


# What the processes of the pool ask; they get it through the fork.
_ASKED: list[Ask] = []


def _in_order(
    batches: Iterator[pa.RecordBatch], features: Sequence[str], ask: Ask, executor: Executor | None, ahead: int
) -> Iterator[tuple[pa.RecordBatch, pd.DataFrame]]:
    """Each batch with its answer; with an executor, so many batches are under way."""
    if executor is None:
        yield from ((batch, ask(batch.select(features).to_pandas())) for batch in batches)
        return
    under_way: deque[tuple[pa.RecordBatch, Future[pd.DataFrame]]] = deque()
    for batch in batches:
        under_way.append((batch, executor.submit(_answer, batch.select(features))))
        if len(under_way) > ahead:
            first, answer = under_way.popleft()
            yield first, answer.result()
    yield from starmap(lambda first, answer: (first, answer.result()), under_way)


def _answer(rows: pa.RecordBatch) -> pd.DataFrame:
    (ask,) = _ASKED
    with threadpool_limits(1):  # OpenMP's limit is one thread's own: that of who forked this process is not its limit
        return ask(rows.to_pandas())
