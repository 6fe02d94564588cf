"""Tables on this machine: a file, a folder or a glob of parts, and the data sets that scikit-learn carries."""

import os
from collections.abc import Iterable
from pathlib import Path

from tabular.addresses import SUPPORTED, is_glob, split_glob, without_file_scheme
from tabular.data import parts
from tabular.data.parts import Entry, Parts, Place
from tabular.errors import UserError, nearest

SKLEARN_SETS = ("breast_cancer", "diabetes", "digits", "iris", "wine")


def find(source: str) -> tuple[Place, tuple[str, ...]]:
    """A file, or the parts of a table, by its path; and what lies beside the parts and is none.

    Raises
    ------
    UserError
        Where nothing is there that can be read.

    """
    path = _path(source)
    if path.is_dir():
        return _parts(path, (), source)
    if not path.exists():
        base, pattern = split_glob(str(path))
        if is_glob(source) and Path(base).is_dir():
            return _parts(Path(base), pattern, source)
        raise UserError(f"{source}: no such file (seen from {Path.cwd()}); give {SUPPORTED}")
    if not os.access(path, os.R_OK):
        raise UserError(f"{source}: cannot be read (permission denied): give this user the right to read it")
    return path, ()


def _path(source: str) -> Path:
    try:
        return Path(without_file_scheme(source)).expanduser()
    except RuntimeError as error:  # ~nobody
        raise UserError(f"{source}: {error}") from None


def _parts(root: Path, pattern: tuple[str, ...], source: str) -> tuple[Parts, tuple[str, ...]]:
    def list_folder(path: str) -> Iterable[Entry]:
        try:
            with os.scandir(root / path) as entries:
                return [Entry(entry.name, None if entry.is_dir() else entry.stat().st_size) for entry in entries]
        except OSError as error:
            raise UserError(f"{source}: {root / path} cannot be listed ({error.strerror})") from None

    found = parts.find(list_folder, pattern, source)
    unreadable = next((name for name in found.names if not os.access(root / name, os.R_OK)), None)
    if unreadable is not None:
        raise UserError(f"{root / unreadable}: cannot be read (permission denied): give this user the right to read it")
    return Parts(root, found.names), found.others


def write_sklearn_set(name: str, folder: Path) -> Path:
    """Write a data set of scikit-learn as Parquet: its features, then its integer `target`."""
    if name not in SKLEARN_SETS:
        hint = nearest(name, SKLEARN_SETS) or f"; known are {', '.join(SKLEARN_SETS)}"
        raise UserError(f"sklearn:{name}: no such data set{hint}")
    import pyarrow as pa
    import pyarrow.parquet as pq
    from sklearn import datasets

    frame = getattr(datasets, f"load_{name}")(as_frame=True).frame
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.parquet"
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)
    return path
