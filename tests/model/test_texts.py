"""Texts by their words: learnt, served bit by bit as they were learnt, and refused in one line."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import made
import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from steps.evaluation import candidates
from steps.model import flavor, served
from tabular.data.datasets import Column
from tabular.errors import CandidateError, UserError
from tabular.model import training
from tabular.model.estimators import in_terms_of_data
from tabular.sections.models import Model, Preprocessing

pytestmark = pytest.mark.slow

LIGHTGBM, LOGISTIC = "lightgbm.LGBMClassifier", "sklearn.linear_model.LogisticRegression"
WORDS = ["kind", "clean", "room", "view", "noise", "again", "staff", "bed", "sea", "price"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As in the other tests of models."""
    with threadpool_limits(1):
        yield


def reviews() -> pd.DataFrame:
    """The made table, with a text of which two words tell the class."""
    table, generator = made.table(400), np.random.default_rng(0)
    bad = (table["answer"] == "no").to_numpy()
    texts = [" ".join(generator.choice(WORDS, 5)) + (" broken late" if one else "") for one in bad]
    table.insert(1, "review", pd.Series(texts, dtype=object).mask(np.arange(400) % 37 == 0))
    return table


class Asked:
    """A pipeline that has learnt from words, and the model that serves it."""

    def __init__(self, estimator: str, how: dict[str, Any], folder: Path) -> None:
        self.data = made.prepare(reviews(), folder / "data")
        model = Model.model_validate({"estimator": estimator, "preprocessing": how})
        self.candidate = dataclasses.replace(made.candidate(self.data, "lightgbm"), name="it", model=model)
        self.fitted = training.fit(self.candidate, self.data.X, self.data.y, threads=1)
        self.model = served.TabularModel()
        self.parts = flavor.write(self.fitted, self.data.schema, folder).parts
        self.model.load_context(SimpleNamespace(artifacts={"model": str(self.parts)}))


WAYS = {
    "lightgbm": (LIGHTGBM, {"texts": {"review": 5}}),
    "lightgbm of categories": (LIGHTGBM, {"texts": {"review": 5}, "categories": "native"}),
    "logistic": (LOGISTIC, {"texts": {"review": 5}}),
    "by the target": (LOGISTIC, {"texts": {"review": 3}, "categories": "target"}),
    "with steps": (LOGISTIC, {"texts": {"review": 5}, "steps": ["sklearn.decomposition.PCA"]}),
}


@pytest.fixture(scope="module", params=WAYS)
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """Each of them."""
    return Asked(*WAYS[request.param], tmp_path_factory.mktemp("texts"))


def test_a_served_model_answers_of_texts_as_it_has_learnt_bit_by_bit(asked: Asked) -> None:
    strange = asked.data.frame.head(3).assign(review=["broken, LATE! \u00e9t\u00e9", "", "never seen words"])
    for frame in (asked.data.frame, asked.data.frame.iloc[[4]], asked.data.frame.iloc[150:190], strange):
        expected = asked.fitted.outputs(served.as_features(frame, [vars(one) for one in asked.data.schema.columns]))
        answer = asked.model.predict(None, frame)
        names = [f"probability_{label}" for label in asked.data.schema.classes]
        assert np.array_equal(answer[names].to_numpy(), expected)


def test_all_columns_are_looked_up_beside_texts(asked: Asked) -> None:
    assert asked.model.encoder.looks_up == (not asked.candidate.model.preprocessing.steps)


def test_equal_fits_of_texts_have_one_digest(asked: Asked, tmp_path: Path) -> None:
    again = training.fit(asked.candidate, asked.data.X, asked.data.y, threads=2)
    parts = flavor.write(again, asked.data.schema, tmp_path).parts
    assert flavor.digest_of_parts(parts) == flavor.digest_of_parts(asked.parts)


def test_a_text_is_shuffled_whole_for_its_importance(asked: Asked) -> None:
    ask, rows, places = candidates._to_shuffle(asked.model, asked.data.X.head(20))
    assert list(places) == list(asked.data.X)
    assert np.array_equal(ask(rows), asked.fitted.outputs(asked.data.X.head(20)))


def test_words_tell_what_a_whole_text_does_not(tmp_path: Path) -> None:
    data = made.prepare(reviews(), tmp_path)
    half, shares = len(data.y) // 2, []
    review = tuple(column for column in data.schema.columns if column.name == "review")
    for how in ({"texts": {"review": 10}}, {}):
        model = Model.model_validate({"estimator": LOGISTIC, "preprocessing": how})
        one = dataclasses.replace(made.candidate(data, "lightgbm"), model=model, columns=review)
        fitted = training.fit(one, data.X[:half], data.y[:half], threads=1)
        shares.append(np.mean(fitted.outputs(data.X[half:]).argmax(axis=1) == data.y[half:]))
    assert shares[0] > 0.95
    assert shares[1] < 0.7


@pytest.mark.parametrize(("name", "says"), [("reviw", "did you mean 'review'"), ("amount", "no column of texts")])
def test_a_column_that_is_none_of_texts_is_told(name: str, says: str, tmp_path: Path) -> None:
    data = made.prepare(reviews(), tmp_path)
    model = Model.model_validate({"estimator": LIGHTGBM, "preprocessing": {"texts": {name: 5}}})
    with pytest.raises(UserError, match=r"^models\.m\.preprocessing\.texts: ") as told:
        in_terms_of_data(model, "models.m", data.schema.columns, ["no", "yes"], 1)
    assert says in str(told.value)


def test_more_numbers_than_there_are_words_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(CandidateError, match=r"^models\.it\.preprocessing\.texts: the words of 'review'") as told:
        Asked(LIGHTGBM, {"texts": {"review": 200}}, tmp_path)
    assert "\n" not in str(told.value)


def test_directions_know_of_texts() -> None:
    columns = [Column("note", "string", "category"), Column("x", "double", "number")]
    params: Any = {"monotone_constraints": {"x": 1}}
    model = Model(estimator=LIGHTGBM, params=params, preprocessing=Preprocessing(texts={"note": 3}))
    told = in_terms_of_data(model, "models.a", columns, ["no", "yes"], 1)
    assert told.params["monotone_constraints"] == [1, 0, 0, 0]
