"""conda.yaml: the environment that conda makes of the lock, where conda and its channel are there."""

import json
import os
import shutil
import subprocess
import urllib.request

import pytest

from tests.running import PROJECT, Store

TOOLS = ("conda", "mamba", "micromamba")
CHANNELS = os.environ.get("CONDA_CHANNEL_ALIAS", "https://conda.anaconda.org").rstrip("/")
SECONDS = 4  # in which a channel that can be worked with answers
MOST_SECONDS = 1800  # Python and some hundred packages are downloaded


def _tool() -> str:
    """The conda of this machine; the test is skipped where there is none, or no channel."""
    found = next(filter(None, map(shutil.which, TOOLS)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(TOOLS)} is installed here")
    try:
        address = f"{CHANNELS}/conda-forge/noarch/repodata.json.zst"
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=SECONDS).close()
    except OSError as error:
        pytest.skip(f"the channel {CHANNELS}/conda-forge is not reached from here ({error})")
    return found


@pytest.mark.slow
@pytest.mark.long
def test_a_chain_runs_in_the_environment_that_conda_makes(tmp_path):
    tool, prefix = _tool(), tmp_path / "environment"
    for name in ("conda.yaml", "requirements.txt"):  # conda writes beside them
        shutil.copy(PROJECT / name, tmp_path)
    words = [tool, "env", "create", "--yes", "--file", str(tmp_path / "conda.yaml"), "--prefix", str(prefix)]
    subprocess.run(words, check=True, cwd=tmp_path, timeout=MOST_SECONDS)
    store = Store(tmp_path)
    active = {**store.environment, "PATH": f"{prefix / 'bin'}{os.pathsep}{os.environ['PATH']}"}  # as `conda activate`
    given = ["-P", "problem=iris", "-P", "preset=quick", "-P", "trials=1"]
    words = [str(prefix / "bin" / "mlflow"), "run", str(PROJECT), "--env-manager", "local", *given]
    subprocess.run(words, check=True, cwd=tmp_path, env=active, timeout=MOST_SECONDS)
    ended = store.newest()
    assert ended.data.tags["tabular.outcome"] == "registered"
    packages = json.loads(store.artifact(ended, "environment.json").read_text(encoding="utf-8"))["packages"]
    assert f"\nmlflow=={packages['mlflow']} " in (PROJECT / "requirements.txt").read_text(encoding="utf-8")
