"""The tables that runs read: fetched to this machine from where they lie, by their digests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from steps.run import artifact_store, inputs, part_readers, paths, tracking
from steps.run.step import Step
from tabular.data import parts, sources
from tabular.data.readers import Readers
from tabular.data.sources import Fetched, Source
from tabular.errors import UserError
from tabular.sections.table import Data

# The types of MLflow for the object stores that have several schemes.
STORES = {"s3a": "s3", "gcs": "gs", "abfs": "abfss"}


def source(data: Data) -> Source:
    """Where the table of a problem lies."""
    return Source(data.source, data.query, data.headers)


@contextmanager
def opened(step: Step, where: Source, sha256: str | None = None) -> Iterator[tuple[Fetched, Readers | None]]:
    """A table as `fetch` gives it; or by its digest and its readers, where its parts are read elsewhere."""
    with part_readers.opened(step, where, sha256) as apart:
        yield apart if apart is not None else (fetch(step, where, sha256), None)


def fetch(step: Step, where: Source, sha256: str | None = None) -> Fetched:
    """Fetch a table to this machine; where a digest is given, it is that table or an error."""
    return sources.fetch(where, sha256=sha256, artifacts=_download, **_places(step))


def pin(step: Step, where: Source, sha256: str | None = None) -> str:
    """The digest of a table now, by which it is fetched again as it is now."""
    with part_readers.opened(step, where, sha256) as apart:
        if apart is not None:
            sources.keep_listing(paths.cache(), apart[0])
            return apart[0].digest
    return sources.pin(where, sha256=sha256, artifacts=_download, **_places(step))


def digest(where: Source, pinned: str) -> str:
    """The digest of a table on this machine now; of several parts, of those that a digest was made of."""
    place, _ = sources.on_this_machine(where, pinned, paths.cache())
    return parts.digest(place)


def place(where: Source) -> inputs.Place:
    """The description of a source for a run's inputs, without secrets."""
    if where.kind == "sklearn":
        return "code", {"tags": {"scikit-learn": where.address.partition(":")[2]}}
    if where.kind == "database":
        return "code", {"tags": {"database": str(where), "query": str(where.query)}}
    if where.kind == "web":
        return "http", {"url": str(where)}
    scheme = where.address.partition(":")[0].lower()
    types = {"path": "local", "mlflow": "mlflow-artifacts", "store": STORES.get(scheme, scheme)}
    return types[where.kind], {"uri": str(where)}


def _places(step: Step) -> dict:
    return {"cache": paths.cache(), "folder": step.folder / "fetched", "progress": True}


def _download(uri: str, folder: Path) -> Path:
    """Download an artifact of MLflow into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return artifact_store.fetch(uri, folder)
    except artifact_store.FetchError as error:
        raise UserError(
            f"{uri}: cannot be had from {tracking.address()} ({error}); check the run or model, and the path in it"
        ) from None
