"""The house's own rules: who imports what, and what the environment is made of."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from steps.model import flavor
from steps.run import source_digest
from tabular.model import estimators, training
from tabular.model.formats import FORMATS
from tabular.model.tasks import Classification

PROJECT = Path(__file__).resolve().parents[2]
TABULAR = sorted((PROJECT / "tabular").rglob("*.py"))
# What served.py imports only where a classifier of theirs is read.
OF_CLASSIFIERS = {package for one in FORMATS for package in one.packages}
STANDARD = sys.stdlib_module_names
CARRIED = [PROJECT / name for name in source_digest.BY_BYTES]
PINNED = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[\w,-]+\])?==([^\s;\\]+)")


def imported(path: Path) -> Iterator[str]:
    """Each module that a file imports, those inside functions too, by its full name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def pins(name: str) -> dict[str, str]:
    """Package: version, of the lines of a requirements file."""
    lines = (PROJECT / name).read_text(encoding="utf-8").splitlines()
    return {found[1].lower().replace("_", "-"): found[2] for line in lines if (found := PINNED.match(line))}


def tracked() -> list[Path]:
    """The files that the repository holds; in an archive without git, all."""
    try:
        words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git tree")
    return [path for name in listed.split("\0") if name and (path := PROJECT / name).is_file()]


@pytest.mark.parametrize("path", TABULAR, ids=lambda path: path.name)
def test_nothing_in_tabular_imports_mlflow_or_steps(path: Path) -> None:
    assert not tops(path) & {"mlflow", "steps", ""}


def test_only_steps_and_tests_and_benchmarks_and_the_image_import_mlflow() -> None:
    outside = [path for path in tracked() if path.suffix == ".py" and "mlflow" in tops(path)]
    assert {path.relative_to(PROJECT).parts[0] for path in outside} <= {"steps", "tests", "benchmarks", "serving"}


@pytest.mark.parametrize("code", CARRIED, ids=lambda path: path.name)
@pytest.mark.parametrize("module", ["lightgbm.sklearn", "sklearn.linear_model"])
def test_the_code_that_a_model_carries_imports_only_what_its_requirements_hold(module: str, code: Path) -> None:
    classifier = type("Classifier", (), {"__module__": module})()
    held = set(flavor.packages(SimpleNamespace(estimator=classifier, preprocessor=None)))  # type: ignore[arg-type]
    needed = tops(code) - STANDARD - OF_CLASSIFIERS
    distributions = packages_distributions()
    assert all(held & set(distributions[name]) for name in needed)


@pytest.mark.parametrize("code", CARRIED, ids=lambda path: path.name)
def test_the_code_that_a_model_carries_imports_nothing_of_this_repository(code: Path) -> None:
    assert not tops(code) & {"steps", "tabular", "served", ""}


def test_a_served_model_asks_for_packages_of_the_lock_and_none_of_the_search_or_the_tests() -> None:
    classifier = type("Classifier", (), {"__module__": "lightgbm.sklearn"})()
    found = set(flavor.packages(training.Fitted(None, classifier, Classification(2, 1), np.arange(2), {})))
    assert {"mlflow", "lightgbm"} <= found <= set(pins("requirements.txt"))
    assert not {"hyperopt", "matplotlib", "pytest"} & found


def requirements_of(module: str) -> set[str]:
    """What a model of a class of this module asks for beside what each model does."""
    fitted = [
        SimpleNamespace(estimator=type("Classifier", (), {"__module__": one})(), preprocessor=None)
        for one in (module, "sklearn.tree")
    ]
    wanted, usual = (set(flavor.packages(one)) for one in fitted)  # type: ignore[arg-type]
    return wanted - usual


def test_a_class_is_required_by_the_name_of_its_package_and_not_of_its_module() -> None:
    assert requirements_of("yaml.loader") == {"PyYAML"}


def test_a_class_that_is_in_no_installed_package_adds_no_requirement() -> None:
    assert requirements_of("our_estimators") == set()


def test_every_chosen_pin_is_in_the_lock() -> None:
    chosen = pins("requirements.in")
    assert chosen
    assert chosen.items() <= pins("requirements.txt").items()


def test_every_chosen_requirement_is_pinned_and_has_a_reason() -> None:
    for line in (PROJECT / "requirements.in").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            assert PINNED.match(line), line
            assert re.search(r"\s# .{10,}", line), line


def test_every_line_of_the_lock_has_a_hash() -> None:
    text = (PROJECT / "requirements.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    entries = [line for line in text.splitlines() if PINNED.match(line)]
    assert len(entries) > 50
    assert all("--hash=sha256:" in line for line in entries)


def test_the_lock_of_the_tests_holds_the_lock_of_the_steps() -> None:
    assert pins("requirements.txt").items() <= pins("requirements-dev.txt").items()


def test_python_env_installs_the_lock() -> None:
    found = yaml.safe_load((PROJECT / "python_env.yaml").read_text(encoding="utf-8"))
    assert (found["python"], found["dependencies"]) == ("3.11.7", ["-r requirements.txt"])


def test_conda_installs_the_same_python_and_lock() -> None:
    found = yaml.safe_load((PROJECT / "conda.yaml").read_text(encoding="utf-8"))["dependencies"]
    assert found == ["python=3.11.7", "pip", {"pip": ["-r requirements.txt"]}]


def test_mlproject_names_an_environment_that_is_there() -> None:
    found = yaml.safe_load((PROJECT / "MLproject").read_text(encoding="utf-8"))
    assert (PROJECT / found["python_env"]).is_file()


def test_no_file_holds_the_path_of_somebodys_home() -> None:
    home = re.compile(rb"[/](home|Users)/[a-z][\w.-]*/|[/]root/|[A-Z][:]\\Users\\")
    assert [path.name for path in tracked() if home.search(path.read_bytes())] == []


def test_no_file_is_a_pickle() -> None:
    assert [path.name for path in tracked() if path.suffix in {".pkl", ".pickle", ".joblib"}] == []


EXTRAS = sorted(path.stem for path in PROJECT.glob("requirements-*.in") if path.stem != "requirements-dev")
EXTRAS += ["deploy/requirements"]  # of the tracking server's image


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_lock_of_an_extra_holds_what_was_chosen_and_fits_the_lock_of_the_steps(extra: str) -> None:
    chosen, lock = pins(f"{extra}.in"), pins(f"{extra}.txt")
    assert chosen
    assert chosen.items() <= lock.items()
    steps = pins("requirements.txt")
    assert {name: lock[name] for name in lock.keys() & steps} == {name: steps[name] for name in lock.keys() & steps}


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_lock_of_an_extra_has_hashes_and_names_no_place_to_install_from(extra: str) -> None:
    lines = (PROJECT / f"{extra}.txt").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    pinned = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert all(PINNED.match(line) and "--hash=sha256:" in line and "://" not in line for line in pinned)


def test_each_extra_that_an_error_advises_is_there() -> None:
    assert set(estimators.EXTRAS.values()) <= {f"{extra}.txt" for extra in EXTRAS}
