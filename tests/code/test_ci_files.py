"""The files of GitHub and GitLab: by their schemas, and by the commands that they run."""

import re
import shlex

import check_jsonschema
import pytest
import yaml
from click.testing import CliRunner, Result

from tests.command_checks import fault
from tests.running import PROJECT

FILES = {
    **{path.name: ("vendor.github-workflows", path) for path in sorted((PROJECT / ".github/workflows").glob("*.yml"))},
    ".gitlab-ci.yml": ("vendor.gitlab-ci", PROJECT / ".gitlab-ci.yml"),
}
COMMANDS = [
    (name, line.strip(" -").removeprefix("run: "))
    for name, (_, path) in FILES.items()
    for line in path.read_text(encoding="utf-8").splitlines()
    if "mlflow run" in line
]


def check(schema: str, *paths) -> Result:
    """What a checker of schemas says of files."""
    return CliRunner().invoke(check_jsonschema.main, ["--builtin-schema", schema, *map(str, paths)])


@pytest.mark.parametrize("schema", ["vendor.github-workflows", "vendor.gitlab-ci"])
def test_files_are_of_their_schema(schema):
    checked = check(schema, *(path for of, path in FILES.values() if of == schema))
    assert checked.exit_code == 0, checked.output


def test_a_key_that_the_schema_does_not_have_is_found(tmp_path):
    schema, path = FILES["chain.yml"]
    (tmp_path / "chain.yml").write_text(path.read_text(encoding="utf-8").replace("runs-on:", "runs_on:"))
    assert "runs_on" in check(schema, tmp_path / "chain.yml").output


@pytest.mark.parametrize(("name", "command"), COMMANDS)
def test_a_command_names_an_entry_point_and_its_parameters(name, command):
    assert fault(tuple(shlex.split(command))) == ""


@pytest.mark.parametrize("name", FILES)
def test_mlflow_is_the_one_of_the_lock(name):
    locked = re.search(r"^mlflow==(\S+)", (PROJECT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    asked = re.findall(r"mlflow==([\d.]+)", FILES[name][1].read_text(encoding="utf-8"))
    assert {*asked} <= {locked[1]}


@pytest.mark.parametrize("name", [name for name in FILES if name != ".gitlab-ci.yml"])
def test_no_text_that_somebody_types_is_part_of_a_script(name):
    jobs = yaml.safe_load(FILES[name][1].read_text(encoding="utf-8"))["jobs"]
    scripts = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert scripts and not [script for script in scripts if "${{" in script]
