"""A prediction problem: one YAML file of ten sections, validated before anything runs.

Unknown keys are errors, and defaults are filled in. A `Problem` is plain data: it can be written as YAML, from which
the same problem is read again.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from tabular.defaults import PRESETS, SPACES_OF_CLASSES, SPACES_OF_NUMBERS
from tabular.errors import UserError, nearest
from tabular.metrics import lookup
from tabular.metrics.classification import CALIBRATION_ERROR, DEFAULT_THRESHOLD
from tabular.metrics.lookup import CLASSIFICATION, REGRESSION
from tabular.sections.base import YAML_BOOLEANS, Section
from tabular.sections.models import DATES, Choice, Model, Preprocessing, Range, Transformer, is_shared
from tabular.sections.rules import Evaluation, Gate, Monitor, Registry, Search, TagName, Tracking
from tabular.sections.table import FULL, SHORT, Data, DateParts, Missing, MissingInColumn, OwnFeatures, Split, Typed

# The name of the candidate that is a blend of the others.
BLEND = "blend"
# The step that fits the winner on all rows, and the key that asks for it.
REFIT = "refit"
# The most trials of a search that the chain's seconds are to end, where the problem says nothing else.
MOST_TRIALS = 200


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
    tags: dict[TagName, str] = Field(default={})

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
