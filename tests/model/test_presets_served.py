"""The models of presets and of default spaces: the same bits with any threads, and served as they were fitted."""

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import made
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from steps.model import flavor, served
from tabular.data import folds
from tabular.defaults import PRESETS, SPACES, SPACES_OF_CLASSES
from tabular.metrics import lookup
from tabular.model import estimators, tasks, training
from tabular.model.intervals import Intervals
from tabular.search import search
from tabular.search.racing import TrialRunner, parts
from tabular.sections.models import Model

pytestmark = pytest.mark.slow

CLASSES, NUMBERS = "classification", "regression"
# Few rounds, since what is shown does not need more.
FEW = {"n_estimators": 10, "max_iter": 8, "iterations": 10}
ENDS = Intervals((0.5,), (-1.0,), (1.0,), None, 0.0, "", {})


def light(values: Any) -> Any:
    """A model of a preset, with few rounds."""
    params = {name: FEW.get(name, value) for name, value in values.get("params", {}).items()}
    made = Model.model_validate({**values, "params": params})
    held = {*made.space, *({"n_estimators"} & made.params.keys())}
    rounds = {name: FEW[name] for name in FEW if name in held}
    return made.model_copy(update={"params": {**made.params, **rounds}, "space": {}})


MODELS = {
    **{
        f"{task} {name}": (task, values)
        for preset in PRESETS.values()
        for task in preset
        for name, values in preset[task].items()
    },
    **{
        f"{path} by default": (
            CLASSES if path in SPACES_OF_CLASSES else NUMBERS,
            {"estimator": path, "space": "default"},
        )
        for path in SPACES
        if importlib.util.find_spec(path.partition(".")[0]) is not None
    },
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, made.Data]:
    """Training rows of classes and of a number."""
    table = made.table(400, classes=3)
    numbers = table.assign(answer=table["amount"].astype(float).fillna(9) * 30 + (table["town"] == "Porto"))
    return {
        CLASSES: made.prepare(table, tmp_path_factory.mktemp("classes")),
        NUMBERS: made.prepare(numbers, tmp_path_factory.mktemp("numbers"), task=NUMBERS),
    }


def fitted(name: str, data: made.Data, threads: int) -> training.Fitted:
    task, values = MODELS[name]
    predicted = tasks.Regression("none") if task == NUMBERS else tasks.Classification(3, 1)
    one = training.Candidate("it", light(values), {}, data.schema.columns, predicted, seed=3)
    with threadpool_limits(threads):  # some take as many as there are, and are not told how many
        return training.fit(one, data.X, data.y, threads=threads)


def written(one: training.Fitted, data: made.Data, folder: Path) -> Path:
    folder.mkdir()
    about = {} if data.schema.classes else {"intervals": ENDS, "coverage": 0.5}
    return flavor.write(one, data.schema, folder, **about).parts


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_the_same_file_with_one_thread_and_with_two(
    name: str, rows: dict[str, made.Data], tmp_path: Path
) -> None:
    data = rows[MODELS[name][0]]
    stored = [written(fitted(name, data, threads), data, tmp_path / str(threads)) for threads in (1, 2)]
    assert len({flavor.digest_of_parts(parts) for parts in stored}) == 1


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_served_bit_by_bit_as_it_was_fitted(name: str, rows: dict[str, made.Data], tmp_path: Path) -> None:
    data = rows[MODELS[name][0]]
    one = fitted(name, data, threads=2)
    model = served.TabularModel()
    model.load_context(SimpleNamespace(artifacts={"model": str(written(one, data, tmp_path / "parts"))}))
    assert model.encoder.looks_up
    expected = one.outputs(data.X)
    for at in (slice(None), slice(0, 1), slice(7, 8)):
        found = model.outputs(data.X.iloc[at])[:, : expected.shape[1]]
        assert np.array_equal(found, one.outputs(data.X.iloc[at]))
    assert np.allclose(model.outputs(data.X)[:, : expected.shape[1]], expected)


@pytest.mark.parametrize("task", [CLASSES, NUMBERS])
def test_a_net_is_stored_with_its_weights_once(task: str, rows: dict[str, made.Data], tmp_path: Path) -> None:
    one = fitted(f"{task} net", rows[task], threads=1)
    net = getattr(one.estimator, "regressor_", one.estimator)
    weights = sum(part.nbytes for part in (*net.coefs_, *net.intercepts_))
    file = written(one, rows[task], tmp_path / "parts") / (served.CLASSIFIER if task == CLASSES else served.REGRESSOR)
    assert weights / 2 < file.stat().st_size < weights + 10_000  # its other parts are the same for any width


@pytest.mark.parametrize("path", [name.removesuffix(" by default") for name in MODELS if name.endswith(" by default")])
def test_a_default_space_is_searched_from_its_first_points_and_beyond(path: str, rows: dict[str, made.Data]) -> None:
    task = CLASSES if path in SPACES_OF_CLASSES else NUMBERS
    data = rows[task]
    model = Model.model_validate({"estimator": path, "space": "default"})
    fixed = {name: value for name, value in FEW.items() if name in SPACES[path]["params"]}
    model = model.model_copy(update={"params": {**model.params, **fixed}})
    predicted = tasks.Regression("none") if task == NUMBERS else tasks.Classification(3, 1)
    one = training.Candidate("it", model, {}, data.schema.columns, predicted, seed=3)
    cuts = folds.cut(data.y, None, by="random", folds=2, seed=0)
    runner = TrialRunner(one, data.X, data.y, parts(cuts, latest_first=False, seed=0), lookup.DEFAULT[task])
    start = [estimators.defaults(model), *model.start]
    with ThreadPoolExecutor(1) as executor:
        found = search.search(
            runner.run, model.space, start=start, trials=len(start) + 1, seed=0, executor=executor, max_pending=1
        )
    assert [trial.reason for trial in found if trial.score is None] == []
    assert len(found) == len(start) + 1
