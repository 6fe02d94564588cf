"""Models in MLflow: what their folder holds, and that they answer raw rows as the fitted pipeline does."""

import shutil
import subprocess
import sys
from pathlib import Path

import made
import mlflow
import numpy as np
import pandas as pd
import pytest
import skops.io
import yaml
from mlflow.exceptions import MlflowException

from steps.model import flavor, requirements
from tabular.errors import UserError

pytestmark = pytest.mark.slow

ONE = {"amount": 50.5, "visits": 3.0, "agent": 14.0, "town": "Porto", "member": True, "since": "2021-03-04T00:00:00"}


def rows(*changes: dict) -> pd.DataFrame:
    """Raw rows as JSON brings them."""
    return pd.DataFrame([{**ONE, **change} for change in changes or ({},)])


def test_the_folder_holds_no_pickle(logged) -> None:
    names = {path.suffix for path in logged.folder.rglob("*") if path.is_file()}
    assert not names & {".pkl", ".pickle", ".joblib", ".cloudpickle"}
    assert {".skops", ".py"} <= names
    for path in logged.folder.rglob("*"):
        assert not path.is_file() or not path.read_bytes().startswith((b"\x80\x04", b"\x80\x05"))


def test_the_models_description_names_no_pickle(logged) -> None:
    text = (logged.folder / "MLmodel").read_text(encoding="utf-8")
    flavor = yaml.safe_load(text)["flavors"]["python_function"]
    assert "python_model" not in flavor
    assert flavor["loader_module"] == "mlflow.pyfunc.loaders.code_model"
    assert ".pkl" not in text


def test_the_folder_holds_the_code_that_answers_and_that_of_reasons(logged) -> None:
    for module in (flavor.served, flavor.reasons):
        path = Path(module.__file__)
        assert (logged.folder / path.name).read_bytes() == path.read_bytes()


def test_numbers_are_signed_as_doubles_and_every_column_is_there(logged) -> None:
    inputs = logged.loaded.metadata.signature.inputs
    types = dict(zip(inputs.input_names(), map(str, inputs.input_types()), strict=True))
    assert list(types) == [column.name for column in logged.data.schema.columns]
    assert {types[name] for name in ("amount", "visits", "agent")} == {"DataType.double"}
    assert types["town"] == "DataType.string"


def test_the_answer_is_signed_as_label_and_probabilities(logged) -> None:
    assert logged.loaded.metadata.signature.outputs.input_names() == ["label", *logged.probabilities]
    assert list(logged.loaded.predict(logged.data.frame.head(2)).columns) == ["label", *logged.probabilities]


def test_two_classes_take_a_threshold_and_all_take_a_number_of_reasons(logged) -> None:
    found = [(spec.name, spec.default) for spec in logged.loaded.metadata.signature.params]
    threshold = [("threshold", 0.5)] if len(logged.data.schema.classes) == 2 else []
    assert found == [*threshold, ("explain", 0)]


def test_the_input_example_is_of_raw_rows_and_can_be_asked(logged) -> None:
    example = logged.loaded.input_example
    assert list(example.columns) == list(logged.data.frame.columns)
    answer = logged.loaded.predict(example)[logged.probabilities].to_numpy()
    assert np.array_equal(answer, logged.fitted.outputs(logged.data.X.head(3)))


def test_requirements_are_pinned_and_limited_to_serving(logged) -> None:
    names = set(requirements.used(logged.folder / "requirements.txt"))
    assert {"mlflow", "numpy", "pandas", "scipy", "scikit-learn", "skops"} <= names
    assert ("lightgbm" in names) == (logged.kind == "lightgbm")
    assert not {"hyperopt", "pytest", "psutil", "pooch"} & names


def test_raw_rows_get_the_probabilities_of_the_fitted_pipeline_bit_by_bit(logged) -> None:
    answer = logged.loaded.predict(logged.data.frame)
    assert np.array_equal(answer[logged.probabilities].to_numpy(), logged.fitted.outputs(logged.data.X))


def test_the_label_is_the_likeliest_class(logged) -> None:
    answer = logged.loaded.predict(logged.data.frame)
    likeliest = answer[logged.probabilities].to_numpy().argmax(axis=1)
    assert list(answer["label"]) == [logged.data.schema.classes[code] for code in likeliest]


def test_rows_may_be_asked_one_by_one(binary) -> None:
    frame = binary.data.frame.head(8)
    alone = pd.concat([binary.loaded.predict(frame.iloc[[row]]) for row in range(len(frame))])
    pd.testing.assert_frame_equal(alone, binary.loaded.predict(frame))


def test_the_answers_index_is_the_rows(binary) -> None:
    frame = binary.data.frame.head(4).set_index(pd.Index(["a", "b", "c", "d"]))
    assert list(binary.loaded.predict(frame).index) == ["a", "b", "c", "d"]


def test_no_rows_get_no_answers(logged) -> None:
    answer = logged.loaded.predict(logged.data.frame.head(0))
    assert list(answer.columns) == ["label", *logged.probabilities]
    assert len(answer) == 0


@pytest.fixture(scope="module")
def elsewhere(shelf: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what a process to which this repository is unknown has answered, by kind of model."""
    place = tmp_path_factory.mktemp("elsewhere")
    shelf["lightgbm", 2].data.frame.head(5).to_parquet(place / "rows.parquet")
    code = (
        "import sys, mlflow, pandas\n"
        f"for kind, folder in { {kind: str(shelf[kind, 2].folder) for kind in made.ESTIMATORS} }.items():\n"
        "    answer = mlflow.pyfunc.load_model(folder).predict(pandas.read_parquet('rows.parquet'))\n"
        "    answer.to_parquet(f'{kind}.parquet')\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('steps', 'tabular')]\n"
    )
    subprocess.run([sys.executable, "-I", "-c", code], cwd=place, env={"PATH": ""}, check=True, capture_output=True)
    return place


@pytest.mark.parametrize("kind", list(made.ESTIMATORS))
def test_a_model_answers_elsewhere_without_this_repository(kind: str, shelf: dict, elsewhere: Path) -> None:
    one = shelf[kind, 2]
    found = pd.read_parquet(elsewhere / f"{kind}.parquet")[one.probabilities].to_numpy()
    assert np.array_equal(found, one.fitted.outputs(one.data.X.head(5)))


@pytest.mark.parametrize("classes", [2, 3])
def test_mlflows_own_lightgbm_flavor_loads_the_booster(classes: int, shelf: dict) -> None:
    one = shelf["lightgbm", classes]
    booster = mlflow.lightgbm.load_model(one.uri)
    found = booster.predict(one.fitted.preprocessor.transform(one.data.X))
    expected = one.fitted.outputs(one.data.X)
    assert np.array_equal(found, expected[:, 1] if classes == 2 else expected)


@pytest.mark.parametrize("change", [{"town": "Braga"}, {"agent": 999.0}, {"town": "Braga", "agent": -1.0}])
def test_unseen_categories_are_answered(logged, change: dict) -> None:
    answer = logged.loaded.predict(rows(change, {}))
    assert answer[logged.probabilities].to_numpy().sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("column", [*ONE, None])
def test_missing_values_are_answered_in_any_column_and_in_all(logged, column: str | None) -> None:
    change = dict.fromkeys(ONE) if column is None else {column: None}
    frame = rows({}, change).astype({"amount": float, "visits": float, "agent": float})
    answer = logged.loaded.predict(frame)
    assert answer[logged.probabilities].to_numpy().sum(axis=1) == pytest.approx(1)
    # a column of nothing but nulls has another type than one with a null in it
    alone = logged.loaded.predict(frame.iloc[[1]])[logged.probabilities].to_numpy()
    assert alone == pytest.approx(answer[logged.probabilities].to_numpy()[[1]], rel=1e-9)


def test_a_missing_boolean_is_neither_true_nor_false(tmp_path: Path) -> None:
    columns = [{"name": "member", "dtype": "boolean", "kind": "number"}]
    found = flavor.served.as_features(pd.DataFrame({"member": [True, None, False, np.nan, 1, 0.0]}), columns)
    assert np.array_equal(found["member"], [1, np.nan, 0, np.nan, 1, 0], equal_nan=True)


@pytest.mark.parametrize(
    "text",
    ["2021-03-04T05:06:07", "2021-03-04 05:06:07", "2021-03-04T05:06:07Z", "2021-03-04T07:06:07+02:00"],
)
def test_a_date_is_the_same_moment_however_it_is_written(text: str) -> None:
    columns = [{"name": "since", "dtype": "datetime", "kind": "number"}]
    exact = pd.Timestamp("2021-03-04T05:06:07")
    for unit in ("s", "us", "ns"):
        expected = flavor.served.as_features(pd.DataFrame({"since": [exact.as_unit(unit)]}), columns)
        found = flavor.served.as_features(pd.DataFrame({"since": [text, "2020-01-01"]}), columns)
        assert found["since"].iloc[0] == expected["since"].iloc[0]


def test_columns_may_come_in_another_order(logged) -> None:
    frame = logged.data.frame.head(20)
    pd.testing.assert_frame_equal(logged.loaded.predict(frame[frame.columns[::-1]]), logged.loaded.predict(frame))


def test_columns_that_the_model_does_not_know_are_passed_over(logged) -> None:
    frame = logged.data.frame.head(20)
    pd.testing.assert_frame_equal(logged.loaded.predict(frame.assign(more="x")), logged.loaded.predict(frame))


@pytest.mark.parametrize("column", ONE)
def test_a_missing_column_is_named(binary, column: str) -> None:
    with pytest.raises(MlflowException, match=rf"missing inputs \['{column}'\]"):
        binary.loaded.predict(rows().drop(columns=column))


@pytest.mark.parametrize(
    "change",
    [
        {"amount": "much"},
        {"agent": "me"},
        {"town": 3},
        {"town": ["a"]},
        {"member": "maybe"},
        {"member": 2},
        {"since": "soon"},
        {"since": 5},
    ],
    ids=str,
)
@pytest.mark.parametrize("beside", [True, False], ids=["beside a right one", "alone"])
def test_a_value_of_the_wrong_type_is_refused_with_its_column(binary, change: dict, beside: bool) -> None:
    frame = rows({}, change) if beside else rows(change)
    with pytest.raises(MlflowException, match=next(iter(change))) as caught:
        binary.loaded.predict(frame)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_an_infinite_number_is_refused_with_its_column(binary) -> None:
    with pytest.raises(MlflowException, match="column 'amount' holds inf, which is not a finite number"):
        binary.loaded.predict(rows({"amount": np.inf}))


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("kind", list(made.ESTIMATORS))
def test_of_two_classes_the_positive_one_is_the_label_from_the_threshold_up(
    kind: str, threshold: float, shelf: dict
) -> None:
    one = shelf[kind, 2]
    answer = one.loaded.predict(one.data.frame, params={"threshold": threshold})
    assert list(answer["label"] == "yes") == list(answer["probability_yes"] >= threshold)


@pytest.mark.parametrize("labels", [[0, 1], [False, True], ["a", "b"], [0.25, 0.5], [3, 1, 2]], ids=str)
def test_labels_keep_their_type(labels: list, tmp_path: Path, tracking: str) -> None:
    table = made.table(90)
    table["answer"] = [labels[row % len(labels)] for row in range(90)]
    data = made.prepare(table, tmp_path)
    info = made.log(made.fit(data, "logistic_regression"), data, tmp_path / "parts")
    answer = mlflow.pyfunc.load_model(info.model_uri).predict(data.frame)
    assert set(answer["label"]) <= set(labels)
    assert {type(label) for label in answer["label"].tolist()} == {type(labels[0])}


def test_a_positive_class_that_comes_first_keeps_its_probability(tmp_path: Path, tracking: str) -> None:
    section = {"source": "table.csv", "target": "answer", "positive": "no"}
    data = made.prepare(made.table(), tmp_path, data=section)
    info = made.log(made.fit(data, "lightgbm"), data, tmp_path / "parts")
    answer = mlflow.pyfunc.load_model(info.model_uri).predict(data.frame, params={"threshold": 0.9})
    assert list(answer["label"] == "no") == list(answer["probability_no"] >= 0.9)


def test_models_load_gives_the_model_as_serving_loads_it(logged, tmp_path: Path) -> None:
    model = flavor.load(logged.uri, tmp_path, **logged.recorded)
    assert np.array_equal(model.outputs(logged.data.X), logged.fitted.outputs(logged.data.X))


def test_a_model_that_carries_changed_code_is_not_loaded(binary, tmp_path: Path) -> None:
    copy = changed(binary.folder, tmp_path, "\nraise SystemExit('this code was run')\n")
    with pytest.raises(UserError, match="was recorded: not loaded"):
        flavor.load(str(copy), tmp_path, **binary.recorded)


@pytest.mark.parametrize(
    "change",
    [
        {"code": "code"},
        {"loader_module": "mlflow.pyfunc.model", "python_model": "python_model.pkl"},
        {"loader_module": "mlflow.sklearn"},
    ],
    ids=str,
)
def test_a_model_that_would_run_other_code_beside_its_own_is_not_loaded(binary, change: dict, tmp_path: Path) -> None:
    copy = changed(binary.folder, tmp_path, "")
    (copy / "code").mkdir()
    shutil.copy(copy / "served.py", copy / "other.py")
    described = yaml.safe_load((copy / "MLmodel").read_text(encoding="utf-8"))
    described["flavors"]["python_function"].update(change)
    (copy / "MLmodel").write_text(yaml.safe_dump(described), encoding="utf-8")
    with pytest.raises(UserError, match=r"names other code than served\.py"):
        flavor.load(str(copy), tmp_path, **binary.recorded)


@pytest.mark.parametrize("kind", list(made.ESTIMATORS))
def test_a_class_that_no_training_row_had_is_answered_with_probability_0(
    kind: str, data: dict, tracking: str, tmp_path: Path
) -> None:
    whole = data[3]
    kept = whole.y != 1
    rows = made.Data(whole.schema, whole.frame[kept], whole.X[kept], whole.y[kept])
    info = made.log(made.fit(rows, kind), rows, tmp_path / "parts")
    answer = mlflow.pyfunc.load_model(info.model_uri).predict(whole.frame)
    found = answer[[f"probability_{label}" for label in whole.schema.classes]].to_numpy()
    assert np.all(found[:, 1] == 0)
    assert np.array_equal(found, made.fit(rows, kind).outputs(whole.X))


def test_a_model_that_is_not_there_is_told_in_one_line(tracking: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="models:/nothing/1 cannot be read") as caught:
        flavor.load("models:/nothing/1", tmp_path, code="", learnt="")
    assert "\n" not in str(caught.value)


def exchanged(source: Path, place: Path) -> Path:
    """A copy of a model whose classifier is what runs commands."""
    copy = place / "copy"
    shutil.copytree(source, copy)
    skops.io.dump(subprocess.Popen, next(copy.rglob("classifier.skops")))
    return copy


def test_a_model_whose_parts_were_exchanged_is_not_loaded(binary, tmp_path: Path) -> None:
    copy = exchanged(binary.folder, tmp_path)
    with pytest.raises(UserError, match="carries parts of digest"):
        flavor.load(str(copy), tmp_path, **binary.recorded)


def test_a_part_of_a_type_that_the_model_does_not_list_is_not_rebuilt(binary, tmp_path: Path) -> None:
    copy = exchanged(binary.folder, tmp_path)
    learnt = flavor.digest_of_parts(copy / flavor.PARTS)
    with pytest.raises(UserError, match="cannot be loaded"):
        flavor.load(str(copy), tmp_path, **{**binary.recorded, "learnt": learnt})


def test_two_models_of_different_code_are_loaded_in_one_process(binary, tmp_path: Path) -> None:
    copy = changed(binary.folder, tmp_path, "\nTabularModel.mark = 'other'\n")
    code = flavor.digest_of_carried(copy)
    other = flavor.load(str(copy), tmp_path, **{**binary.recorded, "code": code})
    ours = flavor.load(binary.uri, tmp_path, **binary.recorded)
    assert other.mark == "other"
    assert not hasattr(ours, "mark")
    assert np.array_equal(other.outputs(binary.data.X), ours.outputs(binary.data.X))


def changed(folder: Path, place: Path, code: str) -> Path:
    """A copy of a model, with something added to the code that it carries."""
    copy = place / "changed"
    shutil.copytree(folder, copy)
    with (copy / "served.py").open("a", encoding="utf-8") as file:
        file.write(code)
    return copy
