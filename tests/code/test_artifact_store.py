"""Why a store of artifacts refuses, in one line with a way out that works."""

import sys
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from steps.run import artifact_store, artifacts, kept
from steps.run.step import Step
from steps.run.tags import ARTIFACTS_DIGEST
from tabular import digests
from tabular.errors import UserError
from tests import servers
from tests.servers import answering


def refusal(place: str, held: Path) -> str:
    with pytest.raises(UserError) as caught:
        artifact_store.put(place, held)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """A folder with two files, one larger than the other."""
    (tmp_path / "held" / "below").mkdir(parents=True)
    (tmp_path / "held" / "small.txt").write_text("x")
    (tmp_path / "held" / "below" / "large.bin").write_bytes(bytes(2_500_000))
    return tmp_path / "held"


def test_a_folder_is_put_and_read(tmp_path, held):
    place = (tmp_path / "store").as_uri()
    artifact_store.put(place, held)
    assert artifact_store.read(place, "small.txt", tmp_path) == "x"


def test_what_a_server_says_of_a_fetch_is_the_reason(tmp_path, monkeypatch):
    gone = '{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such version"}'
    with answering({"/api/2.0/mlflow/registered-models/get": (404, gone)}) as uri:
        monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: uri)
        monkeypatch.setenv("MLFLOW_REGISTRY_URI", uri)
        with pytest.raises(artifact_store.FetchError, match=r"^RESOURCE_DOES_NOT_EXIST: no such version$"):
            artifact_store.fetch("models:/nothing/1", tmp_path)


def test_an_artifact_that_a_run_did_not_record_is_not_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: f"http://127.0.0.1:{servers.free_port()}")
    monkeypatch.setenv(kept.VARIABLE, "")
    kept.begin(tmp_path)
    (tmp_path / artifacts.RECORD).write_text('{"run": {"a.txt": [1, "digest"]}}')
    kept.keep_artifact("0" * 32, artifacts.RECORD, tmp_path / artifacts.RECORD)
    info = SimpleNamespace(run_id="0" * 32, artifact_uri="mlflow-artifacts:/1/" + "0" * 32 + "/artifacts")
    tags = {ARTIFACTS_DIGEST: digests.of_file(tmp_path / artifacts.RECORD)}
    run = SimpleNamespace(info=info, data=SimpleNamespace(tags=tags))
    with pytest.raises(UserError, match=r"^run 0{32} has no artifact 'source/parts\.sha256'$"):
        artifacts.artifact(run, artifacts.LISTING, tmp_path)


def test_what_lies_in_a_run_already_is_uploaded_again_only_where_it_has_changed(tmp_path, monkeypatch):
    put = []
    monkeypatch.setattr(artifact_store, "put", lambda place, held: put.append((place, held.name)))
    step = Step("main", {}, "0" * 32, "1", tmp_path, mlflow.MlflowClient(), "mlflow-artifacts:/a")
    for name in ("early.txt", "changed.txt"):
        step.text("x", name)
        step.upload(name)
    step.text("y", "changed.txt")
    step.text("z", "below/late.txt")
    step.upload_artifacts()
    assert sorted(put[2:]) == [("mlflow-artifacts:/a", "changed.txt"), ("mlflow-artifacts:/a/below", "late.txt")]
    step.upload_artifacts()
    assert len(put) == 4


def test_boto3_that_is_missing_is_named_with_the_line_of_the_file(held, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] in ("boto3", "botocore")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "boto3", None)
    said = refusal("s3://bucket/1/" + "0" * 32 + "/artifacts", held)
    assert said.startswith("artifacts lie in s3://bucket/1, and boto3")
    assert "`- -r requirements-s3.txt`" in said


@pytest.fixture
def keys(monkeypatch, tmp_path):
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return monkeypatch


def test_a_key_that_is_missing_is_said(held, keys):
    pytest.importorskip("boto3", reason="requirements-s3.txt is not installed here")
    keys.setenv("MLFLOW_S3_ENDPOINT_URL", "http://127.0.0.1:1")
    assert "no key for it is found here: set AWS_ACCESS_KEY_ID" in refusal("s3://bucket/1", held)


@pytest.fixture
def key(keys):
    pytest.importorskip("boto3", reason="requirements-s3.txt is not installed here")
    keys.setenv("AWS_ACCESS_KEY_ID", "key")
    keys.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    return keys


def test_an_object_store_that_nobody_answers_for(held, key):
    key.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://127.0.0.1:{servers.free_port()}")
    said = refusal("s3://bucket/2", held)
    assert "nobody answers there" in said
    assert "MLFLOW_S3_ENDPOINT_URL" in said


@pytest.mark.slow
def test_a_bucket_that_there_is_not(held, key, tmp_path):
    (tmp_path / "s3").mkdir()
    with servers.s3(tmp_path / "s3") as endpoint:
        key.setenv("MLFLOW_S3_ENDPOINT_URL", endpoint)
        assert "there is no such bucket: make it" in refusal("s3://no-such-bucket/3", held)


@pytest.mark.parametrize(
    ("status", "says"), [(413, "accepts no upload of this size"), (504, "gave up before the upload")]
)
def test_an_upload_that_a_proxy_refuses_is_said_with_what_was_too_large(held, monkeypatch, status, says):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with answering({}, put=status) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        said = refusal(f"{uri}/api/2.0/mlflow-artifacts/artifacts/1/{'0' * 32}/artifacts", held)
    assert says in said
    assert "below/large.bin with 2.5 MB" in said


@pytest.mark.parametrize("status", [413, 504])
def test_a_number_in_an_address_is_not_taken_for_what_the_server_answered(held, status):
    place = f"http://localhost:45413/api/2.0/mlflow-artifacts/artifacts/504/{'0' * 32}/artifacts"
    error = MlflowException(f"{status} {'Client' if status < 500 else 'Server'} Error: no for url: {place}/413")
    said = artifact_store.why(place, error, held)
    assert f"({status})" in said
    assert f"({917 - status})" not in said


def test_a_store_that_is_full(held, monkeypatch):
    with answering({}, put=507) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        said = refusal(f"{uri}/api/2.0/mlflow-artifacts/artifacts/1/{'0' * 32}/artifacts", held)
    assert "that store is full (" in said
    assert "type the same command again" in said


def test_a_folder_that_may_not_be_written(held, tmp_path, monkeypatch):
    def refuse(*about: object, **more: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("mlflow.store.artifact.local_artifact_repo.LocalArtifactRepository.log_artifacts", refuse)
    assert "a folder that this machine does not let you write" in refusal((tmp_path / "s").as_uri(), held)
