"""The recipes of docs/architecture.md, carried out in a copy of the tree as the page has them, and run there."""

import json
import re
import shutil
import textwrap
from pathlib import Path

import pytest
import yaml

from tests import imports
from tests.running import PROJECT, Store

pytestmark = pytest.mark.slow

PAGE = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
COPIED = ("MLproject", "python_env.yaml", "requirements.txt", "steps", "tabular", "problems")
# "A new file `path`:", or "In `path`, above `text`:", and the block that follows.
BLOCK = re.compile(
    r"(?:new file `(?P<new>[^`]+)`|In\s`(?P<path>[^`]+)`,\s(?P<side>above|below)\s`(?P<anchor>[^`]+)`):\n\n"
    r"```\w+\n(?P<text>.*?)```\n",
    re.DOTALL,
)


def carry_out(page: str, project: Path) -> None:
    """Do with a tree what a page says."""
    for block in BLOCK.finditer(page):
        if block["new"]:
            assert not (project / block["new"]).exists()
            (project / block["new"]).write_text(block["text"], encoding="utf-8")
        else:
            path = project / block["path"]
            path.write_text(put(block["text"], path.read_text(encoding="utf-8"), block["side"], block["anchor"]))


def put(text: str, into: str, side: str, anchor: str) -> str:
    """A file's text with a block above or below the one place that an anchor names, indented as that is."""
    # an anchor may go over several lines
    found = list(re.finditer(r"^( *)" + r"\s+".join(map(re.escape, anchor.split())), into, re.MULTILINE))
    assert len(found) == 1, f"{anchor!r} is there {len(found)} times"
    start, end = found[0].start(), into.index("\n", found[0].end()) + 1
    apart = "\n\n" if text.startswith("def ") else ""
    added = textwrap.indent(text, found[0][1]) + apart
    return into[:start] + added + into[start:] if side == "above" else into[:end] + added + into[end:]


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """A copy of the tree with all that the page adds to it."""
    project = tmp_path_factory.mktemp("recipes")
    for name in COPIED:
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(PROJECT / name, project)
    carry_out(PAGE, project)
    return project


@pytest.fixture(scope="module")
def store(tmp_path_factory, fork_server) -> Store:
    """A store of its own; the fork server of all tests loads the modules of the tree that a step is started in."""
    return Store(tmp_path_factory.mktemp("store"), fork_server=fork_server)


@pytest.fixture(scope="module")
def chain(store, copy):
    """The chain of the page's problem."""
    ended = store.process("main", project=copy, problem="flowers")
    assert ended.status == 0, ended.stdout + ended.stderr
    return ended


@pytest.fixture(scope="module")
def ran(store, chain):
    """The runs of that chain by their tasks."""
    return store.children(chain.id)


def test_every_block_of_the_recipes_is_carried_out() -> None:
    recipes = PAGE.partition("## How to add")[2]
    assert len(BLOCK.findall(recipes)) == recipes.count("```") / 2


def test_a_problem_is_found_by_its_name(chain) -> None:
    assert chain.tags["tabular.problem"] == "flowers"


def test_a_column_of_your_own_is_learnt_from(store, ran) -> None:
    names = json.loads(store.artifact(ran["train nearest_mean"], "feature_names.json").read_text())
    assert names[-1] == "petal_area"
    assert "'petal_area'" in ran["etl"].data.tags["mlflow.note.content"]


def test_a_class_of_your_own_is_searched_by_its_default_space_and_trained(ran) -> None:
    assert "best_sharpness" in ran["hpo nearest_mean"].data.params
    assert ran["train nearest_mean"].data.params["estimator"] == "our_estimators.NearestMean"
    assert ran["train nearest_mean"].info.status == "FINISHED"


def test_a_class_that_lies_in_the_tree_becomes_no_champion(chain) -> None:
    assert chain.tags["tabular.outcome"] == "refused"
    assert "No module named 'our_estimators'" in chain.tags["tabular.verdict"]


def test_a_metric_is_measured_and_asked_for_by_the_gate(store, ran) -> None:
    found = json.loads(store.artifact(ran["evaluate"], "evaluation.json").read_text())["candidates"]
    (candidate,) = found
    low, high = candidate["intervals"]["specificity"]
    assert 0 < low <= candidate["metrics"]["specificity"] <= high <= 1
    assert [check["what"].split()[0] for check in candidate["checks"]] == ["specificity"]


def test_a_picture_is_drawn_for_each_candidate(store, ran) -> None:
    assert "pictures/nearest_mean/sureness.png" in store.artifacts(ran["evaluate"])


def test_a_step_is_run_by_main_with_a_key_of_its_own(ran) -> None:
    assert ran["balance"].data.metrics["rarest_class"] == pytest.approx(1 / 3, abs=0.01)
    assert {"tabular.key", "tabular.digest.balance"} <= set(ran["balance"].data.tags)


def test_an_entry_point_is_started_by_its_name(store, copy, chain) -> None:
    ended = store.process("verdicts", project=copy, most=5)
    assert ended.status == 0, ended.stderr
    assert chain.tags["tabular.verdict"][:20] in ended.stdout
    assert store.artifact(ended.run, "verdicts.json").exists()


def test_what_is_started_has_the_parameters_that_mlproject_gives_it(copy) -> None:
    doors = yaml.safe_load((copy / "MLproject").read_text(encoding="utf-8"))["entry_points"]
    assert list(doors["balance"]["parameters"]) == ["problem", "dataset", "share"]
    assert doors["verdicts"]["command"] == "python -m steps verdicts --most={most}"


def test_what_the_recipes_add_keeps_the_directions(copy) -> None:
    found = imports.graph(copy)
    assert {"steps.balance", "steps.verdicts"} <= set(found)
    assert imports.against_the_order(found) == []
    assert imports.circle(found) == []
