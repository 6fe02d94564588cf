"""The project's working tree: its changes since the commit, as a patch, and what the patch cannot hold."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from steps import PROJECT
from steps.run import git
from tabular import credentials
from tabular.errors import first_line

PATCH = "changes.patch"
MOST_OF_A_PATCH = 5_000_000
# More untracked files than anybody writes: such a tree is asked about none of them, which would take minutes.
MOST_FILES = 500
# A folder that holds an environment, by what lies in it.
ENVIRONMENT = re.compile(r"(?P<folder>.+?/)(pyvenv\.cfg$|conda-meta/)")
# Tables are data, and not what the project does with them. A run that reads one has its digest.
TABLES = tuple(
    f".{kind}{packed}"
    for kind in ("csv", "tsv", "parquet", "feather", "arrow", "orc", "xlsx", "xls", "jsonl", "ndjson")
    for packed in ("", ".gz", ".zip")
)
# Changes in submodules count, whatever the user's git configuration says.
ALL = "--ignore-submodules=none"
# A name is a name, also where it looks like a pattern.
ADD = ("--literal-pathspecs", "add", "--")


@dataclass(frozen=True)
class Tree:
    """The state of the project's tree compared with its commit; `missing` lists what is unknown or not in the patch."""

    state: Literal["clean", "changed", "unknown"]
    patch: Path | None = None
    missing: tuple[str, ...] = ()


def changes(folder: Path) -> Tree:
    """The changes of the tree since its commit, untracked files included; the patch is written into `folder`.

    The patch leaves out what git ignores, untracked tables and environments, files above `MOST_OF_A_PATCH` bytes, and
    files that seem to hold keys or passwords: whoever may see the run would see them.
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
    # an index and an object store of our own, so that the caller's stay as they are
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
    if small and git.ask(PROJECT, *ADD, *small, **apart) is None:
        for name in small:  # a file that git refuses makes `git add` refuse all
            if git.ask(PROJECT, *ADD, name, **apart) is None:
                missing.append(f"{name} (git refuses it)")
    patch = folder / PATCH
    content, secret = _without_credentials(apart)
    patch.write_bytes(content)
    return Tree("changed", patch, (*_in_submodules(status), *missing, *secret))


def _without_credentials(apart: Mapping[str, str]) -> tuple[bytes, list[str]]:
    """The patch of an index without the files that seem to hold keys or passwords, and these with the reasons."""
    # not `git diff`, which follows the user's configuration: it may leave out prefixes or call a converter
    words = ("diff-index", "--cached", ALL)
    names = git.tell(PROJECT, *words, "--name-only", "-z", "HEAD", **apart).decode(errors="surrogateescape").split("\0")
    kept, left_out = [], []
    for name in filter(None, names):
        alone = f":(top,literal){name}"
        file = git.tell(PROJECT, *words, "--patch", "--binary", "HEAD", "--", alone, **apart)
        why = _secret(name, file)
        if why:
            left_out.append(f"{name} ({why})")
        else:
            kept.append(file)
    return b"".join(kept), left_out


def _secret(name: str, file: bytes) -> str:
    """Why a file's part of a patch may hold a secret; "" where it seems to hold none."""
    if credentials.is_key_file(name):
        return "by its name a file of keys or passwords"
    is_binary = b"\nGIT binary patch\n" in file
    # removed lines and those around the changes are in the patch as well
    lines = [] if is_binary else [line[1:] for line in file.decode(errors="replace").splitlines()[4:]]
    kind = credentials.kind_within("\n".join(lines), name)
    return f"its lines seem to hold a secret: {kind}" if kind else ""


def _untracked() -> tuple[list[str], list[str]]:
    """The untracked files for the patch, and those that it leaves out, with the reasons."""
    listed = git.tell(PROJECT, "ls-files", "--others", "--exclude-standard", "-z").decode(errors="surrogateescape")
    names = [name for name in listed.split("\0") if name]
    environments = {found["folder"] for found in map(ENVIRONMENT.match, names) if found}
    names = [name for name in names if not name.startswith(tuple(environments))]
    small, missing, tables = [], [f"{place} (an environment)" for place in sorted(environments)], []
    for name in names:
        if name.endswith("/"):  # a nested repository, of which git would add only the commit id
            missing.append(f"{name} (a repository of its own)")
        elif not _is_small(PROJECT / name):
            missing.append(f"{name} (above {MOST_OF_A_PATCH // 1_000_000} MB)")
        elif name.lower().endswith(TABLES):
            tables.append(name)
        else:
            small.append(name)
    if tables:
        others = f" and {len(tables) - 1} more tables" if len(tables) > 1 else ""
        missing.append(f"{tables[0]}{others} (a table is data, of which a run has the digest)")
    if len(small) > MOST_FILES:
        missing.append(f"{len(small)} untracked files such as {small[0]} (too many: name their folder in .gitignore)")
        small = []
    return small, missing


def _in_submodules(status: str) -> Iterator[str]:
    """The submodules with changes inside, which git's patch leaves out."""
    for line in status.split("\0"):
        fields = line.split(" ", 9 if line.startswith("2 ") else 8)  # a renamed entry has one field more
        if fields[0] in ("1", "2") and fields[2][0] == "S" and fields[2][2:] != "..":
            yield f"{fields[-1]} (a submodule, with changes of its own)"


def _is_small(path: Path) -> bool:
    """Whether a file is small enough for a patch; a symbolic link is (an editor's lock is a link to nowhere)."""
    with suppress(OSError):
        return path.is_symlink() or path.stat().st_size <= MOST_OF_A_PATCH
    return True  # the file has gone meanwhile, and git reports it
