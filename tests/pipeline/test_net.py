"""The net of docs/models.md, as it stands there: a chain, its model served and asked in a batch, and its replay."""

import json
import re
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.chains import clone_of_working_files, git
from tests.model.servers import assert_served_as_scored
from tests.running import PROJECT, Store

pytestmark = pytest.mark.slow

for package in ("torch", "skorch", "safetensors"):
    pytest.importorskip(package, reason="requirements-torch.txt is not installed here")

PAGE = (PROJECT / "docs" / "models.md").read_text(encoding="utf-8").partition("## Nets of torch")[2]


def block(language: str) -> str:
    """The block of a language on the page."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return textwrap.dedent(found)


@pytest.fixture(scope="module")
def place(tmp_path_factory, fork_server):
    """A folder with a clone that holds the net's file, a table, a store, and a chain."""
    folder = tmp_path_factory.mktemp("net")
    project = folder / "project"
    clone_of_working_files(project)
    (project / "my_nets.py").write_text(block("python"))
    git(project, "add", "-A")
    git(project, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "a net")
    x, z = np.random.default_rng(5).normal(size=(2, 400))
    pd.DataFrame({"x": x, "z": z, "y": np.where(x * z > 0, "yes", "no")}).to_csv(folder / "table.csv", index=False)
    described = "name: nets\ndata: {source: table.csv, target: y}\nsearch: {trials: 2, folds: 2}\n"
    (folder / "nets.yaml").write_text(described + block("yaml"))
    store = Store(folder, fork_server=fork_server)
    ended = store.project(uri=str(project), problem="nets.yaml", jobs=1)
    assert ended.status == 0, ended.stdout + ended.stderr
    return folder, store, ended


def test_the_net_is_registered_and_has_learnt_what_no_line_tells(place):
    _, store, ended = place
    assert ended.tags["tabular.outcome"] == "registered"
    train = store.children(ended.id)["train net"]
    assert train.data.metrics["cv_roc_auc_mean"] > 0.8
    assert train.data.params["module"] == "my_nets.Small"
    assert "validation_loss_by_iteration" in train.data.metrics


def test_what_is_served_and_what_is_scored_in_a_batch_are_equal(place, tmp_path):
    folder, store, ended = place
    run = store.children(ended.id)["train net"]
    assert_served_as_scored(store, run, folder / "table.csv", tmp_path)


def test_a_model_is_weights_and_code_and_requires_no_skorch(place):
    _, store, ended = place
    model_id = store.children(ended.id)["train net"].data.tags["tabular.model_uri"].removeprefix("models:/")
    local = Path(store.client.get_logged_model(model_id).artifact_location.removeprefix("file://"))
    assert sorted(path.name for path in (local / "artifacts" / "model").iterdir()) == [
        "features.skops",
        "model.json",
        "net.py",
        "net.safetensors",
    ]
    required = (local / "requirements.txt").read_text()
    assert "torch==" in required
    assert "skorch==" not in required


def test_the_chain_once_more_is_the_same(place):
    folder, store, ended = place
    again = store.project("reproduce", uri=str(folder / "project"), run=ended.id, jobs=1)
    assert again.status == 0, again.stdout + again.stderr
    assert again.tags["tabular.outcome"] == "same"
    rows = json.loads(store.artifact(again.run, "replay.json").read_text())["data"]
    assert {row[2] for row in rows} == {"same"}
    assert {"hpo net", "train net"} <= {row[0] for row in rows}


def test_an_edit_of_the_nets_code_runs_what_learns_with_it_and_a_comment_does_not(place):
    folder, store, _ = place
    file = folder / "project" / "my_nets.py"
    file.write_text(block("python").replace("One hidden layer", "A layer"))
    again = store.project(uri=str(folder / "project"), problem="nets.yaml", jobs=1)
    assert again.status == 0, again.stdout + again.stderr
    assert not re.search(r"^  \w.*\(ran: ", again.stdout, re.MULTILINE), again.stdout
    file.write_text(block("python").replace("nn.ReLU()", "nn.Tanh()"))
    other = store.project(uri=str(folder / "project"), problem="nets.yaml", jobs=1)
    ran = re.findall(r"^  (\w+).*\(ran: (.*)\)$", other.stdout, re.MULTILINE)
    assert [step for step, _ in ran] == ["hpo", "train", "evaluate", "refit", "register"], other.stdout
    assert dict(ran)["hpo"] == "module my_nets.py"
