"""Encoded rows as an estimator takes them: CatBoost wants codes of categories as whole numbers beside other numbers."""

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]
# The code of a category that is missing or was never seen, which is NaN to the other estimators.
MISSING = -1


def as_taken(estimator: Any, X_encoded: Any) -> Any:
    """Encoded rows for `fit` and `predict` of an estimator, fitted or not.

    `steps/model/served.py` does the same to the rows that it asks CatBoost about.

    Returns
    -------
    array, sparse matrix or pandas.DataFrame
        The rows as they are; a frame with columns of int64 for CatBoost that is told which columns are codes.
    """
    codes = estimator.get_param("cat_features") if type(estimator).__module__.startswith("catboost.") else None
    if codes is None:
        return X_encoded
    import pandas as pd

    rows = pd.DataFrame(X_encoded)
    for code in codes:
        rows[code] = np.where(np.isnan(X_encoded[:, code]), MISSING, X_encoded[:, code]).astype(np.int64)
    return rows
