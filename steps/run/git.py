"""git, asked about a folder without anybody being asked for a password."""

import os
import subprocess
from pathlib import Path


def ask(folder: Path, *words: str, **environment: str) -> bytes | None:
    """What git says in a folder; None where it fails, is not there, or the folder is in no clone.

    With TABULAR_DEBUG=1 its own words on a failure are printed.
    """
    command = ["git", "-c", f"core.hooksPath={os.devnull}", *words]
    about = {**os.environ, "GIT_TERMINAL_PROMPT": "0", **environment}
    pipes = {"stdin": subprocess.DEVNULL, "capture_output": True}
    try:
        done = subprocess.run(command, check=False, cwd=folder, env=about, **pipes)
    except OSError:
        return None
    if done.returncode == 0:
        return done.stdout
    if os.environ.get("TABULAR_DEBUG") == "1":
        print(f"git {' '.join(words)}: {done.stderr.decode(errors='replace').strip()}", flush=True)
    return None


def ask_text(folder: Path, *words: str) -> str | None:
    """As `ask`, as text without what is blank around it."""
    said = ask(folder, *words)
    return None if said is None else said.decode(errors="replace").strip()
