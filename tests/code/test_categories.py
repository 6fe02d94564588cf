"""Categories as the models like them: by the target, or as codes that an estimator reads as categories."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabular.data.datasets import Column
from tabular.data.folds import cut
from tabular.defaults import SPACES
from tabular.errors import CandidateError, UserError
from tabular.model import cross_validation, training
from tabular.model.estimators import defaults, in_terms_of_data
from tabular.model.model_checks import check
from tabular.model.tasks import Classification, Regression, Task
from tabular.model.training import Candidate
from tabular.search import racing
from tabular.search.racing import TrialRunner, parts
from tabular.search.search import Point, search
from tabular.sections.models import Model

COLUMNS = (Column("amount", "double", "number"), Column("town", "string", "category"))
LIGHTGBM, LOGISTIC = "lightgbm.LGBMClassifier", "sklearn.linear_model.LogisticRegression"
RIDGE, HISTOGRAMS = "sklearn.linear_model.Ridge", "sklearn.ensemble.HistGradientBoostingClassifier"
XGBOOST, CATBOOST = "xgboost.XGBClassifier", "catboost.CatBoostClassifier"
# One split, of any set of categories.
STUMPS: dict[str, dict[str, Any]] = {
    LIGHTGBM: {"n_estimators": 1, "num_leaves": 2, "min_data_per_group": 1, "cat_smooth": 0},
    HISTOGRAMS: {"max_iter": 1, "max_leaf_nodes": 2},
    XGBOOST: {"n_estimators": 1, "max_depth": 1, "max_cat_to_onehot": 1},
    CATBOOST: {"iterations": 60, "depth": 1},  # it makes numbers of categories by the target, row after row
}
TWO = Classification(2, 1)


def rows(names: Any) -> pd.DataFrame:
    """A row for each town, with amounts that tell nothing."""
    amount = np.random.default_rng(1).normal(size=len(names))
    return pd.DataFrame({"amount": amount, "town": np.array(names, dtype=object)})


def candidate(estimator: str, task: Task = TWO, *, seed: int = 0, **how: Any) -> Candidate:
    model = Model.model_validate({"estimator": estimator, "preprocessing": {"categories": "target", **how}})
    return Candidate("m", model, {}, COLUMNS, task, seed=seed)


def towns(of: Candidate, X: pd.DataFrame, y: np.ndarray) -> tuple[Any, np.ndarray]:
    """The fitted preprocessor, and what the towns of the training rows have become."""
    features, X_encoded = training.encode(of, X, y, sparse=False)
    return features, X_encoded[:, 1:]


def test_a_training_row_is_not_encoded_by_its_own_class() -> None:
    y = np.random.default_rng(0).integers(0, 2, 1000)
    X = rows([f"town {number // 2}" for number in range(1000)])
    features, encoded = towns(candidate(LIGHTGBM), X, y)
    assert abs(np.corrcoef(encoded[:, 0], y)[0, 1]) < 0.1
    assert np.corrcoef(features.transform(X)[:, 1], y)[0, 1] > 0.6  # as those rows would be that are not learnt from


def test_categories_that_tell_nothing_do_not_fool_a_model() -> None:
    y = np.random.default_rng(0).integers(0, 2, 1000)
    X = rows([f"town {number // 2}" for number in range(1000)])
    folds = cut(y, None, by="random", folds=3, seed=0)
    alike = np.repeat(y[::2], 2)  # the truth of a fold is the town's in the others
    told, blind = (
        cross_validation.cross_validate(candidate(LOGISTIC), X, truth, folds, threads=1, names=["roc_auc"]).summary()
        for truth in (alike, y)
    )
    assert told["cv_roc_auc_mean"] > 0.75
    assert abs(blind["cv_roc_auc_mean"] - 0.5) < 0.06


def test_other_rows_are_encoded_by_the_share_of_the_class_and_unseen_towns_by_that_of_all() -> None:
    y = np.tile([0, 0, 1, 1, 1, 1], 50)
    X = rows(["a", "a", "a", "b", "b", np.nan] * 50)
    features, _ = towns(candidate(LIGHTGBM), X, y)
    a, b, missing, unseen = features.transform(rows(["a", "b", np.nan, "z"]))[:, 1]
    assert a == pytest.approx(1 / 3, abs=0.01)
    assert b == missing == pytest.approx(1, abs=0.01)
    assert unseen == pytest.approx(4 / 6)


def test_of_several_classes_a_column_is_made_for_each() -> None:
    y = np.tile([0, 1, 2, 2], 50)
    X = rows(["a", "b", "b", "c"] * 50)
    features, encoded = towns(candidate(LIGHTGBM, Classification(3, 0)), X, y)
    assert encoded.shape == (200, 3)
    assert features.transform(rows(["b"]))[0, 1:] == pytest.approx([0, 0.5, 0.5], abs=0.02)


def test_a_number_is_encoded_on_the_scale_on_which_it_is_learnt() -> None:
    y = np.tile([1.0, 100.0, 10_000.0, 10_000.0], 50)
    X = rows(["a", "a", "b", "b"] * 50)
    features, _ = towns(candidate("lightgbm.LGBMRegressor", Regression("log")), X, y)
    assert features.transform(rows(["a", "b"]))[:, 1] == pytest.approx(np.log([10, 10_000]), abs=0.02)


def test_whole_numbers_are_no_classes() -> None:
    y = np.tile([1.0, 2.0, 3.0, 3.0], 50)
    _, encoded = towns(candidate("lightgbm.LGBMRegressor", Regression()), rows(["a", "a", "b", "b"] * 50), y)
    assert encoded.shape == (200, 1)


def test_a_model_of_standardized_numbers_gets_standardized_means() -> None:
    y = np.random.default_rng(0).normal(1e6, 1e3, 300)
    _, encoded = towns(candidate(RIDGE, Regression()), rows(["a", "b", "c"] * 100), y)
    assert (encoded.mean(), encoded.std()) == pytest.approx((0, 1))


def test_the_same_seed_cuts_the_same_parts_and_another_seed_others() -> None:
    y = np.random.default_rng(0).integers(0, 2, 100)
    X = rows([f"town {number % 9}" for number in range(100)])
    one, again, other = (towns(candidate(LIGHTGBM, seed=seed), X, y)[1].tobytes() for seed in (0, 0, 1))
    assert one == again != other


@pytest.mark.parametrize("task", [Classification(3, 0), Regression()], ids=lambda task: task.name)
def test_a_class_of_one_row_is_encoded_without_a_warning(task: Task, recwarn: pytest.WarningsRecorder) -> None:
    y = np.array([0] * 50 + [1] * 49 + [2])
    estimator = LIGHTGBM if task.name == "classification" else "lightgbm.LGBMRegressor"
    _, encoded = towns(candidate(estimator, task), rows(["a", "b"] * 50), y)
    assert np.isfinite(encoded).all()
    assert not recwarn.list


def test_fewer_rows_than_parts_are_told_in_one_line() -> None:
    with pytest.raises(CandidateError, match=r"^models\.m\.preprocessing\.categories: target encoding refuses") as told:
        towns(candidate(LIGHTGBM), rows(["a", "b", "a"]), np.array([0, 1, 1]))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("estimator", "categories"),
    [(LIGHTGBM, "target"), (LOGISTIC, "target"), (LIGHTGBM, "native"), (HISTOGRAMS, "native")],
)
def test_a_trial_scores_what_its_cross_validation_does(estimator: str, categories: str) -> None:
    generator = np.random.default_rng(0)
    places = generator.integers(0, 40, 600)
    X, y = rows([f"town {place}" for place in places]), (places % 4 + generator.normal(size=600) > 2).astype(int)
    folds = cut(y, None, by="random", folds=3, seed=0)
    one = candidate(estimator, categories=categories)
    runner = TrialRunner(one, X, y, parts(folds, latest_first=False, seed=0), "roc_auc")
    runner.prepare()
    found = runner.run(Point({}, is_given=True))
    of_found = replace(one, params=found.found)
    whole = cross_validation.cross_validate(of_found, X, y, folds, threads=1, names=["roc_auc"])
    assert found.parts == pytest.approx([one["roc_auc"] for one in whole.scores], abs=1e-9)


def test_what_is_told_of_training_rows_is_told_as_they_were_learnt_from() -> None:
    y = np.random.default_rng(0).normal(size=400)
    X, some = rows([f"town {number // 2}" for number in range(400)]), np.arange(0, 400, 3)
    one = candidate("lightgbm.LGBMRegressor", Regression())
    fitted = training.fit(one, X, y, threads=1)
    found = training.encoded_to_learn(one, fitted, X, y, some)
    assert np.array_equal(found, training.encode(one, X, y, sparse=False)[1][some])
    assert not np.array_equal(found, fitted.preprocessor.transform(X.iloc[some]))


def stump(estimator: str, **how: Any) -> Candidate:
    pytest.importorskip(estimator.partition(".")[0], reason="requirements-boosting.txt is not installed here")
    return replace(candidate(estimator, **{"categories": "native", **how}), params=STUMPS[estimator])


def of_even_towns(towns: int = 20, each: int = 50) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows whose class is 1 in every second town."""
    places = np.tile(np.arange(towns), each)
    return rows([f"town {place:03}" for place in places]), places % 2


@pytest.mark.parametrize("estimator", STUMPS)
def test_one_split_tells_any_set_of_native_categories_apart(estimator: str) -> None:
    X, y = of_even_towns()
    apart, in_order = (
        training.fit(stump(estimator, categories=categories), X, y, threads=1).outputs(X)[:, 1]
        for categories in ("native", "ordinal")
    )
    assert apart[y == 1].min() > apart[y == 0].max()
    assert in_order[y == 1].min() <= in_order[y == 0].max()


@pytest.mark.parametrize("missing", ["keep", "impute"])
@pytest.mark.parametrize("estimator", STUMPS)
def test_a_town_that_was_never_seen_is_answered_as_a_missing_one(estimator: str, missing: str) -> None:
    X, y = of_even_towns()
    X.loc[::30, "town"] = np.nan
    fitted = training.fit(stump(estimator, missing=missing), X, y, threads=1)
    asked = X.head(2).assign(town=np.array([np.nan, "nowhere"], dtype=object), amount=0.0)
    one, other = fitted.outputs(asked)
    assert np.array_equal(one, other)


@pytest.mark.parametrize("params", [{}, {"max_bins": 31}])
def test_of_more_categories_than_there_are_bins_for_the_rarest_share_one(params: dict[str, Any]) -> None:
    X, y = of_even_towns(towns=400, each=3)
    often = X["town"] < "town 008"
    X, y = pd.concat([X, *[X[often]] * 20], ignore_index=True), np.concatenate([y, *[y[often]] * 20])
    one = stump(HISTOGRAMS)
    one = replace(one, model=one.model.model_copy(update={"params": params}))
    fitted = training.fit(one, X, y, threads=1)
    found = fitted.preprocessor.transform(X)[:, 1]
    assert len(np.unique(found)) == params.get("max_bins", 255)
    kept = found[(X["town"] < "town 008").to_numpy()]
    assert len(np.unique(kept)) == 8


def test_bins_that_a_search_may_try_limit_the_categories_of_all_its_trials() -> None:
    X, y = of_even_towns(towns=100, each=20)
    space = {"max_bins": {"type": "int", "low": 40, "high": 200}}
    model = {"estimator": HISTOGRAMS, "preprocessing": {"categories": "native"}, "space": space}
    one = replace(stump(HISTOGRAMS), model=Model.model_validate(model))
    folds = cut(y, None, by="random", folds=2, seed=0)
    runner = TrialRunner(one, X, y, parts(folds, latest_first=False, seed=0), "roc_auc")
    for bins in (40, 200):
        assert runner.run(Point({"max_bins": bins}, is_given=True)).is_complete


@pytest.mark.parametrize("estimator", [LIGHTGBM, HISTOGRAMS, XGBOOST])
def test_a_number_may_be_monotone_beside_native_categories(estimator: str) -> None:
    X, y = of_even_towns()
    y = (X["amount"] + np.random.default_rng(2).normal(size=len(X)) > 0).to_numpy().astype(int)
    name = "monotonic_cst" if estimator == HISTOGRAMS else "monotone_constraints"
    one = stump(estimator)
    model = one.model.model_copy(update={"params": {name: {"amount": -1}}})
    told = in_terms_of_data(model, "models.m", COLUMNS, ["no", "yes"], 1)
    fitted = training.fit(replace(one, model=told, params={}), X, y, threads=1)
    asked = X.head(1).loc[[0] * 50].assign(amount=np.linspace(-3, 3, 50))
    assert (np.diff(fitted.outputs(asked)[:, 1]) <= 1e-9).all()


def test_a_direction_that_catboost_would_not_keep_is_refused() -> None:
    params = {"monotone_constraints": {"amount": 1}}
    for categories, is_refused in (("native", True), ("ordinal", False)):
        how = {"categories": categories}
        model = Model.model_validate({"estimator": CATBOOST, "params": params, "preprocessing": how})
        with pytest.raises(UserError, match="CatBoost keeps no direction") if is_refused else nullcontext():
            in_terms_of_data(model, "models.m", COLUMNS, ["no", "yes"], 1)


def test_a_native_category_has_no_direction() -> None:
    params = {"monotone_constraints": {"town": 1}}
    model = Model.model_validate({"estimator": LIGHTGBM, "params": params, "preprocessing": {"categories": "native"}})
    with pytest.raises(UserError, match="'town' is a category, which has no order"):
        in_terms_of_data(model, "models.m", COLUMNS, ["no", "yes"], 1)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"estimator": LOGISTIC}, "LogisticRegression reads numbers: take onehot, ordinal or target"),
        ({"estimator": "sklearn.ensemble.RandomForestClassifier"}, "reads numbers: take onehot, ordinal or target"),
        (
            {"estimator": LIGHTGBM, "preprocessing": {"steps": ["sklearn.decomposition.PCA"]}},
            "after preprocessing.steps no column is a category: leave one of the two out",
        ),
        (
            {"estimator": LIGHTGBM, "params": {"cat_feature": [1]}},
            "says which columns are categories, and so does cat_feature: leave one of the two out",
        ),
    ],
)
def test_native_categories_that_cannot_be_are_told_before_anything_runs(model: dict[str, Any], says: str) -> None:
    how = {**model.get("preprocessing", {}), "categories": "native"}
    with pytest.raises(UserError, match=r"^models\.m\.preprocessing\.categories: native") as told:
        check({"m": Model.model_validate({**model, "preprocessing": how})}, "classification")
    assert says in str(told.value)
    assert "\n" not in str(told.value)


def test_a_table_without_categories_may_be_native() -> None:
    X, y = of_even_towns()
    one = replace(stump(LIGHTGBM), columns=COLUMNS[:1])
    assert training.fit(one, X[["amount"]], y, threads=1).outputs(X[["amount"]]).shape == (len(X), 2)


def test_lightgbm_says_nothing_of_native_categories(recwarn: pytest.WarningsRecorder, capfd: Any) -> None:
    X, y = of_even_towns()
    folds = cut(y, None, by="random", folds=2, seed=0)
    one = candidate(LIGHTGBM, categories="native")
    cross_validation.cross_validate(one, X, y, folds, threads=1, curves=True)
    TrialRunner(one, X, y, parts(folds, latest_first=False, seed=0), "roc_auc").run(Point({}, is_given=True))
    assert not recwarn.list
    assert not "".join(capfd.readouterr())


# The treatment as a dimension of a search.

CATEGORIES = "preprocessing.categories"
ANY = {"type": "choice", "options": ["ordinal", "native", "target"]}
LEAVES = {"type": "int", "low": 2, "high": 16}


def searched(estimator: str = LIGHTGBM, space: Any = None, **model: Any) -> Candidate:
    """A candidate whose treatment of categories is searched, beside its leaves."""
    space = {CATEGORIES: ANY, "num_leaves": LEAVES} if space is None else space
    made = Model.model_validate({"estimator": estimator, "space": space, **model})
    return Candidate("m", made, {}, COLUMNS, TWO, seed=0)


def runner_of(one: Candidate, X: pd.DataFrame, y: np.ndarray) -> TrialRunner:
    folds = cut(y, None, by="random", folds=3, seed=0)
    made = TrialRunner(one, X, y, parts(folds, latest_first=False, seed=0), "roc_auc")
    made.prepare()
    return made


def test_each_trial_is_of_the_treatment_that_it_says() -> None:
    X, y = of_even_towns()
    y = (y + np.random.default_rng(3).normal(size=len(y)) + X["amount"] > 1).to_numpy().astype(int)
    runner = runner_of(searched(), X, y)
    scores = {}
    for how in ("native", "ordinal", "target"):
        found = runner.run(Point({CATEGORIES: how, "num_leaves": 3}, is_given=True))
        alone = runner_of(candidate(LIGHTGBM, categories=how), X, y).run(Point({"num_leaves": 3}, is_given=True))
        assert (found.parts, found.found) == (alone.parts, alone.found)
        scores[how] = found.score
    assert len(set(scores.values())) == 3


def test_a_trial_that_does_not_say_is_of_the_models_own_treatment() -> None:
    X, y = of_even_towns()
    runner = runner_of(searched(preprocessing={"categories": "target"}), X, y)
    silent, told = (runner.run(Point(point, is_given=True)) for point in ({}, {CATEGORIES: "target"}))
    assert silent.parts == told.parts


def test_rows_are_encoded_once_for_each_treatment_before_the_first_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded, encode = [], training.encode

    def counted(one: Candidate, *args: Any, **how: Any) -> Any:
        encoded.append(one.treated.preprocessing.categories)
        return encode(one, *args, **how)

    monkeypatch.setattr(racing.training, "encode", counted)
    X, y = of_even_towns()
    runner = runner_of(searched(), X, y)
    assert sorted(encoded) == sorted(["ordinal", "native", "target"] * 3)
    for how in ANY["options"]:
        runner.run(Point({CATEGORIES: how, "num_leaves": 5}, is_given=True))
    assert len(encoded) == 9


def test_a_search_finds_the_treatment_that_pays_and_its_fit_is_of_it() -> None:
    X, y = of_even_towns()
    one = searched(space={CATEGORIES: {**ANY, "options": ["ordinal", "native"]}}, params=STUMPS[LIGHTGBM])
    with ThreadPoolExecutor(1) as executor:
        about: dict[str, Any] = {"start": [defaults(one.model)], "trials": 6, "seed": 0, "executor": executor}
        found = search(runner_of(one, X, y).run, one.model.space, **about)
    assert found[0].params == {CATEGORIES: "ordinal"}
    winner = max(found, key=lambda trial: trial.score or 0)
    assert winner.params == {CATEGORIES: "native"}
    best = replace(one, params=winner.params)
    fitted = training.fit(best, X, y, threads=1).outputs(X)[:, 1]
    assert fitted[y == 1].min() > fitted[y == 0].max()
    assert training.hyperparameters(best)["preprocessing_categories"] == "native"
    assert CATEGORIES not in training.hyperparameters(best)


def test_treatments_are_combined_with_each_other_and_with_those_of_starting_points() -> None:
    missing = {"type": "choice", "options": ["keep", "impute"]}
    below = [{"value": "onehot", "space": {"preprocessing.missing": missing}}, "ordinal"]
    model = searched(
        space={CATEGORIES: {"type": "choice", "options": below}}, start=[{CATEGORIES: "target"}, {"num_leaves": 3}]
    ).model
    assert [tuple(one.values()) for one in model.treatments()] == [
        (categories, missing) for categories in ("onehot", "ordinal", "target") for missing in ("keep", "impute")
    ]
    assert Model(estimator=LIGHTGBM).treatments() == [{}]


def test_the_defaults_of_a_search_say_the_models_own_treatment() -> None:
    assert defaults(searched().model) == {"num_leaves": 31, "n_estimators": 100, CATEGORIES: "ordinal"}
    of_target = searched(preprocessing={"categories": "target"}).model
    assert defaults(of_target)[CATEGORIES] == "target"


def test_native_categories_that_only_a_trial_would_ask_for_are_told_before_anything_runs() -> None:
    model = searched(LOGISTIC, {CATEGORIES: ANY, "C": {"type": "float", "low": 0.1, "high": 1.0}}).model
    with pytest.raises(UserError, match=r"^models\.m\.preprocessing\.categories: native is for LightGBM"):
        check({"m": model}, "classification")


def test_a_direction_beside_columns_that_a_trial_may_one_hot_encode_is_told_the_way_out() -> None:
    one = searched(
        space={CATEGORIES: {"type": "choice", "options": ["ordinal", "onehot"]}},
        params={"monotone_constraints": {"amount": 1}},
    )
    with pytest.raises(UserError, match=r"preprocessing: \{categories: ordinal\}"):
        in_terms_of_data(one.model, "models.m", COLUMNS, ["no", "yes"], 1)


def test_a_treatment_that_the_problem_fixes_is_not_searched_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = {"params": {}, "space": {CATEGORIES: ANY, "num_leaves": LEAVES}, "start": []}
    monkeypatch.setitem(SPACES, LIGHTGBM, usual)  # type: ignore[arg-type]
    values = {"estimator": LIGHTGBM, "space": "default"}
    assert list(Model.model_validate(values).space) == [CATEGORIES, "num_leaves"]
    fixed = Model.model_validate({**values, "preprocessing": {"categories": "onehot"}})
    assert list(fixed.space) == ["num_leaves"]
