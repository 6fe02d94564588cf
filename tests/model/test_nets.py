"""Nets of torch through skorch: what may be set, fits to the same bits, and weights and code instead of pickle."""

import dataclasses
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import made
import numpy as np
import pytest
import yaml

from steps.model import flavor, served
from tabular.data.folds import Fold
from tabular.errors import CandidateError, UserError
from tabular.model import cross_validation, nets, training
from tabular.model.estimators import build, defaults
from tabular.search import racing
from tabular.sections.models import Model, Nested

for package in ("torch", "skorch", "safetensors"):
    pytest.importorskip(package, reason="requirements-torch.txt is not installed here")

pytestmark = pytest.mark.slow

NET = '''
"""A net of ours."""
from __future__ import annotations

import dataclasses

from torch import nn


@dataclasses.dataclass
class Widths:
    hidden: int = 8


class Net(nn.Module):
    """Two layers."""

    def __init__(self, inputs, outputs, hidden=8, drop=0.1):
        super().__init__()
        width = Widths(hidden).hidden  # one comment
        self.layers = nn.Sequential(
            nn.Linear(inputs, width), nn.ReLU(), nn.BatchNorm1d(width), nn.Dropout(drop), nn.Linear(width, outputs)
        )

    def forward(self, X):
        return self.layers(X)
'''
LAZY = """
from torch import nn


class Net(nn.Module):
    def __init__(self, hidden, classes):
        super().__init__()
        parts = [part for width in hidden for part in (nn.LazyLinear(width), nn.Tanh())]
        self.layers = nn.Sequential(*parts, nn.LazyLinear(classes), nn.Softmax(dim=1))

    def forward(self, X):
        return self.layers(X)
"""
PARAMS = {"module": "my_net.Net", "criterion": "torch.nn.CrossEntropyLoss", "max_epochs": 3, "lr": 0.1}
PATH = nets.KIND


@pytest.fixture(autouse=True)
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a net, which can be imported."""
    path = tmp_path / "code" / "my_net.py"
    path.parent.mkdir()
    path.write_text(NET)
    monkeypatch.syspath_prepend(str(path.parent))
    for name in ("my_net", "my_layers"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return path


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the file of the net read anew where it is imported next."""
    monkeypatch.delitem(sys.modules, "my_net", raising=False)


def candidate(rows: made.Data, params: Mapping[str, Any] = PARAMS, *, seed: int = 0) -> training.Candidate:
    model = Model(estimator=PATH, params=dict(params))
    return dataclasses.replace(made.candidate(rows, "random_forest", seed=seed), name="net", model=model)


def fit(rows: made.Data, params: Mapping[str, Any] = PARAMS, *, seed: int = 0, threads: int = 1) -> training.Fitted:
    return training.fit(candidate(rows, params, seed=seed), rows.X, rows.y, threads=threads)


def read(parts: Path) -> served.TabularModel:
    model = served.TabularModel()
    model.load_context(SimpleNamespace(artifacts={"model": str(parts)}))
    return model


def refused(params: Mapping[str, Any], **model: Any) -> str:
    asked = Model(estimator=PATH, params=dict(params), **model)
    with pytest.raises(UserError) as caught:
        build(asked, {}, where="models.net", seed=0, threads=1)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def unfit(rows: made.Data, params: Mapping[str, Any]) -> str:
    with pytest.raises(CandidateError) as caught:
        fit(rows, params)
    assert str(caught.value).startswith(f"models.net: {PATH} refuses to fit: ")
    return str(caught.value)


def test_equal_fits_have_equal_files_with_any_number_of_threads_and_another_seed_has_others(
    data: dict, tmp_path: Path
) -> None:
    import torch

    before = torch.get_num_threads()
    digests = []
    for number, (seed, threads) in enumerate([(0, 1), (0, 2), (1, 1)]):
        torch.set_num_threads(threads)
        torch.rand(number + 1)  # what was drawn before does not count
        digests.append(made.digest(fit(data[3], seed=seed, threads=threads), data[3], tmp_path / str(number)))
    torch.set_num_threads(before)
    assert digests[0] == digests[1] != digests[2]


def test_a_fit_leaves_torch_as_it_was(data: dict) -> None:
    import torch

    def state() -> tuple:
        drawn = torch.get_rng_state().tolist()
        return torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), drawn

    before = state()
    fit(data[2]).outputs(data[2].X)
    assert state() == before


def test_to_follow_the_loss_changes_nothing_of_the_fit(data: dict, tmp_path: Path) -> None:
    rows = data[2]
    followed = training.fit(candidate(rows), rows.X, rows.y, threads=1, validation=(rows.X, rows.y, None))
    assert made.digest(followed, rows, tmp_path / "a") == made.digest(fit(rows), rows, tmp_path / "b")
    assert followed.curves["iteration"] == [1, 2, 3]
    losses = followed.curves["training"]
    assert losses == followed.curves["validation"]
    assert losses[2] < losses[0]
    scored = cross_validation.score(candidate(rows), rows.y, followed.outputs(rows.X), ["log_loss"])["log_loss"]
    assert losses[2] == pytest.approx(scored)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    ("code", "params"),
    [
        (NET, PARAMS),
        (LAZY, {"module": "my_net.Net", "module__hidden": [6, 4], "max_epochs": 2, "lr": 0.5}),
    ],
)
def test_what_is_read_answers_as_what_was_fitted_where_the_module_is_not(
    code: str, params: dict, classes: int, data: dict, net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = data[classes]
    net.write_text(code)
    if "outputs" not in code:
        params = {**params, "module__classes": classes}
    fitted = fit(rows, params)
    parts = flavor.write(fitted, rows.schema, tmp_path).parts
    assert sorted(path.name for path in parts.iterdir()) == [
        "features.skops",
        "model.json",
        "net.py",
        "net.safetensors",
    ]
    before, expected = flavor.digest_of_parts(parts), fitted.outputs(rows.X)
    net.unlink()
    forget(monkeypatch)
    model = read(parts)
    assert np.array_equal(model.outputs(rows.X), expected)
    assert np.allclose(model.outputs(rows.X[7:8]), expected[7:8])
    assert expected.sum(axis=1) == pytest.approx(1)
    assert np.ptp(expected, axis=0).min() > 0.01
    assert flavor.digest_of_parts(parts) == before, "nothing compiled is left among the parts"


def test_its_probabilities_are_those_that_skorch_gives(data: dict) -> None:
    from skorch.dataset import Dataset

    fitted = fit(data[3])
    encoded = fitted.preprocessor.transform(data[3].X).astype(np.float32)
    fitted.estimator.dataset = Dataset
    expected = fitted.estimator.predict_proba(encoded)
    assert np.allclose(fitted.outputs(data[3].X), expected, atol=1e-6)


def test_a_comment_in_the_code_of_a_net_changes_nothing_of_the_model(
    data: dict, net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = made.digest(fit(data[2]), data[2], tmp_path / "a")
    net.write_text(NET.replace("one comment", "another").replace("Two layers", "Layers"))
    forget(monkeypatch)
    assert made.digest(fit(data[2]), data[2], tmp_path / "b") == first
    net.write_text(NET.replace("nn.ReLU()", "nn.Tanh()"))
    forget(monkeypatch)
    assert made.digest(fit(data[2]), data[2], tmp_path / "c") != first


def test_a_class_that_the_fitted_rows_lack_has_probability_0(data: dict) -> None:
    rows = data[3]
    some = rows.y != 1
    fitted = training.fit(candidate(rows), rows.X[some], rows.y[some], threads=1)
    found = fitted.outputs(rows.X)
    assert found.shape == (len(rows.y), 3)
    assert set(found[:, 1]) == {0.0}


def test_the_model_requires_what_reads_it_and_what_its_code_imports_and_no_more(data: dict, net: Path) -> None:
    net.write_text(f"import yaml\n{NET.replace('from __future__ import annotations', '')}")
    names = set(flavor.packages(fit(data[3])))
    assert {"torch", "safetensors", "PyYAML"} <= names
    assert not {"skorch", "lightgbm"} & names


@pytest.mark.usefixtures("tracking")
def test_code_that_is_not_the_recorded_one_is_not_run(data: dict, tmp_path: Path) -> None:
    info = made.log(fit(data[2]), data[2], tmp_path / "parts")
    local = Path(flavor.mlflow.artifacts.download_artifacts(info.model_uri, dst_path=str(tmp_path)))
    recorded = {"code": flavor.digest_of_code(), "learnt": flavor.digest_of_parts(local / flavor.PARTS)}
    copy = Path(shutil.copytree(local, tmp_path / "copy"))
    flavor.load(str(copy), tmp_path, **recorded)
    mark = tmp_path / "was run"
    code = copy / flavor.PARTS / served.NET
    code.write_text(f"open({str(mark)!r}, 'w')\n{code.read_text()}")
    with pytest.raises(UserError, match="carries parts of digest"):
        flavor.load(str(copy), tmp_path, **recorded)
    assert not mark.exists()


def test_the_weights_of_classes_are_numbers_in_their_order(data: dict) -> None:
    params = {**PARAMS, "max_epochs": 20}
    plain, weighted = (fit(data[2], {**params, **more}) for more in ({}, {"criterion__weight": [1, 20]}))
    assert weighted.outputs(data[2].X)[:, 1].mean() > plain.outputs(data[2].X)[:, 1].mean() + 0.1


def test_its_hyperparameters_are_plain_values(data: dict) -> None:
    found = training.hyperparameters(candidate(data[2], {**PARAMS, "module__hidden": 4}))
    assert found["module"] == "my_net.Net"
    assert found["module__hidden"] == 4
    assert found["iterator_train__shuffle"] is True
    assert all(value is None or isinstance(value, bool | int | float | str) for value in found.values())


SPACE = {"module__hidden": {"type": "int", "low": 4, "high": 32}, "lr": {"type": "float", "low": 0.01, "high": 0.5}}
AMSGRAD = {"optimizer__amsgrad": {"type": "choice", "options": [True, False]}}
OPTIMIZERS = ["torch.optim.SGD", {"value": "torch.optim.Adam", "space": AMSGRAD}]


def test_a_search_starts_from_what_its_module_and_skorch_have_by_themselves() -> None:
    model = Model(estimator=PATH, params={"module": "my_net.Net"}, space=SPACE)
    assert defaults(model) == {"module__hidden": 8, "lr": 0.01}


def test_a_search_draws_arguments_and_classes(data: dict) -> None:
    rows = data[2]
    space = {**SPACE, "optimizer": {"type": "choice", "options": OPTIMIZERS}}
    model = Model(estimator=PATH, params={**PARAMS, "max_epochs": 30}, space=space)
    asked = dataclasses.replace(candidate(rows), model=model)
    half = np.arange(len(rows.y)) % 2 == 0
    part = racing.Part(Fold(np.flatnonzero(half), np.flatnonzero(~half)))
    runner = racing.TrialRunner(asked, rows.X, rows.y, [part], "roc_auc")
    drawn = {"module__hidden": 16, "lr": 0.05, "optimizer": "torch.optim.Adam", "optimizer__amsgrad": True}
    point = SimpleNamespace(params=drawn, seen=(), is_given=True, given_failed=False)
    assert runner.run(point).score > 0.7
    assert "torch.optim.Adam" in asked.model.paths()


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"callbacks": "skorch.callbacks.EarlyStopping"}, "params: callbacks: a net is fitted for all of its epochs"),
        ({"train_split": 5}, "params: train_split: a net learns from all of its rows"),
        ({"device": "cuda"}, "params: device: a net is fitted on the CPU"),
        ({"max_epoch": 3}, "params: 'max_epoch' cannot be set of a net, did you mean 'max_epochs'"),
        ({"warm_start": True}, "params: 'warm_start' cannot be set of a net; module, criterion, "),
        ({"lr": "1e-3"}, "params.lr: '1e-3' is text to YAML, and not a number: write 1.0e-3"),
        ({"max_epochs": 0}, "params.max_epochs: 0 is not a whole number above 0"),
        ({"max_epochs": "many"}, "params.max_epochs: 'many' is not a whole number above 0"),
        ({"optimizer": "Adam"}, "params.optimizer: 'Adam' is no import path of a class, such as torch.optim.Adam"),
        ({"optimizer": "torch.optim.Adams"}, "params.optimizer: torch.optim has no 'Adams', did you mean "),
        ({"optimizer": "torch.nn.Linear"}, "params.optimizer: torch.nn.Linear is no torch.optim.Optimizer"),
        ({"module": "decimal.Decimal"}, "params.module: decimal.Decimal is no torch.nn.Module"),
        ({"module": 3}, "params.module: 3 is no import path"),
        ({"module__hiden": 3}, "params: my_net.Net has no argument 'hiden', did you mean 'hidden'"),
        ({"modul__hidden": 3}, "params: a net has no part 'modul', did you mean 'module'"),
        ({"optimizer__momentums": 0.9}, "params: torch.optim.sgd.SGD has no argument 'momentums', did you mean "),
        ({"iterator_train__num_workers": 2}, "params: iterator_train has no argument 'num_workers'"),
        ({"callbacks__print_log": None}, "params: a net has no part 'callbacks'"),
        (
            {"module__inner": {"estimator": "a.B"}},
            "params.module__inner: of a net it can be a number, a text or a list",
        ),
    ],
)
def test_what_cannot_be_set_of_a_net_is_refused_in_one_line(params: dict, said: str) -> None:
    assert refused({**PARAMS, **params}).startswith(f"models.net.{said}")


def test_what_cannot_be_searched_of_a_net_is_refused() -> None:
    dimension = {"type": "int", "low": 1, "high": 9}
    assert "space: my_net.Net has no argument 'hiden'" in refused(PARAMS, space={"module__hiden": dimension})
    assert "space: callbacks: a net is fitted" in refused(PARAMS, space={"callbacks": dimension})


def test_the_number_that_is_advised_is_one_to_yaml() -> None:
    for text in ("1e-3", "-2E5", "1.5e7"):
        (number,) = (word for word in refused({**PARAMS, "lr": text}).split() if word.endswith(text[-1]))
        assert yaml.safe_load(number) == float(text)


def test_a_net_without_a_module_is_told_how_it_is_given() -> None:
    assert "give it in params, as in `params: {module: its.import.Path}`" in refused({})


def test_a_module_that_stands_in_another_file_is_told_its_own_name(net: Path) -> None:
    net.with_name("my_layers.py").write_text("from my_net import Net\n")
    assert refused({**PARAMS, "module": "my_layers.Net"}).endswith("write my_net.Net")


def test_a_net_of_several_files_is_told_what_to_do(net: Path) -> None:
    net.with_name("my_layers.py").write_text("width = 3\n")
    net.write_text(NET.replace("import dataclasses\n", "import dataclasses\nimport my_layers\n", 1))
    said = refused(PARAMS)
    assert "my_net.Net: it imports 'my_layers', which is no installed package and does not travel with a model" in said


def test_a_file_with_a_fault_is_told_in_one_line(net: Path) -> None:
    net.write_text("widths = 3 +\n")
    assert "'my_net.Net' cannot be imported (SyntaxError: " in refused(PARAMS)


def test_a_net_stands_by_itself_and_is_of_one_class() -> None:
    inner = Nested(estimator=PATH, params=dict(PARAMS))
    calibrated = Model(estimator="sklearn.calibration.CalibratedClassifierCV", params={"estimator": inner})
    with pytest.raises(UserError, match="within another estimator a net could be stored as a pickle only"):
        build(calibrated, {}, where="models.net", seed=0, threads=1)
    with pytest.raises(UserError, match=f"is not {PATH}, of skorch the one class"):
        build(Model(estimator="skorch.NeuralNetBinaryClassifier"), {}, where="models.net", seed=0, threads=1)


def test_logits_where_probabilities_are_wanted_are_refused_and_the_advice_works(data: dict) -> None:
    params = {name: value for name, value in PARAMS.items() if name != "criterion"}
    said = unfit(data[2], params)
    assert "its module gives no probabilities of the classes" in said
    fit(data[2], {**params, **yaml.safe_load(said.split("`")[1])})


def test_outputs_of_another_number_than_that_of_classes_are_refused(data: dict) -> None:
    said = unfit(data[3], {**PARAMS, "module__outputs": 2})
    assert "for 100 rows and 3 classes its module gives a tensor (100, 2), and (100, 3) is needed" in said


def test_a_module_that_keeps_what_it_learns_elsewhere_is_refused(data: dict, net: Path) -> None:
    counting = (
        "        self.seen = getattr(self, 'seen', 0) + self.training\n        return self.layers(X) * self.seen\n"
    )
    net.write_text(NET.replace("        return self.layers(X)\n", counting))
    assert "answers otherwise when it is made anew with its weights" in unfit(data[2], PARAMS)


def test_fewer_rows_than_a_batch_that_is_dropped_are_refused(data: dict) -> None:
    said = unfit(data[2], {**PARAMS, "batch_size": 1000, "iterator_train__drop_last": True})
    assert "rows are less than one batch of 1000" in said
