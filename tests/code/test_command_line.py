"""`python -m steps` with a word that is no entry point: one line, before any store is touched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from steps.pipeline import STEPS
from steps.run import cli

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
NAMES = [*cli.ENTRY_POINTS, *STEPS]


def typed(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`python -m steps` and these words, with a store that is not there yet."""
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "TABULAR_"))}
    return subprocess.run(
        [sys.executable, "-m", "steps", *words],
        cwd=PROJECT,
        env={**alone, "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "which entry point?"),
        (("",), "which entry point?"),
        (("trian",), "'trian' is no entry point, did you mean 'train'?"),
        (("--data=t.csv", "etl"), "'--data=t.csv' is no entry point"),
        (("pipeline",), "'pipeline' is no entry point"),
        (("__main__",), "'__main__' is no entry point"),
        (("run.shell",), "'run.shell' is no entry point"),
        (("../steps/etl",), "'../steps/etl' is no entry point"),
    ],
    ids=str,
)
def test_a_word_that_is_no_entry_point_is_one_line_with_those_there_are(
    tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    ended = typed(tmp_path, *words)
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert ended.stderr.startswith(f"tabular: python -m steps: {says}")
    assert all(name in ended.stderr for name in NAMES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_who_asks_for_help_is_told_the_entry_points(tmp_path: Path, word: str) -> None:
    ended = typed(tmp_path, word)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(ended.stdout.splitlines()) == 1
    assert all(name in ended.stdout for name in NAMES)
    assert list(tmp_path.iterdir()) == []


def test_who_asks_an_entry_point_for_help_is_told_its_parameters_and_no_run_is_made(tmp_path: Path) -> None:
    ended = typed(tmp_path, "train", "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    said = "--problem= --dataset= --model= --params= --engine_ranks= --replays= --engine= --engine_address= --share="
    assert ended.stdout == f"python -m steps train {said}\n"
    assert list(tmp_path.iterdir()) == []
