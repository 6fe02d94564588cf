"""Tables in object stores and on HDFS: copies of a file, of a folder or of a glob, through the file systems of pyarrow.

The endpoint and the credentials come from the environment and the files that the stores' own tools read.
"""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from tabular.addresses import file_name, is_glob, shown, split_glob, with_secrets
from tabular.data import parts
from tabular.data.parts import Entry, Found, Parts, Place
from tabular.errors import UserError, first_line

CHUNK = 8 << 20
YES = ("1", "yes", "true")
# What the environment says of the credentials, for errors.
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; AWS_ENDPOINT_URL for a store other than AWS; "
    "AWS_NO_SIGN_REQUEST=true for a public bucket",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS names the file of a key, or `gcloud auth application-default login`; "
    "GS_NO_SIGN_REQUEST=true for a public bucket",
    "abfss": "AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or `az login`, or AZURE_CLIENT_ID, AZURE_TENANT_ID and "
    "AZURE_CLIENT_SECRET",
    "hdfs": "HADOOP_HOME and JAVA_HOME, and CLASSPATH as `hadoop classpath --glob` prints it",
}
# What errors of pyarrow's file systems hold: why that is, from specific to general.
CAUSES = {
    "NO_SUCH_BUCKET|NoSuchBucket": "there is no such bucket; check the address",
    r"metadata\.google": "access is denied; {credentials}",
    "libhdfs|libjvm|JVM": "the library of Hadoop (libhdfs) is not there; {credentials}",
    "NETWORK_CONNECTION|Could ?n[o']t connect|Could ?n[o']t resolve|[Tt]imed out|Timeout": (
        "the store cannot be reached; check the address, the network, and the endpoint where the environment names one"
    ),
    "(?i)access.?denied|INVALID_ACCESS_KEY|SIGNATURE|PERMISSION_DENIED|Unauthorized|credential": (
        "access is denied; {credentials}"
    ),
    r"HTTP (status|Response Code:) 40[13]\b": "access is denied; {credentials}",
    r"HTTP (status|Response Code:) 5\d\d\b": "the store has a fault of its own; try again later",
}
SAME = {"s3a": "s3", "gcs": "gs", "abfs": "abfss", "viewfs": "hdfs"}


def copy(source: str, folder: Path, progress: bool, timeout: float) -> tuple[Place, tuple[str, ...]]:
    """Copy a file, or the parts of a table, into a folder; and what lies beside the parts and is none.

    Raises
    ------
    UserError
        Where nothing is there, it cannot be had, or the environment has no credentials.

    """
    with _opened_for(source, folder, timeout) as (store, path):
        return _copied(store, path, source, folder, progress)


@dataclass(frozen=True)
class Listed:
    """The parts of a table in a store: its address, the folder there from which the parts are named, and the parts."""

    source: str
    base: str
    found: Found


def listed(source: str, timeout: float) -> Listed | None:
    """The parts of a table, which are not copied; None where it is one file. Errors are those of `copy`."""
    with _opened_for(source, None, timeout) as (store, path):
        return _listed(store, path, source)


def copy_part(of: Listed, name: str, target: Path, timeout: float) -> None:
    """Copy a part of a table; where that breaks off, there is none. Errors are those of `copy`."""
    with _opened_for(of.source, target.parent, timeout) as (store, _):
        beside = target.with_name(f"{target.name}.part")
        _copy_files(store, {f"{of.base}/{name}": beside}, shown(of.source), progress=False)
        beside.replace(target)


@contextmanager
def _opened_for(source: str, folder: Path | None, timeout: float) -> Iterator[tuple[Any, str]]:
    """The file system of an address, and the path in it; what it raises is told in our words."""
    given = source.partition("://")[0].lower()
    scheme = SAME.get(given, given)
    try:
        yield _opened(with_secrets(source, shown(source)), scheme, timeout)
    except OSError as error:  # the errors of all of pyarrow's file systems
        if folder is not None and error.filename is not None and str(folder) in str(error.filename):
            raise UserError(f"{shown(source)}: cannot be written to {folder}: {error.strerror}") from error
        raise UserError(f"{shown(source)}: {_cause(error, scheme)}") from None


def _opened(address: str, scheme: str, timeout: float) -> tuple[Any, str]:
    """The file system of an address, and the path in it."""
    from pyarrow import fs

    where = address.partition("://")[2]
    bucket, _, path = where.partition("/")
    if scheme == "s3":
        return _s3(fs, bucket, timeout), where
    if scheme == "gs":
        return _gs(fs, timeout), where
    if scheme == "abfss":
        container, _, host = bucket.rpartition("@")
        if not container:
            raise UserError(f"{address}: names no container: abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/path")
        return _azure(fs, host), f"{container}/{path}"
    return fs.FileSystem.from_uri(f"{address.partition('://')[0]}://{bucket}/")[0], f"/{path}"


def _s3(fs: Any, bucket: str, timeout: float) -> Any:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region is None and endpoint is None:
        region = fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(
        endpoint_override=endpoint,
        region=region,
        anonymous=os.environ.get("AWS_NO_SIGN_REQUEST", "").lower() in YES,
        connect_timeout=timeout,
        request_timeout=timeout,
    )


def _gs(fs: Any, timeout: float) -> Any:
    anonymous = os.environ.get("GS_NO_SIGN_REQUEST", "").lower() in YES
    return fs.GcsFileSystem(anonymous=anonymous, retry_time_limit=timedelta(seconds=timeout))


def _azure(fs: Any, host: str) -> Any:
    key, token = os.environ.get("AZURE_STORAGE_KEY"), os.environ.get("AZURE_STORAGE_SAS_TOKEN")
    return fs.AzureFileSystem(host.partition(".")[0], account_key=key, sas_token=token if key is None else None)


def _copied(store: Any, path: str, source: str, folder: Path, progress: bool) -> tuple[Place, tuple[str, ...]]:
    of = _listed(store, path, source)
    root = folder / copy_name(source)
    if of is None:
        _copy_files(store, {path.rstrip("/"): root}, shown(source), progress)
        return root, ()
    shutil.rmtree(root, ignore_errors=True)
    _copy_files(store, {f"{of.base}/{name}": root / name for name in of.found.names}, shown(source), progress)
    return Parts(root, of.found.names), of.found.others


def _listed(store: Any, path: str, source: str) -> Listed | None:
    from pyarrow import fs

    path = path.rstrip("/")
    kind = store.get_file_info(path).type
    if kind == fs.FileType.File:
        return None
    base, pattern = (path, ()) if kind == fs.FileType.Directory or not is_glob(path) else split_glob(path)
    if store.get_file_info(base).type == fs.FileType.NotFound:
        bucket = base.partition("/")[0]
        if bucket and store.get_file_info(bucket).type == fs.FileType.NotFound:
            raise UserError(f"{shown(source)}: there is no bucket {bucket!r}; check the address, and the endpoint")
        raise FileNotFoundError(base)

    def list_folder(below: str) -> Iterable[Entry]:
        here = f"{base}/{below}" if below else base
        return [
            Entry(one.base_name, None if one.type == fs.FileType.Directory else one.size)
            for one in store.get_file_info(fs.FileSelector(here))
            if one.base_name
        ]

    return Listed(source, base, parts.find(list_folder, pattern, shown(source)))


def copy_name(source: str) -> str:
    """The name of the copy: of the file, or of the folder from which the parts are named."""
    return file_name(split_glob(source)[0] if is_glob(source) else source)


def _copy_files(store: Any, targets: dict[str, Path], shown_: str, progress: bool) -> None:
    from tqdm import tqdm

    size = sum(one.size or 0 for one in store.get_file_info(list(targets)))
    with tqdm(
        total=size, desc=f"fetching {shown_}", leave=False, delay=0.5, disable=not progress, unit="B", unit_scale=True
    ) as bar:
        for path, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            with store.open_input_stream(path) as remote, target.open("wb") as local:
                while chunk := remote.read(CHUNK):
                    local.write(chunk)
                    bar.update(len(chunk))


def _cause(error: OSError, scheme: str) -> str:
    """Why a store does not give a table, in a few words, and what the user can do about it."""
    if isinstance(error, FileNotFoundError):
        return "nothing lies there; check the address"
    said = re.sub(r"'[^']*'", "", str(error))  # the names of buckets and keys say nothing of the cause
    cause = next((cause for signs, cause in CAUSES.items() if re.search(signs, said)), None)
    if cause is None:
        return f"cannot be read ({first_line(error)}); check the address"
    return cause.format(credentials=f"the environment says how: {CREDENTIALS[scheme]}")
