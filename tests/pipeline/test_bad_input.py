"""What people type wrong: one line that names it, exit status 1, the run FAILED with its reason, nothing registered."""

import contextlib
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pytest

from tabular.errors import UserError

ROWS = range(60)
CHURN = "age,city,churn\n" + "".join(f"{20 + i},{'XYZ'[i % 3]},{('no', 'yes')[i % 2]}\n" for i in ROWS)
YAML = """
name: churn
data: {source: churn.csv, target: churn}
models: {logistic: {estimator: sklearn.linear_model.LogisticRegression}}
search: {metric: roc_auc, trials: 2, folds: 3}
"""


def frame(**columns: Any) -> pd.DataFrame:
    """A table of 60 rows with a good target and these columns."""
    return pd.DataFrame({"age": ROWS, "churn": ["no", "yes"] * 30, **columns})


def yaml(old: str, new: str) -> str:
    """The good problem with one text in it changed."""
    assert old in YAML
    return YAML.replace(old, new)


@dataclass(frozen=True)
class Case:
    """Files that a user has, the parameters typed, and what the line must name."""

    says: tuple[str, ...]
    given: dict[str, str] = field(default_factory=lambda: {"data": "t.csv", "target": "churn"})
    files: dict[str, Any] = field(default_factory=dict)


def table(content: Any, *says: str, target: str = "churn", name: str = "t.csv") -> Case:
    """A case of one table."""
    return Case(says, {"data": name, "target": target}, {name: content})


def problem(text: str, *says: str, content: Any = CHURN) -> Case:
    """A case of one problem's YAML, beside a table that is good."""
    return Case(says, {"problem": "p.yaml"}, {"p.yaml": text, "churn.csv": content})


def typed(says: tuple[str, ...], **given: str) -> Case:
    """A case of parameters alone."""
    return Case(says, given, {"churn.csv": CHURN})


TABLES = {
    "no such file": typed(("data:", "'nosuch.csv'", "sklearn:NAME"), data="nosuch.csv", target="churn"),
    "a folder of no table": Case(
        ("holds no file of a table", "'_SUCCESS'"), {"data": ".", "target": "y"}, {"_SUCCESS": ""}
    ),
    "a glob that matches nothing": typed(("data:", "no file '*.parquet'"), data="*.parquet", target="churn"),
    "a database without a query": typed(
        ("postgresql://h/d: is a database", "data.query"), data="postgresql://ann:${X}@h/d", target="churn"
    ),
    "a query without a database": typed(
        ("data.query: ", "churn.csv is no database"), data="churn.csv", query="select 1", target="churn"
    ),
    "a password in an address": typed(
        ("data.source: a password", "${PASSWORD}"), data="postgresql://a:b@h/d", target="y"
    ),
    "a name that no file can have": typed(("data:", "no file"), data="x" * 400, target="churn"),
    "a line's end in the name": typed(("data:", r"a\nb.csv"), data="a\nb.csv", target="churn"),
    "nobody's home": typed(("data:", "~nosuchuser"), data="~nosuchuser/t.csv", target="churn"),
    "another protocol": typed(("ftp:// is not supported",), data="ftp://h/t.csv", target="churn"),
    "an unknown data set of scikit-learn": typed(
        ("sklearn:irs", "did you mean 'iris'"), data="sklearn:irs", target="target"
    ),
    "an empty file": table("", "t.csv", "is empty"),
    "blank lines only": table("\n\n\n", "t.csv", "is empty"),
    "a header and no rows": table("age,churn\n", "t.csv", "has a header and no rows"),
    "a misspelt target": table(CHURN, "target:", "no column 'chrun'", "did you mean 'churn'", target="chrun"),
    "a target unlike any column": table(CHURN, "target:", "'age', 'city', 'churn'", target="zzz"),
    "one class": table("age,churn\n" + "1,no\n2,no\n" * 20, "'churn'", "only the class 'no'", "two classes"),
    "a target without values": table("age,churn\n" + "1,\n2,\n" * 20, "column 'churn' has no values"),
    "a target of 500 numbers as classes": Case(
        ("'churn' has 500 different values", "at most 100", "looks like a number", "-P task=regression"),
        {"data": "t.csv", "target": "churn", "task": "classification"},
        {"t.csv": pd.DataFrame({"age": range(500), "churn": [i / 7 for i in range(500)]}).to_csv(index=False)},
    ),
    "101 classes": table(
        pd.DataFrame({"age": range(808), "churn": [f"c{i % 101}" for i in range(808)]}).to_csv(index=False),
        "101 different values",
        "group its values in data.classes",
    ),
    "a target of dates": table(
        pd.DataFrame({"age": ROWS, "churn": ["2024-01-01", "2024-01-02"] * 30}).to_csv(index=False),
        "target:",
        "'churn' holds dates",
    ),
    "a class with fewer rows than folds": table(
        CHURN + "1,X,maybe\n" * 3, "class 'maybe'", "has 2 training rows", "5 are", "say data.rare: {fewer_than: 10}"
    ),
    "no column beside the target": table("churn\n" + "no\nyes\n" * 30, "no column is left", "'churn'"),
    "a column without values": table(CHURN.replace("X", "").replace("Y", "").replace("Z", ""), "'city' has no values"),
    "columns of one name": table("age,age,churn\n" + "1,2,no\n3,4,yes\n" * 30, "names must differ", "'age'"),
    "a column without a name": table("age,,churn\n" + "1,2,no\n3,4,yes\n" * 30, "column 2 of 3 has no name"),
    "a column of lists": table(frame(tags=[[1, 2]] * 60), "'tags' holds lists", "drop: {tags:", name="t.parquet"),
    "a column of structs": table(frame(tags=[{"a": 1}] * 60), "column 'tags' holds values", name="t.parquet"),
    "an infinity in text": table(CHURN.replace("\n21,", "\ninf,"), "column 'age' holds an infinite number"),
    "an infinity in Parquet": table(
        frame(pay=[float("inf"), *range(59)]), "column 'pay' holds an infinite number", name="t.parquet"
    ),
    "a file in Latin-1": table(
        CHURN.replace("X", "Köln").encode("latin-1"), "t.csv: line 2", "0xf6", "data.encoding: latin-1"
    ),
    "a picture named .csv": table(b"\x89PNG\r\n\x1a\n" + bytes(200), "t.csv", "is not a text table"),
    "zeros named .csv": table(bytes(1000), "t.csv", "is not a text table"),
    "text named .parquet": table(CHURN, "is not a Parquet file", name="t.parquet"),
    "a row too long": table(CHURN + "1,2,3,4\n", "t.csv: line 62 has 4 fields where 3 are expected"),
    "a row too short": table(CHURN + "1,2\n", "t.csv: line 62 has 2 fields where 3 are expected"),
    "a quote left open": table(CHURN + '"1,X,no\n', "t.csv", "quote"),
    "a web page": table("<!DOCTYPE html><html></html>", "is a web page"),
    "data without a target": typed(("target:", "churn.csv", "-P target=COLUMN"), data="churn.csv"),
    "a target without data": typed(("target:", "data is missing"), target="churn"),
    "our own column's name": table(
        CHURN.replace("age", "__split_key__"), "t.csv", "'__split_key__' is taken", "rename it"
    ),
}
PROBLEMS = {
    "no such problem": typed(("problem:", "'nosuch'", "breast_cancer"), problem="nosuch"),
    "a misspelt problem": typed(("problem:", "'breast_cancr'", "did you mean 'breast_cancer'"), problem="breast_cancr"),
    "a folder as problem": typed(("cannot be read as a problem",), problem="."),
    "a problem without end": typed(("problem:", "neither a YAML file"), problem="x" * 400),
    "a run that is not there": typed(("problem:", "no run", "0" * 32), problem="0" * 32),
    "no YAML": problem("a: [1", "p.yaml", "not valid YAML"),
    "an empty YAML": problem("", "p.yaml", "mapping of sections"),
    "a YAML that is a list": problem("- a\n", "p.yaml", "mapping of sections"),
    "an object of Python in the YAML": problem("a: !!python/object/apply:os.getcwd []", "p.yaml", "not valid YAML"),
    "an unknown section": problem(YAML + "modls: {}\n", "p.yaml", "unknown key 'modls'", "'models'"),
    "an unknown key": problem(yaml("trials: 2", "trails: 2"), "'search.trails'", "'trials'"),
    "a wrong type": problem(yaml("trials: 2", "trials: many"), "p.yaml: search.trials", "integer", "'many'"),
    "no trials": problem(yaml("trials: 2", "trials: 0"), "p.yaml: search.trials"),
    "one fold": problem(yaml("folds: 3", "folds: 1"), "p.yaml: search.folds"),
    "no target": problem(yaml(", target: churn", ""), "p.yaml: data.target is missing"),
    "an unknown metric": problem(yaml("roc_auc", "rocauc"), "search.metric", "'rocauc'", "did you mean 'roc_auc'"),
    "an unknown metric in the gate": problem(YAML + "gate: {require: {auc: {min: 1}}}\n", "gate.require", "'auc'"),
    "a bound without a number": problem(YAML + "gate: {require: {roc_auc: {}}}\n", "needs a min or a max"),
    "no models": problem(
        YAML.replace("{logistic: {estimator: sklearn.linear_model.LogisticRegression}}", "{}"), "models"
    ),
    "a problem's name with a slash": problem(yaml("name: churn", "name: a/b"), "p.yaml: name"),
    "a registry's name with a slash": problem(YAML + "registry: {name: a/b}\n", "registry.name"),
    "a tag's name that MLflow refuses": problem(YAML + "tags: {'a*b': x}\n", "p.yaml: tags", "a*b"),
    "a tag that would overwrite MLflow's": problem(YAML + "tags: {mlflow.parentRunId: x}\n", "p.yaml: tags"),
    "a tag's name without end": problem(YAML + f"tags: {{{'x' * 251}: x}}\n", "p.yaml: tags"),
    "a problem's name without end": problem(yaml("name: churn", f"name: {'x' * 300}"), "p.yaml: name"),
    "an alias that MLflow keeps for itself": problem(YAML + "registry: {name: x, alias: latest}\n", "registry.alias"),
    "an alias that looks like a version": problem(YAML + "registry: {name: x, alias: v2}\n", "registry.alias", "'v2'"),
    "an estimator without its module": problem(
        yaml("sklearn.linear_model.LogisticRegression", "LogisticRegression"),
        "models.logistic.estimator",
        "import path",
    ),
    "a space of an unknown kind": problem(
        yaml("Regression}", "Regression, space: {C: {type: uniform, low: 1, high: 2}}}"), "space.C", "int, float or"
    ),
    "a space without a kind": problem(
        yaml("Regression}", "Regression, space: {C: {low: 1, high: 2}}}"), "space.C", "needs a type"
    ),
    "a space upside down": problem(
        yaml("Regression}", "Regression, space: {C: {type: float, low: 2, high: 1}}}"), "space.C", "below high"
    ),
    "a section that is a number": problem(
        YAML.replace("{metric: roc_auc, trials: 2, folds: 3}", "3"), "search", "mapping"
    ),
    "a hyperparameter that is a mapping": problem(
        yaml("Regression}", "Regression, params: {C: {0: 1}}}"), "params.C", "only class_weight can be a mapping"
    ),
    "a source that is not there": problem(yaml("churn.csv", "gone.csv"), "'gone.csv'", "p.yaml"),
    "a positive that is no class": problem(yaml("target: churn", "target: churn, positive: maybe"), "'maybe'", "'yes'"),
    "a column to drop, misspelt": problem(yaml("target: churn", "target: churn, drop: {agee: x}"), "'agee'", "'age'"),
    "every column dropped": problem(
        yaml("target: churn", "target: churn, drop: {age: x, city: x}"), "data.drop", "no column is left"
    ),
    "a type of an unknown column": problem(yaml("target: churn", "target: churn, types: {agee: number}"), "data.types"),
    "text as a number": problem(yaml("target: churn", "target: churn, types: {city: number}"), "data.types", "'city'"),
    "a class of no value": problem(
        yaml("target: churn", "target: churn, classes: {good: ['yes'], bad: ['n']}"), "data.classes", "'no'"
    ),
    "a separator of two letters": problem(yaml("target: churn", "target: churn, separator: '::'"), "data.separator"),
    "an unknown encoding": problem(yaml("target: churn", "target: churn, encoding: utf-9"), "data.encoding", "utf-9"),
    "a wrong digest": problem(yaml("target: churn", f"target: churn, sha256: {'a' * 64}"), "sha256", "churn.csv"),
    "a digest that is none": problem(yaml("target: churn", "target: churn, sha256: abc"), "data.sha256"),
    "a split by an unknown column": problem(YAML + "split: {by: time, column: day}\n", "split.column", "'day'"),
    "a split by time on text": problem(YAML + "split: {by: time, column: city}\n", "split.column", "'city'", "text"),
    "a split by group without a column": problem(YAML + "split: {by: group}\n", "p.yaml: split", "needs a column"),
    "a split by one group": problem(
        YAML + "split: {by: group, column: city}\n",
        "split.holdout",
        "group split",
        content=CHURN.replace("Y", "X").replace("Z", "X"),
    ),
    "a holdout of everything": problem(YAML + "split: {holdout: 1.0}\n", "split.holdout"),
    "a time without one": problem(
        YAML + "split: {by: time, column: age}\n", "split.column", "'age'", content=CHURN.replace("\n20,", "\n,")
    ),
}
RENTS = "area,city,rent\n" + "".join(f"{20 + i},{'XYZ'[i % 3]},{300 + 7.5 * i}\n" for i in ROWS)


def number(text: str, *says: str, content: Any = RENTS) -> Case:
    """A case of a problem of a number: the sections after its name and its table."""
    whole = f"name: rents\n{text if 'data:' in text else 'data: {source: churn.csv, target: rent}' + chr(10) + text}"
    return problem(whole, *says, content=content)


NUMBERS = {
    "a target of texts": number(
        "task: regression",
        "target: 'rent' was read as string, such as 'low'",
        "say task: classification",
        content="area,rent\n" + "1,low\n2,high\n" * 30,
    ),
    "a target of some texts": number(
        "task: regression",
        "target: 'rent' was read as string, such as 'on request'",
        "data.types: {rent: {type: number, errors: missing}}",
        content=RENTS.replace("300.0", "on request"),
    ),
    "a constant number": number(
        "task: regression", "all rows have the same 'rent', 5", content="area,rent\n" + "1,5\n2,5\n" * 30
    ),
    "too few numbers": number(
        "task: regression", "9 rows have a 'rent', and 12 are needed", content="\n".join(RENTS.splitlines()[:10])
    ),
    "an infinite number to predict": number(
        "task: regression", "column 'rent' holds an infinite number", content=RENTS.replace("300.0", "inf")
    ),
    "a task that is none": number("task: ranking", "p.yaml: task", "'regression'", "'ranking'"),
    "a metric of classes": number(
        "task: regression\nsearch: {metric: roc_auc}", "search.metric", "roc_auc is a metric of classification", "rmse"
    ),
    "a metric of numbers": number(
        "task: classification\nsearch: {metric: rmse}", "search.metric", "rmse is a metric of regression", "roc_auc"
    ),
    "a misspelt metric of numbers": number("task: regression\nsearch: {metric: rsme}", "'rsme'", "did you mean 'rmse'"),
    "a gate of classes": number("task: regression\ngate: {require: {accuracy: {min: 1}}}", "gate.require", "accuracy"),
    "a positive class": number(
        "task: regression\ndata: {source: churn.csv, target: rent, positive: 1}", "data.positive", "leave it out"
    ),
    "a threshold": number("task: regression\nsearch: {threshold: 0.3}", "search.threshold", "leave it out"),
    "a scale that is none": number(
        "data: {source: churn.csv, target: rent, target_transform: sqrt}", "data.target_transform", "'log1p'"
    ),
    "a scale of classes": number(
        "task: classification\ndata: {source: churn.csv, target: rent, target_transform: log}", "target_transform"
    ),
    "a coverage of all": number("task: regression\nevaluation: {coverage: 1}", "evaluation.coverage", "0.999"),
    "a coverage in percent": number("task: regression\nevaluation: {coverage: 90}", "evaluation.coverage", "0.999"),
    "a search for the intervals": number(
        "task: regression\nsearch: {metric: interval_width}", "search.metric", "interval_width is of the final model"
    ),
    "one number held out": number(
        "task: regression\nsplit: {by: time, column: area}",
        "split: of the holdout of a split by time, all 12 have the same 'rent': change split.holdout (0.2)",
        content="area,rent\n" + "".join(f"{i},{min(i, 40)}.5\n" for i in ROWS),
    ),
}
PARAMETERS = {
    "a task that is none": typed(("task", "'regression'"), task="regresion", data="churn.csv", target="age"),
    "trials that are no number": typed(("trials:", "'abc'", "whole number"), trials="abc"),
    "no trials": typed(("trials:", "0 is not above 0"), trials="0"),
    "half a trial": typed(("trials:", "'1.5'", "whole number"), trials="1.5"),
    "a negative seed": typed(("seed:", "-1"), seed="-1"),
    "a seed too large": typed(("seed:", "2147483647"), seed=str(2**31)),
    "a negative timeout": typed(("timeout:", "-3 is not above 0"), timeout="-3"),
    "a timeout that is not a number": typed(("timeout:", "nan"), timeout="nan"),
    "a misspelt parameter": typed(("'trial'", "did you mean 'trials'"), trial="3"),
    "an unknown parameter": typed(("'zzz'", "its parameters: problem, data"), zzz="3"),
    "an unknown requirement": typed(("require:", "'champion'", "'registered'"), require="champion"),
    "a command for a shell": typed(("trials:", "$(touch hacked)"), trials="'\"$(touch hacked)`touch hacked`"),
}
# Of those that etl meets, the ones that go through a run: one of each place that a fault is found in, and one that asks
# the store. What is said of the others is what the step's own code raises.
THROUGH_A_RUN = (
    "no such file",
    "a line's end in the name",
    "a row too long",
    "a class with fewer rows than folds",
    "a column of lists",
    "no such problem",
    "a run that is not there",
    "an object of Python in the YAML",
    "a number: a target of some texts",
    "an unknown key",
    "a split by one group",
)
READ = {**TABLES, **PROBLEMS, **{f"a number: {name}": case for name, case in NUMBERS.items()}}
CASES = {
    **{f"etl: {name}": ("etl", READ[name]) for name in THROUGH_A_RUN},
    **{f"main: {name}": ("main", case) for name, case in PARAMETERS.items()},
}


@pytest.fixture
def place(tmp_path, store, monkeypatch):
    """The folder that the user stands in."""
    monkeypatch.setattr(store, "cwd", tmp_path)
    return tmp_path


def write(folder, files):
    for name, content in files.items():
        if isinstance(content, pd.DataFrame):
            content.to_parquet(folder / name)
        else:
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


WITHOUT_A_RUN = [pytest.param(case, id=name) for name, case in READ.items() if name != "a run that is not there"]


@pytest.mark.parametrize("case", WITHOUT_A_RUN)
def test_bad_input_is_named_in_one_line(tmp_path, monkeypatch, case):
    """The work of etl without a run around it: nothing is logged before the fault is found but the problem itself."""
    from steps import etl
    from steps.run import cli, run_problem, shell
    from steps.run.step import Step

    write(tmp_path, case.files)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_problem, "freeze", lambda step, problem: None)
    arguments = cli.parse("etl", [f"--{name}={value}" for name, value in case.given.items()])
    with pytest.raises(UserError) as error:
        etl.etl(Step("etl", arguments, "no run", "0", tmp_path, client=None, artifact_uri=""))
    line = shell.explain(error.value)
    assert "\n" not in line
    for text in case.says:
        assert text in line


@pytest.mark.parametrize(("step", "case"), CASES.values(), ids=CASES.keys())
def test_bad_input_is_one_line_and_a_failed_run_with_its_reason(store, place, step, case):
    write(place, case.files)
    models = store.client.search_registered_models()
    ended = store.step(step, **case.given)
    assert ended.status == 1
    assert len(ended.lines) == 1, ended.stderr
    for text in case.says:
        assert text in ended.lines[0]
    assert "unexpected" not in ended.lines[0]
    assert "Traceback" not in ended.stderr
    assert ended.run.info.status == "FAILED"
    assert ended.tags["tabular.reason"] == ended.lines[0].removeprefix("tabular: ")
    assert not list(place.rglob("hacked"))
    assert store.client.search_registered_models() == models


FITS = {
    "an unknown module": ("models.m.estimator", "sklearn.linear_modl.LogisticRegression", {}, {}, "cannot be imported"),
    "an unknown class": ("models.m.estimator", "sklearn.linear_model.Logistic", {}, {}, "did you mean"),
    "no classifier": ("models.m.estimator", "sklearn.linear_model.LinearRegression", {}, {}, "predicts a number"),
    "an unknown hyperparameter": (
        "models.m.params",
        "lightgbm.LGBMClassifier",
        {"num_leafs": 3},
        {},
        "did you mean 'num_leaf",
    ),
    "a hyperparameter of another name": (
        "models.m.params",
        "sklearn.linear_model.LogisticRegression",
        {"max_itr": 3},
        {},
        "did you mean 'max_iter'",
    ),
    "a value that the estimator refuses": (
        "models.m:",
        "sklearn.linear_model.LogisticRegression",
        {"max_iter": -3},
        {},
        "'max_iter'",
    ),
    "a value of a wrong type": (
        "models.m:",
        "sklearn.ensemble.RandomForestClassifier",
        {"n_estimators": "many"},
        {},
        "'n_estimators'",
    ),
    "a value that LightGBM refuses": ("models.m:", "lightgbm.LGBMClassifier", {"num_leaves": -3}, {}, "num_leaves"),
    "a space of an unknown hyperparameter": (
        "models.m",
        "sklearn.linear_model.LogisticRegression",
        {},
        {"CC": {"type": "float", "low": 0.1, "high": 1}},
        "'CC'",
    ),
    "a space that the estimator refuses": (
        "models.m:",
        "sklearn.linear_model.LogisticRegression",
        {"C": -1.0},
        {"C": {"type": "float", "low": -2, "high": -1}},
        "'C'",
    ),
}


@pytest.fixture(scope="module")
def churn(store, tmp_path_factory):
    """A run of etl on the good table."""
    folder = tmp_path_factory.mktemp("churn")
    write(folder, {"churn.csv": CHURN})
    return store.step("etl", data=str(folder / "churn.csv"), target="churn")


@pytest.mark.parametrize(
    ("where", "estimator", "params", "space", "says"),
    [pytest.param(*case, id=name) for name, case in FITS.items()],
)
def test_an_estimator_that_cannot_be_fitted_is_one_line(store, place, churn, where, estimator, params, space, says):
    import yaml as yaml_

    model = {"estimator": estimator, "params": params, "space": space}
    asked = {**yaml_.safe_load(YAML), "models": {"m": model}}
    write(place, {"p.yaml": yaml_.safe_dump(asked), "churn.csv": CHURN})
    ended = store.step("hpo" if space else "train", problem="p.yaml", dataset=churn.id, model="m")
    assert ended.status == 1
    assert len(ended.lines) == 1
    assert where in ended.lines[0]
    assert says in ended.lines[0]
    assert "unexpected" not in ended.lines[0]
    assert ended.run.info.status == "FAILED"


REFERENCES = {
    "no run": ("train", {"dataset": "zzz", "model": "lightgbm"}, "dataset: there is no run 'zzz'"),
    "no id": ("train", {"dataset": "", "model": "lightgbm"}, "dataset:"),
    "no model": ("train", {"dataset": "ETL"}, "model:"),
    "an unknown model": (
        "train",
        {"dataset": "ETL", "model": "lgbm"},
        "model: the problem 'churn' has no model 'lgbm'",
    ),
    "a model without a space": ("hpo", {"dataset": "ETL", "model": "random_forest"}, "has no space to search"),
    "a run of another step as dataset": (
        "train",
        {"problem": "ETL", "dataset": "FAILED", "model": "lightgbm"},
        "is a run of 'main'",
    ),
    "a run of another step as params": (
        "train",
        {"dataset": "ETL", "model": "lightgbm", "params": "ETL"},
        "one of 'hpo' is needed",
    ),
    "a run of another step as models": ("evaluate", {"dataset": "ETL", "models": "ETL"}, "one of 'train' is needed"),
    "no models": ("evaluate", {"dataset": "ETL", "models": ""}, "models:"),
    "a run of another step as evaluation": ("register", {"evaluation": "ETL"}, "one of 'evaluate' is needed"),
    "no evaluation": ("register", {}, "evaluation:"),
}


@pytest.mark.parametrize(("step", "given", "says"), REFERENCES.values(), ids=REFERENCES.keys())
def test_a_wrong_reference_to_an_earlier_run_is_one_line(store, place, churn, step, given, says):
    failed = store.step("main", trials="abc") if "FAILED" in given.values() else churn
    known = {"ETL": churn.id, "FAILED": failed.id}
    ended = store.step(step, **{name: known.get(value, value) for name, value in given.items()})
    assert ended.status == 1
    assert len(ended.lines) == 1
    assert says in ended.lines[0]
    assert ended.run.info.status == "FAILED"


def test_a_run_of_etl_that_failed_is_no_data_set(store, place, churn):
    failed = store.step("etl", data="nosuch.csv", target="churn")
    ended = store.step("train", problem=churn.id, dataset=failed.id, model="lightgbm")
    assert ended.status == 1
    assert len(ended.lines) == 1
    assert failed.id in ended.lines[0]
    assert "unexpected" not in ended.lines[0]


def test_a_traceback_is_shown_where_it_is_asked_for(store):
    ended = store.process("etl", data="nosuch.csv", target="churn", env={"TABULAR_DEBUG": "1"})
    assert ended.status == 1
    assert "Traceback" in ended.stderr
    assert len(ended.lines) == 1


@pytest.mark.parametrize(
    ("revision", "says"),
    [
        ("bd07f7e963c5", ("was made by an older version", "mlflow db upgrade sqlite:")),
        ("0123456789ab", ("was made or upgraded by a newer version", "mlflow server --backend-store-uri sqlite:")),
    ],
    ids=["older", "newer"],
)
def test_a_store_of_another_version_of_mlflow_is_one_line(store, tmp_path, revision, says):
    import shutil
    import sqlite3

    shutil.copy(store.folder / "mlflow.db", tmp_path / "other.db")
    with sqlite3.connect(tmp_path / "other.db") as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    database.close()
    uri = f"sqlite:///{tmp_path / 'other.db'}"
    ended = store.process("etl", data="nosuch.csv", target="churn", env={"MLFLOW_TRACKING_URI": uri})
    assert ended.status == 1
    assert len(ended.lines) == 1
    assert all(words in ended.lines[0] for words in says)
    assert "Traceback" not in ended.stderr


def test_a_store_that_another_process_holds_is_one_line(store, tmp_path):
    import shutil
    import sqlite3

    shutil.copy(store.folder / "mlflow.db", tmp_path / "held.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "held.db", isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        uri = f"sqlite:///{tmp_path / 'held.db'}?timeout=0.1"  # seconds that SQLite waits
        ended = store.process("etl", data="nosuch.csv", target="churn", env={"MLFLOW_TRACKING_URI": uri})
    assert ended.status == 1
    assert len(ended.lines) == 1
    assert "another process holds it, or it lies on a network drive (NFS)" in ended.lines[0]
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_a_misspelt_estimator_ends_the_chain_after_its_first_step(store, tmp_path):
    write(tmp_path, {"p.yaml": yaml("LogisticRegression", "LogisticRegresion"), "churn.csv": CHURN})
    ended = store.process("main", problem=str(tmp_path / "p.yaml"))
    assert ended.status == 1
    assert len(ended.lines) == 1
    assert "did you mean 'LogisticRegression'" in ended.lines[0]
    assert ended.tags["tabular.reason"] == ended.lines[0].removeprefix("tabular: ")
    assert list(store.children(ended.id)) == ["etl"]


@pytest.fixture(scope="module")
def broken_chain(store, tmp_path_factory):
    """A chain typed as users do, whose data are bad, from a folder where the project is not."""
    folder = tmp_path_factory.mktemp("broken")
    write(folder, {"o'brien's $(touch hacked).csv": CHURN})
    given = {"data": "o'brien's $(touch hacked).csv", "target": 'ch"ur\n$(touch hacked)n', "task": "classification"}
    return folder, store.project(cwd=folder, **given)  # with its task, so that it is a step that reads the table first


def test_a_step_that_fails_fails_the_chain(broken_chain):
    _, ended = broken_chain
    assert ended.status == 1
    assert ended.run.info.status == "FAILED"


def test_a_chain_does_not_repeat_the_line_of_its_step(broken_chain):
    _, ended = broken_chain
    assert len(ended.lines) == 1


def test_the_reason_of_a_step_is_the_reason_of_the_chain(store, broken_chain):
    _, ended = broken_chain
    etl = store.children(ended.id)["etl"]
    assert etl.info.status == "FAILED"
    assert ended.tags["step.failed"] == "etl"
    assert ended.tags["tabular.reason"] == f"etl: {etl.data.tags['tabular.reason']}"


def test_the_line_names_the_file_and_the_column_as_they_were_typed(broken_chain):
    _, ended = broken_chain
    assert "o'brien's $(touch hacked).csv has no column" in ended.tags["tabular.reason"]
    assert "$(touch hacked)n" in ended.tags["tabular.reason"]


def test_no_parameter_is_run_by_a_shell(broken_chain):
    folder, _ = broken_chain
    assert [path.name for path in folder.iterdir()] == ["o'brien's $(touch hacked).csv"]


def test_a_chain_that_fails_shows_no_traceback_of_ours(broken_chain):
    _, ended = broken_chain
    assert "steps/" not in ended.stderr
    assert ended.lines


def test_a_chain_that_fails_says_so_once_for_the_step_and_once_for_itself(broken_chain):
    _, ended = broken_chain
    assert len(ended.lines) <= 2
    assert len({line.removeprefix("tabular: ").removeprefix("etl: ") for line in ended.lines}) == 1
