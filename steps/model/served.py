"""The code that every model carries: raw rows to features, features to an answer.

MLflow runs this file to load a model ("models from code"), where nothing of this repository is installed: it imports
only what a model's requirements hold. Training calls `as_features` too, so that a model learns from the very columns
that it is asked with later. A second file lies beside it, `reasons.py`, whose code is run when reasons are asked for.
"""

import csv
import datetime
import decimal
import functools
import gzip
import hashlib
import importlib
import io
import itertools
import json
import numbers
import re
import sys
import types
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from mlflow.pyfunc import PyFuncModel, scoring_server
from mlflow.utils.import_hooks import register_post_import_hook

DESCRIPTION, FEATURES, CLASSIFIER, BOOSTER = "model.json", "features.skops", "classifier.skops", "booster.txt"
# Of a model of numbers: what predicts them, and what tells how far its predictions are off.
REGRESSOR, REGRESSOR_BOOSTER, SCALE = "regressor.skops", "regressor.txt", "scale.txt"
# The code that makes the user's own columns, one of the files with a recorded digest.
OWN = "own_features.py"
# The code of a net, where it is the user's, likewise.
NET = "net.py"
# The code of reasons, which lies beside this file. It is read at once, so that what is run later is what was checked.
REASONS = "reasons.py"
_BESIDE = Path(__file__).with_name(REASONS)
CODE_OF_REASONS = _BESIDE.read_text(encoding="utf-8") if _BESIDE.exists() else ""
# Of a blend: the folder of the models whose answers it weighs, each in one of its own.
MEMBERS = "members"
# In the metadata of MLmodel: the model reads its requests itself (`_take_requests`).
READS_REQUESTS = "tabular_reads_requests"
# Among the attributes of a frame: the text of the CSV that MLflow has made it of.
CSV = "tabular_csv"
# A gzip of a few kilobytes may become any size: beyond this one it is refused.
MOST_UNZIPPED = 2**29
# Of more rows a batch is made rather than a request: scikit-learn's own transformers begin to pay, and stay sparse.
MOST_OF_A_REQUEST = 10_000
# Below that, LightGBM's threads take longer to meet than to work.
FEWEST_FOR_THREADS = 200
FORESTS = ("RandomForestClassifier", "ExtraTreesClassifier", "RandomForestRegressor", "ExtraTreesRegressor")
# As near to the least or greatest quantile of training rows a number is at the end (scikit-learn's threshold).
NEAR = 1e-7
# What is meant by a number that was learnt on another scale.
SCALES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {"none": np.asarray, "log": np.exp, "log1p": np.expm1}
# The words that are numbers and dates, as in a table of text.
NUMBER = r"(?i)[+-]?(((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?|inf|infinity)"
DATE = r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?)?"
TRUTHS = {
    **dict.fromkeys(("true", "True", "TRUE", "1", "1.0"), True),
    **dict.fromkeys(("false", "False", "FALSE", "0", "0.0"), False),
}
# By column: (n,) float64 (booleans as 0 and 1, dates as days since 1970) or object; missing is NaN in both.
Features: TypeAlias = Mapping[str, np.ndarray]


def as_features(frame: pd.DataFrame, columns: list[dict], own: "Own | None" = None) -> pd.DataFrame:
    """Raw rows as the numbers and categories that a preprocessor is fitted on.

    Parameters
    ----------
    frame
        (n, any) raw rows; columns in any order, others are passed over.
    columns
        The data set's columns: name, dtype ("double", "string", "boolean", "datetime"), kind, and the words that mean
        missing, as a tuple. Where these are None or not there, as in models of before, texts stay as they are.
    own
        What makes columns of the user's own, which come after those.

    Returns
    -------
    pandas.DataFrame
        (n, columns) float64 (booleans as 0 and 1, dates as days since 1970) and object; missing is NaN in both.

    Raises
    ------
    MlflowException
        Where a value is not of its column's type, or the user's function fails; it names the column.
    """
    features = _read(frame, _to_read(columns))
    return _as_frame(features if own is None else own.added(features), frame.index)


def _to_read(columns: list[dict]) -> list[tuple[str, Callable, "_Missing | None"]]:
    """Of each column its name, what reads its values, and what means missing in it."""
    return [(one["name"], _READ[one["dtype"]], _missing(one.get("missing"))) for one in columns]


def _read(frame: pd.DataFrame, to_read: list[tuple[str, Callable, "_Missing | None"]]) -> Features:
    """As `as_features`, without what a frame adds: of one row, most of the time."""
    return {name: read(frame[name], missing) for name, read, missing in to_read}


class Own:
    """The user's own columns: what makes them of raw rows, and which it makes.

    Attributes
    ----------
    function
        The user's function of raw rows, from `named_in`.
    columns
        What it makes: name, and dtype ("double" or "string").
    dates
        The columns of raw rows that hold dates, which the function is given as such.
    """

    def __init__(self, function: Callable, columns: list[dict], raw: list[dict]) -> None:
        self.function, self.columns = function, columns
        self.dates = frozenset(one["name"] for one in raw if one["dtype"] == "datetime")

    def added(self, features: Features) -> Features:
        """The features of rows, with the user's own columns after them."""
        given = as_given(features, self.dates)
        if not len(given):
            empty = {"double": np.empty(0), "string": np.empty(0, dtype=object)}
            return {**features, **{one["name"]: empty[one["dtype"]] for one in self.columns}}
        made = asked(self.function, given)
        lacking = [one["name"] for one in self.columns if one["name"] not in made]
        if lacking:
            raise _wrong(f"its answer lacks the column {lacking[0]!r}, which it made of the rows of training")
        return {**features, **{one["name"]: _OWN[one["dtype"]](made[one["name"]]) for one in self.columns}}


class Dates:
    """What is made of dates: parts of each, and the days between two of a row.

    Attributes
    ----------
    columns
        What is made, of which columns of days since 1970: `name`, `of`, and its `part` or `since`, the other date.
    """

    def __init__(self, columns: list[dict]) -> None:
        self.columns = columns

    def added(self, features: Features) -> Features:
        """The features of rows, with the columns that are made of dates after them."""
        moments = {name: _moments(features[name]) for name in {one["of"] for one in self.columns if "part" in one}}
        found = dict(features)
        for one in self.columns:
            if "part" in one:
                found[one["name"]] = _PARTS_OF_DATES[one["part"]](moments[one["of"]])
            else:
                found[one["name"]] = features[one["of"]] - features[one["since"]]
        return found


def _moments(days: np.ndarray) -> np.ndarray:
    """(n,) datetime64[us] of days since 1970."""
    known = ~np.isnan(days)
    moments = np.full(len(days), np.datetime64("NaT", "us"))
    moments[known] = np.round(days[known] * 86_400e6).astype("int64").astype("datetime64[us]")
    return moments


def _counted(moments: np.ndarray, unit: str, within: str | None = None, first: int = 0) -> np.ndarray:
    """(n,) how many units of the larger unit `within`, or since 1970, have passed, from `first` on; missing is NaN."""
    since = moments.astype(f"M8[{within}]") if within else np.datetime64("1970", unit)
    passed = moments.astype(f"M8[{unit}]") - since
    return np.where(np.isnat(moments), np.nan, passed.astype(f"m8[{unit}]").astype("float64") + first)


_PARTS_OF_DATES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "year": lambda moments: _counted(moments, "Y", first=1970),
    "month": lambda moments: _counted(moments, "M", "Y", first=1),
    "day": lambda moments: _counted(moments, "D", "M", first=1),
    "weekday": lambda moments: (_counted(moments, "D") + 3) % 7,  # 1970 began on a Thursday; Monday is 0
    "hour": lambda moments: _counted(moments, "h", "D"),
}


def named_in(code: str, name: str, file: str = OWN) -> Any:
    """What has that name in the code of a file of the user's, which is run for it: a function, or a net's class."""
    digest = hashlib.sha256(code.encode()).hexdigest()
    module = types.ModuleType(f"{file.removesuffix('.py')}_{digest[:16]}")
    sys.modules[module.__name__] = module  # where dataclasses look for the names in their annotations
    exec(compile(code, file, "exec"), module.__dict__)
    return getattr(module, name)


def as_given(features: Features, dates: frozenset[str]) -> pd.DataFrame:
    """Rows as the user's function gets them: numbers (truths as 0 and 1), texts, dates; numbered from 0."""
    rows = _as_frame(features)
    for name in dates & features.keys():
        rows[name] = _moments(features[name])
    return rows


def asked(function: Callable, given: pd.DataFrame) -> pd.DataFrame:
    """What the user's function makes of rows, which is a frame of the same index."""
    index = given.index
    try:
        made = function(given)
    except Exception as error:
        said = next(iter(str(error).splitlines()), "")
        raise _wrong(f"it fails on these rows ({type(error).__name__}: {said[:200]})") from error
    if not isinstance(made, pd.DataFrame) or not made.index.equals(index):
        what = type(made).__name__ if not isinstance(made, pd.DataFrame) else "a frame of another index"
        raise _wrong(f"it gives {what}, and a frame with the index of the rows that it was given is needed")
    if not made.columns.is_unique:
        raise _wrong("two columns of its answer have the same name")
    return made


def _wrong(what: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(f"data.features: {what}")


def _own_numbers(values: pd.Series) -> np.ndarray:
    if values.dtype.kind == "M":
        return _as_days(values.dt.tz_convert("UTC").dt.tz_localize(None) if values.dt.tz is not None else values)
    if values.dtype.kind == "m":
        return values.to_numpy() / np.timedelta64(1, "D")
    try:
        found = values.astype("float64").to_numpy()
    except (TypeError, ValueError):
        wrong = [value for value in values if isinstance(value, str)] or values.tolist()
        raise _wrong(f"its column {values.name!r} holds {wrong[0]!r}, which is not a number") from None
    if np.isinf(found).any():
        raise _wrong(
            f"its column {values.name!r} holds infinity: say what it is where nothing else can be said, as NaN"
        )
    return found


def _own_texts(values: pd.Series) -> np.ndarray:
    found = values.astype(object).to_numpy(dtype=object, copy=True)
    missing = np.asarray(pd.isna(found))
    wrong = [value for value in found[~missing] if not isinstance(value, str)]
    if wrong:
        raise _wrong(f"its column {values.name!r} holds {wrong[0]!r}, which is not text, as in the rows of training")
    found[missing] = np.nan
    return found


_OWN = {"double": _own_numbers, "string": _own_texts}


class _Missing(NamedTuple):
    """What means missing in a column: words, and the values that they name of a number, a truth or a date."""

    words: frozenset[str]
    numbers: np.ndarray
    days: np.ndarray


@functools.cache
def _missing(words: tuple[str, ...] | None) -> _Missing | None:
    """The rule of `tabular.data.missing`, for the words of a column; None: texts stay as they are."""
    if words is None:
        return None
    numbers = [float(word) for word in words if re.fullmatch(NUMBER, word)]
    dates = pd.Series([word for word in words if re.fullmatch(DATE, word)], dtype=object)
    days = _as_days(pd.to_datetime(dates, utc=True, format="ISO8601", errors="coerce").dropna())
    return _Missing(frozenset(words), np.array(numbers), days)


def _plain(values: np.ndarray, missing: _Missing | None) -> np.ndarray:
    """Texts without the blanks around them, and NaN for those that mean missing; all else as it is."""
    if missing is None:
        return values
    given = values.tolist()
    change: dict[Any, Any] = {}
    for text in {value for value in given if isinstance(value, str)}:
        plain = text.strip()
        if plain in missing.words:
            change[text] = np.nan
        elif plain != text:
            change[text] = plain
    return _exchanged(given, change) if change else values


def _exchanged(values: list, change: dict[Any, Any]) -> np.ndarray:
    found = np.empty(len(values), dtype=object)
    found[:] = [change.get(value, value) if isinstance(value, str) else value for value in values]
    return found


def _as_frame(features: Features, index: pd.Index | None = None) -> pd.DataFrame:
    # without a dtype pandas would make its own kind of text out of objects
    columns = {name: pd.Series(values, index, values.dtype, copy=False) for name, values in features.items()}
    return pd.DataFrame(columns, index=index)


def _numbers(values: pd.Series, missing: _Missing | None) -> np.ndarray:
    if values.dtype == "float64":
        found = values.to_numpy()
    elif values.dtype.kind in "iuf":
        found = values.to_numpy(dtype="float64", na_value=np.nan)
    else:
        found = _read_numbers(values, missing)
    if missing is not None and len(missing.numbers):
        found = np.where(np.isin(found, missing.numbers), np.nan, found)
    if np.isinf(found).any():
        _refuse(values.name, found, np.isfinite(found), "a finite number")
    return found


def _read_numbers(values: pd.Series, missing: _Missing | None) -> np.ndarray:
    """(n,) numbers of objects: of numbers, and of texts as in a table of text."""
    given = values.to_numpy(dtype=object, na_value=np.nan)
    plain = _plain(given, missing)
    known = np.array([_is_number(value) for value in plain], dtype=bool)
    _refuse(values.name, given, known | pd.isna(plain), "a number")
    return np.array([float(str(value)) if right else np.nan for value, right in zip(plain, known, strict=True)], float)


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return re.fullmatch(NUMBER, value) is not None
    return isinstance(value, (numbers.Real, decimal.Decimal)) and not isinstance(value, bool)


def _texts(values: pd.Series, missing: _Missing | None) -> np.ndarray:
    found = values.to_numpy(dtype=object, na_value=np.nan)
    if not isinstance(values.dtype, pd.StringDtype) and set(map(type, found.tolist())) != {str}:
        _refuse(values.name, found, [isinstance(value, str) for value in found], "text")
    return _plain(found, missing)


def _truths(values: pd.Series, missing: _Missing | None) -> np.ndarray:
    if values.dtype == bool:
        return values.to_numpy(dtype="float64")
    given = values.to_numpy(dtype=object, na_value=np.nan)
    found = given
    if missing is not None:  # as in a table of text, where a truth is a word
        found = _exchanged(_plain(given, missing).tolist(), TRUTHS)
    known = [isinstance(value, (bool, int, float, np.generic)) and value in (0, 1) for value in found]
    _refuse(values.name, given, np.array(known, dtype=bool) | pd.isna(found), "true or false")
    return found.astype("float64")


def _days(values: pd.Series, missing: _Missing | None) -> np.ndarray:
    if values.dtype.kind != "M":
        given = _plain(values.to_numpy(dtype=object), missing)
        known = [isinstance(value, (str, datetime.date, np.datetime64)) for value in given]
        _refuse(values.name, given, known, "a date")
        texts = pd.Series(given if missing is None else [_as_written(value) for value in given], values.index, object)
        moments = pd.to_datetime(texts, utc=True, format="ISO8601", errors="coerce")
        _refuse(values.name, given, moments.notna(), "a date such as 2021-03-04 or 2021-03-04T05:06:07")
        values = moments
    found = _as_days(values)
    return np.where(np.isin(found, missing.days), np.nan, found) if missing is not None and len(missing.days) else found


def _as_written(value: Any) -> Any:
    """A text that is a date in a table of text, to the microsecond; None in the place of others that pandas takes.

    One with nanoseconds would have all others of its column in nanoseconds, in which there is no year 2300.
    """
    if not isinstance(value, str):
        return value
    return re.sub(r"(\.\d{6})\d+", r"\1", value) if re.fullmatch(DATE, value) else None


def _as_days(values: pd.Series) -> np.ndarray:
    """Days since 1970; of dates with a zone, of the moment in UTC."""
    moments = values.to_numpy(dtype="datetime64[us]")
    return (moments - np.datetime64(0, "us")) / np.timedelta64(1, "D")


_READ: Mapping[str, Callable[[pd.Series, _Missing | None], np.ndarray]] = {
    "double": _numbers,
    "string": _texts,
    "boolean": _truths,
    "datetime": _days,
}


def _refuse(name: str, values: np.ndarray, right, what: str) -> None:
    """Name the column and the first value in it that is neither right nor missing: over HTTP a 400."""
    wrong = ~(np.asarray(right, dtype=bool) | pd.isna(values))
    if wrong.any():
        raise MlflowException.invalid_parameter_value(
            f"column {name!r} holds {values[wrong].tolist()[0]!r}, which is not {what}"
        )


class _Numbers(NamedTuple):
    """Columns of numbers, where they lie in the prepared rows, and what is done to them there."""

    names: list[str]
    place: slice
    steps: list[Callable[[np.ndarray], np.ndarray]]


class _Category(NamedTuple):
    """A column of categories, where it lies in the prepared rows, and what its values become there."""

    name: str
    place: slice
    rows: dict[Any, int]  # known value: its row of `table`
    table: np.ndarray  # (known values + 2, width); the last two rows are of a missing and of an unseen one


class _Text(NamedTuple):
    """A column of texts, where it lies in the prepared rows, and what its words become there."""

    name: str
    place: slice
    words: Any  # sparse rows of texts
    summed: Any  # the numbers of these


class Encoder:
    """A fitted ColumnTransformer, for requests as look-ups: scikit-learn takes milliseconds to begin on a row.

    What a category becomes is the transformer's own answer, asked once for each that it knows, for a missing and for an
    unseen one. Where it does anything else than `tabular.model.preprocessors` asks for, or to other numbers than the
    look-ups lead to, it is used itself.
    """

    def __init__(self, transformer: Any) -> None:
        self._transformer = transformer
        self._parts: list[_Numbers | _Category | _Text] = []
        sample = _sample(transformer)
        if sample is None:
            return
        prepared = transformer.transform(_as_frame(sample))
        self._sparse = None if isinstance(prepared, np.ndarray) else type(prepared)
        dense = prepared if self._sparse is None else prepared.toarray()
        self._width = dense.shape[1]
        # BLAS sums rows and columns in different orders
        self._order = "C" if dense.flags.c_contiguous else "F"
        self._parts = _parts(transformer, sample, dense)
        if not np.array_equal(self._look_up(sample), dense, equal_nan=True):
            self._parts = []

    @property
    def looks_up(self) -> bool:
        """Whether the transformer is one that look-ups stand for."""
        return bool(self._parts)

    def places(self) -> dict[str, slice] | None:
        """Where each column lies in the prepared rows; None where that is not known."""
        found: dict[str, slice] = {}
        for part in self._parts:
            if isinstance(part, _Numbers):
                found |= {name: slice(at, at + 1) for at, name in enumerate(part.names, part.place.start)}
            else:
                found[part.name] = part.place
        return found or None

    def prepare(self, features: Features) -> Any:
        """What the transformer makes of the features, bit by bit: (n, prepared columns), an array or sparse."""
        if not self._parts or len(next(iter(features.values()))) > MOST_OF_A_REQUEST:
            return self._transformer.transform(_as_frame(features))
        prepared = self._look_up(features)
        return prepared if self._sparse is None else self._sparse(prepared)

    def _look_up(self, features: Features) -> np.ndarray:
        rows = len(next(iter(features.values())))
        prepared = np.empty((rows, self._width), order=self._order)
        for part in self._parts:
            if isinstance(part, _Numbers):
                for at, name in enumerate(part.names, part.place.start):
                    prepared[:, at] = features[name]
                for step in part.steps:
                    prepared[:, part.place] = step(prepared[:, part.place])
            elif isinstance(part, _Text):
                texts = ["" if value != value else value for value in features[part.name].tolist()]  # noqa: PLR0124
                prepared[:, part.place] = part.summed.transform(part.words.transform(texts))
            else:
                row, unseen, missing = part.rows.get, len(part.table) - 1, len(part.table) - 2
                # what is missing is NaN, and not equal to itself
                values = features[part.name].tolist()
                found = [row(value, unseen if value == value else missing) for value in values]  # noqa: PLR0124
                prepared[:, part.place] = part.table[found]
        return prepared


def _sample(transformer: Any) -> Features | None:
    """Rows that hold each known category, a missing and an unseen one; None where a part is not of a kind we know."""
    if not hasattr(transformer, "transformers_"):  # a pipeline, with steps of the problem's
        return None
    values: dict[str, np.ndarray] = {}
    for _, part, names in transformer.transformers_:
        encoder = _encoder_of(part)
        if encoder is not None:
            values.update(zip(names, map(_values, encoder.categories_), strict=True))
        elif _is_of_words(part):
            values.update(dict.fromkeys(names, np.array(["a text", np.nan, ""], dtype=object)))
        elif _steps(part) is not None:
            values.update(dict.fromkeys(names, np.array([np.nan, 0.0, 1.5, -1e6])))
        else:
            return None
    rows = max(map(len, values.values()))
    return {name: np.resize(values[name], rows) for name in transformer.feature_names_in_}


def _encoder_of(part: Any) -> Any:
    """What encodes categories in a part of a ColumnTransformer, scaled or not; None where it is of no kind we know."""
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder

    first, *others = [step for _, step in part.steps] if isinstance(part, Pipeline) else [part]
    is_known = isinstance(first, (OneHotEncoder, OrdinalEncoder, TargetEncoder))
    return first if is_known and all(isinstance(step, StandardScaler) for step in others) else None


def _is_of_words(part: Any) -> bool:
    """Whether a part of a ColumnTransformer sums up the words of texts, as `tabular.model.preprocessors` makes it."""
    kinds = [type(step).__name__ for _, step in getattr(part, "steps", [])]
    return kinds == ["SimpleImputer", "FunctionTransformer", "TfidfVectorizer", "TruncatedSVD"]


def _values(categories: np.ndarray) -> np.ndarray:
    """The categories of a column, a missing value, and one that is none of them."""
    known = categories[~pd.isna(categories)].tolist()
    kind, taken = str if categories.dtype == object else float, set(known)
    unseen = next(value for number in itertools.count() if (value := kind(number)) not in taken)
    return np.array([*known, np.nan, unseen], dtype=categories.dtype)


def _steps(transformer: Any) -> list[Callable[[np.ndarray], np.ndarray]] | None:
    """What a transformer does to numbers, as functions of (n, columns); None where that is not known."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer, QuantileTransformer, StandardScaler

    steps = []
    for step in [step for _, step in transformer.steps] if isinstance(transformer, Pipeline) else [transformer]:
        if isinstance(step, SimpleImputer):
            steps.append(lambda X_encoded, fill=step.statistics_: np.where(np.isnan(X_encoded), fill, X_encoded))
        elif isinstance(step, StandardScaler):
            steps.append(lambda X_encoded, mean=step.mean_, scale=step.scale_: (X_encoded - mean) / scale)
        elif isinstance(step, QuantileTransformer) and step.output_distribution == "normal":
            steps.append(functools.partial(_as_normal, step.quantiles_, step.references_))
        elif not (isinstance(step, FunctionTransformer) and step.func is None):  # a column that is passed through
            return None
    return steps


def _as_normal(quantiles: np.ndarray, levels: np.ndarray, X_encoded: np.ndarray) -> np.ndarray:
    """As a QuantileTransformer's `transform`, without a check of the rows and a distribution for each column.

    `quantiles` are (levels, columns), ascending. A number is where both interpolations, from below and from above, are
    in the mean, since a column may have one quantile several times.
    """
    from scipy.special import ndtri

    found = np.empty(X_encoded.shape)
    for column, of in enumerate(quantiles.T):
        values = X_encoded[:, column]
        found[:, column] = 0.5 * (np.interp(values, of, levels) - np.interp(-values, -of[::-1], -levels[::-1]))
        found[values + NEAR > of[-1], column] = 1
        found[values - NEAR < of[0], column] = 0
    return np.clip(ndtri(found), ndtri(NEAR - np.spacing(1)), ndtri(1 - (NEAR - np.spacing(1))))


def _parts(transformer: Any, sample: Features, prepared: np.ndarray) -> list[_Numbers | _Category | _Text]:
    """The parts of a ColumnTransformer whose answer to the sample is known."""
    parts: list[_Numbers | _Category | _Text] = []
    for name, part, names in transformer.transformers_:
        place = transformer.output_indices_[name]
        encoder = _encoder_of(part)
        if _is_of_words(part):
            parts.append(_Text(names[0], place, part[-2], part[-1]))
            continue
        if encoder is None:
            parts.append(_Numbers(list(names), place, _steps(part) or []))
            continue
        start = place.start
        for column, categories, width in zip(names, encoder.categories_, _widths(encoder), strict=True):
            values, at = _values(categories), slice(start, start + width)
            known = {value: row for row, value in enumerate(values[:-2].tolist())}
            parts.append(_Category(column, at, known, prepared[: len(values), at].copy()))
            start += width
    return parts


def _widths(encoder: Any) -> list[int]:
    """How many columns an encoder makes of each; of a one-hot encoded one, the rare categories share a column."""
    from sklearn.preprocessing import OrdinalEncoder, TargetEncoder

    if isinstance(encoder, OrdinalEncoder):
        return [1] * len(encoder.categories_)
    if isinstance(encoder, TargetEncoder):  # of more than two classes, a column each
        each = len(encoder.classes_) if encoder.target_type_ == "multiclass" else 1
        return [each] * len(encoder.categories_)
    rare = getattr(encoder, "infrequent_categories_", [None] * len(encoder.categories_))
    both = zip(encoder.categories_, rare, strict=True)
    return [len(every) if few is None else len(every) - len(few) + 1 for every, few in both]


class TabularModel(mlflow.pyfunc.PythonModel):
    """A fitted preprocessor and estimator, or a blend of several of these: answers raw rows.

    Its answer is a label and the probability of each class, or a number and the ends of its interval.
    """

    def load_context(self, context) -> None:
        """Load the parts; what skops finds in them must be on the list that the model was logged with."""
        _take_requests()
        self._load(Path(context.artifacts["model"]))

    def _load(self, folder: Path) -> None:
        import skops.io

        self.description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        told = self.description.get("calibration") or {}
        self.curves = [tuple(map(np.array, curve)) for curve in told.get("curves", ())]
        words = self.description.get("missing")
        own = [column.get("missing", words) for column in self.description["columns"]]
        self.to_read = _to_read(
            [
                {**column, "missing": None if here is None else tuple(here)}
                for column, here in zip(self.description["columns"], own, strict=True)
            ]
        )
        self.own = self._own_of(folder)
        self.scale = _read_lightgbm(folder / SCALE, []) if (folder / SCALE).exists() else None
        self.dates = Dates(self.description.get("dates", []))
        self.members = {
            name: (weight, _member(folder / MEMBERS / name))
            for name, weight in self.description.get("members", {}).items()
        }
        if self.members:
            return
        trusted = self.description["trusted_types"]
        self.preprocessor = skops.io.load(folder / FEATURES, trusted=trusted)
        self.encoder = Encoder(self.preprocessor)
        file = next(name for name in FORMATS if (folder / name).exists())
        self.format = FORMATS[file]
        self.estimator = self.format.read(folder / file, trusted)

    @functools.cached_property
    def reasons(self) -> Any:
        """Why it answers as it does: `Reasons` of the file beside this one."""
        return _reasons()(self)

    @property
    def is_forest(self) -> bool:
        """Whether its estimator is a forest."""
        return is_forest(self.estimator)

    def _own_of(self, folder: Path) -> Own | None:
        own = self.description.get("own")
        if own is None:
            return None
        function = named_in((folder / OWN).read_text(encoding="utf-8"), own["function"])
        return Own(function, own["columns"], self.description["columns"])

    def outputs(self, features: pd.DataFrame) -> np.ndarray:
        """What is predicted for raw rows as `as_features` gives them without the user's own columns.

        (n, classes) float64 probabilities; or (n, 3) float64 numbers, and the low and the high ends of their intervals.
        """
        return self._outputs({name: features[name].to_numpy() for name in features}, len(features))

    def uncalibrated(self, features: pd.DataFrame) -> np.ndarray:
        """(n, classes) what a model of classes would give as `outputs` were it not calibrated, for at least one row."""
        raw = {name: features[name].to_numpy() for name in features}
        return self._whole(self._prepared(raw))

    def predict(self, context, model_input: pd.DataFrame, params: dict | None = None) -> pd.DataFrame:
        """Label and probability of each class; of two classes the positive one from `params["threshold"]` up.

        Of a model of numbers: the number, and the ends of its interval, which holds the truth as often as
        `params["coverage"]` says. With `params["explain"]` also so many reasons, as `Reasons.added` has them.
        """
        features, rows = _read(model_input, self.to_read), len(model_input)
        explain = (params or {}).get("explain", 0)
        most = self.reasons.wanted(explain) if explain else 0
        if not self.description["classes"]:
            answer = self._numbers(features, model_input.index, params or {})
            return self.reasons.added(answer, features, np.zeros(rows, dtype=int), most) if most else answer
        probabilities = self._outputs(features, rows)
        classes, positive = self.description["classes"], self.description["positive"]
        if len(classes) == 2:
            threshold = _asked(params or {}, "threshold", self.description["threshold"], 0, 1)
            codes = np.where(probabilities[:, positive] >= threshold, positive, 1 - positive)
        else:
            codes = probabilities.argmax(axis=1)
        told = {"label": [classes[code] for code in codes.tolist()]}
        for code, label in enumerate(classes):
            told[f"probability_{label}"] = probabilities[:, code]
        answer = pd.DataFrame(told, index=model_input.index)
        return self.reasons.added(answer, features, codes, most) if most else answer

    def request(self, data: Any, params: dict | None, known: list[str]) -> Any:
        """A request as MLflow's own checks let it through: all parameters known, rows in the types of the signature.

        Parameters
        ----------
        data
            Rows as MLflow takes them: a frame, or rows or columns by name. All else is left to MLflow.
        params
            The parameters of the request.
        known
            The names of those that the signature has.
        """
        if not isinstance(params, dict | None):
            raise MlflowException.invalid_parameter_value(f"params: {params!r} is no object of names and values")
        unknown = [name for name in params or {} if name not in known]
        if unknown:
            takes = " and ".join(known) or "none"
            raise MlflowException.invalid_parameter_value(
                f"params: {unknown[0]!r} is no parameter of this model, which takes {takes}"
            )
        if len(self.to_read) == 1 and isinstance(data, list) and not any(isinstance(row, dict | list) for row in data):
            data = {self.to_read[0][0]: data}  # as MLflow takes the values of an only column
        rows = _rows_of(data)
        if not isinstance(rows, pd.DataFrame):
            return rows
        if not rows.columns.is_unique:
            twice = rows.columns[rows.columns.duplicated()][0]
            raise MlflowException.invalid_parameter_value(f"the request has the column {twice!r} more than once")
        lacking = [name for name, _, _ in self.to_read if name not in rows]
        if lacking:
            raise MlflowException.invalid_parameter_value(f"Model is missing inputs {lacking}.")
        changed = {}
        for name, read, missing in self.to_read:
            values = rows[name]
            if read is _numbers and values.dtype != "float64":
                changed[name] = pd.Series(_numbers(values, missing), rows.index)
            elif read is _texts and not isinstance(values.dtype, pd.StringDtype | np.dtypes.ObjectDType):
                changed[name] = values.astype(object)
        return rows.assign(**changed) if changed else rows

    def _numbers(self, features: Features, index: pd.Index, params: dict) -> pd.DataFrame:
        levels = self.description["intervals"]["coverage"]
        told = ", as far as its training rows tell"
        coverage = _asked(params, "coverage", self.description["coverage"], levels[0], levels[-1], told)
        found = self._outputs(features, len(index), coverage)
        return pd.DataFrame(found, index, ["prediction", "prediction_low", "prediction_high"])

    def _outputs(self, features: Features, rows: int, coverage: float | None = None) -> np.ndarray:
        if not rows:  # scikit-learn refuses none
            return np.zeros((0, len(self.description["classes"]) or 3))
        return self.of_prepared(self._prepared(features), coverage)

    def _prepared(self, features: Features) -> Any:
        """What the estimator is asked with; a blend hands the features on to its members, which prepare them."""
        features = features if self.own is None else self.own.added(features)
        return features if self.members else self.prepare(features)

    def prepare(self, features: Features) -> Any:
        """(n, prepared columns) the features of rows, the user's own among them, as the estimator gets them."""
        return self.encoder.prepare(self.dates.added(features) if self.dates.columns else features)

    def of_prepared(self, prepared: Any, coverage: float | None = None) -> np.ndarray:
        """What `outputs` gives, for at least one row as `_prepared` gives it; coverage is only of numbers.

        It is what the fitted estimator gives (`predict_proba`, `predict`), and the calibration makes of it, bit by bit.
        """
        if self.description["classes"]:
            return self.calibrated(self._whole(prepared))
        return self._with_ends(self._found(prepared), prepared, coverage or self.description["coverage"])

    def _whole(self, prepared: Any) -> np.ndarray:
        """(n, classes) the estimator's probabilities; a class that its training rows lacked has 0."""
        if self.members:
            return self._mean(TabularModel._whole, prepared)
        whole = np.zeros((prepared.shape[0], len(self.description["classes"])))
        whole[:, self.description["classes_seen"]] = self.format.ask(self.estimator, prepared)
        return whole

    def _found(self, prepared: Any) -> np.ndarray:
        """(n,) the estimator's numbers, on the target's scale."""
        if self.members:
            return self._mean(TabularModel._found, prepared)
        with np.errstate(over="ignore"):
            return self.unscaled(np.asarray(self.format.ask(self.estimator, prepared), dtype=np.float64))

    def unscaled(self, learnt: np.ndarray) -> np.ndarray:
        """Numbers on the target's scale, of those on the scale that the estimator learnt on."""
        return SCALES[self.description["transform"]](learnt)

    def _mean(self, ask: Callable, features: Features) -> np.ndarray:
        """What a blend's members give by a method, each for rows as it prepares them, times their weights."""
        return sum(weight * ask(one, one.prepare(features)) for weight, one in self.members.values())

    def calibrated(self, probabilities: np.ndarray) -> np.ndarray:
        """(n, classes) what the model answers for (n, classes) probabilities of its estimator.

        This is `tabular.model.calibration.Calibration.apply`; a model of before, and one that needs none, has none.
        """
        told = self.description.get("calibration")
        if told is None:
            return probabilities
        if told["method"] == "sigmoid":
            scores = told["slope"] * np.log(probabilities + told["floor"]) + np.array(told["offsets"])
            parts = np.exp(scores - scores.max(axis=1, keepdims=True))
            return parts / parts.sum(axis=1, keepdims=True)
        curves = self.curves
        if len(curves) == 1:
            second = np.interp(probabilities[:, 1], *curves[0])
            return np.column_stack([1 - second, second])
        found = np.column_stack([np.interp(probabilities[:, code], *curve) for code, curve in enumerate(curves)])
        return found / found.sum(axis=1, keepdims=True)

    def _with_ends(self, numbers: np.ndarray, prepared: Any, coverage: float) -> np.ndarray:
        """(n, 3) numbers on the target's scale, and the ends of their intervals."""
        intervals, scale = self.description["intervals"], 1.0
        if self.scale is not None:
            rows = self.members[intervals["prepared_by"]][1].prepare(prepared) if self.members else prepared
            scale = np.maximum(_ask_booster(self.scale, rows), intervals["floor"])
        low, high = (np.interp(coverage, intervals["coverage"], intervals[end]) for end in ("low", "high"))
        return np.column_stack([numbers, numbers + scale * low, numbers + scale * high])


@functools.cache
def _reasons() -> Any:
    """The class of what gives reasons; its code is run when a first answer is asked for them."""
    if not CODE_OF_REASONS:
        raise MlflowException.invalid_parameter_value(
            f"explain: {REASONS} does not lie beside {Path(__file__).name}: take the model's whole folder"
        )
    return named_in(CODE_OF_REASONS, "Reasons", REASONS)


def _member(folder: Path) -> TabularModel:
    """A model that is a part of a blend."""
    found = TabularModel()
    found._load(folder)
    return found


class _Format(NamedTuple):
    """A kind of file that an estimator is stored in: how it is read, and how what was read is asked.

    `read` takes the file and the types that skops may rebuild; `ask` gives (n, classes seen) probabilities or (n,)
    numbers for prepared rows; `scores` what each column of these adds to the estimator's own scores, where its library
    tells: the base value of each score, and (n, scores, prepared columns).
    """

    read: Callable[[Path, list[str]], Any]
    ask: Callable[[Any, Any], np.ndarray]
    scores: Callable[[Any, np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None


def _read_skops(file: Path, trusted: list[str]) -> Any:
    import skops.io

    return skops.io.load(file, trusted=trusted)


def _asked(params: Mapping, name: str, usual: float, low: float, high: float, told: str = "") -> float:
    """The number that a request asks with, or the usual one."""
    asked = params.get(name, usual)
    if isinstance(asked, bool) or not isinstance(asked, numbers.Real) or not low <= asked <= high:
        shown = f"{asked:g}" if isinstance(asked, numbers.Real) else repr(asked)
        raise MlflowException.invalid_parameter_value(f"{name}: {shown} is not from {low:g} to {high:g}{told}")
    return float(asked)


def _take_requests() -> None:
    """Have MLflow hand a request to a model of ours before it changes or drops anything of it.

    MLflow (3.17) passes over parameters that it does not know, refuses whole numbers where doubles are signed, and has
    pandas decide which words of a CSV mean missing. What is in these places reads a request by the model's method
    `request`; models without it, which may be in the same process, are asked as before. `tests/model/test_served.py`
    fails where a later MLflow has not these names.
    """
    _put(PyFuncModel, "predict", _predict)
    _put(scoring_server, "invocations", _invocations)
    _put(scoring_server, "_parse_json_data", _parse_json)
    _put(scoring_server, "parse_csv_input", _parse_csv)
    register_post_import_hook(_take_evaluation, "mlflow.models.evaluation.default_evaluator")
    register_post_import_hook(_take_explanation, "mlflow.models.evaluation.evaluators.shap")


def _put(owner: Any, name: str, ours: Callable) -> None:
    """Put a function before one of MLflow's, which it gets as its first argument; once, however many models load."""
    given = getattr(owner, name, None)
    if given is None or hasattr(given, "asks_models_of_tabular"):
        return

    @functools.wraps(given)
    def asked(*arguments: Any, **named: Any) -> Any:
        return ours(given, *arguments, **named)

    asked.asks_models_of_tabular = True  # type: ignore[attr-defined]
    setattr(owner, name, asked)


def _take_evaluation(evaluator: Any) -> None:
    """Have `mlflow.models.evaluate`, when it is imported, ask a model of ours for one column at a time.

    It takes no answer of several columns; for what it calls a raw model it asks `predict` and `predict_proba`.
    """
    every = evaluator, sys.modules.get("mlflow.models.evaluation.evaluators.classifier")
    for module in filter(None, every):
        _put(module, "_extract_raw_model", _raw_model)


def _take_explanation(shap: Any) -> None:
    _put(shap.ShapEvaluator, "_evaluate", _explained)


def _explained(given: Callable, evaluator: Any, model: Any, *arguments: Any, **named: Any) -> Any:
    """What `evaluate` explains by SHAP: nothing of a model that reads more than numbers, as it would say by itself.

    But MLflow 3.17 finds that out by asking NumPy about the types of columns, which fails for the texts of pandas 3.
    """
    columns = [] if _request_of(model) is None else model._model_impl.python_model.description["columns"]
    if any(column["dtype"] != "double" for column in columns):
        return None
    return given(evaluator, model, *arguments, **named)


def _raw_model(given: Callable, model: Any) -> tuple:
    loader, raw = given(model)
    return loader, raw if raw is not None or _request_of(model) is None else _Evaluated(model)


class _Evaluated:
    """A model as `mlflow.models.evaluate` asks one: labels and probabilities apart, or numbers without their ends."""

    def __init__(self, model: PyFuncModel) -> None:
        self._model = model
        classes = model._model_impl.python_model.description["classes"]
        if classes:
            names = [f"probability_{label}" for label in sorted(classes)]  # as evaluate sorts the labels
            self.predict_proba = lambda rows: model.predict(rows)[names].to_numpy()

    def predict(self, rows: Any) -> np.ndarray:
        """(n,) labels, or numbers."""
        return self._model.predict(rows).iloc[:, 0].to_numpy()


def _predict(given: Callable, model: PyFuncModel, data: Any, params: dict | None = None) -> Any:
    request = _request_of(model)
    if request is None:
        return given(model, data, params)
    schema = model.metadata.get_params_schema()
    try:
        return given(model, request(data, params, [one.name for one in schema.params] if schema else []), params)
    except MlflowException as error:
        error.reason = error.message  # type: ignore[attr-defined]
        raise


def _request_of(model: Any) -> Callable | None:
    """The method that reads the requests of a model, where it is one of ours."""
    return getattr(getattr(getattr(model, "_model_impl", None), "python_model", None), "request", None)


def _invocations(given: Callable, data: bytes, content_type: str | None, model: PyFuncModel, input_schema: Any) -> Any:
    if _request_of(model) is None:
        return given(data, content_type, model, input_schema)
    if not content_type:
        forms = ", ".join(scoring_server.CONTENT_TYPES)
        raise MlflowException(f"Content-Type: the request has none; give one of {forms}", BAD_REQUEST)
    try:
        return given(_unzipped(data), content_type, model, None)  # no schema: the values are read by the model
    except MlflowException as error:
        error.message = getattr(error, "reason", error.message)  # MLflow writes the rows before it, over many lines
        raise


def _unzipped(data: bytes) -> bytes:
    """The body of a request; MLflow's server does not tell its Content-Encoding, but no other form begins like gzip."""
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        found = gzip.GzipFile(fileobj=io.BytesIO(data)).read(MOST_UNZIPPED + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise MlflowException(f"the body begins as gzip and is none ({error})", BAD_REQUEST) from None
    if len(found) > MOST_UNZIPPED:
        raise MlflowException(f"the body unzips to more than {MOST_UNZIPPED:,} bytes: ask in parts", BAD_REQUEST)
    return found


def _parse_json(given: Callable, data: Any, metadata: Any, input_schema: Any) -> Any:
    if not (metadata.metadata or {}).get(READS_REQUESTS):
        return given(data, metadata, input_schema)
    body = scoring_server._decode_json_input(data)
    known = {*scoring_server.SUPPORTED_FORMATS, scoring_server.SERVING_PARAMS_KEY}
    unknown = [name for name in body if name not in known]
    if unknown:
        told = ", ".join(sorted(known))
        raise MlflowException(f"{unknown[0]!r} is no part of a request, which has of {told}", BAD_REQUEST)
    forms = body.keys() & scoring_server.SUPPORTED_FORMATS
    if len(forms) == 1 and forms <= {"inputs", "instances"}:  # MLflow would make one type of all values
        return scoring_server.ParsedJsonInput(body[forms.pop()], body.get("params"), False)
    return given(body, metadata, None)


def _parse_csv(given: Callable, csv_input: Any, schema: Any = None) -> Any:
    if schema is not None:
        return given(csv_input, schema)
    is_path = isinstance(csv_input, (str, Path))
    text = Path(csv_input).read_text(encoding="utf-8") if is_path else csv_input.read()
    rows = given(io.StringIO(text))
    rows.attrs[CSV] = text
    return rows


def _rows_of(data: Any) -> Any:
    """A frame of the rows of a request; what is neither a frame nor has names of columns as it is."""
    if isinstance(data, pd.DataFrame):
        return _rows_of_csv(data.attrs[CSV]) if CSV in data.attrs else data
    if isinstance(data, dict) and all(value is None or np.isscalar(value) for value in data.values()):
        data = [data]
    if isinstance(data, dict) or (isinstance(data, list) and all(isinstance(row, dict) for row in data)):
        try:
            return pd.DataFrame(data)
        except ValueError as error:
            raise MlflowException.invalid_parameter_value(f"the rows of the request are no table ({error})") from None
    return data


def _rows_of_csv(text: str) -> pd.DataFrame:
    """The rows of a CSV as texts, which the model reads as `etl` reads those of a table."""
    try:
        names, *rows = [row for row in csv.reader(io.StringIO(text.removeprefix("\ufeff"), ""), strict=True) if row]
    except csv.Error as error:
        raise MlflowException.invalid_parameter_value(f"the CSV cannot be read ({error})") from None
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise MlflowException.invalid_parameter_value(
                f"row {number} of the CSV has {len(row)} cells, and its header has {len(names)}"
            )
    return pd.DataFrame(rows, columns=names, dtype=object)


def _ask_estimator(classifier: Any, prepared: Any) -> np.ndarray:
    if is_forest(classifier) and isinstance(prepared, np.ndarray):
        return _ask_trees(classifier, prepared, classifier.n_classes_, classifier.predict_proba)
    return classifier.predict_proba(prepared)


def is_forest(estimator: Any) -> bool:
    """Whether an estimator is one of scikit-learn's own forests."""
    return type(estimator).__module__.startswith("sklearn.") and type(estimator).__name__ in FORESTS


def _read_lightgbm(file: Path, trusted: list[str]) -> Any:
    import lightgbm

    return lightgbm.Booster(model_file=str(file))


def _ask_lightgbm(booster: Any, prepared: Any) -> np.ndarray:
    found = _ask_booster(booster, prepared)
    return np.column_stack([1 - found, found]) if found.ndim == 1 else found


def _ask_booster(booster: Any, prepared: Any) -> np.ndarray:
    threads = {"num_threads": 1} if prepared.shape[0] < FEWEST_FOR_THREADS else {}
    return booster.predict(prepared, **threads)


def _scores_of_lightgbm(booster: Any, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    threads = {"num_threads": 1} if len(rows) < FEWEST_FOR_THREADS else {}
    found = booster.predict(rows, pred_contrib=True, **threads).reshape(len(rows), -1, rows.shape[1] + 1)
    return found[0, :, -1].copy(), found[:, :, :-1]


def _ask_regressor(regressor: Any, prepared: Any) -> np.ndarray:
    if is_forest(regressor) and isinstance(prepared, np.ndarray):
        return _ask_trees(regressor, prepared, 1, regressor.predict).ravel()
    return np.ravel(regressor.predict(prepared)).astype(np.float64, copy=False)  # XGBoost's are of 32 bits


def _read_xgboost(file: Path, trusted: list[str]) -> Any:
    import xgboost

    # one thread: those of OpenMP do not survive a fork
    classifier = xgboost.XGBClassifier(n_jobs=1)
    classifier.load_model(str(file))
    return classifier


def _read_catboost(file: Path, trusted: list[str]) -> Any:
    import catboost

    return catboost.CatBoostClassifier().load_model(str(file))


def _read_xgboost_regressor(file: Path, trusted: list[str]) -> Any:
    import xgboost

    regressor = xgboost.XGBRegressor(n_jobs=1)
    regressor.load_model(str(file))
    return regressor


def _read_catboost_regressor(file: Path, trusted: list[str]) -> Any:
    import catboost

    return catboost.CatBoostRegressor().load_model(str(file))


def _as_catboost_takes(model: Any, prepared: Any) -> Any:
    """Prepared rows with whole numbers in the columns that are codes of categories: `tabular.model.codes.as_taken`."""
    codes = model.get_cat_feature_indices()
    if not len(codes):
        return prepared
    whole = np.where(np.isnan(prepared[:, codes]), -1, prepared[:, codes]).astype(np.int64)
    if len(prepared) < FEWEST_FOR_THREADS:  # to make a frame takes longer than to ask about few rows
        rows = prepared.astype(object)
        rows[:, codes] = whole
        return rows
    rows = pd.DataFrame(prepared)
    rows[codes] = whole
    return rows


def _ask_catboost_regressor(regressor: Any, prepared: Any) -> np.ndarray:
    return regressor.predict(
        _as_catboost_takes(regressor, prepared), thread_count=1 if prepared.shape[0] < FEWEST_FOR_THREADS else -1
    )


def _ask_catboost(classifier: Any, prepared: Any) -> np.ndarray:
    rows = _as_catboost_takes(classifier, prepared)
    return classifier.predict_proba(rows, thread_count=1 if prepared.shape[0] < FEWEST_FOR_THREADS else -1)


class _Net(NamedTuple):
    """A module of torch with its weights; with `softmax`, what it gives becomes probabilities by that."""

    module: Any
    softmax: bool


def _read_net(file: Path, trusted: list[str]) -> _Net:
    import torch
    from safetensors import safe_open

    with safe_open(file, "pt") as held:
        told = json.loads(held.metadata()["net"])
        weights = {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118 (it is no mapping)
    code, (place, _, name) = file.with_name(NET), told["module"].rpartition(".")
    if code.exists():
        kind = named_in(code.read_text(encoding="utf-8"), name, NET)
    else:
        kind = getattr(importlib.import_module(place), name)
    with torch.random.fork_rng(devices=[]):  # first it draws weights
        module = kind(**told["arguments"])
    module.load_state_dict(weights)
    net = _Net(module.eval(), told["softmax"])
    _ask_net(net, np.zeros((1, told["inputs"])))  # what is lazy in it settles at its first rows
    return net


def _ask_net(net: _Net, prepared: Any) -> np.ndarray:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # it sums as it did when it was fitted; and threads do not survive a fork
    try:
        with torch.no_grad():
            rows = torch.from_numpy(np.array(prepared, dtype=np.float32, order="C"))
            found = torch.cat([net.module(some) for some in rows.split(MOST_OF_A_REQUEST)]).double()
            return (found.softmax(dim=1) if net.softmax else found).numpy()
    finally:
        torch.set_num_threads(threads)


def _ask_trees(forest: Any, prepared: np.ndarray, width: int, whole_forest: Callable) -> np.ndarray:
    """As a forest's own method, without a task and a check of the rows for each of its trees.

    Of one row that is a tenth of the time, of a thousand less than a half (benchmarks/forest.py).
    """
    with np.errstate(over="ignore"):
        rows = prepared.astype(np.float32, order="C")
    if np.isinf(rows).any():
        return whole_forest(prepared)  # has an error for them
    whole = np.zeros((len(rows), width))
    for tree in forest.estimators_:
        whole += tree.tree_.predict(rows)[:, :width]
    return whole / len(forest.estimators_)


# By the file's name; tabular/model/formats.py writes those that are not skops'.
FORMATS: Mapping[str, _Format] = {
    BOOSTER: _Format(_read_lightgbm, _ask_lightgbm, _scores_of_lightgbm),
    "booster.ubj": _Format(_read_xgboost, _ask_estimator),
    "booster.cbm": _Format(_read_catboost, _ask_catboost),
    "net.safetensors": _Format(_read_net, _ask_net),
    CLASSIFIER: _Format(_read_skops, _ask_estimator),
    REGRESSOR_BOOSTER: _Format(_read_lightgbm, _ask_booster, _scores_of_lightgbm),
    "regressor.ubj": _Format(_read_xgboost_regressor, _ask_regressor),
    "regressor.cbm": _Format(_read_catboost_regressor, _ask_catboost_regressor),
    REGRESSOR: _Format(_read_skops, _ask_regressor),
}

mlflow.models.set_model(TabularModel())
