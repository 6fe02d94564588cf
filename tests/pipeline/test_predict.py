"""Tables scored by a model: what comes out, what is refused before a row is scored, and what is told of the shift."""

import datetime as dt
import gzip
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tabular import digests
from tabular.data.columns import BATCH_ROWS
from tabular.plots import style
from tests.running import MOST_SECONDS, PIXEL, PROJECT
from tests.typed import popen

pytestmark = pytest.mark.usefixtures("undrawn")

PROBLEM = """
name: scoring
data:
  source: {source}
  target: left
  positive: "yes"
  missing: ["?"]
  drop: {{id: a name}}
  types: {{agent: category}}
models:
  lightgbm: {{estimator: lightgbm.LGBMClassifier, params: {{n_estimators: 20}}}}
  logistic: {{estimator: sklearn.linear_model.LogisticRegression}}
  forest: {{estimator: sklearn.ensemble.RandomForestClassifier, params: {{n_estimators: 5, max_depth: 5}}}}
  untold:
    estimator: sklearn.ensemble.HistGradientBoostingClassifier
    params: {{max_iter: 5}}
    preprocessing: {{categories: native}}
search: {{metric: roc_auc, folds: 2}}
"""
FEATURES = ["amount", "visits", "agent", "town", "member", "since"]


def made(rows, seed=0):
    """Rows of a column of every kind, each missing somewhere, an id, and a target that follows them."""
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "id": [f"{number:06}" for number in range(rows)],
            "amount": generator.normal(50, 20, rows),
            "visits": generator.integers(0, 9, rows),
            "agent": generator.choice([3, 14, 159], rows),
            "town": generator.choice(["Évora", "Lisboa", "Porto"], rows),
            "member": generator.random(rows) < 0.5,
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(generator.integers(0, 900, rows), unit="D"),
        }
    )
    score = frame["amount"] / 20 + (frame["town"] == "Porto") + frame["member"] + generator.normal(0, 0.5, rows)
    frame = frame.astype({"visits": "Int64", "agent": "Int64", "member": "boolean"})
    for place, name in enumerate(FEATURES):
        frame.loc[frame.index % 17 == place, name] = None
    return frame.assign(left=np.where(score > score.median(), "yes", "no"))


@pytest.fixture(scope="module", autouse=True)
def shifts_undrawn():
    """A pixel in the place of each picture of a shift: tests/code/test_drift.py looks at what is drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "save", lambda figure, path: path.write_bytes(PIXEL))
        yield


class Shop:
    """A store with trained models of one data set, the winner of which is registered."""

    def __init__(self, store, folder):
        self.store, self.folder = store, folder
        self.table = made(600)
        self.table.to_csv(folder / "table.csv", index=False)
        (folder / "scoring.yaml").write_text(PROBLEM.format(source=folder / "table.csv"))
        self.etl = self._step("etl", problem=str(folder / "scoring.yaml"))
        names = ("lightgbm", "logistic", "forest")
        self.trained = {name: self._step("train", dataset=self.etl.id, model=name) for name in names}
        ids = ",".join(run.id for run in self.trained.values())
        self.trained["untold"] = self._step("train", dataset=self.etl.id, model="untold")
        self.evaluation = self._step("evaluate", dataset=self.etl.id, models=ids)
        self.register = self._step("register", evaluation=self.evaluation.id, dataset=self.etl.id)
        self.champion = "models:/scoring_classifier@champion"

    def _step(self, name, **parameters):
        ended = self.store.step(name, **parameters)
        assert ended.status == 0, ended.stderr
        return ended

    def predict(self, data, output, *, model=None, **more):
        """A run of predict that ends well, and what it wrote."""
        ended = self._step("predict", model=model or self.champion, data=data, output=output, **more)
        return ended, pd.read_parquet(output) if output.suffix == ".parquet" else pd.read_csv(output)

    def refused(self, **parameters):
        """What a run of predict says that is refused."""
        ended = self.store.step("predict", **{"model": self.champion, **parameters})
        assert ended.status == 1
        assert len(ended.stderr.splitlines()) == 1, ended.stderr
        assert ended.run.info.status == "FAILED"
        return ended.stderr.removeprefix("tabular: ").rstrip("\n")

    def served(self, model, rows):
        """What the model answers to the same rows where it is served."""
        mlflow.set_tracking_uri(self.store.uri)
        loaded = mlflow.pyfunc.load_model(model)
        return loaded.predict(rows[FEATURES].astype({"visits": "float64", "agent": "float64", "member": object}))


@pytest.fixture(scope="module")
def shop(store, tmp_path_factory):
    return Shop(store, tmp_path_factory.mktemp("scoring"))


@pytest.fixture
def rows(tmp_path):
    """A table to score, as CSV; `write` makes another one."""
    return write(made(50, seed=1), tmp_path / "rows.csv")


def write(frame, path):
    """A table as its suffix says."""
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


def rewritten(path, change):
    """A CSV with its rows changed as text, so that the other values stay as they are written."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    return write(change(frame), path)


# --- what comes out ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "rows"), [("lightgbm", BATCH_ROWS + 1000), ("logistic", 1000), ("forest", 1000)])
def test_scores_are_those_of_the_served_model_bit_by_bit(shop, tmp_path, model, rows):
    asked = made(rows, seed=2)
    _, found = shop.predict(
        write(asked, tmp_path / "rows.parquet"), tmp_path / "scored.parquet", model=shop.trained[model].id
    )
    answer = shop.served(shop.trained[model].tags["tabular.model_uri"], asked)
    assert found["id"].tolist() == asked["id"].tolist()
    assert found["label"].tolist() == answer["label"].tolist()
    for name in ("probability_no", "probability_yes"):
        assert found[name].to_numpy().tobytes() == answer[name].to_numpy().tobytes()


@pytest.mark.parametrize("name", ["rows.csv.gz", "rows.tsv", "rows.parquet"])
def test_equal_rows_are_scored_alike_however_they_are_written(shop, tmp_path, name):
    asked = made(80, seed=3)
    path = tmp_path / name
    if path.suffix == ".parquet":
        asked.to_parquet(path)
    else:
        text = asked.to_csv(index=False, sep="\t" if path.suffix == ".tsv" else ",").encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    ended, found = shop.predict(path, tmp_path / "scored.parquet")
    answer = shop.served(shop.champion, asked)
    assert found["probability_yes"].tolist() == answer["probability_yes"].tolist()
    assert (r"data: read with '\t' between the columns" in ended.stdout) == (path.suffix == ".tsv")


def test_a_csv_that_is_written_holds_the_same_bits_as_parquet(shop, rows, tmp_path):
    _, text = shop.predict(rows, tmp_path / "scored.csv")
    _, parquet = shop.predict(rows, tmp_path / "scored.parquet")
    assert (tmp_path / "scored.csv").read_text().splitlines()[1].startswith('"000000",')
    assert text["probability_yes"].tolist() == parquet["probability_yes"].tolist()
    assert text["label"].tolist() == parquet["label"].tolist()


def test_all_columns_that_the_model_does_not_read_are_carried_over(shop, rows, tmp_path):
    rewritten(rows, lambda frame: frame.assign(code="007", day="04/03/21", note="a, b"))
    _, found = shop.predict(rows, tmp_path / "scored.parquet")
    answer = ["label", "probability_no", "probability_yes"]
    assert list(found) == ["id", "left", "code", "day", "note", *answer]
    assert found.loc[0, ["id", "code", "day", "note"]].tolist() == ["000000", "007", "04/03/21", "a, b"]


def test_keys_are_the_columns_to_carry_over_and_may_be_features(shop, tmp_path):
    path = write(made(50).assign(day=dt.date(2021, 3, 4), note="x"), tmp_path / "rows.parquet")
    _, found = shop.predict(path, tmp_path / "scored.parquet", keys="day, town")
    assert list(found) == ["day", "town", "label", "probability_no", "probability_yes"]
    assert found["day"].tolist() == [dt.date(2021, 3, 4)] * 50


def test_a_column_with_the_name_of_an_answer_is_passed_over(shop, rows, tmp_path):
    rewritten(rows, lambda frame: frame.rename(columns={"left": "label"}))
    _, found = shop.predict(rows, tmp_path / "scored.csv")
    assert set(found["label"]) <= {"yes", "no"}
    assert list(found) == ["id", "label", "probability_no", "probability_yes"]


def test_columns_may_come_in_another_order_and_the_target_may_be_lacking(shop, rows, tmp_path):
    before = shop.served(shop.champion, pd.read_csv(rows))
    rewritten(rows, lambda frame: frame[[*FEATURES[::-1], "id"]])
    _, found = shop.predict(rows, tmp_path / "scored.csv")
    assert list(found) == ["id", "label", "probability_no", "probability_yes"]
    assert found["probability_yes"].tolist() == before["probability_yes"].tolist()


def test_what_means_missing_in_the_problem_does_here(shop, rows, tmp_path):
    def twice(frame):
        return pd.concat([frame.assign(amount="", town=""), frame.assign(amount="?", town=" ? ")])

    rewritten(rows, twice)
    _, found = shop.predict(rows, tmp_path / "scored.csv")
    answers = found["probability_yes"].tolist()
    assert answers[:50] == answers[50:]


def test_a_table_without_rows_makes_one_without_rows(shop, tmp_path):
    ended, found = shop.predict(write(made(1)[:0], tmp_path / "rows.csv"), tmp_path / "scored.parquet")
    assert list(found) == ["id", "left", "label", "probability_no", "probability_yes"]
    assert len(found) == 0
    assert ended.tags["tabular.shift.input"] == "not compared: there are no rows"


def test_a_model_goes_by_each_of_its_names(shop, rows, tmp_path):
    version = shop.store.client.get_model_version_by_alias("scoring_classifier", "champion")
    run_id, name = version.tags["tabular.run"], version.tags["tabular.model"]
    uri = shop.store.client.get_run(run_id).data.tags["tabular.model_uri"]
    named = [shop.champion, f"models:/scoring_classifier/{version.version}", uri, f"runs:/{run_id}/{name}", run_id]
    scored = [shop.predict(rows, tmp_path / "scored.csv", model=model) for model in named]
    assert {ended.tags["tabular.digest.output"] for ended, _ in scored} == {digests.of_file(tmp_path / "scored.csv")}
    assert {ended.tags["tabular.digest.model"] for ended, _ in scored} == {version.tags["tabular.digest.model"]}
    assert scored[0][0].tags["tabular.scored_by"] == f"models:/scoring_classifier/{version.version}"


def test_each_row_gets_its_reasons_where_they_are_asked_for(shop, tmp_path):
    path = write(made(200, seed=7).assign(base_value="mine"), tmp_path / "rows.parquet")
    _, plain = shop.predict(path, tmp_path / "plain.parquet", model=shop.trained["lightgbm"].id)
    _, found = shop.predict(path, tmp_path / "scored.csv", model=shop.trained["lightgbm"].id, explain=2)
    assert plain["base_value"].tolist() == ["mine"] * 200
    reasons = ["base_value", "reason_1", "reason_1_value", "reason_2", "reason_2_value", "other_reasons_value"]
    assert list(found) == ["id", "left", "label", "probability_no", "probability_yes", *reasons, "reason_scale"]
    assert found["probability_yes"].tolist() == plain["probability_yes"].tolist()
    assert set(found["reason_1"]) | set(found["reason_2"]) <= set(FEATURES)
    odds = np.log(found["probability_yes"] / found["probability_no"])
    assert found[[name for name in reasons if name.endswith("_value")]].sum(axis=1).tolist() == pytest.approx(odds)
    assert set(found["reason_scale"]) == {"log odds of yes"}


def test_a_table_with_the_target_is_told_to_have_it_in_the_terminal_and_in_the_summary(shop, rows, tmp_path):
    ended, _ = shop.predict(rows, tmp_path / "scored.csv")
    said = "the table has the target 'left', which is not compared: -e monitor tells how right the model is"
    assert f"  {said}\n" in ended.stdout
    assert ended.tags["tabular.summary"].endswith(said)
    rewritten(rows, lambda frame: frame.drop(columns="left"))
    ended, _ = shop.predict(rows, tmp_path / "scored.csv")
    assert "has the target" not in ended.stdout + ended.tags["tabular.summary"]


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("explain", ["-1", "two", "2.5"])
def test_a_number_of_reasons_that_is_none_is_told(shop, rows, tmp_path, explain):
    said = shop.refused(data=rows, output=tmp_path / "scored.csv", explain=explain)
    assert said == f"explain: {explain!r} is not a whole number from 0 up; it is how many reasons each row gets"


def test_a_model_that_has_no_reasons_is_told_before_a_row_is_scored(shop, rows, tmp_path):
    said = shop.refused(data=rows, output=tmp_path / "scored.csv", model=shop.trained["untold"].id, explain=3)
    assert said.startswith("explain: HistGradientBoostingClassifier does not tell what each column adds; LightGBM")


def test_what_is_lacking_is_told_in_one_line_and_the_earlier_output_stays(shop, rows, tmp_path):
    output = tmp_path / "scored.csv"
    output.write_text("from before\n")
    rewritten(rows, lambda frame: frame.drop(columns=["amount", "town"]))
    said = shop.refused(data=rows, output=output)
    assert said.startswith(f"{rows}: lacks 2 columns 'amount', 'town'; it has 'id', 'visits'")
    assert output.read_text() == "from before\n"


def test_a_wrong_value_is_told_with_its_row_and_nothing_is_left(shop, rows, tmp_path):
    rewritten(rows, lambda frame: frame.assign(amount=[*frame["amount"][:-1], "12,5"]))
    said = shop.refused(data=rows, output=tmp_path / "scored.csv")
    assert said == f"{rows}: column 'amount', row 50: '12,5' is not a number"
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_a_parquet_column_of_another_type_is_told(shop, tmp_path):
    path = write(made(50).assign(amount=pd.Timestamp("2021-01-01")), tmp_path / "rows.parquet")
    assert "column 'amount' holds dates" in shop.refused(data=path, output=tmp_path / "scored.csv")


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("", "output: name the file to write"),
        ("scored.xlsx", "must end in .parquet or .csv"),
        ("folder.csv", "is a folder; name a file in it"),
        ("none/scored.csv", "there is no folder"),
        ("rows.csv", "is the table that is read"),
    ],
)
def test_an_output_that_cannot_be_is_told_before_anything_is_read(shop, rows, tmp_path, output, says):
    (tmp_path / "folder.csv").mkdir()
    before = rows.read_bytes()
    assert says in shop.refused(data=rows, output=tmp_path / output if output else "")
    assert rows.read_bytes() == before


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("idd", "keys: rows.csv has no column 'idd', did you mean 'id'?"),
        ("id,id", "keys: 'id' is named twice"),
        ("label", "keys: 'label' is a column of the answer"),
    ],
)
def test_keys_that_cannot_be_are_told(shop, rows, tmp_path, keys, says):
    rewritten(rows, lambda frame: frame.assign(label="x"))
    assert says in shop.refused(data=rows, output=tmp_path / "scored.csv", keys=keys)


def test_lists_are_carried_over_to_parquet_and_refused_for_csv(shop, tmp_path):
    held = pa.Table.from_pandas(made(50)).append_column("tags", pa.array([["a", "b"]] * 50))
    pq.write_table(held, tmp_path / "rows.parquet")
    _, found = shop.predict(tmp_path / "rows.parquet", tmp_path / "scored.parquet")
    assert found["tags"][0].tolist() == ["a", "b"]
    said = shop.refused(data=tmp_path / "rows.parquet", output=tmp_path / "scored.csv")
    assert said.startswith("keys: column 'tags' holds lists")


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("", "names none"),
        ("nobody", "'nobody' names none: give models:/NAME@ALIAS"),
        ("scoring_classifier", "names none, did you mean models:/scoring_classifier@champion?: give "),
        ("scoring_classifier@champion", "did you mean models:/scoring_classifier@champion?: give "),
        ("models:/scoring_classifier", "did you mean models:/scoring_classifier@champion? give "),
        ("models:/nobody@champion", "is not in the registry"),
        ("models:/scoring_classifier@nobody", "is not in the registry"),
        ("models:/scoring_classifier/99", "is not in the registry"),
        ("models:/scoring_classifier/Production", "'Production' is no number of a version"),
        ("models:/m-0123456789abcdef0123456789abcdef", "is not there"),
        ("0" * 32, "there is no run"),
        ("{etl}", "is a run of 'etl', and one of 'train' is needed"),
        ("runs:/{forest}/lightgbm", "has logged 'forest' and no 'lightgbm'"),
    ],
)
def test_a_model_that_is_none_is_told(shop, rows, tmp_path, model, says):
    asked = model.format(etl=shop.etl.id, forest=shop.trained["forest"].id)
    said = shop.refused(data=rows, output=tmp_path / "scored.csv", model=asked)
    assert says in said


@pytest.mark.parametrize("part", ["served.py", "artifacts/model/model.json"])
def test_a_model_that_is_not_what_was_recorded_is_not_loaded(shop, rows, tmp_path, part):
    trained = shop.store.step("train", dataset=shop.etl.id, model="logistic")
    model_id = trained.tags["tabular.model_uri"].removeprefix("models:/")
    place = Path(shop.store.client.get_logged_model(model_id).artifact_location.removeprefix("file://"))
    touched = tmp_path / "touched"
    (place / part).write_text(f"{(place / part).read_text()}\nopen({str(touched)!r}, 'w')\n")
    said = shop.refused(data=rows, output=tmp_path / "scored.csv", model=trained.id)
    assert "was recorded: not loaded" in said
    assert not touched.exists()


def test_a_version_that_is_not_ours_is_not_loaded(shop, rows, tmp_path):
    client = shop.store.client
    client.create_registered_model("theirs")
    client.create_model_version("theirs", shop.trained["forest"].tags["tabular.model_uri"])
    said = shop.refused(data=rows, output=tmp_path / "scored.csv", model="models:/theirs/1")
    assert said == "theirs version 1 was not registered by Tabular: it has no tag tabular.digest.code"


# --- how it ends ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A table whose rows take a while to score."""
    return write(pd.concat([made(20_000)] * 40), tmp_path_factory.mktemp("many") / "rows.parquet")


@pytest.mark.parametrize(
    "number",
    [*(pytest.param(told, marks=pytest.mark.long) for told in (signal.SIGTERM, signal.SIGINT)), signal.SIGKILL],
    ids=lambda number: number.name,
)
def test_a_run_that_is_ended_leaves_the_earlier_output_and_no_half_file(shop, many, tmp_path, number):
    output = tmp_path / "out" / "scored.csv"
    output.parent.mkdir()
    output.write_text("from before\n")
    words = [f"--model={shop.trained['forest'].id}", f"--data={many}", f"--output={output}"]
    # not forked off the tests' fork server: the signal is for the process that predicts
    alone = {name: value for name, value in shop.store.environment.items() if name != "TABULAR_FORK_SERVER"}
    process = popen(
        [sys.executable, "-m", "steps", "predict", *words],
        cwd=PROJECT,
        env=alone,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    until = time.monotonic() + MOST_SECONDS
    while not any(path.stat().st_size for path in output.parent.glob(".scored.csv.*.part")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(number)
    process.wait(MOST_SECONDS)
    process.stderr.close()
    assert output.read_text() == "from before\n"
    if number != signal.SIGKILL:  # which nothing can tidy up after
        assert list(output.parent.iterdir()) == [output]
        assert shop.store.newest().info.status == "KILLED"


# --- what is told of it -----------------------------------------------------------------------------------------------


def test_the_run_says_what_was_scored_by_what_and_how_fast(shop, rows, tmp_path):
    ended, _ = shop.predict(rows, tmp_path / "scored.csv")
    version = shop.store.client.get_model_version_by_alias("scoring_classifier", "champion")
    metrics, tags = ended.run.data.metrics, ended.tags
    assert metrics["rows"] == 50
    assert metrics["rows_per_second"] == pytest.approx(50 / metrics["predict_seconds"])
    assert tags["tabular.data_digest"] == digests.of_file(rows)
    assert tags["tabular.digest.output"] == digests.of_file(tmp_path / "scored.csv")
    for name in ("tabular.digest.model", "tabular.digest.code", "tabular.run", "tabular.dataset", "tabular.evaluation"):
        assert tags[name] == version.tags[name]
    (read,) = ended.run.inputs.dataset_inputs
    assert read.dataset.source_type == "local"
    assert read.dataset.digest == digests.of_file(rows)[:32]
    whole = shop.store.client.get_run(ended.id)  # a search leaves them out
    assert [model.model_id for model in whole.inputs.model_inputs] == [version.source.removeprefix("models:/")]
    assert "50 rows scored by scoring_classifier version 1" in ended.stdout


def test_rows_of_the_same_kind_have_not_moved(shop, tmp_path):
    ended, _ = shop.predict(write(made(5000, seed=4), tmp_path / "rows.csv"), tmp_path / "scored.csv")
    assert ended.run.data.metrics["psi_input_worst"] < 0.1
    assert ended.tags["tabular.shift.input"].startswith("none, ")
    assert "look at this" not in ended.stdout


def test_few_rows_of_the_same_kind_have_an_index_that_is_told_to_be_chance(shop, rows, tmp_path):
    ended, _ = shop.predict(rows, tmp_path / "scored.csv")
    assert ended.run.data.metrics["psi_input_worst"] > 0.1
    for what in ("input", "score"):
        assert ended.tags[f"tabular.shift.{what}"].startswith("none, ")
    assert ended.tags["tabular.shift.input"].endswith(", as by chance")
    assert "look at this" not in ended.stdout


def test_a_column_that_has_moved_is_named_first_with_where_its_rows_went(shop, tmp_path):
    asked = made(2000, seed=5)
    asked["amount"] += 40
    asked.loc[:999, "town"] = "Braga"
    ended, _ = shop.predict(write(asked, tmp_path / "rows.csv"), tmp_path / "scored.csv")
    table = json.loads(shop.store.artifact(ended.run, "shift.json").read_text())
    found = {row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["data"]}
    assert set(found) == {*FEATURES, "probability_yes"}
    assert {name for name, row in found.items() if row["shift"] == "much"} >= {"amount", "town", "probability_yes"}
    assert found["visits"]["shift"] == "none"
    assert found["town"]["moved_most"].startswith("'(new)' 0.0% -> ")
    assert "look at this: 'town' has moved much: PSI " in ended.stdout
    assert "  what PSI is: docs/predict.md#how-far-the-rows-have-moved\n" in ended.stdout
    assert ended.run.data.metrics["psi_input_worst"] == max(found["amount"]["psi"], found["town"]["psi"])
    assert {"pictures/shift.png", "shift_bins.json"} <= shop.store.artifacts(ended.run)


def test_scores_are_compared_with_the_holdout_of_the_evaluation_else_with_training_rows(shop, rows, tmp_path):
    by_version, _ = shop.predict(rows, tmp_path / "scored.csv")
    by_run, _ = shop.predict(rows, tmp_path / "scored.csv", model=shop.trained["forest"].id)
    assert f"120 holdout rows, as run {shop.evaluation.id} judged the model" in by_version.tags["mlflow.note.content"]
    assert f"480 training rows of run {shop.etl.id}" in by_run.tags["mlflow.note.content"]


def test_where_the_origin_of_a_model_is_gone_its_rows_are_scored_and_not_compared(shop, rows, tmp_path):
    write(made(200, seed=6), tmp_path / "table.csv")
    (tmp_path / "gone.yaml").write_text(PROBLEM.format(source=tmp_path / "table.csv"))
    etl = shop.store.step("etl", problem=str(tmp_path / "gone.yaml"))
    model = shop.store.step("train", dataset=etl.id, model="logistic").id
    _, before = shop.predict(rows, tmp_path / "scored.csv", model=model)
    shutil.rmtree(shop.store.artifact(etl.run, "dataset"))
    ended, found = shop.predict(rows, tmp_path / "scored.csv", model=model)
    assert found["probability_yes"].tolist() == before["probability_yes"].tolist()
    said = f"not compared: run {etl.id} has no artifact 'dataset/train.parquet' that can be read"
    assert ended.tags["tabular.shift.input"].startswith(said)
    assert ended.tags["tabular.shift.score"].startswith(said)
    assert "psi_input_worst" not in ended.run.data.metrics


# --- as people type it ------------------------------------------------------------------------------------------------


def test_mlflow_run_scores_a_file_of_the_callers_folder(shop, rows, tmp_path):
    ended = shop.store.project("predict", cwd=tmp_path, model=shop.champion, data="rows.csv", output="scored.parquet")
    assert ended.status == 0, ended.stderr
    assert len(pd.read_parquet(tmp_path / "scored.parquet")) == 50
    assert ended.run.info.run_name == "predict scoring_classifier version 1"
