"""docs/server.md: its commands, typed one after the other, lead from nothing to a shared chain."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests import typed
from tests.chains import clone_of_working_files
from tests.running import MOST_SECONDS, PROJECT, surroundings
from tests.servers import free_port, in_background

PAGE = (PROJECT / "docs" / "server.md").read_text(encoding="utf-8")


def blocks(mark: str, port: int) -> list[str]:
    """The page's commands below a mark, on a port that is free here and in the environment of the tests."""
    found = re.findall(rf"<!-- {mark} -->\n```bash\n(.*?)```", PAGE, re.DOTALL)
    here = {"5000": str(port), "--env-manager uv": "--env-manager local", "trials=3": "trials=1"}
    return [re.sub("|".join(here), lambda one: here[one[0]], block) for block in found]


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory, fork_server: str) -> dict[str, str]:
    """What the commands print, all in one shell, and the page's server."""
    pytest.importorskip("flask_wtf", reason="requirements-dev.txt is not installed here")
    folder, port = tmp_path_factory.mktemp("page"), free_port()
    clone_of_working_files(folder / "project")
    (start,) = blocks("run in the background", port)
    start = start.replace("pip install 'mlflow[auth]==3.17.2'\n", "")  # it is here already
    begun = [f"exec {line}" if line.startswith("mlflow server") else line for line in start.splitlines()]
    with in_background(["bash", "-ec", "\n".join(begun)], port, folder):
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        # forked off a process that has imported it
        commands = f'mlflow() {{ {sys.executable} {typed.__file__} {typed.keeper_address()} "$@"; }}\n'
        commands += "\necho '=== next'\n".join(blocks("run", port))
        pipes = {"capture_output": True, "text": True, "timeout": 2 * MOST_SECONDS}
        environment = {**surroundings(), "PATH": path, "TABULAR_FORK_SERVER": fork_server}
        done = subprocess.run(["bash", "-ec", commands], cwd=folder / "project", env=environment, check=False, **pipes)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_USERNAME", "bob")
            patch.setenv("MLFLOW_TRACKING_PASSWORD", "the-password-of-bob")
            uri = f"http://127.0.0.1:{port}"
            champion = MlflowClient(uri, uri).get_model_version_by_alias("iris_classifier", "champion")
    of_admin, of_ann, grant, of_bob = done.stdout.split("=== next\n")
    return {"ann": of_ann, "bob": of_bob, "said": of_admin + grant, "version": str(champion.version)}


def test_ann_checks_and_registers_a_champion(printed):
    assert "  account    ann is let in" in printed["ann"]
    assert "registered after" in printed["ann"]


def test_bob_reuses_every_step_of_anns(printed):
    assert printed["bob"].count(" reused ") == 7, printed["bob"]
    assert "nothing to do" in printed["bob"]


def test_the_champion_stays_as_it_is(printed):
    assert printed["version"] == "1"


def test_the_administrators_commands_say_nothing_of_passwords(printed):
    assert "password" not in printed["said"]
