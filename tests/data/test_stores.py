"""Tables in an object store, against one on this machine that speaks S3."""

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from tabular import addresses, digests
from tabular.data import tables
from tabular.data.parts import Parts
from tabular.data.sources import Fetched, Source, fetch, pin
from tabular.errors import UserError
from tests import servers

CSV = "x,y\n1,a\n2,b\n"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.s3(tmp_path_factory.mktemp("s3")) as address:
        yield address


@pytest.fixture
def store(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write objects into the store that the environment names."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_NO_SIGN_REQUEST", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"ACCESS_KEY_ID": "ann", "SECRET_ACCESS_KEY": "hush", "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    system = fs.S3FileSystem(endpoint_override=endpoint, allow_bucket_creation=True, allow_bucket_deletion=True)

    def write(**objects: str) -> None:
        system.create_dir("tables")
        system.delete_dir_contents("tables")
        for name, content in objects.items():
            with system.open_output_stream(f"tables/{name.replace('___', '/').replace('__', '.')}") as stream:
                stream.write(content.encode())

    return write


@pytest.fixture
def get(tmp_path: Path) -> Callable[..., Fetched]:
    def get(address: str, sha256: str | None = None, **how: Any) -> Fetched:
        places = {"cache": tmp_path / "cache", "folder": tmp_path / "run"}
        return fetch(Source(address), sha256=sha256, progress=False, **places, **how)

    return get


def refusal(call: Callable[..., Any], *args: Any, **how: Any) -> str:
    with pytest.raises(UserError) as caught:
        call(*args, **how)
    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value)
    return str(caught.value)


@pytest.mark.slow
def test_an_object_is_the_table_that_the_file_is(store, get, tmp_path):
    store(**{"my table?__csv": CSV})
    (tmp_path / "t.csv").write_text(CSV)
    found = get("s3://tables/my table?.csv")
    assert found.digest == digests.of_file(tmp_path / "t.csv")
    assert isinstance(found.place, Path)
    assert found.place.read_text() == CSV


@pytest.mark.slow
def test_a_folder_and_a_glob_of_objects_are_what_they_are_on_this_machine(store, get, tmp_path):
    names = {"t/k=1/a.csv": CSV, "t/k=2/a.csv": CSV, "t/_SUCCESS": "", "t/b.csv.crc": "x"}
    store(**{name.replace("/", "___").replace(".", "__"): content for name, content in names.items()}, u__csv=CSV)
    for name, content in names.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    here = fetch(Source(str(tmp_path / "t")), sha256=None, cache=tmp_path, folder=tmp_path, progress=False)
    for address in (
        "s3://tables/t",
        "s3://tables/t/",
        "s3a://tables/t",
        "s3://tables/t/k=?/*.csv",
        "s3://tables/t/**/a.*",
    ):
        found = get(address)
        assert isinstance(found.place, Parts)
        assert found.digest == here.digest
        assert tables.scan(found.place).schema.names == ["x", "y", "k"]
    assert set(get("s3://tables/t").others) == set(here.others) == {"_SUCCESS", "b.csv.crc"}


@pytest.mark.slow
def test_what_was_pinned_is_fetched_once_and_read_as_it_was_then(store, get, tmp_path, monkeypatch):
    store(t___a__csv=CSV, t___b__csv=CSV, t____SUCCESS="", u__csv=CSV)
    how = {"cache": tmp_path / "cache", "folder": tmp_path / "run", "progress": False}
    pinned = {address: pin(Source(address), sha256=None, **how) for address in ("s3://tables/t", "s3://tables/u.csv")}
    store(t___c__csv=CSV, u__csv="x\n1\n")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{servers.free_port()}")  # it is not asked again
    for address, digest in pinned.items():
        found = get(address, digest)
        assert found.digest == digest
        assert tables.scan(found.place).rows in (2, 4)
    assert get("s3://tables/t", pinned["s3://tables/t"]).others == ("_SUCCESS",)
    (tmp_path / "cache" / pinned["s3://tables/t"] / "t" / "a.csv").write_text("x,y\n")  # a damaged copy is none
    assert "cannot be reached" in refusal(get, "s3://tables/t", pinned["s3://tables/t"], timeout=1)


@pytest.mark.slow
def test_what_is_not_there_is_one_line(store, get, monkeypatch):
    store(t___a__csv=CSV)
    assert "there is no bucket 'nowhere'" in refusal(get, "s3://nowhere/t")
    assert "nothing lies there" in refusal(get, "s3://tables/u")
    assert "matches no file" in refusal(get, "s3://tables/t/*.parquet")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{servers.free_port()}")
    assert "cannot be reached" in refusal(get, "s3://tables/403 credentials denied.csv", timeout=1)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("s3://b/a b?.csv", "s3://b/a b?.csv"),
        ("abfss://files@account.dfs.core.windows.net/t", "abfss://files@account.dfs.core.windows.net/t"),
        ("s3://KEY:SECRET@b/t", "s3://b/t"),
        ("postgresql://ann:secret@h:5/d?password=secret", "postgresql://h:5/d?..."),
        ("https://ann@h/t.csv?sig=secret", "https://h/t.csv?..."),
        ("/a/b.csv", "/a/b.csv"),
    ],
)
def test_an_address_is_shown_without_its_secrets(address, shown):
    assert str(Source(address)) == addresses.shown(address) == shown


class Refusing(BaseHTTPRequestHandler):
    """A store that lets nobody in, or is broken."""

    def do_GET(self) -> None:
        self.send_error(self.server.status)

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "status", "says"),
    [
        ("s3", 403, "access is denied; the environment says how: AWS_ACCESS_KEY_ID"),
        ("s3", 503, "try again later"),
        ("gs", 403, "the environment says how: GOOGLE_APPLICATION_CREDENTIALS"),
        ("hdfs", 0, "HADOOP_HOME"),
    ],
)
def test_a_store_that_lets_nobody_in_is_told_what_the_environment_needs(get, monkeypatch, scheme, status, says):
    for name, value in {"ACCESS_KEY_ID": "ann", "SECRET_ACCESS_KEY": "hush", "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("GS_NO_SIGN_REQUEST", "true")
    with servers.serving(ThreadingHTTPServer(("127.0.0.1", 0), Refusing)) as server:
        server.status = status
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        monkeypatch.setenv("CLOUD_STORAGE_EMULATOR_ENDPOINT", address)
        message = refusal(get, f"{scheme}://nowhere/t.csv", timeout=1)
    assert says in message
