"""Single edits of a module's source: those that leave its meaning as it was, and those that change it."""

import ast
from collections.abc import Callable, Iterator, Mapping
from random import Random

from steps.run.source_digest import MACHINERY

Edit = Callable[[str], str]
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
OTHER: Mapping[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


def reformatted(source: str) -> str:
    """The same tree, written by Python: no comments, other quotes, lines and brackets."""
    return ast.unparse(ast.parse(source)) + "\n"


def commented(source: str) -> str:
    """A comment before each statement of the module, and at its end."""
    starts = {
        min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
        for node in ast.parse(source).body
    }
    lines = enumerate(source.splitlines(keepends=True), 1)
    return "".join(f"# a note\n\n{line}" if number in starts else line for number, line in lines) + "# end\n"


def redocumented(source: str) -> str:
    """Another docstring wherever there is one, and one where there is none."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED):
            _take_docstring(node)
            node.body.insert(0, ast.Expr(ast.Constant("Another text.")))
    return _written(tree)


def undocumented(source: str) -> str:
    """No docstring but where it is all of a body."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and (len(node.body) > 1 or isinstance(node, ast.Module)):
            _take_docstring(node)
    return _written(tree)


# What leaves the meaning as it was.
HARMLESS: Mapping[str, Edit] = {
    "another format": reformatted,
    "comments": commented,
    "other docstrings": redocumented,
    "no docstrings": undocumented,
}


def telling(source: str, kind: str, seed: str) -> str | None:
    """The source with an edit of a kind of `TELLING`, its place drawn by a seed; None where it has no place for one."""
    tree = ast.parse(source)
    edits = list(TELLING[kind](tree))
    if not edits:
        return None
    Random(f"{seed} {kind}").choice(edits)()
    return _written(tree)


def is_machinery(file: str) -> bool:
    """Whether a file, by its path from the project's folder, is a module that no key holds."""
    module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return any(f"{module}.".startswith(f"{one}.") for one in MACHINERY)


def _numbers(tree: ast.Module) -> Iterator[Callable[[], None]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            yield lambda node=node: setattr(node, "value", node.value + 1)


def _texts(tree: ast.Module) -> Iterator[Callable[[], None]]:
    docstrings = {
        id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, DOCUMENTED) and ast.get_docstring(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield lambda node=node: setattr(node, "value", f"{node.value}x")


def _truths(tree: ast.Module) -> Iterator[Callable[[], None]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield lambda node=node: setattr(node, "value", not node.value)


def _defaults(tree: ast.Module) -> Iterator[Callable[[], None]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.arguments):
            for values in (node.defaults, node.kw_defaults):
                for place, value in enumerate(values):
                    if value is not None:
                        yield lambda values=values, place=place: values.__setitem__(place, ast.Constant("another"))


def _operators(tree: ast.Module) -> Iterator[Callable[[], None]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in OTHER:
            yield lambda node=node: setattr(node, "op", OTHER[type(node.op)]())


def _comparisons(tree: ast.Module) -> Iterator[Callable[[], None]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and type(node.ops[0]) in OTHER:
            yield lambda node=node: node.ops.__setitem__(0, OTHER[type(node.ops[0])]())


def _arguments_in_turn(tree: ast.Module) -> Iterator[Callable[[], None]]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and len(node.args) > 1]
    for node in calls:
        first, second = node.args[:2]
        if ast.dump(first) != ast.dump(second) and not isinstance(second, ast.Starred):
            yield lambda node=node: node.args.__setitem__(slice(0, 2), node.args[1::-1])


def _arguments_less(tree: ast.Module) -> Iterator[Callable[[], None]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.keywords:
            yield lambda node=node: node.keywords.pop()


def _conditions(tree: ast.Module) -> Iterator[Callable[[], None]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.IfExp | ast.While):
            yield lambda node=node: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))


def _locals(tree: ast.Module) -> Iterator[Callable[[], None]]:
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
            for name in dict.fromkeys(node.id for node in names if isinstance(node.ctx, ast.Store)):
                of_name = [node for node in names if node.id == name]
                yield lambda of_name=of_name: [setattr(node, "id", f"{node.id}_renamed") for node in of_name]


# Kind: gives what makes each single edit of its kind in a tree.
TELLING: Mapping[str, Callable[[ast.Module], Iterator[Callable[[], None]]]] = {
    "a number": _numbers,
    "a text": _texts,
    "true or false": _truths,
    "a default": _defaults,
    "an operator": _operators,
    "a comparison": _comparisons,
    "two arguments in turn": _arguments_in_turn,
    "an argument less": _arguments_less,
    "a condition": _conditions,
    "a local name": _locals,
}


def _take_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    if ast.get_docstring(node, clean=False) is not None:
        del node.body[0]


def _written(tree: ast.Module) -> str:
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"
