"""What a model has learnt, as a digest: equal for equal fits, other for anything else."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import made
import numpy as np
import pytest

from steps.model import flavor, served
from tabular.model import training
from tabular.sections.models import Model, Preprocessing

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
KINDS = list(made.ESTIMATORS)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_two_fits_with_one_seed_have_one_digest(kind: str, classes: int, data: dict, tmp_path: Path) -> None:
    found = {made.digest(made.fit(data[classes], kind), data[classes], tmp_path / name) for name in ("a", "b")}
    assert len(found) == 1


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_digest_does_not_depend_on_threads(kind: str, classes: int, data: dict, tmp_path: Path) -> None:
    rows = data[classes]
    found = {made.digest(made.fit(rows, kind, threads=n), rows, tmp_path / str(n)) for n in (1, 2, 4)}
    assert len(found) == 1


@pytest.mark.parametrize("kind", ["random_forest", "lightgbm"])
def test_another_seed_has_another_digest(kind: str, data: dict, tmp_path: Path) -> None:
    found = {made.digest(made.fit(data[2], kind, seed=seed), data[2], tmp_path / str(seed)) for seed in (0, 1)}
    assert len(found) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_one_row_less_has_another_digest(kind: str, data: dict, tmp_path: Path) -> None:
    whole = data[2]
    less = made.Data(whole.schema, whole.frame[1:], whole.X[1:], whole.y[1:])
    found = {made.digest(made.fit(rows, kind), whole, tmp_path / str(len(rows.y))) for rows in (whole, less)}
    assert len(found) == 2


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("logistic_regression", {"C": 0.5}),
        ("random_forest", {"max_depth": 2}),
        ("lightgbm", {"num_leaves": 5}),
    ],
)
def test_another_hyperparameter_has_another_digest(kind: str, changed: dict, data: dict, tmp_path: Path) -> None:
    first = made.digest(made.fit(data[2], kind), data[2], tmp_path / "a")
    assert made.digest(made.fit(data[2], kind, **changed), data[2], tmp_path / "b") != first


@pytest.mark.parametrize(
    ("estimator", "params"),
    [
        ("sklearn.naive_bayes.GaussianNB", {}),
        ("sklearn.ensemble.HistGradientBoostingClassifier", {"max_iter": 10}),
        ("sklearn.ensemble.GradientBoostingClassifier", {"n_estimators": 10}),
        ("sklearn.ensemble.AdaBoostClassifier", {"n_estimators": 10}),
        ("sklearn.neighbors.KNeighborsClassifier", {}),
        ("sklearn.neural_network.MLPClassifier", {}),
        ("sklearn.calibration.CalibratedClassifierCV", {}),
        ("sklearn.ensemble.BaggingClassifier", {}),
        ("sklearn.gaussian_process.GaussianProcessClassifier", {}),
        ("sklearn.semi_supervised.LabelSpreading", {}),
        ("sklearn.discriminant_analysis.LinearDiscriminantAnalysis", {}),
        ("sklearn.linear_model.LogisticRegressionCV", {}),
        ("sklearn.neighbors.NearestCentroid", {}),
        ("sklearn.neighbors.RadiusNeighborsClassifier", {}),
        ("sklearn.tree.DecisionTreeClassifier", {}),
    ],
)
def test_any_scikit_learn_classifier_is_written_and_read_as_it_is(
    estimator: str, params: dict, data: dict, tmp_path: Path
) -> None:
    assert_written_and_read(Model(estimator=estimator, params=params), data[3], tmp_path)


FOREST = {"estimator": "sklearn.ensemble.RandomForestClassifier", "params": {"n_estimators": 3}}
BOOSTED = {"estimator": "lightgbm.LGBMClassifier", "params": {"n_estimators": 3}}
VOTERS = {"forest": FOREST, "boosted": BOOSTED}
PIPELINE = {
    "estimator": "sklearn.pipeline.Pipeline",
    "params": {
        "steps": {
            "fewer": {"estimator": "sklearn.decomposition.PCA", "params": {"n_components": 2}},
            "logistic": {"estimator": "sklearn.linear_model.LogisticRegression"},
        }
    },
}


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("sklearn.ensemble.VotingClassifier", {"estimators": {**VOTERS, "pipe": PIPELINE}, "voting": "soft"}),
        ("sklearn.ensemble.StackingClassifier", {"estimators": VOTERS, "cv": 2}),
        ("sklearn.ensemble.StackingClassifier", {"estimators": VOTERS, "final_estimator": FOREST, "cv": 2}),
        ("sklearn.calibration.CalibratedClassifierCV", {"estimator": BOOSTED, "cv": 2}),
        ("sklearn.calibration.CalibratedClassifierCV", {"estimator": PIPELINE, "cv": 2}),
        ("sklearn.multiclass.OneVsRestClassifier", {"estimator": BOOSTED}),
        ("sklearn.ensemble.BaggingClassifier", {"estimator": BOOSTED, "n_estimators": 2}),
        ("sklearn.ensemble.AdaBoostClassifier", {"estimator": FOREST, "n_estimators": 2}),
        (PIPELINE["estimator"], PIPELINE["params"]),
        ("sklearn.neural_network.MLPClassifier", {"hidden_layer_sizes": [4, 3]}),
    ],
)
def test_nested_estimators_are_written_and_read_as_they_are(
    path: str, params: dict, data: dict, tmp_path: Path
) -> None:
    assert_written_and_read(Model(estimator=path, params=params), data[3], tmp_path)


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("xgboost.XGBClassifier", {"n_estimators": 5, "subsample": 0.7}),
        ("catboost.CatBoostClassifier", {"iterations": 5}),
    ],
)
@pytest.mark.parametrize("classes", [2, 3])
def test_boosters_of_other_libraries_are_written_and_read_as_they_are(
    path: str, params: dict, classes: int, data: dict, tmp_path: Path
) -> None:
    package = path.partition(".")[0]
    pytest.importorskip(package, reason="requirements-boosting.txt is not installed here")
    model = Model(estimator=path, params=params)
    assert_written_and_read(model, data[classes], tmp_path)
    other = dataclasses.replace(made.candidate(data[classes], "random_forest", seed=1), model=model)
    fitted = training.fit(other, data[classes].X, data[classes].y, threads=1)
    assert made.digest(fitted, data[classes], tmp_path / "seed") != flavor.digest_of_parts(tmp_path / "a" / "model")


@pytest.mark.parametrize(
    ("estimator", "categories"),
    [
        ("lightgbm.LGBMClassifier", "target"),
        ("sklearn.linear_model.LogisticRegression", "target"),
        ("lightgbm.LGBMClassifier", "native"),
        ("sklearn.ensemble.HistGradientBoostingClassifier", "native"),
        ("xgboost.XGBClassifier", "native"),
        ("catboost.CatBoostClassifier", "native"),
    ],
)
@pytest.mark.parametrize("classes", [2, 3])
def test_categories_by_the_target_and_native_ones_are_written_and_read_as_they_are(
    estimator: str, categories: Any, classes: int, data: dict, tmp_path: Path
) -> None:
    pytest.importorskip(estimator.partition(".")[0], reason="requirements-boosting.txt is not installed here")
    how, params = Preprocessing(categories=categories), {"iterations": 9} if "cat" in estimator else {}
    model = Model(estimator=estimator, params=params, preprocessing=how)  # type: ignore[arg-type]
    assert_written_and_read(model, data[classes], tmp_path)


def assert_written_and_read(model: Model, rows: made.Data, tmp_path: Path) -> None:
    """Fits with one and with two threads have the same bytes, and what is read from them answers as they do."""
    candidate = dataclasses.replace(made.candidate(rows, "random_forest"), model=model)
    fits = [training.fit(candidate, rows.X, rows.y, threads=threads) for threads in (1, 2)]
    folders = [tmp_path / "a", tmp_path / "b"]
    assert len({made.digest(one, rows, folder) for one, folder in zip(fits, folders, strict=True)}) == 1
    model = served.TabularModel()
    model.load_context(SimpleNamespace(artifacts={"model": str(folders[0] / "model")}))
    assert np.array_equal(model.outputs(rows.X), fits[0].outputs(rows.X))


def test_another_process_finds_the_same_digests(data: dict, tmp_path: Path) -> None:
    here = [made.digest(made.fit(data[2], kind), data[2], tmp_path / kind) for kind in KINDS]
    code = (
        "import sys; from pathlib import Path; import made\n"
        "folder = Path(sys.argv[1]); data = made.prepare(made.table(), folder)\n"
        "for kind in made.ESTIMATORS:\n"
        "    print(made.digest(made.fit(data, kind, threads=2), data, folder / 'parts' / kind))\n"
    )
    path = f"import sys; sys.path[:0] = [{str(PROJECT)!r}, {str(Path(made.__file__).parent)!r}]\n"
    words = [sys.executable, "-c", path + code, str(tmp_path / "other")]
    there = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path).stdout.split()
    assert there == here
