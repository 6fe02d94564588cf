"""Processes beside a step's own that hold what it holds: estimators and drawings keep Python's lock."""

import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager

from steps.process import lifecycle


@contextmanager
def workers(most: int) -> Iterator[Executor]:
    """Up to so many processes, forked off this one as work comes in, so that they share all that it has in memory.

    Elsewhere than on Linux a fork is not safe: work takes turns in a thread. At the end they are gone, whatever they
    are at.
    """
    if sys.platform == "linux":
        context = multiprocessing.get_context("fork")
        executor: Executor = ProcessPoolExecutor(most, context, initializer=lifecycle.leave)
    else:
        executor = ThreadPoolExecutor(1)
    before = set(multiprocessing.active_children())
    try:
        yield executor
    finally:
        for worker in set(multiprocessing.active_children()) - before:
            worker.terminate()
        executor.shutdown(wait=True, cancel_futures=True)
