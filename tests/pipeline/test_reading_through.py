"""A table as it is in the wild, through a chain: what is left out is said, and what is asked later is read alike."""

import html
import json
import re

import numpy as np
import pandas as pd
import pytest
import yaml

pytestmark = pytest.mark.usefixtures("undrawn")

ROWS = 240
PROBLEM = """
name: reading
data:
  source: {source}
  target: severity
  rare: {{fewer_than: 10, into: other}}
  types: {{acct: category, z: {{type: number, errors: missing}}}}
models: {{logistic: {{estimator: sklearn.linear_model.LogisticRegression}}}}
search: {{metric: log_loss, folds: 2}}
"""


def made(seed=0):
    """Rows with blanks, words that mean missing, long ids, truths, dates, and cells that do not fit."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=ROWS).round(3)
    return pd.DataFrame(
        {
            "x": x,
            "town": generator.choice([" Porto", "Porto ", "Lisboa", "NA"], ROWS),
            "acct": 2**60 + generator.integers(0, 5, ROWS),
            "vip": generator.random(ROWS) < 0.5,
            "day": pd.Timestamp("2021-01-01") + pd.to_timedelta(generator.integers(0, 90, ROWS), unit="D"),
            "z": np.where(np.arange(ROWS) % 50 == 7, "< 5", (x * 2).round(2).astype(str)),
            "severity": np.select(
                [np.arange(ROWS) % 3 == 0, np.arange(ROWS) % 30 == 1, x > 0], ["none", "fatal", " severe"], "mild"
            ),
        }
    )


@pytest.fixture(scope="module")
def lab(store, tmp_path_factory):
    """The steps of a chain on such a table."""
    folder = tmp_path_factory.mktemp("reading")
    made().to_csv(folder / "table.csv")
    (folder / "reading.yaml").write_text(PROBLEM.format(source=folder / "table.csv"))
    runs = {"etl": store.step("etl", problem=str(folder / "reading.yaml"))}
    assert runs["etl"].status == 0, runs["etl"].stderr
    runs["train"] = store.step("train", dataset=runs["etl"].id, model="logistic")
    runs["evaluate"] = store.step("evaluate", dataset=runs["etl"].id, models=runs["train"].id)
    runs["register"] = store.step("register", evaluation=runs["evaluate"].id, dataset=runs["etl"].id)
    assert runs["register"].status == 0, runs["register"].stderr
    return folder, runs


def test_rows_without_a_target_are_said_on_the_terminal_in_the_report_and_on_the_card(store, lab):
    _, runs = lab
    lost = "80 of 240 rows have no target and were left out: 80 'none'"
    assert f"  note: {lost}" in runs["etl"].stdout
    assert lost in runs["etl"].tags["mlflow.note.content"]
    told = "80 rows without a target (80 'none')"
    assert told.replace("'", "&#39;") in store.artifact(runs["register"].run, "report.html").read_text()
    assert told in store.client.get_model_version_by_alias("reading_classifier", "champion").description


def test_rows_of_rare_classes_are_said_on_the_terminal_in_the_report_and_on_the_card(store, lab):
    _, runs = lab
    told = "8 rows of 1 class with fewer than 10 rows are the class 'other': 8 'fatal'"
    assert f"  note: {told}" in runs["etl"].stdout
    assert told in runs["etl"].tags["mlflow.note.content"]
    assert told.replace("'", "&#39;") in store.artifact(runs["register"].run, "report.html").read_text()
    assert told in store.client.get_model_version_by_alias("reading_classifier", "champion").description


def test_hints_are_on_the_terminal_in_a_table_and_in_the_report_the_gravest_first(store, lab):
    _, runs = lab
    found = json.loads(store.artifact(runs["etl"].run, "hints.json").read_text())
    kinds, columns, texts = zip(*found["data"], strict=True)
    assert (kinds[0], columns[0]) == ("target", "severity")
    assert "hint: " + texts[0] in runs["etl"].stdout
    report = store.artifact(runs["register"].run, "report.html").read_text()
    assert "Look at this" in report
    assert all(html.escape(text).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in report for text in texts)


def test_the_hints_of_etl_lead_to_a_data_set_with_all_rows(store, lab):
    folder, runs = lab
    way = re.search(r"whose 'severity' is 'none' .* say data\.missing: (\{.*\})", runs["etl"].stdout)
    assert way
    asked = yaml.safe_load((folder / "reading.yaml").read_text())
    asked["data"]["missing"] = yaml.safe_load(way[1])
    (folder / "mended.yaml").write_text(yaml.safe_dump(asked))
    ended = store.step("etl", problem=str(folder / "mended.yaml"))
    assert (ended.run.data.params["rows_without_target"], ended.run.data.params["classes"]) == (
        "0",
        "mild, none, severe, other",
    )


def test_equal_rows_are_scored_alike_however_they_are_written(store, lab, tmp_path):
    _, runs = lab
    rows = made(seed=1)
    plain = rows.assign(town=rows["town"].str.strip().replace("NA", None))
    numbers = pd.to_numeric(plain["z"], errors="coerce")
    rows.to_csv(tmp_path / "index.csv")
    rows.assign(vip=rows["vip"].astype(int)).to_csv(tmp_path / "digits.csv", index=False)
    plain.assign(day=plain["day"].dt.strftime("%Y-%m-%d"), vip=plain["vip"].astype(int)).to_parquet(
        tmp_path / "texts.parquet"
    )
    plain.assign(z=numbers).to_parquet(tmp_path / "types.parquet")
    rows.assign(day=rows["day"].dt.strftime("%Y-%m-%d")).to_json(tmp_path / "lines.jsonl", orient="records", lines=True)
    found = {}
    for name in ("index.csv", "digits.csv", "texts.parquet", "types.parquet", "lines.jsonl"):
        output = tmp_path / f"{name}.scored.csv"
        ended = store.step("predict", model=runs["train"].id, data=tmp_path / name, output=output, keys="severity")
        assert ended.status == 0, ended.stderr
        found[name] = pd.read_csv(output, keep_default_na=False)[["label", "probability_mild"]]
        assert ("cells of 'z' ('< 5') are no numbers" in ended.stdout) == (name != "types.parquet")
    for name, one in found.items():
        pd.testing.assert_frame_equal(one, found["index.csv"], check_exact=True, obj=name)
