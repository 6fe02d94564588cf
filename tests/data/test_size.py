"""Which tables are large."""

import pytest

from tabular.data.size import is_large
from tabular.model.wide_tables import is_wide


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
