"""The parts of a table, read at the workers of a Dask cluster: what is found in each, and its blocks, are sent here.

A worker reads a part from where it lies: a folder that it sees too, or an object store, of which it keeps a copy of the
part until the step has ended.
"""

import pickle
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias, TypeVar

from steps.run import engine, paths, terminal
from steps.run.cluster import LOOK_SECONDS, MOST_LOST, SEND_SECONDS, Call, Cluster, WorkerLostError, connected
from steps.run.step import Step
from tabular import digests
from tabular.data import parts, sources
from tabular.data.sources import Fetched, Source, stores
from tabular.data.spills import Spill
from tabular.errors import EngineError, UserError

Found = TypeVar("Found")

# The blocks of a part are sent in pieces of so many bytes, whatever the part's size.
PIECE = 8 << 20
# After which a piece is asked for again, as long as its worker is there.
PIECE_SECONDS = 15.0
# Seconds that a store may stay silent.
TIMEOUT = 30.0
# So many calls for each worker are given out before the first of them is taken up.
AHEAD = 2
# Of many parts at most so many are one call, and there are at least so many calls for each worker.
MOST_OF_CALL, CALLS_OF_WORKER = 32, 4


@contextmanager
def opened(step: Step, source: Source, sha256: str | None) -> Iterator[tuple[Fetched, "PartReaders"] | None]:
    """A table whose parts are read at workers, by its digest; None where it is to be fetched and read here.

    That is where the step has no engine=dask, and where the table is not several files or objects. Only etl reads at a
    cluster of this machine alone: to begin one would take longer than what the others have to do.
    """
    arguments = {name: step.arguments.get(name, "") for name in ("engine", "engine_address")}
    engine.check(arguments)
    if arguments["engine"] != engine.DASK or not (arguments["engine_address"] or step.name == "etl"):
        yield None
        return
    folder = step.folder / "fetched"
    of = sources.apart(source, sha256=sha256, cache=paths.cache(), folder=folder, timeout=TIMEOUT)
    if of is None:
        if step.name == "etl":
            terminal.say("  etl: the table is read on this machine: it is not several files on a path or in a store")
        yield None
        return
    # main has no workers for anything else
    address = arguments["engine_address"]
    with engine.opened(step) if step.name == "etl" else connected(address, "etl", []) as place:
        readers = PartReaders(place, of)
        if step.name == "etl":
            many = len(place.threads)
            terminal.say(f"  etl: {len(of.place.names)} parts are read at {many} worker{'s' * (many > 1)}")
        fetched = of.fetched(readers, sha256)  # each part is hashed at the worker that is to read it
        readers.expected = parts.listed_parts(str(fetched.listed))
        yield fetched, readers


class PartReaders:
    """Workers of a cluster as `tabular.data.readers.Readers`.

    Of many parts, several that follow each other are one call, which always is of the same ones.
    """

    def __init__(self, cluster: Cluster, of: sources.Apart) -> None:
        self._cluster, self._of = cluster, of
        self.expected: Mapping[str, str] = {}  # the digest that each part has, by its name
        # the worker that has read a part, and has a copy of it, or may have it in memory
        self._homes: dict[Path, str] = {}
        files = parts.files(of.place)
        size = max(1, min(MOST_OF_CALL, len(files) // (CALLS_OF_WORKER * max(1, len(cluster.threads)))))
        self._calls = {file: at // size for at, file in enumerate(files)}
        cluster.give(_hold, _Work(of.place.root, of.store))

    def each(self, look: Callable[[Path], Found], files: Sequence[Path]) -> Iterator[Found]:
        """As `Readers` has it."""
        for _, answers in self._answers(partial(_looked, look), files):
            for answer in answers:
                yield answer.value()

    def kept(self, look: Callable[[Path, Path], Found], files: Sequence[Path], spill: Spill) -> Iterator[Found]:
        """As `Readers` has it."""
        from tqdm import tqdm

        work, paths = partial(_kept, look), {file: spill.path(place) for place, file in enumerate(files)}
        title = f"reading {self._of.place.name} at {len(self._cluster.threads)} workers"
        with tqdm(total=len(files), desc=title, leave=False, delay=0.5, unit="parts") as bar:
            for group, answers in self._answers(work, files):
                brought = self._brought(work, group, answers, [paths[file] for file in group])
                for file, answer in zip(group, brought, strict=False):  # after an error there are no more
                    found = answer.value()
                    if answer.digest != self.expected[file.relative_to(self._of.place.root).as_posix()]:
                        raise UserError(f"{file}: changed while it was being read; start again")
                    yield found
                    bar.update()

    def _answers(
        self, work: Callable[..., "_Answers"], files: Sequence[Path]
    ) -> Iterator[tuple[Sequence[Path], "_Answers"]]:
        """Files that are one call, in their order, and what a worker answers to work on them."""
        todo = (list(group) for _, group in groupby(files, self._calls.__getitem__))
        with self._cluster.workers(sys.maxsize):
            most = AHEAD * max(1, len(self._cluster.threads))
            pending = [(group, self._begun(work, group)) for group in islice(todo, most)]
            while pending:
                group, future = pending.pop(0)
                yield group, self._answer(work, group, future)
                pending += [(more, self._begun(work, more)) for more in islice(todo, 1)]

    def _begun(self, work: Callable[..., "_Answers"], group: Sequence[Path]) -> "Future[_Answers]":
        told = [(file, self._size(file)) for file in group]
        return self._cluster.put(Call(pickle.dumps((work, (told,))), Future(), worker=self._homes.get(group[0], "")))

    def _size(self, file: Path) -> int | None:
        """The size of a part that is on this machine too, by which a worker tells that it sees the same one."""
        return None if self._of.store is not None else file.stat().st_size

    def _answer(self, work: Callable[..., "_Answers"], group: Sequence[Path], future: "Future[_Answers]") -> "_Answers":
        try:
            answers = future.result()
        except WorkerLostError:  # another one reads them again
            return self._again(work, group)
        self._homes |= dict.fromkeys(group, answers[0].worker)
        return answers

    def _again(self, work: Callable[..., "_Answers"], group: Sequence[Path]) -> "_Answers":
        self._homes.pop(group[0], None)
        return self._answer(work, group, self._begun(work, group))

    def _brought(
        self, work: Callable[..., "_Answers"], group: Sequence[Path], answers: "_Answers", to: Sequence[Path]
    ) -> "_Answers":
        """The answers whose blocks are here; where their worker is gone since, another one reads the parts again."""
        for _ in range(MOST_LOST):
            if self._bring(answers, to):
                return answers
            answers = self._again(work, group)
        raise EngineError(f"engine: {MOST_LOST} workers have died before they sent what they had read of {group[0]}")

    def _bring(self, answers: "_Answers", to: Sequence[Path]) -> bool:
        """Whether the blocks that a worker has kept could be had."""
        worker = answers[0].worker
        for path in to:
            path.write_bytes(b"")
        for pieces in _pieces([answer.kept for answer in answers]):
            told = [(answers[at].name, start, size) for at, start, size in pieces]
            found = self._asked(_read, told, worker=worker)
            if not isinstance(found, list):
                return False
            for (at, _, _), piece in zip(pieces, found, strict=True):
                with to[at].open("ab") as file:
                    file.write(piece)
        self._asked(_drop, [answer.name for answer in answers if answer.name], worker=worker)
        return True

    def _asked(self, function: Callable[..., Any], *arguments: Any, worker: str) -> Any:
        """What a function returns at a worker, beside the call that is under way there; None where the worker is gone.

        A worker that has died while it was asked is known to be gone before the question to it is over.
        """
        until = time.monotonic() + SEND_SECONDS
        while worker in self._cluster.threads and time.monotonic() < until:
            self._cluster.check()
            with suppress(OSError, TimeoutError):
                told = self._cluster.ask(function, *arguments, workers=[worker], seconds=PIECE_SECONDS)
                if not isinstance(told.get(worker), (OSError, TimeoutError)):
                    return told.get(worker)
            time.sleep(LOOK_SECONDS)
        return None


def _pieces(sizes: Sequence[int]) -> Iterator[list[tuple[int, int, int]]]:
    """Pieces of files of these sizes, each by its file's place, its start and its size; of `PIECE` bytes together."""
    asked, room = [], PIECE
    for at, whole in enumerate(sizes):
        start = 0
        while start < whole:
            size = min(whole - start, room)
            asked.append((at, start, size))
            start, room = start + size, room - size
            if not room:
                yield asked
                asked, room = [], PIECE
    if asked:
        yield asked


# --- at a worker ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Work:
    """What a worker is told of the table: the folder by which its parts are named, and where they lie in a store."""

    root: Path
    store: stores.Listed | None


@dataclass
class _There:
    """What a worker holds of the table: copies of parts, and blocks that are still to be sent."""

    work: _Work
    folder: TemporaryDirectory[str]
    names: int = 0

    def copy(self, file: Path, size: int | None, worker: str) -> Path:
        """The part where this worker has it."""
        if self.work.store is None:
            _check_seen(file, size, worker)
            return file
        path = self._copies / file.relative_to(self.work.root)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            name = file.relative_to(self.work.root).as_posix()
            try:
                stores.copy_part(self.work.store, name, path, TIMEOUT)
            except UserError as error:
                raise UserError(f"engine: the Dask worker {worker}: {error}") from None
        return path

    @property
    def _copies(self) -> Path:
        return Path(self.folder.name) / "copies"

    def as_there(self, said: str) -> str:
        """A message with the path that a part has for the step."""
        return said.replace(str(self._copies), str(self.work.root))


@dataclass
class _Answer:
    """What a worker answers: what it has found or why it could not; and how many bytes it has kept under a name.

    With what is kept comes the digest of the part that it was read from.
    """

    worker: str
    found: Any = None
    error: UserError | None = None
    name: str = ""
    kept: int = 0
    digest: str = ""

    def value(self) -> Any:
        """What it has found."""
        if self.error is not None:
            raise self.error
        return self.found


# Of several parts, up to the first one with an error.
_Answers: TypeAlias = list[_Answer]


# What this worker holds: of one table at a time.
_HELD: list[_There] = []


def _hold(work: _Work | None, share: str) -> None:
    """Keep what is to be known of a table; None: let go of it, and of all that was kept for it."""
    while _HELD:
        _HELD.pop().folder.cleanup()
    if work is not None:
        _HELD.append(_There(work, TemporaryDirectory(dir=Path(share).parent, prefix="parts-")))


def _looked(look: Callable[[Path], Any], told: Sequence[tuple[Path, int | None]]) -> _Answers:
    """Look at parts, each with its size where the step knows it."""
    return _answered(lambda path: _Answer("", look(path)), told)


def _kept(look: Callable[[Path, Path], Any], told: Sequence[tuple[Path, int | None]]) -> _Answers:
    """Look at parts, and keep what is written of each until it is sent."""
    (there,) = _HELD

    def looked(path: Path) -> _Answer:
        there.names += 1
        kept = Path(there.folder.name) / f"blocks-{there.names}"
        found = look(path, kept)
        return _Answer("", found, name=str(kept), kept=kept.stat().st_size, digest=digests.of_file(path))

    return _answered(looked, told)


def _answered(work: Callable[[Path], _Answer], told: Sequence[tuple[Path, int | None]]) -> _Answers:
    from distributed import get_worker

    (there,), worker, answers = _HELD, get_worker().address, []
    for file, size in told:
        try:
            answers.append(replace(work(there.copy(file, size, worker)), worker=worker))
        except UserError as error:
            return [*answers, _Answer(worker, error=type(error)(there.as_there(str(error))))]
    return answers


def _read(told: Sequence[tuple[str, int, int]]) -> list[bytes]:
    """Pieces of what was kept, each by its name, start and size."""
    return [_piece(*one) for one in told]


def _piece(name: str, start: int, size: int) -> bytes:
    with Path(name).open("rb") as file:
        file.seek(start)
        return file.read(size)


def _drop(names: Sequence[str]) -> None:
    """Let go of what was kept and is sent."""
    for name in names:
        Path(name).unlink(missing_ok=True)


def _check_seen(file: Path, size: int | None, worker: str) -> None:
    """Raise an error where a worker does not see the file that the step sees."""
    way_out = "mount the folder there under the same path, put the table into an object store, or leave engine out"
    try:
        found = file.stat().st_size
        with file.open("rb"):
            pass
    except OSError as error:
        raise UserError(f"engine: the Dask worker {worker} cannot read {file} ({error.strerror}): {way_out}") from None
    if found != size:
        raise UserError(
            f"engine: the Dask worker {worker} sees another file as {file}, of {found:,} bytes and not {size or 0:,}: "
            f"{way_out}"
        )
