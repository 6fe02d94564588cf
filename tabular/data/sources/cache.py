"""The cache of tables that were copied to this machine, by the digests of their contents.

Below the folder of a digest lie copies of that content, each under the name of its source, and, for a table of several
parts, the listing of these parts, of which the digest is, and the names of what lay beside them.
"""

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from tabular.data import parts
from tabular.data.parts import Parts, Place

LISTING = "parts.sha256"


@dataclass(frozen=True)
class Fetched:
    """A table that lies on this machine.

    Attributes
    ----------
    place : Path or Parts
        Where it lies: what was given, where that is here already; else a copy.
    digest : str
        SHA-256 of its content: of the file, or of the listing of its parts.
    others : tuple of str
        What lies beside the parts and is none of them.
    listed : str, optional
        The listing of its parts, where it is known already.

    """

    place: Place
    digest: str
    others: tuple[str, ...] = ()
    listed: str | None = None


def find(cache: Path, digest: str, name: str) -> Fetched | None:
    """The copy with a digest, checked against it; None where there is none, or it is damaged."""
    path = cache / digest / name
    if not path.exists():
        return None
    place: Place = path
    if path.is_dir():
        text = listing(cache, digest)
        names = parts.listed_parts(text) if text is not None else {}
        place = Parts(path, tuple(sorted(names, key=parts.natural)))
        if not names or not all(file.is_file() for file in parts.files(place)):
            return None
    beside = _others(path)
    others = tuple(json.loads(beside.read_text(encoding="utf-8"))) if beside.is_file() else ()
    return Fetched(place, digest, others) if parts.digest(place) == digest else None


def _others(path: Path) -> Path:
    return path.with_name(f"{path.name}.others.json")


def keep(cache: Path, copy: Fetched) -> Fetched:
    """Move a copy into the cache, and return where it is now."""
    place, path = copy.place, parts.folder(copy.place)
    kept = cache / copy.digest / path.name
    kept.parent.mkdir(parents=True, exist_ok=True)
    # moved under another name first, so that another chain never finds an incomplete one
    beside = kept.with_name(f"{kept.name}.{os.getpid()}")
    if isinstance(place, Path):
        shutil.move(path, beside)
        beside.replace(kept)
        return replace(copy, place=kept)
    _write(cache / copy.digest / LISTING, parts.listing(place))
    _write(_others(kept), json.dumps(copy.others))
    if find(cache, copy.digest, path.name) is None:
        shutil.rmtree(kept, ignore_errors=True)
        shutil.move(path, beside)
        try:
            beside.rename(kept)
        except OSError:  # another chain was faster
            shutil.rmtree(beside)
    return replace(copy, place=Parts(kept, place.names))


def keep_listing(cache: Path, text: str) -> None:
    """Keep the listing of a table's parts, so that these parts are found where more have come beside them."""
    _write(cache / parts.digest_of_listing(text) / LISTING, text)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def listing(cache: Path, digest: str) -> str | None:
    """The listing with a digest, or None."""
    try:
        text = (cache / digest / LISTING).read_text(encoding="utf-8")
    except OSError:
        return None
    return text if parts.digest_of_listing(text) == digest else None
