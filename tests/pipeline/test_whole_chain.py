"""One run of the whole chain by its command line, and everything that a user then looks for by name."""

import json
import re

import pandas as pd
import pytest
import yaml

from steps.run.tags import lasting
from tests.running import DRAWS, PIXEL

pytestmark = pytest.mark.slow

STEPS = [
    "etl",
    "hpo lightgbm",
    "train logistic_regression",
    "train random_forest",
    "train lightgbm",
    "blend",
    "evaluate",
    "refit",
    "register",
]
CANDIDATES = ["logistic_regression", "random_forest", "lightgbm"]
TRAINS = [f"train {name}" for name in CANDIDATES]
HOLDOUT_METRICS = ["accuracy", "precision", "recall", "f1_score", "roc_auc", "log_loss", "brier_score"]
HOLDOUT_METRICS += ["average_precision"]
PICTURES = ["roc_curve", "precision_recall_curve", "confusion_matrix", "calibration_curve", "feature_importance"]
PICTURES += ["permutation_importance", "threshold_effect"]


@pytest.fixture(scope="module")
def main(store):
    store.environment[DRAWS] = "1"
    yield store.project(trials=2, seed=3)
    del store.environment[DRAWS]


@pytest.fixture(scope="module")
def children(store, main):
    return store.children(main.id)


def test_main_ends_well(main):
    assert main.status == 0, main.stderr
    assert main.run.info.status == "FINISHED"


def test_main_says_that_a_model_was_registered(main):
    assert main.tags["tabular.outcome"] == "registered"


def test_main_holds_one_child_a_step(children):
    assert sorted(children) == sorted(STEPS)


@pytest.mark.parametrize("step", STEPS)
def test_a_child_says_which_entry_point_it_ran(children, step):
    tags = children[step].data.tags
    assert tags["mlflow.project.entryPoint"] == step.split()[0]
    assert tags["mlflow.source.type"] == "PROJECT"


@pytest.mark.parametrize("step", STEPS)
def test_a_child_has_the_source_and_the_commit_of_main(main, children, step):
    for name in ("mlflow.source.name", "mlflow.source.git.commit"):
        assert children[step].data.tags[name] == main.tags[name]


@pytest.mark.parametrize("step", ["main", *STEPS])
def test_a_run_names_its_user_and_the_process_that_answers_for_it(main, children, step):
    tags = main.tags if step == "main" else children[step].data.tags
    assert tags["mlflow.user"]
    assert tags["tabular.owner.host"]
    assert int(tags["tabular.owner.pid"]) > 0
    assert float(tags["tabular.owner.started"]) > 0


@pytest.mark.parametrize("step", ["main", *STEPS])
def test_a_run_has_a_note_that_says_what_it_did(main, children, step):
    tags = main.tags if step == "main" else children[step].data.tags
    assert len(tags["mlflow.note.content"]) > 20


@pytest.mark.parametrize("step", STEPS)
def test_a_run_carries_the_problem_and_its_own_tags(children, step):
    assert children[step].data.tags["tabular.problem"] == "breast_cancer"
    assert children[step].data.tags["domain"] == "health"


@pytest.mark.parametrize("step", [step for step in STEPS if step != "register"])
def test_a_run_names_the_digest_of_its_data(children, step):
    digests = {run.data.tags["tabular.data_digest"] for name, run in children.items() if name != "register"}
    assert digests == {children[step].data.tags["tabular.data_digest"]}


def test_a_train_run_is_named_by_its_model_and_hyperparameters(children):
    name = children["train lightgbm"].info.run_name
    assert name.startswith("train lightgbm num_leaves=")
    assert "learning_rate=" in name


def test_every_run_of_the_chain_is_finished(store, main, children):
    trials = store.children(children["hpo lightgbm"].info.run_id)
    assert {run.info.status for run in [main.run, *children.values(), *trials.values()]} == {"FINISHED"}


def test_nothing_is_left_running(store, main, children):
    """Of the chain, its steps and their trials: other tests leave runs of other machines in this store."""
    above = {main.id, *(run.info.run_id for run in children.values())}
    runs = store.client.search_runs([store.experiment])
    ours = [run for run in runs if run.info.run_id in above or run.data.tags.get("mlflow.parentRunId") in above]
    assert len(ours) > len(above)
    assert "RUNNING" not in {run.info.status for run in ours}


def test_the_trials_are_children_of_their_search(store, children):
    assert [run.data.tags["tabular.trial"] for run in trials(store, children)] == ["0", "1"]


def test_a_trial_has_its_hyperparameters_and_its_score(store, children):
    for trial in trials(store, children):
        assert {"num_leaves", "learning_rate", "n_estimators"} <= set(trial.data.params)
        assert {"search_roc_auc", "trial_seconds"} == set(trial.data.metrics)


def trials(store, children):
    """The nested runs of the search that are trials."""
    found = store.children(children["hpo lightgbm"].info.run_id).values()
    return sorted(
        (run for run in found if "tabular.trial" in run.data.tags), key=lambda run: run.data.tags["tabular.trial"]
    )


def test_the_search_leaves_its_best_hyperparameters_and_its_trials(store, children):
    hpo = children["hpo lightgbm"]
    assert {"best_params.json", "trials.json"} <= store.artifacts(hpo)
    best = json.loads(store.artifact(hpo, "best_params.json").read_text())["params"]
    assert hpo.data.params["best_num_leaves"] == str(best["num_leaves"])


def test_train_uses_what_the_search_found(store, children):
    best = json.loads(store.artifact(children["hpo lightgbm"], "best_params.json").read_text())["params"]
    params = children["train lightgbm"].data.params
    assert {name: params[name] for name in best} == {name: str(value) for name, value in best.items()}


def test_no_parameter_of_a_child_is_quoted_for_a_shell(children):
    for run in children.values():
        assert not [value for value in run.data.params.values() if value.startswith("'")]


@pytest.mark.parametrize("step", TRAINS)
def test_train_logs_what_it_was_given(children, step):
    params = children[step].data.params
    assert params["model_type"] == step.split()[1]
    assert (params["seed"], params["folds"], params["columns"]) == ("3", "5", "30")
    assert (params["rows_train"], params["rows_holdout"], params["classes"]) == ("455", "114", "0, 1")
    assert {"preprocessing_categories", "preprocessing_numbers", "preprocessing_missing"} <= set(params)


@pytest.mark.parametrize(
    ("step", "names"),
    [
        ("train logistic_regression", {"C", "l1_ratio", "max_iter", "solver", "tol"}),
        ("train random_forest", {"n_estimators", "min_samples_leaf", "max_depth", "criterion", "random_state"}),
        ("train lightgbm", {"num_leaves", "learning_rate", "reg_lambda", "reg_alpha", "boosting_type", "random_state"}),
    ],
)
def test_train_logs_every_hyperparameter_of_its_estimator(children, step, names):
    assert names <= set(children[step].data.params)


@pytest.mark.parametrize("step", TRAINS)
def test_train_logs_cross_validated_and_training_metrics(children, step):
    metrics = children[step].data.metrics
    for name in ("accuracy", "roc_auc"):
        assert {f"cv_{name}_mean", f"cv_{name}_std", f"training_{name}"} <= set(metrics)
    assert {"fit_seconds", "cv_seconds"} <= set(metrics)


@pytest.mark.parametrize("curve", ["training", "validation"])
def test_the_loss_of_lightgbm_is_a_curve_by_iteration(store, children, curve):
    run = children["train lightgbm"]
    history = store.client.get_metric_history(run.info.run_id, f"{curve}_loss_by_iteration")
    assert [point.step for point in history][:3] != [0, 0, 0]
    assert len(history) > 10


@pytest.mark.parametrize("step", TRAINS)
def test_train_leaves_feature_names_the_problem_and_the_environment(store, children, step):
    assert {"feature_names.json", "problem.yaml", "environment.json"} <= store.artifacts(children[step])
    assert len(json.loads(store.artifact(children[step], "feature_names.json").read_text())) == 30
    assert "mlflow" in json.loads(store.artifact(children[step], "environment.json").read_text())["packages"]


@pytest.mark.parametrize("name", HOLDOUT_METRICS)
def test_evaluate_logs_the_holdout_metric_of_the_winner_and_of_each_candidate(children, name):
    metrics = children["evaluate"].data.metrics
    assert {name, *(f"{candidate}/{name}" for candidate in CANDIDATES)} <= set(metrics)


@pytest.mark.parametrize("name", HOLDOUT_METRICS)
def test_main_shows_the_holdout_metrics_of_the_winner(main, children, name):
    assert main.run.data.metrics[name] == children["evaluate"].data.metrics[name]


def test_the_training_score_stands_beside_the_holdout_score(main):
    assert {"training_roc_auc", "cv_roc_auc_mean", "roc_auc", "chain_seconds"} <= set(main.run.data.metrics)


@pytest.mark.parametrize("candidate", CANDIDATES)
@pytest.mark.parametrize("picture", PICTURES)
def test_each_candidate_has_its_pictures(store, children, candidate, picture):
    path = store.artifact(children["evaluate"], f"pictures/{candidate}/{picture}.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.read_bytes() != PIXEL


@pytest.mark.parametrize(
    "name",
    [
        "metrics_of_candidates",
        "class_balance",
        "lightgbm/loss_by_iteration",
        "lightgbm/search_history",
        "lightgbm/search_importance",
        "lightgbm/search_slices",
    ],
)
def test_evaluate_draws_the_candidates_the_data_and_the_search(store, children, name):
    assert f"pictures/{name}.png" in store.artifacts(children["evaluate"])


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_evaluate_leaves_the_predictions_of_each_candidate(store, children, candidate):
    table = pd.read_parquet(store.artifact(children["evaluate"], f"predictions/{candidate}.parquet"))
    assert list(table) == ["truth", "probability_0", "probability_1"]
    assert len(table) == 114


@pytest.mark.parametrize("step", ["main", "evaluate"])
def test_the_leaderboard_is_a_table_of_all_candidates(store, main, children, step):
    run = main.run if step == "main" else children[step]
    board = json.loads(store.artifact(run, "leaderboard.json").read_text())
    assert board["columns"][:2] == ["model", "roc_auc"]
    assert sorted(row[0] for row in board["data"]) == sorted([*CANDIDATES, "blend"])


@pytest.mark.parametrize("step", ["main", "evaluate"])
def test_the_leaderboard_is_in_the_order_of_cross_validation_and_not_of_the_holdout(store, main, children, step):
    run = main.run if step == "main" else children[step]
    board = json.loads(store.artifact(run, "leaderboard.json").read_text())
    rows = [dict(zip(board["columns"], row, strict=True)) for row in board["data"]]
    promised, scored = ([row[name] for row in rows] for name in ("cv_roc_auc_mean", "roc_auc"))
    assert scored != sorted(scored, reverse=True), "this chain cannot tell the two orders apart"
    assert promised == sorted(promised, reverse=True)
    assert children["evaluate"].data.tags["tabular.winner"] == rows[0]["model"]


def test_the_problem_of_main_has_what_the_command_line_set(store, main):
    problem = yaml.safe_load(store.artifact(main.run, "problem.yaml").read_text())
    assert (problem["search"]["trials"], problem["seed"]) == (2, 3)


@pytest.mark.parametrize("step", STEPS)
def test_every_step_worked_on_the_problem_of_main(store, main, children, step):
    asked = store.artifact(main.run, "problem.yaml").read_text()
    assert store.artifact(children[step], "problem.yaml").read_text() == asked


def test_etl_leaves_the_data_set_its_schema_and_a_profile(store, children):
    expected = {"dataset/train.parquet", "dataset/holdout.parquet", "dataset/schema.json", "profile.json", "hints.json"}
    assert expected <= store.artifacts(children["etl"])


@pytest.mark.parametrize(
    ("step", "context"), [("etl", "source"), ("train lightgbm", "training"), ("evaluate", "evaluation")]
)
def test_a_run_names_its_data_set_as_an_input(children, step, context):
    inputs = children[step].inputs.dataset_inputs
    assert [entry.dataset.name for entry in inputs] == ["breast_cancer"]
    assert [tag.value for tag in inputs[0].tags] == [context]
    assert inputs[0].dataset.digest
    assert inputs[0].dataset.source


def test_main_names_the_data_set_of_the_chain(main):
    assert {entry.dataset.name for entry in main.run.inputs.dataset_inputs} == {"breast_cancer"}


@pytest.mark.parametrize("step", STEPS)
def test_a_run_says_how_long_it_took(children, step):
    assert children[step].data.metrics["step_seconds"] > 0


def test_a_run_of_one_model_names_the_models_family(children):
    families = {name: children[f"train {name}"].data.tags["tabular.model_family"] for name in CANDIDATES}
    assert list(families.values()) == ["LogisticRegression", "RandomForestClassifier", "LGBMClassifier"]


def test_runs_are_found_by_their_data_set(store, children):
    found = store.client.search_runs(
        [store.experiment], "dataset.name = 'breast_cancer' and dataset.context = 'training'"
    )
    assert {run.info.run_id for run in found} >= {children[step].info.run_id for step in TRAINS}


def test_the_version_has_a_description_tags_and_the_alias(store, main):
    version = store.client.get_model_version_by_alias("breast_cancer_classifier", "champion")
    assert str(version.version) == main.tags["tabular.champion.version"]
    assert "holdout" in version.description
    assert version.tags["domain"] == "health"
    assert version.tags["tabular.problem"] == "breast_cancer"
    assert float(version.tags["tabular.roc_auc"]) > 0.9


def test_the_version_comes_from_the_run_that_trained_it(store, children):
    version = store.client.get_model_version_by_alias("breast_cancer_classifier", "champion")
    winner, whole = children["blend"], children["refit"]
    assert version.tags["tabular.model"] == "blend"
    assert (version.tags["tabular.run"], version.run_id) == (winner.info.run_id, whole.info.run_id)
    assert version.tags["tabular.digest.judged"] == winner.data.tags["tabular.digest.model"]
    assert version.tags["tabular.digest.model"] == whole.data.tags["tabular.digest.model"]


def test_the_terminal_shows_each_step_as_it_starts(main):
    for step in STEPS:
        assert f"  {step} …" in main.stdout


@pytest.mark.parametrize("step", STEPS)
def test_the_terminal_shows_each_step_as_it_ends_and_why_it_ran(main, step):
    assert re.search(rf"^  {step} +\d+\.\d s  .+  \(ran: for the first time\)$", main.stdout, re.M)


def test_the_terminal_shows_the_candidates_and_what_to_type_next(main):
    assert "models:/breast_cancer_classifier@champion (version 1)" in main.stdout
    assert "mlflow ui" in main.stdout
    assert "mlflow models serve -m models:/breast_cancer_classifier@champion" in main.stdout


def test_the_terminal_has_no_flood_of_lines(main):
    assert len(main.stdout.splitlines()) < 50


def test_registering_the_same_evaluation_again_changes_nothing(store, children):
    before = store.versions("breast_cancer_classifier")
    again = store.step("register", evaluation=children["evaluate"].info.run_id)
    assert again.status == 0
    assert again.tags["tabular.outcome"] == "kept_champion"
    assert "is the champion (version 1) already" in again.tags["tabular.verdict"]
    assert len(store.versions("breast_cancer_classifier")) == len(before)


def test_a_search_is_started_by_hand_with_the_run_of_its_data_set(store, children):
    etl = children["etl"].info.run_id
    by_hand = store.project("hpo", dataset=etl, model="lightgbm")
    assert by_hand.status == 0, by_hand.stderr
    assert by_hand.run.data.metrics["trials_ended"] == 2


def test_a_model_trained_again_is_the_same_model_to_the_last_bit(store, children):
    first = children["train lightgbm"]
    again = store.step(
        "train", dataset=first.data.params["dataset"], model="lightgbm", params=first.data.params["params"]
    )
    assert again.tags["tabular.digest.model"] == first.data.tags["tabular.digest.model"]
    assert lasting(again.run.data.metrics) == lasting(first.data.metrics)
