"""The model that is registered learns from all rows; the one that was judged stays, and meets later challengers.

The nearest neighbour of a row that it has learnt from is that row: it is right about all of them.
"""

import json
import time
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from steps import refit
from steps.model.dataset import DataSet

pytestmark = pytest.mark.usefixtures("undrawn")

ROWS = 500
PROBLEM = """
name: {name}
data: {{source: {source}, target: y, positive: "yes"}}
models:
{models}
blend: {blend}
search: {{folds: 3, calibrate: sigmoid, threshold: f1_score}}
gate: {{require: {{roc_auc: {{min: {least}}}}}}}
{more}
"""
NEAREST = "  nearest: {estimator: sklearn.neighbors.KNeighborsClassifier, params: {n_neighbors: 1}}"
LINEAR = "  linear: {estimator: sklearn.linear_model.LogisticRegression}"


def table():
    """A table of which a linear model knows much, and the nearest neighbour something."""
    draw = np.random.default_rng(3)
    made = pd.DataFrame({f"x{column}": draw.normal(size=ROWS) for column in range(3)})
    logit = 2 * made["x0"] + made["x1"]
    made["y"] = np.where(draw.random(ROWS) < 1 / (1 + np.exp(-logit)), "yes", "no")
    return made


def problem(folder, *models, name="refitted", blend="false", least=0.5, more=""):
    """A problem's file on that table."""
    folder.mkdir(exist_ok=True)
    table().to_csv(folder / "table.csv", index=False)
    path = folder / f"{'_'.join(one.split(':')[0].strip() for one in models)}_{blend}.yaml"
    about = {"source": folder / "table.csv", "models": "\n".join(models), "blend": blend, "least": least, "more": more}
    path.write_text(PROBLEM.format(name=name, **about))
    return str(path)


def description(store, uri):
    """The file in which a logged model holds what it knows beside its estimator."""
    logged = store.client.get_logged_model(uri.removeprefix("models:/"))
    return Path(logged.artifact_location.removeprefix("file://")) / "artifacts" / "model" / "model.json"


def described(store, uri):
    """What a logged model knows beside its estimator."""
    return json.loads(description(store, uri).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("refitted")


@pytest.fixture(scope="module")
def chain(store, folder):
    ended = store.project("main", problem=problem(folder, NEAREST))
    assert ended.status == 0, ended.stderr
    return ended


@pytest.fixture(scope="module")
def children(store, chain):
    return store.children(chain.id)


@pytest.fixture(scope="module")
def version(store, chain):
    return MlflowClient(store.uri).get_model_version("refitted_classifier", "1")


@pytest.fixture(scope="module")
def holdout(store, children):
    return pd.read_parquet(store.artifact(children["etl"], "dataset/holdout.parquet"))


def answers(store, uri, rows):
    """The probability of the positive class that a model gives rows."""
    mlflow.set_tracking_uri(store.uri)
    return mlflow.pyfunc.load_model(uri).predict(rows.drop(columns="y"))["probability_yes"].to_numpy()


def test_what_is_registered_has_learnt_from_the_holdout_and_what_was_judged_has_not(store, version, holdout):
    truth = (holdout["y"] == "yes").to_numpy()
    champion = answers(store, "models:/refitted_classifier@champion", holdout)
    judged = answers(store, version.tags["tabular.judged"], holdout)
    assert ((champion > champion.mean()) == truth).all()
    assert ((judged > judged.mean()) == truth).mean() < 0.95


def test_the_version_names_the_runs_and_digests_of_both_models(version, children):
    train, refit = children["train nearest"], children["refit"]
    assert (version.run_id, version.tags["tabular.refit"]) == (refit.info.run_id, refit.info.run_id)
    assert version.tags["tabular.digest.model"] == refit.data.tags["tabular.digest.model"]
    assert version.tags["tabular.run"] == refit.data.tags["tabular.run"] == train.info.run_id
    assert version.tags["tabular.judged"] == train.data.tags["tabular.model_uri"]
    assert version.tags["tabular.digest.judged"] == train.data.tags["tabular.digest.model"]


def test_it_has_the_threshold_and_the_calibration_of_the_judged_model(store, version):
    whole, judged = (described(store, uri) for uri in (version.source, version.tags["tabular.judged"]))
    assert whole["calibration"] == judged["calibration"]
    assert whole["threshold"] == judged["threshold"]


def test_the_scores_of_the_version_are_those_of_the_judged_model(version, children):
    judged = children["evaluate"].data.metrics["roc_auc"]
    assert judged < 0.95
    assert float(version.tags["tabular.roc_auc"]) == pytest.approx(judged, abs=1e-6)


def test_the_report_and_the_model_card_say_whose_figures_they_are(store, chain, version):
    said = "learnt from all 500 rows, the holdout among them"
    assert said in store.artifact(chain.run, "report.html").read_text()
    assert said in version.description


def test_the_same_command_runs_nothing_again(store, folder, chain):
    again = store.step("main", problem=problem(folder, NEAREST))
    assert "(ran:" not in again.stdout, again.stdout
    assert "nearest is the champion (version 1) already" in again.stdout


def test_predict_asks_the_registered_model(store, folder, version, holdout):
    output = folder / "scored.parquet"
    about = {"model": "models:/refitted_classifier@champion", "data": str(folder / "table.csv"), "output": str(output)}
    ended = store.step("predict", **about)
    assert ended.status == 0, ended.stderr
    truth = (table()["y"] == "yes").to_numpy()
    found = pd.read_parquet(output)["probability_yes"].to_numpy()
    assert ((found > found.mean()) == truth).all()


def test_a_challenger_meets_the_judged_model(store, folder, chain, children, version):
    ended = store.step("main", problem=problem(folder, LINEAR))
    met = json.loads(store.artifact(store.children(ended.id)["register"], "verdict.json").read_text())["comparison"]
    assert met["champion"] == pytest.approx(children["evaluate"].data.metrics["roc_auc"])
    assert ended.tags["tabular.outcome"] == "registered", "the champion that has seen the holdout is unbeatable on it"


def test_without_refit_the_judged_model_is_registered_and_replaces_the_same_one_that_was_refitted(store, folder, chain):
    asked = "registry: {name: unrefitted}"
    assert store.step("main", problem=problem(folder, NEAREST, more=asked)).status == 0
    ended = store.step("main", problem=problem(folder, NEAREST, more=f"{asked}\nrefit: false"))
    assert "nearest is the champion (version 1) fitted on the training rows alone now" in ended.stdout
    children, made = store.children(ended.id), MlflowClient(store.uri).get_model_version("unrefitted", "2")
    assert "refit" not in children
    assert "tabular.judged" not in made.tags
    assert made.tags["tabular.digest.model"] == store.client.get_run(made.run_id).data.tags["tabular.digest.model"]


def test_a_winner_that_does_not_pass_the_gate_is_not_fitted_again(store, folder, chain):
    ended = store.step("main", problem=problem(folder, NEAREST, least=0.999, more="registry: {name: refused}"))
    refit = store.children(ended.id)["refit"]
    assert refit.data.params["why_not"] == "it does not pass the gate"
    assert "tabular.model_uri" not in refit.data.tags
    assert ended.tags["tabular.outcome"] == "refused"


def inputs(children):
    """The parameters of a run of refit by hand."""
    return {
        "evaluation": children["evaluate"].info.run_id,
        "dataset": children["etl"].info.run_id,
        "models": ",".join(run.info.run_id for name, run in children.items() if name.startswith("train ")),
    }


def test_a_fit_for_which_no_seconds_are_left_is_not_begun_and_the_judged_model_is_registered(store, folder, children):
    share = folder / "share"
    share.write_text(f"1 {time.time() - 1} inf 1.0")
    ended = store.step("refit", **inputs(children), share=str(share))
    assert "0 s of the chain's are left" in ended.run.data.params["why_not"]
    about = {name: value for name, value in inputs(children).items() if name != "dataset"}
    asked = problem(folder, NEAREST, name="late", more="registry: {name: late}")
    registered = store.step("register", **about, refit=ended.id, problem=asked)
    assert registered.tags["tabular.outcome"] == "registered", registered.stderr
    made = MlflowClient(store.uri).get_model_version("late", "1")
    assert made.run_id == children["train nearest"].info.run_id
    in_time = store.step("register", **about, refit=children["refit"].info.run_id, problem=asked)
    assert "nearest is the champion (version 1) fitted on all rows now" in in_time.tags["tabular.verdict"]
    made = MlflowClient(store.uri).get_model_version("late", "2")
    assert made.run_id == children["refit"].info.run_id
    assert made.tags["tabular.semantic_version"] == "1.0.1", "but for the seconds nothing is another"


def test_how_few_the_seconds_were_makes_no_other_result(store, folder, children):
    share, digests = folder / "few", set()
    for late in (1, 100):
        share.write_text(f"1 {time.time() - late} inf 1.0")
        ended = store.step("refit", **inputs(children), share=str(share))
        digests.add(ended.tags["tabular.digest.refit"])
    again = store.step("refit", **inputs(children), replays=ended.id)
    assert digests == {again.tags["tabular.digest.refit"]}


def test_a_fit_that_was_left_out_for_want_of_seconds_is_tried_again_by_the_same_command(store, folder):
    asked = {"problem": problem(folder / "late", NEAREST, name="in_haste"), "timeout": 1}
    first = store.children(store.project("main", **asked).id)
    assert "of the chain's are left" in first["refit"].data.params["why_not"]
    again = store.project("main", **asked)
    assert "reused" in line_of("train nearest", again), again.stdout
    assert "(ran: what could not be done then may be possible now" in line_of("refit", again), again.stdout


def line_of(step, ended):
    """What main prints of a step that has ended."""
    return next(line for line in ended.stdout.splitlines() if line.strip().startswith(step) and "…" not in line)


def test_a_damaged_model_is_fitted_and_registered_again(store, folder, chain):
    asked = problem(folder, NEAREST, more="registry: {name: damaged}")
    assert store.step("main", problem=asked).status == 0
    made = MlflowClient(store.uri).get_model_version("damaged", "1")
    place = description(store, made.source)
    before = place.read_text()
    place.write_text(before.replace("threshold", "treshold"))
    again = store.step("main", problem=asked)
    place.write_text(before)
    assert "refit                  reused" not in again.stdout
    assert "nearest is the champion (version 1) whose files are damaged" in again.stdout
    assert again.tags["tabular.champion.version"] == "2"


@pytest.fixture(scope="module")
def timely(store, folder):
    """A chain with seconds to spare, whose winner is a blend."""
    asked = {"name": "timely", "blend": "true"}
    ended = store.project("main", problem=problem(folder / "d", NEAREST, LINEAR, **asked), timeout=120)
    assert ended.tags["tabular.winner"] == "blend", ended.stdout
    return ended


def test_a_blend_is_fitted_again_with_its_weights(store, timely):
    children = store.children(timely.id)
    made = MlflowClient(store.uri).get_model_version("timely_classifier", "1")
    whole, judged = (described(store, uri) for uri in (made.source, made.tags["tabular.judged"]))
    assert whole["members"] == judged["members"]
    assert (whole["threshold"], whole["calibration"]) == (judged["threshold"], judged["calibration"])
    rows = pd.read_parquet(store.artifact(children["etl"], "dataset/holdout.parquet"))
    truth, found = (rows["y"] == "yes").to_numpy(), answers(store, made.source, rows)
    before = answers(store, made.tags["tabular.judged"], rows)
    assert np.corrcoef(found, truth)[0, 1] > np.corrcoef(before, truth)[0, 1] + 0.02


def test_with_seconds_that_are_left_what_is_registered_is_cross_validated_on_all_rows(store, timely):
    children = store.children(timely.id)
    refit, blend = children["refit"], children["blend"]
    assert refit.data.params["folds"] == "6"
    assert refit.data.metrics.keys() >= {"cv_roc_auc_mean", "cv_roc_auc_std", "cv_f1_score_mean"}
    assert refit.data.metrics["cv_roc_auc_mean"] == pytest.approx(blend.data.metrics["cv_roc_auc_mean"], abs=0.05)
    assert "blend on all 500 rows, for the registry; cross-validated roc_auc 0." in line_of("refit", timely)


def test_the_report_and_the_model_card_say_what_it_scores(store, timely):
    mean = store.children(timely.id)["refit"].data.metrics["cv_roc_auc_mean"]
    said = f"Cross-validated on all rows, in 6 folds: roc_auc {mean:.4f} ± 0."
    made = MlflowClient(store.uri).get_model_version("timely_classifier", "1")
    assert said in store.artifact(timely.run, "report.html").read_text()
    assert said in made.description


def test_its_replay_is_the_same_scores_and_all_without_a_clock(store, timely):
    replayed = store.step("reproduce", run=store.children(timely.id)["refit"].info.run_id)
    assert "the same: run" in replayed.stdout, replayed.stderr


def test_holdout_rows_of_weight_0_teach_nothing():
    def part(first, weights):
        X = pd.DataFrame({"x": [first, first + 1.0, first + 2.0]})
        return DataSet(None, None, X, X, X, np.array([0, 1, 0]), None, "", np.array(weights))

    found = refit.joined(part(0.0, [1.0, 2.0, 3.0]), part(10.0, [0.0, 0.5, 0.0]))
    assert found.X["x"].tolist() == [0.0, 1.0, 2.0, 11.0]
    assert (found.y.tolist(), found.weights.tolist()) == ([0, 1, 0, 1], [1.0, 2.0, 3.0, 0.5])
