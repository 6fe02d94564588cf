"""The error for the user at the terminal, and helpers for the text of such errors."""

import difflib
from collections.abc import Iterable, Sequence


class UserError(Exception):
    """An error in the user's input. Its text is one line: the file, column or parameter, and what to do about it."""


class CandidateError(UserError):
    """An error of one candidate: its estimator refuses the rows or its hyperparameters. Others may do without it."""


class EngineError(UserError):
    """An error of the engine that fits run on, such as a cluster that is gone. No trial or candidate is at fault."""


class OutOfTimeError(CandidateError):
    """The error of a candidate, named by its model, that did not fit into the seconds of the chain."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"models.{model}: it did not fit into the seconds of the chain: raise timeout, or leave the model out"
        )


class OutOfMemoryError(CandidateError):
    """The error of a candidate for which memory is too short; `need` says it without what this machine has."""

    def __init__(self, text: str, need: str) -> None:
        super().__init__(text)
        self.need = need


def nearest(name: str, names: Iterable[str]) -> str:
    """The end of an error about an unknown name: ", did you mean 'a' or 'b'?", or "" without a similar name."""
    close = similar(name, names)
    return f", did you mean {' or '.join(repr(name) for name in close)}?" if close else ""


def similar(name: str, names: Iterable[str]) -> list[str]:
    """The names that are like a name, at most three, the nearest first."""
    texts = [str(known) for known in names]
    close = difflib.get_close_matches(str(name), texts, n=3, cutoff=0.5)
    return close or [known for known in texts if known.casefold() == str(name).casefold()]  # all in capitals


def listed(names: Sequence[object], most: int = 12) -> str:
    """Names for the text of an error, at most `most` of them: "'a', 'b' and 98 more"."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more


def as_yaml(values: object) -> str:
    """Plain values as YAML on one line, to be pasted into a problem: `{severity: {keep: [none]}}`."""
    import json

    import yaml

    text = yaml.safe_dump(values, default_flow_style=True, allow_unicode=True, sort_keys=False, width=10**9).strip()
    return text if "\n" not in text else json.dumps(values, ensure_ascii=False)  # JSON is YAML too


def first_line(error: BaseException) -> str:
    """The first line of another library's error, at most 300 characters; the name of its type where it has no text."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)[:300]
