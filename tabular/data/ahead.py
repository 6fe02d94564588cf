"""The next item of a stream, made in another thread while this one works on the item before it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The items of a stream in their order, of which one is made ahead; what is raised on the way is raised here.

    Arrow works without Python's lock, so that two threads of it take two cores.
    """
    with ThreadPoolExecutor(1) as worker:
        next_one = worker.submit(_next, items)
        while True:
            found = next_one.result()
            if not found:
                return
            next_one = worker.submit(_next, items)
            yield found[0]


def _next(items: Iterator[Item]) -> tuple[Item, ...]:
    """The next item; nothing at the end of the stream."""
    for item in items:
        return (item,)
    return ()
