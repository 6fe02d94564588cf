"""A team's server with accounts: what an ordinary account can do there, and which right each entry point needs.

PostgreSQL, an object store and MLflow with its stock accounts run on loopback, the latter as deploy/serve.py starts it.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.server import get_app_client

from steps.run.tags import lasting
from tests import notebook, servers
from tests.chains import write_table
from tests.running import PROJECT, Ended, Store

pytestmark = pytest.mark.usefixtures("undrawn")

PROBLEM = """
name: team
data: {source: table.csv, target: y}
models:
  logistic: {estimator: sklearn.linear_model.LogisticRegression}
search: {folds: 2}
registry: {name: %s}
"""
# One more of its models, which is searched.
TREE = """
  tree: {estimator: sklearn.tree.DecisionTreeClassifier, space: {max_depth: {type: int, low: 1, high: 3}}}
"""
ACCOUNTS = ("ann", "bob", "dora", "eve")


class Team:
    """A team's server, and a store for each of its accounts."""

    def __init__(self, address: str, folder: Path, fork_server: str) -> None:
        self.address, self.folder, self.fork_server = address, folder, fork_server
        self.rights = get_app_client("basic-auth", tracking_uri=address)

    def store(self, account: str, experiment: str, password: str = servers.PASSWORD) -> Store:
        """What an account sees, whose runs go to an experiment."""
        folder = self.folder / account
        folder.mkdir(exist_ok=True)
        store = Store(folder, fork_server=self.fork_server)
        store.uri, store.client = self.address, MlflowClient(self.address, self.address)
        store.environment |= {
            "MLFLOW_TRACKING_URI": self.address,
            "MLFLOW_TRACKING_USERNAME": account,
            "MLFLOW_TRACKING_PASSWORD": password,
            "MLFLOW_EXPERIMENT_NAME": experiment,
        }
        held = store.client.get_experiment_by_name(experiment)
        store.experiment = held.experiment_id if held else self._made(account, experiment)
        return store

    def _made(self, account: str, experiment: str) -> str:
        """An experiment that an account has made, and so owns."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_USERNAME", account)
            return str(MlflowClient(self.address, self.address).create_experiment(experiment))

    def step(self, account: str, entry_point: str, where: str = "", **parameters: str) -> Ended:
        """An entry point that an account runs, in an experiment of its own or in another one."""
        return self.store(account, where or f"{account}'s").step(entry_point, **parameters)

    def refusal(self, account: str, entry_point: str, where: str = "", **parameters: str) -> str:
        """The one line with which it is refused."""
        ended = self.step(account, entry_point, where, **parameters)
        assert ended.status == 1, ended.stdout
        (line,) = ended.stderr.splitlines()
        assert servers.PASSWORD not in line + ended.stdout
        return line

    def problem(self, name: str) -> str:
        """The path of a problem whose registered model is that of `theirs` or of `own`."""
        return str(self.folder / f"{name}.yaml")


@pytest.fixture(scope="module")
def as_administrator() -> Iterator[None]:
    """This process asks the server as its administrator; the steps ask it as who they are started by."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        patch.setenv("MLFLOW_TRACKING_PASSWORD", servers.PASSWORD)
        yield


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, fork_server: str, as_administrator: None) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    write_table(folder / "table.csv")
    for name in ("theirs", "own"):
        (folder / f"{name}.yaml").write_text(PROBLEM % f"{name}_model")
    with_tree = (PROBLEM % "searched_model").replace("\nsearch:", f"{TREE}search:")
    (folder / "searched.yaml").write_text(with_tree)
    with servers.team(folder) as address:
        found = Team(address, folder, fork_server)
        for account in ACCOUNTS:
            found.rights.create_user(account, servers.PASSWORD)
        yield found


@pytest.fixture(scope="module")
def hidden(team: Team, of_ann: Ended) -> None:
    """Dora may see neither the experiment nor the registered model of ann."""
    team.rights.grant_user_permission("dora", "experiment", of_ann.run.info.experiment_id, "DENY")
    team.rights.grant_user_permission("dora", "registered_model", "theirs_model", "DENY")


@pytest.fixture(scope="module")
def of_ann(team: Team) -> Ended:
    """A chain of an ordinary account, in an experiment and with a registered model that were not there before."""
    return team.store("ann", "ann's").project(problem=team.problem("theirs"))


def test_an_ordinary_account_registers_a_model_that_is_not_there_yet(of_ann, team):
    assert of_ann.status == 0, of_ann.stderr
    assert of_ann.tags["tabular.outcome"] == "registered"
    version = MlflowClient(team.address, team.address).get_model_version_by_alias("theirs_model", "champion")
    assert str(version.version) == "1"


def test_the_history_names_the_account(of_ann, team):
    tags = MlflowClient(team.address, team.address).get_registered_model("theirs_model").tags
    assert ['"by": "ann"' in value for name, value in tags.items() if "history" in name] == [True]


def test_the_metrics_are_those_of_a_database_bit_by_bit(of_ann, team, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_USERNAME")
        alone = Store(tmp_path, fork_server=team.fork_server).project(problem=str(team.folder / "theirs.yaml"))

    assert alone.status == 0, alone.stderr
    assert lasting(of_ann.run.data.metrics) == lasting(alone.run.data.metrics) != {}


# --- the rights of docs/server.md -------------------------------------------------------------------------------------


def test_who_may_only_read_an_experiment_makes_no_run_there(of_ann, team):
    line = team.refusal("bob", "etl", "ann's", problem=team.problem("own"))
    assert "does not give bob the right to /api/2.0/mlflow/runs/create: ask its administrator" in line


def test_who_may_read_an_experiment_works_on_its_runs_in_another_one(of_ann, team):
    etl = team.store("ann", "ann's").children(of_ann.id)["etl"]
    ended = team.step("bob", "train", dataset=etl.info.run_id, model="logistic")
    assert ended.status == 0, ended.stderr


def test_who_may_read_an_experiment_searches_judges_and_registers_from_its_runs(of_ann, team):
    runs = team.store("ann", "ann's").children(of_ann.id)
    etl, train = runs["etl"].info.run_id, runs["train logistic"].info.run_id
    problem = team.problem("searched")
    hpo = team.step("bob", "hpo", dataset=etl, model="tree", problem=problem, trials="1")
    assert hpo.status == 0, hpo.stderr
    evaluation = team.step("bob", "evaluate", dataset=etl, models=train)
    assert evaluation.status == 0, evaluation.stderr
    register = team.step("bob", "register", evaluation=evaluation.id, problem=problem)
    assert register.status == 0, register.stderr
    assert register.tags["tabular.outcome"] == "registered"
    # what bob has registered is his own
    assert "does not give ann the right to" in team.refusal("ann", "promote", **{**PROMOTION, "name": "searched_model"})


def test_who_may_not_read_an_experiment_is_told_so_of_its_runs(of_ann, team, hidden):
    etl = team.store("ann", "ann's").children(of_ann.id)["etl"]
    line = team.refusal("dora", "train", dataset=etl.info.run_id, model="logistic")
    assert "does not give dora the right to" in line


def test_a_model_that_may_only_be_read_is_refused_before_any_work(of_ann, team):
    line = team.refusal("bob", "main", problem=team.problem("theirs"))
    assert "registry.name: bob may see the registered model 'theirs_model' and not change it" in line


def test_a_model_that_is_hidden_is_told_from_one_that_is_not_there(of_ann, team, hidden):
    line = team.refusal("dora", "main", problem=team.problem("theirs"))
    assert "there is a registered model 'theirs_model' that dora may not see" in line


def test_the_check_says_each_answer(of_ann, team):
    ended = team.step("bob", "check", problem=team.problem("theirs"))
    assert ended.status == 1
    said = [line.split()[0] for line in ended.stdout.splitlines() if line.startswith("  ") and "note:" not in line]
    assert said == ["server", "account", "runs", "artifacts", "registry"]
    assert "  account    bob is let in" in ended.stdout
    assert "  registry   NO: registry.name: bob may see" in ended.stdout


def test_the_check_of_what_is_well_ends_well(team):
    ended = team.step("bob", "check", problem=team.problem("own"))
    assert ended.status == 0, ended.stderr
    assert "there is no registered model 'own_model' yet" in ended.stdout


def test_who_may_read_a_model_predicts_with_it(of_ann, team, tmp_path):
    about = {"data": str(team.folder / "table.csv"), "output": str(tmp_path / "out.csv")}
    ended = team.step("bob", "predict", model="models:/theirs_model@champion", **about)
    assert ended.status == 0, ended.stderr
    assert (tmp_path / "out.csv").exists()
    assert "note: the model is not shown as an input of this run" in ended.stdout


def test_who_may_not_read_a_model_does_not_predict_with_it(of_ann, team, hidden, tmp_path):
    about = {"data": str(team.folder / "table.csv"), "output": str(tmp_path / "out.csv")}
    line = team.refusal("dora", "predict", model="models:/theirs_model@champion", **about)
    assert "'theirs_model' that dora may not see" in line


def test_who_may_read_an_experiment_compares_its_runs(of_ann, team):
    ended = team.step("bob", "compare", experiment="ann's")
    assert ended.status == 0, ended.stderr


def test_who_may_read_an_experiment_and_a_model_looks_at_them_by_the_notebook(of_ann, team):
    said = notebook.said(team.store("bob", "ann's").environment)
    assert "etl team" in said
    assert "'alias': 'models:/theirs_model@champion'" in said


@pytest.fixture
def replays(monkeypatch):
    """Runs can be replayed, by steps of this process, which tell their children who calls them."""
    if not (PROJECT / ".git").exists():
        pytest.skip("the project is not a git clone")
    monkeypatch.setenv("TABULAR_CALLER", "")  # what a step in this process sets is gone afterwards
    monkeypatch.delenv("TABULAR_CALLER")


def test_who_may_read_an_experiment_reproduces_a_step(of_ann, team, replays):
    train = team.store("ann", "ann's").children(of_ann.id)["train logistic"]
    ended = team.step("bob", "reproduce", run=train.info.run_id)
    assert ended.status == 0, ended.stdout + ended.stderr
    assert ended.tags["tabular.outcome"] == "same"


# main asks for the most: all that its steps read, and for the registry
@pytest.mark.long
def test_who_may_read_an_experiment_and_a_model_reproduces_the_chain(of_ann, team, replays):
    ended = team.store("bob", "bob's").project("reproduce", run=of_ann.id)
    assert ended.status == 0, ended.stdout + ended.stderr
    assert ended.tags["tabular.outcome"] == "same"


def test_who_may_not_read_an_experiment_does_not_reproduce_its_runs(of_ann, team, hidden, replays):
    assert "does not give dora the right to" in team.refusal("dora", "reproduce", run=of_ann.id)


PROMOTION = {"name": "theirs_model", "version": "1", "reason": "a try", "alias": "candidate"}


def test_who_may_only_read_a_model_does_not_promote_it(of_ann, team):
    assert "does not give bob the right to" in team.refusal("bob", "promote", **PROMOTION)


def test_who_may_edit_a_model_promotes_it(of_ann, team):
    team.rights.grant_user_permission("eve", "registered_model", "theirs_model", "EDIT")
    ended = team.step("eve", "promote", **PROMOTION)
    assert ended.status == 0, ended.stderr


@pytest.fixture(scope="module")
def old(team: Team) -> str:
    """The name of an experiment of ann's with a run that has done its work; bob may edit it."""
    checked = team.step("ann", "check", "old", problem=team.problem("own"))
    team.rights.grant_user_permission("bob", "experiment", checked.run.info.experiment_id, "EDIT")
    return "old"


OF_ALL_AGES = {"older_than": "0h", "keep": "0", "delete": "true"}


def test_who_may_only_edit_an_experiment_does_not_delete_its_runs(old, team):
    line = team.refusal("bob", "clean", old, **OF_ALL_AGES)
    assert "does not give bob the right to delete artifacts of this experiment" in line


def test_who_owns_an_experiment_deletes_its_runs(old, team):
    ended = team.step("ann", "clean", old, **OF_ALL_AGES)
    assert ended.status == 0, ended.stderr
    left = MlflowClient(team.address, team.address).search_runs([ended.run.info.experiment_id])
    assert [run.info.run_id for run in left] == [ended.id]


def test_an_administrator_may_do_all(of_ann, team):
    ended = team.step("admin", "promote", "ann's", **{**PROMOTION, "alias": "another"})
    assert ended.status == 0, ended.stderr


def test_a_password_that_is_wrong_is_one_line(team):
    store = team.store("ann", "ann's", password="not-ann's-password")
    ended = store.step("check", problem=team.problem("own"))
    (line,) = ended.stderr.splitlines()
    assert "does not know the account 'ann' with this password" in line
    assert "not-ann's" not in line


def test_the_page_tells_the_rights_of_every_entry_point():
    page = (PROJECT / "docs" / "server.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    told = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    doors = yaml.safe_load((PROJECT / "MLproject").read_text(encoding="utf-8"))["entry_points"]
    assert sorted(told) == sorted(doors)
