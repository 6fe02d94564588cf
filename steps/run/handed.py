"""What main hands to the steps that it starts, since it takes long to find: each as a file of main's folder."""

import json
import os
from pathlib import Path
from typing import Any


def over(variable: str, content: Any, folder: Path) -> None:
    """Keep content in a folder of this process, and the file's path in an environment variable."""
    path = folder / f"{variable.lower()}.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    os.environ[variable] = str(path)


def received(variable: str) -> Any:
    """What was handed over by this variable; None where nothing was, or main has ended."""
    try:
        return json.loads(Path(os.environ[variable]).read_text(encoding="utf-8"))
    except (KeyError, OSError, ValueError):
        return None
