"""A logged model's own files, installed in the ways of MLflow: by the hashes that they hold, and by nothing else."""

import base64
import ensurepip
import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
import yaml
from mlflow.models import container
from mlflow.models.flavor_backend_registry import get_flavor_backend

pytestmark = pytest.mark.slow

# What is installed of the model's packages: a small one. All of them take minutes (docs/serving.md).
SMALL = "threadpoolctl"
REFUSED = re.compile(r"hash mismatch|DO NOT MATCH THE HASHES|no versions? .*matching hash", re.IGNORECASE)


@pytest.fixture(scope="module")
def model(shelf: dict) -> Path:
    """The folder of a logged model."""
    return shelf["logistic_regression", 2].folder


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small package, packed anew: a file of the same name and version, and of other bytes than the lock's."""
    found = distribution(SMALL)
    path = tmp_path_factory.mktemp("wheels") / f"{SMALL}-{version(SMALL)}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as packed:
        lines = []
        for file in found.files:
            if file.suffix == ".py" or file.name in ("METADATA", "WHEEL"):
                content = file.locate().read_bytes()
                digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
                packed.writestr(str(file), content)
                lines.append(f"{file},sha256={digest},{len(content)}\n")
        record = f"{SMALL}-{version(SMALL)}.dist-info/RECORD"
        packed.writestr(record, "".join([*lines, f"{record},,\n"]))
    return path


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Python of an environment with nothing but pip, as the image that a model's container begins with has it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    (pip,) = Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl")  # to install it takes seconds
    monkeypatch.setenv("PYTHONPATH", str(pip))
    return tmp_path / "bare" / "bin" / "python"


@pytest.fixture
def offline(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pip and uv find the wheel, and no index of packages."""
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheel.parent),
        "UV_OFFLINE": "1",
        "UV_FIND_LINKS": str(wheel.parent),
        "UV_CACHE_DIR": str(tmp_path / "cache"),
        "MLFLOW_ENV_ROOT": str(tmp_path / "environments"),
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["uv", "build-docker"])
def install(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None) -> Callable:
    """Installs a model in one of MLflow's ways, and gives what was said where it is refused, else nothing."""
    if request.param == "build-docker":
        python = request.getfixturevalue("bare")
        capfd = request.getfixturevalue("capfd")

        def of_an_image(model: Path) -> str:
            with monkeypatch.context() as patch:
                patch.setattr(sys, "executable", str(python))
                try:
                    container._install_model_dependencies_to_env(str(model), "local")
                except Exception:
                    return "".join(capfd.readouterr())
            return ""

        return of_an_image
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed")

    def of_an_environment(model: Path) -> str:
        try:
            get_flavor_backend(str(model), env_manager="uv").prepare_env(str(model), capture_output=True)
        except Exception as error:
            return str(error)
        return ""

    return of_an_environment


def short(model: Path, folder: Path, *, packed: Path | None = None) -> Path:
    """A copy of a model that requires the small package alone: by the lock's hashes, or by that of a file."""
    copy = folder / "model"
    shutil.copytree(model, copy)
    file = copy / "requirements.txt"
    (line,) = re.findall(rf"^{SMALL}==.*(?:\n +--hash=.*)+", file.read_text(encoding="utf-8"), re.MULTILINE)
    if packed is not None:
        digest = hashlib.sha256(packed.read_bytes()).hexdigest()
        line = f"{line.splitlines()[0]}\n    --hash=sha256:{digest}"
    file.write_text(f"{line}\n", encoding="utf-8")
    return copy


def test_a_package_of_other_bytes_than_the_locks_is_refused(install: Callable, model: Path, tmp_path: Path) -> None:
    assert REFUSED.search(install(short(model, tmp_path)))


def test_a_package_of_the_very_bytes_is_installed(install: Callable, model: Path, wheel: Path, tmp_path: Path) -> None:
    assert install(short(model, tmp_path, packed=wheel)) == ""


def test_conda_is_given_the_same_lines(model: Path) -> None:
    text = (model / "requirements.txt").read_text(encoding="utf-8")
    lines = [line for line in re.sub(r" *\\\n +", " ", text).splitlines() if not line.startswith("#")]
    assert yaml.safe_load((model / "conda.yaml").read_text(encoding="utf-8"))["dependencies"][-1] == {"pip": lines}
    assert all("--hash=sha256:" in line for line in lines)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed")
@pytest.mark.parametrize("system", ["linux", "macos", "windows"])
def test_on_each_system_all_has_a_hash_and_a_wheel(model: Path, tmp_path: Path, system: str) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    words = ["uv", "pip", "install", "--dry-run", "--require-hashes", "--only-binary", ":all:"]
    words += ["--python-platform", system, "--python", str(tmp_path / "bare"), "-r", str(model / "requirements.txt")]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^ \+ ", done.stderr, re.MULTILINE)) > 80
