"""Sources, against a real server on this machine's loopback."""

import hashlib
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tabular.data.sources import Source, fetch, pin
from tabular.digests import of_file as digest
from tabular.errors import UserError
from tests import servers

BODY = b"a,b\n" + b"1,2\n" * 50_000
SHA256 = hashlib.sha256(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """A good file, and every way in which a file is not had."""

    def do_GET(self) -> None:
        self.server.asked += 1
        kind = self.path.partition("?")[0]
        if kind == "/missing.csv":
            self.send_error(404)
            return
        self.server.headers = self.headers
        if kind == "/private.csv" and self.headers["Authorization"] != "Bearer hush-hush":
            self.send_error(401)
            return
        if kind == "/slow.csv":
            time.sleep(1)
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY) * (2 if kind == "/cut.csv" else 1)))
        self.end_headers()
        if kind == "/stall.csv":
            self.wfile.write(BODY[:1000])
            self.wfile.flush()
            time.sleep(1)
        else:
            self.wfile.write(self.server.body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.body, server.daemon_threads = 0, BODY, True
    server.handle_error = lambda *_: None  # of who has hung up since
    with servers.serving(server):
        yield server


@pytest.fixture
def get(tmp_path: Path, server: ThreadingHTTPServer) -> Any:
    """Fetch a path of the server; what is not said is the usual."""

    def get(path: str, sha256: str | None = None, **how: Any) -> Path:
        url = path if "://" in path or path.startswith("sklearn:") else f"http://127.0.0.1:{server.server_port}/{path}"
        places = {"cache": tmp_path / "cache", "folder": tmp_path / "run"}
        source = Source(url, headers=how.pop("headers", {}))
        return fetch(source, sha256=sha256, progress=how.pop("progress", False), **places, **how).place

    return get


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def refusal(call: Any, *args: Any, **how: Any) -> str:
    with pytest.raises(UserError) as caught:
        call(*args, **how)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_download_with_a_digest_is_cached_and_needs_no_server_again(get, server, tmp_path):
    first = get("table.csv", SHA256)
    assert first.read_bytes() == BODY
    assert first.is_relative_to(tmp_path / "cache")
    assert first.name == "table.csv"
    server.shutdown()
    server.server_close()
    assert get("table.csv", SHA256.upper()) == first
    assert get("table.csv", f"sha256:{SHA256}") == first
    assert server.asked == 1


def test_a_damaged_file_in_the_cache_is_downloaded_again(get, server):
    get("table.csv", SHA256).write_bytes(b"damage")
    assert get("table.csv", SHA256).read_bytes() == BODY
    assert server.asked == 2


def test_a_download_without_a_digest_is_always_made_anew(get, server, tmp_path):
    assert get("table.csv").read_bytes() == BODY
    server.body = bytes(reversed(BODY))
    path = get("table.csv")
    assert path.read_bytes() == server.body
    assert path.is_relative_to(tmp_path / "run")
    assert not files_below(tmp_path / "cache")


@pytest.mark.parametrize("name", ["table.csv", "a%20b.csv?raw=true", ""])
def test_what_was_pinned_is_downloaded_once_and_read_as_it_was_then(get, server, tmp_path, name):
    url = f"http://127.0.0.1:{server.server_port}/{name}"
    digest = pin(Source(url), sha256=None, cache=tmp_path / "cache", folder=tmp_path / "run", progress=False)
    server.body = bytes(reversed(BODY))
    assert digest == SHA256
    assert get(name, digest).read_bytes() == BODY
    assert server.asked == 1
    assert not files_below(tmp_path / "run")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/hotel%20bookings.csv.zip?raw=true", "hotel_bookings.csv.zip"),
        ("a/..%2F..%2Fetc.parquet", "etc.parquet"),
        ("a/.hidden", "hidden"),
        ("", "download"),
    ],
)
def test_a_download_is_named_as_its_url_and_stays_in_its_folder(get, tmp_path, path, name):
    assert get(path) == tmp_path / "run" / name


def test_a_page_that_is_not_there_is_one_line_with_url_and_status(get):
    message = refusal(get, "missing.csv")
    assert "/missing.csv" in message
    assert "404" in message


def test_a_wrong_digest_tells_both_and_leaves_nothing_in_the_cache(get, tmp_path):
    message = refusal(get, "table.csv", "0" * 64)
    assert "table.csv" in message
    assert SHA256 in message
    assert "0" * 64 in message
    assert not files_below(tmp_path)


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_cut_connection_is_one_line_and_leaves_nothing_in_the_cache(get, tmp_path, sha256):
    message = refusal(get, "cut.csv", sha256)
    assert "/cut.csv" in message
    assert "cut before the end" in message
    assert not files_below(tmp_path)


@pytest.mark.parametrize("path", ["slow.csv", "stall.csv"])
def test_a_silent_server_is_left_after_the_timeout(get, tmp_path, path):
    message = refusal(get, path, timeout=0.1)
    assert path in message
    assert "0.1 seconds" in message
    assert not files_below(tmp_path)


def test_a_closed_port_is_one_line_that_names_the_url(get):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/table.csv"
    message = refusal(get, url)
    assert url in message
    assert "refuses" in message


def test_an_unknown_host_is_one_line_that_names_the_url(get):
    assert "http://no-such-host.invalid/table.csv: the host" in refusal(get, "http://no-such-host.invalid/table.csv")


def test_a_password_and_a_signature_in_a_url_are_not_shown(get, server):
    message = refusal(get, f"http://ann:secret@127.0.0.1:{server.server_port}/missing.csv?token=hush")
    assert "missing.csv" in message
    assert "secret" not in message
    assert "hush" not in message


def test_a_download_says_nothing_but_its_progress_bar(get, capfd, caplog):
    get("table.csv", SHA256)
    assert capfd.readouterr() == ("", "")
    get("table.csv", progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "100%" in err
    assert not [record for record in caplog.records if record.name == "pooch"]


@pytest.mark.parametrize(
    ("name", "rows", "columns"), [("breast_cancer", 569, 31), ("iris", 150, 5), ("wine", 178, 14), ("digits", 1797, 65)]
)
def test_a_scikit_learn_set_is_written_as_parquet_with_its_integer_target_last(get, tmp_path, name, rows, columns):
    path = get(f"sklearn:{name}")
    assert path == tmp_path / "run" / f"{name}.parquet"
    table = pq.read_table(path)
    assert table.shape == (rows, columns)
    assert table.column_names[-1] == "target"
    assert str(table.schema.field("target").type) == "int64"


def local(source: str, sha256: str | None = None) -> Path:
    return fetch(Source(source), sha256=sha256, cache=Path("unused"), folder=Path("unused"), progress=False).place


def test_a_misspelt_scikit_learn_set_is_told_its_nearest_name():
    assert "did you mean 'breast_cancer'" in refusal(local, "sklearn:brest_cancer")
    assert "wine" in refusal(local, "sklearn:xyz")


def test_a_path_is_returned_as_it_is(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    path.write_bytes(BODY)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local(str(path), SHA256) == path
    assert local("~/table.csv") == path
    assert digest(path) == SHA256


def test_a_path_with_another_digest_is_refused(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"other")
    message = refusal(local, str(path), SHA256)
    assert str(path) in message
    assert SHA256 in message
    assert digest(path) in message


def test_a_path_that_is_not_there_is_refused(tmp_path):
    assert "no such file" in refusal(local, str(tmp_path / "none.csv"))


@pytest.mark.parametrize("source", ["s4://bucket/table.csv", "ftp://host/table.csv"])
def test_another_scheme_is_told_what_is_supported(source):
    message = refusal(local, source)
    assert source in message
    assert "http(s) URL" in message


def test_a_digest_that_is_none_is_refused_before_anything_is_fetched():
    assert "64 hexadecimal digits" in refusal(local, "http://no-such-host.invalid/x.csv", "abc")


def test_a_variable_named_in_a_url_takes_its_value_from_the_environment(get, monkeypatch):
    monkeypatch.setenv("TABULAR_TEST_PATH", "table.csv")
    assert get("${TABULAR_TEST_PATH}").read_bytes() == BODY


def test_a_variable_that_the_environment_lacks_is_named():
    with pytest.raises(UserError, match="no variable TABULAR_NOWHERE"):
        local("https://localhost/${TABULAR_NOWHERE}")


def test_a_path_may_begin_with_file(tmp_path):
    (tmp_path / "my table.csv").write_bytes(BODY)
    assert local(f"file://{tmp_path}/my%20table.csv") == tmp_path / "my table.csv"


@pytest.mark.parametrize("name", ["my table.csv", "parts"])
def test_an_artifact_that_was_pinned_is_downloaded_once(tmp_path, name):
    asked = []

    def download(uri: str, folder: Path) -> Path:
        asked.append(uri)
        path = folder / name
        (path if name == "parts" else folder).mkdir(parents=True, exist_ok=True)
        (path / "a.csv" if name == "parts" else path).write_bytes(BODY)
        return path

    source = Source(f"runs:/{'0' * 32}/{name}")
    how = {"cache": tmp_path / "cache", "folder": tmp_path / "run", "progress": False, "artifacts": download}
    digest = pin(source, sha256=None, **how)
    assert fetch(source, sha256=digest, **how).digest == digest
    assert asked == [source.address]
    assert "not to be had here" in refusal(local, source.address)


def test_headers_take_their_secrets_from_the_environment_and_tell_none(get, server, monkeypatch):
    monkeypatch.setenv("TABULAR_TEST_TOKEN", "hush-hush")
    headers = {"Authorization": "Bearer ${TABULAR_TEST_TOKEN}", "Accept": "text/csv"}
    message = refusal(get, "private.csv")
    assert "401" in message
    assert "data.headers" in message
    assert get("private.csv", headers=headers).read_bytes() == BODY
    assert server.headers["Accept"] == "text/csv"
    monkeypatch.setenv("TABULAR_TEST_TOKEN", "wrong\nhush-hush")
    message = refusal(get, "private.csv", headers=headers)
    assert "data.headers" in message
    assert "hush" not in message
    monkeypatch.delenv("TABULAR_TEST_TOKEN")
    assert "no variable TABULAR_TEST_TOKEN" in refusal(get, "private.csv", headers=headers)
