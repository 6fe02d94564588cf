"""Whether a program takes a command: MLflow's own command line is asked, MLproject, scripts, uv, the scoring server."""

import argparse
import ast
import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache

import click
import pytest
import yaml
from mlflow.cli import cli
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server

from steps.run import cli as steps_cli
from tabular.errors import UserError
from tests.running import PROJECT

ENTRY_POINTS = yaml.safe_load((PROJECT / "MLproject").read_text(encoding="utf-8"))["entry_points"]
LOCK = (PROJECT / "requirements.txt").read_text(encoding="utf-8")
ROOMS = {path.name for path in PROJECT.iterdir() if path.is_dir() and not path.name.startswith(".")}
FILE = re.compile(r"requirements[\w-]*\.(txt|in)|conda\.yaml|python_env\.yaml|MLproject")


class Wrong(Exception):
    """What is wrong with a command."""


def of_mlflow(words: list[str], is_whole: bool) -> None:
    """MLflow's own command line has the command and its options; of `mlflow run .`, MLproject what it asks for."""
    found, rest = cli, words
    name = "mlflow"
    while isinstance(found, click.Group):
        name, *rest = rest
        group, found = found, found.get_command(click.Context(found), name)
        if found is None:
            raise Wrong(f"{name!r} is no command of mlflow: {', '.join(group.list_commands(click.Context(group)))}")
    try:
        context = found.make_context(name, [*rest])
    except click.ClickException as error:
        if not is_whole and isinstance(error, (click.MissingParameter, click.BadOptionUsage)):
            return  # a sentence may name an option without its value
        raise Wrong(error.format_message()) from None
    except MlflowException as error:
        raise Wrong(error.message) from None
    if words[0] == "run":
        given = [given.partition("=") for given in context.params["param_list"]]
        of_entry_point(context.params["entry_point"], {name: value for name, _, value in given}, is_whole)


def of_entry_point(entry_point: str, given: dict[str, str], is_whole: bool) -> None:
    """MLproject has the entry point and its parameters, and all that it needs is given."""
    if entry_point not in ENTRY_POINTS:
        raise Wrong(f"MLproject has no entry point {entry_point!r}: {', '.join(ENTRY_POINTS)}")
    known = ENTRY_POINTS[entry_point]["parameters"]
    if unknown := given.keys() - known.keys():
        raise Wrong(f"{entry_point} has no parameter {', '.join(sorted(unknown))}: {', '.join(known)}")
    needed = {name for name, about in known.items() if about == "string"}
    if is_whole and (missing := needed - given.keys()):
        raise Wrong(f"{entry_point} needs {', '.join(sorted(missing))}")
    named = given.get("problem", "")
    if re.fullmatch(r"\w+", named) and named not in OWN and not (PROJECT / "problems" / f"{named}.yaml").exists():
        raise Wrong(f"there is no problems/{named}.yaml")


OWN = {"flowers"}  # problems that a page has the reader write


def of_parameter(words: list[str], is_whole: bool) -> None:
    """A parameter in a sentence: some entry point has it."""
    names = {name for about in ENTRY_POINTS.values() for name in about["parameters"]}
    if is_whole:
        raise Wrong("`-P` is no program: write the whole command")
    for given in words[::2]:
        if given.partition("=")[0] not in names:
            raise Wrong(f"no entry point has a parameter {given.partition('=')[0]}")


def of_python(words: list[str], is_whole: bool) -> None:
    """The module is there, the script has the options, the code can be read."""
    kind, *rest = words
    if kind == "-c":
        try:
            compile(rest[0], "-c", "exec")
        except SyntaxError as error:
            raise Wrong(f"Python cannot read this code: {error}") from None
    elif kind == "-m" and rest[0] == "steps":
        try:
            steps_cli.check_entry_point(rest[1])
            steps_cli.parse(rest[1], rest[2:])
        except UserError as error:
            raise Wrong(str(error)) from None
    elif kind == "-m":
        if importlib.util.find_spec(rest[0].partition(".")[0]) is None or importlib.util.find_spec(rest[0]) is None:
            raise Wrong(f"there is no module {rest[0]}")
    elif (PROJECT / kind).exists():
        try:
            parser_of(kind, is_whole).parse_args([*rest])
        except Exception as error:
            raise Wrong(str(error)) from None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        raise Wrong(message)


def parser_of(script: str, is_whole: bool) -> argparse.ArgumentParser:
    """The options of a script, read from its source: to import it takes seconds."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    for node in ast.walk(ast.parse((PROJECT / script).read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr == "add_argument":
            names = [ast.literal_eval(name) for name in node.args]
            about = {key.arg: key.value.value for key in node.keywords if isinstance(key.value, ast.Constant)}
            about = {key: value for key, value in about.items() if key in ("action", "nargs", "required", "dest")}
            if not is_whole:
                about.pop("required", None)
                about |= {} if names[0].startswith("-") else {"nargs": "?"}
            parser.add_argument(*names, **about)
    return parser


def of_installer(words: list[str], is_whole: bool) -> None:
    """MLflow is the one of the lock."""
    for word in words:
        package, _, version = word.partition("==")
        name = package.partition("[")[0]
        if version and not re.search(rf"^{re.escape(name)}=={re.escape(version)}\s", LOCK, re.MULTILINE):
            raise Wrong(f"{word}: requirements.txt has another version of {name}, or none")


def of_uv(words: list[str], is_whole: bool) -> None:
    """uv has the command and its options."""
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    depth = 2 if words[0] in ("pip", "tool", "python") else 1
    # what follows `python` is not for uv
    own = words[: words.index("python")] if words[0] == "run" and "python" in words else words
    for option in [word.partition("=")[0] for word in own[depth:] if word.startswith("-")]:
        if not re.search(rf"(?<!\S){re.escape(option)}[\s,.=<]", help_of_uv(*words[:depth])):
            raise Wrong(f"uv {' '.join(words[:depth])} has no option {option}")
    of_installer(words, is_whole)


@cache
def help_of_uv(*words: str) -> str:
    """What uv says of a command's options."""
    done = subprocess.run(["uv", *words, "--help"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Wrong(f"uv has no command {' '.join(words)}")
    return done.stdout


def of_curl(words: list[str], is_whole: bool) -> None:
    """A scoring server can read what it is asked with."""
    if not is_whole and "-d" not in words:
        return
    body = words[words.index("-d") + 1] if "-d" in words else "@"
    if "/invocations" not in words[0] or "Content-Type: application/json" not in words:
        raise Wrong("a scoring server is asked at /invocations, with its Content-Type")
    if body.startswith("@"):
        return
    try:
        # `…` stands for the other columns
        data, params = scoring_server._split_data_and_params(re.sub(r",\s*…", "", body))
        scoring_server.infer_and_parse_data(data)
    except Exception as error:
        raise Wrong(f"a scoring server cannot read this body: {error}".partition("\n")[0]) from None
    if other := json.loads(re.sub(r",\s*…", "", body)).keys() - data.keys() - {"params"}:
        raise Wrong(f"a scoring server passes over {', '.join(other)}")
    if params and (unknown := params.keys() - {"threshold", "coverage", "explain"}):
        raise Wrong(f"no model has a parameter {', '.join(unknown)}")


def of_others(words: list[str], is_whole: bool) -> None:
    """Of other programs the files alone are looked at, as of all."""


CHECKS: dict[str, Callable[[list[str], bool], None]] = {
    "mlflow": of_mlflow,
    "python": of_python,
    "pip": of_installer,
    "uv": of_uv,
    "curl": of_curl,
    "-P": of_parameter,
    **dict.fromkeys(("cat", "conda", "cp", "docker", "jupyter", "openssl", "uvicorn"), of_others),
}


def fault(words: tuple[str, ...], is_whole: bool = True) -> str:
    """What is wrong with a command; "" where nothing is."""
    program, *rest = words
    while rest and rest[-1] == "…" and not is_whole:
        rest.pop()
    if program not in CHECKS:
        return f"no check knows the program {program}: give it one in CHECKS, tests/command_checks.py"
    read = rest[:-1] if program == "cp" else rest
    gone = [word for word in read if is_ours(word) and not (PROJECT / word).exists()]
    if gone:
        return f"there is no {', '.join(gone)}"
    try:
        CHECKS[program](rest, is_whole)
    except Wrong as wrong:
        return str(wrong)
    return ""


def is_ours(word: str) -> bool:
    """Whether a word is the path of a file of this tree."""
    return bool(FILE.fullmatch(word)) or (word.partition("/")[0] in ROOMS and "/" in word and " " not in word)
