"""The lock that `mlflow run` itself installs: kept, changed, and tampered with."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
LOCK = (PROJECT / "requirements.txt").read_text()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed")]


def locked(name: str) -> str:
    """A package's entry of the lock, its hashes included."""
    return re.search(rf"^{name}==.*?(?=^\S)", LOCK, re.M | re.S)[0]


@pytest.fixture
def place(tmp_path):
    """A copy of the project whose lock is short: what is tested is how a lock is installed, not how much."""
    shutil.copy(PROJECT / "python_env.yaml", tmp_path)
    (tmp_path / "requirements.txt").write_text(locked("threadpoolctl"))
    show = "import sys, threadpoolctl; print(sys.prefix)"
    project = (PROJECT / "MLproject").read_text()
    (tmp_path / "MLproject").write_text(re.sub(r'python -m steps etl [^"]*', f"python -c '{show}'", project))
    return tmp_path


def run(place: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": f"sqlite:///{place}/mlflow.db",
        "MLFLOW_ENV_ROOT": f"{place}/envs",
    }
    command = [sys.executable, "-m", "mlflow", "run", str(place), "-e", "etl", "--env-manager", "uv"]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)


def prefix(done: subprocess.CompletedProcess[str]) -> str:
    """Where the Python that ran the step lives."""
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


@pytest.mark.long
def test_a_changed_lock_gives_a_new_environment_and_an_unchanged_one_the_old(place):
    first = prefix(run(place))
    assert first.startswith(str(place / "envs"))
    assert prefix(run(place)) == first
    (place / "requirements.txt").write_text(locked("threadpoolctl") + locked("six"))
    assert prefix(run(place)) != first


def test_a_wrong_hash_is_refused(place):
    (place / "requirements.txt").write_text(re.sub(r"sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, locked("six")))
    done = run(place)
    assert done.returncode != 0
    assert "hash mismatch" in (done.stderr + done.stdout).lower()
