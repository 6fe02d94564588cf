"""Sources of tables: where a table lies, and how it is fetched to this machine and known by its digest."""

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tabular import addresses, digests
from tabular.addresses import shown
from tabular.data import parts
from tabular.data.parts import Parts, Place
from tabular.data.readers import Readers
from tabular.data.sources import cache as copies
from tabular.data.sources import databases, local, stores, web
from tabular.data.sources.cache import Fetched
from tabular.errors import UserError

# Downloads an artifact of MLflow by its URI into a folder, and returns the file or folder. tabular/ knows no MLflow.
Artifacts = Callable[[str, Path], Path]


@dataclass(frozen=True)
class Source:
    """Where a table lies.

    Attributes
    ----------
    address : str
        A path (``~`` is expanded), a folder or a glob of parts, an http(s) URL, an object store's URL, an artifact of
        MLflow, a database's URL, or ``sklearn:NAME`` for a data set that scikit-learn carries. In a URL ``${NAME}``
        stands for a variable of the environment: a secret is named, and never logged.
    query : str, optional
        The query that a database is asked.
    headers : mapping of str to str
        Headers of the request to a web server, in which ``${NAME}`` stands for a variable too.

    """

    address: str
    query: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return shown(self.address)

    @property
    def kind(self) -> addresses.Kind:
        """The kind of place that it names; UserError where there is no such kind, or query and address do not fit."""
        return addresses.kind(self.address, self.query)


def fetch(
    source: Source,
    *,
    sha256: str | None,
    cache: Path,
    folder: Path,
    progress: bool,
    artifacts: Artifacts | None = None,
    timeout: float = 30.0,
) -> Fetched:
    """Fetch a table to this machine, and check it against its digest where one is given.

    Parameters
    ----------
    source : Source
        Where it lies.
    sha256 : str or None
        The hexadecimal digest that the table must have. What has one is copied from elsewhere once and kept in `cache`;
        without one it is copied every time, since what lies there may have changed.
    cache : Path
        Folder of copies that have a digest, shared between runs.
    folder : Path
        Folder of this run, for what is not cached.
    progress : bool
        Whether a download draws a progress bar on stderr.
    artifacts : callable, optional
        Downloads an artifact of MLflow; without it there are none.
    timeout : float
        Seconds that a server may stay silent.

    Returns
    -------
    Fetched
        Paths on this machine are not copied.

    Raises
    ------
    UserError
        When the source is unknown, unreachable or absent, or is not the table that `sha256` describes.

    """
    expected = _checked_form(sha256)
    if source.kind == "path":
        place, others = on_this_machine(source, expected, cache)
        return _checked(source, Fetched(place, parts.digest(place), others), expected)
    kept = copies.find(cache, expected, _copy_name(source)) if expected else None
    if kept is not None:
        return kept
    place, others = _copied(source, folder, artifacts, progress, timeout)
    try:
        found = _checked(source, Fetched(place, parts.digest(place), others), expected)
    except UserError:
        _remove(place)
        raise
    return copies.keep(cache, found) if expected and source.kind != "sklearn" else found


def pin(
    source: Source,
    *,
    sha256: str | None,
    cache: Path,
    folder: Path,
    progress: bool,
    artifacts: Artifacts | None = None,
) -> str:
    """The digest of a table's content now.

    What is copied here is kept in `cache`, where `fetch` with the digest finds it. Of a table of several parts it is
    kept which these are: `fetch` with the digest finds them, and no others that have come since.

    Parameters and errors are those of `fetch`.
    """
    found = fetch(source, sha256=sha256, cache=cache, folder=folder, progress=progress, artifacts=artifacts)
    if source.kind == "path":
        keep_listing(cache, found)
    elif sha256 is None:
        copies.keep(cache, found)
    return found.digest


def keep_listing(cache: Path, found: Fetched) -> None:
    """Keep which parts a digest was made of, where the table has several."""
    if isinstance(found.place, Parts):
        copies.keep_listing(cache, found.listed or parts.listing(found.place))


def on_this_machine(source: Source, expected: str | None, cache: Path) -> tuple[Place, tuple[str, ...]]:
    """A table on this machine; of several parts, those that the digest was made of."""
    place, others = local.find(source.address)
    if not isinstance(place, Parts):
        return place, others
    root = place.root
    return _as_pinned(source, place, others, expected, cache, lambda name: (root / name).is_file())


def _as_pinned(
    source: Source,
    place: Parts,
    others: tuple[str, ...],
    expected: str | None,
    cache: Path,
    is_there: Callable[[str], bool],
) -> tuple[Parts, tuple[str, ...]]:
    """The parts that a digest was made of; all where it is not known which these are."""
    listing = copies.listing(cache, expected) if expected else None
    if listing is None:
        return place, others
    pinned = parts.listed_parts(listing)
    gone = next((name for name in pinned if not is_there(name)), None)
    if gone is not None:
        raise UserError(f"{source}: the part {gone} is gone, of which data.sha256 was made: put it back")
    since = (name for name in place.names if name not in pinned)
    return Parts(place.root, tuple(sorted(pinned, key=parts.natural))), (*others, *since)


@dataclass(frozen=True)
class Apart:
    """A table of several parts, none of which was fetched.

    Attributes
    ----------
    source : Source
    place : Parts
        Where they lie; of a store, where copies of them would.
    others : tuple of str
        What lies beside the parts and is none of them.
    store : stores.Listed, optional
        Where they lie in a store.

    """

    source: Source
    place: Parts
    others: tuple[str, ...]
    store: stores.Listed | None = None

    def fetched(self, readers: Readers, sha256: str | None) -> Fetched:
        """The table by its digest, which readers find part by part; it is checked where one is given."""
        found = readers.each(digests.of_file, parts.files(self.place))
        listed = parts.listing_of(dict(zip(self.place.names, found, strict=True)))
        digest = parts.digest_of_listing(listed)
        return _checked(self.source, Fetched(self.place, digest, self.others, listed), _checked_form(sha256))


def apart(source: Source, *, sha256: str | None, cache: Path, folder: Path, timeout: float = 30.0) -> Apart | None:
    """The parts of a table of several, which are not fetched; None of any other table.

    Parameters and errors are those of `fetch`.
    """
    expected = _checked_form(sha256)
    if source.kind == "path":
        place, others = on_this_machine(source, expected, cache)
        store = None
    elif source.kind == "store" and (store := stores.listed(source.address, timeout)) is not None:
        here = Parts(folder / stores.copy_name(source.address), store.found.names)
        place, others = _as_pinned(source, here, store.found.others, expected, cache, here.names.__contains__)
    else:
        return None
    if not isinstance(place, Parts) or len(place.names) < 2:
        return None
    return Apart(source, place, others, store)


def _copied(
    source: Source, folder: Path, artifacts: Artifacts | None, progress: bool, timeout: float
) -> tuple[Place, tuple[str, ...]]:
    """A copy of a table that lies elsewhere, in a folder; and what lies beside its parts and is none."""
    if source.kind == "sklearn":
        return local.write_sklearn_set(source.address.partition(":")[2], folder), ()
    if source.kind == "web":
        return web.download(source.address, source.headers, folder, progress, timeout), ()
    if source.kind == "store":
        return stores.copy(source.address, folder, progress, timeout)
    if source.kind == "database":
        return databases.snapshot(source.address, str(source.query), folder / _copy_name(source), progress), ()
    if artifacts is None:
        raise UserError(f"{source}: artifacts of MLflow are not to be had here; give {addresses.SUPPORTED}")
    path = artifacts(source.address, folder / "artifact")
    return local.find(str(path.rename(path.with_name(_copy_name(source)))))


def _copy_name(source: Source) -> str:
    """The name of a copy, by which it is found again in the cache."""
    if source.kind == "database":
        return f"{addresses.file_name(source.address)}.parquet"
    return stores.copy_name(source.address) if source.kind == "store" else addresses.file_name(source.address)


def _remove(place: Place) -> None:
    if isinstance(place, Parts):
        shutil.rmtree(place.root, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)


def _checked_form(sha256: str | None) -> str | None:
    if sha256 is None:
        return None
    # People paste digests with the algorithm in front, as pip and pooch write them.
    text = sha256.strip().lower().removeprefix("sha256:")
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise UserError(f"sha256 {sha256!r}: a SHA-256 is 64 hexadecimal digits; `sha256sum FILE` prints it")
    return text


def _checked(source: Source, found: Fetched, expected: str | None) -> Fetched:
    if expected is not None and found.digest != expected:
        of = f" of its {len(found.place.names)} parts" if isinstance(found.place, Parts) else ""
        raise UserError(
            f"{source}: its sha256{of} is {found.digest}, expected {expected}; correct data.sha256 if the change is "
            "meant"
        )
    return found
