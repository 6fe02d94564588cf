"""The notebook of docs/from.md and what it becomes: the page's own YAML and function, on a table like its own."""

import re

import mlflow
import numpy as np
import pandas as pd
import pytest

from tests.running import PROJECT, Store

pytestmark = pytest.mark.slow

PAGE = (PROJECT / "docs" / "from.md").read_text(encoding="utf-8")


def block(language: str, holding: str) -> str:
    """The block of a language on the page that holds some words."""
    (found,) = (one for one in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if holding in one)
    return found


def customers() -> pd.DataFrame:
    """Customers with the columns of the page; who spends much a month stays."""
    draw = np.random.default_rng(3)
    months, spent = draw.integers(1, 40, 200), draw.gamma(2, 50, 200)
    churned = np.where(spent / months + draw.normal(0, 2, 200) < 5, "yes", "no")
    ended = pd.Timestamp("2026-01-01") + pd.to_timedelta(draw.integers(0, 300, 200), unit="D")
    return pd.DataFrame({"spent": spent, "months": months, "contract_ended_on": ended, "churned": churned})


def test_what_a_notebook_becomes_is_trained_and_answers_raw_rows(tmp_path, monkeypatch):
    customers().to_csv(tmp_path / "customers.csv", index=False)
    (tmp_path / "churn.yaml").write_text(block("yaml", "name: churn"))
    (tmp_path / "features.py").write_text(block("python", "def make"))
    store = Store(tmp_path)
    etl = store.step("etl", problem="churn.yaml")
    assert etl.status == 0, etl.stderr
    train = store.step("train", dataset=etl.id, model="forest")
    assert train.status == 0, train.stderr
    # the page's last lines, with the model of this run
    monkeypatch.chdir(tmp_path)
    code = block("python", "search_runs").replace('"…"', repr(store.uri)).replace('"churn"', '"tests"')
    told: dict = {}
    exec(code.replace("models:/churn_classifier@champion", train.tags["tabular.model_uri"]), told)
    mlflow.set_tracking_uri(None)
    assert list(told["runs"].run_id) == [train.id]
    assert set(told["model"].predict(pd.read_csv("customers.csv").head())["label"]) <= {"yes", "no"}
