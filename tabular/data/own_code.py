"""The code of the user's own columns: what it means."""

import ast

from tabular.data import carried_code
from tabular.errors import UserError, first_line, nearest


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
        Where the text is not Python, or has no such function at its top level.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{where}: it is not Python ({first_line(error)})") from None
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    if function not in functions:
        raise UserError(f"{where}: it has no function {function!r}{nearest(function, functions)}")
    return carried_code.plain(tree)
