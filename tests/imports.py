"""The import graph of steps/ and tabular/, and the order that it has to keep: for a test, and for the map in docs/."""

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
# The modules of steps/ that stand in MLproject, and the door to them.
ENTRY_POINTS = "steps/*.py"
# Of a package itself: where the project lies.
ROOTS = ("steps", "tabular")

# The one place that says who may import whom: a room, and those right below it; what lies below these lies below it
# too. A module outside all folders is a room by itself. Each module of steps may also ask `steps` where the project is.
ORDER: Mapping[str, tuple[str, ...]] = {
    ENTRY_POINTS: ("steps.evaluation", "steps.replay", "steps.comparison", "tabular.report", "tabular.plots"),
    "steps.evaluation": ("steps.model", "tabular.report", "tabular.plots"),
    "steps.replay": ("steps.chain", "steps.search"),
    "steps.comparison": ("steps.chain", "steps.search"),
    "steps.chain": ("steps.model",),
    "steps.search": ("steps.model", "tabular.search"),
    "steps.model": ("steps.run", "tabular.model", "tabular.evaluation", "tabular.provenance", "tabular.sbom"),
    "steps.run": ("steps.process", "steps.pipeline", "tabular.data", "tabular.credentials"),
    "steps.process": (),
    "steps.pipeline": ("tabular.problem",),
    "tabular.report": ("tabular.evaluation",),
    "tabular.plots": ("tabular.evaluation",),
    "tabular.search": ("tabular.model",),
    "tabular.model": ("tabular.data",),
    "tabular.evaluation": ("tabular.data",),
    "tabular.data": ("tabular.problem",),
    "tabular.problem": ("tabular.sections",),
    "tabular.sections": ("tabular.metrics", "tabular.defaults", "tabular.addresses"),
    "tabular.metrics": ("tabular.errors", "tabular.digests"),
    "tabular.defaults": (),
    "tabular.addresses": ("tabular.errors",),
    "tabular.errors": (),
    "tabular.provenance": (),
    "tabular.sbom": (),
    "tabular.credentials": (),
    "tabular.digests": (),
}

# Module: the modules of this project that it imports.
Graph = Mapping[str, set[str]]


def graph(project: Path = PROJECT) -> Graph:
    """Who imports whom in a project's steps/ and tabular/."""
    files = {module_name(path.relative_to(project)): path for top in ROOTS for path in (project / top).rglob("*.py")}
    return {module: set(_modules(module, path, files)) for module, path in sorted(files.items())}


def module_name(path: Path) -> str:
    """A file's module, such as `steps.run.tags`; a package's is the package."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _modules(module: str, path: Path, files: Mapping[str, Path]) -> Iterator[str]:
    """The modules that a file imports; a package counts where something of it itself is taken, not of its modules."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)
        elif isinstance(node, ast.ImportFrom):
            whole = ".".join([*_above(module, path, node.level), *([node.module] if node.module else [])])
            for alias in node.names:
                found = f"{whole}.{alias.name}"
                if found in files or whole in files:
                    yield found if found in files else whole


def _above(module: str, path: Path, level: int) -> list[str]:
    """The package that a relative import of so many dots begins in; nothing for an absolute one."""
    parts = module.split(".") if path.stem == "__init__" else module.split(".")[:-1]
    return parts[: len(parts) - level + 1] if level else []


def room(module: str) -> str:
    """Where a module lies."""
    parts = module.split(".")
    if len(parts) > 2 or module in ORDER or module in ROOTS:
        return ".".join(parts[:2])
    # a package itself is in its own room, which the order names
    return ENTRY_POINTS if parts[0] == "steps" else module


def rooms(found: Graph) -> Counter[tuple[str, str]]:
    """How many imports lead from one room into another."""
    arrows = ((room(module), room(other)) for module, others in found.items() for other in others)
    return Counter((here, there) for here, there in arrows if here != there)


def below(order: Mapping[str, tuple[str, ...]] = ORDER) -> dict[str, set[str]]:
    """Room: all rooms that its modules may import."""
    found: dict[str, set[str]] = {}
    for name in TopologicalSorter(order).static_order():
        found[name] = {*order.get(name, ())}.union(*(found[other] for other in order.get(name, ())))
    return found


def against_the_order(found: Graph) -> list[str]:
    """The imports that the order does not allow, and modules in rooms that it does not name."""
    allowed = below()
    wrong = []
    for module, others in found.items():
        here = room(module)
        if here not in allowed and here not in ROOTS:
            wrong.append(f"{module} lies in {here}, which tests/imports.py does not name")
        for other in sorted(others):
            there = room(other)
            inside = here == there != ENTRY_POINTS
            shared = other == "steps" and module.startswith("steps.")
            if other != module and not (inside or shared or there in allowed.get(here, set())):
                wrong.append(f"{module} imports {other}: {here} may not import {there}")
    return wrong


def of_rooms(found: Graph) -> Graph:
    """Which room imports from which."""
    return {here: {there for other, there in rooms(found) if other == here} for here, _ in rooms(found)}


def circle(found: Graph) -> list[str]:
    """What imports each other in a circle, the first of it again at the end; nothing where there is no circle."""
    try:
        TopologicalSorter({name: others - {name} for name, others in found.items()}).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []
