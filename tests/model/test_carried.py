"""The code that a model carries: by the name that its MLmodel says and, for reasons, beside it; and none but that."""

import importlib.util
import marshal
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pytest
import yaml
from mlflow.entities import Run, RunData, RunInfo, RunTag
from mlflow.exceptions import MlflowException

from steps.model import flavor
from steps.replay import equality
from tabular import digests
from tabular.errors import UserError

pytestmark = pytest.mark.slow


@pytest.fixture
def copy(binary, tmp_path: Path) -> Path:
    """A copy of a model's folder, to be changed."""
    return Path(shutil.copytree(binary.folder, tmp_path / "copy"))


@pytest.fixture
def evil(tmp_path: Path) -> str:
    """Code that leaves a mark where it is run."""
    return f"open({str(tmp_path / 'was run')!r}, 'w')\n"


def describe(model: Path, **change: object) -> None:
    """Change what MLmodel says of the python_function; None takes an entry away."""
    described = yaml.safe_load((model / "MLmodel").read_text(encoding="utf-8"))
    flavor = described["flavors"]["python_function"]
    flavor.update(change)
    described["flavors"]["python_function"] = {name: value for name, value in flavor.items() if value is not None}
    (model / "MLmodel").write_text(yaml.safe_dump(described), encoding="utf-8")


def renamed(model: Path, name: str, path: str) -> None:
    """Have a model carry its code under another name, and MLmodel say where that lay when the model was logged."""
    flavor.carried(model).rename(model / name)
    describe(model, model_code_path=path)


@pytest.mark.parametrize("path", ["/somewhere/steps/model/serving.py", "serving.py"])
def test_a_model_is_loaded_whose_code_has_another_name_than_ours_has_today(copy, binary, tmp_path, path) -> None:
    renamed(copy, "serving.py", path)
    model = flavor.load(str(copy), tmp_path, **binary.recorded)
    assert np.array_equal(model.outputs(binary.data.X), binary.fitted.outputs(binary.data.X))


def test_a_replay_finds_the_code_of_a_model_under_the_name_that_it_has(copy, binary, tmp_path) -> None:
    renamed(copy, "serving.py", "/somewhere/steps/model/serving.py")
    digests = {"tabular.digest.model": binary.recorded["learnt"], "tabular.digest.code": binary.recorded["code"]}
    tags = [RunTag(name, value) for name, value in {**digests, "tabular.model_uri": str(copy)}.items()]
    run = Run(RunInfo("then", "0", "", "FINISHED", 0, 0, "active", "", "then"), RunData([], [], tags))
    count, said = equality._model(equality.Pair(mlflow.MlflowClient(), "train", run, run, tmp_path))
    assert (count, said) == (4, [])


@pytest.mark.parametrize(
    "path",
    ["../served.py", "inner/served.py", "/somewhere/../served.py", "/somewhere/served.py/", "..", "/", "", 7, None],
)
def test_a_name_that_is_no_plain_file_of_the_model_is_refused(copy, binary, tmp_path, path) -> None:
    describe(copy, model_code_path=path)
    with pytest.raises(UserError, match=r"MLmodel names no file of code .*: not loaded"):
        flavor.load(str(copy), tmp_path, **binary.recorded)


def test_code_that_is_no_source_is_refused(copy, binary, tmp_path) -> None:
    renamed(copy, "served.pyc", "served.pyc")
    with pytest.raises(UserError, match="MLmodel names no file of code"):
        flavor.load(str(copy), tmp_path, **binary.recorded)


def test_a_file_beside_the_one_recorded_is_not_run_when_mlmodel_names_it(copy, binary, tmp_path, evil) -> None:
    (copy / "other.py").write_text(evil)
    describe(copy, model_code_path="/somewhere/other.py")
    with pytest.raises(UserError, match="carries code of digest"):
        flavor.load(str(copy), tmp_path, **binary.recorded)
    assert not (tmp_path / "was run").exists()


def _beside(model: Path, evil: str) -> None:
    """Modules by the names of those that the code imports."""
    for name in ("skops.py", "pandas.py", "__init__.py", "sitecustomize.py"):
        (model / name).write_text(evil)


def _bytecode(model: Path, evil: str) -> None:
    """Bytecode in the place of the code's own, of the kind that Python takes without a look at the source."""
    source = flavor.carried(model)
    place = model / "__pycache__"
    place.mkdir(exist_ok=True)
    code = marshal.dumps(compile(evil, "evil", "exec"))
    unchecked = struct.pack("<I", 1) + bytes(8)
    (place / f"{source.stem}.cpython-311.pyc").write_bytes(importlib.util.MAGIC_NUMBER + unchecked + code)


@pytest.mark.parametrize("put", [_beside, _bytecode])
def test_what_lies_beside_the_code_is_not_run(copy, binary, tmp_path, evil, put: Callable[[Path, str], None]) -> None:
    put(copy, evil)
    before = {path for path in copy.rglob("*") if path.is_file()}
    model = flavor.load(str(copy), tmp_path, **binary.recorded)
    assert np.array_equal(model.outputs(binary.data.X), binary.fitted.outputs(binary.data.X))
    assert not (tmp_path / "was run").exists()
    assert {path for path in copy.rglob("*") if path.is_file()} == before, "the model itself is left as it is"


def test_a_model_within_the_model_is_not_loaded_in_its_place(copy, binary, tmp_path, evil) -> None:
    shutil.copytree(copy, copy / "inner")
    flavor.carried(copy / "inner").write_text(evil)
    describe(copy, data="inner")
    with pytest.raises(UserError, match="names other code than"):
        flavor.load(str(copy), tmp_path, **binary.recorded)
    assert not (tmp_path / "was run").exists()


@pytest.mark.parametrize("path", ["other", "../other", None])
def test_parts_that_are_not_those_recorded_are_not_rebuilt(copy, binary, tmp_path, path) -> None:
    shutil.copytree(copy / flavor.PARTS, copy / "other")
    describe(copy, artifacts={"model": {"path": path}})
    with pytest.raises(UserError, match="names other parts than"):
        flavor.load(str(copy), tmp_path, **binary.recorded)


def _altered(reasons: Path, evil: str) -> None:
    reasons.write_text(reasons.read_text(encoding="utf-8") + evil, encoding="utf-8")


def _gone(reasons: Path, evil: str) -> None:
    reasons.unlink()


@pytest.mark.parametrize("change", [_altered, _gone])
def test_a_model_whose_code_of_reasons_is_not_the_one_recorded_is_not_loaded(
    copy, binary, tmp_path, evil, change: Callable[[Path, str], None]
) -> None:
    change(copy / "reasons.py", evil)
    with pytest.raises(UserError, match="carries code of digest"):
        flavor.load(str(copy), tmp_path, **binary.recorded)
    assert not (tmp_path / "was run").exists()


def test_a_model_of_before_with_one_file_of_code_is_loaded_and_takes_no_other_beside_it(copy, binary, tmp_path) -> None:
    (copy / "reasons.py").rename(tmp_path / "reasons.py")
    recorded = {**binary.recorded, "code": digests.of_file(copy / "served.py")}
    model = flavor.load(str(copy), tmp_path, **recorded)
    assert np.array_equal(model.outputs(binary.data.X), binary.fitted.outputs(binary.data.X))
    shutil.copy(tmp_path / "reasons.py", copy)
    with pytest.raises(UserError, match="carries code of digest"):
        flavor.load(str(copy), tmp_path, **recorded)


def test_the_code_of_reasons_is_run_when_they_are_asked_for_and_not_before(copy, binary, tmp_path, evil) -> None:
    _altered(copy / "reasons.py", evil)
    model = mlflow.pyfunc.load_model(str(copy))
    (copy / "reasons.py").write_text("raise SystemExit('of after the load')\n", encoding="utf-8")
    rows = binary.data.frame.head(3)
    plain = model.predict(rows)
    assert not (tmp_path / "was run").exists()
    answer = model.predict(rows, params={"explain": 1})
    assert (tmp_path / "was run").exists()
    assert answer[list(plain)].equals(plain)
    assert set(answer) > set(plain)


def test_the_code_that_answers_by_itself_answers_and_refuses_reasons_in_one_line(copy, binary) -> None:
    (copy / "reasons.py").unlink()
    model = mlflow.pyfunc.load_model(str(copy))
    rows = binary.data.frame.head(3)
    assert len(model.predict(rows)) == 3
    with pytest.raises(MlflowException) as caught:
        model.predict(rows, params={"explain": 1})
    assert str(caught.value) == "explain: reasons.py does not lie beside served.py: take the model's whole folder"
