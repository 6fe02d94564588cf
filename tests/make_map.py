"""The map of docs/architecture.md, made from the import graph: `python -m tests.make_map` writes it there anew."""

import ast
from collections.abc import Iterator

from tests import imports
from tests.imports import ENTRY_POINTS, ORDER, PROJECT

PAGE = PROJECT / "docs" / "architecture.md"
BEGIN = "<!-- made by `python -m tests.make_map`: do not edit -->"
END = "<!-- up to here -->"


def drawn(found: imports.Graph) -> str:
    """The map: the rooms with their arrows as a Mermaid flowchart, and a table of all that each imports.

    An arrow is drawn where no way over other rooms leads to the same one; the table has them all.
    """
    return "\n".join([*_flowchart(found), "", *_table(found)])


def written(page: str, found: imports.Graph) -> str:
    """A page with the map between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{drawn(found)}\n{END}{after}"


def _flowchart(found: imports.Graph) -> Iterator[str]:
    counts = imports.rooms(found)
    names = {room: f"r{number}" for number, room in enumerate(ORDER)}
    yield "```mermaid"
    yield "flowchart TD"
    for top in imports.ROOTS:
        yield f'  subgraph {top}["{top}/"]'
        yield from (f'    {names[room]}["{room}"]' for room in ORDER if room.startswith(top))
        yield "  end"
    reached = imports.below({room: tuple(others) for room, others in imports.of_rooms(found).items()})
    for here in ORDER:
        arrows = [there for there in ORDER if counts[here, there]]
        for there in arrows:
            if not any(there in reached[other] for other in arrows):
                yield f"  {names[here]} -->|{counts[here, there]}| {names[there]}"
    yield "```"


def _table(found: imports.Graph) -> Iterator[str]:
    counts = imports.rooms(found)
    yield "| room | what lies there | what it imports, and how often |"
    yield "|---|---|---|"
    for here in ORDER:
        of_room = [f"{there} {counts[here, there]}" for there in ORDER if counts[here, there]]
        yield f"| `{here}` | {_says(here)} | {', '.join(of_room) or 'nothing of ours'} |"


def _says(room: str) -> str:
    """The first line of a room's own docstring."""
    place = PROJECT / "steps" if room == ENTRY_POINTS else PROJECT.joinpath(*room.split("."))
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()[0]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), imports.graph()), encoding="utf-8")
