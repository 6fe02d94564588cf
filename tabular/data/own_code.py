"""The code of the user's own columns: what it means, and what it imports."""

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions

from tabular.errors import UserError, first_line, nearest

# The packages that every model has anyway; the look-up in all installed packages is slow.
ALWAYS = ("numpy", "pandas", "scipy", "sklearn")
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def meaning(text: str, where: str, function: str) -> str:
    """What a file of features says, as code without comments and docstrings: equal for files that do the same.

    Parameters
    ----------
    text
        The file's text.
    where
        What the error messages begin with.
    function
        The name of the function that makes the columns.

    Raises
    ------
    UserError
        Where the text is not Python, has no such function at its top level, or imports what a model cannot take along.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{where}: it is not Python ({first_line(error)})") from None
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    if function not in functions:
        raise UserError(f"{where}: it has no function {function!r}{nearest(function, functions)}")
    for name in _imported(tree):
        if not _is_known(name):
            raise UserError(
                f"{where}: it imports {name!r}, which is no installed package and does not travel with a model: "
                "move what it needs into this file"
            )
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree) + "\n"


def packages(code: str) -> list[str]:
    """The top-level packages that the code imports, without those of Python itself."""
    return sorted({name for name in _imported(ast.parse(code)) if name not in sys.stdlib_module_names})


def _imported(tree: ast.Module) -> Iterator[str]:
    """The top-level names of what a file imports; of an import from its own folder, its dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level if node.level else str(node.module).partition(".")[0]


def _is_known(name: str) -> bool:
    return name in sys.stdlib_module_names or name in ALWAYS or name in packages_distributions()
