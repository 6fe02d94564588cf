"""What a model is installed from: the closure of the packages that serve it, by the hashes of the lock or by none."""

import re
import subprocess
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from steps.model import requirements, smoke_test
from steps.run import environment
from tabular.errors import UserError

PACKAGES = [*requirements.SERVING, "lightgbm"]


def locked_versions() -> dict[str, str]:
    """What is installed in an environment that was made of all locks."""
    every = [one for file in reversed(environment.locks()) for one in environment.lock(file) if one.is_for_here]
    return {one.name: next(iter(one.wanted.specifier)).version for one in every}


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The packages of an environment of the locks, which a test may change."""
    found = locked_versions()
    monkeypatch.setattr(environment, "installed", lambda: found)
    return found


def lines(found: requirements.Requirements) -> dict[str, str]:
    """{package with its marker: line}."""
    return {line.partition("\\")[0].strip(): line for line in (*found.serving, *found.beyond)}


def written(found: requirements.Requirements, folder: Path) -> None:
    """Write requirements where MLflow has written its own."""
    (folder / "conda.yaml").write_text("name: mlflow-env\ndependencies: [pip, {pip: [mlflow]}]\n", encoding="utf-8")
    (folder / "python_env.yaml").write_text("python: 3.11.7\nbuild_dependencies: [pip]\n", encoding="utf-8")
    found.write(folder)


def names(some: list[str]) -> set[str]:
    return {canonicalize_name(line.partition("==")[0]) for line in some}


def needed(*roots: str) -> set[str]:
    """These packages and all that the installed ones say they need here."""
    found, left = set(), [*roots]
    while left:
        name = canonicalize_name(left.pop())
        if name not in found:
            found.add(name)
            every = map(Requirement, distribution(name).requires or [])
            left += [one.name for one in every if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


def test_all_that_the_installed_packages_need_is_among_them() -> None:
    found = requirements.of(PACKAGES)
    assert found.unlocked == ""
    assert names([*found.serving, *found.beyond]) >= needed(*PACKAGES)


def test_what_serves_with_the_small_mlflow_comes_first_and_is_all_that_it_needs() -> None:
    found = requirements.of(PACKAGES)
    assert names(found.serving) >= needed("mlflow-skinny", *(name for name in PACKAGES if name != "mlflow"))
    assert {"mlflow", "flask", "pyarrow", "gunicorn"} <= names(found.beyond)
    assert "mlflow" not in names(found.serving)


def test_each_line_is_the_locks_with_all_its_hashes() -> None:
    text = (environment.PROJECT / "requirements.txt").read_text(encoding="utf-8")
    for line in lines(requirements.of(PACKAGES)).values():
        assert line.count("--hash=sha256:") >= 1
        assert f"\n{line}\n    #" in text


def test_lines_for_other_systems_keep_their_markers() -> None:
    assert "waitress==3.0.2 ; sys_platform == 'win32'" in lines(requirements.of(PACKAGES))


@pytest.mark.parametrize(
    ("package", "other"), [("lightgbm", "4.0.0"), ("numpy", "1.26.4"), ("click", "8.0.0")], ids=lambda name: name
)
def test_a_package_in_another_version_takes_the_hashes_of_all_and_is_named(
    package: str, other: str, installed: dict[str, str]
) -> None:
    installed[package] = other
    found = requirements.of(PACKAGES)
    assert found.unlocked == f"{package} {other} is not the lock's"
    assert f"{package}=={other}" in lines(found)
    assert not any("--hash" in line for line in lines(found).values())
    assert names([*found.serving, *found.beyond]) >= needed(*PACKAGES)


def test_a_package_that_is_in_no_lock_takes_the_hashes_of_all_and_is_named(installed: dict[str, str]) -> None:
    installed["of-our-own"] = "1.2+build.7"
    found = requirements.of([*PACKAGES, "of_our_own"])
    assert found.unlocked == "of-our-own 1.2+build.7 is not the lock's"
    assert {"of-our-own==1.2", f"scipy=={version('scipy')}"} <= set(found.serving)
    assert not any("--hash" in line for line in lines(found).values())


def test_a_package_that_is_nowhere_is_refused_with_what_to_do() -> None:
    with pytest.raises(UserError, match=r"^of-our-own is needed .* is in no lock and not installed: install it$"):
        requirements.of([*PACKAGES, "of_our_own"])


def test_a_build_of_the_locks_version_has_its_hashes(installed: dict[str, str]) -> None:
    installed["numpy"] += "+of.this.machine"
    assert requirements.of(PACKAGES).unlocked == ""


def test_a_package_of_an_extra_has_the_hashes_of_its_lock_beside_those_of_the_lock() -> None:
    usual, found = lines(requirements.of(PACKAGES)), lines(requirements.of([*PACKAGES, "xgboost"]))
    assert found.items() >= usual.items()
    more = names(list(found.keys() - usual.keys()))
    assert "xgboost" in more
    assert "catboost" not in more
    assert all("--hash=sha256:" in line for line in found.values())


def test_a_lock_that_does_not_say_what_needs_what_gives_no_hashes_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (environment.PROJECT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    bare = [line for line in text if not line.lstrip().startswith("#")]
    (tmp_path / "requirements.txt").write_text("\n".join(bare) + "\n", encoding="utf-8")
    monkeypatch.setattr(environment, "PROJECT", tmp_path)
    environment.lock.cache_clear()
    try:
        found = requirements.of(PACKAGES)
    finally:
        environment.lock.cache_clear()
    assert found.unlocked == "requirements.txt does not say which package needs which"
    assert not any("--hash" in line for line in lines(found).values())


def test_of_a_models_requirements_those_are_read_that_are_installed_with_hashes_and_without(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    lines = ["# six==1.0", "mlflow==3.0", "PyYAML[all]==6.0 ; python_version > '3' \\", "    --hash=sha256:ab=="]
    file.write_text("\n".join([*lines, "of-another-lock==1.0"]) + "\n", encoding="utf-8")
    assert requirements.used(file) == ["mlflow", "PyYAML"]


def test_our_image_takes_what_serves_with_the_small_mlflow_and_no_more(tmp_path: Path) -> None:
    dockerfile = (environment.PROJECT / "serving" / "Dockerfile").read_text(encoding="utf-8")
    (command,) = re.findall(r"^RUN (sed .*)/opt/ml/requirements\.txt \\$", dockerfile, re.MULTILINE)
    found = requirements.of(PACKAGES)
    written(found, tmp_path)
    subprocess.run(["bash", "-c", f"{command} {tmp_path}/requirements.txt"], check=True)
    assert (tmp_path / "requirements.txt").read_text(encoding="utf-8") == "\n".join(found.serving) + "\n"


def test_our_image_takes_the_small_mlflow_of_a_model_of_before(tmp_path: Path) -> None:
    dockerfile = (environment.PROJECT / "serving" / "Dockerfile").read_text(encoding="utf-8")
    (command,) = re.findall(r"^RUN (sed .*)/opt/ml/requirements\.txt \\$", dockerfile, re.MULTILINE)
    (tmp_path / "requirements.txt").write_text("mlflow==3.17.2\nnumpy==2.4.6\n", encoding="utf-8")
    subprocess.run(["bash", "-c", f"{command} {tmp_path}/requirements.txt"], check=True)
    assert (tmp_path / "requirements.txt").read_text(encoding="utf-8") == "mlflow-skinny==3.17.2\nnumpy==2.4.6\n"


def test_the_reason_for_no_hashes_is_the_first_line(tmp_path: Path, installed: dict[str, str]) -> None:
    installed["numpy"] = "1.26.4"
    written(requirements.of(PACKAGES), tmp_path)
    first = (tmp_path / "requirements.txt").read_text(encoding="utf-8").partition("\n")[0]
    assert first == "# No hashes: numpy 1.26.4 is not the lock's."


def test_the_smoke_test_tells_the_cause_that_uv_tells() -> None:
    said = "Resolved\nerror: Failed to download `six==1.0`\n  cause: Hash mismatch for `six==1.0`\n\n Expected:"
    assert smoke_test._why(said) == "error: Failed to download `six==1.0`: Hash mismatch for `six==1.0`"
    assert smoke_test._why("ERROR: no such version\nmore") == "ERROR: no such version"
