"""A registry whose server knows accounts: a name that is free, one that is hidden, and what is refused."""

from types import SimpleNamespace

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED, RESOURCE_DOES_NOT_EXIST, TEMPORARILY_UNAVAILABLE

from steps.model import registry
from steps.run import shell, tracking
from tabular.errors import UserError


def raising(code, said="Permission denied"):
    def call(*words):
        raise MlflowException(said, error_code=code)

    return call


def asked_of(monkeypatch, uri):
    """Have all take this address for that of the tracking store."""
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: uri)


def client(alias, model):
    return SimpleNamespace(get_model_version_by_alias=raising(alias), get_registered_model=model)


def test_a_name_of_which_an_account_may_not_even_ask_is_free_where_there_is_no_such_model():
    asked = client(PERMISSION_DENIED, raising(RESOURCE_DOES_NOT_EXIST))
    assert registry.aliased(asked, "churn_classifier", "champion") is None


def test_a_model_that_is_hidden_from_an_account_is_told_apart_from_none(monkeypatch):
    asked_of(monkeypatch, "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    with pytest.raises(UserError, match=r"registry\.name: .*'churn_classifier' that ann may not see: name another one"):
        registry.aliased(client(PERMISSION_DENIED, raising(PERMISSION_DENIED)), "churn_classifier", "champion")


@pytest.mark.parametrize(
    ("alias", "model"),
    [
        (PERMISSION_DENIED, lambda name: object()),
        (PERMISSION_DENIED, raising(TEMPORARILY_UNAVAILABLE)),
        (TEMPORARILY_UNAVAILABLE, raising(RESOURCE_DOES_NOT_EXIST)),
    ],
)
def test_any_other_refusal_is_none_of_these(alias, model):
    with pytest.raises(MlflowException):
        registry.aliased(client(alias, model), "churn_classifier", "champion")


def test_what_an_account_may_not_do_is_one_line_with_the_account_and_the_request(monkeypatch):
    asked_of(monkeypatch, "https://ann:hush-hush@mlflow.example.org")
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    said = "API request to endpoint /api/2.0/mlflow/runs/create failed with error code 403 != 200."
    line = shell.explain(MlflowException(said, error_code=PERMISSION_DENIED))
    assert line.startswith("https://mlflow.example.org does not give ann the right to /api/2.0/mlflow/runs/create")
    assert "hush" not in line


@pytest.mark.parametrize(
    ("uri", "name", "account"),
    [
        ("sqlite:///mlflow.db", "ann", None),
        ("http://host", "", None),
        ("http://host", "ann", "ann"),
        ("http://ann%40team:pw@host", "", "ann@team"),
    ],
)
def test_the_account_is_that_of_the_server(monkeypatch, tmp_path, uri, name, account):
    monkeypatch.setenv("HOME", str(tmp_path))  # no file of credentials
    asked_of(monkeypatch, uri)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
    if not name:
        monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    assert tracking.account() == account
