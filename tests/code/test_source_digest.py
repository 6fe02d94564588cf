"""What of the source counts: single edits of each module, and the keys of the steps."""

import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from steps.chain import keys
from steps.pipeline import STEPS
from steps.run import source_digest
from tabular.problem import build
from tests import mutations
from tests.mutations import is_machinery

PROJECT = Path(__file__).resolve().parents[2]
PROBLEM = build(
    {
        "name": "p",
        "data": {"source": "a.csv", "target": "y"},
        "models": {"m": {"estimator": "sklearn.linear_model.LogisticRegression"}},
    },
    "made",
)


def modules_of(step: str, **options: Any) -> set[str]:
    found = source_digest.files("steps.__main__", f"steps.{step}", **options)
    return {path.relative_to(source_digest.PROJECT).as_posix() for path in found}


# By module: the steps whose process can load it, by the closure of all imports.
LOADED = {step: modules_of(step) for step in STEPS}
SOURCES = sorted(name for name in set().union(*LOADED.values()) if name.endswith(".py"))
COMPUTING = [name for name in SOURCES if not is_machinery(name)]
MACHINERY = [name for name in SOURCES if is_machinery(name)]


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The source of the project, to be edited."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("steps", "tabular"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def files_of(copy):
    """Where a module of the copy lies, looked up once: none comes and none goes."""
    return cache(source_digest._files_of)


@pytest.fixture(scope="module")
def known() -> dict[tuple[Any, ...], Any]:
    """What was found of the files of the copy as they are."""
    return {}


@pytest.fixture
def edit(copy, files_of, known, monkeypatch):
    """Writes a module of the copy, which is what it was afterwards; the others are read once."""
    monkeypatch.setattr(source_digest, "PROJECT", copy)
    monkeypatch.setattr(source_digest, "_files_of", files_of)
    edited = set()

    def once(find):
        def found(*about):
            if edited & {path.relative_to(copy).as_posix() for path in about if isinstance(path, Path)}:
                return find(*about)
            if (find, about) not in known:
                answer = find(*about)
                known[find, about] = answer if isinstance(answer, str) else tuple(answer)
            return known[find, about]

        return found

    for name in ("_imported", "_digest"):
        monkeypatch.setattr(source_digest, name, once(getattr(source_digest, name)))

    def write(name: str, text: str) -> None:
        edited.add(name)
        (copy / name).write_text(text, encoding="utf-8")

    yield write
    for name in edited:
        shutil.copy(PROJECT / name, copy / name)


def text_of(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


def all_keys() -> dict[str, str]:
    """Of every step, of one problem and the source as it is."""
    return {
        name: keys.of_task(row, "m" if row.each_model else None, PROBLEM, source_digest.digests(name), {}).whole
        for name, row in STEPS.items()
    }


def changed(before: dict[str, str]) -> set[str]:
    return {step for step, key in all_keys().items() if key != before[step]}


def in_turn():
    """Each module with two kinds of edit, a fifth of the modules with each; the other kinds take long."""
    every = list(mutations.TELLING)
    for place, name in enumerate(COMPUTING):
        now = every[place % 5 :: 5]
        yield pytest.param(name, now, id=name)
        others = [kind for kind in every if kind not in now]
        yield pytest.param(name, others, id=f"{name}, other edits", marks=pytest.mark.long)


@pytest.fixture(scope="module")
def unedited() -> dict[str, str]:
    """The keys of the source as it is."""
    return all_keys()


@pytest.mark.slow
@pytest.mark.parametrize("kind", mutations.HARMLESS)
def test_a_module_that_is_written_otherwise_changes_no_key(edit, unedited, kind):
    edited = set()
    for name in SOURCES:
        if name not in source_digest.BY_BYTES:
            text = mutations.HARMLESS[kind](text_of(name))
            edit(name, text)
            edited |= {name} if text != text_of(name) else set()
    by_bytes = {Path(name).stem for name in source_digest.BY_BYTES}
    assert {Path(name).stem for name in SOURCES} - {Path(name).stem for name in edited} <= {"__init__", *by_bytes}
    assert changed(unedited) == set()


@pytest.mark.parametrize("kind", mutations.TELLING)
def test_an_edit_of_the_machinery_changes_no_key(edit, unedited, kind):
    edited = {name: text for name in MACHINERY if (text := mutations.telling(text_of(name), kind, name))}
    assert edited
    for name, text in edited.items():
        edit(name, text)
    assert changed(unedited) == set()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kinds"), list(in_turn()))
def test_a_changed_meaning_changes_the_keys_of_exactly_the_steps_that_can_run_the_module(edit, unedited, name, kinds):
    holders = {step for step, held in LOADED.items() if name in held}
    digest = source_digest.digests(min(holders))[name]
    for kind in kinds:
        text = mutations.telling(text_of(name), kind, name)
        if text is not None:
            edit(name, text)
            assert not source_digest.is_unchanged({name: digest}), kind
    edit(name, f"{text_of(name)}\nchanged = 1\n")
    assert changed(unedited) == holders


@pytest.mark.parametrize("name", source_digest.BY_BYTES)
@pytest.mark.parametrize("kind", mutations.HARMLESS)
def test_every_byte_counts_of_the_code_that_models_carry(edit, unedited, name, kind):
    edit(name, mutations.HARMLESS[kind](text_of(name)))
    assert changed(unedited) == {step for step, held in LOADED.items() if name in held} != set()


def test_the_page_of_a_report_counts_by_its_bytes(edit, unedited):
    edit("tabular/report/report.html", f"{text_of('tabular/report/report.html')}\n")
    assert changed(unedited) == {"register"}


def test_a_module_that_cannot_be_parsed_counts_by_its_bytes(edit, unedited):
    edit("tabular/data/sources/web.py", "def (")
    broken = all_keys()
    edit("tabular/data/sources/web.py", "def (  # a note")
    assert changed(unedited) == changed(broken) == {"etl"}


@pytest.mark.parametrize("step", STEPS)
def test_a_key_leaves_out_the_machinery_and_nothing_else(step):
    """Nothing else that can be loaded is reached through machinery alone."""
    kept = {path.relative_to(PROJECT).as_posix() for path in source_digest.of_step(step)}
    assert {name for name in LOADED[step] - kept if not is_machinery(name)} == set()
    assert {name for name in kept if is_machinery(name)} == set()


@pytest.mark.parametrize("module", source_digest.MACHINERY)
def test_what_is_named_as_machinery_is_there_and_can_be_loaded(module):
    assert {name for name in MACHINERY if f"{name.removesuffix('.py').replace('/', '.')}.".startswith(f"{module}.")}


def test_no_module_reads_docstrings():
    reads = re.compile(r"__doc__|getdoc|getsource|use_attribute_docstrings|json_schema")
    assert [name for name in COMPUTING if reads.search(text_of(name))] == []


def test_a_module_that_is_read_as_a_file_counts_by_its_bytes():
    read = {found for name in COMPUTING for found in re.findall(r"(\w+)\.__file__", text_of(name))}
    assert read == {Path(name).stem for name in source_digest.BY_BYTES}
