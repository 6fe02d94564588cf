"""Code of the user's own that travels in a model: its plain form, and what it imports."""

import ast
import functools
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions

from tabular.errors import UserError

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
# The packages that every model has anyway; the look-up in all installed packages is slow.
ALWAYS = ("numpy", "pandas", "scipy", "sklearn")


def plain(tree: ast.Module) -> str:
    """What a file says without comments and docstrings, which it loses: equal for files that do the same."""
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree) + "\n"


def packages(code: str, where: str) -> list[str]:
    """The top-level packages that the code imports, without those of Python itself.

    Parameters
    ----------
    code
        The text of a file.
    where
        What the error message begins with.

    Raises
    ------
    UserError
        Where it imports what a model cannot take along.
    """
    names = sorted(set(_imported(ast.parse(code))) - sys.stdlib_module_names)
    for name in names:
        if name not in ALWAYS and not is_installed(name):
            raise UserError(
                f"{where}: it imports {name!r}, which is no installed package and does not travel with a model: "
                "move what it needs into this file"
            )
    return names


def is_installed(name: str) -> bool:
    """Whether a top-level module is that of an installed package."""
    return name in _installed()


@functools.cache
def _installed() -> frozenset[str]:
    return frozenset(packages_distributions())


def _imported(tree: ast.Module) -> Iterator[str]:
    """The top-level names of what a file imports; of an import from its own folder, its dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level if node.level else str(node.module).partition(".")[0]
