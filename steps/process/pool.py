"""The process pool of a step: forked workers share its memory. Estimators and drawings keep Python's lock."""

import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Event, Thread

from steps.process import lifecycle


@cache
def forks() -> bool:
    """Whether a pool is of forked processes; that it cannot be on Linux is printed once in a process.

    Where the system is not Linux a fork is not safe. The locks of such a pool lie in /dev/shm, which a container may
    not have, or not let be written.
    """
    if sys.platform != "linux":
        return False
    try:
        multiprocessing.get_context("fork").Lock()
    except OSError as error:
        print(f"  note: /dev/shm cannot be used ({error.strerror}): this step does one thing at a time", flush=True)
        return False
    return True


@contextmanager
def workers(most: int) -> Iterator[Executor]:
    """A pool of as many processes, forked off this one at once, so that they share what it has in memory.

    Where they cannot be forked the pool is a single thread. At the end the processes are terminated, even in the
    middle of their work.
    """
    if not forks():
        with ThreadPoolExecutor(1) as thread:
            yield thread
        return
    before, ended = set(multiprocessing.active_children()), Event()
    executor = ProcessPoolExecutor(most, multiprocessing.get_context("fork"), initializer=lifecycle.leave)
    try:
        _fork(executor, ended)
        yield executor
    finally:
        for worker in set(multiprocessing.active_children()) - before:
            worker.terminate()
        executor.shutdown(wait=True, cancel_futures=True)
        ended.set()


def _fork(executor: Executor, ended: Event) -> None:
    """Fork the processes of a pool off a thread that does nothing else, and is there until the pool has ended.

    GNU's OpenMP keeps a team of threads with the thread that has used it. They do not survive a fork: a process forked
    off this thread would wait for them for ever, at its first work of several threads. And where the thread ends that a
    process was forked off, the system takes its parent for dead (`lifecycle.leave`).
    """
    forked: Future[None] = Future()

    def fork() -> None:
        try:
            executor.submit(bool)  # the first work that is given to a pool starts all of its processes
        except BaseException as error:  # raised where the pool was asked for
            forked.set_exception(error)
        else:
            forked.set_result(None)
        ended.wait()

    Thread(target=fork, daemon=True, name="fork").start()
    forked.result()
