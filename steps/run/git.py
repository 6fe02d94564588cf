"""git, asked about a folder without anybody being asked for a password."""

import os
import subprocess
from pathlib import Path


class GitError(Exception):
    """git that fails, or is not there; in its own words."""


def ask(folder: Path, *words: str, **environment: str) -> bytes | None:
    """What git says in a folder; None where it fails, is not there, or the folder is in no clone.

    With TABULAR_DEBUG=1 its own words on a failure are printed.
    """
    try:
        return tell(folder, *words, **environment)
    except GitError as error:
        if os.environ.get("TABULAR_DEBUG") == "1":
            print(f"git {' '.join(words)}: {error}", flush=True)
        return None


def tell(folder: Path, *words: str, **environment: str) -> bytes:
    """As `ask`, for those who have to know that it failed, and why.

    Raises
    ------
    GitError
        With git's own words, in English.
    """
    command = ["git", "-c", f"core.hooksPath={os.devnull}", *words]
    about = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", **environment}
    pipes = {"stdin": subprocess.DEVNULL, "capture_output": True}
    try:
        done = subprocess.run(command, check=False, cwd=folder, env=about, **pipes)
    except OSError as error:
        raise GitError(f"git cannot be started ({error.strerror})") from None
    if done.returncode != 0:
        raise GitError(done.stderr.decode(errors="replace").strip() or f"git {words[0]} fails")
    return done.stdout


def refusal(folder: Path) -> str:
    """Why git tells nothing of the commit that a folder is of, in a line with a way out; "" where it does."""
    try:
        tell(folder, "rev-parse", "--git-dir")
    except GitError as error:
        first = str(error).splitlines()[0].removeprefix("fatal: ")
        unsafe = "dubious ownership" in first
        return f"git: {first}" + (f"; git config --global --add safe.directory {folder}" if unsafe else "")
    if ask(folder, "rev-parse", "--quiet", "--verify", "HEAD") is None:
        return "git: no commit yet"
    if ask(folder, "check-ignore", "--quiet", ".") is not None:
        return "git: the repository around the project ignores it"
    return ""


def ask_text(folder: Path, *words: str) -> str | None:
    """As `ask`, as text without what is blank around it."""
    said = ask(folder, *words)
    return None if said is None else said.decode(errors="replace").strip()
