"""Dates as models learn them: parts of each, and the days between two of a row; served as they were learnt."""

import dataclasses
import datetime
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import made
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from steps.evaluation import candidates
from steps.model import flavor, own_features, served
from tabular import problem
from tabular.data.datasets import Column
from tabular.errors import UserError
from tabular.model import dates, importances, training
from tabular.model.estimators import in_terms_of_data
from tabular.sections.models import DATES, Model, Preprocessing

PARTS = ["days", "year", "month", "day", "weekday", "hour", "differences"]
LIGHTGBM, LOGISTIC = "lightgbm.LGBMClassifier", "sklearn.linear_model.LogisticRegression"
moments = st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2250, 1, 1))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As in the other tests of models."""
    with threadpool_limits(1):
        yield


@given(st.lists(st.none() | moments, min_size=1, max_size=9))
def test_the_parts_of_a_date_are_those_of_the_calendar(given: list[datetime.datetime | None]) -> None:
    values = pd.Series(pd.to_datetime(pd.Series(given, dtype="datetime64[us]")), name="when")
    columns = (Column("when", "datetime", "number"),)
    features = served.as_features(pd.DataFrame({"when": values}), [vars(column) for column in columns])
    found = served.Dates(dates.made(columns, PARTS)).added({"when": features["when"].to_numpy()})
    named = {"weekday": "day_of_week"}
    for part in ("year", "month", "day", "weekday", "hour"):
        expected = getattr(values.dt, named.get(part, part)).to_numpy(dtype="float64", na_value=np.nan)
        assert np.array_equal(found[f"when: {part}"], expected, equal_nan=True), part


def test_the_days_between_two_dates_are_missing_where_one_of_them_is() -> None:
    columns = tuple(Column(name, "datetime", "number") for name in ("booked", "arrived", "left"))
    made_of = dates.made(columns, ["differences"])
    assert [one["name"] for one in made_of] == ["arrived - booked", "left - booked", "left - arrived"]
    given = {"booked": np.array([10.0, np.nan]), "arrived": np.array([12.5, 3.0]), "left": np.array([13.0, 4.0])}
    found = served.Dates(made_of).added(given)
    assert found["arrived - booked"].tolist()[0] == 2.5
    assert np.isnan(found["arrived - booked"][1])
    assert found["left - arrived"].tolist() == [0.5, 1.0]


def test_models_of_a_problem_learn_parts_of_dates_where_it_does_not_say() -> None:
    said = {"estimator": LIGHTGBM, "preprocessing": {"dates": ["days"]}}
    models = {"open": {"estimator": LIGHTGBM}, "said": said, "empty": {**said, "preprocessing": {"dates": None}}}
    values = {"name": "a", "data": {"source": "a.csv", "target": "y"}}
    found = problem.build({**values, "models": models}, "a.yaml").models
    assert {name: one.preprocessing.dates for name, one in found.items()} == {
        "open": list(DATES),
        "said": ["days"],
        "empty": list(DATES),
    }
    usual = problem.build(values, "a.yaml").models.values()
    assert {tuple(one.preprocessing.dates or ()) for one in usual} == {DATES}


def test_nothing_is_made_of_a_date_that_is_not_asked_for() -> None:
    columns = (Column("when", "datetime", "number"), Column("x", "double", "number"))
    assert dates.made(columns, None) == []
    assert dates.numbers(columns, None) == ["when", "x"]
    assert dates.numbers(columns, ["month", "day"]) == ["when: month", "when: day", "x"]


def test_parts_of_dates_stand_where_the_date_stood_and_may_be_constrained() -> None:
    columns = [Column("when", "datetime", "number"), Column("x", "double", "number")]
    how = Preprocessing(dates=["days", "month"])
    params: Any = {"monotone_constraints": {"x": 1, "when: month": -1}}
    model = Model(estimator=LIGHTGBM, params=params, preprocessing=how)
    told = in_terms_of_data(model, "models.a", columns, ["no", "yes"], 1)
    assert told.params["monotone_constraints"] == [0, -1, 1]


class Asked:
    """A pipeline that has learnt parts of dates, and the model that serves it."""

    def __init__(self, estimator: str, how: dict[str, Any], folder: Path) -> None:
        table = made.table(300)
        table["until"] = table["since"] + pd.to_timedelta(np.arange(300) * 7 % 90, unit="h")
        self.data = made.prepare(table, folder / "data")
        schema, model = self.data.schema, Model.model_validate({"estimator": estimator, "preprocessing": how})
        self.candidate = dataclasses.replace(made.candidate(self.data, "lightgbm"), name="it", model=model)
        self.X = own_features.with_dates(self.data.X, schema, model.preprocessing.dates)
        self.fitted = training.fit(self.candidate, self.X, self.data.y, threads=1)
        self.model = served.TabularModel()
        self.parts = flavor.write(self.fitted, schema, folder).parts
        self.model.load_context(SimpleNamespace(artifacts={"model": str(self.parts)}))


WAYS = {
    "lightgbm": (LIGHTGBM, {"dates": PARTS}),
    "lightgbm of categories": (LIGHTGBM, {"dates": PARTS, "categories": "native"}),
    "as usual": (LIGHTGBM, {"dates": list(DATES)}),
    "no days": (LIGHTGBM, {"dates": ["month", "differences"]}),
    "logistic": (LOGISTIC, {"dates": PARTS}),
    "with steps": (LOGISTIC, {"dates": PARTS, "steps": ["sklearn.decomposition.PCA"]}),
}


@pytest.fixture(scope="module", params=WAYS)
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """Each of them."""
    return Asked(*WAYS[request.param], tmp_path_factory.mktemp("dates"))


@pytest.mark.slow
def test_a_served_model_makes_of_dates_what_it_has_learnt_bit_by_bit(asked: Asked) -> None:
    for rows in (slice(None), slice(4, 5), slice(150, 190)):
        expected = asked.fitted.outputs(asked.X.iloc[rows])
        answer = asked.model.predict(None, asked.data.frame.iloc[rows])
        names = [f"probability_{label}" for label in asked.data.schema.classes]
        assert np.array_equal(answer[names].to_numpy(), expected)
        assert np.array_equal(asked.model.outputs(asked.data.X.iloc[rows]), expected)


@pytest.mark.slow
def test_requests_are_looked_up_beside_parts_of_dates(asked: Asked) -> None:
    assert asked.model.encoder.looks_up == (not asked.candidate.model.preprocessing.steps)


@pytest.mark.slow
def test_a_date_is_shuffled_whole_for_its_importance(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def drops() -> dict[str, float]:
        shuffled = candidates._to_shuffle(asked.model, asked.data.X.head(40))
        return importances.permutation_importances(*shuffled, lambda found: float(found[:20, 0].mean()), seed=0)

    found = drops()
    monkeypatch.setattr(importances, "SHUFFLED_CELLS", 1)  # by features, which are one column a date
    assert list(found) == list(asked.data.X)
    assert found == pytest.approx(drops())


@pytest.mark.slow
def test_equal_fits_of_parts_of_dates_have_one_digest(asked: Asked, tmp_path: Path) -> None:
    again = training.fit(asked.candidate, asked.X, asked.data.y, threads=2)
    parts = flavor.write(again, asked.data.schema, tmp_path).parts
    assert flavor.digest_of_parts(parts) == flavor.digest_of_parts(asked.parts)


def test_a_column_that_has_the_name_of_a_part_is_told(tmp_path: Path) -> None:
    data = made.prepare(made.table().assign(**{"since: month": 1.5}), tmp_path)
    with pytest.raises(UserError, match="'since: month' is what it would make of 'since'"):
        own_features.with_dates(data.X, data.schema, ["month"])
