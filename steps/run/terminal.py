"""Terminal output of a chain: a line for each step, a progress bar for trials, tables."""

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tabular.metrics.metric import rounded


def say(text: str = "") -> None:
    """Print a line on stdout at once.

    Other processes write to the same terminal; a progress bar that one has left there is overwritten.
    """
    start = "\r\x1b[K" if sys.stdout.isatty() else ""
    print(f"{start}{text}", flush=True)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys as aligned text; floats with four decimals."""
    header = list(rows[0])
    cells = [[cell(row[name]) for name in header] for row in rows]
    widths = [max(len(name), *(len(row[place]) for row in cells)) for place, name in enumerate(header)]
    numeric = [isinstance(rows[0][name], int | float) for name in header]

    def line(values: Sequence[str]) -> str:
        aligned = [v.rjust(w) if right else v.ljust(w) for v, w, right in zip(values, widths, numeric, strict=True)]
        return "  ".join(aligned).rstrip()

    return "\n".join([line(header), line(["-" * width for width in widths]), *(line(row) for row in cells)])


def fitting(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The first keys of rows, as many columns of `table` as fit the terminal, or 160 characters where there is none."""
    width = shutil.get_terminal_size((160, 24)).columns
    found, used = [], 0
    for name in rows[0]:
        used += max(len(name), *(len(cell(row[name])) for row in rows)) + 2
        if found and used - 2 > width:
            break
        found.append(name)
    return found


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys as a Markdown table, for a run's note."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([cell(value) for value in row.values()] for row in rows)]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines)


class Progress:
    """A count of ended trials: a progress bar where there is a terminal, else a line now and then."""

    def __init__(self, total: int, title: str, unit: str) -> None:
        self._total, self._title, self._unit = total, title, unit
        self._done = 0
        self._best: float | None = None
        self._bar = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=f"  {title}", unit="trial", leave=False)

    def score(self, value: float | None, *, greater_is_better: bool) -> None:
        """Count a trial that has ended; `value` is its score, or None where it failed or was pruned."""
        self._done += 1
        if value is not None and (self._best is None or (value > self._best) == greater_is_better):
            self._best = value
        best = f"best {self._unit} {rounded(self._best)}" if self._best is not None else "none evaluated whole so far"
        if self._bar is not None:
            self._bar.set_postfix_str(best, refresh=False)
            self._bar.update()
        elif self._done % max(1, self._total // 4) == 0 and self._done < self._total:
            say(f"  {self._title}: {self._done} of {self._total} trials, {best}")

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()


@contextmanager
def progress(total: int, title: str, unit: str) -> Iterator[Progress]:
    """A `Progress` that is closed in any case."""
    bar = Progress(total, title, unit)
    try:
        yield bar
    finally:
        bar.close()


def rows_done(total: int, title: str) -> Any:
    """A progress bar for rows: a context manager, to be updated with the number of rows of each batch.

    Nothing is shown where there is no terminal, or in the first half second.
    """
    from tqdm import tqdm

    return tqdm(total=total, desc=f"  {title}", unit="rows", unit_scale=True, leave=False, delay=0.5, disable=None)


def cell(value: Any) -> str:
    """A value as a table shows it."""
    if isinstance(value, float):
        return rounded(value)
    return "" if value is None else str(value)
