"""Who may import whom, computed from the source; and that what computes it finds what is against it."""

import ast
from pathlib import Path

import pytest
import yaml

from tests import imports, make_map

PROJECT = Path(__file__).resolve().parents[2]
GRAPH = imports.graph()


def tree(folder: Path, sources: dict[str, str]) -> imports.Graph:
    """The import graph of a made-up project."""
    for name, text in sources.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return imports.graph(folder)


def test_the_graph_holds_every_module() -> None:
    files = [path for top in imports.ROOTS for path in (PROJECT / top).rglob("*.py")]
    assert len(GRAPH) == len(files) > 80
    assert GRAPH["steps.pipeline"] == {"tabular.problem"}


def test_no_import_is_against_the_order() -> None:
    assert imports.against_the_order(GRAPH) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert imports.circle(GRAPH) == []


def test_no_rooms_import_each_other_in_a_circle() -> None:
    assert imports.circle(imports.of_rooms(GRAPH)) == []


def test_the_order_names_the_rooms_that_there_are() -> None:
    assert {imports.room(module) for module in GRAPH} - {*imports.ROOTS} == set(imports.ORDER)


def test_the_order_goes_one_way() -> None:
    assert not any(room in rooms for room, rooms in imports.below().items())


def test_only_what_draws_may_import_pictures() -> None:
    may = {room for room, rooms in imports.below().items() if "tabular.plots" in rooms}
    assert may == {imports.ENTRY_POINTS, "steps.evaluation"}


def test_tabular_may_import_nothing_of_steps() -> None:
    for room, rooms in imports.below().items():
        assert room.startswith("steps") or not any(other.startswith("steps") for other in rooms)


@pytest.mark.parametrize("path", [*(PROJECT / "steps" / "process").glob("*.py"), PROJECT / "steps" / "pipeline.py"])
def test_processes_and_the_table_of_the_chain_know_nothing_of_mlflow(path: Path) -> None:
    names = {
        name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None), *(alias.name for alias in node.names)]
    }
    assert not [name for name in names if name and name.split(".")[0] == "mlflow"]


def test_in_steps_lie_the_entry_points_and_nothing_else() -> None:
    doors = yaml.safe_load((PROJECT / "MLproject").read_text(encoding="utf-8"))["entry_points"]
    found = {path.stem for path in (PROJECT / "steps").glob("*.py")}
    assert found == {*doors, "__init__", "__main__", "pipeline"}


AGAINST = {
    "a room imports one above it": {"steps/run/a.py": "from steps.chain import b", "steps/chain/b.py": ""},
    "inside a function": {"tabular/data/a.py": "def f():\n    import tabular.plots.b", "tabular/plots/b.py": ""},
    "by a relative import": {"steps/process/a.py": "from ..run import b", "steps/run/b.py": ""},
    "rooms side by side": {"steps/search/a.py": "from steps.chain.b import c", "steps/chain/b.py": "c = 1"},
    "one entry point imports another": {"steps/a.py": "from steps.b import b", "steps/b.py": "def b(): ..."},
    "a room imports an entry point": {"steps/chain/a.py": "from steps import b", "steps/b.py": ""},
    "tabular imports steps": {"tabular/model/a.py": "import steps.run.b", "steps/run/b.py": ""},
    "tabular asks where it lies": {"tabular/model/a.py": "from steps import PROJECT", "steps/__init__.py": ""},
    "a room that has no place in the order": {"steps/cellar/a.py": ""},
}


@pytest.mark.parametrize("sources", AGAINST.values(), ids=AGAINST)
def test_an_import_against_the_order_is_found(sources: dict[str, str], tmp_path: Path) -> None:
    assert len(imports.against_the_order(tree(tmp_path, sources))) == 1


def test_imports_along_the_order_are_not_found(tmp_path: Path) -> None:
    sources = {
        "steps/__init__.py": "PROJECT = 1",
        "steps/a.py": "from steps.run import b\nfrom tabular.errors import UserError",
        "steps/run/b.py": "from steps import PROJECT\nfrom steps.run.c import d\nimport mlflow",
        "steps/run/c.py": "d = 1",
        "tabular/errors.py": "class UserError: ...",
    }
    found = tree(tmp_path, sources)
    assert found["steps.run.b"] == {"steps", "steps.run.c"}
    assert imports.against_the_order(found) == []
    assert imports.circle(found) == []


def test_a_circle_within_a_room_is_found(tmp_path: Path) -> None:
    sources = {"steps/run/a.py": "from steps.run import b", "steps/run/b.py": "def f():\n    from . import a"}
    found = imports.circle(tree(tmp_path, sources))
    assert len(found) == 3
    assert set(found) == {"steps.run.a", "steps.run.b"}


def test_a_circle_of_rooms_whose_modules_make_none_is_found(tmp_path: Path) -> None:
    sources = {
        "steps/run/a.py": "import steps.model.b",
        "steps/model/b.py": "",
        "steps/model/c.py": "import steps.run.d",
        "steps/run/d.py": "",
    }
    found = tree(tmp_path, sources)
    assert imports.circle(found) == []
    assert set(imports.circle(imports.of_rooms(found))) == {"steps.run", "steps.model"}


def test_the_map_on_the_page_is_the_one_of_today() -> None:
    page = make_map.PAGE.read_text(encoding="utf-8")
    assert make_map.BEGIN in page
    assert page == make_map.written(page, GRAPH), "python -m tests.make_map draws it anew"
