"""A store as the tree of an earlier commit left it, champion and all; tests/fixtures/make_champion.py makes them."""

import contextlib
import json
import platform
import sqlite3
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tests.running import PROJECT, Store

FIXTURES = PROJECT / "tests" / "fixtures"
# In the text of the store, where its folder is to be.
PLACEHOLDER, SQL = "@STORE@", "store.sql"
MADE, PROBLEM, TABLE, ANSWERS = "made.json", "small.yaml", "table.csv", "answers"
# Rows that no model has learnt from.
ROWS = "rows.csv"


@dataclass(frozen=True)
class Earlier:
    """A store that the tree of a commit has left, as the tree at hand finds it."""

    store: Store
    answers: Path  # what the models answered then, by model
    commit: str
    runs: dict[str, str]  # of its chain, by their names in it, and `main`
    processor: list[str]

    @property
    def folder(self) -> Path:
        """Where the store, the table and the problem lie."""
        return self.store.folder

    @property
    def is_of_this_processor(self) -> bool:
        """Whether the last bits of what is computed here must be those of then."""
        return self.processor == processor()


def unpack(fixture: Path, folder: Path, fork_server: str = "") -> Earlier:
    """Make a store of a fixture in an empty folder, which may be another one than it was made in."""
    with tarfile.open(fixture) as archive:
        archive.extractall(folder, filter="data")
    text = (folder / SQL).read_text(encoding="utf-8").replace(PLACEHOLDER, str(folder / "store"))
    with contextlib.closing(sqlite3.connect(folder / "store" / "mlflow.db")) as database:
        database.executescript(text)
    store = Store(folder / "store", fork_server=fork_server)
    return Earlier(store, folder / ANSWERS, **json.loads((folder / MADE).read_text(encoding="utf-8")))


def processor() -> list[str]:
    """What numpy finds here that changes the last bits of a result."""
    return [platform.machine(), *np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])]


def is_in_this_clone(commit: str) -> bool:
    """Whether a commit is there with all its files."""
    words = ["git", "ls-tree", "-r", "--name-only", commit]
    return subprocess.run(words, cwd=PROJECT, capture_output=True, check=False).returncode == 0


def customers(rows: int, seed: int) -> pd.DataFrame:
    """Customers by numbers, a category, a truth and a date, some missing; two of them together make them leave."""
    generator = np.random.default_rng(seed)
    amount, visits = generator.normal(50, 20, rows).round(2), generator.integers(0, 20, rows)
    town = generator.choice(["Porto", "Lyon", "Graz"], rows)
    member = generator.choice([True, False], rows)
    since = pd.Timestamp("2020-01-01") + pd.to_timedelta(generator.integers(0, 1500, rows), unit="D")
    pull = 1.5 * (np.abs(amount - 50) > 15) + 2.5 * ((visits > 9) ^ member) - 1.5 + (town == "Graz")
    left = np.where(pull + generator.normal(size=rows) > 1, "yes", "no")
    return pd.DataFrame(
        {
            "amount": np.where(generator.random(rows) < 0.05, np.nan, amount),
            "visits": visits,
            "town": np.where(generator.random(rows) < 0.05, None, town),
            "member": member,
            "since": since.strftime("%Y-%m-%d"),
            "left": left,
        }
    )
