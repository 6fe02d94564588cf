"""Readers of a table's parts: they look at each part elsewhere, such as at the workers of a cluster."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from tabular.data.spills import Spill

Found = TypeVar("Found")


class Readers(Protocol):
    """Who looks at the parts of a table. What is called, and what it finds, is pickled on its way.

    What is found comes in the order of the files, and what is raised on the way is raised in its turn.
    """

    def each(self, look: Callable[[Path], Found], files: Sequence[Path]) -> Iterator[Found]:
        """Call `look` with each file."""

    def kept(self, look: Callable[[Path, Path], Found], files: Sequence[Path], spill: Spill) -> Iterator[Found]:
        """Call `look` with each file, and the path of a file that it writes; that is in the spill's place then."""
