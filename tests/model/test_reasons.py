"""Reasons: what each column adds to an answer sums to it, and is what Shapley values are by their definition."""

import dataclasses
import itertools
import math
import sys
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import made
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from scipy.special import logit
from threadpoolctl import threadpool_limits

from steps.evaluation import contributions
from steps.model import flavor, own_features, served
from tabular.data import datasets
from tabular.model import calibration, tasks, training
from tabular.model.intervals import Intervals
from tabular.sections.models import Model

pytestmark = pytest.mark.slow

ENDS = Intervals((0.5,), (-1.0,), (1.0,), None, 0.0, "", {})
EXACT = {"rel": 0, "abs": 1e-6}
CLASSIFIERS: dict[str, tuple[str, dict[str, Any]]] = {
    **made.ESTIMATORS,
    "extra_trees": ("sklearn.ensemble.ExtraTreesClassifier", {"n_estimators": 10, "max_depth": 6}),
    "histograms": ("sklearn.ensemble.HistGradientBoostingClassifier", {"max_iter": 10}),
}
REGRESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "ridge": ("sklearn.linear_model.Ridge", {}),
    "random_forest": ("sklearn.ensemble.RandomForestRegressor", {"n_estimators": 10}),
    "lightgbm": ("lightgbm.LGBMRegressor", {"n_estimators": 20}),
    "lightgbm of counts": ("lightgbm.LGBMRegressor", {"n_estimators": 20, "objective": "poisson"}),
    "histograms": ("sklearn.ensemble.HistGradientBoostingRegressor", {"max_iter": 10}),
    "linear trees": ("lightgbm.LGBMRegressor", {"n_estimators": 20, "linear_tree": True}),
}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "net": ("sklearn.neural_network.MLPClassifier", {"max_iter": 60, "hidden_layer_sizes": [8]}),
    "neighbours": ("sklearn.neighbors.KNeighborsClassifier", {"n_neighbors": 20}),
    "linear trees": ("lightgbm.LGBMClassifier", {"n_estimators": 5, "linear_tree": True}),
}
FORMS = ["random_forest", "lightgbm", "histograms"]
# The scale of each kind's reasons, of two classes.
ODDS, PROBABILITY = "log odds of yes", "probability of yes"
SCALES = {"logistic_regression": ODDS, "lightgbm": ODDS, "histograms": ODDS}
# The code of reasons as a model runs it.
reasons: Any = sys.modules[served._reasons().__module__]
Shelf = Callable[..., served.TabularModel]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As in the other tests of models."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> made.Data:
    return made.prepare(made.table_of_numbers(), tmp_path_factory.mktemp("numbers"), task="regression")


@pytest.fixture(scope="module")
def served_of(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """A model as it is served, of an estimator and its parameters; asked for again it is the same."""
    found: dict[str, served.TabularModel] = {}

    def get(data: made.Data, estimator: str, params: Any, how: Any = None, transform: Any = "none", **about: Any):
        key = repr((id(data), estimator, params, how, transform, about))
        if key not in found:
            folder = tmp_path_factory.mktemp("model")
            found[key] = flavor.of_parts(written(data, folder, estimator, params, how, transform, **about))
            found[key].parts = folder / "model"  # type: ignore[attr-defined]
        return found[key]

    return get


def written(data: made.Data, folder: Path, estimator: str, params: Any, how: Any, transform: Any, **about: Any) -> Path:
    classes = data.schema.classes
    task = tasks.Classification(len(classes), data.schema.positive) if classes else tasks.Regression(transform)
    model = Model.model_validate({"estimator": estimator, "params": params, "preprocessing": how or {}})
    X = own_features.with_dates(data.X, data.schema, model.preprocessing.dates)
    fitted = training.fit(training.Candidate("it", model, {}, data.schema.columns, task, seed=0), X, data.y, threads=1)
    about |= {} if classes else {"intervals": ENDS, "coverage": 0.5}
    return flavor.write(fitted, data.schema, folder, **about).parts


def blend_of(data: made.Data, folder: Path, weights: dict[float, served.TabularModel], **about: Any):
    """A blend of models, by their weights."""
    members = {
        f"member {number}": (weight, flavor.Written(one.parts, []))  # type: ignore[attr-defined]
        for number, (weight, one) in enumerate(weights.items())
    }
    about |= {} if data.schema.classes else {"intervals": ENDS, "coverage": 0.5}
    return flavor.of_parts(flavor.write_blend(members, data.schema, folder, **about)[0])


def total(answer: pd.DataFrame) -> np.ndarray:
    """What the base value, the reasons and the others sum to."""
    return answer.filter(regex="^base_value$|_value$").sum(axis=1).to_numpy()


def odd(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows with a category that was never seen, one with all values missing, and ordinary ones."""
    rows = frame.head(40).reset_index(drop=True).astype({"town": object})
    rows.loc[0, "town"] = "Braga"
    rows.loc[1, "agent"] = 999
    rows.loc[2] = None
    return rows.astype({"amount": float, "visits": float, "agent": float})


def shapley(columns: int, worth: Callable[[Collection[int]], float]) -> np.ndarray:
    """The Shapley values of a game, by their definition: L. Shapley, "A value for n-person games", 1953."""
    found, every = np.zeros(columns), range(columns)
    worths = {some: worth(some) for size in range(columns + 1) for some in itertools.combinations(every, size)}
    for some, value in worths.items():
        for one in set(every) - set(some):
            weight = 1 / (columns * math.comb(columns - 1, len(some)))
            found[one] += weight * (worths[tuple(sorted((*some, one)))] - value)
    return found


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_reasons_of_two_classes_sum_to_the_log_odds_or_the_probability(kind: str, data: dict, served_of: Shelf) -> None:
    model = served_of(data[2], *CLASSIFIERS[kind])
    rows = odd(data[2].frame)
    answer = model.predict(None, rows, {"explain": 3})
    scale = SCALES.get(kind, PROBABILITY)
    expected = answer["probability_yes"] if scale == PROBABILITY else logit(answer["probability_yes"])
    assert total(answer) == pytest.approx(expected.to_numpy(), **EXACT)
    assert set(answer["reason_scale"]) == {scale}
    assert answer["base_value"].nunique() == 1


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_reasons_of_three_classes_sum_to_the_score_or_the_probability_of_the_label(
    kind: str, data: dict, served_of: Shelf
) -> None:
    model = served_of(data[3], *CLASSIFIERS[kind])
    answer = model.predict(None, odd(data[3].frame), {"explain": 3})
    classes = data[3].schema.classes
    codes = np.array([classes.index(label) for label in answer["label"]])
    chosen = answer[[f"probability_{label}" for label in classes]].to_numpy()[np.arange(len(codes)), codes]
    assert len({*codes}) == 3
    if kind not in SCALES:
        assert set(answer["reason_scale"]) == {"probability of the label"}
        assert total(answer) == pytest.approx(chosen, **EXACT)
        return
    assert set(answer["reason_scale"]) == {"score of the label"}
    features = served._read(odd(data[3].frame), model.to_read)
    scores = np.column_stack([explained(model, features, np.full(len(codes), code)) for code in range(3)])
    parts = np.exp(scores - scores.max(axis=1, keepdims=True))
    assert (parts / parts.sum(axis=1, keepdims=True))[np.arange(len(codes)), codes] == pytest.approx(chosen, **EXACT)
    assert total(answer) == pytest.approx(scores[np.arange(len(codes)), codes], **EXACT)


def explained(model: served.TabularModel, features: served.Features, codes: np.ndarray) -> np.ndarray:
    found = model.reasons.of(features, codes)
    return found.base + found.values.sum(axis=1)


def test_a_positive_class_that_comes_first_has_its_own_reasons(tmp_path: Path, served_of: Shelf) -> None:
    section = {"source": "table.csv", "target": "answer", "positive": "no"}
    data = made.prepare(made.table(), tmp_path, data=section)
    for kind, about in CLASSIFIERS.items():
        answer = served_of(data, *about).predict(None, data.frame, {"explain": 3})
        expected = answer["probability_no"] if kind not in SCALES else logit(answer["probability_no"])
        assert total(answer) == pytest.approx(expected.to_numpy(), **EXACT), kind


@pytest.mark.parametrize(
    ("kind", "transform"), [*itertools.product(REGRESSORS, ["none"]), *itertools.product(["ridge", *FORMS], ["log"])]
)
def test_reasons_of_numbers_sum_to_the_number_on_the_scale_that_it_was_learnt_on(
    kind: str, transform: str, numbers: made.Data, served_of: Shelf
) -> None:
    model = served_of(numbers, *REGRESSORS[kind], transform=transform)
    answer = model.predict(None, odd(numbers.frame), {"explain": 2})
    predicted = answer["prediction"].to_numpy()
    logs = (transform == "log") + (kind == "lightgbm of counts")
    assert set(answer["reason_scale"]) == {"log of " * logs + "the number"}
    for _ in range(logs):
        predicted = np.log(predicted)
    assert total(answer) == pytest.approx(predicted, **EXACT)


def test_trees_give_the_shapley_values_of_what_they_expect_where_columns_are_not_known() -> None:
    """By enumeration of all sets of columns, of a forest with missing values and several outputs."""
    from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingClassifier, RandomForestClassifier

    generator = np.random.default_rng(0)
    X = generator.normal(size=(300, 5))
    X[generator.random(X.shape) < 0.1] = np.nan
    known = np.nan_to_num(X)
    y = (known[:, 0] + known[:, 1] * known[:, 2] > 0) + (known[:, 3] > 0.5).astype(int)
    weights = generator.integers(1, 4, 300)
    forest = RandomForestClassifier(6, random_state=0).fit(X, y, weights)
    medians = ExtraTreesRegressor(4, random_state=0, criterion="absolute_error").fit(X, y)
    histograms = HistGradientBoostingClassifier(max_iter=4).fit(X, y)
    sums = [
        ([reasons._of_forest(one.tree_, 1 / 6, 3) for one in forest.estimators_], np.float32),
        ([reasons._of_forest(one.tree_, 1 / 4, 1) for one in medians.estimators_], np.float32),
        *(
            ([reasons._of_histograms(one.nodes) for one in of_class], np.float64)
            for of_class in zip(*histograms._predictors, strict=True)
        ),
    ]
    explained = [trees for one in (forest, medians, histograms) for trees in reasons._trees(one)]
    for (nodes, kind), trees in zip(sums, explained, strict=True):
        at = np.arange(6) % nodes[0].values.shape[1]
        base, parts = trees.explain(X[:6], at)
        for x, out, found in zip(X[:6].astype(kind), at, parts, strict=True):
            worth = partial(sum_expected, nodes, x, out)
            assert found == pytest.approx(shapley(5, worth), rel=0, abs=1e-12)
            assert base[out] == pytest.approx(worth(()), rel=0, abs=1e-12)


def sum_expected(trees: list, x: np.ndarray, out: int, known: Collection[int]) -> float:
    return sum(expected(one, x, known, out) for one in trees)


def expected(tree: Any, x: np.ndarray, known: Collection[int], out: int, node: int = 0) -> float:
    """What a tree gives where some columns are known, and both branches count by their rows where they are not."""
    left, right = tree.left[node], tree.right[node]
    if left < 0:
        return float(tree.values[node, out])
    column = tree.feature[node]
    if column in known:
        goes_left = tree.missing_left[node] if np.isnan(x[column]) else x[column] <= tree.threshold[node]
        return expected(tree, x, known, out, left if goes_left else right)
    shares = [tree.rows[side] / tree.rows[node] for side in (left, right)]
    return sum(share * expected(tree, x, known, out, side) for share, side in zip(shares, (left, right), strict=True))


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_reasons_are_those_of_the_package_shap(kind: str, data: dict, served_of: Shelf) -> None:
    shap = pytest.importorskip("shap", reason="requirements-dev has shap on Linux")
    model = served_of(data[2], *CLASSIFIERS[kind])
    rows = {name: data[2].X[name].to_numpy()[:60] for name in data[2].X}
    found = model.reasons.of(rows, np.ones(60, dtype=int))
    prepared = model.prepare(rows)
    if kind == "logistic_regression":
        learnt = model.preprocessor.transform(data[2].X)
        values = shap.LinearExplainer(model.estimator, shap.maskers.Independent(learnt, len(learnt))).shap_values(
            prepared
        )
    else:
        values = shap.TreeExplainer(model.estimator).shap_values(prepared)
    values = values[..., 1] if values.ndim == 3 else values
    places = model.encoder.places()
    summed = np.column_stack([values[:, places[name]].sum(axis=1) for name in found.columns])
    assert found.values == pytest.approx(summed, rel=0, abs=1e-6)
    assert np.abs(summed).max() > 0.05


@pytest.mark.parametrize("kind", ["logistic_regression", "lightgbm"])
def test_a_block_of_trees_or_rows_is_explained_as_all_of_them(
    kind: str, data: dict, served_of: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = {name: data[3].X[name].to_numpy() for name in data[3].X}
    codes = data[3].y
    whole = {one: served_of(data[3], *CLASSIFIERS[one]).reasons.of(features, codes) for one in (kind, "random_forest")}
    monkeypatch.setattr(reasons, "CELLS", 5000)
    monkeypatch.setattr(reasons, "NODES", 50)
    for one, found in whole.items():
        again = reasons.Reasons(served_of(data[3], *CLASSIFIERS[one])).of(features, codes)
        assert again.values == pytest.approx(found.values, rel=0, abs=1e-12)
        assert again.base == pytest.approx(found.base, rel=0, abs=1e-12)


def test_a_linear_model_gives_the_shapley_values_of_its_columns_against_the_rows_of_training(
    data: dict, served_of: Shelf
) -> None:
    """By enumeration of all sets of raw columns: the others are as in each row of training in turn."""
    one = data[2]
    model = served_of(one, *CLASSIFIERS["logistic_regression"])
    rows = one.X.iloc[[0, 12, 50]]
    found = model.reasons.of({name: rows[name].to_numpy() for name in rows}, np.zeros(3, dtype=int))
    assert found.columns == list(one.X)

    def worth(some: Collection[int], row: pd.Series) -> float:
        mixed = one.X.assign(**{one.X.columns[at]: row.iloc[at] for at in some}).astype(one.X.dtypes)
        prepared = model.preprocessor.transform(mixed)
        return float(np.mean(model.estimator.decision_function(prepared)))

    for place in range(3):
        values = shapley(len(found.columns), lambda some, row=rows.iloc[place]: worth(some, row))
        assert found.values[place] == pytest.approx(values, rel=0, abs=1e-9)
        assert found.base[place] == pytest.approx(worth((), rows.iloc[place]), rel=0, abs=1e-9)


@pytest.mark.parametrize("kind", OTHERS)
def test_reasons_of_other_classifiers_are_estimated_and_sum_to_the_probability(
    kind: str, data: dict, served_of: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    for classes, scale in ((2, PROBABILITY), (3, "probability of the label")):
        model, rows = served_of(data[classes], *OTHERS[kind]), odd(data[classes].frame)
        answer = model.predict(None, rows, {"explain": 2})
        chosen = [answer[f"probability_{label}"].iloc[at] for at, label in enumerate(answer["label"])]
        expected = answer["probability_yes"].to_numpy() if classes == 2 else np.array(chosen)
        assert total(answer) == pytest.approx(expected, **EXACT)
        assert set(answer["reason_scale"]) == {scale}
        with monkeypatch.context() as patch:  # few rows at a time
            patch.setattr(reasons, "CELLS", 500)
            again = model.predict(None, rows, {"explain": 2})
        assert total(again) == pytest.approx(total(answer), **EXACT)


def test_what_is_estimated_comes_near_the_shapley_values_the_more_orders_are_drawn(
    data: dict, served_of: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By enumeration of all sets of raw columns: the others are the means of the rows of training."""
    model, rows = served_of(data[2], *OTHERS["net"]), data[2].X.iloc[[0, 12, 50]]
    errors, exact = [], against_means(model, rows)
    for orders in (2, 800):
        monkeypatch.setattr(reasons, "ORDERS", orders)
        errors.append(np.abs(values_of(model, rows) - exact).max())
    assert errors[1] < errors[0]
    assert errors[1] < 0.002
    assert np.abs(exact).max() > 0.05


@pytest.mark.parametrize(("kind", "most"), [("net", 0.02), ("neighbours", 0.06)])
def test_what_is_estimated_is_as_near_the_shapley_values_as_the_docs_say(
    kind: str, most: float, data: dict, served_of: Shelf
) -> None:
    """docs/serving.md has what was found here: 0.010 and 0.044."""
    model, rows = served_of(data[2], *OTHERS[kind]), data[2].X.iloc[::12]
    assert len(rows) == 16
    assert np.abs(values_of(model, rows) - against_means(model, rows)).max() < most


def against_means(model: served.TabularModel, rows: pd.DataFrame) -> np.ndarray:
    """By enumeration, the Shapley values of rows where columns that are not known are the means of training."""
    means, places = np.array(model.description["means"]), model.reasons.places

    def worth(row: np.ndarray, some: Collection[int]) -> float:
        mixed = means.copy()
        for column in some:
            mixed[places[column]] = row[places[column]]
        return float(model.estimator.predict_proba(mixed[None])[0, 1])

    prepared = model.prepare({name: rows[name].to_numpy() for name in rows})
    return np.array([shapley(len(places), partial(worth, row)) for row in prepared])


def values_of(model: served.TabularModel, rows: pd.DataFrame) -> np.ndarray:
    return model.reasons.of({name: rows[name].to_numpy() for name in rows}, np.zeros(len(rows), dtype=int)).values


def test_what_is_estimated_of_a_sum_of_columns_is_exact(numbers: made.Data, served_of: Shelf) -> None:
    model = served_of(numbers, "sklearn.linear_model.HuberRegressor", {"max_iter": 1000}, transform="log")
    features = {name: numbers.X[name].to_numpy() for name in numbers.X}
    prepared = model.prepare(features)
    means = prepared.mean(axis=0)
    found = model.reasons.of(features, np.zeros(len(prepared), dtype=int))
    assert found.scale == "log of the number"
    for values, places in zip(found.values.T, model.reasons.places, strict=True):
        expected = (prepared - means)[:, places] @ model.estimator.coef_[places]
        assert values == pytest.approx(expected, rel=0, abs=1e-9)


def test_weighted_rows_weigh_in_the_base_value_of_a_linear_model(data: dict, tmp_path: Path) -> None:
    one = data[2]
    weights = np.where(one.X["amount"] > 50, 5.0, 1.0)
    fitted = training.fit(made.candidate(one, "logistic_regression"), one.X, one.y, threads=1, weights=weights)
    model = flavor.of_parts(flavor.write(fitted, one.schema, tmp_path).parts)
    base = model.predict(None, one.frame.head(1), {"explain": 1})["base_value"].iloc[0]
    scores = model.estimator.decision_function(model.preprocessor.transform(one.X))
    assert base == pytest.approx(np.average(scores, weights=weights), rel=1e-9)


def test_what_lightgbm_tells_of_encoded_columns_is_summed_up_to_raw_ones(data: dict, served_of: Shelf) -> None:
    how = {"categories": "onehot", "dates": ["days", "month", "weekday"], "texts": {}}
    model = served_of(data[2], *CLASSIFIERS["lightgbm"], how)
    features = {name: data[2].X[name].to_numpy() for name in data[2].X}
    told = model.estimator.predict(np.asarray(model.prepare(features)), pred_contrib=True)
    names = [name.partition("__")[2] for name in model.preprocessor.get_feature_names_out()]
    found = model.reasons.of(features, np.zeros(len(told), dtype=int))
    for name, values in zip(found.columns, found.values.T, strict=True):
        of_it = [at for at, one in enumerate(names) if one == name or one.startswith((f"{name}_", f"{name}: "))]
        assert len(of_it) == {"agent": 4, "town": 4, "since": 3}.get(name, 1), name
        assert values == pytest.approx(told[:, of_it].sum(axis=1), rel=0, abs=1e-12)


def test_days_between_two_dates_are_a_reason_of_their_own(tmp_path: Path, served_of: Shelf) -> None:
    table = made.table()
    table["until"] = table["since"] + pd.to_timedelta(np.arange(240) * 7 % 90, unit="h")
    rows = made.prepare(table, tmp_path)
    how = {"dates": ["days", "month", "differences"]}
    model = served_of(rows, *CLASSIFIERS["lightgbm"], how)
    assert model.reasons.columns == [*made.table().columns[:-1], "until", "until - since"]
    answer = model.predict(None, rows.frame, {"explain": 9})
    assert total(answer) == pytest.approx(logit(answer["probability_yes"]).to_numpy(), **EXACT)


@pytest.mark.parametrize("blended", [False, True], ids=["alone", "in a blend"])
def test_columns_of_the_users_own_are_reasons_by_their_names(blended: bool, data: dict, tmp_path: Path) -> None:
    code = "def make(rows):\n    return rows[['amount']].mul(2).set_axis(['twice'], axis=1)\n"
    own = datasets.Own("make", code, (datasets.Column("twice", "double", "number"),))
    schema = dataclasses.replace(data[2].schema, own=own)
    one = dataclasses.replace(data[2], schema=schema, X=data[2].X.assign(twice=2 * data[2].X["amount"]))
    candidate = dataclasses.replace(made.candidate(one, "logistic_regression"), columns=schema.features)
    fitted = training.fit(candidate, one.X, one.y, threads=1)
    model = flavor.of_parts(flavor.write(fitted, schema, tmp_path).parts)
    model.parts = tmp_path / "model"  # type: ignore[attr-defined]
    if blended:
        model = blend_of(one, tmp_path / "blend", {1.0: model})
    answer = model.predict(None, one.frame, {"explain": 9})
    assert model.reasons.columns == [*data[2].X, "twice"]
    expected = answer["probability_yes"] if blended else logit(answer["probability_yes"])
    assert total(answer) == pytest.approx(expected.to_numpy(), **EXACT)


@pytest.mark.parametrize(
    ("kind", "categories"),
    [("logistic_regression", "target"), ("logistic_regression", "ordinal"), ("lightgbm", "native")],
)
def test_categories_that_are_encoded_by_target_or_code_have_one_reason(
    kind: str, categories: str, data: dict, served_of: Shelf
) -> None:
    model = served_of(data[3], *CLASSIFIERS[kind], {"categories": categories})
    answer = model.predict(None, data[3].frame, {"explain": 20})
    assert [name for name in answer if name.startswith("reason_") and name.endswith("_value")] == [
        f"reason_{place}_value" for place in range(1, 7)
    ]
    assert set(answer.filter(regex=r"^reason_\d$").to_numpy().ravel()) == set(data[3].X)
    assert set(answer["other_reasons_value"]) == {0.0}


def test_texts_have_one_reason_for_all_their_words(tmp_path: Path, served_of: Shelf) -> None:
    words = np.random.default_rng(0).choice(["good", "bad", "dear", "cheap", "far"], (240, 4))
    rows = made.prepare(made.table().assign(said=[" ".join(some) for some in words]), tmp_path)
    model = served_of(rows, *CLASSIFIERS["random_forest"], {"texts": {"said": 3}})
    answer = model.predict(None, rows.frame, {"explain": 9})
    assert model.reasons.columns[-1] == "said"
    assert total(answer) == pytest.approx(answer["probability_yes"].to_numpy(), **EXACT)


def test_the_strongest_reasons_come_first_and_the_answer_is_the_one_without_them(data: dict, served_of: Shelf) -> None:
    model = served_of(data[2], *CLASSIFIERS["lightgbm"])
    plain, asked = (model.predict(None, data[2].frame, {"explain": most}) for most in (0, 4))
    pd.testing.assert_frame_equal(asked[list(plain)], plain)
    pairs = [name for place in range(1, 5) for name in (f"reason_{place}", f"reason_{place}_value")]
    assert list(asked)[len(plain.columns) :] == ["base_value", *pairs, "other_reasons_value", "reason_scale"]
    strengths = asked[pairs[1::2]].abs().to_numpy()
    assert (np.diff(strengths, axis=1) <= 0).all()
    assert asked["reason_1"].value_counts().index[0] == "amount", "what the classes follow most"
    some = model.predict(None, data[2].frame.iloc[[7]], {"explain": 4})
    pd.testing.assert_frame_equal(some, asked.iloc[[7]])
    nothing = model.predict(None, data[2].frame.head(0), {"explain": 4})
    assert (list(nothing), len(nothing)) == (list(asked), 0)


@pytest.mark.parametrize("classes", [2, 3])
def test_reasons_of_a_blend_sum_to_its_probability(classes: int, data: dict, served_of: Shelf, tmp_path: Path) -> None:
    one = data[classes]
    kinds = [*map(CLASSIFIERS.get, ("logistic_regression", "random_forest", "lightgbm")), OTHERS["net"]]
    members = {weight: served_of(one, *kind) for weight, kind in zip((0.4, 0.3, 0.2, 0.1), kinds, strict=True)}
    answer = blend_of(one, tmp_path, members).predict(None, odd(one.frame), {"explain": 3})
    names = [str(label) for label in one.schema.classes]
    chosen = np.array([answer[f"probability_{label}"].iloc[at] for at, label in enumerate(answer["label"])])
    assert total(answer) == pytest.approx(answer["probability_yes"] if classes == 2 else chosen, **EXACT)
    assert set(answer["reason_scale"]) == {PROBABILITY if "yes" in names else "probability of the label"}


def test_a_blend_of_forests_adds_up_their_reasons(data: dict, served_of: Shelf, tmp_path: Path) -> None:
    one = data[3]
    members = {0.25: served_of(one, *CLASSIFIERS["random_forest"]), 0.75: served_of(one, *CLASSIFIERS["extra_trees"])}
    features = {name: one.X[name].to_numpy() for name in one.X}
    found = blend_of(one, tmp_path, members).reasons.of(features, one.y)
    parts = [weight * model.reasons.of(features, one.y).values for weight, model in members.items()]
    assert found.values == pytest.approx(sum(parts), rel=0, abs=1e-12)


def test_reasons_of_a_blend_of_numbers_sum_to_the_number(numbers: made.Data, served_of: Shelf, tmp_path: Path) -> None:
    members = {
        0.3: served_of(numbers, *REGRESSORS["ridge"], transform="log"),
        0.5: served_of(numbers, *REGRESSORS["lightgbm"]),
        0.2: served_of(numbers, *REGRESSORS["random_forest"], transform="log"),
    }
    answer = blend_of(numbers, tmp_path, members).predict(None, odd(numbers.frame), {"explain": 3})
    assert total(answer) == pytest.approx(answer["prediction"].to_numpy(), **EXACT)
    assert set(answer["reason_scale"]) == {"the number"}


def test_reasons_of_a_calibrated_model_sum_to_its_answer_before_calibration(
    data: dict, served_of: Shelf, tmp_path: Path
) -> None:
    one = data[2]
    plain = served_of(one, *CLASSIFIERS["random_forest"])
    about = {"how": "sigmoid", "positive": 1}
    raw = plain.outputs(one.X)
    found = calibration.learn(raw, one.y, np.arange(len(one.y)) % 2, **about).calibration
    answer = served_of(one, *CLASSIFIERS["random_forest"], calibration=found).predict(None, one.frame, {"explain": 2})
    assert not np.allclose(answer["probability_yes"], raw[:, 1])
    assert total(answer) == pytest.approx(raw[:, 1], **EXACT)
    assert set(answer["reason_scale"]) == {"probability of yes before calibration"}


def test_a_class_that_the_rows_of_a_member_lacked_adds_nothing(data: dict, served_of: Shelf, tmp_path: Path) -> None:
    one = data[3]
    model = served_of(one, *CLASSIFIERS["lightgbm"])
    known = one.y != 1
    candidate = made.candidate(one, "lightgbm")
    fitted = training.fit(candidate, one.X[known], one.y[known], threads=1)
    folder = tmp_path / "lacking"
    folder.mkdir()
    lacking = flavor.of_parts(flavor.write(fitted, one.schema, folder).parts)
    lacking.parts = folder / "model"  # type: ignore[attr-defined]
    answer = blend_of(one, tmp_path, {0.6: model, 0.4: lacking}).predict(None, one.frame, {"explain": 3})
    chosen = [answer[f"probability_{label}"].iloc[at] for at, label in enumerate(answer["label"])]
    assert set(answer["label"]) == set(one.schema.classes)
    assert total(answer) == pytest.approx(np.array(chosen), **EXACT)


@pytest.mark.parametrize(
    ("estimator", "params", "how", "says"),
    [
        (
            "sklearn.ensemble.HistGradientBoostingClassifier",
            {"max_iter": 5},
            {"categories": "native"},
            "HistGradientBoostingClassifier does not tell what each column adds; LightGBM, and",
        ),
        (*CLASSIFIERS["logistic_regression"], {"steps": ["sklearn.decomposition.PCA"]}, "of no single column"),
        ("lightgbm.LGBMClassifier", {"n_estimators": 5, "sigmoid": 2.0}, None, "does not sum to this model's answer"),
    ],
    ids=["native", "steps", "other odds"],
)
def test_a_model_without_reasons_says_so_in_one_line_and_answers_without_them(
    estimator: str, params: Any, how: Any, says: str, data: dict, served_of: Shelf
) -> None:
    model = served_of(data[2], estimator, params, how)
    with pytest.raises(MlflowException, match=says) as caught:
        model.predict(None, data[2].frame, {"explain": 5})
    assert str(caught.value).startswith("explain: ")
    assert "leave explain out" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.get_http_status_code() == 400
    assert len(model.predict(None, data[2].frame, {"explain": 0})) == len(data[2].frame)


def test_a_blend_names_the_member_that_has_no_reasons(data: dict, served_of: Shelf, tmp_path: Path) -> None:
    one = data[2]
    members = {
        0.5: served_of(one, *CLASSIFIERS["lightgbm"]),
        0.4: served_of(
            one, "sklearn.ensemble.HistGradientBoostingClassifier", {"max_iter": 5}, {"categories": "native"}
        ),
    }
    with pytest.raises(MlflowException, match=r"^explain: of its member member 1, HistGradientBoostingClassifier does"):
        blend_of(one, tmp_path, members).predict(None, one.frame.head(2), {"explain": 5})


def test_a_linear_model_of_before_is_told_to_be_trained_again(data: dict, served_of: Shelf) -> None:
    model = served_of(data[2], *CLASSIFIERS["logistic_regression"])
    before = flavor.of_parts(model.parts)  # type: ignore[attr-defined]
    del before.description["means"]
    with pytest.raises(MlflowException, match="was logged before there were reasons: train it again"):
        before.predict(None, data[2].frame.head(2), {"explain": 5})


def test_a_number_of_reasons_below_0_is_refused(data: dict, served_of: Shelf) -> None:
    model = served_of(data[2], *CLASSIFIERS["lightgbm"])
    with pytest.raises(MlflowException, match=r"^explain: -1 is below 0"):
        model.predict(None, data[2].frame.head(2), {"explain": -1})


def test_an_evaluation_is_told_why_a_model_has_no_reasons_without_the_way_out_of_a_request(
    data: dict, served_of: Shelf
) -> None:
    model = served_of(data[2], *CLASSIFIERS["logistic_regression"], {"steps": ["sklearn.decomposition.PCA"]})
    candidate: Any = SimpleNamespace(model=model, predictions=None)
    said = contributions.explain(candidate, holdout=None, seed=0)  # type: ignore[arg-type]
    assert said == (None, "its preprocessing makes columns that are of no single column")
