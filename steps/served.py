"""The one file of code that every model carries: raw rows to features, features to an answer.

MLflow runs this file to load a model ("models from code"), where nothing of this repository is installed: it imports
only what a model's requirements hold. Training calls `as_features` too, so that a model learns from the very columns
that it is asked with later.
"""

import json
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd

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
    """
    features = {}
    for column in columns:
        values = frame[column["name"]]
        if column["dtype"] == "string":
            values = values.astype(object).where(values.notna(), np.nan)
        elif column["dtype"] == "datetime":
            values = (pd.to_datetime(values) - EPOCH) / pd.Timedelta(days=1)
        else:
            values = values.astype("float64")
        features[column["name"]] = values
    return pd.DataFrame(features, index=frame.index)


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
            threshold = (params or {}).get("threshold", 0.5)
            codes = np.where(probabilities[:, positive] >= threshold, positive, 1 - positive)
        else:
            codes = probabilities.argmax(axis=1)
        answer = {"label": [classes[code] for code in codes]}
        for code, label in enumerate(classes):
            answer[f"probability_{label}"] = probabilities[:, code]
        return pd.DataFrame(answer, index=model_input.index)


mlflow.models.set_model(TabularModel())
