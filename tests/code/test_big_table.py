"""benchmarks/big_table.py: a synthetic table has the columns of the hotel bookings, and can be made again."""

from pathlib import Path

import pandas as pd
import pytest

from benchmarks import big_table
from tabular.problem import read
from tests.imports import PROJECT


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(big_table, "BATCH_ROWS", 4_000)


def test_a_longer_table_begins_with_the_rows_of_a_shorter_one(tmp_path: Path) -> None:
    shorter, longer = (big_table.write(tmp_path, rows).read_bytes() for rows in (5_000, 9_000))
    assert longer.startswith(shorter)
    assert [text.count(b"\n") for text in (shorter, longer)] == [5_001, 9_001]
    assert big_table.write(tmp_path, 5_000, seed=1).read_bytes() != shorter


def test_the_columns_that_the_problem_names_are_there_and_the_target_can_be_learnt(tmp_path: Path) -> None:
    rows = pd.read_csv(big_table.write(tmp_path, 8_000))
    problem = read(PROJECT / "problems" / "hotel_bookings.yaml")
    named = {problem.data.target, *problem.data.drop, *problem.evaluation.slices, *problem.data.types}
    assert named | {*problem.split.column.model_dump().values()} <= {*rows.columns}
    assert len(rows.columns) == 32 and rows["children"].isna().sum() <= 5 and rows["company"].isna().mean() > 0.9
    of_deposit = rows.groupby("deposit_type")["is_canceled"].mean()
    assert of_deposit["Non Refund"] > of_deposit["No Deposit"] + 0.3
