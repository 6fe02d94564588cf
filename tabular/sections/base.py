"""The base of a problem's sections, and the kinds of values that stand in them."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from tabular.errors import UserError
from tabular.metrics import lookup
from tabular.metrics.classification import is_of_labels

Label = bool | int | float | str
Scalar = bool | int | float | str | None
Value = Scalar | list[Scalar | list[Scalar]]
# The end of an error about true or false, where the user may have meant a word.
YAML_BOOLEANS = "; YAML reads yes, no, on and off as true and false: put them in quotes if words are meant"


def _metric_name(value: str) -> str:
    try:
        return lookup.metric(value).name
    except UserError as error:
        raise ValueError(str(error)) from None


def _threshold(value: Any) -> float | str:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is neither a probability nor a metric's name")
    if not is_of_labels(_metric_name(value)):
        raise ValueError(f"{value} looks at probabilities, which no threshold changes: name a metric such as f1_score")
    return value


def _tag_name(value: str) -> str:
    if not re.fullmatch(r"[\w.\- :/]{1,250}", value) or value.startswith(("mlflow.", "tabular.")):
        raise ValueError(
            f"{value!r} cannot be a tag's name: up to 250 letters, digits and _-. :/ can, and what begins with mlflow. "
            "or tabular. is taken"
        )
    return value


def import_path(value: str) -> str:
    """Validate the import path of a class.

    Raises
    ------
    ValueError
        Where it is none.
    """
    if not re.fullmatch(r"[A-Za-z_][\w.]*\.[A-Za-z_]\w*", value):
        raise ValueError(f"{value!r} is no import path of a class, such as sklearn.linear_model.LogisticRegression")
    return value


def _word(value: Any) -> Any:
    if value is None:
        raise ValueError("YAML reads null and ~ as nothing: put the word in quotes")
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Word = Annotated[str, BeforeValidator(_word)]
MetricName = Annotated[str, AfterValidator(_metric_name)]
Threshold = Annotated[float | str, BeforeValidator(_threshold)]
TagName = Annotated[str, AfterValidator(_tag_name)]


class Section(BaseModel):
    """Base of all sections of a problem: immutable, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
