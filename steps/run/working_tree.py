"""The project's working tree: what it has over its commit, as a patch, and what git does not tell of it."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from steps import PROJECT
from steps.run import git
from tabular.errors import first_line

PATCH = "changes.patch"
MOST_OF_A_PATCH = 5_000_000
# Submodules count, whatever the user has set.
ALL = "--ignore-submodules=none"


@dataclass(frozen=True)
class Tree:
    """What the project's tree is over its commit; `missing` says what of that is not known, or in no patch."""

    state: Literal["clean", "changed", "unknown"]
    patch: Path | None = None
    missing: tuple[str, ...] = ()


def changes(folder: Path) -> Tree:
    """What the tree has over its commit, untracked files included, with the patch of it in `folder`.

    Left out: what git ignores, and files above `MOST_OF_A_PATCH` bytes, which are data and have a digest of their own.
    """
    refused = git.refusal(PROJECT)
    if refused:
        return Tree("unknown", missing=(refused,))
    try:
        return _changes(folder)
    except git.GitError as error:
        return Tree("unknown", missing=(f"git: {first_line(error)}",))


def _changes(folder: Path) -> Tree:
    status = git.tell(PROJECT, "status", "--porcelain=v2", "-z", ALL).decode(errors="surrogateescape")
    if not status:
        return Tree("clean")
    # an index and a store of objects of our own: the caller's stay as they are
    objects = git.ask_text(PROJECT, "rev-parse", "--git-path", "objects") or ""
    apart = {
        "GIT_INDEX_FILE": str(folder / "index"),
        "GIT_OBJECT_DIRECTORY": str(folder / "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str((PROJECT / objects).resolve()),
    }
    (folder / "objects").mkdir()
    git.tell(PROJECT, "read-tree", "HEAD", **apart)
    git.tell(PROJECT, "add", "--update", **apart)
    small, missing = _untracked()
    if small and git.ask(PROJECT, "add", "--", *small, **apart) is None:
        for name in small:  # one that git refuses takes the others with it
            if git.ask(PROJECT, "add", "--", name, **apart) is None:
                missing.append(f"{name} (git refuses it)")
    patch = folder / PATCH
    # not `git diff`, which writes as the user has set it up: without prefixes, through a converter of their own
    patch.write_bytes(git.tell(PROJECT, "diff-index", "--patch", "--binary", "--cached", ALL, "HEAD", **apart))
    return Tree("changed", patch, (*_in_submodules(status), *missing))


def _untracked() -> tuple[list[str], list[str]]:
    """The untracked files that a patch is to hold, and those that it is not, with the reasons."""
    listed = git.tell(PROJECT, "ls-files", "--others", "--exclude-standard", "-z").decode(errors="surrogateescape")
    small, missing = [], []
    for name in filter(None, listed.split("\0")):
        if name.endswith("/"):  # git lists no folder but such a one, and would add it by its commit's name alone
            missing.append(f"{name} (a repository of its own)")
        elif _is_small(PROJECT / name):
            small.append(name)
        else:
            missing.append(f"{name} (above {MOST_OF_A_PATCH // 1_000_000} MB)")
    return small, missing


def _in_submodules(status: str) -> Iterator[str]:
    """The submodules that are changed within, of which git's patch says nothing."""
    for line in status.split("\0"):
        fields = line.split(" ", 9 if line.startswith("2 ") else 8)  # one that was renamed has a field more
        if fields[0] in ("1", "2") and fields[2][0] == "S" and fields[2][2:] != "..":
            yield f"{fields[-1]} (a submodule, with changes of its own)"


def _is_small(path: Path) -> bool:
    """Whether a file is no larger than a patch is to be; an editor's lock is a link to nowhere."""
    with suppress(OSError):
        return path.is_symlink() or path.stat().st_size <= MOST_OF_A_PATCH
    return True  # it has gone meanwhile, and git says so
