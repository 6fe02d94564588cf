"""Blends as models: one model answers the weighted mean of its members' answers, bit by bit."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import made
import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from threadpoolctl import threadpool_limits

from steps.model import flavor, served
from steps.run.step import Step
from tabular.model import calibration, training
from tabular.model.tasks import Regression
from tabular.sections.models import Model

pytestmark = pytest.mark.slow

WEIGHTS = {"logistic_regression": 0.48, "random_forest": 0.4, "lightgbm": 0.12}
OF_NUMBERS = {
    "ridge": ("sklearn.linear_model.Ridge", {}, Regression("log"), 0.3),
    "lightgbm": ("lightgbm.LGBMRegressor", {"n_estimators": 20}, Regression(), 0.7),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other in a loop take seconds where other tests hold the cores."""
    with threadpool_limits(1):
        yield


def loaded(parts: Path) -> served.TabularModel:
    model = served.TabularModel()
    model.load_context(SimpleNamespace(artifacts={"model": str(parts)}))
    return model


@pytest.fixture(scope="module", params=[2, 3])
def blend(request: pytest.FixtureRequest, data: dict[int, made.Data], tmp_path_factory: pytest.TempPathFactory):
    """Three members of two or three classes, the calibration and the files of their blend."""
    rows, members = data[request.param], {}
    fits = {kind: made.fit(rows, kind) for kind in WEIGHTS}
    for kind, fitted in fits.items():
        folder = tmp_path_factory.mktemp(kind)
        members[kind] = (WEIGHTS[kind], flavor.write(fitted, rows.schema, folder))
    outputs = sum(weight * fits[kind].outputs(rows.X) for kind, weight in WEIGHTS.items())
    about = {"how": "sigmoid", "positive": 1}
    found = calibration.learn(outputs, rows.y, np.arange(len(rows.y)) % 2, **about).calibration
    folder = tmp_path_factory.mktemp("blend")
    parts, needed = flavor.write_blend(members, rows.schema, folder, threshold=0.4, calibration=found)
    return SimpleNamespace(
        data=rows, parts=parts, needed=needed, members=members, raw=outputs, expected=found.apply(outputs)
    )


def test_a_blend_answers_the_calibrated_mean_of_its_members_bit_by_bit(blend: SimpleNamespace) -> None:
    model, rows = loaded(blend.parts), blend.data
    assert np.array_equal(model.outputs(rows.X), blend.expected)
    assert np.array_equal(model.uncalibrated(rows.X), blend.raw)
    one_by_one = np.vstack([model.outputs(rows.X.iloc[[row]]) for row in range(30)])
    assert np.allclose(one_by_one, blend.expected[:30], rtol=1e-12, atol=0)  # a linear one's sums are of other order
    answer = model.predict(None, rows.frame)
    assert np.array_equal(answer[[f"probability_{label}" for label in rows.schema.classes]], blend.expected)
    assert len(model.predict(None, rows.frame.head(0))) == 0


def test_a_blend_is_files_without_pickle_that_are_those_of_its_members(blend: SimpleNamespace) -> None:
    for kind, (_, written) in blend.members.items():
        own = blend.parts / served.MEMBERS / kind
        assert flavor.digest_of_parts(own) == flavor.digest_of_parts(written.parts)
    assert {path.name for path in blend.parts.iterdir()} == {served.DESCRIPTION, served.MEMBERS}


def test_every_file_and_every_weight_of_a_blend_is_in_its_digest(blend: SimpleNamespace, tmp_path: Path) -> None:
    whole = flavor.digest_of_parts(blend.parts)
    for number, path in enumerate(sorted(path for path in blend.parts.rglob("*") if path.is_file())):
        other = tmp_path / str(number)
        shutil.copytree(blend.parts, other)
        changed = other / path.relative_to(blend.parts)
        changed.write_bytes(changed.read_bytes() + b" ")
        assert flavor.digest_of_parts(other) != whole, path
        shutil.move(str(changed), changed.with_name("elsewhere"))
        assert flavor.digest_of_parts(other) != whole, path


def test_a_blend_needs_what_its_members_need(blend: SimpleNamespace) -> None:
    assert len(blend.needed) == len(set(blend.needed))
    assert {"mlflow", "scikit-learn", "lightgbm", "skops"} <= {*blend.needed}


def test_a_blend_answers_elsewhere_without_this_repository(blend: SimpleNamespace, tmp_path: Path) -> None:
    blend.data.X.to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "served.py").write_text(Path(served.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    code = (
        f"import sys, types; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import numpy, pandas, served\n"
        "model = served.TabularModel()\n"
        f"model.load_context(types.SimpleNamespace(artifacts={{'model': {str(blend.parts)!r}}}))\n"
        "numpy.save('answer.npy', model.outputs(pandas.read_parquet('rows.parquet')))\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('steps', 'tabular')]\n"
    )
    subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, env={"PATH": ""}, check=True, capture_output=True)
    assert np.array_equal(np.load(tmp_path / "answer.npy"), blend.expected)


def test_a_logged_blend_is_checked_loaded_and_answers(blend: SimpleNamespace, tracking: str, tmp_path: Path) -> None:
    rows = blend.data
    signed = flavor.signature(rows.schema, 0.4)
    experiment = mlflow.get_experiment_by_name(made.EXPERIMENT)
    with mlflow.start_run(experiment_id=experiment.experiment_id) as run:
        info = run.info
        step = Step("blend", {}, info.run_id, info.experiment_id, tmp_path, MlflowClient(), info.artifact_uri)
        step.log(params={"a": 1})
        about = {"name": "blend", "tags": {}}
        uri = flavor.log_parts(step, blend.parts, blend.needed, signed, rows.frame.head(3), **about).model_uri
    recorded = {"code": flavor.digest_of_code(), "learnt": flavor.digest_of_parts(blend.parts)}
    assert np.array_equal(flavor.load(uri, tmp_path, **recorded).outputs(rows.X), blend.expected)
    folder = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path)))
    required = (folder / "requirements.txt").read_text(encoding="utf-8")
    assert re.search(r"^lightgbm==.* \\\n +--hash=sha256:", required, re.MULTILINE)
    described = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    assert (folder / described["flavors"]["lightgbm"]["data"]).is_file(), "an image gets no libgomp"
    assert len(mlflow.pyfunc.load_model(uri).predict(pd.DataFrame(rows.frame.head(5), copy=True))) == 5


@pytest.mark.parametrize("heaviest", OF_NUMBERS)
def test_a_blend_of_numbers_answers_on_the_targets_scale_with_its_own_intervals(heaviest: str, tmp_path: Path) -> None:
    rows = made.prepare(made.table_of_numbers(), tmp_path / "table", task="regression")
    fits, members = {}, {}
    for name, (estimator, params, task, weight) in OF_NUMBERS.items():
        model = Model.model_validate({"estimator": estimator, "params": params})
        fits[name] = training.fit(
            training.Candidate(name, model, {}, rows.schema.columns, task, seed=0), rows.X, rows.y, threads=1
        )
        (tmp_path / name).mkdir()
        ends = made.intervals_of(fits[name], rows, 0.9)
        written = flavor.write(fits[name], rows.schema, tmp_path / name, intervals=ends, coverage=0.9)
        members[name] = (weight, flavor.Written(written.parts, ["mlflow"]))
    ends = made.intervals_of(fits[heaviest], rows, 0.9)
    about = {"intervals": ends, "coverage": 0.9, "prepared_by": heaviest}
    parts, needed = flavor.write_blend(members, rows.schema, tmp_path, **about)
    predicted = sum(weight * fits[name].outputs(rows.X)[:, 0] for name, (_, _, _, weight) in OF_NUMBERS.items())
    scales = ends.scales(fits[heaviest].preprocessor.transform(rows.X), threads=1)
    for coverage in (0.9, 0.5):
        answer = loaded(parts).predict(None, rows.frame, {"coverage": coverage})
        assert np.array_equal(answer, np.column_stack([predicted, *ends.ends(predicted, scales, coverage)]))
    assert "lightgbm" in needed
    assert json.loads((parts / served.DESCRIPTION).read_text(encoding="utf-8"))["members"] == {
        "ridge": 0.3,
        "lightgbm": 0.7,
    }
