"""That no step's result depends on what its key leaves out: the same work done without any of it."""

import ast
import json
import subprocess
import sys
from typing import Any

import pandas as pd
import pytest
import yaml

from steps.pipeline import STEPS
from steps.run import source_digest
from steps.run.tags import lasting
from tests.asked import asked
from tests.running import MOST_SECONDS, PROJECT
from tests.stand_ins import STAND_INS

N = 120
TABLE = pd.DataFrame({"x": [i * 7 % 120 + 0.5 for i in range(N)], "z": [i * 5 % 11 for i in range(N)]})
TABLE["town"] = ["Lisboa", "Porto", "Évora"] * (N // 3)
TABLE["y"] = [int(x + 4 * z > 75) for x, z in zip(TABLE["x"], TABLE["z"], strict=True)]
PROBLEM = asked(**{"name": "machinery", "evaluation": {"slices": ["town"]}})
# Name: the step, and its parameters; `@` stands before the names of the runs that fill one.
WORK: dict[str, tuple[str, dict[str, str]]] = {
    "etl": ("etl", {}),
    "hpo lightgbm": ("hpo", {"dataset": "@etl", "model": "lightgbm"}),
    "train logistic": ("train", {"dataset": "@etl", "model": "logistic"}),
    "train lightgbm": ("train", {"dataset": "@etl", "model": "lightgbm", "params": "@hpo lightgbm"}),
    "evaluate": ("evaluate", {"dataset": "@etl", "models": "@train logistic,@train lightgbm"}),
    "register": ("register", {"evaluation": "@evaluate"}),
}
# What holds seconds, the ids of runs, or the machine; of these a digest counts of what lasts, as `tabular.digest.…`.
OF_A_RUN = ("environment.json", "key.json", "changes.patch", "verdict.json", "report.html", "evaluation.json")
OF_A_RUN += ("provenance.json", "sbom.cdx.json")
OF_A_RUN += ("leaderboard.json", "trials.json", "cross_validation.json", "pictures/lightgbm/search_history.png")


@pytest.fixture(scope="module")
def ordinary(store, undrawn, tmp_path_factory):
    """Name: the run of a step, done as it always is, but for its pictures, which would take half of the time."""
    folder = tmp_path_factory.mktemp("machinery")
    TABLE.to_csv(folder / "table.csv", index=False)
    (folder / "problem.yaml").write_text(yaml.safe_dump(PROBLEM))
    made: dict[str, Any] = {}
    for name, (step, parameters) in WORK.items():
        given = {parameter: _filled(text, made) for parameter, text in parameters.items()}
        if step == "etl":
            given["problem"] = str(folder / "problem.yaml")
        ended = store.step(step, **given)
        assert ended.status == 0, ended.stdout + ended.stderr
        made[name] = ended.run
    return made


@pytest.fixture(scope="module")
def without(store, ordinary, tmp_path_factory):
    """Name: the run of a step, done with stand-ins for all machinery."""
    told = []
    for name, (step, parameters) in WORK.items():
        # a problem and a champion to meet are given by an ordinary run
        given = {"etl": {"problem": ordinary["etl"].info.run_id}, "register": {"replays": ordinary[name].info.run_id}}
        arguments = {**dict.fromkeys(STEPS[step].parameters, ""), **parameters, **given.get(step, {})}
        told.append({"name": name, "step": step, "arguments": arguments})
    environment = {**store.environment, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.stand_ins"],
        check=False,
        cwd=tmp_path_factory.mktemp("stand_ins"),
        env=environment,
        input=json.dumps(told),
        capture_output=True,
        text=True,
        timeout=MOST_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: store.client.get_run(run_id) for name, run_id in json.loads(done.stdout.splitlines()[-1]).items()}


def _filled(text: str, made: dict[str, Any]) -> str:
    return ",".join(made[word[1:]].info.run_id if word.startswith("@") else word for word in text.split(","))


@pytest.mark.slow
@pytest.mark.parametrize("name", WORK)
def test_a_step_leaves_the_same_without_any_machinery(store, ordinary, without, name):
    expected, found = (_left(store, runs[name]) for runs in (ordinary, without))
    assert [what for what in {**expected, **found} if expected.get(what) != found.get(what)] == []


def _left(store, run) -> dict[str, Any]:
    """What a step's run holds, but for seconds, ids and the machine."""
    counted = ("tabular.digest.", "tabular.outcome", "tabular.verdict", "tabular.winner", "tabular.met")
    record = json.loads(store.artifact(run, "artifacts.json").read_text())
    return {
        "name": run.info.run_name,
        **{f"parameter {name}": value for name, value in run.data.params.items()},
        **{f"metric {name}": value for name, value in lasting(run.data.metrics).items()},
        **{f"tag {name}": value for name, value in run.data.tags.items() if name.startswith(counted)},
        **{f"artifact {name}": digest for name, (_, digest) in record["run"].items() if name not in OF_A_RUN},
    }


def test_what_computes_uses_no_more_of_the_machinery_than_there_are_stand_ins_for():
    names = {name for step in STEPS for name in source_digest.digests(step) if name.endswith(".py")}
    used: dict[str, set[str]] = {}
    for name in names:
        for module, word in _used((PROJECT / name).read_text(encoding="utf-8")):
            used.setdefault(module, set()).add(word)
    assert used == {module: set(stand_in) for module, stand_in in STAND_INS.items()}


def _used(source: str):
    """The names that a module uses of the machinery, each with the machinery's module."""
    nodes = list(ast.walk(ast.parse(source)))
    modules: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            assert not any(_is_machinery(alias.name) for alias in node.names), "import it by `from`"
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if (PROJECT / f"{whole.replace('.', '/')}.py").is_file():
                    modules |= {alias.asname or alias.name: whole} if _is_machinery(whole) else {}
                elif _is_machinery(str(node.module)):
                    yield node.module, alias.name
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield modules[node.value.id], node.attr
    bare = [node for node in nodes if isinstance(node, ast.Name) and node.id in modules]
    reached = [node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    assert len(bare) == sum(node.value.id in modules for node in reached), "a module of machinery is passed on"


def _is_machinery(module: str) -> bool:
    return any(f"{module}.".startswith(f"{one}.") for one in source_digest.MACHINERY)
