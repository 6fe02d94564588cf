"""The commands of README and docs/, typed page by page into bash in a fresh clone, on a small table.

What is run elsewhere is passed over (`ELSEWHERE` in tests/commands.py). A command that is new on a page is typed here
from then on; tables that it names and that are not there are made for it.
"""

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from steps.run.tags import PROVENANCE
from tests import commands, typed
from tests.chains import clone_of_working_files
from tests.commands import Block
from tests.running import MOST_SECONDS, PROJECT, Store

pytestmark = pytest.mark.skipif(not (PROJECT / ".git").exists(), reason="the project is not a git clone")

PAGES = [page for page in commands.pages() if commands.blocks(page)]
MODEL = "customers_classifier"
CHAIN = "mlflow run . --env-manager uv --experiment-name churn -P data=customers.csv -P target=churned"
PROMOTION = (
    f"mlflow run . -e promote --env-manager uv --experiment-name churn -P name={MODEL} -P version=2 -P reason=tried"
)
# What is another one here: the environment, the experiment, and the registered model.
HERE = {
    r"--env-manager uv": "--env-manager local",
    r"--experiment-name \S+": "--experiment-name churn",
    r"(?<=models:/)\w+(?=@)": MODEL,
    r"(?<=models:/)\w+/\d+": f"{MODEL}/1",
    r"(?<=-P name=)\w+": MODEL,
    r'(?<=by_alias\(")\w+': MODEL,
    r'(?<=problem = ")\w+': "customers",
}
# No program is found, so that bash asks this function for each. mlflow is forked off a process that has imported it.
TYPIST = """
set -e
PATH=/nowhere
command_not_found_handle() {
    unset -f command_not_found_handle  # what is not found here either is an error
    [[ " $PASSED_OVER " != *" ${BASH_LINENO[0]}:$1 "* ]] || return 0
    if [[ $1 != mlflow ]]; then PATH=$FOUND "$@"; return; fi
    if [[ $2 == run && " $* " != *" -e "* ]]; then  # a chain, which is to be a small one
        [[ " $* " == *" problem="* ]] && set -- "$@" -P preset=quick || set -- "$@" -P trials=1
    fi
    PATH=$FOUND python "$TYPED" "$KEEPER" "${@:2}"
}
"""


def customers(rows: int = 150) -> pd.DataFrame:
    """Customers; who spends little a month leaves."""
    draw = np.random.default_rng(3)
    months, spent = draw.integers(1, 40, rows), draw.gamma(2, 50, rows)
    left = np.where(spent / months + draw.normal(0, 2, rows) < 5, "yes", "no")
    plan = draw.choice(["basic", "family", "none"], rows)
    return pd.DataFrame({"months": months, "spent": spent, "plan": plan, "churned": left})


@dataclass
class Desk:
    """A fresh clone with a store of its own, in which somebody types."""

    folder: Path
    store: Store
    ended: dict[str, subprocess.CompletedProcess] = field(default_factory=dict)  # by what was typed

    def type(self, block: Block) -> subprocess.CompletedProcess:
        """Type what is not run elsewhere of a block; what was typed already, on another page, is not typed again."""
        text = self.put(block)
        if text not in self.ended:
            self.ended[text] = self.bash(block, text)
        return self.ended[text]

    def bash(self, block: Block, text: str) -> subprocess.CompletedProcess:
        """Type the text of a block."""
        passed = [one for one in commands.fenced() if one.block == block and commands.elsewhere(one)]
        environment = {
            **self.store.environment,
            "FOUND": self.store.environment["PATH"],
            "KEEPER": typed.keeper_address(),
            "TYPED": typed.__file__,
            "PASSED_OVER": " ".join(f"{one.line - block.line + 1}:{one.words[0]}" for one in passed),
        }
        for _, words in commands.words_of(text):
            self.provide(words)
        script = self.folder.parent / "typed.sh"
        script.write_text(text, encoding="utf-8")
        pipes = {"capture_output": True, "text": True, "timeout": MOST_SECONDS}
        return subprocess.run(
            ["bash", "-c", f"{TYPIST}. {script}"], cwd=self.folder, env=environment, check=False, **pipes
        )

    def must(self, command: str) -> None:
        """Type a command of our own, which has to end well."""
        done = self.type(Block(PROJECT / "README.md", 0, f"{command}\n", ""))
        assert done.returncode == 0, done.stdout + done.stderr

    def put(self, block: Block) -> str:
        """A block with what is another one here, and the ids of runs where it has `<id of a run of …>`."""
        text = commands.PLACEHOLDER.sub(lambda found: self.meant(block, found[1]), block.text)
        for there, here in HERE.items():
            text = re.sub(there, here, text)
        return text

    def meant(self, block: Block, words: str) -> str:
        """The id of the run that a placeholder asks for; of any step, that of etl."""
        steps = (*re.findall(r"\w+", words), *(["etl"] if "step" in words else []))
        (experiment,) = [one for one in self.store.client.search_experiments() if one.name == "churn"]
        for step in ("hpo", "train", "evaluate", "register", "etl", "main"):
            if step in steps:
                asked = f"tags.`mlflow.project.entryPoint` = '{step}' and attributes.status = 'FINISHED'"
                return self.store.client.search_runs([experiment.experiment_id], asked)[-1].info.run_id
        raise AssertionError(f"{block.place}: <{words}>: of which entry point is this run?")

    def provide(self, words: tuple[str, ...]) -> None:
        """The tables that an `mlflow run` reads, where they are not there."""
        given = dict(word.split("=", 1) for word in words if "=" in word)
        data, truth, key = given.get("data", ""), given.get("truth", ""), given.get("keys", "booking")
        rows = customers().rename(columns={"churned": given.get("target", "churned")}).assign(**{key: range(150)})
        if truth:
            self.write(truth, rows)
            if not (self.folder / data).exists():
                asked = f"-P model=models:/{MODEL}@champion -P data=asked.csv -P output={data}"
                self.must(f"mlflow run . -e predict --env-manager local --experiment-name churn {asked}")
        elif "predict" in words:
            self.write(data, rows.drop(columns="churned"))
        else:
            self.write(data, rows if "monitor" in words else rows.drop(columns=key))

    def write(self, name: str, table: pd.DataFrame) -> None:
        """A table under a name, where that is one of a file that is not there."""
        path = self.folder / name
        if re.fullmatch(r"[\w-]+\.(csv|parquet)", name) and not path.exists():
            table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path)


@pytest.fixture(scope="module")
def desk(tmp_path_factory, fork_server) -> Desk:
    """A clone, a chain in it whose champion is signed, and a second version that has been the champion for a while."""
    folder = tmp_path_factory.mktemp("typed") / "project"
    clone_of_working_files(folder)
    store = Store(folder, fork_server=fork_server)
    # who types has none of these: the store is mlflow.db in the folder, and the experiment is named
    del store.environment["MLFLOW_TRACKING_URI"], store.environment["MLFLOW_EXPERIMENT_NAME"]
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder.parent / "key.pem").write_bytes(pem)
    store.environment["TABULAR_SIGNING_KEY"] = str(folder.parent / "key.pem")
    flights = pd.DataFrame({"date": pd.date_range("2026-01-01", periods=4), "delay": [0.0, 5.0, 16.0, 90.0]})
    flights.to_parquet(folder / "flights-3m.parquet")  # of docs/problems.md
    made = Desk(folder, store)
    made.must(CHAIN)
    first = store.client.get_model_version(MODEL, "1")
    mlflow.set_tracking_uri(store.uri)  # the registry asks for the model by the address of the process
    told = {name: value for name, value in first.tags.items() if name != PROVENANCE}
    store.client.create_model_version(MODEL, first.source, first.run_id, tags=told)
    mlflow.set_tracking_uri(None)
    made.must(PROMOTION)
    return made


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_end_well_one_after_the_other(desk, page):
    ended = [(block, desk.type(block)) for block in commands.blocks(page)]
    failed = [f"{block.place}: {done.stderr or done.stdout}" for block, done in ended if done.returncode]
    if failed:
        pytest.fail("\n".join(failed), pytrace=False)
