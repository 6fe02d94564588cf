"""notebooks/tour.ipynb, run cell by cell in a kernel of its own."""

from collections.abc import Mapping

import nbformat
import pytest
from nbclient import NotebookClient

from tests.running import MOST_SECONDS, PROJECT

PATH = PROJECT / "notebooks" / "tour.ipynb"


def read() -> nbformat.NotebookNode:
    """The notebook as it lies in the repository."""
    return nbformat.read(PATH, as_version=4)


def said(environment: Mapping[str, str]) -> str:
    """What its cells show, one after the other, in an environment; an error in a cell is raised."""
    found = read()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        NotebookClient(found, timeout=MOST_SECONDS, resources={"metadata": {"path": str(PATH.parent)}}).execute()
    shown = [output for cell in found.cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(str(one.get("data", {}).get("text/plain", "")) for one in shown)
