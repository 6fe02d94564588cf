"""The engine of a step: where its fits run, in processes of this machine or at the workers of a Dask cluster."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from steps.process import pool
from steps.run import thread_budget
from steps.run.step import Step
from tabular.errors import UserError

DASK = "dask"


class Engine(Protocol):
    """Where fits run. What they find does not depend on it."""

    @property
    def at_most(self) -> int:
        """The most calls that it ever performs at once."""

    @property
    def free(self) -> int:
        """How many calls it may perform at once at this moment."""

    def give(self, hold: Callable[[Any, str], None], work: Any) -> None:
        """Prepare and keep work for the calls to come, by `hold(work, share)`, wherever they are performed.

        `share` is the file with the thread budget of that place; "": that of this step.
        """

    def workers(self, most: int) -> AbstractContextManager[Executor]:
        """An executor that performs up to `most` calls at once."""


@dataclass(frozen=True)
class Local:
    """Processes of this machine, which share the memory of this one."""

    share: str

    @property
    def at_most(self) -> int:
        """As many as there are cores."""
        return thread_budget.cores()

    @property
    def free(self) -> int:
        """As many as main gives threads."""
        return thread_budget.threads(self.share)

    def give(self, hold: Callable[[Any, str], None], work: Any) -> None:
        """Keep work in this process, off which the others are forked."""
        hold(work, "")

    def workers(self, most: int) -> AbstractContextManager[Executor]:
        """Forked processes."""
        return pool.workers(most)


def check(arguments: Mapping[str, str]) -> None:
    """Check the parameters `engine` and `engine_address`.

    Raises
    ------
    UserError
        Where one of them cannot be what is meant.
    """
    name, address = arguments["engine"], arguments["engine_address"]
    if name not in ("", "local", DASK):
        raise UserError(f"engine: {name!r} is not known: local, which is the default, or {DASK}")
    if address and name != DASK:
        raise UserError(f"engine_address: it is where a Dask scheduler listens: give engine={DASK} as well")
    if address and not re.fullmatch(r"(tcp|tls)://[^\s/@]+:\d+", address):
        raise UserError(f"engine_address: {address!r} is no address such as tls://scheduler.example:8786")


def probe(arguments: Mapping[str, str], ranks: int) -> None:
    """Check that the engine of a chain is there, before any work, and that it is one for so many ranks.

    Raises
    ------
    UserError
        As `check` and `opened`.
    """
    check(arguments)
    if arguments["engine"] != DASK and ranks == 1:
        return
    from steps.run import cluster

    if not arguments["engine_address"]:
        cluster.check_installed()
        return
    with cluster.connected(arguments["engine_address"], "train", []):
        pass


@contextmanager
def opened(step: Step, estimators: Collection[str] = (), ranks: int = 1) -> Iterator[Any]:
    """The engine that a step is given, an `Engine`; for ranks a cluster, which can learn them `together`.

    Parameters
    ----------
    step
        The step, with the parameters `engine`, `engine_address` and `share`.
    estimators
        Import paths of what is fitted: their code has to be the same everywhere.
    ranks
        How many processes are to learn one model together; a cluster of this machine where no other is given.

    Raises
    ------
    UserError
        Where there is no such engine.
    """
    check(step.arguments)
    if step.arguments["engine"] != DASK and ranks == 1:
        yield Local(step.arguments["share"])
        return
    from steps.run import cluster

    address, share = step.arguments["engine_address"], step.arguments["share"]
    if address:
        with cluster.connected(address, step.name, [*estimators]) as found:
            yield found
        return
    threads = thread_budget.threads(share)
    workers, each = (thread_budget.cores(), 1) if ranks == 1 else (ranks, max(1, threads // ranks))
    about = {"most": lambda: thread_budget.threads(share), "folder": str(step.folder)}
    with cluster.local(workers, each, step=step.name, estimators=[*estimators], **about) as found:
        yield found
