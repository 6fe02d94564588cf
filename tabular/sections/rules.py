"""The sections of a problem about the search, the verdict, the registry and what is tracked."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, model_validator

from tabular import addresses
from tabular.errors import UserError
from tabular.metrics import lookup
from tabular.metrics.classification import DEFAULT_THRESHOLD, is_of_labels
from tabular.sections.base import Section


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


MetricName = Annotated[str, AfterValidator(_metric_name)]
Threshold = Annotated[float | str, BeforeValidator(_threshold)]
TagName = Annotated[str, AfterValidator(_tag_name)]


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

    require: dict[MetricName, Bound] = Field(default={})
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
