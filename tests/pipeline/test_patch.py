"""What a tree has over its commit, as main keeps it: enough to make the same tree again."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import PROJECT

pytestmark = pytest.mark.skipif(not (PROJECT / ".git").exists(), reason="the project is not a git clone")


def git(folder, *words):
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True).stdout


@pytest.fixture
def clone(tmp_path):
    git(tmp_path, "clone", "-q", str(PROJECT), "clone")
    return tmp_path / "clone"


def changes(clone):
    """The patch that main would log for a clone, or None."""
    (clone.parent / "patch").mkdir()
    ask = (
        "import sys; from pathlib import Path; from steps.run import working_tree; "
        "print(working_tree.changes(Path(sys.argv[1])).patch)"
    )
    done = subprocess.run(
        [sys.executable, "-c", ask, str(clone.parent / "patch")], cwd=clone, check=True, capture_output=True, text=True
    )
    return None if done.stdout.strip() == "None" else done.stdout.strip()


def test_a_clean_tree_has_none(clone):
    assert changes(clone) is None


def test_it_makes_the_same_tree_again_untracked_and_binary_files_and_other_encodings_included(clone, tmp_path):
    (clone / "steps" / "new.py").write_text("NEW = 1\n")
    (clone / "picture.bin").write_bytes(bytes(range(256)))
    (clone / "README.md").write_bytes("gr\u00fc\u00df\n".encode("latin-1"))
    (clone / "conda.yaml").unlink()
    patch = changes(clone)
    git(tmp_path, "clone", "-q", str(PROJECT), "again")
    git(tmp_path / "again", "apply", "--binary", patch)
    for name in ("steps/new.py", "picture.bin", "README.md"):
        assert (tmp_path / "again" / name).read_bytes() == (clone / name).read_bytes()
    assert not (tmp_path / "again" / "conda.yaml").exists()


def test_it_holds_files_of_hard_names_and_what_was_a_file_and_is_a_link(clone, tmp_path):
    names = ["a b.py", "[x].py", "a\tb.py", "gr\u00fc\u00df.py", ":(top)x.py"]
    for name in names:
        (clone / name).write_text(f"{len(name)}\n")
    (clone / "conda.yaml").unlink()
    (clone / "conda.yaml").symlink_to("python_env.yaml")
    patch = changes(clone)
    git(tmp_path, "clone", "-q", str(PROJECT), "again")
    git(tmp_path / "again", "apply", "--binary", patch)
    assert [(tmp_path / "again" / name).read_text() for name in names] == [f"{len(name)}\n" for name in names]
    assert (tmp_path / "again" / "conda.yaml").is_symlink()


def test_a_file_that_git_ignores_or_that_is_too_large_is_left_out(clone):
    (clone / "mlflow.db").write_text("ignored")
    (clone / "data.csv").write_bytes(b"0" * 6_000_000)
    (clone / "steps" / "new.py").write_text("NEW = 1\n")
    patch = Path(changes(clone)).read_text()
    assert "new.py" in patch
    assert "mlflow.db" not in patch
    assert "data.csv" not in patch


def test_what_git_refuses_is_named_and_takes_nothing_with_it(clone):
    (clone / "steps" / "new.py").write_text("NEW = 1\n")
    (clone / ".#new.py").symlink_to("nobody@nowhere")
    git(clone, "init", "-q", "nested")
    (clone / "nested" / "file").write_text("1\n")
    patch = Path(changes(clone).splitlines()[-1]).read_text()
    assert "new.py" in patch


def test_the_callers_index_and_objects_stay_as_they_are(clone):
    (clone / "steps" / "new.py").write_text("NEW = 1\n")
    before = git(clone, "status", "--porcelain"), git(clone, "count-objects")
    changes(clone)
    assert (git(clone, "status", "--porcelain"), git(clone, "count-objects")) == before
