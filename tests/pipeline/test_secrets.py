"""No secret leaves the machine: marks in every place where people put secrets, and none of them in what others read."""

import functools
import http.server
import re
import secrets
import shutil
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from tests import servers
from tests.chains import clone_of_working_files, write_table
from tests.running import PROJECT, Store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (PROJECT / ".git").exists(), reason="the project is not a git clone"),
]

PLACES = (
    "password of the tracking server",
    "token in the git URL",
    "password of the web server",
    "signature of the table's URL",
    "line of .env",
    "key in an untracked file",
    "password in changed code",
    "password typed as a parameter",
)
# no mark stands in this file, which may itself be a change of the tree
MARKS = {place: f"hush{secrets.token_hex(6)}" for place in PLACES}
MARKS["key in an untracked file"] = f"AKIA{secrets.token_hex(8).upper()}"
SIGNATURE = MARKS["signature of the table's URL"]
REPOSITORY = "https://{token}code.example.invalid/tabular.git"
# What MLflow's own process prints before ours begins, and after it has ended: the git URL and the command as they were
# typed, and the address of the tracking server.
MLFLOWS = re.compile(r"^\S+ \S+ INFO mlflow\.projects.*=== (?:Fetching project from|Running command) |^(?:🏃|🧪) View ")
PROBLEM = """
name: secret
data: {source: "SOURCE", target: y}
models: {logistic: {estimator: sklearn.linear_model.LogisticRegression}}
search: {folds: 2}
gate: {beat_prior: false}
"""


@dataclass
class Scene:
    """A store behind a server, and all that was said while runs were made in it."""

    store: Store
    folder: Path
    said: list[str] = field(default_factory=list)

    def keep(self, ended):
        self.said += [ended.stdout, ended.stderr]
        return ended

    def step(self, entry_point, **parameters):
        return self.keep(self.store.step(entry_point, **parameters))

    def dump(self):
        """All that the database holds, as SQL."""
        with sqlite3.connect(self.folder / "mlflow.db") as database:
            return "\n".join(database.iterdump())


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    """A web server with a table, which wants a password and a signature; gives its port."""
    folder = tmp_path_factory.mktemp("web")
    write_table(folder / "table.csv")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            if SIGNATURE not in self.path or "Authorization" not in self.headers:
                self.send_error(403)
                return
            super().do_GET()

        def log_message(self, *words):
            pass

    handler = functools.partial(Handler, directory=folder)
    with servers.serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        yield server.server_port


@pytest.fixture(scope="module")
def scene(tmp_path_factory, fork_server, web):
    folder = tmp_path_factory.mktemp("secrets")
    store = Store(folder, fork_server=fork_server)
    clone_of_working_files(folder / "project")
    with servers.tracking(store.uri, folder / "served") as address:
        uri = address.replace("://", f"://ann:{MARKS['password of the tracking server']}@")
        store.uri, store.client = uri, MlflowClient(uri, uri)
        store.experiment = store.client.create_experiment("shared")
        store.environment |= {
            "MLFLOW_TRACKING_URI": uri,
            "MLFLOW_EXPERIMENT_NAME": "shared",
            "TABLE_USER": "ann",
            "TABLE_PASSWORD": MARKS["password of the web server"],
            "TABLE_SIGNATURE": SIGNATURE,
            "XDG_CACHE_HOME": str(folder / "cache"),
            # git finds the clone where it is asked for either address; who replays has a credential helper
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": f"url.{folder / 'project'}.insteadOf",
            "GIT_CONFIG_VALUE_0": REPOSITORY.format(token=f"{MARKS['token in the git URL']}@"),
            "GIT_CONFIG_KEY_1": f"url.{folder / 'project'}.insteadOf",
            "GIT_CONFIG_VALUE_1": REPOSITORY.format(token=""),
        }
        source = f"http://${{TABLE_USER}}:${{TABLE_PASSWORD}}@127.0.0.1:{web}/table.csv?sig=${{TABLE_SIGNATURE}}&v=1"
        (folder / "secret.yaml").write_text(PROBLEM.replace("SOURCE", source))
        yield Scene(store, folder)


@pytest.fixture(scope="module")
def chain(scene):
    """A chain from the git URL with its token, of a table behind a password and a signature."""
    uri = REPOSITORY.format(token=f"{MARKS['token in the git URL']}@")
    ended = scene.keep(scene.store.project(uri=uri, problem=str(scene.folder / "secret.yaml"), jobs=1))
    assert ended.status == 0, ended.stdout + ended.stderr
    assert ended.tags["tabular.outcome"] == "registered", ended.stdout
    return ended


@pytest.fixture(scope="module")
def changed(scene):
    """A run of etl from a tree with a .env, a note with a key, and a password in its code."""
    project = scene.folder / "changed"
    shutil.copytree(scene.folder / "project", project)
    (project / ".gitignore").write_text("__pycache__/\n")
    (project / ".env").write_text(f"PASSWORD={MARKS['line of .env']}\n")
    (project / "notes.md").write_text(f"my key: {MARKS['key in an untracked file']}\n")
    with (project / "steps" / "etl.py").open("a") as code:
        code.write(f'\nPASSWORD = "{MARKS["password in changed code"]}"\n')
    ended = scene.keep(scene.store.project("etl", uri=str(project), problem=str(scene.folder / "secret.yaml")))
    assert ended.status == 0, ended.stderr
    return ended


@pytest.fixture(scope="module")
def after(scene, chain, changed):
    """What people do with a champion, and what goes wrong."""
    store, folder = scene.store, scene.folder
    source = (folder / "secret.yaml").read_text().split('"')[1]
    for done in (
        scene.step("promote", name="secret_classifier", version="1", alias="tried", reason="to try it"),
        scene.step(
            "predict", model="models:/secret_classifier@champion", data=source, output=str(folder / "scored.csv")
        ),
        scene.step("compare", experiment="shared"),
        scene.step("reproduce", run=store.children(chain.id)["train logistic"].info.run_id),
    ):
        assert done.status == 0, done.stdout + done.stderr
    typed = f"http://ann:{MARKS['password typed as a parameter']}@127.0.0.1:1/t.csv"
    refused = scene.keep(store.project("main", data=typed, target="y"))
    # a table that the web server does not give
    (folder / "gone.yaml").write_text((folder / "secret.yaml").read_text().replace("table.csv", "gone.csv"))
    failed = scene.keep(store.project("main", problem=str(folder / "gone.yaml")))
    return refused, failed


def test_a_chain_of_secrets_is_scored_promoted_compared_and_replayed(after, scene):
    assert len(pd.read_csv(scene.folder / "scored.csv")) == 120


def test_a_password_that_was_typed_as_a_parameter_is_refused_with_a_way_out(after):
    refused, _ = after
    assert refused.status == 1
    (line,) = refused.lines
    assert line.startswith("tabular: data: holds a password or token, which MLflow has logged as this run's parameter")
    assert f"mlflow runs delete --run-id {refused.id}" in line


def test_a_server_that_refuses_is_named_without_what_it_was_asked_with(after):
    _, failed = after
    assert failed.status == 1
    assert "gone.csv" in failed.lines[0]


def test_what_the_patch_leaves_out_is_said(changed):
    for name in (".env", "notes.md", "steps/etl.py"):
        assert f"{name} (" in changed.stdout
        assert f"{name} (" in changed.tags["tabular.tree.missing"]


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_is_on_the_terminal_but_in_mlflows_own_lines(scene, after, place):
    lines = [line for text in scene.said for line in text.splitlines() if MARKS[place] in line]
    assert [line for line in lines if not MLFLOWS.match(line)] == []


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_is_among_the_artifacts(scene, after, place):
    mark = MARKS[place].encode()
    files = [path for path in (scene.folder / "served").rglob("*") if path.is_file()]
    assert len(files) > 50
    assert [path for path in files if mark in path.read_bytes()] == []


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_is_in_the_database_but_the_parameter_that_was_refused(scene, after, place):
    refused, _ = after
    lines = [line for line in scene.dump().splitlines() if MARKS[place] in line]
    assert [line for line in lines if not (line.startswith('INSERT INTO "params"') and refused.id in line)] == []
