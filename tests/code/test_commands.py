"""Every command of README, docs/ and the notebook: its program has what it asks for, and some test runs it.

Nothing is run here: tests/pipeline/test_typed_pages.py types the pages.
"""

import ast
import re
from pathlib import Path

import pytest
from mlflow import environment_variables

from tests import commands
from tests.command_checks import fault
from tests.commands import Command, Elsewhere
from tests.running import PROJECT


def assert_right(found: list[Command], is_whole: bool) -> None:
    """Fail with the faults of commands, one a line."""
    wrong = [f"{one}: {why}" for one in found if (why := fault(one.words, is_whole))]
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


def test_every_command_of_a_block_is_one_that_its_program_takes() -> None:
    assert len(commands.fenced()) > 50  # of none, nothing could be wrong
    assert_right(commands.fenced(), is_whole=True)


def test_every_command_in_a_sentence_is_one_that_its_program_takes() -> None:
    assert len(commands.inline()) > 50
    assert_right(commands.inline(), is_whole=False)


# MLflow's container reads this one, which is not among MLflow's other variables.
BESIDE_THOSE_OF_MLFLOW = {"MLFLOW_MODELS_WORKERS"}
READERS = ("steps/**/*.py", "tabular/**/*.py", "serving/*.py", ".github/workflows/*.yml", ".gitlab-ci.yml")


def test_every_variable_that_a_page_names_is_read_by_mlflow_or_by_us() -> None:
    ours = "".join(path.read_text(encoding="utf-8") for one in READERS for path in PROJECT.glob(one))
    known = {*vars(environment_variables), *BESIDE_THOSE_OF_MLFLOW, *re.findall(r"TABULAR_[A-Z_]+", ours)}
    named = {
        f"{page.name}: {name}"
        for page in commands.pages()
        for name in re.findall(r"\b(?:MLFLOW|TABULAR)_[A-Z_]*[A-Z]\b", commands.text_of(page))
        if name not in known
    }
    assert named == set()


def source_of(path: Path) -> str:
    """The source of a module of the tests, and of those beside it that it imports."""
    text = path.read_text(encoding="utf-8")
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    names = {part for node in imports for part in [*str(node.module).split("."), *(one.name for one in node.names)]}
    beside = [one for folder in (PROJECT / "tests", path.parent) for one in folder.glob("*.py") if one.stem in names]
    return text + "".join(one.read_text(encoding="utf-8") for one in beside)


@pytest.mark.parametrize("row", commands.ELSEWHERE, ids=lambda row: row.commands)
def test_what_is_not_typed_here_has_a_reason_or_a_test_that_does_it(row: Elsewhere) -> None:
    assert bool(row.why) != bool(row.test)
    if row.test:
        path, _, name = row.test.partition("::")
        assert f"\ndef {name}(" in (PROJECT / path).read_text(encoding="utf-8"), f"{path} has no test {name}"
        missing = [words for words in row.words if words not in source_of(PROJECT / path)]
        assert row.words and not missing


ASK = "curl http://127.0.0.1:5001/invocations -H 'Content-Type: application/json' -d"
WRONG = {
    "wget https://host.example/t.csv": "no check knows the program wget",
    "mlflow rnu .": "'rnu' is no command of mlflow",
    "mlflow run . --env-manger uv": "No such option",
    "mlflow run . --env-manager docker": "Invalid value for `env_manager`: docker",
    "mlflow models serve --env-manager uv": "Missing option",
    "mlflow run . -e predic": "no entry point 'predic'",
    "mlflow run . -e predict -P model=m -P data=d": "predict needs output",
    "mlflow run . -P trails=3": "main has no parameter trails",
    "mlflow run . -P problem=irises": "there is no problems/irises.yaml",
    "-P of=train": "write the whole command",
    "python benchmarks/nowhere.py": "there is no benchmarks/nowhere.py",
    "python benchmarks/search.py --second 20": "unrecognized arguments: --second",
    "python benchmarks/chain.py": "required: plain_chain",
    "python -m tests.nowhere": "there is no module tests.nowhere",
    "python -m steps check --problme=iris": "check has no parameter 'problme'",
    "python -c 'print('": "Python cannot read this code",
    "pip install mlflow==2.0.0": "another version of mlflow",
    "uv pip install -r requirements-nowhere.txt": "there is no requirements-nowhere.txt",
    "uv pip compile --univarsal requirements.in": "no option --univarsal",
    f"{ASK} '{{\"rows\": []}}'": "a scoring server cannot read this body",
    f"{ASK} '{{\"dataframe_records\": [}}'": "a scoring server cannot read this body",
    f'{ASK} \'{{"dataframe_records": [{{"a": 1}}], "params": {{"treshold": 0.3}}}}\'': "no model has a parameter",
    "docker build -f serving/Dockerfil .": "there is no serving/Dockerfil",
}


@pytest.mark.parametrize("typed", WRONG, ids=str)
def test_a_command_that_its_program_does_not_take_is_found(typed: str) -> None:
    ((_, words),) = commands.words_of(typed)
    assert WRONG[typed] in fault(words)


def test_commands_in_loops_in_others_and_after_others_are_found_with_their_lines() -> None:
    text = """one && two \\
  'a b'
for x in 3 4; do
  three $x
done
cat > file <<'END'
no command
END
four "$(five)"
"""
    assert commands.words_of(text) == [
        (1, ("one",)),
        (2, ("two", "a b")),
        (4, ("three", "3")),
        (4, ("three", "4")),
        (6, ("cat",)),
        (9, ("five",)),
        (9, ("four", "")),
    ]


def test_a_block_that_bash_cannot_read_is_told() -> None:
    with pytest.raises(ValueError, match="line 2: unexpected EOF"):
        commands.words_of("one\ntwo 'three\n")
