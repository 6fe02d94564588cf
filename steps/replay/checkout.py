"""The tree that a run was started from, made once more: its commit, and the patch of what it had over that."""

import re
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENTRY_POINT

from steps import PROJECT
from steps.run import artifacts, git, lookup, working_tree
from steps.run.tags import COMMIT, PARENT, REPLAY_OF, REPOSITORY, SOURCE, TREE, TREE_MISSING
from tabular.errors import UserError

# The file by which a clone reads the objects of another one as well.
BORROWED = Path(".git", "objects", "info", "alternates")
ADDRESSES = (REPOSITORY, SOURCE)


def root(client: MlflowClient, run: Run) -> Run:
    """The run that says of which tree this one is: of a chain it is main's, of a repetition the one repeated."""
    tags = run.data.tags
    if REPLAY_OF in tags:
        return root(client, lookup.run(client, tags[REPLAY_OF], "run"))
    if PARENT in tags and tags.get(MLFLOW_PROJECT_ENTRY_POINT) != "main":
        return root(client, lookup.run(client, tags[PARENT], "run"))
    return run


def make(run: Run, folder: Path) -> Path:
    """Make a run's tree anew below `folder`; gives the project's folder in it.

    The caller's own clone stays as it is: the new one borrows its objects, and fetches what those lack.

    Parameters
    ----------
    run
        From `root`.
    folder
        The step's own.

    Raises
    ------
    UserError
        Where the run names no commit, the commit is nowhere to be had, or the patch does not fit.
    """
    commit = run.data.tags.get(COMMIT, "")
    if not re.fullmatch("[0-9a-f]{40,64}", commit):
        why = run.data.tags.get(TREE_MISSING, "it was not started in a git clone")
        raise UserError(f"run: {run.info.run_id} names no commit, so its tree is lost ({why})")
    tree = folder / "tree"
    if git.ask_text(folder, "init", "--quiet", str(tree)) is None:
        raise UserError("reproduce needs git, which makes the run's tree again")
    inside = _borrow(tree)
    _fetch(tree, commit, _addresses(run))
    _must(tree, f"the commit {commit[:12]}", "checkout", "--quiet", "--detach", commit)
    _patch(tree, run, folder)
    project = tree / inside
    if not (project / "MLproject").is_file():
        raise UserError(f"run: the commit {commit[:12]} holds no MLproject in {inside or 'its topmost folder'}")
    return project


def _borrow(tree: Path) -> str:
    """Let a new clone read the objects of this project's; gives the project's folder within its clone.

    Unlike `git clone`, this takes a shallow clone, and commits that no branch holds any more.
    """
    objects = git.ask_text(PROJECT, "rev-parse", "--git-path", "objects")
    inside = git.ask_text(PROJECT, "rev-parse", "--show-prefix")
    if objects is None or inside is None:
        return ""  # an archive of the project, or its copy
    (tree / BORROWED).write_text(f"{(PROJECT / objects).resolve()}\n")
    return inside


def _addresses(run: Run) -> list[str]:
    """Where a run's commit may be: where this clone came from, then where the run says that its tree came from."""
    found = [git.ask_text(PROJECT, "remote", "get-url", "origin"), *(run.data.tags.get(name) for name in ADDRESSES)]
    plain = [address.partition("#")[0] for address in found if address]
    return [address for address in dict.fromkeys(plain) if re.search(r"^[\w+.-]+://|^[\w.-]+@[\w.-]+:|^/", address)]


def _fetch(tree: Path, commit: str, addresses: list[str]) -> None:
    """Get a commit that the borrowed objects lack: by itself, or with all else where a server gives none by itself."""
    if _has(tree, commit):
        return
    # git would reckon with what the other clone has, and where that is shallow miss the rest
    (tree / BORROWED).unlink(missing_ok=True)
    for address in addresses:
        for words in (("--depth=1", "--", address, commit), ("--", address, "+refs/*:refs/found/*")):
            if git.ask_text(tree, "fetch", "--quiet", *words) is not None and _has(tree, commit):
                return
    refused = git.refusal(PROJECT)
    where = f" ({refused})" if refused else ""
    where += f" nor at {' or '.join(addresses)}" if addresses else ""
    raise UserError(f"run: its commit {commit[:12]} is not in this clone{where}: run reproduce in a clone that has it")


def _has(tree: Path, commit: str) -> bool:
    """Whether a commit is there with all its files: a partial or shallow clone may hold less."""
    return git.ask_text(tree, "ls-tree", "-r", "--name-only", commit) is not None


def _patch(tree: Path, run: Run, folder: Path) -> None:
    """What the tree had over its commit, untracked and binary files included."""
    if run.data.tags.get(TREE) == "changed":
        patch = artifacts.artifact(run, working_tree.PATCH, folder).resolve()
        if patch.stat().st_size:  # else only what is too large for a patch
            _must(
                tree,
                f"{working_tree.PATCH} of {run.info.run_id}",
                "apply",
                "--binary",
                "--whitespace=nowarn",
                str(patch),
            )


def missing(run: Run, project: Path) -> list[str]:
    """What of a run's tree is not in the one that was made again at `project`, or not known; in words."""
    told, found = run.data.tags.get(TREE_MISSING), []
    if run.data.tags.get(TREE) == "unknown":
        found.append(f"whether that tree had changes is unknown: {told}")
    elif told:
        found.append(f"its {working_tree.PATCH} lacks {told}")
    listed = git.ask(project, "ls-tree", "-r", "-z", "--full-tree", "HEAD") or b""
    entries = [entry.partition("\t") for entry in listed.decode(errors="replace").split("\0")]
    submodules = [name for mode, _, name in entries if mode.startswith("160000 ")]
    if submodules:
        found.append(f"its submodules are not in the tree that was made again: {', '.join(submodules)}")
    return found


def _must(tree: Path, what: str, *words: str) -> None:
    if git.ask_text(tree, *words) is None:
        raise UserError(f"run: {what} cannot be taken up again (git {words[0]} refuses it; TABULAR_DEBUG=1 shows why)")
