"""Categories as the models like them: by the target."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabular.data.datasets import Column
from tabular.data.folds import cut
from tabular.errors import CandidateError
from tabular.model import training
from tabular.model.tasks import Classification, Regression, Task
from tabular.model.training import Candidate
from tabular.problem import Model
from tabular.search.racing import TrialRunner, parts
from tabular.search.search import Point

COLUMNS = (Column("amount", "double", "number"), Column("town", "string", "category"))
LIGHTGBM, LOGISTIC = "lightgbm.LGBMClassifier", "sklearn.linear_model.LogisticRegression"
RIDGE = "sklearn.linear_model.Ridge"
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
        training.cross_validate(candidate(LOGISTIC), X, truth, folds, threads=1, names=["roc_auc"]).summary()
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


@pytest.mark.parametrize("estimator", [LIGHTGBM, LOGISTIC])
def test_a_trial_scores_what_its_cross_validation_does(estimator: str) -> None:
    generator = np.random.default_rng(0)
    places = generator.integers(0, 40, 600)
    X, y = rows([f"town {place}" for place in places]), (places % 4 + generator.normal(size=600) > 2).astype(int)
    folds = cut(y, None, by="random", folds=3, seed=0)
    runner = TrialRunner(candidate(estimator), X, y, parts(folds, latest_first=False, seed=0), "roc_auc")
    found = runner.run(Point({}, is_given=True))
    of_found = Candidate("m", candidate(estimator).model, found.found, COLUMNS, TWO, seed=0)
    whole = training.cross_validate(of_found, X, y, folds, threads=1, names=["roc_auc"])
    assert found.parts == pytest.approx([one["roc_auc"] for one in whole.scores], abs=1e-9)


def test_what_is_told_of_training_rows_is_told_as_they_were_learnt_from() -> None:
    y = np.random.default_rng(0).normal(size=400)
    X, some = rows([f"town {number // 2}" for number in range(400)]), np.arange(0, 400, 3)
    one = candidate("lightgbm.LGBMRegressor", Regression())
    fitted = training.fit(one, X, y, threads=1)
    found = training.encoded_to_learn(one, fitted, X, y, some)
    assert np.array_equal(found, training.encode(one, X, y, sparse=False)[1][some])
    assert not np.array_equal(found, fitted.preprocessor.transform(X.iloc[some]))
