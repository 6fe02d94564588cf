"""Problems: what is written is what is read, and what is wrong is one line that names file, key and value."""

from collections.abc import Hashable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular import problem as problems
from tabular.errors import UserError
from tabular.metrics.classification import METRICS
from tabular.problem import Problem, build, parse, read
from tabular.sections.base import Section
from tabular.sections.models import Model
from tabular.sections.rules import (
    BeatChampion,
    Bound,
    Drop,
    Evaluation,
    Gate,
    Monitor,
    OrEqual,
    Registry,
    Search,
    Shifts,
    Tracking,
)
from tabular.sections.table import Data, Split

SHIPPED = sorted((Path(__file__).resolve().parents[2] / "problems").glob("*.yaml"))
SMALLEST: dict[str, Any] = {"name": "small", "data": {"source": "a.csv", "target": "y"}}
REGISTRY = {"registry": {"name": "small_classifier"}}

names = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
identifiers = st.from_regex(r"\A[A-Za-z][A-Za-z0-9_]{0,8}\Z")
finite = st.floats(-1e6, 1e6, allow_nan=False)
labels = st.booleans() | st.integers(-1000, 1000) | finite | names
scalars = st.none() | labels
ranges = st.builds(
    lambda kind, low, width, log: {"type": kind.__name__, "low": kind(low), "high": kind(low + width), "log": log},
    st.sampled_from([int, float]),
    st.floats(1, 1e3),
    st.floats(1, 1e3),
    st.booleans(),
)
choices = st.builds(lambda options: {"type": "choice", "options": options}, st.lists(scalars, min_size=2, max_size=4))
models = st.fixed_dictionaries(
    {"estimator": st.sampled_from(["lightgbm.LGBMClassifier", "sklearn.svm.SVC", "a.b.C"])},
    optional={
        "params": st.dictionaries(identifiers, scalars, max_size=3),
        "space": st.dictionaries(identifiers, ranges | choices, max_size=3),
        "wide": st.dictionaries(st.sampled_from(["max_bin", "a__b"]), scalars, max_size=2),
        "preprocessing": st.fixed_dictionaries({}, optional={"missing": st.sampled_from(["impute", "keep", None])}),
    },
)
splits = st.one_of(
    st.just({}),
    st.builds(lambda by, column: {"by": by, "column": column}, st.sampled_from(["time", "group"]), names),
    st.builds(lambda a, b, c: {"by": "time", "column": {"year": a, "month": b, "day": c}}, names, names, names),
)
types = st.sampled_from(["number", "category", "date", "boolean"]) | st.fixed_dictionaries(
    {"type": st.sampled_from(["number", "date", "boolean"])},
    optional={"errors": st.sampled_from(["refuse", "missing"])},
)


def missing(column: str, word: str, other: str) -> dict[str, Any]:
    """The words that mean missing, in full."""
    return {"add": [f"{word}+"], "keep": [word], "columns": {column: {"add": [other], "keep": [f"{other}-"]}}}


bounds = st.one_of(st.builds(lambda x: {"min": x}, finite), st.builds(lambda x: {"max": x}, finite))
drawn = st.fixed_dictionaries(
    {
        "name": identifiers,
        "data": st.fixed_dictionaries(
            {"source": names, "target": names},
            optional={
                "positive": labels,
                "drop": st.dictionaries(names, names, max_size=3),
                "duplicates": st.sampled_from(["keep", "drop"]),
                "types": st.dictionaries(names, types, max_size=3),
                "columns": st.lists(names, max_size=3),
                "missing": st.lists(names, max_size=2) | st.builds(missing, names, names, names),
                "escape": st.sampled_from(["backslash", "double"]),
            },
        ),
    },
    optional={
        "description": names,
        "seed": st.integers(0, 2**31 - 1),
        "split": splits,
        "models": st.dictionaries(identifiers, models, min_size=1, max_size=3).filter(
            lambda found: len({name.casefold() for name in found}) == len(found)
        ),
        "search": st.fixed_dictionaries({}, optional={"metric": st.sampled_from(list(METRICS)), "timeout": st.none()}),
        "gate": st.fixed_dictionaries({"require": st.dictionaries(st.sampled_from(list(METRICS)), bounds, max_size=3)}),
        "tags": st.dictionaries(identifiers, names, max_size=3),
    },
)


def refused(values: Any, path: str = "mine.yaml", **overrides: Any) -> str:
    with pytest.raises(UserError) as caught:
        parse(values if isinstance(values, str) else yaml.safe_dump(values), path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}:")
    return message


def with_(path: str, value: Any) -> dict[str, Any]:
    """The smallest problem with one value set in it."""
    values = yaml.safe_load(yaml.safe_dump(SMALLEST))
    *sections, key = path.split(".")
    place = values
    for section in sections:
        place = place.setdefault(section, {})
    place[key] = value
    return values


@given(drawn)
def test_a_problem_is_what_its_own_yaml_describes(values: dict[str, Any]) -> None:
    problem = build(values, "drawn")
    # with the metrics of classes filled in, it is one of classes
    settled = problem.model_copy(update={"task": problem.task or "classification"})
    assert parse(problem.to_yaml(), "again") == settled


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_each_shipped_problem_is_what_its_own_yaml_describes(path: Path) -> None:
    problem = read(path)
    assert parse(problem.to_yaml(), "again") == problem


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_each_shipped_problem_is_named_as_its_file(path: Path) -> None:
    assert read(path).name == path.stem


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_yaml_of_a_problem_that_asks_for_no_tracking_says_nothing_of_it(path: Path) -> None:
    problem = read(path)
    assert "tracking" not in yaml.safe_load(problem.to_yaml())
    written_out = problem.model_copy(update={"tracking": Tracking(trials="all")})
    assert written_out.to_yaml() == problem.to_yaml()


def test_what_a_problem_asks_of_tracking_is_in_its_yaml() -> None:
    problem = build({**SMALLEST, "tracking": {"trials": "best 3"}}, "here")
    assert parse(problem.to_yaml(), "again").tracking == Tracking(trials="best 3")


@pytest.mark.parametrize(("trials", "most"), [("all", None), ("best 12", 12), ("none", 0)])
def test_as_many_trials_become_runs_as_are_asked_for(trials: str, most: int | None) -> None:
    assert build(with_("tracking.trials", trials), "here").tracking.most_trials == most


@pytest.mark.parametrize(
    ("written", "size"), [(500, 500), ("500", 500), ("1.5 kB", 1500), ("20MB", 20_000_000), ("2 GB", 2 * 10**9)]
)
def test_the_largest_model_is_said_in_bytes_or_with_a_unit(written: object, size: int) -> None:
    assert build(with_("tracking.largest_model", written), "here").tracking.largest_model == size


def test_a_problem_that_does_not_limit_its_models_has_the_yaml_that_it_had() -> None:
    problem = build(with_("tracking.models", "winner"), "here")
    assert "largest_model" not in problem.to_yaml()
    limited = build(with_("tracking.largest_model", "1 MB"), "here")
    assert parse(limited.to_yaml(), "again").tracking == Tracking(largest_model=1_000_000)


def test_name_and_data_are_enough() -> None:
    problem = build(SMALLEST, "here")
    assert list(problem.models) == ["logistic_regression", "random_forest", "lightgbm"]
    assert problem.registry.name == "small_classifier"


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("dta", "data"),
        ("data.targt", "target"),
        ("data.missing.kep", "keep"),
        ("data.missing.columns.x.ad", "add"),
        ("data.types.age.error", "errors"),
        ("split.colum", "column"),
        ("search.trails", "trials"),
        ("gate.requires", "require"),
        ("gate.beat_champion.confidense", "confidence"),
        ("registry.alais", "alias"),
        ("tracking.trails", "trials"),
        ("models.a.estimater", "estimator"),
        ("models.a.preprocessing.categorys", "categories"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_one(path: str, near: str) -> None:
    message = refused(with_(path, 1))
    assert repr(path) in message
    assert f"{near!r}" in message.partition("did you mean")[2]


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("data.target", 3, "3"),
        ("data.sha256", "abc", "abc"),
        ("data.positive", [1], "[1]"),
        ("data.duplicates", "remove", "remove"),
        ("data.types", {"age": "float"}, "float"),
        ("data.types", {"age": {"type": "float"}}, "float"),
        ("data.types", {"age": {"type": "number", "errors": "drop"}}, "drop"),
        ("data.missing", "NA", "list"),
        ("data.missing", [None], "put the word in quotes"),
        ("data.missing", {"keep": [None]}, "put the word in quotes"),
        ("data.missing", {"add": ["a"], "keep": ["a"]}, "'a' stands in add and in keep"),
        ("data.missing", {"columns": {"x": {"keep": [""]}}}, "an empty cell is always missing"),
        ("data.escape", "\\", "backslash"),
        ("data.drop", ["age"], "age"),
        ("split.holdout", 0, "0"),
        ("split.holdout", 1.5, "1.5"),
        ("split.by", "row", "row"),
        ("search.trials", 0, "0"),
        ("search.trials", "10", "'10'"),
        ("search.trials", 2.5, "2.5"),
        ("search.trials", True, "True"),
        ("search.folds", 1, "1"),
        ("search.timeout", 0, "0"),
        ("search.timeout", -3.0, "-3"),
        ("search.metric", "auc", "auc"),
        ("search.threshold", "auc", "auc"),
        ("search.threshold", "roc_auc", "no threshold changes"),
        ("search.threshold", 1.5, "1.5"),
        ("search.threshold", True, "true"),
        ("search.calibrate", "platt", "'auto', 'sigmoid', 'isotonic' or 'none', not 'platt'"),
        ("search.calibrate", None, "'auto', 'sigmoid', 'isotonic' or 'none', not None"),
        ("search.metric", "calibration_error", "a model that knows nothing"),
        ("gate.beat_champion.metric", "calibration_error", "a model that knows nothing"),
        ("gate.beat_champion.confidence", 1.0, "1.0"),
        ("gate.beat_champion.metric", "auc", "auc"),
        ("registry.name", "a/b", "a/b"),
        ("registry.alias", "1st", "1st"),
        ("tracking.pictures", "few", "must be true or false, not 'few'"),
        ("tracking.input_example", 1, "must be true or false, not 1"),
        ("tracking.tags", {"mlflow.user": "me"}, "'mlflow.user' cannot be a tag's name"),
        ("tracking.tags", {"team": 3}, "3"),
        ("tracking.models", "best", "'all', 'winner' or 'none', not 'best'"),
        ("tracking.registry_uri", "registry", "'registry' is no address of a registry, such as https://"),
        ("tracking.registry_uri", "sqlite:///mine.db", "'sqlite:///mine.db' is relative"),
        ("tracking.registry_uri", "https://me:secret@host", "set MLFLOW_REGISTRY_URI"),
        ("tracking.largest_model", "5 MiB", "'5 MiB' is no size: write bytes, or a number and one of kB, MB, GB, TB"),
        ("tracking.largest_model", 0, "greater than or equal to 1, not 0"),
        ("tracking.trials", "few", "'few' is none of all, none, or best and a number, such as best 5"),
        ("tracking.trials", "best 0", "'best 0' is none of"),
        ("tracking.trials", 5, "5 is none of all, none, or best and a number, such as best 5"),
        ("tracking.trials", False, "false is none of all, none"),
        ("seed", -1, "-1"),
        ("seed", "7", "'7'"),
        ("name", "a b", "a b"),
        ("tags", {"team": 3}, "3"),
        ("models", {}, "models"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(path: str, value: Any, says: str) -> None:
    values = with_(path, value)
    values["registry"] = {**REGISTRY["registry"], **values.get("registry", {})}
    message = refused(values)
    assert f" {path}" in message
    assert says in message


@pytest.mark.parametrize(
    ("part", "value", "says"),
    [
        (
            "space",
            {"preprocessing.categories": {"type": "choice", "options": ["ordinal", "nativ"]}},
            "space.preprocessing.categories: 'nativ' is none of onehot, ordinal, target, native, did you mean 'native'",
        ),
        (
            "space",
            {"preprocessing.steps": {"type": "choice", "options": ["a", "b"]}},
            "space.preprocessing.steps: of preprocessing only categories, numbers, missing can be searched",
        ),
        (
            "space",
            {"preprocessing.numbers": {"type": "int", "low": 1, "high": 2}},
            "space.preprocessing.numbers: it is chosen among words: its type is choice",
        ),
        ("start", [{"preprocessing.missing": "drop"}], "start.preprocessing.missing: 'drop' is none of impute, keep"),
        (
            "params",
            {"preprocessing.missing": "keep"},
            "params.preprocessing.missing: it is none of the estimator's: say it as `preprocessing: {missing: …}`",
        ),
    ],
)
def test_what_is_searched_of_the_preprocessing_is_a_choice_of_what_it_can_be(part: str, value: Any, says: str) -> None:
    assert says in refused(with_("models.a", {"estimator": "lightgbm.LGBMClassifier", part: value}))


@pytest.mark.parametrize(
    ("params", "says"),
    [
        (
            {"estimators": {"a": {"estimatr": "x.Y"}}},
            "unknown key 'models.m.params.estimators.a.estimatr', did you mean",
        ),
        ({"estimator": {"estimatr": "x.Y", "params": {}}}, "unknown key 'models.m.params.estimator.estimatr', did you"),
        ({"estimators": [{"estimator": "x.Y"}]}, "models.m.params.estimators: must be a mapping of keys"),
        ({"estimator": {"estimator": "xY"}}, "models.m.params.estimator.estimator: 'xY' is no import path"),
        (
            {"estimator": {"estimator": "x.Y", "params": {"C": {"a": 1}}}},
            "params.C: only class_weight can be a mapping",
        ),
        ({"monotone_constraints": {"a": "up"}}, "models.m.params.monotone_constraints.a: "),
    ],
)
def test_a_fault_in_nested_parameters_is_named_with_its_key(params: dict[str, Any], says: str) -> None:
    models = {"m": {"estimator": "sklearn.ensemble.VotingClassifier", "params": params}}
    with pytest.raises(UserError) as caught:
        problems.build(with_("models", models), "p.yaml")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_parameters_may_be_nested_estimators_and_lists() -> None:
    inner = {"estimator": "a.B", "params": {"layers": [32, 16], "base": {"estimator": "c.D"}}}
    params = {"estimators": {"x": inner, "y": {"estimator": "e.F"}}, "weights": [1, 2], "final": {"estimator": "g.H"}}
    model = Model(estimator="i.J", params=params)
    assert model.paths() == ["i.J", "a.B", "c.D", "e.F", "g.H"]
    assert model.innermost() == ["c.D", "e.F", "g.H"]
    assert Model(**yaml.safe_load(yaml.safe_dump(model.model_dump(exclude_defaults=True)))) == model


def test_the_classes_that_a_net_names_are_among_its_paths_searched_ones_too() -> None:
    adam = {"value": "b.Adam", "space": {"criterion": {"type": "choice", "options": ["c.Loss", "d.Loss"]}}}
    model = Model(
        estimator="skorch.NeuralNetClassifier",
        params={"module": "a.Net", "module__kind": "relu", "lr": 0.1},
        space={"optimizer": {"type": "choice", "options": ["b.SGD", adam]}},
        start=[{"optimizer": "b.Lion"}],
    )
    found = ["skorch.NeuralNetClassifier", "a.Net", "b.Lion", "b.SGD", "b.Adam", "c.Loss", "d.Loss"]
    assert model.paths() == found
    assert Model(estimator="a.B", space=model.space).paths() == ["a.B"]


def test_an_unknown_metric_is_told_with_the_nearest_one() -> None:
    assert "did you mean 'roc_auc'" in refused(with_("search.metric", "rocauc"))


def test_an_unknown_metric_of_the_gate_is_told() -> None:
    assert "rocauc" in refused(with_("gate.require", {"rocauc": {"min": 0.5}}))


@pytest.mark.parametrize(
    ("dimension", "says"),
    [
        ({"type": "int", "low": 5, "high": 5}, "below high"),
        ({"type": "float", "low": 0, "high": 5, "log": True}, "above 0"),
        ({"type": "integer", "low": 0, "high": 5}, "integer"),
        ({"type": "float", "low": "0", "high": 5}, "'0'"),
        ({"type": "choice", "options": [1]}, "options"),
        ({"low": 0, "high": 5}, "type"),
        ({"type": "int", "low": 1, "high": 7.5}, "whole numbers as its ends, not 1 and 7.5"),
    ],
)
def test_a_dimension_that_cannot_be_searched_is_named(dimension: dict[str, Any], says: str) -> None:
    message = refused(with_("models.a", {"estimator": "a.B", "space": {"depth": dimension}}))
    assert "models.a.space.depth" in message
    assert says in message


def test_a_bound_without_ends_is_an_error() -> None:
    assert "gate.require.roc_auc" in refused(with_("gate.require", {"roc_auc": {}}))


@pytest.mark.parametrize(
    ("split", "says"),
    [
        ({"by": "time"}, "needs a column"),
        ({"by": "random", "column": "when"}, "takes no column"),
        ({"by": "group", "column": {"year": "a", "month": "b", "day": "c"}}, "one column"),
    ],
)
def test_a_split_needs_the_column_that_it_is_cut_by(split: dict[str, Any], says: str) -> None:
    message = refused(with_("split", split))
    assert " split: " in message
    assert says in message


def test_the_positive_class_must_be_one_of_the_classes() -> None:
    values = with_("data.classes", {"no": [0], "yes": [1]})
    values["data"]["positive"] = "maybe"
    assert "'maybe'" in refused(values)


@pytest.mark.parametrize(
    "data",
    [
        "{source: a.csv, target: y, classes: {no: [0], yes: [1]}}",
        "{source: a.csv, target: y, classes: {'no': [0], 'yes': [1]}, positive: yes}",
        "{source: a.csv, target: yes}",
    ],
)
def test_a_word_that_yaml_reads_as_true_is_told_to_be_quoted(data: str) -> None:
    assert "put them in quotes" in refused(f"name: a\ndata: {data}\n")


def test_the_gate_compares_by_the_metric_of_the_search() -> None:
    assert build(with_("search.metric", "log_loss"), "here").gate.beat_champion.metric == "log_loss"


@pytest.mark.parametrize("rule", [{"metric": None}, {"confidence": 0.9}, {}])
def test_a_gate_that_names_no_metric_is_written_with_that_of_the_search(rule: dict[str, Any]) -> None:
    problem = build({**with_("search.metric", "accuracy"), "gate": {"beat_champion": rule}}, "here")
    assert yaml.safe_load(problem.to_yaml())["gate"]["beat_champion"]["metric"] == "accuracy"


def test_a_gate_has_a_floor_where_nothing_is_required() -> None:
    asks = {"require": {"roc_auc": {"min": 0.8}}}
    for gate, floor in [
        ({}, True),
        (asks, False),
        ({**asks, "beat_prior": True}, True),
        ({"beat_prior": False}, False),
    ]:
        problem = build(with_("gate", gate), "here")
        assert problem.gate.beat_prior == floor
        assert yaml.safe_load(problem.to_yaml())["gate"]["beat_prior"] == floor


def test_a_metric_that_the_gate_names_stays() -> None:
    values = {**with_("search.metric", "accuracy"), "gate": {"beat_champion": {"metric": "roc_auc"}}}
    assert build(values, "here").gate.beat_champion.metric == "roc_auc"


@pytest.mark.parametrize(("path", "value"), [("gate", 3), ("gate.beat_champion", None), ("search", [])])
def test_a_section_that_is_no_mapping_is_told(path: str, value: Any) -> None:
    assert f"{path}: must be a mapping" in refused(with_(path, value))


def documented() -> str:
    """The YAML that docs/problems.md shows."""
    text = (SHIPPED[0].parents[1] / "docs" / "problems.md").read_text(encoding="utf-8")
    return text.partition("```yaml\n")[2].partition("```")[0]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each mapping or list in a value, with each of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


ODD = (
    *(None, "", "x", "a/b", "é", 0, -1, 2.5, 10**30, float("nan"), float("inf"), True, [], {}, [None], ["x"], [[1]]),
    *({"a": 1}, {1: "x"}, {"min": "x"}, {"type": "int"}, "sklearn.svm.SVC", "os.system", date(2024, 2, 29)),
)


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_whatever_stands_in_a_problem_it_is_one_or_is_refused_in_one_line(odd: Any) -> None:
    whole = yaml.safe_load(documented())
    for held, key in list(places(whole)):
        kept, held[key] = held[key], odd
        if isinstance(held, dict):
            try_to_build(whole)
            held.pop(key)
            name = odd if isinstance(odd, Hashable) else str(odd)
            held[name] = kept
            try_to_build(whole)
            held.pop(name)
        else:
            try_to_build(whole)
        held[key] = kept


def try_to_build(values: Any) -> None:
    """Validate a problem: it is one, or it is refused in one line."""
    try:
        problems.build(values, "mine.yaml").model_dump(mode="json")
    except UserError as error:
        assert "\n" not in str(error)


def test_the_problem_that_the_docs_show_is_one() -> None:
    problem = parse(documented(), "docs/problems.md")
    assert parse(problem.to_yaml(), "again") == problem


@pytest.mark.parametrize(
    "section",
    [
        Problem,
        Data,
        Split,
        Model,
        Search,
        Evaluation,
        Gate,
        Bound,
        BeatChampion,
        OrEqual,
        Monitor,
        Drop,
        Shifts,
        Registry,
        Tracking,
    ],
)
def test_the_docs_show_each_key_of_a_problem(section: type[Section]) -> None:
    assert [key for key in section.model_fields if f"{key}:" not in documented()] == []


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("preprocessing", "unknown key 'preprocessing': it is a key of each model, models.NAME.preprocessing"),
        ("drop", "unknown key 'drop': it is a key of a section, data.drop"),
        ("metric", "unknown key 'metric': it is a key of a section, search.metric"),
    ],
)
def test_a_key_at_the_top_that_is_one_of_a_section_is_told_with_its_place(key: str, says: str) -> None:
    assert says in refused({**SMALLEST, key: {}})


@pytest.mark.parametrize(
    ("name", "task", "says"),
    [
        ("lightgbm", "regression", "so write estimator: lightgbm.LGBMRegressor; space: default lets it be searched"),
        ("random_forest", "classification", "so write estimator: sklearn.ensemble.RandomForestClassifier"),
        ("lightgbm", None, "so write estimator: lightgbm.LGBMClassifier or lightgbm.LGBMRegressor; space: default"),
        ("mine", None, "write the import path of a class, such as estimator: lightgbm.LGBMClassifier"),
    ],
)
def test_a_model_without_an_estimator_is_told_with_what_to_write(name: str, task: str | None, says: str) -> None:
    values = {**SMALLEST, "task": task, "models": {name: {"preprocessing": {"texts": {"note": 30}}}}}
    message = refused(values)
    assert f"models.{name}.estimator is missing: " in message
    assert says in message


@pytest.mark.parametrize("missing", ["data", "data.source", "data.target"])
def test_what_is_missing_is_named(missing: str) -> None:
    values = yaml.safe_load(yaml.safe_dump(SMALLEST))
    section, _, key = missing.rpartition(".")
    del (values[section] if section else values)[key]
    assert f"{missing} is missing" in refused(values)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words", "3"])
def test_a_yaml_that_is_no_mapping_is_told(text: str) -> None:
    assert "mapping" in refused(text)


def test_a_yaml_that_does_not_parse_is_told_with_its_line() -> None:
    assert "line 2" in refused("name: a\ndata: ]\n")


def test_yaml_that_would_make_an_object_is_refused() -> None:
    assert "YAML" in refused("name: !!python/object/apply:os.system ['true']\n")


def test_a_problem_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such problem file"):
        read(tmp_path / "none.yaml")


def test_a_file_that_is_no_text_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\x89PNG\xff\x00")
    with pytest.raises(UserError, match="cannot be read") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_an_override_goes_over_the_file() -> None:
    problem = parse(yaml.safe_dump(SMALLEST), "here", {"search.trials": 3, "data.target": "other"})
    assert (problem.search.trials, problem.data.target) == (3, "other")


def test_an_override_may_set_what_the_file_leaves_out() -> None:
    problem = parse("{}", "command line", {"name": "x", "data.source": "a.csv", "data.target": "y"})
    assert problem.data.source == "a.csv"


def test_an_override_is_checked_like_the_file() -> None:
    assert "search.trials" in refused(SMALLEST, **{"search.trials": 0})


def test_a_problem_cannot_be_changed_once_read() -> None:
    with pytest.raises(ValueError, match="frozen"):
        build(SMALLEST, "here").seed = 3  # type: ignore[misc]


@given(st.text(st.characters(categories=("L", "Nd", "P", "S", "Z")), max_size=12))
@settings(deadline=None)
def test_a_slug_is_a_name_that_a_problem_may_have(text: str) -> None:
    assert Problem.model_validate({**SMALLEST, "name": problems.slug(text)}).name


@pytest.mark.parametrize(
    "source",
    [
        "https://me:secret@host/t.csv",
        "https://${USER}:secret@host/t.csv",
        "http://secret@host/t.csv",
        "postgresql://me:secret@host/d?sslmode=require",
        "https://host/t.csv?v=1&sig=secret",
        "https://host/t.csv?X-Amz-Date=1&X-Amz-Signature=secret",
        "https://host/t.csv?access_token=secret#top",
        "https://${USER}:${PASSWORD}@host/t.csv?api_key=secret",
    ],
)
def test_a_password_in_a_url_is_refused_and_not_repeated(source):
    with pytest.raises(UserError, match="would be logged") as caught:
        build({"name": "a", "data": {"source": source, "target": "y"}}, "here")
    assert "secret" not in str(caught.value)


def test_a_password_named_as_a_variable_is_taken():
    source = "https://${USER}:${PASSWORD}@host/t.csv"
    assert build({"name": "a", "data": {"source": source, "target": "y"}}, "here").data.source == source


def test_a_key_that_stands_twice_is_an_error_with_its_line():
    with pytest.raises(UserError, match=r"line 3: .*'name' stands twice"):
        parse("name: a\ndata: {source: x, target: y}\nname: b\n", "p.yaml")


def test_a_bound_in_each_slice_needs_slices() -> None:
    gate = {"require": {"accuracy": {"in_each_slice": {"min": 0.7}}}}
    values = {"name": "p", "data": {"source": "t.csv", "target": "y"}, "gate": gate}
    with pytest.raises(UserError, match=r"p\.yaml: gate\.require\.accuracy\.in_each_slice: there are no slices"):
        build(values, "p.yaml")
    assert build({**values, "evaluation": {"slices": ["x"]}}, "p.yaml").gate.require["accuracy"].in_each_slice


def test_numbers_have_no_calibration_and_the_key_is_refused_in_one_line() -> None:
    values = {**with_("search.calibrate", "isotonic"), "task": "regression", **REGISTRY}
    message = refused(values)
    assert "search.calibrate: the task is regression, for which it has no meaning: leave it out" in message
    assert "\n" not in message


def test_the_gate_may_require_the_calibration_error() -> None:
    values = with_("gate.require", {"calibration_error": {"max": 0.05}})
    assert problems.build({**values, **REGISTRY}, "p.yaml").gate.require["calibration_error"].max == 0.05


def test_what_calibrates_implies_classes() -> None:
    assert problems.build({**with_("search.calibrate", "sigmoid"), **REGISTRY}, "p.yaml").task == "classification"


def test_the_coverage_of_intervals_implies_a_number() -> None:
    values = {"name": "p", "data": {"source": "t.csv", "target": "y"}, "evaluation": {"coverage": 0.8}}
    assert build(values, "p.yaml").task == "regression"
    assert build({**values, "evaluation": {"slices": ["x"]}}, "p.yaml").task is None
    with pytest.raises(UserError, match=r"evaluation\.coverage: the task is classification"):
        build({**values, "search": {"threshold": 0.3}}, "p.yaml")


def test_what_monitor_asks_is_what_the_gate_requires_by_the_metric_of_the_search_where_it_does_not_say() -> None:
    gate = {"require": {"accuracy": {"min": 0.8}}}
    found = build({**SMALLEST, "search": {"metric": "log_loss"}, "gate": gate}, "mine.yaml").monitor
    assert (found.require, found.drop.metric) == ({"accuracy": Bound(min=0.8)}, "log_loss")
    own = {"require": {}, "drop": {"metric": "roc_auc", "most": 0.2}}
    found = build({**SMALLEST, "gate": gate, "monitor": own}, "mine.yaml").monitor
    assert (found.require, found.drop.metric, found.drop.most) == ({}, "roc_auc", 0.2)


@pytest.mark.parametrize(
    ("monitor", "says"),
    [
        ({"drop": {"metric": "rmse"}}, "monitor.drop.metric: rmse is a metric of regression"),
        ({"drop": {"metric": "calibration_error"}}, "monitor.drop.metric: a model that knows nothing"),
        ({"require": {"r2": {"min": 0}}}, "monitor.require.r2: r2 is a metric of regression"),
        (
            {"require": {"accuracy": {"in_each_slice": {"min": 0.5}}}},
            "monitor.require.accuracy.in_each_slice: there are",
        ),
        ({"drop": {"confidence": 0.3}}, "monitor.drop.confidence: "),
        ({"shift": {"inputs": 0}}, "monitor.shift.inputs: "),
        ({"drops": {}}, "unknown key 'monitor.drops'"),
    ],
)
def test_what_monitor_cannot_ask_is_told(monitor: dict[str, Any], says: str) -> None:
    assert says in refused({**SMALLEST, "task": "classification", "monitor": monitor})
