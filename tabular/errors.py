"""The one error that is written for the person at the terminal, and the words that such errors share."""

import difflib
from collections.abc import Iterable, Sequence


class UserError(Exception):
    """What is wrong with the input, in one line: the file, column or parameter, and what to do about it."""


def nearest(name: str, names: Iterable[str]) -> str:
    """The end of an error about an unknown name: ", did you mean 'a' or 'b'?", or nothing where none is near."""
    close = difflib.get_close_matches(str(name), [str(known) for known in names], n=3, cutoff=0.5)
    return f", did you mean {' or '.join(repr(name) for name in close)}?" if close else ""


def listed(names: Sequence[object], most: int = 12) -> str:
    """Names for an error, of which a wide table would have too many: "'a', 'b' and 98 more"."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more


def first_line(error: BaseException) -> str:
    """What another library's error says, as one short line; its type's name where it says nothing."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)[:300]
