"""The process pool of a step: forked workers share its memory. Estimators and drawings keep Python's lock."""

import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager

from steps.process import lifecycle


@contextmanager
def workers(most: int) -> Iterator[Executor]:
    """A pool of up to `most` processes, forked off this one as work comes in, so that they share its memory.

    Where the system is not Linux a fork is not safe: the pool is a single thread. At the end the processes are
    terminated, even in the middle of their work.
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
