"""What a step's key is made of, and what a run leaves to be checked before its work is used again."""

import copy
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from steps.chain import keys
from steps.model import registry
from steps.pipeline import CHAIN, STEPS, Input, StepSpec
from steps.run import artifacts, environment, source_digest
from steps.run.step import Step
from steps.run.tags import MODEL_URI
from tabular import digests
from tabular.problem import Problem, build
from tabular.sections.models import OF_CHAINS
from tabular.sections.table import OF_FITS, PLACE

PROJECT = Path(__file__).resolve().parents[2]
SPACE = {"num_leaves": {"type": "int", "low": 4, "high": 8}}
VALUES: dict[str, Any] = {
    "name": "p",
    "data": {"source": "a.csv", "target": "y", "drop": {"id": "a number"}, "types": {"agent": "category"}},
    "models": {
        "logistic": {"estimator": "sklearn.linear_model.LogisticRegression", "params": {"C": 2.0}},
        "lightgbm": {"estimator": "lightgbm.LGBMClassifier", "space": SPACE},
    },
    "gate": {"require": {"roc_auc": {"min": 0.5}}},
    "tags": {"team": "data"},
}
PROBLEM = build(VALUES, "made")
SOURCE = {"steps/train.py": "a" * 64, "tabular/model/training.py": "b" * 64}
CONTENTS = {"train of etl": "c" * 64}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """An empty project; gives a function that writes its modules."""
    monkeypatch.setattr(source_digest, "PROJECT", tmp_path)

    def write(**modules: str) -> None:
        for name, text in modules.items():
            path = tmp_path / f"{name.replace('__', '/', 1) if not name.startswith('__') else name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    return write


def named(paths: list[Path]) -> list[str]:
    return [path.relative_to(source_digest.PROJECT).as_posix() for path in paths]


def test_the_closure_follows_imports_through_each_other(tree):
    tree(a__one="import a.two", a__two="import a.three", a__three="", a__four="")
    assert named(source_digest.files("a.one")) == ["a/one.py", "a/three.py", "a/two.py"]


def test_the_closure_ends_where_modules_import_each_other(tree):
    tree(a__one="import a.two", a__two="import a.one")
    assert named(source_digest.files("a.one")) == ["a/one.py", "a/two.py"]


def test_an_import_inside_a_function_counts(tree):
    tree(a__one="def f():\n    if True:\n        from a import two\n", a__two="")
    assert "a/two.py" in named(source_digest.files("a.one"))


def test_an_import_for_types_alone_counts(tree):
    tree(a__one="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from a.two import T\n", a__two="")
    assert "a/two.py" in named(source_digest.files("a.one"))


def test_a_module_that_is_imported_from_its_package_counts(tree):
    tree(a__one="from a import two as other, nothing", a__two="")
    assert named(source_digest.files("a.one")) == ["a/one.py", "a/two.py"]


@pytest.mark.parametrize(
    "line", ["from . import two", "from .two import x", "from ..a import two", "from ..a.two import *"]
)
def test_a_relative_import_counts(tree, line):
    tree(a__one=line, a__two="")
    assert named(source_digest.files("a.one")) == ["a/one.py", "a/two.py"]


def test_the_init_of_a_package_counts_with_each_of_its_modules_and_is_followed(tree):
    tree(a____init__="from . import two", a__one="", a__two="import b.five", b__five="")
    assert named(source_digest.files("a.one")) == ["a/__init__.py", "a/one.py", "a/two.py", "b/five.py"]


def test_what_is_not_of_this_repository_is_passed_over(tree):
    tree(a__one="import json, numpy.linalg\nfrom sklearn import svm")
    assert named(source_digest.files("a.one", "sklearn.svm")) == ["a/one.py"]


def test_a_folder_of_the_name_of_a_package_is_no_source(tree):
    tree(a__one="import numpy")
    (source_digest.PROJECT / "numpy").mkdir()
    assert named(source_digest.files("a.one")) == ["a/one.py"]


def test_a_changed_meaning_changes_the_digest_of_its_file_alone(tree):
    tree(a__one="import a.two", a__two="")
    before = source_digest.of_module("a.one")
    tree(a__two="x = 1")
    after = source_digest.of_module("a.one")
    assert [name for name in before if before[name] != after[name]] == ["a/two.py"]


DOCUMENTED = 'class A:\n    """What it is."""\n    x: int = 1\n'
SAME = {
    "a comment": DOCUMENTED + "# a note\n",
    "another docstring": DOCUMENTED.replace("What", "How"),
    "no docstring": "class A:\n    x: int = 1\n",
    "other lines": "class A:\n\n    x : int=(\n        1)",
}
OTHER = {
    "a value": DOCUMENTED.replace("1", "2"),
    "a value of another type": DOCUMENTED.replace("1", "1.0"),
    "a type": DOCUMENTED.replace("int", "str"),
    "a text that is no docstring": DOCUMENTED + '    """Of x."""\n',
    "a name": DOCUMENTED.replace("x", "y"),
    "a statement more": DOCUMENTED + "    y = 1\n",
    "a statement outside": DOCUMENTED + "y = 1\n",
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME)
def test_a_module_written_otherwise_has_the_same_digest(tree, text):
    tree(a__one=DOCUMENTED)
    before = source_digest.of_module("a.one")
    tree(a__one=text)
    assert source_digest.of_module("a.one") == before
    assert source_digest.is_unchanged(before)


@pytest.mark.parametrize("text", OTHER.values(), ids=OTHER)
def test_a_module_of_another_meaning_has_another_digest(tree, text):
    tree(a__one=DOCUMENTED)
    before = source_digest.of_module("a.one")
    tree(a__one=text)
    assert source_digest.of_module("a.one") != before
    assert not source_digest.is_unchanged(before)


def test_what_is_imported_through_machinery_alone_is_left_out_with_it(tree):
    tree(
        a__one="import a.two, a.three", a__two="import a.four, a.five", a__three="import a.five", a__four="", a__five=""
    )
    assert named(source_digest.files("a.one", without=["a.two"])) == ["a/five.py", "a/one.py", "a/three.py"]


def test_all_of_a_package_of_machinery_is_left_out(tree):
    tree(a__one="from b import two\nfrom b.three import x", b____init__="", b__two="", b__three="", bb__four="")
    assert named(source_digest.files("a.one", "b", "bb.four", without=["b"])) == ["a/one.py", "bb/four.py"]


@pytest.mark.parametrize("step", STEPS)
def test_a_step_depends_on_its_own_module(step):
    assert {f"steps/{step}.py", "steps/__init__.py"} <= set(source_digest.digests(step))


@pytest.mark.parametrize("step", STEPS)
def test_no_step_depends_on_the_table_of_the_chain_nor_on_another_step(step):
    found = set(source_digest.digests(step))
    others = {f"steps/{other}.py" for other in STEPS if other != step}
    assert not found & {"steps/pipeline.py", "steps/main.py", "steps/chain/orchestrator.py", *others}


@pytest.mark.parametrize(
    ("module", "steps"),
    [
        ("tabular/plots/classifier_plots.py", {"evaluate"}),
        ("tabular/search/search.py", {"hpo"}),
        ("tabular/data/sources/web.py", {"etl"}),
        ("steps/evaluation/plots.py", {"evaluate"}),
        ("tabular/evaluation/gate.py", {"evaluate", "register"}),
        ("tabular/model/estimators.py", {"hpo", "train", "blend", "evaluate", "refit", "register"}),
        ("tabular/problem.py", {"etl", "hpo", "train", "blend", "evaluate", "refit", "register"}),
    ],
)
def test_an_edit_concerns_only_the_steps_that_can_run_the_module(module, steps):
    assert {step for step in STEPS if module in source_digest.digests(step)} == steps


def key(
    row: StepSpec = STEPS["train"],
    model: str | None = "logistic",
    problem: Any = PROBLEM,
    source=SOURCE,
    contents=CONTENTS,
) -> keys.Key:
    return keys.of_task(row, model, problem, source, contents)


def test_the_same_parts_in_another_order_give_the_same_key():
    turned = dict(reversed({**SOURCE}.items()))
    assert key(source=turned).whole == key().whole
    assert key(source=turned).own == key().own


class Whole:
    """A problem by its plain values, which need not make sense."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values
        self.models = PROBLEM.models

    def model_dump(self, mode: str) -> dict[str, Any]:
        return copy.deepcopy(self._values)


def leaves(values: dict[str, Any], *above: str):
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, *above, name)
        else:
            yield (*above, name)


LEAVES = list(leaves(PROBLEM.model_dump(mode="json")))


def is_read(row: StepSpec, model: str, leaf: tuple[str, ...]) -> bool:
    """Whether a row says that its step reads a leaf of the problem; where the data lie is no part of their content."""
    # what changes no data set is read by its own path
    reads = [path for path in row.reads if not (path == "data" and leaf[0] == "data" and leaf[1] in OF_FITS)]
    if leaf[:1] == ("models",) and leaf[2] in OF_CHAINS:
        reads = [path for path in reads if path != "models.{model}"]
    paths = [tuple(path.replace("{model}", model).split(".")) for path in reads]
    paths += [("tracking", name) for name in row.tracking]
    return not (leaf[0] == "data" and leaf[1] in PLACE) and any(_is_below(leaf, path) for path in paths)


def _is_below(leaf: tuple[str, ...], path: tuple[str, ...]) -> bool:
    """Whether a leaf is at a path, in which * stands for each name, or below it."""
    return len(leaf) >= len(path) and all(part in ("*", name) for part, name in zip(path, leaf, strict=False))


@example(row=STEPS["hpo"], model="lightgbm", leaf=("models", "lightgbm", "required"), value=True)
@example(row=STEPS["evaluate"], model="lightgbm", leaf=("models", "lightgbm", "required"), value=True)
@example(row=STEPS["train"], model="lightgbm", leaf=("tracking", "input_example"), value=False)
@given(
    row=st.sampled_from(CHAIN),
    model=st.sampled_from(list(PROBLEM.models)),
    leaf=st.sampled_from(LEAVES),
    value=st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
)
def test_a_changed_leaf_of_the_problem_changes_the_keys_of_the_steps_that_read_it_and_of_no_other(
    row, model, leaf, value
):
    values = PROBLEM.model_dump(mode="json")
    section = values
    for name in leaf[:-1]:
        section = section[name]
    is_other = json.dumps(section[leaf[-1]]) != json.dumps(value)
    section[leaf[-1]] = value
    asked = model if row.each_model else None
    changed = key(row, asked, Whole(values)).whole != key(row, asked).whole
    assert changed == (is_other and is_read(row, model, leaf))


@pytest.mark.parametrize("row", CHAIN, ids=lambda row: row.name)
def test_where_the_data_lie_is_no_part_of_a_key(row):
    moved = PROBLEM.data.model_copy(update={"source": "elsewhere/b.csv", "sha256": "d" * 64})
    model = "logistic" if row.each_model else None
    assert key(row, model, PROBLEM.model_copy(update={"data": moved})).whole == key(row, model).whole


def test_a_default_that_is_written_out_changes_no_key():
    whole = build(PROBLEM.model_dump(mode="json"), "written out")
    assert [key(problem=whole).whole, whole] == [key().whole, PROBLEM]


@pytest.mark.parametrize("row", CHAIN, ids=lambda row: row.name)
def test_a_problem_that_asks_for_no_tracking_has_the_key_of_one_of_before_there_was_any(row):
    before = {name: values for name, values in PROBLEM.model_dump(mode="json").items() if name != "tracking"}
    model = "logistic" if row.each_model else None
    without = dict(keys.read_of(build(before, "made"), row, model))
    assert key(row, model, build(before, "made")).whole == key(row, model).whole
    assert not [path for path in without if path.startswith("tracking")]
    assert "tracking" not in repr(row)


def test_an_added_model_changes_no_key_of_another_one():
    more = build({**VALUES, "models": {**VALUES["models"], "forest": {"estimator": "sklearn.svm.SVC"}}}, "made")
    assert key(problem=more).whole == key().whole


CHANGES = {
    "another model": {"model": "lightgbm"},
    "another step": {"row": STEPS["hpo"]},
    "an edited module": {"source": {**SOURCE, "steps/train.py": "d" * 64}},
    "a module more": {"source": {**SOURCE, "steps/new.py": "d" * 64}},
    "a module less": {"source": {"steps/train.py": "a" * 64}},
    "another input": {"contents": {"train of etl": "d" * 64}},
    "an input more": {"contents": {**CONTENTS, "params of hpo": "d" * 64}},
    "no input": {"contents": {}},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_each_part_changes_the_key(changes):
    assert key(**changes).whole != key().whole


def test_the_row_of_the_table_changes_the_key():
    row = STEPS["train"]
    other = StepSpec(row.name, row.parameters, {"dataset": Input("etl", ("train",))}, row.reads, row.each_model)
    assert key(row=other).whole != key().whole


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("steps.run.environment.lock_digest", lambda: "another"),
        ("steps.run.environment.beside_the_lock", lambda: {"numpy": "1.0"}),
        ("platform.python_version", lambda: "3.12.0"),
    ],
)
def test_the_environment_changes_the_key(monkeypatch, place, value):
    before = key().whole
    monkeypatch.setattr(place, value)
    assert key().whole != before


def test_the_inputs_are_no_part_of_what_is_known_before_them():
    assert key(contents={}).own == key().own
    assert key(contents={}).own == key(contents={}).whole


@given(st.permutations([("step", "b"), ("input x", "1"), ("input step", "2"), ("name", '"b"')]))
def test_no_two_sets_of_parts_share_a_key_by_their_order(parts):
    assert keys.Key(dict(parts)).whole == keys.Key(dict(sorted(parts))).whole


def test_an_estimator_of_this_repository_counts_by_its_modules(tree, monkeypatch):
    tree(mine__forest="from . import tree", mine__tree="")
    model = PROBLEM.models["logistic"].model_copy(update={"estimator": "mine.forest.Forest"})
    problem = PROBLEM.model_copy(update={"models": {"logistic": model}})
    monkeypatch.setattr(environment, "lock_digest", lambda: "lock")
    parts = key(problem=problem).parts
    assert {"module mine/forest.py", "module mine/tree.py"} <= set(parts)
    tree(mine__tree="x = 1")
    assert key(problem=problem).whole != keys.Key(parts).whole


@pytest.mark.parametrize("name", ["apart", "apart/__init__"])
def test_an_estimator_that_is_not_installed_counts_by_its_files(tmp_path, monkeypatch, name):
    path = tmp_path / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text("class Boost: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    model = PROBLEM.models["logistic"].model_copy(update={"estimator": "apart.Boost"})
    problem = PROBLEM.model_copy(update={"models": {"logistic": model}})
    parts = key(problem=problem).parts
    assert f"module {name}.py" in parts
    path.write_text("class Boost: depth = 1\n")
    assert key(problem=problem).whole != keys.Key(parts).whole


def test_an_estimator_beside_the_lock_counts_by_its_packages_version():
    model = PROBLEM.models["logistic"].model_copy(update={"estimator": "pytest.Classifier"})
    parts = key(problem=PROBLEM.model_copy(update={"models": {"logistic": model}})).parts
    assert parts["package pytest"] == pytest.__version__


def test_an_estimator_that_is_nowhere_has_a_key():
    model = PROBLEM.models["logistic"].model_copy(update={"estimator": "nowhere.at.All"})
    assert key(problem=PROBLEM.model_copy(update={"models": {"logistic": model}})).whole != key().whole


def test_a_data_set_of_scikit_learn_counts_by_its_name():
    data = PROBLEM.data.model_copy(update={"source": "sklearn:iris"})
    assert keys.content_of_data(PROBLEM.model_copy(update={"data": data}), "d") == {"data": "sklearn:iris"}
    assert keys.content_of_data(PROBLEM, "d") == {"data": "d"}


def run_of(named: str | None = None, **digests: str) -> Any:
    tags = {f"tabular.digest.{part}": digest for part, digest in digests.items()}
    return SimpleNamespace(data=SimpleNamespace(tags={**tags, **({"tabular.model": named} if named else {})}))


def test_inputs_count_by_the_digests_of_the_parts_that_are_read():
    etl = run_of(train="t", schema="s", counts="c", holdout="h")
    assert keys.contents(STEPS["hpo"], "dataset", [etl]) == {"train of etl": "t", "schema of etl": "s"}


def test_inputs_of_several_models_count_with_their_order():
    runs = [run_of(name, model="m", code="c", scores="s", curves="k") for name in ("a", "b")]
    first, second = (keys.contents(STEPS["evaluate"], "models", one) for one in (runs, runs[::-1]))
    assert first["model of train a"] == "m"
    assert first != second


WORDS = {
    "a value of the problem": ({"search.trials": "10"}, {"search.trials": "20"}, "search.trials 10 -> 20"),
    "a text of the problem": ({"name": '"a"'}, {"name": '"b"'}, 'name "a" -> "b"'),
    "a key that is new": ({}, {"models.m.params.C": "1"}, "models.m.params.C None -> 1"),
    "a module": ({"module a.py": "1"}, {"module a.py": "2"}, "module a.py"),
    "a new module": ({}, {"module a.py": "2"}, "module a.py (new)"),
    "a module that is gone": ({"module a.py": "1"}, {}, "module a.py (gone)"),
    "the lock": ({"lock": "1"}, {"lock": "2"}, "the lock"),
    "the row": ({"row": "1"}, {"row": "2"}, "its row in steps/pipeline.py"),
    "the packages": ({"packages": "{}"}, {"packages": '{"a": "1"}'}, "the installed packages"),
    "the data": ({"input data": "1"}, {"input data": "2"}, "the data"),
    "an input": ({"input train of etl": "1"}, {"input train of etl": "2"}, "train of etl"),
    "python": ({"python": "3.11.7"}, {"python": "3.12.0"}, "python 3.11.7 -> 3.12.0"),
}


@pytest.mark.parametrize(("before", "now", "says"), WORDS.values(), ids=WORDS)
def test_what_has_changed_is_said_in_words(before, now, says):
    assert keys.changed({"same": "1", **before}, {"same": "1", **now}) == [says]


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=3)), st.dictionaries(st.text(max_size=8), st.text()))
def test_something_is_said_of_every_two_keys_that_differ(before, now):
    assert bool(keys.changed(before, now)) == (keys.Key(before).whole != keys.Key(now).whole)


# What a run left, file by file.


class Client:
    """Of a store that holds one run and one logged model, on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tags: dict[str, str] = {}

    @property
    def run(self) -> Any:
        info = SimpleNamespace(run_id="r" * 32, artifact_uri=str(self.folder / "run"))
        return SimpleNamespace(info=info, data=SimpleNamespace(tags=self.tags))

    def get_run(self, run_id: str) -> Any:
        return self.run

    def list_artifacts(self, run_id: str, path: str | None = None) -> Any:
        raise AssertionError("what is on this machine is looked at itself")

    list_logged_model_artifacts = list_artifacts

    def get_logged_model(self, model_id: str) -> Any:
        return SimpleNamespace(artifact_location=str(self.folder / model_id))


COMPILED = "m-1/__pycache__/served.cpython-311.pyc"


@pytest.fixture
def left(tmp_path):
    """A run that has left two artifacts and a logged model."""
    client = Client(tmp_path)
    (tmp_path / "step").mkdir()
    client.tags[MODEL_URI] = "models:/m-1"
    step = Step("train", {}, "r" * 32, "0", tmp_path / "step", client, "", client.tags)  # type: ignore[arg-type]
    step.text("hello", "a.txt")
    step.json({"x": 1}, "below/b.json")
    (tmp_path / "m-1" / "parts").mkdir(parents=True)
    (tmp_path / "m-1" / "parts" / "model.txt").write_text("trees")
    (tmp_path / COMPILED).parent.mkdir()
    (tmp_path / COMPILED).write_bytes(b"as it was logged")
    shutil.copytree(tmp_path / "m-1", step.folder / artifacts.MODEL)
    client.tags |= artifacts.record(step)
    shutil.copytree(step.artifacts, tmp_path / "run")
    return client


FILES = ["run/a.txt", "run/below/b.json", "m-1/parts/model.txt"]


@pytest.mark.parametrize("then", [b"as Python has written it when the model was served", None])
def test_code_that_python_has_compiled_anew_is_no_damage(left, tmp_path, then):
    (tmp_path / COMPILED).write_bytes(then) if then else (tmp_path / COMPILED).unlink()
    assert artifacts.damage(left, left.run, tmp_path) is None


def test_a_run_that_is_whole_has_no_damage(left, tmp_path):
    assert artifacts.damage(left, left.run, tmp_path) is None


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_gone_is_named(left, tmp_path, name):
    (tmp_path / name).unlink()
    assert artifacts.damage(left, left.run, tmp_path) == f"{name.partition('/')[2]} is gone"


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_size_is_named(left, tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    assert artifacts.damage(left, left.run, tmp_path) == f"{name.partition('/')[2]} has been altered"


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_the_same_size_and_other_bytes_is_named(left, tmp_path, name):
    (tmp_path / name).write_bytes(b"#" * (tmp_path / name).stat().st_size)
    assert artifacts.damage(left, left.run, tmp_path) == f"{name.partition('/')[2]} has been altered"


def test_a_record_that_is_gone_is_damage(left, tmp_path):
    (tmp_path / "run" / artifacts.RECORD).unlink()
    assert f"no artifact {artifacts.RECORD!r}" in str(artifacts.damage(left, left.run, tmp_path))


def test_a_record_that_is_not_the_sealed_one_is_damage(left, tmp_path):
    (tmp_path / "run" / artifacts.RECORD).write_text('{"run": {}, "model": {}}')
    assert "not what the run sealed" in str(artifacts.damage(left, left.run, tmp_path))


def test_a_file_that_was_added_is_no_damage(left, tmp_path):
    (tmp_path / "run" / "note.txt").write_text("mine")
    assert artifacts.damage(left, left.run, tmp_path) is None


@given(values=st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4) | st.none(), max_size=5))
def test_the_digest_of_plain_values_knows_no_order(values):
    assert digests.of_values(dict(reversed(values.items()))) == digests.of_values(values)
    assert digests.of_values({**values, "more": 1}) != digests.of_values(values) or "more" in values


# The registry.


def version(name: str, number: int, made: int) -> Any:
    return SimpleNamespace(name=name, version=str(number), creation_timestamp=made, tags={})


class Registry:
    """A registry of these versions."""

    def __init__(self, *versions: Any) -> None:
        self.versions = {(one.name, one.version): one for one in versions}

    def get_model_version(self, name: str, number: str) -> Any:
        from mlflow.exceptions import MlflowException

        if (name, number) not in self.versions:
            raise MlflowException("no such version")
        return self.versions[name, number]


@given(
    name=st.text(min_size=1, max_size=20).filter(lambda name: not set(name) & set("/:")),
    number=st.integers(1, 10**6),
    made=st.integers(0, 2**41),
)
def test_a_version_is_found_again_by_its_identity(name, number, made):
    one = version(name, number, made)
    assert registry.named(Registry(one), registry.identity(one)) is one  # type: ignore[arg-type]


def test_nobody_is_found_again_as_nobody():
    assert registry.named(Registry(), registry.identity(None)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("there", [[], [version("m", 1, 6)]], ids=["gone", "given again"])
def test_a_version_that_is_gone_is_an_error_in_one_line(there):
    with pytest.raises(Exception, match="m version 1 is gone from the registry"):
        registry.named(Registry(*there), registry.identity(version("m", 1, 5)))  # type: ignore[arg-type]


@pytest.fixture
def evaluation(tmp_path):
    """A run of evaluate, on whose board `a` is the best."""
    best = {"model": "a", "model_digest": "m", "code_digest": "c", "run_id": "old", "model_uri": "models:/old"}
    (tmp_path / artifacts.EVALUATION).write_text(json.dumps({"candidates": [best, {"model": "b"}]}))
    info = SimpleNamespace(run_id="e" * 32, artifact_uri=str(tmp_path))
    return SimpleNamespace(info=info, data=SimpleNamespace(tags={}))


def trained(name: str, digest: str = "m") -> Any:
    run = run_of(name, model=digest, code="c")
    run.data.tags[MODEL_URI] = "models:/new"
    run.info = SimpleNamespace(run_id="new")
    return run


def test_the_winner_is_the_model_of_the_run_in_hand(evaluation, tmp_path):
    found = registry.winner(evaluation, [trained("b"), trained("a")], tmp_path)
    assert (found["run_id"], found["model_uri"]) == ("new", "models:/new")


def test_without_runs_in_hand_the_winner_is_the_one_that_was_evaluated(evaluation, tmp_path):
    assert registry.winner(evaluation, [], tmp_path)["run_id"] == "old"


@pytest.mark.parametrize(
    ("run", "says"), [(trained("a", "other"), "holds another a"), (trained("b"), "none of the runs given")]
)
def test_runs_that_were_not_evaluated_are_refused(evaluation, tmp_path, run, says):
    with pytest.raises(Exception, match=says):
        registry.winner(evaluation, [run], tmp_path)


def test_the_problem_of_these_tests_has_every_section():
    assert {leaf[0] for leaf in LEAVES} == set(Problem.model_fields)
