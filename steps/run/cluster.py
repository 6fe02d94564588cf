"""A cluster of Dask: calls at its workers, and what becomes of them where a worker or the scheduler dies.

Each call is given to one worker by its address, and no worker has two at a time. Dask by itself would choose the
worker, and wait for ever where none is left.
"""

import logging
import pickle
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from steps.run import terminal, worker
from steps.run.worker import Held
from tabular.errors import EngineError, UserError, first_line

EXTRA = "requirements-dask.txt"
# How long a connection, and a worker that is to be there, are waited for; and a scheduler or all workers that are gone.
CONNECT_SECONDS = 15.0
LOST_SECONDS = 30.0
# What is sent to a worker once may be a whole table.
SEND_SECONDS = 600.0
# How often to look which workers there are.
LOOK_SECONDS = 1.0
# After which ranks that do nothing are given up: each waits for another one.
STALLED_SECONDS = 60.0
# By so many workers that die under it a call is given up: it may be what kills them.
MOST_LOST = 3


class WorkerLostError(EngineError):
    """The worker of a call has died."""


class _RanksError(Exception):
    """A rank of a fit is lost, and the fit with it."""


@dataclass(eq=False)
class Call:
    """A call: at any worker, or at one alone, which gets `sent` first where there is something to be sent."""

    work: bytes
    future: "Future[Any]"
    worker: str = ""
    sent: Any = None
    lost: int = 0  # how many workers have died under it
    there: Any = None  # Dask's future, while it is under way
    is_wanted: bool = True

    def cancel(self) -> None:
        """End it, whether it has begun or not."""
        self.is_wanted = False
        if not self.future.cancel() and self.there is not None:
            self.there.cancel()


@dataclass(eq=False)
class _Worker:
    """A worker that has our versions and source."""

    threads: int
    held: Any = None  # Dask's future of what the step has sent it
    call: Call | None = None


@dataclass
class Cluster(Executor):
    """The workers of a cluster, as an executor.

    Attributes
    ----------
    client
        Dask's.
    address
        That of the scheduler, for errors.
    about
        What each worker has to be like: `steps.run.worker.about`, and its arguments.
    most
        Returns how many calls may be under way at most.
    """

    client: Any
    address: str
    about: tuple[Mapping[str, str], str, Sequence[str]]
    most: Callable[[], int]
    _workers: dict[str, _Worker] = field(default_factory=dict)
    _unfit: dict[str, str] = field(default_factory=dict)
    _queue: list[Call] = field(default_factory=list)
    _held: Held | None = None
    _limit: int | None = None
    _error: EngineError | None = None

    def __post_init__(self) -> None:
        self._lock, self._wake, self._over = threading.Lock(), threading.Event(), threading.Event()
        self._looked, self._answered = 0.0, time.monotonic()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="cluster")
        self._look()
        self._thread.start()

    @property
    def threads(self) -> dict[str, int]:
        """The workers that are there and fit, {address: its threads}."""
        with self._lock:
            return {address: one.threads for address, one in sorted(self._workers.items())}

    @property
    def unfit(self) -> dict[str, str]:
        """The workers that are there and not fit, {address: in what it differs}."""
        with self._lock:
            return dict(self._unfit)

    # What an engine is: see `steps.run.engine.Local`.

    @property
    def at_most(self) -> int:
        """The most calls at once."""
        return max(1, min(self.most(), len(self.threads)))

    free = at_most

    def give(self, hold: Callable[[Any, str], None], work: Any) -> None:
        """Send work to each worker, once, before its first call from now on."""
        self._held = Held(self.client.id, hold, work)
        with self._lock:
            for one in self._workers.values():
                one.held = None

    @contextmanager
    def workers(self, most: int) -> Iterator[Executor]:
        """The cluster as a pool of up to `most` workers; calls that have not begun at the end are cancelled.

        A call that is under way then cannot be ended: its worker gets no other one before it has ended.
        """
        self._limit = most
        try:
            yield self
        finally:
            self._limit = None
            with self._lock:
                for call in [*self._queue, *(one.call for one in self._workers.values() if one.call is not None)]:
                    call.is_wanted = False
                    call.future.cancel()

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **_: Any) -> "Future[Any]":
        """Call a function at a worker; at another one where that dies."""
        return self.put(Call(pickle.dumps((function, arguments)), Future()))

    def put(self, call: Call) -> "Future[Any]":
        """Have a call performed."""
        with self._lock:
            if self._error is not None:
                call.future.set_exception(self._error)
            else:
                self._queue.append(call)
        self._wake.set()
        return call.future

    def ask(self, function: Callable[..., Any], *arguments: Any, workers: Sequence[str], seconds: float) -> Any:
        """Call a function at workers at once, beside the calls under way; {address: what it returns, or its error}."""
        run = self.client._run  # `Client.run` waits for ever for a worker that is stopped
        return self.client.sync(
            run, function, *arguments, workers=list(workers), on_error="return", callback_timeout=seconds
        )

    def close(self) -> None:
        """Leave the cluster, which lets go of what it was sent."""
        self._over.set()
        self._wake.set()
        self._thread.join()
        with suppress(Exception):
            self.ask(worker.drop, self.client.id, workers=[*self._workers], seconds=CONNECT_SECONDS)
        self._break(EngineError("engine: the step has left the cluster"))
        with suppress(Exception):
            self.client.close(timeout=CONNECT_SECONDS)

    def together(self, parts: Sequence[Any]) -> str:
        """Learn a model by ranks that work at the same time, each at a worker of its own; return the model's text.

        Where a rank or its worker dies, all are ended, and the fit begins anew at the workers that are there: what it
        finds does not depend on them.

        Parameters
        ----------
        parts
            Of each rank, the part that it learns from: see `tabular.model.ranks.Part`.

        Raises
        ------
        ValueError
            A rank refuses its part or the hyperparameters.
        EngineError
            There are too few workers, or the ranks have died too often.
        """
        from distributed import Lock

        lock, said = Lock("tabular-ranks", scheduler_rpc=self.client.scheduler, loop=self.client.loop), ""
        for _ in range(MOST_LOST):
            chosen = self._several(len(parts))
            # the ranks of two steps would wait for each other's workers
            while not self._acquired(lock):
                self.check()
            try:
                return self._learnt(parts, chosen)
            except _RanksError as error:
                said = str(error)
            finally:
                with suppress(Exception):
                    lock.release()
        raise EngineError(f"engine: the ranks of a fit have been lost {MOST_LOST} times; the last time {said}")

    def _acquired(self, lock: Any) -> bool:
        """Whether a lock of the cluster could be had; waits for it for a while."""
        acquire = lock._acquire  # as `_run` in `ask`
        try:
            return bool(self.client.sync(acquire, timeout=LOST_SECONDS, callback_timeout=2 * LOST_SECONDS))
        except (OSError, TimeoutError):
            time.sleep(LOOK_SECONDS)
            return False

    def _several(self, most: int) -> list[str]:
        """So many workers; waits for them for a while."""
        until = time.monotonic() + LOST_SECONDS
        while len(self.threads) < most:
            self.check()
            if time.monotonic() > until:
                raise EngineError(
                    f"engine_ranks: {most} ranks need as many workers, and the cluster at {self.address} has "
                    f"{len(self.threads)}: start more, or ask for fewer ranks (which makes another model)"
                )
            time.sleep(LOOK_SECONDS / 2)
        return list(self.threads)[:most]

    def check(self) -> None:
        """Raise the error by which the cluster has ended, if it has."""
        if self._error is not None:
            raise self._error

    def _learnt(self, parts: Sequence[Any], chosen: Sequence[str]) -> str:
        name = f"{self.client.id}-{time.monotonic()}"
        work = pickle.dumps((worker.learn_rank, (name,)))
        calls = [Call(work, Future(), address, part) for address, part in zip(chosen, parts, strict=True)]
        try:
            for call in calls:
                self.put(call)
            self._connect(name, calls)
            self._follow(name, calls)
            found = [call.future.result() for call in calls]
        finally:
            for call in calls:
                call.cancel()
        refused = [said for what, said in found if what == "refused"]
        if refused:
            raise ValueError(refused[0])
        lost = [said or "its process was killed" for what, said in found if what != "model"]
        if lost:
            raise _RanksError(lost[0])
        texts = {text for _, text in found}
        if len(texts) > 1:
            raise EngineError("engine: the ranks of a fit have learnt different models, which must not be")
        return texts.pop()

    def _connect(self, name: str, calls: Sequence[Call]) -> None:
        """Wait until each rank is there, and tell all where they listen."""
        addresses, moved = [call.worker for call in calls], time.monotonic()
        while True:
            told = self._asked(worker.rank_of, name, workers=addresses)
            if all(told.get(address) for address in addresses):
                break
            self._raise_lost(calls)
            if len(told) == len(addresses):  # one that has other work to end first answers as well
                moved = time.monotonic()
            if time.monotonic() - moved > STALLED_SECONDS:
                raise _RanksError(f"a worker has not answered for {STALLED_SECONDS:.0f} s")
            time.sleep(LOOK_SECONDS / 2)
        machines = [f"{_host(address)}:{told[address][0]}" for address in addresses]
        self._asked(worker.begin_rank, name, machines, workers=addresses)

    def _follow(self, name: str, calls: Sequence[Call]) -> None:
        """Wait for the end of all ranks; raise where one is lost, or none of them does anything any more."""
        addresses, worked, moved = [call.worker for call in calls], -1.0, time.monotonic()
        while not all(call.future.done() for call in calls):
            pending = [call.future for call in calls if not call.future.done()]
            wait(pending, timeout=STALLED_SECONDS / 20, return_when=FIRST_COMPLETED)
            self._raise_lost(calls)
            told = self._asked(worker.rank_of, name, workers=addresses)
            seconds = sum(one[1] for one in told.values() if one)
            if seconds != worked:
                worked, moved = seconds, time.monotonic()
            if time.monotonic() - moved > STALLED_SECONDS:
                raise _RanksError(f"none of them did anything for {STALLED_SECONDS:.0f} s")

    def _raise_lost(self, calls: Sequence[Call]) -> None:
        self.check()
        for call in calls:
            if not call.future.done():
                continue
            if call.future.exception() is not None:
                raise _RanksError(first_line(call.future.exception())) from None
            what, said = call.future.result()
            if what == "refused":
                raise ValueError(said)
            if what != "model":
                raise _RanksError(said or "its process was killed")

    def _asked(self, function: Callable[..., Any], *arguments: Any, workers: Sequence[str]) -> dict[str, Any]:
        """As `ask`, without the workers that do not answer."""
        with suppress(OSError, TimeoutError):
            told = self.ask(function, *arguments, workers=workers, seconds=CONNECT_SECONDS)
            return {address: said for address, said in told.items() if not isinstance(said, BaseException)}
        return {}

    # The watching thread.

    def _watch(self) -> None:
        while not self._over.is_set():
            self._wake.wait(LOOK_SECONDS / 2)
            self._wake.clear()
            try:
                if time.monotonic() - self._looked > LOOK_SECONDS:
                    self._look()
                self._end()
                self._begin()
            except Exception as error:  # whatever Dask raises: no call is to be waited for in vain
                self._break(EngineError(f"engine: the cluster at {self.address} fails: {first_line(error)}"))

    def _look(self) -> None:
        """Look which workers there are: lose those that are gone, and take in new ones if they are as this process."""
        self._looked = time.monotonic()
        try:
            identity = self.client.scheduler.identity
            seen = self.client.sync(identity, n_workers=-1, callback_timeout=CONNECT_SECONDS)["workers"]
        except (OSError, TimeoutError, AttributeError):  # a client that has been closed has no scheduler
            if time.monotonic() - self._answered > LOST_SECONDS or self.client.status == "closed":
                self._break(
                    EngineError(
                        f"engine: the Dask scheduler at {self.address} does not answer any more: start it again, and "
                        "the same command goes on where it stopped"
                    )
                )
            return
        if seen:
            self._answered = time.monotonic()
        elif self._queue and time.monotonic() - self._answered > LOST_SECONDS:
            self._break(
                EngineError(
                    f"engine: the cluster at {self.address} has lost all of its workers: start them again (where "
                    "memory has killed them, with more of it), and the same command goes on where it stopped"
                )
            )
        for address in [address for address in self._workers if address not in seen]:
            self._lose(address)
        with self._lock:
            self._unfit = {address: said for address, said in self._unfit.items() if address in seen}
        new = [address for address in seen if address not in self._workers and address not in self._unfit]
        if new:
            self._take_in(new, {address: int(seen[address]["nthreads"]) for address in new})

    def _take_in(self, new: Sequence[str], threads: Mapping[str, int]) -> None:
        """Take in new workers, those that are as this process."""
        from distributed.comm import CommClosedError

        ours, *arguments = self.about
        try:
            told = self.ask(worker.about, *arguments, workers=new, seconds=LOST_SECONDS)
        except TimeoutError as error:
            if len(new) > 1:
                for address in new:
                    self._take_in([address], threads)
                return
            told = {new[0]: error}
        for address, theirs in told.items():
            if isinstance(theirs, CommClosedError):
                continue  # it has died since: the next look tells
            if isinstance(theirs, TimeoutError):
                said = f"it has not answered for {LOST_SECONDS:g} s"
            elif isinstance(theirs, Exception):
                said = f"it cannot load this project ({first_line(theirs)})"
            else:
                said = ", ".join(worker.differences(theirs, ours)[:5])
            with self._lock:
                if said:
                    self._unfit[address] = said
                else:
                    self._workers[address] = _Worker(threads[address])
            if said and self._thread.is_alive():
                terminal.say(f"  note: the Dask worker {address} is not used: {said}")

    def _begin(self) -> None:
        """Give calls to workers that have none."""
        with self._lock:
            self._queue = [call for call in self._queue if not call.future.cancelled()]
            waiting, free = list(self._queue), {name: one for name, one in self._workers.items() if one.call is None}
            busy = sum(one.call is not None and one.call.is_wanted for one in self._workers.values())
        for call in waiting:
            if call.worker and call.worker not in self._workers:
                self._fail(call, WorkerLostError(f"engine: the Dask worker {call.worker} has died"))
                continue
            if not call.worker and busy >= (self._limit or len(self._workers)):
                continue
            address = call.worker or next(iter(free), "")
            one = free.pop(address, None)
            if one is None:
                continue
            with self._lock:
                self._queue.remove(call)
            if call.lost or call.future.set_running_or_notify_cancel():
                one.call, busy = call, busy + 1
                self._send(address, one, call)

    def _send(self, address: str, one: _Worker, call: Call) -> None:
        only = {"workers": [address], "hash": False}
        send = self.client._scatter  # as `_run` in `ask`
        try:
            held = one.held
            if call.sent is not None:
                held = self.client.sync(send, call.sent, **only, callback_timeout=SEND_SECONDS)
            elif held is None and self._held is not None:
                held = one.held = self.client.sync(send, self._held, **only, callback_timeout=SEND_SECONDS)
        except (OSError, TimeoutError, KeyError):  # KeyError: the scheduler knows of no such worker any more
            self._lose(address)
            return
        call.sent = None
        call.there = self.client.submit(worker.perform, held, call.work, workers=[address], pure=False)
        call.there.add_done_callback(lambda _: self._wake.set())
        if not call.is_wanted:  # since a moment ago
            call.there.cancel()

    def _end(self) -> None:
        """Take up what calls have returned."""
        for address, one in list(self._workers.items()):
            if one.call is None or one.call.there is None or one.call.there.status == "pending":
                continue
            call, there = one.call, one.call.there
            if there.status in ("cancelled", "lost"):
                self._lose(address)
                continue
            try:
                result, error = (
                    (None, there.exception(timeout=CONNECT_SECONDS))
                    if there.status == "error"
                    else (there.result(timeout=CONNECT_SECONDS), None)
                )
            except Exception:  # its worker has died since
                self._lose(address)
                continue
            if type(error).__name__ == "KilledWorker":
                self._lose(address)
                continue
            one.call = None
            if error is None:
                call.future.set_result(result)
            else:
                call.future.set_exception(error)

    def _lose(self, address: str) -> None:
        """A worker has died: its call is performed at another one, unless it has lost too many."""
        with self._lock:
            one = self._workers.pop(address)
        call = one.call
        if call is None:
            return
        if call.there is not None:
            call.there.cancel()
            call.there = None
        call.lost += 1
        if call.worker or not call.is_wanted:
            self._fail(call, WorkerLostError(f"engine: the Dask worker {address} has died"))
        elif call.lost >= MOST_LOST:
            self._break(
                EngineError(
                    f"engine: {call.lost} workers have died one after the other at the same work; where memory has "
                    "killed them, start them with more of it"
                )
            )
            self._fail(call, self._error)
        else:
            with self._lock:
                self._queue.insert(0, call)

    def _fail(self, call: Call, error: BaseException | None) -> None:
        with self._lock:
            if call in self._queue:
                self._queue.remove(call)
        if not call.future.done():
            call.future.set_exception(error)

    def _break(self, error: EngineError) -> None:
        """End all calls by an error, and those that are still to come."""
        with self._lock:
            self._error = self._error or error
            calls = [*self._queue, *(one.call for one in self._workers.values() if one.call is not None)]
            self._queue = []
        for call in calls:
            self._fail(call, self._error)


@contextmanager
def connected(address: str, step: str, estimators: Sequence[str]) -> Iterator[Cluster]:
    """The cluster of the scheduler at an address.

    Raises
    ------
    UserError
        Where nobody answers there, no worker has joined, or a worker has other versions or another source than this
        process.
    """
    client_of = _client()
    try:
        client = client_of(address, timeout=CONNECT_SECONDS, set_as_default=False, name=f"tabular-{step}")
    except Exception as error:  # a wrong scheme, a certificate that is not trusted, nobody there
        raise UserError(
            f"engine_address: no Dask scheduler answers at {address}: {first_line(error)}; start one "
            f"(docs/scale.md), or leave engine out"
        ) from None
    with _in(client, address, step, estimators, 1, lambda: sys.maxsize) as found:
        yield found


@contextmanager
def local(
    workers: int, threads: int, most: Callable[[], int], folder: str, step: str, estimators: Sequence[str]
) -> Iterator[Cluster]:
    """A cluster of processes of this machine, which others on it cannot use: it speaks TLS with keys of its own."""
    client_of = _client()
    from distributed import LocalCluster, Security

    about = {"host": "127.0.0.1", "protocol": "tls://", "security": Security.temporary(), "dashboard_address": None}
    with LocalCluster(
        n_workers=workers,
        threads_per_worker=threads,
        memory_limit=None,
        local_directory=folder,
        silence_logs=logging.CRITICAL,
        **about,
    ) as cluster:
        client = client_of(cluster, timeout=CONNECT_SECONDS, set_as_default=False, name=f"tabular-{step}")
        with _in(client, "this machine", step, estimators, workers, most) as found:
            yield found


@contextmanager
def _in(
    client: Any, address: str, step: str, estimators: Sequence[str], workers: int, most: Callable[[], int]
) -> Iterator[Cluster]:
    found = None
    try:
        with suppress(TimeoutError):
            client.wait_for_workers(workers, timeout=LOST_SECONDS)
        about = (worker.about(step, estimators), step, estimators)
        found = Cluster(client, address, about, most)
        if found.unfit:
            which, said = next(iter(found.unfit.items()))
            raise UserError(
                f"engine_address: the Dask worker {which} is not as this machine: {said}; give it the same commit and "
                f"the packages of requirements.txt and {EXTRA}, and start it again"
            )
        if not found.threads:
            raise UserError(f"engine_address: the cluster at {address} has no workers: start one (docs/scale.md)")
        yield found
    finally:
        if found is not None:
            found.close()
        else:
            client.close(timeout=CONNECT_SECONDS)


def _host(address: str) -> str:
    """The IP address in a worker's address."""
    from distributed.comm import get_address_host

    return socket.gethostbyname(get_address_host(address))


def check_installed() -> None:
    """Check that Dask is installed; raises UserError where it is not."""
    _client()


def _client() -> Any:
    """Dask's client.

    Raises
    ------
    UserError
        Where Dask is not installed.
    """
    try:
        import dask
        from distributed import Client
    except ImportError:
        raise UserError(
            f"engine: dask is not installed here: pip install -r {EXTRA}, or name it in python_env.yaml "
            f"(- -r {EXTRA}); without engine=dask all is done on this machine"
        ) from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters of it is said in our words
    dask.config.set({"distributed.comm.timeouts.connect": CONNECT_SECONDS})
    return Client
