"""A calibrated model: it serves, bit by bit, what training has scored; an earlier one is served as before."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import made
import numpy as np
import pandas as pd
import pytest

from steps.model import flavor, served
from tabular.model import calibration, training
from tabular.model.calibration import Calibration


def learnt(fitted: training.Fitted, data: made.Data, how: str) -> Calibration:
    outputs, fold = fitted.outputs(data.X), np.arange(len(data.y)) % 2
    return calibration.learn(outputs, data.y, fold, how=how, positive=1).calibration


def load(parts: Path) -> served.TabularModel:
    model = served.TabularModel()
    model.load_context(SimpleNamespace(artifacts={"model": str(parts)}))
    return model


@pytest.fixture(scope="module")
def fits(data: dict[int, made.Data]) -> dict[int, training.Fitted]:
    return {classes: made.fit(rows, "lightgbm") for classes, rows in data.items()}


@pytest.mark.parametrize("how", ["none", "sigmoid", "isotonic"])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_model_answers_what_training_scores_bit_by_bit(
    classes: int, how: str, data: dict[int, made.Data], fits: dict[int, training.Fitted], tmp_path: Path
) -> None:
    rows, fitted = data[classes], fits[classes]
    found = learnt(fitted, rows, how)
    model = load(flavor.write(fitted, rows.schema, tmp_path, calibration=found).parts)
    expected = found.apply(fitted.outputs(rows.X))
    assert np.array_equal(model.outputs(rows.X), expected)
    assert np.array_equal(np.vstack([model.outputs(rows.X.iloc[[row]]) for row in range(30)]), expected[:30])
    answer = model.predict(None, rows.frame)
    assert np.array_equal(answer[[f"probability_{label}" for label in rows.schema.classes]].to_numpy(), expected)
    both = flavor.ask_twice(model, lambda ask: ask(rows.X))
    assert [one.tolist() for one in both] == [expected.tolist(), fitted.outputs(rows.X).tolist()]
    assert (expected.tolist() == fitted.outputs(rows.X).tolist()) == (how == "none")
    assert len(model.predict(None, rows.frame.head(0))) == 0


def test_the_label_goes_by_calibrated_probabilities(
    data: dict[int, made.Data], fits: dict[int, training.Fitted], tmp_path: Path
) -> None:
    rows, fitted = data[2], fits[2]
    half = Calibration("sigmoid", 1e-3, 0.5, (0.0, 1.0))
    model = load(flavor.write(fitted, rows.schema, tmp_path, 0.4, calibration=half).parts)
    answer = model.predict(None, rows.frame)
    assert list(answer["label"] == "yes") == list(half.apply(fitted.outputs(rows.X))[:, 1] >= 0.4)
    assert list(answer["label"] == "yes") != list(fitted.outputs(rows.X)[:, 1] >= 0.4)


def test_a_model_that_needs_none_is_the_model_of_before(
    data: dict[int, made.Data], fits: dict[int, training.Fitted], tmp_path: Path
) -> None:
    digests = []
    for name, found in (("before", None), ("none", Calibration())):
        (tmp_path / name).mkdir()
        parts = flavor.write(fits[2], data[2].schema, tmp_path / name, calibration=found).parts
        assert "calibration" not in json.loads((parts / served.DESCRIPTION).read_text(encoding="utf-8"))
        digests.append(flavor.digest_of_parts(parts))
    assert digests[0] == digests[1]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["sigmoid", "isotonic"])
def test_it_answers_elsewhere_without_this_repository(
    how: str, data: dict[int, made.Data], fits: dict[int, training.Fitted], tmp_path: Path
) -> None:
    rows, fitted = data[3], fits[3]
    found = learnt(fitted, rows, how)
    parts = flavor.write(fitted, rows.schema, tmp_path, calibration=found).parts
    rows.X.to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "served.py").write_text(Path(served.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    code = (
        f"import sys, types; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import pandas, served\n"
        "model = served.TabularModel()\n"
        f"model.load_context(types.SimpleNamespace(artifacts={{'model': {str(parts)!r}}}))\n"
        "answer = model.outputs(pandas.read_parquet('rows.parquet'))\n"
        "pandas.DataFrame(answer, columns=list('abc')).to_parquet('answer.parquet')\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('steps', 'tabular')]\n"
    )
    subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, env={"PATH": ""}, check=True, capture_output=True)
    assert np.array_equal(pd.read_parquet(tmp_path / "answer.parquet"), found.apply(fitted.outputs(rows.X)))
