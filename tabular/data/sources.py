"""Sources of tables (a path, a URL or a scikit-learn data set), which are fetched as one local file."""

import logging
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from tabular import digests
from tabular.errors import UserError, nearest

SKLEARN_SETS = ("breast_cancer", "digits", "iris", "wine")
SUPPORTED = "a path, an http(s) URL, or sklearn:NAME"


def fetch(source: str, *, sha256: str | None, cache: Path, folder: Path, progress: bool, timeout: float = 30.0) -> Path:
    """Fetch a source as a local file, and check the file against its digest where one is given.

    Parameters
    ----------
    source : str
        A path (``~`` is expanded), an http(s) URL, or ``sklearn:NAME`` for a data set that scikit-learn carries. In a
        URL ``${NAME}`` stands for a variable of the environment: a secret is named, and never logged.
    sha256 : str or None
        The hexadecimal digest that the file must have. A URL with one is downloaded once and kept in `cache`; without
        one it is downloaded every time, since what it serves may have changed.
    cache : Path
        Folder of downloads that have a digest, shared between runs.
    folder : Path
        Folder of this run, for what is not cached.
    progress : bool
        Whether a download draws a progress bar on stderr.
    timeout : float
        Seconds that a server may stay silent.

    Returns
    -------
    Path
        The file. A path given as `source` is returned as it is, not copied.

    Raises
    ------
    UserError
        When the source is unknown, unreachable or absent, or is not the file that `sha256` describes.

    """
    sha256 = _checked_form(sha256)
    scheme = source.partition(":")[0].lower()
    if scheme == "sklearn":
        path = _write_sklearn_set(source.partition(":")[2], folder)
    elif _is_url(source):
        source = _with_secrets(source)
        # The download checks the digest by itself, before the file takes its place in the cache.
        return _download(source, sha256, cache / sha256 if sha256 else folder, progress, timeout)
    elif "://" in source:
        raise UserError(f"{_shown(source)}: {scheme}:// is not supported; give {SUPPORTED}")
    else:
        path = _existing_file(source)
    if sha256:
        _check_digest(path, sha256, source)
    return path


def pin(source: str, *, sha256: str | None, cache: Path, folder: Path, progress: bool) -> str:
    """The digest of a source's content now. A download is kept in `cache`, where `fetch` with the digest finds it.

    Parameters and errors are those of `fetch`.
    """
    path = fetch(source, sha256=sha256, cache=cache, folder=folder, progress=progress)
    digest = _checked_form(sha256) or digests.of_file(path)
    if sha256 is None and _is_url(source):
        kept = cache / digest / path.name
        kept.parent.mkdir(parents=True, exist_ok=True)
        # moved under another name first, so that another chain never finds an incomplete file
        shutil.move(path, beside := kept.with_name(f"{kept.name}.{os.getpid()}"))
        beside.replace(kept)
    return digest


def _is_url(source: str) -> bool:
    return source.lower().startswith(("http://", "https://"))


def _with_secrets(url: str) -> str:
    """The URL with variables of the environment filled in."""
    missing = [name for name in re.findall(r"\$\{(\w+)\}", url) if name not in os.environ]
    if missing:
        raise UserError(f"{_shown(url)}: the environment has no variable {missing[0]}, which the URL names")
    return re.sub(r"\$\{(\w+)\}", lambda found: os.environ[found[1]], url)


def _checked_form(sha256: str | None) -> str | None:
    if sha256 is None:
        return None
    # People paste digests with the algorithm in front, as pip and pooch write them.
    text = sha256.strip().lower().removeprefix("sha256:")
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise UserError(f"sha256 {sha256!r}: a SHA-256 is 64 hexadecimal digits; `sha256sum FILE` prints it")
    return text


def _check_digest(path: Path, expected: str, name: str) -> None:
    got = digests.of_file(path)
    if got != expected:
        raise UserError(f"{name}: its sha256 is {got}, expected {expected}; correct data.sha256 if the change is meant")


def _existing_file(source: str) -> Path:
    try:
        path = Path(source).expanduser()
    except RuntimeError as error:  # ~nobody
        raise UserError(f"{source}: {error}") from None
    if path.is_dir():
        raise UserError(f"{source}: is a folder; name the file in it")
    if not path.exists():
        raise UserError(f"{source}: no such file (seen from {Path.cwd()}); give {SUPPORTED}")
    if not os.access(path, os.R_OK):
        raise UserError(f"{source}: cannot be read (permission denied): give this user the right to read it")
    return path


def _write_sklearn_set(name: str, folder: Path) -> Path:
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


def _download(url: str, sha256: str | None, folder: Path, progress: bool, timeout: float) -> Path:
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.ERROR)
    name = _file_name(url)
    if sha256 is None:
        (folder / name).unlink(missing_ok=True)  # pooch would return an existing file without a download
    get = pooch.HTTPDownloader(progressbar=progress, timeout=timeout)
    try:
        # pooch writes beside the place and moves only a finished, checked file into it.
        return Path(
            pooch.retrieve(
                url,
                known_hash=f"sha256:{sha256}" if sha256 else None,
                fname=name,
                path=folder,
                downloader=_checking(get, sha256),
            )
        )
    except requests.RequestException as error:
        raise UserError(f"{_shown(url)}: {_cause(error, timeout)}") from error
    except OSError as error:
        raise UserError(f"{_shown(url)}: cannot be written to {folder}: {error.strerror or error}") from error


def _checking(get: Callable[..., object], sha256: str | None) -> Callable[..., None]:
    """Wrap a downloader to check the digest before pooch does, whose error is a paragraph; ours is one line."""

    def get_checked(url: str, output_file: str, pooch: object) -> None:
        get(url, output_file, pooch)
        if sha256:
            _check_digest(Path(output_file), sha256, _shown(url))

    return get_checked


def _file_name(url: str) -> str:
    """Name the download like the URL's path, since its suffix (.csv, .zip, .parquet) matters to the reader."""
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    name = re.sub(r"[^\w.\-]", "_", name).lstrip(".")
    return name[-100:] or "download"


def _shown(url: str) -> str:
    """The URL without its password and its query, which may hold signatures and tokens."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.partition("?")[0]
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" + ("?..." if parts.query else "")


def _cause(error: Exception, timeout: float) -> str:
    """Why a request failed, in a few words, and what the user can do about it, if anything."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}; check the address"
    text = str(error)
    is_a = requests.exceptions
    # From specific to general. A timeout within a body is a ConnectionError that only its text identifies.
    causes = {
        f"no answer in {timeout:g} seconds; try again later": isinstance(error, is_a.Timeout) or "timed out" in text,
        "the connection was cut before the end; try again": isinstance(error, is_a.ChunkedEncodingError),
        "its certificate cannot be verified": isinstance(error, is_a.SSLError),
        "the host's name is not known; check the address and the network": "NameResolution" in text,
        "the host refuses the connection; check the address and the port": "refused" in text,
        "the host cannot be reached; check the address and the network": isinstance(error, is_a.ConnectionError),
    }
    # The last resort is not the error's own text, which may repeat the URL with its secrets.
    otherwise = f"the request failed ({type(error).__name__}); check the address"
    return next((cause for cause, holds in causes.items() if holds), otherwise)
