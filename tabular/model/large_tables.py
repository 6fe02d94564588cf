"""How the models of a problem learn from a large table, in words: the plan that main says, and each step's own."""

from tabular.model import binned
from tabular.problem import Problem
from tabular.sections.models import Model


def plan(problem: Problem, rows: int, columns: int) -> str:
    """How a chain works on a large table of so many training rows and columns, in one line.

    The table and the problem alone decide it, and not the machine.
    """
    how = {name: _learns(model, rows, columns, problem.ranks) for name, model in problem.models.items()}
    models = {way: ", ".join(name for name in how if how[name] == way) for way in how.values()}
    said = "; ".join(f"{names} {way}" for way, names in models.items())
    return f"{_table(rows, columns)}; learnt by {said}; the holdout is asked in batches"


def told(name: str, model: Model, rows: int, columns: int, *, in_batches: bool) -> str:
    """How a model of LightGBM's learns from a large table, which is read in batches or not; empty of other models."""
    if model.estimator not in binned.ESTIMATORS:
        return ""
    if not in_batches:
        key = binned.in_the_way(model)
        asking = f"models.{name}.{key}" if key else "ranks"
        return f"{_table(rows, columns)}: all rows in memory at once, which {asking} asks for"
    return f"{_table(rows, columns)}: read in batches, LightGBM's bins built once ({_megabytes(rows, columns)})"


def _learns(model: Model, rows: int, columns: int, ranks: int) -> str:
    if model.rows is not None and model.rows < rows:
        return f"from a sample of {model.rows:,} rows"
    if ranks > 1 or binned.in_the_way(model):  # each rank is given its part of the rows in memory
        return "from all rows in memory"
    return f"from bins that are built once ({_megabytes(rows, columns)})"


def _table(rows: int, columns: int) -> str:
    return f"large table: {rows:,} training rows x {columns} columns"


def _megabytes(rows: int, columns: int) -> str:
    return f"{rows * columns / 1e6:,.1f} MB"
