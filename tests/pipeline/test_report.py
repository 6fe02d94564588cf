"""The report: one page that says why, and that anybody can open a year later."""

import html
import json
import re

import numpy as np
import pandas as pd
import pytest

from steps.evaluation import contributions
from tests import browser

YAML = """
name: report
description: Which <rows> are "of class 1"?
data: {{source: {source}, target: y, positive: "yes", drop: {{secret: it is the answer}}}}
models:
  logistic: {{estimator: sklearn.linear_model.LogisticRegression}}
  boosted:
    estimator: lightgbm.LGBMClassifier
    params: {{n_estimators: 20}}
    space: {{num_leaves: {{type: int, low: 4, high: 16}}}}
search: {{metric: roc_auc, folds: 3, trials: 2}}
evaluation: {{slices: [town, z]}}
gate: {{require: {{roc_auc: {{min: 0.5}}, accuracy: {{in_each_slice: {{min: {least}}}}}}}}}
"""
PICTURES = "Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))"


def table(n=600):
    """Rows of three towns, in one of which nothing can be predicted."""
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"x": generator.normal(size=n), "z": generator.normal(size=n)})
    frame["town"] = np.repeat(["Aix", "Bonn & <b>", "Cork"], n // 3)
    noise = np.where(frame["town"] == "Cork", 9.0, 0.4)
    frame["y"] = np.where(frame["x"] + noise * generator.normal(size=n) > 0, "yes", "no")
    return frame.assign(secret=frame["y"])


@pytest.fixture(scope="module")
def lab(store, tmp_path_factory):
    """An evaluation of two candidates, and its register."""
    folder = tmp_path_factory.mktemp("report")
    table().to_csv(folder / "rows.csv", index=False)
    asked = folder / "report.yaml"
    asked.write_text(YAML.format(source=folder / "rows.csv", least=0.0))
    etl = store.step("etl", problem=str(asked))
    assert etl.status == 0, etl.stderr
    search = store.step("hpo", dataset=etl.id, model="boosted")
    boosted = store.step("train", dataset=etl.id, model="boosted", params=search.id)
    logistic = store.step("train", dataset=etl.id, model="logistic")
    evaluation = store.step("evaluate", dataset=etl.id, models=f"{boosted.id},{logistic.id}")
    assert evaluation.status == 0, evaluation.stderr
    register = store.step("register", evaluation=evaluation.id)
    assert register.status == 0, register.stderr
    trained = {"train": logistic, "boosted": boosted}
    return {"etl": etl, "hpo": search, **trained, "evaluate": evaluation, "register": register, "asked": asked}


@pytest.fixture(scope="module")
def page(store, lab):
    return store.artifact(lab["register"].run, "report.html")


def read(store, run, name):
    """A table that a step left, a row a dict."""
    found = json.loads(store.artifact(run.run, name).read_text())
    return [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]


@pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.WHY_NOT)
@pytest.mark.parametrize("width", [1100, 390])
def test_the_report_opens_without_an_error_or_a_request_and_with_every_picture(page, width):
    found = browser.opened(page, PICTURES, width=width)
    assert found.errors == []
    assert found.requests == [page.as_uri()]
    assert len(found.found) > 20
    assert min(found.found) > 100


@pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.WHY_NOT)
def test_the_report_is_no_wider_than_a_phone(page):
    assert browser.opened(page, "document.documentElement.scrollWidth", width=390).found <= 390


@pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.WHY_NOT)
def test_a_page_that_asks_for_something_or_fails_is_found_out(tmp_path):
    """The browser's own test: what it is to see, it sees."""
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='file:///nowhere.png'><script>console.error('no'); nothing()</script>")
    found = browser.opened(bad, "1 + 1")
    assert found.found == 2
    assert "file:///nowhere.png" in found.requests
    assert len(found.errors) >= 2


def test_the_report_says_the_answer_first(page):
    text = page.read_text()
    body = text[text.index("<body>") :]
    assert body.index("is the new champion") < body.index("<table>")


def test_what_a_problem_says_is_text_in_the_report(page):
    text = page.read_text()
    assert "<rows>" not in text
    assert html.escape('Which <rows> are "of class 1"?', quote=False).replace('"', "&#34;") in text
    assert "Bonn &amp; &lt;b&gt;" in text


def test_the_report_names_every_run_that_led_to_it(page, lab):
    text = page.read_text()
    winner = "train" if lab["register"].tags["tabular.winner"] == "logistic" else None
    for step in ("etl", "evaluate", "register", *filter(None, [winner])):
        assert lab[step].id in text


def test_the_report_says_how_to_make_it_again(page, lab):
    assert f"-e reproduce --env-manager uv --experiment-name replays -P run={lab['register'].id}" in page.read_text()


def test_the_versions_description_is_a_card_with_intervals_slices_and_the_way_back(store, lab):
    version = store.client.get_model_version_by_alias("report_classifier", "champion")
    assert re.search(r"\| roc_auc \| 0\.\d{4} \| 0\.\d{4} to [01]\.\d{4} \|", version.description)
    assert "Where it does worst" in version.description
    assert "secret (it is the answer)" in version.description
    assert "-e reproduce" in version.description
    assert version.tags["tabular.register"] == lab["register"].id


def test_the_worst_slice_is_where_nothing_can_be_predicted(store, lab):
    worst = read(store, lab["evaluate"], "slices/logistic.json")[0]
    assert (worst["column"], worst["value"]) == ("town", "Cork")
    assert worst["roc_auc_low"] < worst["roc_auc"] < worst["roc_auc_high"]


def test_every_row_of_the_holdout_is_in_one_slice_of_each_column(store, lab):
    rows = read(store, lab["evaluate"], "slices/logistic.json")
    for column in ("town", "z"):
        assert sum(row["rows"] for row in rows if row["column"] == column) == 120


def test_the_leaderboard_says_how_sure_it_is_and_how_far_behind_the_second_is(store, lab):
    first, second = json.loads(store.artifact(lab["evaluate"].run, "evaluation.json").read_text())["candidates"]
    for one in (first, second):
        low, high = one["intervals"]["roc_auc"]
        assert low < one["metrics"]["roc_auc"] < high
    assert first["behind"] is None
    low, high = second["behind"]
    gap = first["metrics"]["roc_auc"] - second["metrics"]["roc_auc"]
    assert low < gap < high


def test_the_column_that_decides_is_worth_the_most(store, lab):
    rows = read(store, lab["evaluate"], "permutation_importance/logistic.json")
    assert rows[0]["column"] == "x"


def test_the_columns_that_add_most_to_the_winners_answers_are_told_and_drawn(store, lab, page):
    winner = lab["evaluate"].tags["tabular.winner"]
    rows = read(store, lab["evaluate"], f"contributions/{winner}.json")
    assert rows[0]["column"] == "x"
    (scale,) = set(rows[0]) - {"column"}
    assert scale.startswith("mean |contribution| to log odds of yes")
    assert [row[scale] for row in rows] == sorted((row[scale] for row in rows), reverse=True)
    names = store.artifacts(lab["evaluate"].run)
    assert {f"pictures/{winner}/contributions.png", f"pictures/{winner}/contributions_by_value.png"} <= names
    version = store.client.get_model_version("report_classifier", "1")
    assert f"columns that count most: x {rows[0][scale]:.4f}, " in version.description
    assert "columns that count most" in page.read_text(encoding="utf-8")


def test_an_evaluation_says_that_its_best_model_is_too_large_to_be_explained(store, lab, undrawn, monkeypatch):
    monkeypatch.setattr(contributions, "MOST_CELLS", 1)
    ended = store.step("evaluate", dataset=lab["etl"].id, models=lab["boosted"].id)
    assert ended.status == 0, ended.stderr
    note = "- boosted: what each column adds is not shown: it is so large that too few rows are explained in seconds"
    assert note in ended.tags["mlflow.note.content"]
    assert not [name for name in store.artifacts(ended.run) if "contributions" in name]


def test_the_table_of_thresholds_has_the_metrics_at_one_half(store, lab):
    rows = read(store, lab["evaluate"], "thresholds/logistic.json")
    (half,) = [row for row in rows if row["threshold"] == 0.5]
    assert half["accuracy"] == pytest.approx(lab["evaluate"].run.data.metrics["logistic/accuracy"])
    assert rows[0]["flagged"] == 1.0


def test_a_slice_below_its_bound_keeps_a_model_out(store, lab, undrawn, tmp_path):
    asked = tmp_path / "strict.yaml"
    asked.write_text(YAML.format(source=tmp_path.parent, least=0.75).replace("name: report", "name: strict"))
    source = re.search(r"source: (\S+),", lab["asked"].read_text())[1]
    asked.write_text(asked.read_text().replace(str(tmp_path.parent), source))
    evaluation = store.step("evaluate", dataset=lab["etl"].id, models=lab["train"].id, problem=str(asked))
    ended = store.step("register", evaluation=evaluation.id, problem=str(asked))
    assert ended.tags["tabular.outcome"] == "refused"
    assert "accuracy of the worst slice, town = Cork, at least 0.75" in ended.tags["tabular.verdict"]
    assert 'class="unmet"' in store.artifact(ended.run, "report.html").read_text()


def test_a_column_that_no_model_sees_can_be_a_slice(store, lab, undrawn, tmp_path):
    asked = tmp_path / "aside.yaml"
    asked.write_text(lab["asked"].read_text().replace("slices: [town, z]", "slices: [secret]"))
    etl = store.step("etl", problem=str(asked))
    ended = store.step("evaluate", dataset=etl.id, models=lab["train"].id, problem=str(asked))
    assert ended.status == 0, ended.stderr
    assert {(row["column"], row["value"]) for row in read(store, ended, "slices/logistic.json")} == {
        ("secret", "no"),
        ("secret", "yes"),
    }


def test_a_slice_of_no_column_is_refused_in_one_line(store, lab, tmp_path):
    asked = tmp_path / "typo.yaml"
    asked.write_text(lab["asked"].read_text().replace("slices: [town, z]", "slices: [twon]"))
    ended = store.step("evaluate", dataset=lab["etl"].id, models=lab["train"].id, problem=str(asked))
    assert ended.lines == [
        "tabular: evaluation.slices: the data set holds no column 'twon', did you mean 'town'?; it holds x, z, town"
    ]
