"""The store of artifacts: what is uploaded to it and fetched from it, and in words why it refuses."""

import re
from http import HTTPStatus
from pathlib import Path

import mlflow
from mlflow.environment_variables import MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from steps.run import connection, disk
from tabular import addresses
from tabular.errors import UserError, first_line

# The packages by which MLflow asks an object store directly, by the first part of its address.
PACKAGES = {"gs": "google-cloud-storage", "wasbs": "azure-storage-blob and azure-identity"}
S3 = "requirements-s3.txt"
# By which stores that speak S3, and web servers, say that they are full.
FULL = re.compile(r"\b507 Server Error|\(507\)|StorageFull|InsufficientStorage|QuotaExceeded")
# By which a proxy says that an upload is too large for it. A number alone may be an experiment's.
TOO_LARGE = re.compile(r"\b(?:413 Client Error|504 Server Error|too many 504 error responses)")
REFUSED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "Forbidden")
KEYS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
ELSEWHERE = (
    "take another experiment (--experiment-name), of a server that is started with --artifacts-destination and hands "
    "artifacts on itself"
)


# Where MLflow tells what went wrong with several files.
HEADERS = ("The following failures occurred while downloading", "##### File ")


class FetchError(UserError):
    """What lies in the store could not be fetched: it is not there, or the store is away."""


def fetch(uri: str, folder: Path | None) -> Path:
    """Fetch the file or folder at an address, such as `runs:/…` or `models:/…`, into a folder; return its path.

    Raises
    ------
    FetchError
        With MLflow's reason.
    connection.Lost
        Where the tracking server does not answer any more.
    """
    _through_the_server()
    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder and str(folder)))
    except (MlflowException, OSError) as error:
        connection.refuse_lost(error)
        told = "\n".join(line for line in str(error).splitlines() if not line.startswith(HEADERS))
        raise FetchError(first_line(Exception(told)) if told else first_line(error)) from None


def _through_the_server() -> None:
    """Have a tracking server hand on what it keeps, unless somebody has said otherwise.

    By default MLflow asks the server for the file's address in its object store, and fetches the file there. That is an
    address of the server's network, which this machine may not reach, and two more requests a file.
    """
    if not MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD.is_set():
        MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD.set(False)


def put(place: str, held: Path) -> None:
    """Upload a file, or all that lies in a folder, to the artifacts at an address.

    Raises
    ------
    UserError
        Where the store refuses, with the reason and what to do about it.
    connection.Lost
        Where the tracking server does not answer any more.
    """
    try:
        repository = get_artifact_repository(place)
        repository.log_artifacts(str(held)) if held.is_dir() else repository.log_artifact(str(held))
    except Exception as error:
        if disk.trouble(error) is not None:
            raise
        raise _refusal(place, error, held) from None


def read(place: str, name: str, folder: Path) -> str:
    """The text of an artifact at an address, fetched into a folder; errors are those of `put`."""
    _through_the_server()
    try:
        return Path(get_artifact_repository(place).download_artifacts(name, str(folder))).read_text(encoding="utf-8")
    except Exception as error:
        raise _refusal(place, error) from None


def size(place: str) -> int:
    """The bytes of all artifacts at an address, folders included; errors are those of `put`."""
    try:
        repository = get_artifact_repository(place)
        folders: list[str | None] = [None]
        found = 0
        while folders:
            entries = repository.list_artifacts(folders.pop())
            folders += [entry.path for entry in entries if entry.is_dir]
            found += sum(entry.file_size or 0 for entry in entries if not entry.is_dir)
        return found
    except Exception as error:
        raise _refusal(place, error) from None


def remove(place: str) -> None:
    """Delete all artifacts at an address, for good; nothing where there are none. Errors are those of `put`."""
    try:
        get_artifact_repository(place).delete_artifacts()
    except Exception as error:
        if getattr(getattr(error, "response", None), "status_code", None) == HTTPStatus.FORBIDDEN:
            raise MlflowException("delete artifacts of this experiment", PERMISSION_DENIED) from None
        raise _refusal(place, error) from None


def shown(place: str) -> str:
    """The address of artifacts as it may be shown, up to the experiment's part."""
    return re.sub(r"/[0-9a-f]{32}/artifacts.*|/models/m-[0-9a-f]{32}.*", "", addresses.without_credentials(place))


def _refusal(place: str, error: Exception, held: Path | None = None) -> Exception:
    """The error for a store that refuses, or for a tracking server before it that does not answer any more."""
    is_told = FULL.search(str(error)) or (held is not None and TOO_LARGE.search(str(error)))
    lost = None if is_told else connection.lost(error)
    return UserError(why(place, error, held)) if lost is None else connection.Lost(lost)


def why(place: str, error: Exception, held: Path | None = None) -> str:
    """Why a store of artifacts refuses, and what to do about it."""
    scheme, where, said = place.partition(":")[0], f"artifacts lie in {shown(place)}", first_line(error)
    kind, words = type(error).__name__, str(error)
    found = (
        (isinstance(error, ImportError), lambda: _install(scheme, getattr(error, "name", ""))),
        ("NoCredentials" in kind or "locate credentials" in words, lambda: f"no key for it is found here: {KEYS}"),
        (
            "EndpointConnection" in kind or "connect to the endpoint" in words,
            lambda: f"nobody answers there ({said}): look at MLFLOW_S3_ENDPOINT_URL",
        ),
        ("NoSuchBucket" in words, lambda: f"there is no such bucket: make it, or {ELSEWHERE}"),
        (
            any(word in words for word in REFUSED),
            lambda: f"this machine's key may not write there ({said}): {KEYS}, or ask who keeps the bucket",
        ),
        (
            isinstance(error, PermissionError),
            lambda: f"that is a folder that this machine does not let you write: {ELSEWHERE}",
        ),
        (
            FULL.search(words),
            lambda: f"that store is full ({said}): ask who keeps it for room, {disk.AGAIN}",
        ),
        (
            held is not None and (too_large := TOO_LARGE.search(words)),
            lambda: _too_large(too_large[0], held),
        ),
        (True, lambda: f"cannot be had ({said})"),
    )
    return f"{where}, and {next(tell() for holds, tell in found if holds)}"


def _too_large(words: str, held: Path) -> str:
    refused = words.startswith("413")
    limit = "accepts no upload of this size (413)" if refused else "gave up before the upload had ended (504)"
    return (
        f"what stands before the server {limit}: the largest file is {_largest(held)}; ask who keeps the server to "
        "raise the limit of its proxy"
    )


def _install(scheme: str, package: str | None) -> str:
    if scheme == "s3":
        return (
            f"boto3, which asks it, is not installed here: `uv pip install -r {S3}`, and for `mlflow run` name that "
            f"file among the dependencies of python_env.yaml (`- -r {S3}`)"
        )
    return f"{PACKAGES.get(scheme, package)} is not installed here: add it to requirements.in, and make the lock anew"


def _largest(held: Path) -> str:
    files = [path for path in held.rglob("*") if path.is_file()] if held.is_dir() else [held]
    largest = max(files, key=lambda path: path.stat().st_size)
    name = largest.relative_to(held).as_posix() if held.is_dir() else held.name
    return f"{name} with {largest.stat().st_size / 1e6:,.1f} MB"
