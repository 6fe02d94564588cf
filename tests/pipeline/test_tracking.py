"""What a chain leaves in MLflow where its problem's section `tracking` asks for less, or for it elsewhere."""

from pathlib import Path
from types import SimpleNamespace

import mlflow
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from steps.chain.reuse import Earlier
from steps.clean import Policy, Tree, _kept
from steps.model import origin
from steps.model import registry as registries
from steps.pipeline import plan
from steps.register import _undo
from steps.replay import equality
from steps.run import artifacts, lookup
from steps.run.step import Step
from steps.run.tags import MODEL_URI
from tabular.errors import UserError
from tests.chains import write_table
from tests.running import Store

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "problems.md").read_text(encoding="utf-8")
# The example of the section is the one on the page.
SECTION = PAGE.partition("## What is left in MLflow\n")[2].partition("```yaml\n")[2].partition("```")[0]
PROBLEM = f"""
name: tracked
data: {{source: table.csv, target: y}}
models:
  logistic_regression: {{estimator: sklearn.linear_model.LogisticRegression}}
  tree:
    estimator: sklearn.tree.DecisionTreeClassifier
    space: {{max_depth: {{type: int, low: 1, high: 4}}}}
blend: false
search: {{trials: 3, folds: 2}}
{SECTION}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("tracked")
    write_table(found / "table.csv")
    (found / "tracked.yaml").write_text(PROBLEM)
    return found


@pytest.fixture(scope="module")
def chain(store, folder):
    """A chain whose problem says what is tracked."""
    store.client.set_experiment_tag(store.experiment, "team", "many")
    store.client.set_experiment_tag(store.experiment, "floor", "third")
    ended = store.project(problem=str(folder / "tracked.yaml"))
    assert ended.status == 0, ended.stderr
    return ended


@pytest.fixture(scope="module")
def tasks(store, chain):
    """The runs of its steps, by their names in the chain."""
    return store.children(chain.id)


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """A store that is the registry of another one."""
    return Store(tmp_path_factory.mktemp("registry"))


@pytest.fixture(scope="module")
def elsewhere(store, folder, registry, chain):
    """A chain of the same work whose problem names another registry."""
    (folder / "elsewhere.yaml").write_text(f"{PROBLEM}  registry_uri: {registry.uri}\n")
    ended = store.project(problem=str(folder / "elsewhere.yaml"))
    assert ended.status == 0, ended.stderr
    return ended


def test_the_experiment_is_described_as_the_problem_says_and_keeps_its_other_tags(store, chain):
    tags = store.client.get_experiment(store.experiment).tags
    told = {name: tags.get(name) for name in ("mlflow.note.content", "team", "floor")}
    assert told == {"mlflow.note.content": "Who says yes?", "team": "few", "floor": "third"}


def test_the_run_of_main_has_the_name_that_the_problem_gives_it(chain):
    assert chain.run.info.run_name == "who says yes"


def test_a_model_without_an_input_example_is_tried_with_rows_of_the_data_set_and_registered(store, chain, tasks):
    assert chain.tags["tabular.outcome"] == "registered"
    (model,) = logged(store, chain)
    held = {path.name for path in Path(model.artifact_location.removeprefix("file://")).iterdir()}
    assert "MLmodel" in held
    assert not {name for name in held if "example" in name}


def logged(store, ended):
    """The logged models of a chain's runs when it ended."""
    runs = {run.info.run_id for run in store.children(ended.id).values()}
    found = store.client.search_logged_models([store.experiment])
    return [one for one in found if one.source_run_id in runs and one.creation_timestamp <= ended.run.info.end_time]


def test_of_all_candidates_the_one_that_is_registered_is_a_logged_model(store, chain, tasks):
    (model,) = logged(store, chain)
    (version,) = store.versions("tracked_classifier")
    assert model.source_run_id == tasks["refit"].info.run_id == version.run_id
    assert (model.model_uri, model.status) == (version.source, "READY")
    assert version.tags["tabular.judged"] == f"runs:/{version.tags['tabular.run']}/{version.tags['tabular.model']}"


def test_the_other_models_are_artifacts_that_are_loaded_as_logged_models_are(store, folder, tasks, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    rows = pd.read_csv(folder / "table.csv").drop(columns="y")
    (version,) = store.versions("tracked_classifier")
    for uri in (f"runs:/{tasks['train tree'].info.run_id}/tree", f"models:/{version.name}/{version.version}"):
        loaded = mlflow.pyfunc.load_model(uri, suppress_warnings=True)
        assert list(loaded.predict(rows)) == ["label", "probability_no", "probability_yes"]


def test_the_model_that_register_has_logged_is_found_by_its_own_id_as_the_version_that_it_is(store, chain):
    (version,) = store.versions("tracked_classifier")
    by_id, by_name = (origin.find(store.client, uri) for uri in (version.source, "models:/tracked_classifier@champion"))
    assert version.source.startswith("models:/m-")
    assert by_id == by_name
    assert by_id.name == "tracked_classifier version 1"


def test_another_logged_model_of_that_run_is_refused(store, chain, tasks):
    run_id = tasks["refit"].info.run_id
    other = store.client.create_logged_model(store.experiment, "other", run_id)
    try:
        with pytest.raises(UserError, match="is neither a registered version nor the model that run"):
            origin.find(store.client, other.model_uri)
    finally:
        store.client.delete_logged_model(other.model_id)


def test_a_model_that_is_an_artifact_is_missed_where_it_is_altered(store, tasks, tmp_path):
    train = tasks["train tree"]
    assert artifacts.model_damage(store.client, train, tmp_path) is None
    assert artifacts.model_bytes(train, tmp_path) > 1000
    file = store.artifact(train, "tree/MLmodel")
    before = file.read_bytes()
    file.write_bytes(before.replace(b"a", b"b"))
    try:
        assert artifacts.model_damage(store.client, train, tmp_path) == "tree/MLmodel has been altered"
    finally:
        file.write_bytes(before)


def test_a_champion_whose_files_are_altered_is_not_taken_for_the_winner(store, tasks, chain, tmp_path):
    (version,), (model,) = store.versions("tracked_classifier"), logged(store, chain)
    served = {"model_digest": version.tags["tabular.digest.model"], "code_digest": version.tags["tabular.digest.code"]}
    assert registries.is_winner(store.client, version, {"served": served}, tmp_path)
    file = Path(model.artifact_location.removeprefix("file://")) / "MLmodel"
    before = file.read_bytes()
    file.write_bytes(before.replace(b"a", b"b"))
    try:
        assert not registries.is_winner(store.client, version, {"served": served}, tmp_path)
    finally:
        file.write_bytes(before)


def test_a_version_that_another_chain_was_ahead_of_is_taken_back_with_the_model_that_was_logged_for_it(tmp_path):
    deleted = []
    client = SimpleNamespace(
        delete_model_version=lambda *version: deleted.append(version), delete_logged_model=deleted.append
    )
    step = Step("register", {}, "0" * 32, "1", tmp_path, client, "", {MODEL_URI: "models:/m-1"})
    _undo(step, SimpleNamespace(name="tracked_classifier", version="2"))
    assert deleted == [("tracked_classifier", "2"), "m-1"]
    assert not artifacts.model_id(step.tags[MODEL_URI])


def test_the_store_lists_the_artifacts_of_a_model_that_was_registered_as_the_run_recorded_them(
    store, tasks, tmp_path, monkeypatch
):
    """By which a chain on a server finds out whether they are whole: MLflow lists logged models of that name too."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    refit = tasks["refit"]
    name = refit.data.tags["tabular.model_uri"].rpartition("/")[2]
    listed = [one for one in store.client.list_artifacts(refit.info.run_id, name) if not one.is_dir]
    recorded = artifacts.read(refit, tmp_path)["run"]
    assert sorted((one.path, one.file_size) for one in listed) == sorted(
        (path, size) for path, (size, _) in recorded.items() if path.rpartition("/")[0] == name
    )


@pytest.fixture(scope="module")
def unregistered(store, folder, chain):
    """A chain of the same work whose problem wants no models in MLflow, and another registered model."""
    text = PROBLEM.replace("models: winner", "models: none") + "registry: {name: untracked}\n"
    (folder / "untracked.yaml").write_text(text)
    ended = store.step("main", problem=str(folder / "untracked.yaml"))
    assert ended.status == 0, ended.stderr
    return ended


def test_without_models_in_mlflow_nothing_is_registered_and_it_is_said(store, unregistered):
    tasks, why = store.children(unregistered.id), "tracking.models is none: nothing is registered"
    assert unregistered.tags["tabular.outcome"] == "not_registered"
    assert why in unregistered.stdout
    assert why in unregistered.tags["mlflow.note.content"]
    assert why in store.artifact(tasks["register"], "report.html").read_text()
    assert (logged(store, unregistered), store.versions("untracked")) == ([], [])


def test_what_is_asked_of_models_makes_no_other_step_run_again(store, unregistered):
    reused = {name for name, run in store.children(unregistered.id).items() if "tabular.reused_from" in run.data.tags}
    assert {name.removesuffix(" (reused)") for name in reused} == {"etl", "hpo tree", "evaluate"}


@pytest.fixture(scope="module")
def limited(store, folder, chain):
    """A chain of the same work whose problem allows a model fewer bytes than the winner has; evaluate runs again."""
    text = PROBLEM.replace("models: winner", "models: all\n  largest_model: 6.5 kB")
    text += "evaluation: {ties: smaller}\nregistry: {name: limited}\n"
    (folder / "limited.yaml").write_text(text)
    ended = store.step("main", problem=str(folder / "limited.yaml"))
    assert ended.status == 0, ended.stderr
    return ended


@pytest.fixture(scope="module")
def too_large(store, limited):
    """The run of train whose model is too large, and why."""
    run = store.children(limited.id)["train logistic_regression"]
    return run, run.data.tags["tabular.too_large"]


def test_of_a_model_that_is_too_large_the_store_has_what_describes_it_and_no_files(store, limited, too_large, tmp_path):
    run, why = too_large
    size = int(run.data.params["model_bytes"])
    assert why == f"its files ({size:,} bytes) are more than tracking.largest_model (6,500) and not in the store"
    assert why in run.data.tags["tabular.summary"]
    assert why in run.data.tags["mlflow.note.content"]
    held = {name.rpartition("/")[2] for name in store.artifacts(run) if name.startswith("logistic_regression/")}
    assert held == {"MLmodel", "requirements.txt", "python_env.yaml", "conda.yaml"}
    described = Model.load(str(store.artifact(run, "logistic_regression/MLmodel")))
    assert [one.name for one in described.signature.outputs] == ["label", "probability_no", "probability_yes"]
    files = artifacts.model_files(run, tmp_path)
    assert sum(held for name, (held, _) in files.items() if name.startswith("artifacts/")) == size
    (other,) = logged(store, limited)
    assert other.name == "tree"


def test_a_winner_that_is_too_large_is_judged_and_not_registered_and_it_is_said(store, limited, too_large):
    tasks = store.children(limited.id)
    assert tasks["evaluate"].data.tags["tabular.winner"] == "logistic_regression"
    assert tasks["refit"].data.params["why_not"] == too_large[1]
    assert limited.tags["tabular.outcome"] == "not_registered"
    why = f"Nothing is registered, since {too_large[1]}. Raise that key to register it"
    assert limited.tags["tabular.verdict"].endswith(why)
    assert why in limited.stdout
    assert why in limited.tags["mlflow.note.content"]
    assert why in store.artifact(tasks["register"], "report.html").read_text()
    assert store.versions("limited") == []


@pytest.mark.parametrize("step", ["predict", "evaluate"])
def test_whoever_asks_for_a_model_that_was_too_large_is_told_so_in_one_line(
    store, folder, tasks, too_large, tmp_path, step
):
    asks = {
        "predict": {"model": too_large[0].info.run_id, "data": folder / "table.csv", "output": tmp_path / "out.csv"},
        "evaluate": {"dataset": tasks["etl"].info.run_id, "models": too_large[0].info.run_id},
    }
    ended = store.step(step, **asks[step])
    (line,) = ended.lines
    assert "its files are not in the store, since they are larger than the tracking.largest_model" in line
    assert ended.status != 0


def test_mlflow_says_of_a_model_that_was_too_large_that_it_is_not_there(store, too_large, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    with pytest.raises(MlflowException, match="not stored in the model directory"):
        mlflow.pyfunc.load_model(too_large[0].data.tags["tabular.model_uri"], suppress_warnings=True)


def test_a_model_that_was_too_large_is_trained_again_and_the_others_are_not(store, limited, too_large, tmp_path):
    problem = lookup.problem(limited.run, tmp_path)
    main = SimpleNamespace(experiment_id=store.experiment, folder=tmp_path, run_id=limited.id, tags={})
    earlier, runs = Earlier(store.client, main, problem), store.children(limited.id)
    runs = {name.removesuffix(" (reused)"): run for name, run in runs.items()}
    ended = {name: lookup.shown(store.client, run.info.run_id) for name, run in runs.items()}
    found = {task.model: earlier.find(task, ended) for task in plan(problem) if task.step.name == "train"}
    assert found["tree"][0].info.run_id == ended["train tree"].info.run_id
    assert found["logistic_regression"] == (None, f"{too_large[1]} (run {too_large[0].info.run_id})")


def test_a_replay_compares_a_model_that_was_too_large_by_its_digests(store, too_large, tmp_path):
    run, _ = too_large
    told = equality.findings(equality.Pair(store.client, "train logistic_regression", run, run, tmp_path))
    assert {one.subject: one.result for one in told}["model"] == "same"
    assert {one.result for one in told} == {"same"}, told


def test_a_version_without_an_input_example_is_promoted_once_it_has_answered(store, chain):
    ended = store.step("promote", name="tracked_classifier", version="1", alias="shadow", reason="to look at it")
    assert ended.status == 0, ended.stderr


def test_the_best_trials_are_below_their_search_when_the_chain_has_ended(store, tasks):
    found = store.children(tasks["hpo tree"].info.run_id).values()
    assert sorted("tabular.trial" in run.data.tags for run in found) == [False, True, True]


def test_nothing_is_drawn_and_the_tables_are_there(store, tasks):
    left = store.artifacts(tasks["evaluate"])
    assert not [name for name in left if name.endswith(".png")]
    assert {"feature_importance/tree.json", "permutation_importance/tree.json", "thresholds/tree.json"} <= left
    assert "<img" not in store.artifact(tasks["register"], "report.html").read_text()


@pytest.mark.parametrize(("step", "left"), [("predict", "shift.json"), ("monitor", "history.json")])
def test_who_predicts_by_such_a_model_or_monitors_it_draws_nothing_either(store, folder, tasks, tmp_path, step, left):
    output = {"output": str(tmp_path / "out.csv")} if step == "predict" else {}
    ended = store.step(step, model=tasks["train tree"].info.run_id, data=str(folder / "table.csv"), **output)
    assert ended.status == 0, ended.stderr
    assert left in store.artifacts(ended.run)
    assert not [name for name in store.artifacts(ended.run) if name.endswith(".png")]


def test_a_registry_at_another_address_gets_the_version_and_the_alias(store, registry, elsewhere):
    found = registry.client.get_model_version_by_alias("tracked_classifier", "champion")
    assert elsewhere.tags["tabular.outcome"] == "registered"
    assert len(store.versions("tracked_classifier")) == 1
    assert f"export MLFLOW_REGISTRY_URI={registry.uri}" in elsewhere.stdout
    assert Path(found.source.removeprefix("file://"), "MLmodel").is_file()
    assert found.tags["tabular.provenance"].startswith("runs:/")


def test_who_asks_such_a_registry_names_it_in_the_environment(
    store, folder, registry, elsewhere, monkeypatch, tmp_path
):
    about = {"data": str(folder / "table.csv"), "output": str(tmp_path / "out.csv")}
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", registry.uri)
    promoted = store.step("promote", name="tracked_classifier", version="1", alias="shadow", reason="to look at it")
    predicted = store.step("predict", model="models:/tracked_classifier@shadow", **about)
    assert [promoted.status, predicted.status] == [0, 0], promoted.stderr + predicted.stderr
    assert registry.client.get_model_version_by_alias("tracked_classifier", "shadow").version == 1


def test_clean_keeps_what_was_registered_in_a_registry_that_it_does_not_ask(store, registry, elsewhere, monkeypatch):
    monkeypatch.setattr(mlflow, "get_registry_uri", lambda: store.uri)
    tree = Tree(elsewhere.run, (elsewhere.run, *store.children(elsewhere.id).values()), ())
    reason = f"registered in {registry.uri}, which MLFLOW_REGISTRY_URI names"
    assert _kept([tree], Policy(days=0, keep=0), {}) == {elsewhere.id: reason}
    monkeypatch.setattr(mlflow, "get_registry_uri", lambda: registry.uri)
    assert _kept([tree], Policy(days=0, keep=0), {}) == {}
