"""What a change makes run again, by the keys alone: of each part of the problem, and of each module.

That main goes by the keys, and what it says of it, is tested by chains: tests/pipeline/test_reuse.py.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest

from steps.chain import keys
from steps.pipeline import STEPS, plan
from steps.run import source_digest
from tabular.problem import build
from tests.asked import asked, downstream

PROJECT = Path(__file__).resolve().parents[2]
# Each step's own module, and one of each folder.
MODULES = sorted(
    {f"steps/{step}.py" for step in STEPS}
    | {
        min(path.glob("[a-z]*.py")).relative_to(PROJECT).as_posix()
        for part in ("steps", "tabular")
        for path in [PROJECT / part, *(PROJECT / part).iterdir()]
        if any(path.glob("[a-z]*.py"))
    }
)

# Changes of the problem: the tasks that have another key although their inputs are the same, and in what it differs.
CHANGES: dict[str, tuple[dict[str, Any], set[str], str]] = {
    "a default written out": ({"seed": 0, "data.duplicates": "keep", "search.metric": "roc_auc"}, set(), ""),
    "the description": ({"description": "of what?"}, {"register"}, "description"),
    "the tags": ({"tags": {"team": "other"}}, {"register"}, 'tags.team None -> "other"'),
    "the seed": ({"seed": 1}, {"etl"}, "seed 0 -> 1"),
    "a column to drop": ({"data.drop": {"town": "why not"}}, {"etl"}, 'data.drop.town None -> "why not"'),
    "a column's type": ({"data.types": {"z": "category"}}, {"etl"}, 'data.types.z None -> "category"'),
    "a word for missing": ({"data.missing": ["?"]}, {"etl"}, "data.missing"),
    "columns of the user's own": (
        {"data.features": {"file": "ours.py", "function": "make", "code": "def make(rows): ...\n"}},
        {"etl"},
        "the code of data.features",
    ),
    "the weights": ({"data.weight": "z"}, {"etl"}, 'data.weight null -> "z"'),
    "duplicates": ({"data.duplicates": "drop"}, {"etl"}, 'data.duplicates "keep" -> "drop"'),
    "the positive class": ({"data.positive": 0}, {"etl"}, "data.positive null -> 0"),
    "the holdout": ({"split.holdout": 0.3}, {"etl"}, "split.holdout 0.2 -> 0.3"),
    "the kind of split": ({"split": {"by": "time", "column": "x"}}, {"etl"}, 'split.by "random" -> "time"'),
    "the folds": ({"search.folds": 3}, {"etl"}, "search.folds 2 -> 3"),
    "the trials": ({"search.trials": 3}, {"hpo lightgbm"}, "search.trials 2 -> 3"),
    "the seconds of the chain": ({"timeout": 60}, {"hpo lightgbm", "train logistic"}, "timeout null -> 60.0"),
    "the seconds of the search": ({"search.timeout": 60}, {"hpo lightgbm"}, "search.timeout null -> 60.0"),
    "the metric": (
        {"search.metric": "accuracy"},
        {"hpo lightgbm", "train logistic"},
        'search.metric "roc_auc" -> "accuracy"',
    ),
    "the threshold": (
        {"search.threshold": "f1_score"},
        {"hpo lightgbm", "train logistic"},
        'search.threshold 0.5 -> "f1_score"',
    ),
    "the calibration": (
        {"search.calibrate": "none"},
        {"hpo lightgbm", "train logistic"},
        'search.calibrate "auto" -> "none"',
    ),
    "a space": (
        {"models.lightgbm.space.num_leaves.high": 13},
        {"hpo lightgbm"},
        "models.lightgbm.space.num_leaves.high 12.0 -> 13.0",
    ),
    "a hyperparameter of the searched model": (
        {"models.lightgbm.params.n_estimators": 11},
        {"hpo lightgbm"},
        "models.lightgbm.params.n_estimators 10 -> 11",
    ),
    "a hyperparameter of the other model": (
        {"models.logistic.params.C": 2.0},
        {"train logistic"},
        "models.logistic.params.C None -> 2.0",
    ),
    "how a model's columns are prepared": (
        {"models.logistic.preprocessing": {"numbers": "as_is"}},
        {"train logistic"},
        "models.logistic.preprocessing.numbers",
    ),
    "a step after a model's encoding": (
        {"models.logistic.preprocessing": {"steps": ["sklearn.decomposition.PCA"]}},
        {"train logistic"},
        "models.logistic.preprocessing.steps",
    ),
    "another class": (
        {"models.logistic.estimator": "sklearn.linear_model.LogisticRegressionCV"},
        {"train logistic"},
        "models.logistic.estimator",
    ),
    "whether a candidate is required": (
        {"models.logistic.required": True},
        {"evaluate"},
        "models.logistic.required false -> true",
    ),
    "no space any more": ({"models.lightgbm.space": None}, {"train lightgbm"}, "models.lightgbm.space"),
    "the floor of the gate": ({"gate.beat_prior": False}, {"evaluate"}, "gate.beat_prior true -> false"),
    "what the gate requires": (
        {"gate.require": {"roc_auc": {"min": 0.1}}},
        {"evaluate"},
        "gate.require.roc_auc.min None -> 0.1",
    ),
    "the registered model": ({"registry.name": "another"}, {"register"}, "registry.name"),
    "the alias": ({"registry.alias": "challenger"}, {"register"}, 'registry.alias "champion" -> "challenger"'),
    "the problem's name": ({"name": "renamed"}, {"etl"}, 'name "mutated" -> "renamed"'),
}


# The same problem of a number, and changes of it.
OF_NUMBERS: dict[str, Any] = {
    "task": "regression",
    "models.logistic": {"estimator": "sklearn.linear_model.Ridge"},
    "models.lightgbm.estimator": "lightgbm.LGBMRegressor",
    "search.metric": "rmse",
}
CHANGES_OF_NUMBERS: dict[str, tuple[dict[str, Any], set[str], str]] = {
    "a default written out": ({"evaluation.coverage": 0.9, "data.target_transform": "none"}, set(), ""),
    "the coverage": (
        {"evaluation.coverage": 0.8},
        {"train logistic", "train lightgbm"},
        "evaluation.coverage 0.9 -> 0.8",
    ),
    "the scale of the target": (
        {"data.target_transform": "log1p"},
        {"hpo lightgbm", "train logistic"},
        'data.target_transform "none" -> "log1p"',
    ),
    "the metric": ({"search.metric": "mae"}, {"hpo lightgbm", "train logistic"}, 'search.metric "rmse" -> "mae"'),
    "what the gate requires": (
        {"gate.require": {"interval_coverage": {"min": 0.8}}},
        {"evaluate"},
        "gate.require.interval_coverage.min None -> 0.8",
    ),
    "the weights": ({"data.weight": "z"}, {"etl"}, 'data.weight null -> "z"'),
}


def keyed(**changes: Any) -> tuple[dict[str, keys.Key], dict[str, set[str]]]:
    """The keys of a problem's tasks without their inputs, and what each task needs."""
    problem = build(asked(**changes), "made")
    tasks = plan(problem)
    found = {task.name: keys.of_task(task.step, task.model, problem, {}, {}) for task in tasks}
    return found, {task.name: task.inputs() for task in tasks}


@pytest.mark.parametrize(("changes", "expected", "says"), CHANGES.values(), ids=CHANGES)
def test_a_change_of_the_problem_changes_the_keys_of_the_steps_that_read_it(changes, expected, says):
    _check({}, changes, expected, says)


@pytest.mark.parametrize(("changes", "expected", "says"), CHANGES_OF_NUMBERS.values(), ids=CHANGES_OF_NUMBERS)
def test_a_change_of_a_problem_of_a_number_changes_the_keys_of_the_steps_that_read_it(changes, expected, says):
    _check(OF_NUMBERS, changes, expected, says)


def test_another_task_is_other_work_from_the_first_step_on():
    before, _ = keyed()
    now, _ = keyed(**OF_NUMBERS)
    assert {name for name, key in now.items() if key.whole != before[name].whole} == {*now}


def _check(base, changes, expected, says):
    before, _ = keyed(**base)
    now, needs = keyed(**{**base, **changes})
    others = {name for name, key in now.items() if key.whole != before[name].whole}
    first = others - set().union(*(downstream({name}, needs) - {name} for name in others))
    assert first == expected
    assert all(says in ", ".join(keys.changed(before[name].parts, now[name].parts)) for name in first)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the project's modules, in the place of the project, and the keys of the steps there."""
    folder = tmp_path_factory.mktemp("copy")
    for part in ("steps", "tabular"):
        shutil.copytree(PROJECT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source_digest, "PROJECT", folder)
        yield folder, *of_steps()


def of_steps() -> tuple[dict[str, str], dict[str, set[str]]]:
    """The keys of the steps, and the modules that each of them can import."""
    problem = build(asked(), "made")
    sources = {name: source_digest.digests(name) for name in STEPS}
    models = {name: "lightgbm" if row.each_model else None for name, row in STEPS.items()}
    found = {name: keys.of_task(STEPS[name], models[name], problem, sources[name], {}).whole for name in STEPS}
    return found, {name: set(source) for name, source in sources.items()}


@pytest.mark.parametrize("module", MODULES)
def test_an_edited_module_changes_the_keys_of_the_steps_that_can_import_it_and_of_no_other(copy, module):
    folder, before, sources = copy
    content = (folder / module).read_bytes()
    (folder / module).write_bytes(content + b"\n_A_LINE_MORE = 1\n")
    try:
        after, _ = of_steps()
    finally:
        (folder / module).write_bytes(content)
    assert {name for name in STEPS if before[name] != after[name]} == {
        name for name in STEPS if module in sources[name]
    }
