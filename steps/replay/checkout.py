"""The checkout of the source tree that a run was started from: its commit, and the patch of uncommitted changes."""

import re
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENTRY_POINT

from steps import PROJECT
from steps.run import artifacts, git, lookup, working_tree
from steps.run.tags import COMMIT, PARENT, REPLAY_OF, REPOSITORY, SOURCE, TREE, TREE_MISSING
from tabular.errors import UserError

# The file that makes a clone also read the git objects of another clone.
BORROWED = Path(".git", "objects", "info", "alternates")
ADDRESSES = (REPOSITORY, SOURCE)


def root(client: MlflowClient, run: Run) -> Run:
    """The run that records the source tree of a run: main's for a step of a chain, the repeated run for a replay."""
    tags = run.data.tags
    if REPLAY_OF in tags:
        return root(client, lookup.run(client, tags[REPLAY_OF], "run"))
    if PARENT in tags and tags.get(MLFLOW_PROJECT_ENTRY_POINT) != "main":
        return root(client, lookup.run(client, tags[PARENT], "run"))
    return run


def make(run: Run, folder: Path) -> Path:
    """Check out a run's source tree below `folder`; return the project's folder in the checkout.

    The user's own clone is not changed: the new clone reads its git objects, and fetches the objects that it lacks.

    Parameters
    ----------
    run
        The run, as `root` gives it.
    folder
        The step's own folder.

    Raises
    ------
    UserError
        Where the run names no commit, the commit cannot be found, or the patch does not apply.
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
    """Let a new clone read the git objects of this project's clone; return the project's folder within its clone.

    Unlike `git clone`, this works with a shallow clone, and with commits that are on no branch any more.
    """
    objects = git.ask_text(PROJECT, "rev-parse", "--git-path", "objects")
    inside = git.ask_text(PROJECT, "rev-parse", "--show-prefix")
    if objects is None or inside is None:
        return ""  # the project is an archive or a plain copy, not a clone
    (tree / BORROWED).write_text(f"{(PROJECT / objects).resolve()}\n")
    return inside


def _addresses(run: Run) -> list[str]:
    """The addresses from which a run's commit may be fetched: this clone's origin, then those that the run recorded."""
    found = [git.ask_text(PROJECT, "remote", "get-url", "origin"), *(run.data.tags.get(name) for name in ADDRESSES)]
    plain = [address.partition("#")[0] for address in found if address]
    return [address for address in dict.fromkeys(plain) if re.search(r"^[\w+.-]+://|^[\w.-]+@[\w.-]+:|^/", address)]


def _fetch(tree: Path, commit: str, addresses: list[str]) -> None:
    """Fetch a commit that the clone lacks: alone, or with all refs where the server does not give single commits."""
    if _has(tree, commit):
        return
    # git would skip objects that the other clone seems to have, and which it lacks where it is shallow
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
    """Whether a commit is there with all its files, some of which a partial or shallow clone may lack."""
    return git.ask_text(tree, "ls-tree", "-r", "--name-only", commit) is not None


def _patch(tree: Path, run: Run, folder: Path) -> None:
    """Apply the patch of uncommitted changes, untracked and binary files included."""
    if run.data.tags.get(TREE) == "changed":
        patch = artifacts.artifact(run, working_tree.PATCH, folder).resolve()
        if patch.stat().st_size:  # an empty patch: all changes were too large for a patch
            _must(
                tree,
                f"{working_tree.PATCH} of {run.info.run_id}",
                "apply",
                "--binary",
                "--whitespace=nowarn",
                str(patch),
            )


def missing(run: Run, project: Path) -> list[str]:
    """What the checkout at `project` lacks of the run's source tree, or what is not known of that tree; in words."""
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
