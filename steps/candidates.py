"""A candidate that has been judged on the holdout."""

from dataclasses import dataclass

import numpy as np
from mlflow.entities import Run

from steps.served import TabularModel
from tabular import gate


@dataclass(frozen=True)
class Judged:
    """A candidate and what it did on the holdout."""

    run: Run
    name: str
    model: TabularModel
    probabilities: np.ndarray
    metrics: dict[str, float]
    seconds: float
    checks: list[gate.Check]

    @property
    def passes(self) -> bool:
        """Whether it meets all that the gate requires."""
        return all(check.passed for check in self.checks)
