"""The names of classes as parts of metrics' names."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

# How the name of a class ends that would else be called like another one.
DIGEST = re.compile(r"_[0-9a-f]{8}\s*$", re.IGNORECASE)


def in_metrics(classes: Iterable[str]) -> dict[str, str]:
    """Class: its name as part of a metric's, in which MLflow allows 250 letters, digits and `_-. /`.

    Of classes that would be called alike, on a store that compares without case or accents too, each has the beginning
    of its digest after its name; so has one whose name looks as if it had, and no two can be called alike.
    """
    plain = {label: _allowed(label) for label in classes}
    alike = Counter(map(_as_compared, plain.values()))
    return {
        label: name if alike[_as_compared(name)] == 1 and not DIGEST.search(name) else f"{name}_{_digest(label)}"
        for label, name in plain.items()
    }


def _allowed(label: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "_-. " else "_" for letter in label[:200])


def _as_compared(name: str) -> str:
    """A name as a database may compare it: without case, accents, and blanks at its end."""
    parts = unicodedata.normalize("NFKD", name.casefold())
    return "".join(letter for letter in parts if not unicodedata.combining(letter)).casefold().rstrip()


def _digest(label: str) -> str:
    return hashlib.sha256(label.encode(errors="surrogatepass")).hexdigest()[:8]
