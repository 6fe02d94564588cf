"""A test that is skipped on a CI machine for what such a machine has fails there."""

import os
import subprocess
import sys
from pathlib import Path

from tests.running import PROJECT

SKIPPED = """
import pytest

def test_a():
    pytest.skip("uv is not installed")

@pytest.mark.skipif(True, reason="this clone does not have the commit 1234567")
def test_b(): ...

def test_c():
    pytest.skip("Prometheus' promtool is not installed here")
"""
SKIPPED_WHOLE = """
import pytest

pytest.importorskip("nowhere", reason="requirements-dev.txt is not installed here")
"""


def test_a_skip_for_what_ci_has_fails_there_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(SKIPPED)
    (tmp_path / "test_whole.py").write_text(SKIPPED_WHOLE)
    words = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-c", os.devnull, "--rootdir", str(tmp_path)]
    words += ["--continue-on-collection-errors", "-p", "no:cacheprovider", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    pipes = {"capture_output": True, "text": True}
    done = subprocess.run(words, check=False, cwd=PROJECT, env={**environment, "SKIPS_FAIL": "true"}, **pipes)
    for reason in ("uv is not", "this clone does not have", "requirements-dev.txt is not"):
        assert f"skipped for what CI has: {reason}" in done.stdout
    assert "1 failed, 1 skipped, 2 errors" in done.stdout  # those that were skipped before they began are errors
