"""Git commands in a folder, run without a prompt for a password."""

import os
import subprocess
from pathlib import Path


class GitError(Exception):
    """A git command that failed, or git is not installed; the message is git's own."""


def ask(folder: Path, *words: str, **environment: str) -> bytes | None:
    """The output of a git command in a folder; None where git fails or is missing, or the folder is in no clone.

    With TABULAR_DEBUG=1 git's error message is printed.
    """
    try:
        return tell(folder, *words, **environment)
    except GitError as error:
        if os.environ.get("TABULAR_DEBUG") == "1":
            print(f"git {' '.join(words)}: {error}", flush=True)
        return None


def tell(folder: Path, *words: str, **environment: str) -> bytes:
    """The output of a git command in a folder, for callers that have to know that it failed, and why.

    Raises
    ------
    GitError
        With git's own message, in English.
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
    """Why git cannot tell which commit a folder is at, in one line with a way out; "" where it can."""
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
    """As `ask`, decoded and without surrounding whitespace."""
    said = ask(folder, *words)
    return None if said is None else said.decode(errors="replace").strip()
