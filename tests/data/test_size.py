"""Which tables are large."""

from typing import Any

import pytest

from tabular.data.size import is_large
from tabular.model.large_tables import plan, told
from tabular.model.wide_tables import is_wide
from tabular.problem import Problem
from tabular.sections.models import Model


@pytest.mark.parametrize(
    ("rows", "columns", "large"),
    [
        (95_512, 30, False),  # hotel_bookings
        (2_400_000, 4, True),  # the flights
        (1_250_000, 4, True),
        (1_249_999, 4, False),
        (10_100, 499, True),
        (1_000_000, 500, False),
    ],
)
def test_a_table_is_large_by_its_cells_where_it_is_not_wide(rows: int, columns: int, large: bool) -> None:
    assert is_large(rows, columns) is large


@pytest.mark.parametrize("columns", [1, 30, 499, 500, 501, 3_000])
def test_no_table_is_large_and_wide(columns: int) -> None:
    assert not (is_large(10_000_000, columns) and is_wide(10_000_000, columns))


@pytest.mark.parametrize(
    ("model", "way"),
    [
        ({"estimator": "lightgbm.LGBMRegressor"}, "from bins that are built once (40.0 MB)"),
        ({"estimator": "lightgbm.LGBMRegressor", "rows": 200_000}, "from a sample of 200,000 rows"),
        ({"estimator": "sklearn.linear_model.Ridge", "rows": 5_000_000}, "from all rows in memory"),
        ({"estimator": "lightgbm.LGBMRegressor", "params": {"max_bin": 63}}, "from bins that are built once (40.0 MB)"),
        ({"estimator": "lightgbm.LGBMRegressor", "params": {"linear_tree": True}}, "from all rows in memory"),
    ],
)
def test_the_plan_of_a_large_table_says_how_each_model_learns(model: dict[str, Any], way: str) -> None:
    ridge = {"estimator": "sklearn.linear_model.Ridge"}
    values = {"name": "size", "data": {"source": "t.csv", "target": "y"}, "models": {"one": model, "ridge": ridge}}
    asked = Problem.model_validate(values)
    names = "one, ridge from all rows in memory" if way.startswith("from all") else f"one {way}; ridge from all rows"
    assert plan(asked, 4_000_000, 10).startswith(
        f"large table: 4,000,000 training rows x 10 columns; learnt by {names}"
    )


def test_ranks_learn_from_rows_in_memory_and_the_plan_and_the_step_say_so() -> None:
    model = {"estimator": "lightgbm.LGBMRegressor"}
    values = {"name": "size", "data": {"source": "t.csv", "target": "y"}, "models": {"one": model}, "ranks": 2}
    assert "learnt by one from all rows in memory" in plan(Problem.model_validate(values), 4_000_000, 10)
    said = told("one", Model.model_validate(model), 4_000_000, 10, in_batches=False)
    assert said.endswith("all rows in memory at once, which ranks asks for")
