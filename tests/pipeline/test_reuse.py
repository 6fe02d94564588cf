"""What is run again and what is not: single mutations, on a copy of the project, against the work of one chain.

Which change gives which step another key is tested without a chain: tests/code/test_what_runs_again.py. Here is one
change of each kind, what main says of it, and what becomes of it where the registry and earlier runs have a say.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from steps.run.tags import OF_A_STEP
from tabular.sections.models import Preprocessing
from tests.asked import ASKED, asked, downstream
from tests.mutations import is_machinery
from tests.running import PROJECT, Store

pytestmark = pytest.mark.slow

N = 120
TABLE = pd.DataFrame({"x": [i * 7 % 120 + 0.5 for i in range(N)], "z": [i * 5 % 11 for i in range(N)]})
TABLE["town"] = ["Lisboa", "Porto", "Évora"] * (N // 3)
TABLE["y"] = [int(x + 4 * z > 75) for x, z in zip(TABLE["x"], TABLE["z"], strict=True)]
TASKS = ["etl", "hpo lightgbm", "train logistic", "train lightgbm", "blend", "evaluate", "refit", "register"]
PARTS = ["MLproject", "python_env.yaml", "requirements.txt", "steps", "tabular", "problems"]
# Appended to the copy's steps/run/shell.py: what a step has imported of the project, and read of its problem.
RECORDER = """

import json as _json
import tabular.problem as _problem

_OUT = Path({out!r})
# they write the problem down, and refuse one whose data section is another; neither makes a result
_APART = ("run_problem.py", "paths.py", "keys.py", "problem.py", "shell.py")
_paths, _read, _kept = {{}}, set(), []


def _watched(self, name, _get=object.__getattribute__):
    value = _get(self, name)
    if name in type(self).model_fields:
        above = "" if type(self) is _problem.Problem else _paths.get(id(self))
        path = f"{{above}}.{{name}}".lstrip(".") if above is not None else f"?.{{name}}"
        _kept.append(value)  # an id is another object's once this one is gone
        for key, one in value.items() if isinstance(value, dict) else [("", value)]:
            if isinstance(one, _problem.Section):
                _paths[id(one)] = f"{{path}}.{{key}}".rstrip(".")
        place = Path(sys._getframe(1).f_code.co_filename)
        apart = place.name in _APART or place.parent.name == "sections"
        if place.is_relative_to(place_of_project) and not apart:
            _read.add(path)
    return value


place_of_project = Path(__file__).resolve().parent.parent.parent
_problem.Section.__getattribute__ = _watched
_work = work


def work(step, body, key_of):
    _work(step, body, key_of)
    files = {{getattr(module, "__file__", None) for module in list(sys.modules.values())}}
    ours = [str(Path(f).relative_to(place_of_project)) for f in files if f and f.startswith(str(place_of_project))]
    left = {{"step": step.name, "model": step.arguments.get("model"), "files": ours, "read": sorted(_read)}}
    (_OUT / f"{{step.run_id}}.json").write_text(_json.dumps(left))
"""


class Place:
    """A copy of the project, a table, a problem, and the store that their chains fill."""

    def __init__(self, store, folder: Path) -> None:
        self.store, self.folder, self.project = store, folder, folder / "project"
        self.recorded = folder / "recorded"
        self.recorded.mkdir()
        self.project.mkdir()
        for part in PARTS:
            source = PROJECT / part
            if source.is_dir():
                shutil.copytree(source, self.project / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, self.project)
        with (self.project / "steps" / "run" / "shell.py").open("a", encoding="utf-8") as file:
            file.write(RECORDER.format(out=str(self.recorded)))
        self.table = folder / "table.csv"
        TABLE.to_csv(self.table, index=False)

    def ask(self, **changes: Any) -> Path:
        """The problem as a file, with what is at these dotted paths changed."""
        path = self.folder / "problem.yaml"
        path.write_text(yaml.safe_dump(asked(**changes), sort_keys=False), encoding="utf-8")
        return path

    def run(self, *, changes: dict[str, Any] | None = None, **parameters):
        """The chain, typed as people do."""
        problem = self.ask(**(changes or {}))
        return self.store.project(uri=str(self.project), cwd=self.folder, problem=str(problem), **parameters)

    def children(self, ended) -> dict[str, Any]:
        """The steps of a chain that ran, by their names; those that were reused as `etl (reused)`."""
        assert ended.status == 0, ended.stdout + ended.stderr
        return self.store.children(ended.id)


@pytest.fixture(scope="module")
def store(tmp_path_factory, fork_server):
    """A store of this module's own: in a shared one others may have done the work of the same problem."""
    return Store(tmp_path_factory.mktemp("store"), fork_server=fork_server)


@pytest.fixture(scope="module")
def place(store, tmp_path_factory):
    return Place(store, tmp_path_factory.mktemp("reuse"))


@pytest.fixture(scope="module")
def first(place):
    """The chain whose work is there."""
    ended = place.run()
    assert ended.status == 0, ended.stdout + ended.stderr
    assert ended.tags["tabular.outcome"] == "registered"
    return ended


@pytest.fixture(scope="module")
def ran(place, first):
    """The runs of the first chain by their tasks."""
    return place.children(first)


@pytest.fixture
def decide(store, place, first, monkeypatch, tmp_path):
    """What main would do, without doing it: the tasks that it would run first, by why, and those that it would not.

    What needs a task that is run is not known before that one has ended; it is in neither.
    """
    import mlflow

    from steps.chain import launch, reuse
    from steps.pipeline import plan
    from steps.run import environment, source_digest
    from tabular import digests
    from tabular import problem as problems

    for module in (source_digest, environment):
        monkeypatch.setattr(module, "PROJECT", place.project)
    reuse._source.cache_clear()
    mlflow.set_tracking_uri(store.uri)
    scratch = store.client.create_run(store.experiment, tags={"mlflow.parentRunId": "0" * 32}, run_name="scratch")

    meanwhile: dict[str, str] = {}

    def decided(path: Path = place.table, **changes: Any):
        values = asked(**changes)
        values["data"] |= {"source": str(path), "sha256": digests.of_file(path)}
        problem = problems.build(values, "made")
        main = launch.Parent(scratch.info.run_id, store.experiment, {}, "local", tmp_path)
        earlier = reuse.Earlier(store.client, main, problem)
        ended: dict[str, Any] = {}
        first_to_run: dict[str, str] = {}
        tasks = plan(problem)
        for task in tasks:
            if task.inputs() <= set(ended):
                meanwhile[task.name] = earlier.changes(task, ended)
                found, said = earlier.find(task, ended)
                if found is None:
                    first_to_run[task.name] = said
                else:
                    ended[task.name] = found
        needs = {task.name: task.inputs() for task in tasks}
        assert set(ended) == set(needs) - downstream(set(first_to_run), needs)
        return first_to_run

    decided.meanwhile = meanwhile
    yield decided
    store.client.set_terminated(scratch.info.run_id)
    mlflow.set_tracking_uri(None)
    reuse._source.cache_clear()


# Changes of the problem: what main would run first, and what it would say of it.
PROBLEMS: dict[str, tuple[dict[str, Any], set[str], str]] = {
    "nothing": ({}, set(), ""),
    "the description": ({"description": "of what?"}, set(), ""),
    "the confidence of the gate, which the champion has passed": (
        {"gate.beat_champion": {"confidence": 0.9}},
        set(),
        "",
    ),
    "the trials": ({"search.trials": 3}, {"hpo lightgbm"}, "search.trials 2 -> 3"),
    "a model more": (
        {"models.tree": {"estimator": "sklearn.tree.DecisionTreeClassifier"}},
        {"train tree"},
        "for the first time",
    ),
    "a model less": ({"models.logistic": None}, {"evaluate"}, "model of train logistic"),
    "the order of the models": (
        {"models": dict(reversed(ASKED["models"].items()))},
        {"blend"},
        "models",
    ),
    "the registered model": ({"registry.name": "another"}, {"register"}, "registry.name"),
    "the alias": ({"registry.alias": "challenger"}, {"register"}, 'registry.alias "champion" -> "challenger"'),
    "the problem's name": ({"name": "renamed"}, {"etl"}, "for the first time"),
}


@pytest.mark.parametrize(("changes", "expected", "says"), PROBLEMS.values(), ids=PROBLEMS)
def test_a_change_of_the_problem_runs_the_steps_that_read_it(decide, changes, expected, says):
    found = decide(**changes)
    assert set(found) == expected
    assert all(says in why for why in found.values())


def test_a_step_that_another_chain_has_done_meanwhile_says_that_nothing_has_changed(decide, ran):
    assert decide() == {}
    for task in ("etl", "hpo lightgbm", "train logistic", "evaluate"):
        assert decide.meanwhile[task].startswith(f"nothing has changed since run {ran[task].info.run_id}")


def edited(**cells: Any) -> pd.DataFrame:
    table = TABLE.copy()
    for column, value in cells.items():
        table.loc[5, column] = value
    return table


TABLES = {
    "a feature": edited(x=3.25),
    "the order of two rows": TABLE.iloc[[1, 0, *range(2, N)]],
    "a column more": TABLE.assign(more=1),
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_change_of_the_table_runs_etl(decide, tmp_path, table):
    table.to_csv(tmp_path / "t.csv", index=False)
    assert decide(tmp_path / "t.csv") == {"etl": "the data"}


def test_the_same_bytes_elsewhere_are_the_same_table(decide, place, tmp_path):
    shutil.copy(place.table, tmp_path / "moved.csv")
    assert decide(tmp_path / "moved.csv") == {}


@pytest.fixture
def with_a_line_more(place):
    """Appends a line to a file of the copy; it is gone afterwards."""
    from steps.chain import reuse

    before: dict[Path, bytes] = {}

    def append(name: str, line: str = "\n_A_LINE_MORE = 1\n") -> None:
        path = place.project / name
        before.setdefault(path, path.read_bytes())
        path.write_bytes(before[path] + line.encode())
        reuse._source.cache_clear()

    yield append
    for path, content in before.items():
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("module", "first"),
    [
        ("tabular/problem.py", "etl"),
        ("tabular/search/search.py", "hpo lightgbm"),
        ("tabular/plots/classifier_plots.py", "evaluate"),
        ("steps/main.py", None),
    ],
)
def test_an_edited_module_runs_the_steps_that_can_import_it(decide, with_a_line_more, module, first):
    with_a_line_more(module)
    assert decide() == ({first: f"module {module}"} if first else {})


def test_a_comment_in_every_module_runs_nothing(decide, with_a_line_more):
    from steps.run import source_digest

    sources = {
        path.relative_to(PROJECT).as_posix() for part in ("steps", "tabular") for path in (PROJECT / part).rglob("*.py")
    }
    for module in sources - set(source_digest.BY_BYTES):
        with_a_line_more(module, "# a note\n")
    assert decide() == {}


def test_an_edited_page_or_entry_point_runs_nothing(decide, with_a_line_more):
    with_a_line_more("MLproject", "# a note\n")
    with_a_line_more("problems/iris.yaml", "# a note\n")
    assert decide() == {}


def test_another_lock_runs_everything(decide, with_a_line_more):
    with_a_line_more("requirements.txt", "# a note\n")
    assert decide() == {"etl": "the lock"}


def test_an_unlocked_version_of_a_package_runs_everything(decide, monkeypatch):
    from steps.run import environment

    monkeypatch.setattr(environment, "beside_the_lock", lambda: {"numpy": "0.1"})
    assert decide() == {"etl": "the installed packages"}


def test_another_environment_variable_runs_nothing(decide, monkeypatch):
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert decide() == {}


# Damage: the artifacts of each task's run, and the files of its logged model.
DAMAGED = [
    ("etl", "dataset/train.parquet"),
    ("hpo lightgbm", "trials.json"),
    ("train logistic", "MODEL artifacts/model/classifier.skops"),
    ("train lightgbm", "artifacts.json"),
    ("evaluate", "pictures/class_balance.png"),
]


def artifact(store, run, name: str) -> Path:
    if not name.startswith("MODEL "):
        return store.artifact(run, name)
    logged = store.client.get_logged_model(run.data.tags["tabular.model_uri"].removeprefix("models:/"))
    return Path(logged.artifact_location.removeprefix("file://")) / name.removeprefix("MODEL ")


@pytest.fixture(params=DAMAGED, ids=lambda one: f"{one[0]}-{one[1]}")
def damaged(store, ran, request):
    """A task, and a file of its run that is whole again afterwards."""
    task, name = request.param
    path = artifact(store, ran[task], name)
    before = path.read_bytes()
    yield task, path, name.removeprefix("MODEL ")
    path.write_bytes(before)


def test_a_file_that_is_gone_is_made_again(decide, ran, damaged):
    task, path, name = damaged
    path.unlink()
    found = decide()
    assert set(found) == {task}
    assert ran[task].info.run_id in found[task]
    assert name in found[task]


def test_a_file_of_the_same_size_and_other_bytes_is_made_again(decide, ran, damaged):
    task, path, _ = damaged
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    found = decide()
    assert set(found) == {task}
    assert ran[task].info.run_id in found[task]


def test_the_files_of_register_do_not_matter_while_its_winner_is_the_champion(decide, store, ran):
    path = store.artifact(ran["register"], "verdict.json")
    before = path.read_bytes()
    path.unlink()
    try:
        assert decide() == {}
    finally:
        path.write_bytes(before)


# What each step of the first chain imported, and read of its problem.


@pytest.fixture(scope="module")
def recorded(place, ran):
    """Task: what its process imported of the project and read of its problem."""
    found = {name: json.loads((place.recorded / f"{run.info.run_id}.json").read_text()) for name, run in ran.items()}
    assert sorted(found) == sorted(TASKS)
    return found


@pytest.mark.parametrize("task", TASKS)
def test_what_a_step_has_imported_lies_within_its_closure(recorded, task):
    from steps.run import source_digest

    found, step = set(recorded[task]["files"]), task.split()[0]
    assert {"steps/run/shell.py", f"steps/{step}.py", "tabular/problem.py"} <= found
    assert {name for name in found if not is_machinery(name)} <= set(source_digest.digests(step))


@pytest.mark.parametrize("task", TASKS)
def test_what_a_step_reads_of_the_problem_lies_within_its_row(recorded, task):
    from steps.pipeline import STEPS

    step, _, model = task.partition(" ")
    rows = [path.replace("{model}", model) for path in STEPS[step].reads]
    rows += [f"tracking.{name}" for name in (*STEPS[step].tracking, "trials", "registry_uri")]  # the last are in no key
    resolved = {f"?.{key}" for key in Preprocessing.model_fields}  # a section that training makes of a model's own
    read = set(recorded[task]["read"]) - {"tags", "name"} - resolved  # tags and name label runs
    assert read
    for path in read:
        assert any(f"{path}.".startswith(f"{row}.") or row.startswith(f"{path}.") for row in rows), path


# Whole chains once more.


@pytest.fixture(scope="module")
def unchanged(store, place, first):
    """The same chain, on the same table in another place, with another environment variable and one job."""
    (place.folder / "moved").mkdir()
    shutil.copy(place.table, place.folder / "moved" / "other.csv")
    versions = len(store.versions("mutated_classifier"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(store.environment, "LANG", "C")
        ended = place.run(data="moved/other.csv", jobs=1)
    assert len(store.versions("mutated_classifier")) == versions
    return ended


def test_an_unchanged_chain_runs_nothing(place, unchanged):
    expected = [f"{task} (reused)" for task in TASKS[:-1]]
    assert sorted(place.children(unchanged)) == sorted([*expected, "register (nothing to do)"])


def test_what_is_not_run_again_is_said_with_the_run_that_did_it(unchanged, ran):
    for task in TASKS[:-1]:
        assert re.search(rf"^  {task} +reused {ran[task].info.run_id}  .+", unchanged.stdout, re.M)


def test_an_unchanged_chain_keeps_the_champion_and_says_so(store, unchanged, first):
    assert unchanged.tags["tabular.outcome"] == "kept_champion"
    assert "is the champion (version 1) already" in unchanged.stdout
    assert unchanged.tags["tabular.champion.version"] == first.tags["tabular.champion.version"]


def test_a_reused_child_names_the_run_and_has_neither_key_nor_metrics(place, unchanged, ran):
    for name, child in place.children(unchanged).items():
        if name.endswith("(reused)"):
            task = name.removesuffix(" (reused)")
            assert child.data.tags["tabular.reused_from"] == ran[task].info.run_id
            assert child.info.status == "FINISHED"
            assert not [tag for tag in child.data.tags if tag.startswith("tabular.key")]
            assert child.data.metrics == {}


def test_an_unchanged_chain_shows_the_same_results(unchanged, first):
    own = {"chain_seconds", *OF_A_STEP}
    results = [{k: v for k, v in ended.run.data.metrics.items() if k not in own} for ended in (first, unchanged)]
    assert results[0] == results[1]


def test_a_step_is_started_by_hand_with_a_reused_child(store, place, unchanged, ran):
    etl = place.children(unchanged)["etl (reused)"].info.run_id
    ended = store.step("train", dataset=etl, model="logistic")
    assert ended.status == 0, ended.stderr
    assert ended.tags["tabular.key"] == ran["train logistic"].data.tags["tabular.key"]
    store.client.delete_run(ended.id)  # it did the same work, and later chains would take it in the place of theirs


REFUSED = {"gate.require": {"roc_auc": {"min": 1.1}}, "registry.name": "nobodys"}


@pytest.fixture(scope="module")
def other_holdout(store, place, first, ran):
    """The chain on a table with one other value, in a row of the holdout; it must register, and nobody passes its gate.

    Its models go by a name of their own: there is no champion.
    """
    holdout = pd.read_parquet(store.artifact(ran["etl"], "dataset/holdout.parquet"))
    table = TABLE.copy()
    table.loc[table["x"] == holdout["x"].iloc[0], "x"] += 0.25
    table.to_csv(place.folder / "edited.csv", index=False)
    ended = place.run(data="edited.csv", changes=REFUSED, require="registered")
    assert (ended.status, ended.tags["tabular.outcome"]) == (1, "refused")
    return ended


def test_another_value_in_the_holdout_trains_nothing_again(store, other_holdout):
    steps = ("hpo lightgbm", "train logistic", "train lightgbm", "blend")
    reused = {f"{step} (reused)" for step in steps}
    children = store.children(other_holdout.id)
    assert {name for name in children if name.endswith("(reused)")} == reused
    assert {"etl", "evaluate"} <= set(children)


def test_what_is_run_again_is_said_with_the_reason(other_holdout):
    assert re.search(r"^  etl .*\(ran: the data\)$", other_holdout.stdout, re.M)
    assert re.search(r"^  evaluate .*\(ran: .*gate.require.*holdout of etl.*\)$", other_holdout.stdout, re.M)


def test_a_child_that_ran_has_its_entry_point_and_its_key(store, other_holdout):
    for name, child in store.children(other_holdout.id).items():
        if "(" not in name:
            assert child.data.tags["mlflow.project.entryPoint"] == name.split()[0]
            assert len(child.data.tags["tabular.key"]) == 64
            assert "tabular.reused_from" not in child.data.tags


@pytest.fixture(scope="module")
def gone_on(place, other_holdout):
    """The chain that failed at its end, with the gate put right and a trial more."""
    return place.run(data="edited.csv", changes={"search.trials": 3, "blend": False, "refit": False})


def test_more_trials_are_the_reason_of_a_search(place, gone_on):
    assert re.search(r"^  hpo lightgbm .*\(ran: search.trials 2 -> 3\)$", gone_on.stdout, re.M)
    assert "hpo lightgbm" in place.children(gone_on)


def test_a_chain_that_failed_goes_on_where_it_stopped(place, other_holdout, gone_on, ran):
    etl = place.store.children(other_holdout.id)["etl"].info.run_id
    children = place.children(gone_on)
    assert children["etl (reused)"].data.tags["tabular.reused_from"] == etl
    assert children["train logistic (reused)"].data.tags["tabular.reused_from"] == ran["train logistic"].info.run_id
    assert "evaluate" in children


@pytest.fixture(scope="module")
def redrawn(place, other_holdout):
    """The chain that was refused, with an edit of the pictures."""
    path = place.project / "tabular" / "plots" / "classifier_plots.py"
    before = path.read_bytes()
    path.write_bytes(before + b"\n_A_LINE_MORE = 1\n")
    try:
        return place.run(data="edited.csv", changes=REFUSED)
    finally:
        path.write_bytes(before)


def test_a_refusal_stands_when_the_pictures_alone_are_drawn_again(place, redrawn):
    expected = [f"{task} (reused)" for task in TASKS if task != "evaluate"]
    assert sorted(place.children(redrawn)) == sorted(["evaluate", *expected])
    assert redrawn.tags["tabular.outcome"] == "refused"


def test_register_takes_an_evaluation_of_the_same_rows_made_by_another_data_section(store, place, ran, tmp_path):
    """The data set came out the same, so nothing after etl was run again; yet the champion is to be another's."""
    changed = tmp_path / "changed.yaml"
    values = asked(**{"data.missing": ["nowhere in it"], "registry.name": "of_the_same_rows"})
    values["data"]["source"] = str(place.table)
    changed.write_text(yaml.safe_dump(values))
    etl = store.step("etl", problem=str(changed))
    assert etl.tags["tabular.digest.train"] == ran["etl"].data.tags["tabular.digest.train"]
    runs = {name: run.info.run_id for name, run in ran.items()}
    models = f"{runs['train logistic']},{runs['train lightgbm']}"
    ended = store.step("register", problem=etl.id, evaluation=runs["evaluate"], dataset=etl.id, models=models)
    assert ended.status == 0, ended.stderr
    assert ended.tags["tabular.outcome"] == "registered"
