"""A small problem as plain values, for the tests of what is run again after a change of it."""

import json
from typing import Any

ASKED: dict[str, Any] = {
    "name": "mutated",
    "data": {"source": "table.csv", "target": "y"},
    "models": {
        "logistic": {"estimator": "sklearn.linear_model.LogisticRegression", "params": {"max_iter": 500}},
        "lightgbm": {
            "estimator": "lightgbm.LGBMClassifier",
            "params": {"n_estimators": 10, "min_child_samples": 5},
            "space": {"num_leaves": {"type": "int", "low": 3, "high": 12}},
        },
    },
    "search": {"metric": "roc_auc", "trials": 2, "folds": 2},
}


def asked(**changes: Any) -> dict[str, Any]:
    """The plain values of the problem, with what is at these dotted paths changed; None takes a key away."""
    values = json.loads(json.dumps(ASKED))
    for path, value in changes.items():
        section = values
        *above, last = path.split(".")
        for name in above:
            section = section.setdefault(name, {})
        if value is None:
            del section[last]
        else:
            section[last] = value
    return values


def downstream(tasks: set[str], needs: dict[str, set[str]]) -> set[str]:
    """These tasks and all that need them."""
    found = set(tasks)
    while more := {task for task, inputs in needs.items() if inputs & found} - found:
        found |= more
    return found
