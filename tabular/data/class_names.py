"""Names of classes, for use within names of metrics."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

# The ending that is added to a class name to make it unique.
DIGEST = re.compile(r"_[0-9a-f]{8}\s*$", re.IGNORECASE)


def in_metrics(classes: Iterable[str]) -> dict[str, str]:
    """Unique names of classes within names of metrics, for which MLflow allows 250 letters, digits and `_-. /`.

    Where several classes would have the same name, also in a store that ignores case and accents, the first 8 digits of
    the class's digest are added to each. They are also added to a name that ends like a digest, so that all are unique.

    Returns
    -------
    dict
        Class: its name.

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
    """The name as databases may compare it: without case, accents and trailing blanks."""
    parts = unicodedata.normalize("NFKD", name.casefold())
    return "".join(letter for letter in parts if not unicodedata.combining(letter)).casefold().rstrip()


def _digest(label: str) -> str:
    return hashlib.sha256(label.encode(errors="surrogatepass")).hexdigest()[:8]
