"""How an estimator is told what each row counts."""

from typing import Any

from tabular.defaults import MODELS
from tabular.errors import UserError
from tabular.metrics.lookup import CLASSIFICATION, REGRESSION
from tabular.model.estimators import is_regressor

# The argument of `fit` that scikit-learn and the libraries like it have for the weights of rows.
SAMPLE_WEIGHT = "sample_weight"


def with_weights(estimator: Any, weights: Any, where: str) -> dict[str, Any]:
    """The arguments by which an estimator's `fit` is given the weights of rows.

    Parameters
    ----------
    estimator
        Unfitted.
    weights
        (n,) how much each row counts; None where all count alike.
    where
        The key of the model in the problem file, for the error message.

    Returns
    -------
    dict
        Empty also where all rows count 1: a forest draws its rows otherwise where it is told so.

    Raises
    ------
    UserError
        As `weight_argument`.
    """
    if weights is None:
        return {}
    name = weight_argument(estimator, where)
    return {} if (weights == 1).all() else {name: weights}


def weight_argument(estimator: Any, where: str) -> str:
    """The name of the argument by which an estimator's `fit` takes the weights of rows.

    Parameters
    ----------
    estimator
        Unfitted.
    where
        The key of the model in the problem file, for the error message.

    Raises
    ------
    UserError
        It takes none, or does not pass them on to an estimator within it that learns from the rows.
    """
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.ensemble import (
        BaggingClassifier,
        BaggingRegressor,
        StackingClassifier,
        StackingRegressor,
        VotingClassifier,
        VotingRegressor,
    )
    from sklearn.pipeline import Pipeline
    from sklearn.utils.validation import has_fit_parameter

    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        return f"{name}__{weight_argument(last, where)}"
    votes = VotingClassifier | StackingClassifier | VotingRegressor | StackingRegressor
    if not (isinstance(estimator, votes | TransformedTargetRegressor) or has_fit_parameter(estimator, SAMPLE_WEIGHT)):
        raise _takes_no_weights(estimator, type(estimator).__name__, where)
    if not isinstance(estimator, BaggingClassifier | BaggingRegressor):  # which draws rows by their weights
        for inner in _held(estimator):
            if weight_argument(inner, where) != SAMPLE_WEIGHT:
                what = f"a {type(inner).__name__} within {type(estimator).__name__}"
                raise _takes_no_weights(estimator, what, where)
    return SAMPLE_WEIGHT


def _held(estimator: Any) -> list[Any]:
    """The predictors that an unfitted estimator holds in its parameters, alone or with names."""
    values = estimator.get_params(deep=False).values()
    several = [item[1] for value in values if isinstance(value, list) for item in value if isinstance(item, tuple)]
    return [one for one in (*values, *several) if hasattr(one, "fit") and hasattr(one, "predict")]


def _takes_no_weights(estimator: Any, what: str, where: str) -> UserError:
    task = REGRESSION if is_regressor(estimator) else CLASSIFICATION
    can = ", ".join(given["estimator"] for given in MODELS[task].values())
    return UserError(
        f"{where}: {what} takes no weights of rows, which data.weight asks for: leave the model out, or take one that "
        f"does, such as {can}"
    )
