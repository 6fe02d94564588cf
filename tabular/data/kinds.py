"""The types of texts: which texts are numbers, dates and truths, and these as values."""

from bisect import bisect_left
from functools import lru_cache

import pyarrow as pa

from tabular.data.columns import BOOL, FLOAT, INT, MOMENT, STRING

# The pattern of texts of each type, from the narrowest type on. A leading zero marks a code ("007"), not a number.
PATTERNS = {
    BOOL: r"^(true|True|TRUE|false|False|FALSE)$",
    INT: r"^[+-]?(0|[1-9][0-9]*)$",
    FLOAT: r"(?i)^[+-]?(((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?|inf|infinity)$",
    MOMENT: r"^\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?)?$",
}
TRUTHS = r"^(true|True|TRUE|false|False|FALSE|[01](\.0)?)$"  # where it is known that truths are meant
TRUE = r"(?i)^(true|1(\.0)?)$"
ZONE = r":.*(Z|[+-]\d\d(:?\d\d)?)$"  # after a colon, since the day of a bare date also matches


def parsed(text: pa.Array, kind: pa.DataType, *, truths: bool = False) -> pa.Array | None:
    """Return texts as values of a type, or None where any of them is not of that type.

    Parameters
    ----------
    text
        (n,) strings without blanks around them, or null.
    kind
        One of the types of `PATTERNS`.
    truths
        Whether 1 and 0 are truths too.

    """
    import pyarrow.compute as pc

    if not pc.all(pc.match_substring_regex(text, _pattern(kind, truths)), min_count=0).as_py():
        return None
    try:
        return converted(text, kind)
    except pa.ArrowInvalid:  # the 30th of February; an integer of 20 digits
        return None


def _pattern(kind: pa.DataType, truths: bool) -> str:
    return TRUTHS if kind == BOOL and truths else PATTERNS[kind]


def fitting(text: pa.Array, kind: pa.DataType, *, truths: bool = False) -> pa.Array:
    """(n,) whether each text, of which none is missing, is a value of a type."""
    import pyarrow.compute as pc

    formed = pc.match_substring_regex(text, _pattern(kind, truths))
    candidates = pc.unique(text.filter(formed))
    if parsed(candidates, kind, truths=truths) is not None:
        return formed
    return pc.and_(formed, pc.invert(pc.is_in(text, value_set=_not_parsed(candidates, kind))))


def _not_parsed(text: pa.Array, kind: pa.DataType) -> pa.Array:
    """The texts that look like values of a type and are none, such as 2021-02-30: found by halving."""
    if not len(text) or parsed(text, kind) is not None:
        return text.slice(0, 0)
    if len(text) == 1:
        return text
    half = len(text) // 2
    return pa.concat_arrays([_not_parsed(text.slice(0, half), kind), _not_parsed(text.slice(half), kind)])


def converted(text: pa.Array, kind: pa.DataType) -> pa.Array:
    """Convert texts that look like values of a type."""
    import pyarrow.compute as pc

    if kind == STRING:
        return text
    if kind == BOOL:
        return pc.match_substring_regex(text, TRUE)
    if kind != MOMENT:
        return pc.ascii_ltrim(text, "+").cast(kind)
    text = pc.replace_substring_regex(text, r"(\.\d{6})\d+", r"\1")  # nanoseconds
    zoned = pc.match_substring_regex(text, ZONE)
    if not pc.any(zoned).as_py():
        return text.cast(MOMENT)
    none = pa.scalar(None, STRING)
    utc = pc.if_else(zoned, text, none).cast(pa.timestamp("us", "UTC")).cast(MOMENT)
    return pc.coalesce(utc, pc.if_else(zoned, none, text).cast(MOMENT))


def first_wrong(text: pa.Array, kind: pa.DataType) -> int:
    """The position of the first text that is not of a type; at least one text must not be."""

    def holds_until(place: int) -> bool:
        part = text.slice(0, place + 1)
        return part.null_count == len(part) or parsed(part, kind, truths=True) is not None

    return bisect_left(range(len(text)), True, key=lambda place: not holds_until(place))


@lru_cache(maxsize=256)
def values(words: tuple[str, ...], kind: pa.DataType) -> pa.Array:
    """The values of a type that some words name: of ("-999", "?"), as numbers, -999."""
    found = [one for word in words if (one := parsed(pa.array([word], STRING), kind)) is not None]
    return pa.concat_arrays(found) if found else pa.array([], kind)
