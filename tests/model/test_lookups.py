"""Requests are answered by look-ups: bit by bit as the fitted pipeline answers, asked here as training asks it."""

import dataclasses
import datetime
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import made
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder
from threadpoolctl import threadpool_limits

from steps.evaluation import candidates
from steps.model import flavor, served
from tabular.errors import CandidateError
from tabular.model import importances, training
from tabular.model.preprocessors import preprocessor
from tabular.model.tasks import Classification
from tabular.sections.models import Model, Preprocessing

pytestmark = pytest.mark.slow

# More than a one-hot encoder keeps apart, and so many that what it makes is sparse.
CODES = [f"code {number}" for number in range(150)]
TOWNS = ["Évora", "Lisboa", "Porto"]
FOREST, LINEAR = "sklearn.ensemble.RandomForestClassifier", "sklearn.linear_model.LogisticRegression"
CLASSIFIERS: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "lightgbm": ("lightgbm.LGBMClassifier", {"n_estimators": 20}, {}),
    "lightgbm of many trees": ("lightgbm.LGBMClassifier", {"n_estimators": 600, "min_child_samples": 5}, {}),
    "lightgbm one-hot": ("lightgbm.LGBMClassifier", {"n_estimators": 20}, {"categories": "onehot"}),
    "random forest": (FOREST, {"n_estimators": 20}, {}),
    "random forest one-hot": (FOREST, {"n_estimators": 5}, {"categories": "onehot", "missing": "impute"}),
    "extra trees": ("sklearn.ensemble.ExtraTreesClassifier", {"n_estimators": 5}, {"missing": "impute"}),
    "logistic regression": (LINEAR, {"max_iter": 500}, {}),
    "logistic regression on codes": (LINEAR, {"max_iter": 500}, {"categories": "ordinal"}),
    "logistic regression by target": (LINEAR, {"max_iter": 500}, {"categories": "target"}),
    "lightgbm of categories": ("lightgbm.LGBMClassifier", {"n_estimators": 20}, {"categories": "native"}),
    "histograms of categories": (
        "sklearn.ensemble.HistGradientBoostingClassifier",
        {"max_iter": 10, "max_bins": 63},
        {"categories": "native"},
    ),
    "lightgbm by target": ("lightgbm.LGBMClassifier", {"n_estimators": 20}, {"categories": "target"}),
    "hist gradient boosting": ("sklearn.ensemble.HistGradientBoostingClassifier", {"max_iter": 10}, {}),
    "neighbours": ("sklearn.neighbors.KNeighborsClassifier", {}, {}),
    "net": ("sklearn.neural_network.MLPClassifier", {"max_iter": 5, "early_stopping": True}, {"numbers": "quantile"}),
}
WAYS = [
    Preprocessing(categories=categories, numbers=numbers, missing=missing)  # type: ignore[arg-type]
    for categories, numbers, missing in itertools.product(
        ("target", "native", "ordinal", "onehot"), ("as_is", "standardize", "quantile"), ("keep", "impute")
    )
]


def with_codes(classes: int, *, rows: int = 600) -> pd.DataFrame:
    """The made table with a column of many categories, some of them rare, and one that is empty."""
    generator = np.random.default_rng(1)
    places = np.minimum(generator.geometric(0.015, rows) - 1, len(CODES) - 1)
    table = made.table(rows, classes=classes).assign(only=3.5)
    table.insert(0, "code", np.array(CODES)[places])
    return table


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other in a loop take seconds where other tests hold the cores."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[int, made.Data]:
    """Number of classes: training rows."""
    return {n: made.prepare(with_codes(n), tmp_path_factory.mktemp(f"codes{n}")) for n in (2, 3)}


class Asked:
    """A fitted pipeline, and the model that serves it."""

    def __init__(self, name: str, data: made.Data, folder: Path) -> None:
        estimator, params, how = CLASSIFIERS[name]
        model = Model(estimator=estimator, params=params, preprocessing=Preprocessing(**how))
        candidate = dataclasses.replace(made.candidate(data, "lightgbm"), name="it", model=model)
        self.data, self.fitted = data, training.fit(candidate, data.X, data.y, threads=1)
        self.model = served.TabularModel()
        parts = flavor.write(self.fitted, data.schema, folder).parts
        self.model.load_context(SimpleNamespace(artifacts={"model": str(parts)}))

    def check(self, frame: pd.DataFrame) -> None:
        """What is served for raw rows is what the pipeline says, in each bit."""
        answer = self.model.predict(None, frame)
        found = answer[[f"probability_{label}" for label in self.data.schema.classes]].to_numpy()
        features = served.as_features(frame, [vars(column) for column in self.data.schema.columns])
        expected = self.fitted.outputs(features)
        assert found.dtype == expected.dtype and np.array_equal(found, expected)


@pytest.fixture(scope="module")
def asked(rows: dict[int, made.Data], tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Asked]:
    """(classifier, classes): each, fitted and loaded."""
    return {
        (name, classes): Asked(name, rows[classes], tmp_path_factory.mktemp("asked"))
        for name in CLASSIFIERS
        for classes in (2, 3)
    }


@pytest.fixture(params=[(name, n) for name in CLASSIFIERS for n in (2, 3)], ids=lambda both: f"{both[0]}-{both[1]}")
def one(request: pytest.FixtureRequest, asked: dict[tuple[str, int], Asked]) -> Asked:
    """Each of them."""
    return asked[request.param]


NUMBERS = st.one_of(
    st.none(), st.floats(-1e30, 1e30), st.integers(-(2**53), 2**53), st.sampled_from([-0.0, 0.0, 1e-300, 50, 3.5])
)
MOMENTS = st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2250, 1, 1)).map(lambda when: when.isoformat())
RAW = st.fixed_dictionaries(
    {
        "amount": NUMBERS,
        "visits": NUMBERS,
        "only": NUMBERS,
        "agent": st.one_of(st.none(), st.sampled_from([3, 14.0, 159, 4, -1e9, 0.5])),
        "town": st.one_of(st.none(), st.sampled_from([*TOWNS, "porto", "nan", ""]), st.text()),
        "code": st.one_of(st.none(), st.sampled_from(CODES), st.text(max_size=3)),
        "member": st.sampled_from([None, True, False, 0, 1.0]),
        "since": st.one_of(st.none(), MOMENTS, st.just("2021-03-04T05:06+02:00")),
    }
)


@settings(max_examples=7, suppress_health_check=[HealthCheck.function_scoped_fixture])  # for each of 20 models
@given(raw=st.lists(RAW, min_size=1, max_size=30))
def test_any_rows_are_answered_bit_by_bit_as_by_the_pipeline(raw: list[dict[str, Any]], one: Asked) -> None:
    frame = pd.DataFrame(raw)
    one.check(frame)
    one.check(frame.head(1))


def test_the_rows_of_training_are_answered_bit_by_bit_together_and_one_by_one(one: Asked) -> None:
    one.check(one.data.frame)
    for row in range(0, len(one.data.frame), 23):
        one.check(one.data.frame.iloc[[row]])


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.lists(RAW, min_size=1, max_size=30))
def test_rows_that_lightgbm_takes_with_all_threads_are_answered_bit_by_bit(
    raw: list[dict[str, Any]], asked: dict[tuple[str, int], Asked]
) -> None:
    one = asked["lightgbm of many trees", 2]
    one.check(pd.DataFrame(raw * (served.FEWEST_FOR_THREADS // len(raw) + 1)))


@pytest.mark.parametrize(
    "params",
    [{"boosting_type": "rf", "subsample": 0.5, "subsample_freq": 1}, {"sigmoid": 2.0}],
    ids=["averaged", "link"],
)
def test_averaged_trees_and_another_link_are_answered_as_lightgbm_does(
    params: dict[str, Any], rows: dict[int, made.Data], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CLASSIFIERS, "it", ("lightgbm.LGBMClassifier", {"n_estimators": 300, **params}, {}))
    one = Asked("it", rows[2], tmp_path)
    one.check(one.data.frame)


def test_whole_numbers_are_answered_as_doubles(one: Asked) -> None:
    frame = one.data.frame.dropna()
    whole = frame.astype({"amount": "int64", "visits": "int64", "agent": "int32", "only": "int64"})
    one.check(whole)
    pd.testing.assert_frame_equal(
        one.model.predict(None, whole), one.model.predict(None, whole.astype({"amount": "float64", "agent": "float64"}))
    )


@pytest.mark.parametrize("name", ["lightgbm", "random forest", "logistic regression"])
def test_more_rows_than_a_request_holds_are_answered_alike(name: str, asked: dict[tuple[str, int], Asked]) -> None:
    one = asked[name, 2]
    times = served.MOST_OF_A_REQUEST // len(one.data.frame) + 1
    many = pd.concat([one.data.frame] * times, ignore_index=True)
    assert len(many) > served.MOST_OF_A_REQUEST
    one.check(many)


@pytest.mark.parametrize("name", ["lightgbm", "random forest", "logistic regression"])
def test_requests_at_one_time_do_not_disturb_each_other(name: str, asked: dict[tuple[str, int], Asked]) -> None:
    one = asked[name, 3]
    parts = [one.data.frame.iloc[start : start + size] for start in range(8) for size in (1, 250)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(one.check, parts))


def fit_preprocessor(
    how: Preprocessing, data: made.Data, kinds: tuple[str, ...] = ("number", "category"), *, sparsely: bool
) -> Any:
    """A preprocessor of some kinds of columns, fitted on rows."""
    columns = [column for column in data.schema.columns if column.kind in kinds]
    task = Classification(len(data.schema.classes), data.schema.positive)
    unfitted = preprocessor(columns, how, sparse=sparsely, target_encoder=task.target_encoder(data.y, 0))
    return unfitted.fit(data.X[[column.name for column in columns]], data.y)


def same_matrix(found: Any, expected: Any) -> bool:
    """In each bit, of the same kind, and in the same order in memory: classifiers sum along it."""
    if type(found) is not type(expected):
        return False
    if sparse.issparse(found):
        names = ("data", "indices", "indptr")
        return all(np.array_equal(getattr(found, n), getattr(expected, n), equal_nan=True) for n in names)
    in_order = found.flags.c_contiguous == expected.flags.c_contiguous
    return in_order and np.array_equal(found, expected, equal_nan=True)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kinds", [("number", "category"), ("number",), ("category",)], ids=" ".join)
@pytest.mark.parametrize("sparsely", [True, False])
@pytest.mark.parametrize("how", WAYS, ids=lambda how: " ".join((how.categories, how.numbers, how.missing)))
def test_each_preprocessing_of_ours_is_looked_up_in_each_bit(
    how: Preprocessing, sparsely: bool, kinds: tuple[str, ...], classes: int, rows: dict[int, made.Data]
) -> None:
    fitted = fit_preprocessor(how, rows[classes], kinds, sparsely=sparsely)
    X = rows[classes].X[fitted.feature_names_in_]
    encoder = served.Encoder(fitted)
    assert encoder.looks_up
    strange = {"amount": np.nan, "town": "?", "agent": -1.0, "code": np.nan}
    strange = X.assign(**{name: value for name, value in strange.items() if name in X}).astype(X.dtypes)
    for asked in (X, X.head(1), strange):
        found = encoder.prepare({name: asked[name].to_numpy() for name in asked})
        assert same_matrix(found, fitted.transform(asked))


@pytest.mark.parametrize("sparsely", [True, False])
@pytest.mark.parametrize("how", WAYS, ids=lambda how: " ".join((how.categories, how.numbers, how.missing)))
def test_to_shuffle_the_place_of_a_column_is_to_shuffle_the_column(
    how: Preprocessing, sparsely: bool, rows: dict[int, made.Data]
) -> None:
    X = rows[2].X
    encoder = served.Encoder(fit_preprocessor(how, rows[2], sparsely=sparsely))
    places = encoder.places()
    assert places is not None
    assert set(places) == set(X.columns)
    whole = dense(encoder.prepare({name: X[name].to_numpy() for name in X}))
    order = np.random.default_rng(0).permutation(len(X))
    for name, place in places.items():
        shuffled = whole.copy()
        shuffled[:, place] = whole[order, place]
        asked = {**{other: X[other].to_numpy() for other in X}, name: X[name].to_numpy()[order]}
        assert np.array_equal(dense(encoder.prepare(asked)), shuffled, equal_nan=True), name


def dense(prepared: Any) -> np.ndarray:
    return prepared.toarray() if sparse.issparse(prepared) else prepared


def test_importances_are_the_same_by_prepared_rows_and_by_features(one: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def drops() -> dict[str, float]:
        shuffled = candidates._to_shuffle(one.model, one.data.X.head(40))
        return importances.permutation_importances(*shuffled, lambda found: float(found[:20, 0].mean()), seed=0)

    by_prepared_rows = drops()
    with monkeypatch.context() as patch:
        patch.setattr(importances, "SHUFFLED_CELLS", 1)  # as for a table of thousands of categories
        of_many_cells = drops()
    monkeypatch.delattr(served.Encoder, "places")  # as in the file of an earlier model
    by_features = drops()
    assert list(by_features) == list(by_prepared_rows) == list(one.data.X.columns)
    assert of_many_cells == by_features == pytest.approx(by_prepared_rows)


def test_the_rare_ones_of_many_categories_are_among_what_is_tried(rows: dict[int, made.Data]) -> None:
    onehot = preprocessor(rows[2].schema.columns, WAYS[-1]).fit(rows[2].X).named_transformers_["categories"]
    assert WAYS[-1].categories == "onehot"
    assert any(few is not None and len(few) > 1 for few in onehot.infrequent_categories_)


@pytest.mark.parametrize(
    "part",
    [
        ("it", MinMaxScaler(), ["amount", "visits"]),
        ("it", OneHotEncoder(drop="first", handle_unknown="ignore"), ["town", "code"]),
        ("it", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, min_frequency=9), ["code"]),
        ("it", "drop", ["town"]),
    ],
    ids=lambda part: str(part[1]),
)
def test_what_is_not_known_is_left_to_the_transformer(part: tuple, rows: dict[int, made.Data]) -> None:
    X = rows[2].X[["only", *part[2]]]
    transformer = ColumnTransformer([("other", "passthrough", ["only"]), part], sparse_threshold=0).fit(X)
    found = served.Encoder(transformer).prepare({name: X[name].to_numpy() for name in X})
    assert np.array_equal(found, transformer.transform(X), equal_nan=True)


def test_a_scaler_is_not_looked_up(rows: dict[int, made.Data]) -> None:
    transformer = ColumnTransformer([("it", MinMaxScaler(), ["amount"])]).fit(rows[2].X[["amount"]])
    assert not served.Encoder(transformer).looks_up


def test_a_number_that_a_forest_cannot_hold_is_its_own_error(asked: dict[tuple[str, int], Asked]) -> None:
    one = asked["random forest", 2]
    frame = one.data.frame.head(2).assign(amount=1e300)
    with pytest.raises(CandidateError, match="too large for dtype"):
        one.fitted.outputs(served.as_features(frame, [vars(column) for column in one.data.schema.columns]))
    with pytest.raises(ValueError, match="too large for dtype"):
        one.model.predict(None, frame)
