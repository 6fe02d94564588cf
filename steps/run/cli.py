"""The command line of `python -m steps <name>`, as MLproject writes it."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from steps.pipeline import STEPS
from tabular.errors import UserError, nearest

MAIN = (
    "problem",
    "data",
    "query",
    "target",
    "task",
    "preset",
    "trials",
    "timeout",
    "seed",
    "jobs",
    "reuse",
    "require",
    "engine",
    "engine_address",
    "engine_ranks",
    "replays",
)
# The entry points that are not steps of the chain.
ENTRY_POINTS = {
    "main": MAIN,
    "check": ("problem", "data", "target", "task"),
    "reproduce": ("run", "data", "jobs"),
    "compare": ("experiment", "of", "metric", "direction", "filter", "top"),
    "predict": ("model", "data", "query", "output", "keys", "explain"),
    "monitor": ("model", "data", "query", "truth", "keys", "problem", "require"),
    "promote": ("name", "version", "reason", "alias", "stage"),
    "clean": ("older_than", "keep", "delete"),
}


def parameters(name: str) -> tuple[str, ...]:
    """The names of the parameters of an entry point."""
    return ENTRY_POINTS[name] if name in ENTRY_POINTS else tuple(STEPS[name].parameters)


def check_entry_point(name: str, words: Sequence[str] = ()) -> None:
    """Check that a name is an entry point, before any run is made.

    `--help` prints the entry points, or after an entry point its parameters, and ends the process.

    Raises
    ------
    UserError
        Where the name is not an entry point; the message lists the entry points.
    """
    known = [*ENTRY_POINTS, *STEPS]
    usage = f"python -m steps NAME --parameter=value, where NAME is one of {', '.join(known)}"
    if name in ("-h", "--help"):
        print(usage)
        sys.exit(0)
    if name not in known:
        what = f"{name!r} is no entry point{nearest(name, known) or '.'}" if name else "which entry point?"
        raise UserError(f"python -m steps: {what} Type {usage}")
    if {"-h", "--help"} & set(words):
        print(f"python -m steps {name} {' '.join(f'--{parameter}=' for parameter in parameters(name))}")
        sys.exit(0)


def parse(name: str, argv: list[str]) -> dict[str, str]:
    """The parameters of an entry point, read from `--name=value` words; a parameter that is not given is "".

    Raises
    ------
    UserError
        For a parameter that the entry point does not have.
    """
    known = parameters(name)
    parser = _Parser(prog=f"steps.{name}", add_help=False, allow_abbrev=False)
    for parameter in known:
        parser.add_argument(f"--{parameter}", default="")
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        word = unknown[0].removeprefix("--").partition("=")[0]
        hint = nearest(word, known)
        raise UserError(f"{name} has no parameter {word!r}{hint or ''} (its parameters: {', '.join(known)})")
    return vars(arguments)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog.removeprefix('steps.')}: {message}")
