"""The names that others read: declared once, told on docs/tracking.md, and written nowhere else."""

import ast
import re
from pathlib import Path

import pytest

from steps.run import tags

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs" / "tracking.md").read_text(encoding="utf-8")
DECLARED = {
    value: name
    for name, value in vars(tags).items()
    if isinstance(value, str) and value.startswith(("tabular.", "step."))
}
# Such as `tabular.history.`, to which a run adds the rest of the name.
BEGINNINGS = tuple(value for value in DECLARED if value.endswith("."))
# What stands on the page for the rest of such a name, or for the whole of it.
OPEN = re.compile(r"…|<\w+>")
NAMES = re.compile(r"`((?:tabular|step)\.[^`\s]+)`")
OURS = re.compile(r"(?<!\w)(tabular|step)\.[a-z_{]")
ELSEWHERE = [path for path in (PROJECT / "steps").rglob("*.py") if path != Path(tags.__file__)]


def told() -> set[str]:
    """The names in the first column of the page's table of tags."""
    rows = [line for line in PAGE.partition("## Tags")[2].splitlines() if line.startswith("| `")]
    return {OPEN.sub("", name) for row in rows for name in NAMES.findall(row.split(" | ")[0])}


def literals(source: str) -> list[str]:
    """The texts in a source that name a tag of ours, without docstrings."""
    tree = ast.parse(source)
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [text.value for text in texts if id(text) not in said and OURS.search(f"{text.value}{{")]


def test_no_two_tags_have_one_name() -> None:
    names = [value for value in vars(tags).values() if isinstance(value, str) and value.startswith("tabular.")]
    assert len(names) == len(set(names)) > 40


@pytest.mark.parametrize("name", DECLARED)
def test_every_tag_is_told_on_the_page(name: str) -> None:
    assert name in told()


def test_every_tag_that_the_page_names_is_declared() -> None:
    named = {OPEN.sub("", name) for name in NAMES.findall(PAGE)}
    assert [name for name in named if name not in DECLARED and not name.startswith(BEGINNINGS)] == [tags.metric_tag("")]


@pytest.mark.parametrize("path", ELSEWHERE, ids=lambda path: path.name)
def test_no_name_of_a_tag_is_written_elsewhere(path: Path) -> None:
    found = literals(path.read_text(encoding="utf-8"))
    assert [name for name in found if not (PROJECT / f"{name.replace('.', '/')}.py").is_file()] == []


@pytest.mark.parametrize(
    "source", ["T = 'tabular.key'", "f(x, t=f'tabular.{name}')", "d = {'a': \"tags.`tabular.met` = 'x'\"}"]
)
def test_a_name_that_is_written_elsewhere_is_found(source: str) -> None:
    assert len(literals(source)) == 1


def test_what_a_docstring_says_of_a_tag_is_no_name_of_its_own() -> None:
    assert literals('"""Sets `tabular.key`."""\ndef f():\n    """And tabular.met."""\n    return "tabular 1"') == []
