"""What a run says of the tree that it was started from, and reproduce of it: what is not known or held is said."""

import os
import shutil
import subprocess

import pandas as pd
import pytest
from mlflow.entities import Run, RunData, RunInfo, RunTag

from steps import reproduce
from steps.replay import checkout
from steps.run import working_tree
from tabular.errors import UserError
from tests.running import PROJECT

pytestmark = pytest.mark.skipif(not (PROJECT / ".git").exists(), reason="the project is not a git clone")

# The git of nobody in particular: no folder is called safe, and nothing of a user's own is set.
NOBODY = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_COUNT": "0"}
WHO = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "protocol.file.allow=always")


def git(folder, *words):
    return subprocess.run(["git", *WHO, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone that the steps take for their project."""
    for name, value in NOBODY.items():
        monkeypatch.setenv(name, value)
    git(tmp_path, "clone", "-q", str(PROJECT), "clone")
    monkeypatch.setattr(working_tree, "PROJECT", tmp_path / "clone")
    monkeypatch.setattr(checkout, "PROJECT", tmp_path / "clone")
    return tmp_path / "clone"


KEY = "AKIA" + "Z7QX2M4N6P8R0T1V"


def test_what_may_hold_a_secret_is_not_in_the_patch_and_is_told(clone, tmp_path):
    (clone / ".gitignore").write_text("")  # an earlier one, which does not name .env
    (clone / ".env").write_text("NAME=hush-env\n")
    (clone / "tls.pem").write_bytes(bytes(range(256)) + b"hush-pem")
    (clone / "notes.md").write_text(f"the key is {KEY}\n")
    (clone / "steps" / "etl.py").write_text('PASSWORD = "hush-code"\n')
    (clone / "steps" / "new.py").write_text("NEW = 1\n")
    (clone / "conda.yaml").unlink()
    (tmp_path / "step").mkdir()
    tree = working_tree.changes(tmp_path / "step")
    patch = tree.patch.read_text()
    assert not [mark for mark in ("hush", KEY) if mark in patch]
    told = dict(line.split(" (", 1) for line in tree.missing)
    assert set(told) == {".env", "tls.pem", "notes.md", "steps/etl.py"}
    assert "AWS" in told["notes.md"]
    git(tmp_path, "clone", "-q", str(PROJECT), "again")
    git(tmp_path / "again", "apply", "--binary", str(tree.patch))
    assert (tmp_path / "again" / "steps" / "new.py").exists()
    assert not (tmp_path / "again" / "conda.yaml").exists()


def test_a_replay_says_that_the_tree_lacks_what_may_hold_a_secret(clone):
    tags = {"tabular.tree": "changed", "tabular.tree.missing": ".env (by its name a file of keys or passwords)"}
    assert "lacks .env" in checkout.missing(a_run(**tags), clone)[0]


@pytest.fixture
def submodule(clone):
    """A submodule of the clone, and committed in it."""
    git(clone.parent, "init", "-q", "library")
    (clone.parent / "library" / "code.py").write_text("ONE = 1\n")
    git(clone.parent / "library", "add", "-A")
    git(clone.parent / "library", "commit", "-qm", "first")
    git(clone, "submodule", "--quiet", "add", str(clone.parent / "library"), "lib")
    git(clone, "commit", "-qm", "with a library")
    return clone / "lib"


@pytest.fixture
def started(store, tmp_path):
    """Starts a step by hand, and gives it once it has ended."""
    pd.DataFrame({"x": range(60), "y": [i % 2 for i in range(60)]}).to_csv(tmp_path / "rows.csv", index=False)

    def start(**environment):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**NOBODY, **environment}.items():
                patch.setitem(store.environment, name, value)
            ended = store.step("etl", data=tmp_path / "rows.csv", target="y")
        assert ended.status == 0, ended.stderr
        return ended

    return start


def a_run(**tags):
    data = RunData([], [], [RunTag(f"{name}", value) for name, value in tags.items()])
    return Run(RunInfo("a" * 32, "0", "me", "FINISHED", 0, 1, "active"), data)


def test_a_clone_that_git_calls_of_dubious_ownership_is_unknown(clone, started):
    ended = started(GIT_TEST_ASSUME_DIFFERENT_OWNER="1")
    assert ended.tags["tabular.tree"] == "unknown"
    assert "dubious ownership" in ended.tags["tabular.tree.missing"]
    assert f"git config --global --add safe.directory {clone}" in ended.stdout


def test_a_tree_without_git_is_unknown(clone, started):
    shutil.rmtree(clone / ".git")
    ended = started(GIT_CEILING_DIRECTORIES=str(clone.parent))
    assert ended.tags["tabular.tree"] == "unknown"
    assert "not a git repository" in ended.tags["tabular.tree.missing"]


def test_a_tree_that_the_repository_around_it_ignores_is_unknown(clone, started):
    shutil.rmtree(clone / ".git")
    git(clone.parent, "init", "-q")
    (clone.parent / ".gitignore").write_text("clone\n")
    git(clone.parent, "add", ".gitignore")
    git(clone.parent, "commit", "-qm", "around it")
    ended = started()
    assert ended.tags["tabular.tree"] == "unknown"
    assert "ignores" in ended.tags["tabular.tree.missing"]


def test_a_tree_without_a_commit_is_unknown(clone, started):
    shutil.rmtree(clone / ".git")
    git(clone, "init", "-q")
    ended = started()
    assert ended.tags["tabular.tree"] == "unknown"
    assert "no commit" in ended.tags["tabular.tree.missing"]


def test_a_clean_clone_lacks_nothing(clone, started):
    ended = started()
    assert ended.tags["tabular.tree"] == "clean"
    assert "tabular.tree.missing" not in ended.tags


def test_a_clean_submodule_is_clean(submodule, started):
    assert started().tags["tabular.tree"] == "clean"


@pytest.mark.parametrize("name", ["code.py", "new.py"])
def test_changes_in_a_submodule_are_said_to_be_missing(clone, submodule, started, name):
    (submodule / name).write_text("ONE = 2\n")
    (clone / "steps" / "mine.py").write_text("MINE = 1\n")
    ended = started()
    assert ended.tags["tabular.tree"] == "changed"
    assert "lib (a submodule, with changes of its own)" in ended.tags["tabular.tree.missing"]
    assert "not in changes.patch: lib (a submodule" in ended.stdout


def test_changes_in_a_submodule_that_is_set_to_be_ignored_are_said_to_be_missing(clone, submodule, started):
    git(clone, "config", "diff.ignoreSubmodules", "all")
    (submodule / "code.py").write_text("ONE = 2\n")
    assert "lib (a submodule" in started().tags["tabular.tree.missing"]


def test_another_commit_of_a_submodule_is_in_the_patch(clone, submodule, started, store):
    (submodule / "code.py").write_text("ONE = 2\n")
    git(submodule, "commit", "-qam", "second")
    ended = started()
    assert f"+Subproject commit {git(submodule, 'rev-parse', 'HEAD')}" in (
        store.artifact(ended.run, "changes.patch").read_text()
    )
    git(clone.parent, "clone", "-q", str(clone), "again")
    git(clone.parent / "again", "apply", "--binary", str(store.artifact(ended.run, "changes.patch")))


def test_a_repository_within_the_tree_is_said_to_be_missing(clone, started):
    git(clone, "init", "-q", "nested")
    git(clone / "nested", "commit", "-q", "--allow-empty", "-m", "first")
    (clone / "nested" / "code.py").write_text("ONE = 1\n")
    ended = started()
    assert "nested/ (a repository of its own)" in ended.tags["tabular.tree.missing"]


def test_tables_and_environments_are_not_in_the_patch_and_are_told(clone, tmp_path):
    (clone / "customers.csv").write_text("name\nann\n")
    (clone / "bills.CSV.gz").write_bytes(b"0")
    (clone / "mine" / "lib").mkdir(parents=True)
    (clone / "mine" / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (clone / "mine" / "lib" / "package.py").write_text("ONE = 1\n")
    (clone / "own.py").write_text("TWO = 2\n")
    tree = working_tree.changes(tmp_path)
    assert tree.missing == (
        "mine/ (an environment)",
        "bills.CSV.gz and 1 more tables (a table is data, of which a run has the digest)",
    )
    patch = tree.patch.read_text()
    assert "own.py" in patch
    assert not any(name in patch for name in ("customers.csv", "ann", "pyvenv", "package.py"))


def test_a_folder_of_more_files_than_anybody_writes_is_not_read_file_by_file(clone, tmp_path):
    (clone / "cache").mkdir()
    for number in range(working_tree.MOST_FILES + 1):
        (clone / "cache" / f"{number}.bin").write_text("0")
    tree = working_tree.changes(tmp_path)
    (missing,) = tree.missing
    assert "untracked files such as cache/0.bin (too many: name their folder in .gitignore)" in missing
    assert tree.patch.read_bytes() == b""


def test_a_file_too_large_for_a_patch_is_said_to_be_missing(clone, started):
    (clone / "rows.csv").write_bytes(b"0" * 6_000_000)
    assert started().tags["tabular.tree.missing"] == "rows.csv (above 5 MB)"


def test_reproduce_says_why_a_tree_is_lost(tmp_path):
    root = a_run(**{"tabular.tree": "unknown", "tabular.tree.missing": "git: not a git repository"})
    with pytest.raises(UserError, match=r"names no commit, so its tree is lost \(git: not a git repository\)"):
        checkout.make(root, tmp_path)


def test_reproduce_says_what_is_missing_of_a_tree(clone, submodule, capsys):
    commit = git(clone, "rev-parse", "HEAD").strip()
    tags = {"mlflow.source.git.commit": commit, "tabular.tree": "unknown", "tabular.tree.missing": "git: no"}
    missing = reproduce._say_tree(a_run(**tags), clone)
    assert "whether that tree had changes is unknown: git: no" in capsys.readouterr().out
    assert missing == [
        "whether that tree had changes is unknown: git: no",
        "its submodules are not in the tree that was made again: lib",
    ]


def test_reproduce_says_what_the_patch_did_not_hold(clone, capsys):
    commit = git(clone, "rev-parse", "HEAD").strip()
    tags = {"mlflow.source.git.commit": commit, "tabular.tree": "changed", "tabular.tree.missing": "a.csv (above 5 MB)"}
    reproduce._say_tree(a_run(**tags), clone)
    assert "its changes.patch lacks a.csv (above 5 MB)" in capsys.readouterr().out


def test_reproduce_in_a_clone_that_git_refuses_says_so(clone, tmp_path, monkeypatch):
    monkeypatch.setattr(checkout, "_addresses", lambda run: [])
    git(tmp_path, "init", "-q", "tree")
    shutil.rmtree(clone / ".git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    with pytest.raises(UserError, match=r"is not in this clone \(git: not a git repository"):
        checkout._fetch(tmp_path / "tree", "a" * 40, [])
