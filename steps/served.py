"""The one file of code that every model carries: raw rows to features, features to an answer.

MLflow runs this file to load a model ("models from code"), where nothing of this repository is installed: it imports
only what a model's requirements hold. Training calls `as_features` too, so that a model learns from the very columns
that it is asked with later.
"""

import datetime
import json
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException

DESCRIPTION, FEATURES, CLASSIFIER, BOOSTER = "model.json", "features.skops", "classifier.skops", "booster.txt"
EPOCH = pd.Timestamp("1970-01-01")


def as_features(frame: pd.DataFrame, columns: list[dict]) -> pd.DataFrame:
    """Raw rows as the numbers and categories that a preprocessor is fitted on.

    Parameters
    ----------
    frame
        (n, any) raw rows; columns in any order, others are passed over.
    columns
        The data set's columns: name, dtype ("double", "string", "boolean", "datetime") and kind.

    Returns
    -------
    pandas.DataFrame
        (n, columns) float64 (booleans as 0 and 1, dates as days since 1970) and object; missing is NaN in both.

    Raises
    ------
    MlflowException
        Where a value is not of its column's type; it names the column.
    """
    features = {column["name"]: _READ[column["dtype"]](frame[column["name"]]) for column in columns}
    return pd.DataFrame(features, index=frame.index)


def _numbers(values: pd.Series) -> pd.Series:
    values = values.astype("float64")
    _refuse(values, np.isfinite(values), "a finite number")
    return values


def _texts(values: pd.Series) -> pd.Series:
    if not isinstance(values.dtype, pd.StringDtype):
        _refuse(values, [isinstance(value, str) for value in values], "text")
    return values.astype(object).where(values.notna(), np.nan)


def _truths(values: pd.Series) -> pd.Series:
    if values.dtype != bool:
        known = [isinstance(value, (bool, int, float, np.generic)) and value in (0, 1) for value in values]
        _refuse(values, known, "true or false")
    return values.astype(object).where(values.notna(), np.nan).astype("float64")


def _days(values: pd.Series) -> pd.Series:
    if values.dtype.kind != "M":
        known = [isinstance(value, (str, datetime.date, np.datetime64)) for value in values]
        _refuse(values, known, "a date")
        found = pd.to_datetime(values.astype(object), utc=True, format="ISO8601", errors="coerce")
        _refuse(values, found.notna(), "a date such as 2021-03-04 or 2021-03-04T05:06:07")
        values = found
    if values.dt.tz is not None:
        values = values.dt.tz_convert("UTC").dt.tz_localize(None)
    return (values.dt.as_unit("us") - EPOCH) / pd.Timedelta(days=1)


_READ = {"double": _numbers, "string": _texts, "boolean": _truths, "datetime": _days}


def _refuse(values: pd.Series, right, what: str) -> None:
    """Name the column and the first value in it that is neither right nor missing: over HTTP a 400."""
    wrong = values[~(np.asarray(right, dtype=bool) | values.isna())]
    if len(wrong):
        raise MlflowException.invalid_parameter_value(
            f"column {values.name!r} holds {wrong.tolist()[0]!r}, which is not {what}"
        )


class TabularModel(mlflow.pyfunc.PythonModel):
    """A fitted preprocessor and classifier: answers raw rows with a label and the probability of each class."""

    def load_context(self, context) -> None:
        """Load the parts; what skops finds in them must be on the list that the model was logged with."""
        import skops.io

        folder = Path(context.artifacts["model"])
        self.description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        trusted = self.description["trusted_types"]
        self.features = skops.io.load(folder / FEATURES, trusted=trusted)
        if (folder / BOOSTER).exists():
            import lightgbm

            self.classifier = lightgbm.Booster(model_file=folder / BOOSTER)
        else:
            self.classifier = skops.io.load(folder / CLASSIFIER, trusted=trusted)

    def probabilities(self, features: pd.DataFrame) -> np.ndarray:
        """(n, classes) float64, for features as `as_features` gives them."""
        if features.empty:
            return np.zeros((0, len(self.description["classes"])))  # scikit-learn refuses no rows
        prepared = self.features.transform(features)
        seen = self.description["classes_seen"]
        if hasattr(self.classifier, "predict_proba"):
            found = self.classifier.predict_proba(prepared)
        else:
            found = self.classifier.predict(prepared)
            found = np.column_stack([1 - found, found]) if found.ndim == 1 else found
        whole = np.zeros((len(features), len(self.description["classes"])))
        whole[:, seen] = found
        return whole

    def predict(self, context, model_input: pd.DataFrame, params: dict | None = None) -> pd.DataFrame:
        """Label and probability of each class; of two classes the positive one from `params["threshold"]` up."""
        probabilities = self.probabilities(as_features(model_input, self.description["columns"]))
        classes, positive = self.description["classes"], self.description["positive"]
        if len(classes) == 2:
            threshold = (params or {}).get("threshold", self.description["threshold"])
            codes = np.where(probabilities[:, positive] >= threshold, positive, 1 - positive)
        else:
            codes = probabilities.argmax(axis=1)
        answer = {"label": [classes[code] for code in codes]}
        for code, label in enumerate(classes):
            answer[f"probability_{label}"] = probabilities[:, code]
        return pd.DataFrame(answer, index=model_input.index)


mlflow.models.set_model(TabularModel())
