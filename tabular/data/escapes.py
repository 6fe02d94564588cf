"""Quotes that a backslash escapes within quoted fields, as Spark writes them.

In RFC 4180, which Arrow's parser reads, a quote within quotes is doubled. Such a text is given to the parser with marks
in place of the escaped quotes, and the marks are taken out of what it returns. A backslash before a quote is an escape;
of several, each two are one backslash. All other backslashes stand for themselves.
"""

import re
from dataclasses import dataclass

import pyarrow as pa

ESCAPED = '\\"'
# Characters that Unicode reserves to be no characters of any text.
NO_CHARACTERS = [chr(code) for code in range(0xFDD0, 0xFDF0)]


@dataclass(frozen=True)
class Marks:
    """The characters that stand for an escaped quote and for an escaped backslash."""

    quote: str
    backslash: str

    def written(self, text: str) -> str:
        """The text as it was written, with its escapes."""
        return text.replace(self.quote, ESCAPED).replace(self.backslash, "\\\\")

    def meant(self, text: str) -> str:
        """The text that is meant, without escapes."""
        return text.replace(self.quote, '"').replace(self.backslash, "\\")

    def meant_in(self, texts: pa.Array) -> pa.Array:
        """(n,) the texts that are meant."""
        import pyarrow.compute as pc

        return pc.replace_substring(pc.replace_substring(texts, self.quote, '"'), self.backslash, "\\")


def hidden(text: str) -> tuple[str, Marks]:
    """The text with marks in place of its escapes."""
    free = [mark for mark in NO_CHARACTERS if mark not in text]
    marks = Marks(free[0], free[1])

    def mark(found: re.Match[str]) -> str:
        pairs, one = divmod(len(found[1]), 2)
        return marks.backslash * pairs + (marks.quote if one else '"')

    return re.sub(r'(\\+)"', mark, text), marks


def are_in(text: str, separator: str) -> bool:
    """Whether backslashes escape quotes in a text that begins with a row.

    They do where a quoted field, as RFC 4180 reads it, ends with a backslash and the field goes on, or where the next
    field has a quote in it and none at its beginning.
    """
    if "\\" not in text or ESCAPED not in text:  # one character is found far sooner than two
        return False
    ends = f"{re.escape(separator)}\r\n"
    field = re.compile(rf'"(?P<quoted>(?:[^"]|"")*+)"(?P<more>[^{ends}]*+)|(?P<bare>[^"{ends}][^{ends}]*+|)')
    end = re.compile(rf"{re.escape(separator)}|\r\n?|\n")
    place, after_backslash = 0, False
    while place < len(text):
        found = field.match(text, place)
        if found is None:  # a quote that is not closed in this text
            return False
        if after_backslash and '"' in (found["bare"] or ""):
            return True
        after_backslash = (found["quoted"] or "").endswith("\\")
        if after_backslash and found["more"].strip():
            return True
        ended = end.match(text, found.end())
        if ended is None:
            return False
        place = ended.end()
    return False
