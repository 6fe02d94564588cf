"""Estimators: any classifier by its import path, and the preprocessing that it is given."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from tabular.data.datasets import Column
from tabular.defaults import MODELS
from tabular.errors import UserError
from tabular.model.estimators import build, defaults, in_terms_of_data, load_class, resolve
from tabular.model.model_checks import check
from tabular.model.preprocessors import preprocessor
from tabular.sections.models import Choice, Model, Preprocessing, Range

LOGISTIC, FOREST, LIGHTGBM = (model["estimator"] for model in MODELS["classification"].values())
COLUMNS = (
    Column("amount", "double", "number"),
    Column("member", "boolean", "number"),
    Column("town", "string", "category"),
    Column("agent", "double", "category"),
)


def made(estimator: str, params: Mapping[str, Any] | None = None, **over: Any) -> Any:
    return build(Model(estimator=estimator, params=dict(params or {})), over, where="models.a", seed=7, threads=2)


def refused(path: str, **params: Any) -> str:
    with pytest.raises(UserError) as caught:
        made(path, params)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("estimator", [LOGISTIC, FOREST, LIGHTGBM, "sklearn.ensemble.HistGradientBoostingClassifier"])
def test_an_estimator_is_an_instance_of_the_class_that_its_path_names(estimator: str) -> None:
    assert type(made(estimator)).__name__ == estimator.rpartition(".")[2]


@pytest.mark.parametrize("estimator", [LOGISTIC, FOREST, LIGHTGBM])
def test_the_problems_seed_is_the_estimators(estimator: str) -> None:
    assert made(estimator).random_state == 7


def test_a_seed_that_the_model_names_stays() -> None:
    assert made(FOREST, {"random_state": 1}).random_state == 1


@pytest.mark.parametrize("estimator", [FOREST, LIGHTGBM])
def test_an_estimator_gets_the_threads(estimator: str) -> None:
    assert made(estimator).n_jobs == 2


def test_an_estimator_without_a_seed_is_built() -> None:
    assert made("sklearn.naive_bayes.GaussianNB").get_params()["priors"] is None


def test_found_parameters_go_over_the_models_own() -> None:
    estimator = made(FOREST, {"n_estimators": 5, "max_depth": 3}, n_estimators=9)
    assert (estimator.n_estimators, estimator.max_depth) == (9, 3)


def test_lightgbm_takes_the_names_of_its_own_that_are_no_arguments() -> None:
    assert made(LIGHTGBM, {"max_bin": 15}).get_params()["max_bin"] == 15


def test_an_unknown_parameter_is_told_with_the_nearest_name() -> None:
    message = refused(FOREST, n_estimator=3)
    assert message.startswith("models.a.params: ")
    assert "'n_estimator', did you mean 'n_estimators'" in message


@pytest.mark.parametrize("name", ["early_stopping_round", "early_stopping_rounds", "n_iter_no_change"])
def test_early_stopping_by_the_scored_rows_is_refused(name: str) -> None:
    assert refused(LIGHTGBM, **{name: 5}).startswith(f"models.a.params: {name} would learn from the rows that score it")


def test_early_stopping_cannot_be_searched_either() -> None:
    space = {"early_stopping": Range(type="int", low=1, high=9)}
    with pytest.raises(UserError, match=r"^models\.a\.space: early_stopping would learn"):
        build(Model(estimator=LIGHTGBM, space=space), {}, where="models.a", seed=0, threads=1)


def test_scikit_learns_own_early_stopping_may_stay() -> None:
    assert made("sklearn.ensemble.GradientBoostingClassifier", {"n_iter_no_change": 5}).n_iter_no_change == 5


def test_a_class_that_the_module_lacks_is_told_with_the_nearest_name() -> None:
    message = refused("sklearn.ensemble.RandomForestClasifier")
    assert message.startswith("models.a.estimator: ")
    assert "'RandomForestClassifier'" in message


@pytest.mark.parametrize("path", ["nowhere.Classifier", "sklearn.nowhere.Classifier"])
def test_a_module_that_is_not_installed_is_told(path: str) -> None:
    assert "spelt right and installed" in refused(path)


def test_a_file_of_the_users_that_fails_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_faulty_estimators.py").write_text("class Mine:\n    depth = dept\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    said = refused("my_faulty_estimators.Mine")
    assert "cannot be imported (NameError: name 'dept' is not defined" in said
    assert said.endswith("mend the file of my_faulty_estimators")


@pytest.mark.parametrize("path", ["sklearn.decomposition.PCA", "sklearn.datasets.load_iris", "json.JSONDecoder"])
def test_what_is_no_classifier_is_told(path: str) -> None:
    assert f"{path} is no classifier: it needs fit and predict_proba" in refused(path)


@pytest.mark.parametrize(
    ("path", "params", "task", "says"),
    [
        ("sklearn.linear_model.LinearRegression", {}, "classification", "predicts a number"),
        ("lightgbm.LGBMRegressor", {}, "classification", "predicts a number"),
        ("lightgbm.LGBMRegressor", {"max_depth": 3}, "classification", "predicts a number"),
        ("sklearn.svm.SVR", {}, "classification", "predicts a number"),
        (LOGISTIC, {}, "regression", "predicts classes"),
        ("sklearn.naive_bayes.GaussianNB", {}, "regression", "predicts classes"),
    ],
)
def test_an_estimator_of_the_other_task_is_told_with_one_of_this(
    path: str, params: dict[str, Any], task: Any, says: str
) -> None:
    with pytest.raises(UserError) as caught:
        check({"mine": Model(estimator=path, params=params)}, task)
    line = str(caught.value)
    assert line.startswith(f"models.mine.estimator: {path} {says}, and the task is {task}: take one such as ")
    advised = line.partition("such as ")[2].partition(", or say")[0].split(", ")
    check({f"m{place}": Model(estimator=one) for place, one in enumerate(advised)}, task)


VOTERS = {
    "forest": {"estimator": FOREST, "params": {"n_estimators": 5}},
    "boosted": {"estimator": LIGHTGBM},
}


@pytest.mark.parametrize(
    ("path", "params", "names"),
    [
        ("sklearn.ensemble.VotingClassifier", {"estimators": VOTERS, "voting": "soft"}, ["forest", "boosted"]),
        ("sklearn.ensemble.StackingClassifier", {"estimators": VOTERS}, ["forest", "boosted"]),
        ("sklearn.pipeline.Pipeline", {"steps": VOTERS}, ["forest", "boosted"]),
    ],
)
def test_named_estimators_are_made_in_their_order_with_the_seed(path: str, params: dict, names: list[str]) -> None:
    if path.endswith("Pipeline"):  # its steps but the last one transform
        params = {"steps": {"scaled": {"estimator": "sklearn.preprocessing.StandardScaler"}, **params["steps"]}}
        params["steps"].pop("forest")
        names = ["scaled", "boosted"]
    found = made(path, params)
    pairs = found.steps if "steps" in params else found.estimators
    assert [name for name, _ in pairs] == names
    assert {one.get_params()["random_state"] for _, one in pairs if "random_state" in one.get_params()} == {7}
    assert ("forest" not in names) or dict(pairs)["forest"].n_estimators == 5


def test_one_estimator_may_be_nested_in_another_to_any_depth() -> None:
    pipeline = {
        "estimator": "sklearn.pipeline.Pipeline",
        "params": {
            "steps": {
                "fewer": {"estimator": "sklearn.decomposition.PCA", "params": {"n_components": 1}},
                "forest": {"estimator": FOREST},
            }
        },
    }
    found = made("sklearn.calibration.CalibratedClassifierCV", {"estimator": pipeline, "method": "isotonic"})
    assert found.estimator.named_steps["fewer"].random_state == 7
    assert found.estimator.named_steps["forest"].random_state == 7


@pytest.mark.parametrize("path", ["sklearn.ensemble.BaggingClassifier", "sklearn.ensemble.AdaBoostClassifier"])
def test_threads_are_of_the_nested_estimators(path: str) -> None:
    found = made(path, {"estimator": {"estimator": FOREST}})
    assert (found.get_params().get("n_jobs", 1), found.estimator.n_jobs) == (1, 2)


@pytest.mark.parametrize("path", ["sklearn.ensemble.BaggingClassifier", ""])
def test_lightgbm_builds_its_trees_in_one_way_wherever_it_stands(path: str) -> None:
    found = made(path, {"estimator": {"estimator": LIGHTGBM}}).estimator if path else made(LIGHTGBM)
    params = found.get_params()
    assert (params["deterministic"], params["force_col_wise"], params["verbose"]) == (True, True, -1)
    rows = made(LIGHTGBM, {"force_row_wise": True}).get_params()
    assert rows["force_row_wise"] and "force_col_wise" not in rows
    assert "verbose" not in made(LIGHTGBM, {"verbosity": 0}).get_params()


@pytest.mark.slow
def test_the_memory_of_lightgbm_is_bounded_however_many_columns_there_are() -> None:
    """Without a bound, these rows take 6 GB."""
    ask = """
import resource
import numpy as np
from tabular.model.estimators import build
from tabular.sections.models import Model
X = np.random.default_rng(0).normal(size=(200, 20_000))
params = {"num_leaves": 255, "n_estimators": 2, "min_child_samples": 5}
model = Model(estimator="lightgbm.LGBMClassifier", params=params)
build(model, {}, where="models.a", seed=0, threads=1).fit(X, X[:, 0] > 0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
    done = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 1_500


def test_a_nested_parameter_may_be_given_and_searched_by_its_long_name() -> None:
    forest = {"estimator": {"estimator": FOREST}, "estimator__max_depth": 3}
    assert made("sklearn.ensemble.BaggingClassifier", forest).estimator.max_depth == 3
    assert made("sklearn.ensemble.BaggingClassifier", forest, estimator__max_depth=4).estimator.max_depth == 4
    model = Model(
        estimator="sklearn.ensemble.BaggingClassifier",
        params={"estimator": {"estimator": FOREST}},
        space={"estimator__max_depth": Range(type="int", low=2, high=9)},
    )
    assert defaults(model) == {"estimator__max_depth": None}
    wrong = model.model_copy(update={"space": {"estimator__max_deep": Range(type="int", low=2, high=9)}})
    with pytest.raises(
        UserError, match=r"^models\.a\.space: .*'estimator__max_deep', did you mean 'estimator__max_depth'"
    ):
        build(wrong, {}, where="models.a", seed=0, threads=1)


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("sklearn.ensemble.VotingClassifier", "estimators: {name: {estimator: its.import.Path, params: {…}}, …}"),
        ("sklearn.pipeline.Pipeline", "steps: {name: {estimator: its.import.Path, params: {…}}, …}"),
        ("sklearn.multiclass.OneVsRestClassifier", "estimator: {estimator: its.import.Path, params: {…}}"),
    ],
)
def test_a_class_that_needs_arguments_is_told_how_they_are_given(path: str, advice: str) -> None:
    name = advice.partition(":")[0]
    assert refused(path).endswith(f"cannot be made without {name}: give it in params, as in `params: {{{advice}}}`")
    filled = yaml.safe_load(advice.replace("its.import.Path, params: {…}", LOGISTIC).replace(", …", ""))
    given = {"voting": "soft"} if "Voting" in path else {}
    assert hasattr(made(path, {**filled, **given}), "predict_proba")


def test_a_vote_without_probabilities_is_told_the_way_to_some() -> None:
    assert refused("sklearn.ensemble.VotingClassifier", estimators=VOTERS).endswith("; with voting: soft it does")


@pytest.mark.parametrize(
    ("inner", "says"),
    [
        ({"estimator": "sklearn.nowhere.Classifier"}, "params.estimator.estimator: 'sklearn.nowhere.Classifier'"),
        ({"estimator": FOREST, "params": {"n_estimator": 3}}, "params.estimator.params: "),
        (
            {"estimator": LIGHTGBM, "params": {"early_stopping_round": 3}},
            "params.estimator.params: early_stopping_round",
        ),
        ({"estimator": "json.JSONDecoder"}, "params.estimator.estimator: json.JSONDecoder is no estimator"),
    ],
)
def test_a_fault_of_a_nested_estimator_names_its_place(inner: dict, says: str) -> None:
    assert refused("sklearn.ensemble.BaggingClassifier", estimator=inner).startswith(f"models.a.{says}")


def test_a_list_is_a_tuple_where_scikit_learn_has_one() -> None:
    path = "sklearn.neural_network.MLPClassifier"
    assert made(path, {"hidden_layer_sizes": [32, 16]}).hidden_layer_sizes == (32, 16)
    assert made(path, hidden_layer_sizes=[8]).hidden_layer_sizes == (8,)
    assert made("sklearn.neighbors.RadiusNeighborsClassifier", {"outlier_label": [0]}).outlier_label == [0]


def test_the_default_of_a_searched_list_is_a_list() -> None:
    sizes = Choice(type="choice", options=[[100], [32, 16]])
    model = Model(estimator="sklearn.neural_network.MLPClassifier", space={"hidden_layer_sizes": sizes})
    assert defaults(model) == {"hidden_layer_sizes": [100]}


def in_terms(estimator: str, columns: Sequence[Column] = COLUMNS, how: Any = None, **params: Any) -> dict[str, Any]:
    model = Model(estimator=estimator, params=params, preprocessing=how or Preprocessing())
    return in_terms_of_data(model, "models.a", columns, ["no", "yes"], 1).params


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (LIGHTGBM, "monotone_constraints"),
        ("sklearn.ensemble.HistGradientBoostingClassifier", "monotonic_cst"),
        (FOREST, "monotonic_cst"),
    ],
)
def test_a_monotone_column_is_so_in_the_answers(path: str, name: str) -> None:
    generator = np.random.default_rng(0)
    rows = 400
    X = pd.DataFrame(
        {
            "agent": generator.choice([1.0, 2.0], rows),
            "amount": generator.normal(size=rows),
            "town": np.array(["a", "b"], dtype=object)[generator.integers(0, 2, rows)],
            "member": generator.integers(0, 2, rows).astype(float),
        }
    )
    y = (X["amount"] + generator.normal(size=rows) > 0).to_numpy().astype(int)
    probe = pd.DataFrame({"agent": 1.0, "amount": np.linspace(-3, 3, 60), "town": "a", "member": 1.0})
    probe["town"] = probe["town"].astype(object)

    def answers(**constraint: Any) -> np.ndarray:
        model = Model(estimator=path, params=constraint)
        told = in_terms_of_data(model, "models.a", COLUMNS, ["no", "yes"], 1)
        features = preprocessor(COLUMNS, resolve(told), sparse=False)
        estimator = build(told, {}, where="models.a", seed=0, threads=1).fit(features.fit_transform(X), y)
        return estimator.predict_proba(features.transform(probe))[:, 1]

    assert (np.diff(answers()) < -1e-9).any()
    assert (np.diff(answers(**{name: {"amount": 1}})) >= -1e-9).all()
    assert (np.diff(answers(**{name: {"amount": -1}})) <= 1e-9).all()


def test_constraints_of_columns_are_in_the_order_of_encoded_columns() -> None:
    given = {"member": -1, "amount": 1}
    assert in_terms(LIGHTGBM, monotone_constraints=given)["monotone_constraints"] == [1, -1, 0, 0]
    assert in_terms("xgboost.XGBClassifier", monotone_constraints=given)["monotone_constraints"] == "(1,-1,0,0)"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"amout": 1}, "the data set has no column 'amout', did you mean 'amount'"),
        ({"town": 1}, "'town' is a category, which has no order: leave it out, or make it a number"),
        ({"amount": 2}, "'amount' has 2; 1 is upwards, -1 downwards, 0 either"),
    ],
)
def test_a_constraint_that_cannot_be_kept_is_told(given: dict[str, float], says: str) -> None:
    with pytest.raises(UserError, match=r"^models\.a\.params\.monotone_constraints: ") as caught:
        in_terms(LIGHTGBM, monotone_constraints=given)
    assert says in str(caught.value)


def test_a_constraint_is_about_the_positive_class_of_two() -> None:
    model = Model(estimator=LIGHTGBM, params={"monotone_constraints": {"member": -1, "amount": 1}})
    first = in_terms_of_data(model, "models.a", COLUMNS, ["bad", "good"], 0)
    assert first.params["monotone_constraints"] == [-1, 1, 0, 0]
    with pytest.raises(UserError, match="it is about a probability of two classes, and the target has 3"):
        in_terms_of_data(model, "models.a", COLUMNS, ["a", "b", "c"], 0)


def test_constraints_beside_one_hot_columns_are_told_the_way_out() -> None:
    how = Preprocessing(categories="onehot")
    with pytest.raises(UserError, match=r"preprocessing: \{categories: ordinal\}"):
        in_terms(LIGHTGBM, how=how, monotone_constraints={"amount": 1})
    assert in_terms(LIGHTGBM, COLUMNS[:2], how, monotone_constraints={"amount": 1})["monotone_constraints"] == [1, 0]


def test_weights_of_classes_go_by_position_in_nested_estimators_too() -> None:
    weights = {"class_weight": {"yes": 3, "no": 1}}
    assert in_terms(FOREST, **weights)["class_weight"] == {0: 1, 1: 3}
    voters = {"a": {"estimator": FOREST, "params": weights}, "b": {"estimator": LIGHTGBM}}
    nested = in_terms("sklearn.ensemble.VotingClassifier", estimators=voters, voting="soft")["estimators"]
    assert nested["a"].params["class_weight"] == {0: 1, 1: 3}
    with pytest.raises(UserError, match=r"estimators\.a\.params\.class_weight: 'maybe' is no class of the target"):
        voters["a"]["params"] = {"class_weight": {"maybe": 1}}
        in_terms("sklearn.ensemble.VotingClassifier", estimators=voters, voting="soft")


@pytest.mark.parametrize("path", ["sklearn.svm.SVC", "sklearn.linear_model.SGDClassifier"])
def test_a_class_that_gives_no_probabilities_by_default_is_told(path: str) -> None:
    assert refused(path) == f"models.a.params: {path} gives no probabilities with these parameters"


def test_a_class_that_gives_probabilities_with_a_parameter_is_built_with_it() -> None:
    assert made("sklearn.linear_model.SGDClassifier", {"loss": "log_loss"}).loss == "log_loss"


def test_load_class_names_the_key_that_asked() -> None:
    with pytest.raises(UserError, match=r"^models\.mine\.estimator: "):
        load_class("no.Such", "models.mine.estimator")


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (LOGISTIC, ("onehot", "standardize", "impute")),
        (FOREST, ("ordinal", "as_is", "keep")),
        (LIGHTGBM, ("ordinal", "as_is", "keep")),
        ("sklearn.ensemble.GradientBoostingClassifier", ("ordinal", "as_is", "impute")),
        ("sklearn.svm.SVC", ("onehot", "standardize", "impute")),
        ("xgboost.XGBClassifier", ("ordinal", "as_is", "keep")),
        ("catboost.CatBoostClassifier", ("ordinal", "as_is", "keep")),
    ],
)
def test_preprocessing_follows_the_kind_of_estimator(estimator: str, expected: tuple[str, ...]) -> None:
    how = resolve(Model(estimator=estimator))
    assert (how.categories, how.numbers, how.missing) == expected


def test_preprocessing_follows_what_is_nested() -> None:
    trees = {"a": {"estimator": FOREST}, "b": {"estimator": LIGHTGBM}}
    path = "sklearn.ensemble.VotingClassifier"
    how = resolve(Model(estimator=path, params={"estimators": trees, "voting": "soft"}))
    assert (how.categories, how.numbers, how.missing) == ("ordinal", "as_is", "keep")
    trees["c"] = {"estimator": LOGISTIC}
    how = resolve(Model(estimator=path, params={"estimators": trees, "voting": "soft"}))
    assert (how.categories, how.numbers, how.missing) == ("onehot", "standardize", "impute")


def test_preprocessing_that_the_problem_asks_for_stays() -> None:
    chosen = Preprocessing(categories="onehot", numbers="standardize", missing="impute")
    assert resolve(Model(estimator=LIGHTGBM, preprocessing=chosen)) == chosen
