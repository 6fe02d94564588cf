"""The size of a table: whether so much of it is worked on at once that memory decides how.

Whether a table is large depends on the table alone, and not on the machine: the same problem gives the same bits.
"""

# A table is large if its training rows have at least so many cells (rows x columns), and not so many columns that it is
# a wide one (`tabular.model.wide_tables`).
LARGE_CELLS = 5_000_000
FEWER_COLUMNS = 500


def is_large(rows: int, columns: int) -> bool:
    """Whether training rows of this many columns are a large table."""
    return columns < FEWER_COLUMNS and rows * columns >= LARGE_CELLS
