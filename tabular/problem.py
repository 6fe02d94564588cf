"""A prediction problem: one YAML file of ten sections, validated before anything runs.

Unknown keys are errors, and defaults are filled in. A `Problem` is plain data: it can be written as YAML, from which
the same problem is read again.
"""

import itertools
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias, get_args

import yaml
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from tabular import addresses
from tabular.defaults import PRESETS, SPACES, SPACES_OF_CLASSES, SPACES_OF_NUMBERS
from tabular.errors import UserError, nearest
from tabular.metrics import lookup
from tabular.metrics.classification import CALIBRATION_ERROR, DEFAULT_THRESHOLD, is_of_labels
from tabular.metrics.lookup import CLASSIFICATION, REGRESSION

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


def _trials(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch("all|none|best [1-9][0-9]{0,5}", value):
        raise ValueError(f"{value!r} is none of all, none, or best and a number, such as best 5")
    return value


# A thousand to the power of its place is the unit's bytes.
_UNITS = ("", "kB", "MB", "GB", "TB")


def _size(value: Any) -> Any:
    """The bytes of a text such as `500 MB`; any other value is left to the validation."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,3})?) ?(|kB|MB|GB|TB)", value)
    if found is None:
        raise ValueError(f"{value!r} is no size: write bytes, or a number and one of kB, MB, GB, TB, such as 500 MB")
    return round(float(found[1]) * 1000 ** _UNITS.index(found[2]))


def _registry_uri(value: str) -> str:
    if addresses.written_secret(value):
        raise ValueError(
            "a password or token in an address would be logged: leave it out, and set MLFLOW_REGISTRY_URI, or for a "
            "server MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    if re.match(r"sqlite:///(?!/|[A-Za-z]:)", value):
        raise ValueError(f"{value!r} is relative, and steps run in another folder: sqlite:////data/registry.db is not")
    if not re.match(r"https?://[^/]|(sqlite|postgresql|mysql|mssql)(\+\w+)?://.", value):
        raise ValueError(
            f"{value!r} is no address of a registry, such as https://registry.example or sqlite:////data/registry.db"
        )
    return value


def _tag_name(value: str) -> str:
    if not re.fullmatch(r"[\w.\- :/]{1,250}", value) or value.startswith(("mlflow.", "tabular.")):
        raise ValueError(
            f"{value!r} cannot be a tag's name: up to 250 letters, digits and _-. :/ can, and what begins with mlflow. "
            "or tabular. is taken"
        )
    return value


def alias_name(value: str) -> str:
    """Validate an alias by MLflow's rules.

    Raises
    ------
    ValueError
        Where MLflow would not accept the alias.

    """
    if not re.fullmatch(r"[A-Za-z][\w-]{0,254}", value) or re.fullmatch("(?i)latest|v[0-9]+", value):
        raise ValueError(f"{value!r} cannot be an alias: letters, digits, _ and - can; latest and v1 are MLflow's own")
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


# How the import paths of estimators begin that several processes can learn together.
SHARED = "lightgbm."


def is_shared(estimator: str) -> bool:
    """Whether an estimator, by its import path, can be learnt by several ranks."""
    return estimator.startswith(SHARED)


# The keys of the section data that say where the table lies. What lies there counts by its content, its digest.
PLACE = ("source", "query", "headers", "sha256")
# The keys of the section data that say how a model learns, and change no data set.
OF_FITS = ("target_transform",)
# The keys of a model that say what becomes of the chain where it fails, and change no fit.
OF_CHAINS = ("required",)
# Parameters that may be mappings: of the target's classes to weights, and of columns to directions.
WEIGHTS = ("class_weight", "class_weights")
CONSTRAINTS = ("monotone_constraints", "monotonic_cst")


class Section(BaseModel):
    """Base of all sections of a problem: immutable, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class MissingInColumn(Section):
    """The words that mean missing in one column, besides those of all columns, and those that do not mean it there."""

    add: list[Word] = []
    keep: list[Word] = []

    @model_validator(mode="after")
    def _add_or_keep(self) -> Self:
        both = [word for word in self.add if word in self.keep]
        if both:
            raise ValueError(f"{both[0]!r} stands in add and in keep: leave it out of one of them")
        if "" in self.keep:
            raise ValueError("keep: an empty cell is always missing: leave '' out")
        return self


class Missing(MissingInColumn):
    """The words that mean missing besides the usual ones, and those of the usual ones that do not mean it."""

    columns: dict[str, MissingInColumn] = {}


class Typed(Section):
    """The type of a column, and what becomes of its cells that are not of it."""

    type: Literal["number", "date", "boolean"]
    errors: Literal["refuse", "missing"] = "refuse"


class Rare(Section):
    """Classes of few rows: made one class, or left out."""

    fewer_than: int = Field(ge=2, description="rows of a class that is rare")
    into: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="the class that rare ones become; without it their rows are left out"
    )


def _form(value: Any) -> str:
    """Which of two forms a key has that may be given in short or in full, for errors about the right one."""
    return FULL if isinstance(value, dict | Section) else SHORT


# The names of the two forms, which are no keys of the YAML.
SHORT, FULL = "in short", "in full"


class OwnFeatures(Section):
    """Columns of the user's own: a function in a Python file that makes them of raw rows."""

    file: str
    function: str = Field(pattern=r"^[A-Za-z_]\w*$")
    code: str = Field(default="", description="what the file says, without comments; filled in when a chain begins")


def _named_function(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    file, _, function = value.rpartition(":")
    if not file.endswith(".py") or not function.isidentifier():
        raise ValueError(f"{value!r} names no function in a file, such as features.py:make")
    return {"file": file, "function": function}


class Data(Section):
    """The table, its target, and the columns that no model may see."""

    source: str = Field(
        description="a path, a folder or a glob, a URL, a database, or sklearn:NAME for a data set of scikit-learn"
    )
    query: str | None = Field(default=None, min_length=1, description="of a database: which rows, in SQL")
    headers: dict[str, str] = Field(default={}, description="of the request to a web server; ${NAME} is a variable")
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    target: str
    positive: Label | None = Field(default=None, description="of two classes, the one whose probability is asked for")
    classes: dict[str, list[Label]] | None = Field(default=None, description="class: the target's values that mean it")
    rare: Rare | None = Field(default=None, description="what becomes of classes of few rows")
    target_transform: Literal["none", "log", "log1p"] = Field(
        default="none", description="of a number to predict: the scale on which it is learnt"
    )
    weight: str | None = Field(default=None, description="column: how much each row counts; no model sees it")
    drop: dict[str, str] = Field(default={}, description="column: the reason why no model may see it")
    duplicates: Literal["keep", "drop"] = "keep"
    types: dict[
        str,
        Annotated[
            Annotated[Literal["number", "category", "date", "boolean"], Tag(SHORT)] | Annotated[Typed, Tag(FULL)],
            Discriminator(_form),
        ],
    ] = {}
    columns: list[str] | None = Field(default=None, description="the names, for a file without a header")
    missing: Annotated[Annotated[list[Word], Tag(SHORT)] | Annotated[Missing, Tag(FULL)], Discriminator(_form)] = Field(
        default=[], description="words that mean missing besides the usual ones, or a mapping: add, keep, columns"
    )
    escape: Literal["backslash", "double"] | None = Field(
        default=None, description="what stands before a quote within a quoted field; found out by default"
    )
    separator: str | None = None
    encoding: str = "utf-8"
    sheet: str | None = Field(default=None, min_length=1, description="of a workbook: the name of the sheet")
    features: Annotated[OwnFeatures | None, BeforeValidator(_named_function)] = Field(
        default=None, description="file.py:function, which makes columns of your own of raw rows"
    )

    @field_validator("source")
    @classmethod
    def _no_password(cls, source: str) -> str:
        secret = addresses.written_secret(source)
        if secret:
            raise ValueError(
                "a password or token in a URL would be logged: name a variable, as in "
                "https://${USER}:${PASSWORD}@host/…?token=${TOKEN}"
            )
        return source

    @field_validator("headers")
    @classmethod
    def _no_secret(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if re.search("(?i)auth|token|key|secret|cookie|password|signature", name) and "${" not in value:
                raise ValueError(f"{name} would be logged: name a variable, as in {{{name}: '${{TOKEN}}'}}")
        return headers


class DateParts(Section):
    """The columns that make up a date; the month as a number or as its English name."""

    year: str
    month: str
    day: str


class Split(Section):
    """How the holdout and the folds are split off."""

    by: Literal["random", "time", "group"] = "random"
    column: str | DateParts | None = None
    holdout: float = Field(default=0.2, gt=0, lt=1)

    @model_validator(mode="after")
    def _column_where_needed(self) -> Self:
        if (self.column is None) != (self.by == "random"):
            need = "takes no column" if self.by == "random" else "needs a column"
            raise ValueError(f"a split by {self.by} {need}")
        if self.by == "group" and isinstance(self.column, DateParts):
            raise ValueError("a split by group needs the name of one column")
        return self


class Range(Section):
    """A numeric hyperparameter, drawn between two bounds; on a log scale where `log` is true."""

    type: Literal["int", "float"]
    low: float
    high: float
    log: bool = False
    step: float | None = Field(default=None, gt=0, description="only multiples of it are drawn")

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        if self.log and self.low <= 0:
            raise ValueError(f"a log range must start above 0, not at {self.low:g}")
        if self.type == "int" and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError(f"an int range needs whole numbers as its ends, not {self.low:g} and {self.high:g}")
        if self.step is not None:
            if self.type == "int" and not self.step.is_integer():
                raise ValueError(f"an int range needs a whole step, not {self.step:g}")
            ends = (self.low / self.step, self.high / self.step)
            if any(abs(end - round(end)) > 1e-9 for end in ends):
                raise ValueError(
                    f"low and high ({self.low:g}, {self.high:g}) must be multiples of step ({self.step:g})"
                )
        return self


class Option(Section):
    """An option of a choice, with a space of hyperparameters that are searched only where the option is chosen."""

    value: Value
    space: dict[str, "Dimension"] = {}


class Choice(Section):
    """A hyperparameter that is drawn from several options."""

    type: Literal["choice"]
    options: list[Value | Option] = Field(min_length=2)


Dimension = Annotated[Range | Choice, Field(discriminator="type")]
Space: TypeAlias = Mapping[str, Range | Choice]


def hyperparameters(space: Space) -> list[str]:
    """The names of all hyperparameters of a space, including those in the spaces of options."""
    return list(dict.fromkeys(name for name, _ in _dimensions(space)))


def _dimensions(space: Space) -> Iterator[tuple[str, Range | Choice]]:
    """All dimensions of a space, those in the spaces of options too, each with the name of its hyperparameter."""
    for name, dimension in space.items():
        yield name, dimension
        for option in options_of(dimension):
            yield from _dimensions(option.space)


def _options(space: Space) -> Iterator[tuple[str, Value]]:
    """The options of all choices of a space, each with the name of its hyperparameter."""
    yield from ((name, option.value) for name, one in _dimensions(space) for option in options_of(one))


def options_of(dimension: Range | Choice) -> list[Option]:
    """The options of a choice, where a bare value becomes an option without a space; empty for a range."""
    if isinstance(dimension, Range):
        return []
    return [option if isinstance(option, Option) else Option(value=option) for option in dimension.options]


class Nested(Section):
    """An estimator in another one, or a step of a pipeline, by its import path."""

    estimator: Annotated[str, AfterValidator(import_path)]
    params: dict[str, "Param"] = {}


def _kind_of_param(value: Any) -> str:
    """Which kind of parameter a value is: this alone decides whose errors a user is told."""
    if isinstance(value, Nested):
        return "an estimator"
    if isinstance(value, dict) and (isinstance(value.get("estimator"), str) or "params" in value):
        return "an estimator"
    if isinstance(value, dict):
        return (
            "named estimators" if any(isinstance(one, dict | Nested) for one in value.values()) else "numbers by name"
        )
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        return "named estimators"  # as whose error the list is told to be a mapping
    return "a value"


Name = Annotated[str, BeforeValidator(str)]
Param = Annotated[
    Annotated[Value, Tag("a value")]
    | Annotated[Nested, Tag("an estimator")]
    | Annotated[dict[Name, Nested], Tag("named estimators")]
    | Annotated[dict[Name, float], Tag("numbers by name")],
    Discriminator(_kind_of_param),
]


class Transformer(Section):
    """A step between the encoded columns and the classifier: any transformer by its import path."""

    transformer: Annotated[str, AfterValidator(import_path)]
    params: dict[str, Param] = {}


def _named_transformer(value: Any) -> Any:
    return {"transformer": value} if isinstance(value, str) else value


# What a problem's models learn of dates, where it does not say.
DATES = ("days", "month", "weekday", "hour")


class Preprocessing(Section):
    """How columns become numbers; where a key is None, the kind of estimator decides."""

    categories: Literal["onehot", "ordinal", "target", "native"] | None = None
    numbers: Literal["standardize", "quantile", "as_is"] | None = None
    missing: Literal["impute", "keep"] | None = None
    dates: list[Literal["days", "year", "month", "day", "weekday", "hour", "differences"]] | None = Field(
        default=None,
        min_length=1,
        description="what is made of a date; differences: the days between each two of a row",
    )
    texts: dict[str, Annotated[int, Field(ge=1, le=300)]] = Field(
        default={}, description="column of texts: in how many numbers its words are summed up"
    )
    steps: list[Annotated[Transformer, BeforeValidator(_named_transformer)]] = Field(
        default=[], description="transformers of the encoded columns, one after the other"
    )


# What the space of a model calls what is searched of its preprocessing, beside the hyperparameters of its estimator.
OF_PREPROCESSING = "preprocessing."
SEARCHED_OF_PREPROCESSING = ("categories", "numbers", "missing")


def of_preprocessing(names: Iterable[str]) -> list[str]:
    """Those of a model's hyperparameters that are about its preprocessing."""
    return [name for name in names if name.startswith(OF_PREPROCESSING)]


def of_estimator(names: Iterable[str]) -> list[str]:
    """Those of a model's hyperparameters that are its estimator's."""
    return [name for name in names if not name.startswith(OF_PREPROCESSING)]


def _check_of_preprocessing(name: str, values: Sequence[Any]) -> None:
    """Raise ValueError unless these may be the values of a key of the preprocessing, by its name in a space."""
    key = name.removeprefix(OF_PREPROCESSING)
    if key not in SEARCHED_OF_PREPROCESSING:
        hint = nearest(key, SEARCHED_OF_PREPROCESSING)
        raise ValueError(f"of preprocessing only {', '.join(SEARCHED_OF_PREPROCESSING)} can be searched{hint}")
    kinds = get_args(Preprocessing.model_fields[key].annotation)
    allowed = [word for kind in kinds for word in get_args(kind)]
    for value in values:
        if value not in allowed:
            raise ValueError(f"{value!r} is none of {', '.join(allowed)}{nearest(str(value), allowed)}")


# The name of the candidate that is a blend of the others.
BLEND = "blend"
# The step that fits the winner on all rows, and the key that asks for it.
REFIT = "refit"
# Libraries whose estimators take classes, which a problem names by their import paths, in these parameters.
CLASSES = {"skorch": ("module", "criterion", "optimizer")}


def _paths(path: str, params: dict[str, Param]) -> Iterator[str]:
    """The import paths that an estimator or a transformer and those in it name."""
    yield path
    yield from _classes(path, params)
    for nested in _nested(params):
        yield from _paths(nested.estimator, nested.params)


def _classes(path: str, params: Mapping[str, Any]) -> Iterator[str]:
    """The import paths in those parameters of an estimator that are classes."""
    names = CLASSES.get(path.partition(".")[0], ())
    yield from (value for name, value in params.items() if name in names and isinstance(value, str))


def _nested(params: dict[str, Param]) -> list[Nested]:
    values = [inner for value in params.values() for inner in (value.values() if isinstance(value, dict) else [value])]
    return [value for value in values if isinstance(value, Nested)]


class Model(Section):
    """A candidate: any scikit-learn compatible class by its import path."""

    estimator: Annotated[str, AfterValidator(import_path)]
    params: dict[str, Param] = {}
    preprocessing: Preprocessing = Preprocessing()
    space: dict[str, Dimension] = {}
    start: list[dict[str, Value]] = Field(default=[], description="points that the search tries after the model's own")
    wide: dict[str, Value] = Field(
        default={},
        description="for a wide table: parameters that take the place of those above, or the most that is searched",
    )
    rows: int | None = Field(
        default=None, ge=100, description="the most rows that a fit learns from, a sample of them; None: all"
    )
    seeds: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="of LightGBM: how many fits with different seeds the model is the mean of; left out: one, and of "
        "what is searched in a chain with a timeout as many as there is time for",
    )
    required: bool = Field(default=False, description="whether the chain fails where this candidate does")

    def paths(self) -> list[str]:
        """The import paths of its class, of the steps before it, and of all that parameters name, searched or not."""
        named = _paths(self.estimator, self.params)
        steps = (_paths(step.transformer, step.params) for step in self.preprocessing.steps)
        points = [*self.start, *({name: value} for name, value in _options(self.space))]
        searched = (_classes(self.estimator, point) for point in points)
        return list(dict.fromkeys(itertools.chain(named, *steps, *searched)))

    def innermost(self) -> list[str]:
        """The import paths of the estimators that hold no other: its own, where nothing is nested in it."""

        def below(one: "Model | Nested") -> Iterator[str]:
            nested = _nested(one.params)
            if not nested:
                yield one.estimator
            for inner in nested:
                yield from below(inner)

        return list(below(self))

    @model_validator(mode="after")
    def _mappings_have_a_meaning(self) -> Self:
        _check_mappings(self)
        return self

    @model_validator(mode="after")
    def _seeds_are_of_trees(self) -> Self:
        if self.seeds is not None and self.seeds > 1 and not is_shared(self.estimator):
            raise ValueError("seeds: only LightGBM's models are the mean of several fits: leave it out")
        return self

    @model_validator(mode="before")
    @classmethod
    def _default_space(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("space") != "default":
            return values
        estimator = values.get("estimator")
        usual = SPACES.get(estimator) if isinstance(estimator, str) else None
        if usual is None:
            raise ValueError(f"space: there is no default for {estimator}, only for {', '.join(SPACES)}: write one")
        given = values.get("params", {})
        params = {**usual["params"], **given} if isinstance(given, dict) else given
        # hyperparameters that the problem fixes are not searched
        fixed = {*params, *(f"{OF_PREPROCESSING}{key}" for key in values.get("preprocessing") or ())}
        space = {name: dimension for name, dimension in usual["space"].items() if name not in fixed}
        start = [{name: point[name] for name in space} for point in usual["start"]]
        wide = {name: value for name, value in usual.get("wide", {}).items() if name not in _said(values)}
        beside = {name: usual[name] for name in ("preprocessing",) if name in usual}
        return {"start": start, "wide": wide, **beside, **values, "params": params, "space": space}

    @model_validator(mode="after")
    def _preprocessing_is_chosen(self) -> Self:
        for name in of_preprocessing(self.params):
            key = name.removeprefix(OF_PREPROCESSING)
            raise ValueError(f"params.{name}: it is none of the estimator's: say it as `preprocessing: {{{key}: …}}`")
        points = [(f"start.{name}", name, [point[name]]) for point in self.start for name in of_preprocessing(point)]
        for name, dimension in _dimensions(self.space):
            if not name.startswith(OF_PREPROCESSING):
                continue
            if isinstance(dimension, Range):
                raise ValueError(f"space.{name}: it is chosen among words: its type is choice")
            points.append((f"space.{name}", name, [option.value for option in options_of(dimension)]))
        for key, name, values in points:
            try:
                _check_of_preprocessing(name, values)
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
        return self

    def treatments(self) -> list[dict[str, str]]:
        """What its preprocessing may be in a search, by the names in the space; an empty one where nothing is searched.

        The choices of the space and of the points to start from are combined with each other.
        """
        values: dict[str, dict[Any, None]] = {}
        for name, value in (*_options(self.space), *(pair for point in self.start for pair in point.items())):
            if name.startswith(OF_PREPROCESSING):
                values.setdefault(name, {})[value] = None
        return [dict(zip(values, combined, strict=True)) for combined in itertools.product(*values.values())]

    def treated(self, params: Mapping[str, Any]) -> "Model":
        """The model with the preprocessing that hyperparameters say."""
        said = {name.removeprefix(OF_PREPROCESSING): params[name] for name in of_preprocessing(params)}
        return self.model_copy(update={"preprocessing": self.preprocessing.model_copy(update=said)}) if said else self

    @model_validator(mode="after")
    def _wide_leaves_a_range(self) -> Self:
        for name, most in self.wide.items():
            dimension = self.space.get(name)
            if dimension is None:
                continue
            number = most if isinstance(most, int | float) and not isinstance(most, bool) else -math.inf
            if not (isinstance(dimension, Range) and number > dimension.low):
                raise ValueError(f"wide.{name}: {most!r} is to be the most that is searched: a number above its low")
        return self


def _said(model: Mapping[str, Any]) -> set[str]:
    """The hyperparameters that a problem gives a model itself, in `params` or as points to start from."""
    parts = [model.get("params"), *(start if isinstance(start := model.get("start"), list) else [])]
    return {name for part in parts if isinstance(part, dict) for name in part}


def _check_mappings(one: Model | Nested) -> None:
    for name, value in one.params.items():
        if (
            isinstance(value, dict)
            and name not in (*WEIGHTS, *CONSTRAINTS)
            and _kind_of_param(value) == "numbers by name"
        ):
            raise ValueError(
                f"params.{name}: only class_weight can be a mapping, of classes to their weights, or "
                "monotone_constraints, of columns to 1 or -1; an estimator is {estimator: its.import.Path, params: {…}}"
            )
    for nested in _nested(one.params):
        _check_mappings(nested)


# The most trials of a search that the chain's seconds are to end, where the problem says nothing else.
MOST_TRIALS = 200


class Search(Section):
    """The search: the metric that it optimises, its length, and the folds."""

    metric: MetricName = Field(description="left out: roc_auc, or rmse of a number")
    trials: int = Field(default=20, ge=1)
    timeout: float | None = Field(default=None, gt=0, description="seconds for each model's search; None: no limit")
    folds: int = Field(default=5, ge=2)
    threshold: Threshold = Field(
        default=DEFAULT_THRESHOLD,
        description="of two classes, from which probability on the positive one is the label, or the metric of labels "
        "that it is tuned for on the folds",
    )
    calibrate: Literal["auto", "sigmoid", "isotonic", "none"] = Field(
        default="auto",
        description="of classes, how probabilities are mended by what the folds tell of them; auto: by what lowers the "
        "cross-validated log loss",
    )
    max_pending: int = Field(
        default=4,
        ge=1,
        le=100,
        validation_alias=AliasChoices("max_pending", "lag"),
        description="how many trials may be under way at once; 1: one by one",
    )


class Evaluation(Section):
    """What the evaluation shows for each candidate, beside its metrics on the holdout."""

    slices: list[str] = Field(
        default=[], description="columns: the metrics of each category, or quarter of a number's range, are shown"
    )
    coverage: float = Field(
        default=0.9, ge=0.01, le=0.999, description="of a number to predict: how often its interval holds the truth"
    )
    ties: Literal["score", "smaller"] = Field(
        default="score", description="of candidates within a standard error of the best, which one wins"
    )


class Limits(Section):
    """The bounds of a metric on some rows."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _one_at_least(self) -> Self:
        if self.model_dump(exclude_none=True) == {}:
            raise ValueError("needs a min or a max")
        return self


class Bound(Limits):
    """The bounds of a metric on all rows and on those of each slice."""

    in_each_slice: Limits | None = None


class OrEqual(Section):
    """The tie-break for a challenger that is as good as the champion."""

    within: float = Field(gt=0, description="it is as good if it is, with the confidence, worse by no more than this")
    tie_break: Literal["faster", "smaller"]


class BeatChampion(Section):
    """The challenger must be better than today's champion, on the same holdout rows, with this confidence."""

    metric: MetricName = Field(description="left out: the metric of the search")
    confidence: float = Field(default=0.95, gt=0, lt=1)
    or_equal: OrEqual | None = None


class Gate(Section):
    """The requirements that a model must meet to become the champion."""

    require: dict[MetricName, Bound] = {}
    beat_prior: bool = Field(
        description="whether it must be better than what no column tells; left out: where nothing else is required"
    )
    beat_champion: BeatChampion


class Drop(Section):
    """How far a model may fall behind what it scored on the holdout, once the truth of later rows is known."""

    metric: MetricName = Field(description="left out: the metric of the search")
    most: float = Field(
        default=0.1, ge=0, allow_inf_nan=False, description="the share by which its distance from a perfect score grows"
    )
    confidence: float = Field(default=0.99, gt=0.5, lt=1)


class Shifts(Section):
    """From which population stability index on a shift is told; None: no shift of these is."""

    inputs: float | None = Field(default=0.25, gt=0)
    scores: float | None = Field(default=0.25, gt=0)
    expected: list[str] = Field(default=[], description="columns that move as time does, and do not count")


class Monitor(Section):
    """What `monitor` asks of a model, of rows whose truth is known by now."""

    require: dict[MetricName, Bound] = Field(description="left out: what the gate requires")
    drop: Drop
    shift: Shifts = Shifts()
    rows: int = Field(default=100, ge=2, description="with fewer rows nothing is said but to watch")


class Registry(Section):
    """The registered model and the alias of the champion."""

    name: str = Field(min_length=1, max_length=250, pattern=r"^[^/:]+$")
    alias: Annotated[str, AfterValidator(alias_name)] = "champion"
    stages: bool = Field(default=False, description="move MLflow's stages along, for registries that still use them")


class Tracking(Section):
    """What a chain leaves in MLflow beside what its steps read of each other; nothing of it changes what is learnt."""

    description: str = Field(default="", max_length=5000, description="of the experiment, as MLflow's UI shows it")
    tags: dict[TagName, Annotated[str, Field(max_length=5000)]] = Field(default={}, description="of the experiment")
    run_name: str = Field(
        default="", max_length=250, description="of main's run; left out: main and the problem's name"
    )
    models: Literal["all", "winner", "none"] = Field(
        default="all", description="which are logged models of MLflow; the others are artifacts of their runs"
    )
    largest_model: Annotated[int, BeforeValidator(_size), Field(ge=1)] | None = Field(
        default=None,
        description="bytes, or a text such as 500 MB: of a model with more the store has no files, and it is not "
        "registered; None: no limit",
    )
    input_example: bool = Field(default=True, description="whether a logged model holds rows that it learnt from")
    pictures: bool = Field(default=True, description="whether evaluate, predict and monitor draw")
    trials: Annotated[str, BeforeValidator(_trials)] = Field(
        default="all", description="which trials of a search are runs, `best 5` or none; the table has them all"
    )
    registry_uri: Annotated[str, AfterValidator(_registry_uri)] | None = Field(
        default=None, description="the registry's address; left out: MLFLOW_REGISTRY_URI, else the tracking store's"
    )

    @property
    def most_trials(self) -> int | None:
        """The most trials of a search that become runs once it has ended; None: each one does when it ends."""
        if self.trials == "all":
            return None
        return 0 if self.trials == "none" else int(self.trials.removeprefix("best "))


class Problem(Section):
    """A whole prediction problem, as in `problems/*.yaml`."""

    name: str = Field(max_length=200, pattern=r"^[\w.-]+$")
    description: str = ""
    task: Literal["classification", "regression"] | None = Field(
        default=None, description="left out: what the rest of the problem implies, else what the target looks like"
    )
    seed: int = Field(default=0, ge=0, lt=2**31)
    timeout: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="seconds for the whole chain; None: no limit"
    )
    data: Data
    split: Split = Split()
    models: dict[Annotated[str, Field(pattern=r"^[A-Za-z]\w*$")], Model] = Field(min_length=1)
    blend: bool = Field(default=True, description="whether a blend of the models is one more candidate")
    search: Search
    evaluation: Evaluation = Evaluation()
    ranks: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="how many processes learn each final LightGBM model together (docs/scale.md)",
    )
    refit: bool = Field(
        default=True, description="whether the model that is registered learns from the holdout too, once it is judged"
    )
    gate: Gate
    monitor: Monitor
    registry: Registry
    tracking: Tracking = Tracking()
    tags: dict[TagName, str] = {}

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            raise ValueError(f"a problem is a mapping of sections ({', '.join(cls.model_fields)})")
        task = _task(values)
        known = {} if task is None else {"task": task}
        task = task or CLASSIFICATION
        filled = {"registry": {}, "search": {}, **values, **known, "models": _models(values, task)}
        if isinstance(filled["registry"], dict):
            kind = "regressor" if task == REGRESSION else "classifier"
            filled["registry"] = {"name": f"{values.get('name')}_{kind}", **filled["registry"]}
        if isinstance(filled["search"], dict):
            timed = {} if values.get("timeout") is None else {"trials": MOST_TRIALS}
            filled["search"] = {"metric": lookup.DEFAULT[task], **timed, **filled["search"]}
        filled["models"] = _with_dates(filled["models"])
        filled["gate"] = _gate(filled.get("gate", {}), filled["search"])
        filled["monitor"] = _monitor(filled.get("monitor", {}), filled["gate"], filled["search"])
        return filled

    @model_validator(mode="after")
    def _of_one_task(self) -> Self:
        task = self.task or CLASSIFICATION
        for key, name in _metrics_named(self):
            of = lookup.task_of(name)
            if of != task:
                raise ValueError(
                    f"{key}: {name} is a metric of {of}, and the task is {task}: take another one, such as "
                    f"{lookup.DEFAULT[task]}"
                )
        if self.search.metric.startswith("interval_"):
            raise ValueError(f"search.metric: {self.search.metric} is of the final model's intervals: take another one")
        compared = {"gate.beat_champion": self.gate.beat_champion.metric, "monitor.drop": self.monitor.drop.metric}
        for key, name in {"search": self.search.metric, **compared}.items():
            if name == CALIBRATION_ERROR:
                raise ValueError(
                    f"{key}.metric: a model that knows nothing can have a {CALIBRATION_ERROR} of 0: take another one, "
                    "such as log_loss, and require this one of the gate"
                )
        for key, given in _of_other_task(self, task):
            if given:
                raise ValueError(f"{key}: the task is {task}, for which it has no meaning: leave it out")
        return self

    @model_validator(mode="after")
    def _positive_is_a_class(self) -> Self:
        classes, positive = self.data.classes, self.data.positive
        made = {None if self.data.rare is None else self.data.rare.into}
        if classes is not None and positive is not None and positive not in {*classes, *made}:
            hint = YAML_BOOLEANS if isinstance(positive, bool) else ""
            raise ValueError(f"data.positive: {positive!r} is none of data.classes ({', '.join(classes)}){hint}")
        return self

    @model_validator(mode="after")
    def _weight_is_not_the_target(self) -> Self:
        if self.data.weight == self.data.target:
            raise ValueError(f"data.weight: {self.data.weight!r} is the target: name the column of the rows' weights")
        return self

    @model_validator(mode="after")
    def _ranks_have_something_to_learn(self) -> Self:
        if self.ranks > 1 and not any(is_shared(model.estimator) for model in self.models.values()):
            raise ValueError("ranks: several processes can learn LightGBM alone, and no model is of it: leave it out")
        return self

    @model_validator(mode="after")
    def _models_are_told_apart(self) -> Self:
        # metrics and files have the names of models, and some databases and disks ignore case
        first: dict[str, str] = {}
        for name in self.models:
            other = first.setdefault(unicodedata.normalize("NFKC", name).casefold(), name)
            if other != name:
                raise ValueError(f"models: {other!r} and {name!r} differ in case only: rename one")
        if BLEND in first and self.is_blended:
            raise ValueError(f"models.{first[BLEND]}: the blend of the others has that name: rename it")
        return self

    @property
    def is_blended(self) -> bool:
        """Whether there is a blend among the candidates."""
        return self.blend and len(self.models) > 1

    @model_validator(mode="after")
    def _slices_to_judge(self) -> Self:
        required = [(f"gate.require.{name}", bound) for name, bound in self.gate.require.items()]
        required += [(f"monitor.require.{name}", bound) for name, bound in self.monitor.require.items()]
        for key, bound in required:
            if bound.in_each_slice is not None and not self.evaluation.slices:
                raise ValueError(f"{key}.in_each_slice: there are no slices; name columns in evaluation.slices")
        return self

    def to_yaml(self) -> str:
        """The problem with its defaults filled in, as YAML that `read` accepts.

        The section tracking is left out where it says nothing else than by default: a frozen problem, and its digest,
        is the same as it was before there was this section. So is its largest_model, which is younger than the section.
        """
        usual: dict[str, Any] = {}
        if self.tracking == Tracking():
            usual = {"tracking": True}
        elif self.tracking.largest_model is None:
            usual = {"tracking": {"largest_model"}}
        values = self.model_dump(mode="json", exclude=usual)
        return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)


def _with_dates(models: Any) -> Any:
    """Models with what they learn of dates, where a problem leaves that open.

    A value of the wrong type is left to the validation.
    """
    if not isinstance(models, Mapping):
        return models
    made = dict(models)
    for name, model in models.items():
        how = model.get("preprocessing", {}) if isinstance(model, Mapping) else None
        if isinstance(how, dict) and how.get("dates") is None:
            made[name] = {**model, "preprocessing": {**how, "dates": list(DATES)}}
    return made


def _metrics_named(problem: Problem) -> Iterator[tuple[str, str]]:
    """The metrics that a problem names, each with its key."""
    yield "search.metric", problem.search.metric
    yield "gate.beat_champion.metric", problem.gate.beat_champion.metric
    yield from ((f"gate.require.{name}", name) for name in problem.gate.require)
    yield "monitor.drop.metric", problem.monitor.drop.metric
    yield from ((f"monitor.require.{name}", name) for name in problem.monitor.require)


def _of_other_task(problem: Problem, task: str) -> Iterator[tuple[str, bool]]:
    """The keys that have a meaning for the other task only, and whether they are given."""
    data = problem.data
    if task == REGRESSION:
        yield from ((f"data.{key}", getattr(data, key) is not None) for key in OF_CLASSES)
        yield "search.threshold", problem.search.threshold != DEFAULT_THRESHOLD
        yield "search.calibrate", problem.search.calibrate != "auto"
    else:
        yield "data.target_transform", data.target_transform != "none"
        yield "evaluation.coverage", problem.evaluation.coverage != Evaluation().coverage


def _models(values: Mapping[str, Any], task: str) -> Any:
    """The models of a problem: those of the preset that it names or takes by default, else what it gives.

    A value of the wrong type is left to the validation.
    """
    given = values.get("models", "default")
    if not isinstance(given, str):
        return given
    if given not in PRESETS:
        known = f"a preset ({', '.join(PRESETS)}) or a mapping of names to models is needed"
        raise ValueError(f"models: {given!r} is not known{nearest(given, PRESETS)}: {known}")
    return PRESETS[given].get(task, {})


# The keys of data that are about classes.
OF_CLASSES = ("positive", "classes", "rare")
# Those of search.
OF_LABELS = {"threshold", "calibrate"}


def _task(values: Mapping[str, Any]) -> Any:
    """The task that values of a problem name, or that other keys imply; None where none does.

    A value of the wrong type is left to the validation.
    """
    if values.get("task") is not None:
        return values["task"] if values["task"] in (CLASSIFICATION, REGRESSION) else None
    names = ("data", "search", "evaluation", "gate")
    sections = {name: values[name] if isinstance(values.get(name), dict) else {} for name in names}
    if any(sections["data"].get(key) is not None for key in OF_CLASSES) or OF_LABELS & sections["search"].keys():
        return CLASSIFICATION
    if sections["data"].get("target_transform", "none") != "none" or "coverage" in sections["evaluation"]:
        return REGRESSION
    rule = sections["gate"].get("beat_champion")
    required = sections["gate"].get("require")
    named = [sections["search"].get("metric"), rule.get("metric") if isinstance(rule, dict) else None]
    named += list(required) if isinstance(required, dict) else []
    models = values["models"].values() if isinstance(values.get("models"), dict) else []
    paths = [model.get("estimator") for model in models if isinstance(model, dict)]
    implied = [lookup.task_of(name) for name in named if isinstance(name, str)]
    implied += [task for path in paths if isinstance(path, str) for task in _of_class(path)]
    return implied[0] if implied else None


def _of_class(path: str) -> list[lookup.Task]:
    """The task that the name of an estimator's class tells, in a list that is empty where it tells none."""
    name = path.rpartition(".")[2]
    if path in SPACES_OF_NUMBERS or name.endswith("Regressor"):
        return [REGRESSION]
    return [CLASSIFICATION] if path in SPACES_OF_CLASSES or name.endswith("Classifier") else []


def _gate(gate: Any, search: Any) -> Any:
    """The gate, with its defaults: the metric of the search, and a floor where nothing is required.

    A value of the wrong type is left to the validation.
    """
    if not isinstance(gate, dict):
        return gate
    gate = {"beat_prior": not gate.get("require"), **gate}
    return {**gate, "beat_champion": _by_metric_of_search(gate.get("beat_champion", {}), search)}


def _monitor(monitor: Any, gate: Any, search: Any) -> Any:
    """The section monitor, with its defaults: what the gate requires, and the metric of the search.

    A value of the wrong type is left to the validation.
    """
    if not isinstance(monitor, dict):
        return monitor
    required = gate.get("require", {}) if isinstance(gate, dict) else {}
    return {"require": required, **monitor, "drop": _by_metric_of_search(monitor.get("drop", {}), search)}


def _by_metric_of_search(rule: Any, search: Any) -> Any:
    """A rule with the metric of the search, where it names none."""
    if not isinstance(rule, dict):
        return rule
    metric = rule.get("metric")
    if metric is None and isinstance(search, dict):
        metric = search["metric"]
    return {**rule, "metric": metric}


def read(path: Path, overrides: Mapping[str, Any] | None = None) -> Problem:
    """Read a problem's YAML.

    Parameters
    ----------
    path
        The file.
    overrides
        Values from the command line that replace those of the file: dotted path in the problem: value, such as
        {"search.trials": 3}.

    Raises
    ------
    UserError
        Where the file does not exist, is not YAML, or is not a valid problem. The error names the file, the key and the
        value.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such problem file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a problem's YAML ({error})") from None
    return parse(text, str(path), overrides)


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, but with an error for repeated keys, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping, and raise an error for a key that appears twice."""
        keys = [key.value for key, _ in node.value]
        for key, _ in reversed(node.value):
            if keys.count(key.value) > 1 and key.tag != "tag:yaml.org,2002:merge":
                twice = f"the key {key.value!r} stands twice"
                raise yaml.constructor.ConstructorError(problem=twice, problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)


def parse(text: str, origin: str, overrides: Mapping[str, Any] | None = None) -> Problem:
    """Read a problem from YAML text, as `read` does from a file; errors call the text `origin`."""
    try:
        values = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        raise UserError(f"{origin}:{line} not valid YAML ({getattr(error, 'problem', error)})") from None
    if isinstance(values, dict):
        for key, value in (overrides or {}).items():
            _set(values, key.split("."), value)
    return build(values, origin)


def build(values: Any, origin: str) -> Problem:
    """Validate plain values as a problem.

    Raises
    ------
    UserError
        Where the values are not a valid problem. The error names `origin`, the key and the value.

    """
    try:
        return Problem.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{origin}: {_first_fault(error, values)}") from None


def slug(text: str) -> str:
    """Make the name of a problem from the name of a file: `My table (2)` gives `My_table_2`."""
    # pydantic's \w matches letters and decimal digits, but not all that Python's \w matches, such as the fraction ¼
    kept = "".join(c if c.isalpha() or c.isdecimal() or c in "_.-" else " " for c in text)
    return re.sub(r"[ _]+", "_", kept).strip("_.") or "table"


def _set(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    *sections, key = path
    for section in sections:
        nested = values.setdefault(section, {})
        if not isinstance(nested, dict):
            return  # not a section: the validation raises the error
        values = nested
    values[key] = value


# Plain messages for those of pydantic that use the words of Python.
_MESSAGES = {
    "model_type": "must be a mapping of keys",
    "model_attributes_type": "must be a mapping of keys",
    "dict_type": "must be a mapping of keys",
    "list_type": "must be a list",
    "bool_type": "must be true or false",
    "union_tag_invalid": "its type must be int, float or choice",
    "union_tag_not_found": "needs a type: int, float or choice",
}


def _first_fault(error: ValidationError, values: Any) -> str:
    """The first of pydantic's errors on these values as one line: the key, what is wrong, and the value."""
    faults = error.errors(include_url=False)
    # a misspelt key gives two errors, "unknown" and "missing": the first names the word to correct
    fault = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
    # pydantic adds the branch of a union that it tried, which is no key of the YAML
    branches = {"str", "int", "float", "bool", "DateParts", "choice", "function-before", "[key]", SHORT, FULL}
    branches |= {"a value", "an estimator", "named estimators", "numbers by name"}
    key = ".".join(str(part) for part in fault["loc"] if str(part) not in branches)
    prefix = f"{key}: " if key else ""
    if fault["type"] == "extra_forbidden":
        elsewhere = _place_of(key)
        return f"unknown key {key!r}{elsewhere or nearest(key.split('.')[-1], _keys(fault['loc'][:-1]))}"
    if fault["type"] == "missing":
        return f"{key} is missing{_estimator_to_write(key, values)}"
    message = _MESSAGES.get(fault["type"]) or fault["msg"].removeprefix("Value error, ")
    if len(faults) > 1 and fault["loc"][-1] == "bool":  # the key is a union of scalars, of which bool is the first
        message = "must be a number, a text, true or false"
    message = message[0].lower() + message[1:]
    if fault["type"] == "string_type" and isinstance(fault["input"], bool):
        return f"{prefix}{message}, not {fault['input']!r}{YAML_BOOLEANS}"
    shown = repr(fault["input"])
    if fault["type"] == "value_error" or len(shown) > 100:
        return f"{prefix}{message}"
    return f"{prefix}{message}, not {shown}"


def _place_of(key: str) -> str:
    """The end of an error about an unknown key at the top, which says to which section it belongs; else ""."""
    if key in Model.model_fields:
        return f": it is a key of each model, models.NAME.{key}"
    sections = [(name, field.annotation) for name, field in Problem.model_fields.items()]
    places = [f"{name}.{key}" for name, section in sections if key in getattr(section, "model_fields", {})]
    return f": it is a key of a section, {' or '.join(places)}" if places else ""


def _estimator_to_write(key: str, values: Any) -> str:
    """The end of an error about a missing key that is an estimator, which says what to write; else ""."""
    if not key.startswith("models.") or not key.endswith(".estimator"):
        return ""
    name = key.removeprefix("models.").removesuffix(".estimator")
    usual = {task: models.get(name, {}) for task, models in PRESETS["default"].items()}
    task = _task(values) if isinstance(values, dict) else None
    known = [usual[task]] if task in usual else list(usual.values())
    paths = list(dict.fromkeys(model["estimator"] for model in known if model))
    if not paths:
        return ": write the import path of a class, such as estimator: lightgbm.LGBMClassifier"
    searched = "; space: default lets it be searched" if any(model.get("space") == "default" for model in known) else ""
    return f": models that are named replace the default ones, so write estimator: {' or '.join(paths)}{searched}"


def _keys(path: Sequence[int | str]) -> list[str]:
    """The valid keys of the section at `path`."""
    section: Any = Problem
    for part in path:
        field = getattr(section, "model_fields", {}).get(part)
        if part == "features":
            section = OwnFeatures
        elif field is not None:
            section = field.annotation
        elif part == FULL:
            section = Typed if "types" in path else Missing
        elif FULL in path:
            section = MissingInColumn
        elif section is Preprocessing or section is Transformer:
            section = Transformer
        elif "models" in path:
            section = Model
    known = list(getattr(section, "model_fields", {}))
    return known or [key for part in (Range, Choice, Model, DateParts) for key in part.model_fields]
