"""The models of a problem: estimators, what comes before them, and the spaces in which they are searched."""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeAlias, get_args

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from tabular.defaults import SPACES
from tabular.errors import nearest
from tabular.sections.base import Section

Scalar = bool | int | float | str | None
Value = Scalar | list[Scalar | list[Scalar]]
# How the import paths of estimators begin that several processes can learn together.
SHARED = "lightgbm."
# The keys of a model that say what becomes of the chain where it fails, and change no fit.
OF_CHAINS = ("required",)
# Parameters that may be mappings: of the target's classes to weights, and of columns to directions.
WEIGHTS = ("class_weight", "class_weights")
CONSTRAINTS = ("monotone_constraints", "monotonic_cst")
# Libraries whose estimators take classes, which a problem names by their import paths, in these parameters.
CLASSES = {"skorch": ("module", "criterion", "optimizer")}


def is_shared(estimator: str) -> bool:
    """Whether an estimator, by its import path, can be learnt by several ranks."""
    return estimator.startswith(SHARED)


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
    space: dict[str, "Dimension"] = Field(default={})


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
    params: dict[str, "Param"] = Field(default={})


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
    params: dict[str, Param] = Field(default={})


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
    params: dict[str, Param] = Field(default={})
    preprocessing: Preprocessing = Preprocessing()
    space: dict[str, Dimension] = Field(default={})
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
