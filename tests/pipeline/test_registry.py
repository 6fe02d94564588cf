"""Who becomes the champion, who does not, and what the chain says of it."""

import contextlib
import json
import re
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST

from steps.process import pool
from steps.run.tags import lasting

pytestmark = pytest.mark.usefixtures("undrawn")

N = 200
SIGNAL = pd.DataFrame({"x": range(N), "z": [i * 7 % 13 for i in range(N)], "y": [int(i % 5 > 1) for i in range(N)]})
SIGNAL["x"] = SIGNAL["y"] * 3 + SIGNAL["z"] % 3
YAML = """
name: {name}
description: Which rows are of class 1?
data: {{source: {source}, target: y}}
models:
  constant: {{estimator: sklearn.dummy.DummyClassifier}}
  logistic: {{estimator: sklearn.linear_model.LogisticRegression}}
search: {{metric: roc_auc, folds: 3}}
gate: {{require: {{roc_auc: {{min: {least}}}}}}}
tags: {{team: data-science}}
"""


def problem(folder, name, *, least=0.0, models=None):
    """A problem's file on the table with a signal."""
    SIGNAL.to_csv(folder / "signal.csv", index=False)
    text = YAML.format(name=name, source=folder / "signal.csv", least=least)
    if models == "logistic":
        text = "\n".join(line for line in text.splitlines() if "constant" not in line)
    path = folder / f"{name}-{least}.yaml"
    path.write_text(text)
    return str(path)


class Arena:
    """Data sets, candidates trained on them and evaluations: made once, and judged under as many names as there are."""

    def __init__(self, store, folder):
        self.store, self.folder, self._made = store, folder, {}

    def etl(self, table=SIGNAL, seed=0):
        """The run of etl on a table that is split by a seed."""
        number = pd.util.hash_pandas_object(table).sum()
        key = (tuple(table.columns), number, seed)
        if key not in self._made:
            place = self.folder / f"{number}_{seed}"
            place.mkdir()
            table.to_csv(place / "signal.csv", index=False)
            path = place / "arena.yaml"
            path.write_text(f"{YAML.format(name='arena', source=place / 'signal.csv', least=0.0)}seed: {seed}\n")
            self._made[key] = self.store.step("etl", problem=str(path))
        return self._made[key]

    def trained(self, model, etl=None, *, anew=False):
        """A run of train."""
        dataset = (etl or self.etl()).id
        if anew or (dataset, model) not in self._made:
            made = self.store.step("train", dataset=dataset, model=model)
            if anew:
                return made
            self._made[dataset, model] = made
        return self._made[dataset, model]

    def first(self, model):
        """A duel of one model, where there was no champion, and the run of its register."""
        if ("first", model) not in self._made:
            duel = Duel(self, self.folder, f"first_{model}")
            self._made["first", model] = duel, duel.register(duel.train(model))
        return self._made["first", model]

    def registered(self, model):
        """A version that a register has made of a model as the first of its name."""
        duel, ended = self.first(model)
        assert ended.tags["tabular.outcome"] == "registered", ended.stderr
        return duel.champion()

    def evaluation(self, trained, etl=None):
        """A run of evaluate on a candidate alone."""
        dataset = (etl or self.etl()).id
        if trained.id not in self._made:
            self._made[trained.id] = self.store.step("evaluate", dataset=dataset, models=trained.id)
        return self._made[trained.id]


class Duel:
    """A name in the registry, for which candidates are judged one by one."""

    def __init__(self, arena, folder, name):
        self.arena, self.store, self.folder = arena, arena.store, folder
        self.name, self.registry = name, f"{name}_classifier"

    def train(self, model, *, anew=False):
        return self.arena.trained(model, anew=anew)

    def register(self, trained, etl=None):
        evaluation = self.arena.evaluation(trained, etl)
        asked = problem(self.folder, self.name)
        return self.store.step("register", evaluation=evaluation.id, problem=asked)

    def crown(self, model):
        """Make a model the champion: a version like one that register has made, and the alias moved as it does."""
        from steps.model import registry

        like, client = self.arena.registered(model), self.store.client
        with contextlib.suppress(MlflowException):  # it is there
            client.create_registered_model(self.registry)
        about = {"run_id": like.run_id, "tags": like.tags, "model_id": like.model_id}
        mlflow.set_tracking_uri(self.store.uri)  # where MLflow looks for the source
        version = client.create_model_version(self.registry, like.source, **about)
        mlflow.set_tracking_uri(None)
        why = {"why": "the first", "run_id": like.tags["tabular.register"]}
        assert registry.move_alias(client, version, "champion", **why)

    def challenge(self, table, *, seed=0):
        """Logistic regression on another table or another split: the tags of its register."""
        etl = self.arena.etl(table, seed)
        ended = self.register(self.arena.trained("logistic", etl), etl)
        assert ended.status == 0, ended.stderr
        return ended.tags

    def champion(self):
        return self.store.client.get_model_version_by_alias(self.registry, "champion")


@pytest.fixture(scope="module")
def arena(store, tmp_path_factory):
    """What the duels are about."""
    return Arena(store, tmp_path_factory.mktemp("arena"))


@pytest.fixture
def duel(arena, tmp_path, request):
    """A duel under a name of its own in the registry."""
    return Duel(arena, tmp_path, f"duel_{abs(hash(request.node.name)) % 10**8}")


@pytest.fixture(scope="module")
def first(arena):
    """A register of a model where there is no champion."""
    return arena.first("logistic")


@pytest.fixture(scope="module")
def replaced(arena, tmp_path_factory):
    """A register of a model that is better than the champion."""
    duel = Duel(arena, tmp_path_factory.mktemp("replaced"), "replaced")
    duel.crown("constant")
    return duel, duel.register(duel.train("logistic"))


@pytest.fixture(scope="module")
def twin(arena):
    """A run of train that did once more what another has done, with a model of its own."""
    return arena.trained("logistic", anew=True)


@pytest.fixture(scope="module")
def fragile(arena, tmp_path_factory):
    """A duel with a champion of its own, and the folder of that model: who damages it puts it back."""
    duel = Duel(arena, tmp_path_factory.mktemp("fragile"), "fragile")
    trained = duel.train("constant", anew=True)
    assert duel.register(trained).tags["tabular.outcome"] == "registered"
    return duel, folder_of(arena.store, trained)


def test_the_first_to_pass_the_gate_becomes_the_champion(first):
    duel, ended = first
    assert ended.tags["tabular.outcome"] == "registered"
    assert duel.champion().run_id == duel.train("logistic").id


def test_a_better_challenger_replaces_the_champion(replaced):
    duel, ended = replaced
    assert ended.tags["tabular.outcome"] == "registered"
    assert "logistic beats the champion (version 1): roc_auc 1.0000 against 0.5000" in ended.tags["tabular.verdict"]
    assert duel.champion().run_id == duel.train("logistic").id
    assert len(duel.store.versions(duel.registry)) == 2


def semantic(duel, table, *, seed=0):
    """The semantic version that a challenger gets which beats a constant that was registered on `SIGNAL`."""
    duel.crown("constant")
    assert duel.challenge(table, seed=seed)["tabular.outcome"] == "registered"
    return duel.champion().tags["tabular.semantic_version"]


def test_the_same_data_and_code_with_another_seed_are_a_patch(duel):
    assert semantic(duel, SIGNAL, seed=1) == "1.0.1"


def test_other_rows_are_a_minor_version(duel):
    assert semantic(duel, SIGNAL.assign(z=SIGNAL["z"] + 1)) == "1.1.0"


def test_another_column_is_a_major_version(duel):
    assert semantic(duel, SIGNAL.assign(w=range(N))) == "2.0.0"


def test_a_worse_challenger_leaves_the_registry_as_it_is(duel):
    duel.crown("logistic")
    before = duel.champion()
    ended = duel.register(duel.train("constant"))
    assert ended.status == 0
    assert ended.tags["tabular.outcome"] == "kept_champion"
    assert "constant is not better" in ended.tags["tabular.verdict"]
    assert duel.champion().version == before.version
    assert len(duel.store.versions(duel.registry)) == 1


def test_the_champion_trained_once_more_is_recognised(duel, twin):
    duel.crown("logistic")
    ended = duel.register(twin)
    assert ended.tags["tabular.outcome"] == "kept_champion"
    assert "is the champion (version 1) already" in ended.tags["tabular.verdict"]
    assert len(duel.store.versions(duel.registry)) == 1


def test_a_champion_whose_files_are_gone_is_reported_and_stays(fragile):
    duel, folder = fragile
    folder.rename(folder.with_name("away"))
    ended = duel.register(duel.train("logistic"))
    folder.with_name("away").rename(folder)
    assert ended.status == 0, ended.stderr
    assert ended.tags["tabular.outcome"] == "kept_champion"
    assert "cannot be compared with the champion (version 1)" in ended.tags["tabular.verdict"]
    assert "delete the alias 'champion'" in ended.tags["tabular.verdict"]
    assert len(duel.store.versions(duel.registry)) == 1


def test_a_champion_that_tabular_did_not_register_is_reported(duel):
    client = duel.store.client
    client.create_registered_model(duel.registry)
    version = client.create_model_version(duel.registry, str(duel.store.folder / "nothing"))
    client.set_registered_model_alias(duel.registry, "champion", version.version)
    ended = duel.register(duel.train("logistic"))
    assert ended.status == 0, ended.stderr
    assert "was not registered by Tabular" in ended.tags["tabular.verdict"]


def test_a_champion_with_code_that_is_not_ours_is_not_loaded(fragile):
    duel, folder = fragile
    with altered(folder / "served.py", "raise SystemExit('run')\n"):
        ended = duel.register(duel.train("logistic"))
    assert ended.status == 0, ended.stderr
    assert "not loaded" in ended.tags["tabular.verdict"]


@pytest.mark.long
def test_a_champion_that_reads_fewer_columns_is_compared(duel):
    duel.crown("logistic")
    tags = duel.challenge(SIGNAL.assign(w=range(N)))
    assert tags["tabular.outcome"] == "kept_champion"
    assert "is not better" in tags["tabular.verdict"]


def test_a_champion_that_reads_columns_which_are_gone_is_reported_and_stays(duel):
    duel.crown("logistic")
    tags = duel.challenge(SIGNAL.drop(columns="z"))
    assert tags["tabular.outcome"] == "kept_champion"
    assert "reads columns that today's data set lacks or has as another type: 'z'" in tags["tabular.verdict"]


@pytest.mark.long
def test_a_champion_is_not_scored_on_rows_that_it_has_learnt_from(duel):
    unique = SIGNAL.assign(z=range(N))
    duel.challenge(unique)
    grown = pd.concat([unique, unique.assign(z=unique["z"] + N)])
    verdict = duel.challenge(grown)["tabular.verdict"]
    found = re.search(r"on the (\d+) of 80 holdout rows that the champion has not learnt from", verdict)
    assert 30 <= int(found[1]) < 65, verdict


def test_too_few_rows_that_the_champion_has_not_learnt_from_are_no_evidence(duel):
    unique = SIGNAL.assign(z=range(N))
    duel.challenge(unique)
    tags = duel.challenge(unique, seed=1)
    assert tags["tabular.outcome"] == "kept_champion"
    assert "too few to compare on" in tags["tabular.verdict"]


def test_rows_that_both_have_learnt_from_are_compared_on(duel):
    assert len(SIGNAL.drop_duplicates()) < N / 5  # each row is in both parts, however it is split
    duel.crown("logistic")
    verdict = duel.challenge(SIGNAL, seed=1)["tabular.verdict"]
    assert "is not better" in verdict


def test_a_winner_that_does_not_meet_the_gate_is_refused(store, arena, tmp_path):
    asked = problem(tmp_path, "gated", least=0.9)
    trained = arena.trained("constant").id
    evaluation = store.step("evaluate", dataset=arena.etl().id, models=trained, problem=asked)
    ended = store.step("register", evaluation=evaluation.id)
    assert ended.status == 0
    assert ended.tags["tabular.outcome"] == "refused"
    assert "roc_auc at least 0.9: 0.5000 not met" in ended.tags["tabular.verdict"]
    assert not store.versions("gated_classifier")


def test_of_two_candidates_the_one_that_passes_the_gate_wins(store, arena, tmp_path):
    models = f"{arena.trained('constant').id},{arena.trained('logistic').id}"
    asked = problem(tmp_path, "of_two", least=0.9)
    ended = store.step("evaluate", dataset=arena.etl().id, models=models, problem=asked)
    assert ended.tags["tabular.winner"] == "logistic"


def test_a_champion_crowned_meanwhile_has_to_be_beaten(duel, monkeypatch):
    """Between the comparison and the alias another chain registers its own."""
    from steps import register

    made = register._add_version

    def crowns_another(step, problem, evaluation, verdict, card):
        monkeypatch.setattr(register, "_add_version", made)
        other = duel.store.process("register", evaluation=better.id, problem=asked)
        assert other.status == 0, other.stderr
        return made(step, problem, evaluation, verdict, card)

    monkeypatch.setattr(register, "_add_version", crowns_another)
    asked = problem(duel.folder, duel.name)
    better = duel.arena.evaluation(duel.train("logistic"))
    evaluation = duel.arena.evaluation(duel.train("constant"))
    duel.store.step("register", evaluation=evaluation.id, problem=asked)
    assert duel.champion().run_id == duel.train("logistic").id
    assert [version.run_id for version in duel.store.versions(duel.registry)] == [duel.train("logistic").id]


def test_an_alias_that_another_chain_gives_at_the_same_moment_has_to_be_beaten(duel, monkeypatch):
    """The store refuses the second of two new rows, which is how MLflow's server says it."""
    given = MlflowClient.set_registered_model_alias

    def refuses(client, name, alias, version):
        monkeypatch.setattr(MlflowClient, "set_registered_model_alias", given)
        other = duel.store.process("register", evaluation=better.id, problem=asked)
        assert other.status == 0, other.stderr
        raise MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed", BAD_REQUEST)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", refuses)
    asked = problem(duel.folder, duel.name)
    better = duel.arena.evaluation(duel.train("logistic"))
    evaluation = duel.arena.evaluation(duel.train("constant"))
    ended = duel.store.step("register", evaluation=evaluation.id, problem=asked)
    assert ended.stdout.endswith("champion kept\n"), ended.stderr
    assert duel.champion().run_id == duel.train("logistic").id
    assert [version.run_id for version in duel.store.versions(duel.registry)] == [duel.train("logistic").id]


def test_a_registry_that_refuses_an_alias_for_another_reason_is_heard(duel, monkeypatch):
    def refuses(client, name, alias, version):
        raise MlflowException("the registry is read-only", BAD_REQUEST)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", refuses)
    evaluation = duel.arena.evaluation(duel.train("logistic"))
    ended = duel.store.step("register", evaluation=evaluation.id, problem=problem(duel.folder, duel.name))
    assert ended.status == 1
    assert "the registry is read-only" in ended.lines[-1]


def test_a_name_with_a_quote_is_registered(arena, tmp_path):
    duel = Duel(arena, tmp_path, "quoted")
    path = Path(problem(tmp_path, "quoted"))
    path.write_text(f'{path.read_text()}registry: {{name: "bob\'s model"}}\n')
    evaluation = arena.evaluation(duel.train("logistic"))
    ended = arena.store.step("register", evaluation=evaluation.id, problem=str(path))
    assert ended.tags["tabular.outcome"] == "registered", ended.stderr


@pytest.mark.long
def test_a_champion_that_could_not_be_read_is_met_again_the_next_time(store, arena, tmp_path):
    """The verdict says by a tag that it may be another tomorrow: no chain takes it from an earlier run."""
    from steps.run.tags import TRANSIENT

    first = arena.trained("constant", anew=True)
    duel = Duel(arena, tmp_path, "away_for_a_while")
    duel.register(first)
    logged = store.client.get_logged_model(first.tags["tabular.model_uri"].removeprefix("models:/"))
    place = Path(logged.artifact_location.removeprefix("file://"))
    place.rename(place.with_name("away"))
    assert duel.register(duel.train("logistic")).tags[TRANSIENT] == "true"
    place.with_name("away").rename(place)
    assert duel.register(duel.train("logistic")).tags["tabular.outcome"] == "registered"


TIES = """
name: {name}
data: {{source: {source}, target: y}}
models:
  forest: {{estimator: sklearn.ensemble.RandomForestClassifier, params: {{n_estimators: 150}}}}
  logistic: {{estimator: sklearn.linear_model.LogisticRegression}}
search: {{metric: accuracy, folds: 3}}
gate: {{beat_champion: {{or_equal: {{within: 0.2, tie_break: {what}}}}}}}
"""


@pytest.fixture(scope="module")
def equals(store, tmp_path_factory):
    """Two models that tell the classes of a plain table apart; version 1 is the one that is far larger and slower."""
    folder = tmp_path_factory.mktemp("ties")
    pd.DataFrame({"x": range(400), "y": [int(i >= 200) for i in range(400)]}).to_csv(folder / "plain.csv", index=False)

    def asked(what, name="ties"):
        path = folder / f"{name}_{what}.yaml"
        path.write_text(TIES.format(name=name, source=folder / "plain.csv", what=what))
        return str(path)

    etl = store.step("etl", problem=asked("smaller"))
    made = {}
    for model in ("forest", "logistic"):
        trained = store.step("train", dataset=etl.id, model=model, problem=asked("smaller"))
        made[model] = store.step("evaluate", dataset=etl.id, models=trained.id)
        assert made[model].status == 0, made[model].stderr
    first = store.step("register", evaluation=made["forest"].id, problem=asked("smaller"))
    assert first.tags["tabular.outcome"] == "registered", first.stderr
    return asked, made


@pytest.mark.parametrize("what", ["smaller", "faster"])
def test_of_two_that_are_as_good_the_one_that_costs_less_is_champion(store, equals, what):
    asked, made = equals
    store.client.set_registered_model_alias("ties_classifier", "champion", "1")
    cheap, costly = (
        store.step("register", evaluation=made[model].id, problem=asked(what)) for model in ("logistic", "forest")
    )
    assert cheap.tags["tabular.outcome"] == "registered"
    assert f"is as good as the champion (version 1) and {what} (" in cheap.tags["tabular.verdict"]
    assert costly.tags["tabular.outcome"] == "kept_champion"
    number = cheap.tags["tabular.champion.version"]
    assert f"is as good as the champion (version {number}) and not notably {what} (" in costly.tags["tabular.verdict"]


@pytest.mark.long
def test_what_was_faster_then_is_faster_in_a_replay(store, equals):
    asked, made = equals
    path = asked("faster", "ties_again")
    for model in ("forest", "logistic"):
        ended = store.step("register", evaluation=made[model].id, problem=path)
    again = store.step("register", evaluation=made["logistic"].id, problem=path, replays=ended.id)
    assert again.tags["tabular.verdict"] == ended.tags["tabular.verdict"]


@pytest.fixture(scope="module")
def three(store, arena, tmp_path_factory):
    """A name with three versions, of which the second is the champion; gives the name."""
    folder = tmp_path_factory.mktemp("three")
    duel = Duel(arena, folder, "three")
    for model in ("constant", "logistic"):
        duel.crown(model)
    tags = duel.train("constant").tags
    mine = {name: tags[name] for name in ("tabular.digest.code", "tabular.digest.model")}
    store.client.create_model_version(duel.registry, place_of(store, duel.train("constant")), tags=mine)
    return duel.registry


def place_of(store, trained):
    """Where the logged model of a run of train lies."""
    return store.client.get_logged_model(trained.tags["tabular.model_uri"].removeprefix("models:/")).artifact_location


def folder_of(store, trained):
    """The folder of the logged model of a run of train."""
    return Path(place_of(store, trained).removeprefix("file://"))


@contextlib.contextmanager
def altered(path, text):
    """A file with another text for a while."""
    before = path.read_text()
    path.write_text(text)
    try:
        yield
    finally:
        path.write_text(before)


def history(store, name):
    """The versions that an alias was moved to, and from where."""
    from steps.model import registry

    return [(event["before"], event["version"]) for event in registry.history(store.client, name)]


def alias_of(store, name, alias="champion"):
    return str(store.client.get_model_version_by_alias(name, alias).version)


def test_promote_promote_again_and_go_back_are_all_in_the_history(store, three):
    before = history(store, three)
    start = alias_of(store, three)
    others = [str(number) for number in (1, 2, 3) if str(number) != start]
    for version in (*others, "previous"):
        ended = store.step("promote", name=three, version=version, reason=f"to {version}")
        assert ended.status == 0, ended.stderr
    assert alias_of(store, three) == others[0]
    assert alias_of(store, three, "previous_champion") == others[1]
    assert history(store, three) == [*before, (start, others[0]), (others[0], others[1]), (others[1], others[0])]
    events = json.loads(store.artifact(ended.run, "history.json").read_text())
    assert [row[events["columns"].index("why")] for row in events["data"]][-3:] == [
        f"to {v}" for v in (*others, "previous")
    ]


def test_promote_as_it_is_typed_moves_the_alias_and_says_so(store, three):
    version = next(number for number in ("1", "2") if number != alias_of(store, three))
    ended = store.project("promote", name=three, version=version, reason="complaints since Monday")
    assert ended.status == 0, ended.stderr
    assert f"{three} version {version} is champion now" in ended.stdout
    assert alias_of(store, three) == version


def test_register_writes_the_history_and_keeps_the_champion_before(replaced):
    duel, _ = replaced
    assert history(duel.store, duel.registry) == [(None, "1"), ("1", "2")]
    assert alias_of(duel.store, duel.registry, "previous_champion") == "1"


def test_what_is_the_champion_already_is_not_promoted_again(store, three):
    before = history(store, three)
    ended = store.step("promote", name=three, version=alias_of(store, three), reason="once more")
    assert (ended.status, "already" in ended.stdout) == (0, True)
    assert history(store, three) == before


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"reason": " "}, "reason: say in a few words why the alias is moved"),
        ({"version": "9"}, "version: three_classifier has no version '9'; it has '1', '2', '3'"),
        ({"name": "thre_classifier"}, "did you mean 'three_classifier'"),
        ({"alias": "v1"}, "alias: 'v1' cannot be an alias"),
        ({"alias": "shadow", "version": "previous"}, "version: three_classifier has no 'previous_shadow'"),
        ({"stage": "staging"}, "stage: 'staging' is neither Staging nor Production"),
    ],
)
def test_what_cannot_be_promoted_is_refused_in_one_line(store, three, given, line):
    ended = store.step("promote", **{"name": three, "version": "1", "reason": "why not", **given})
    assert ended.status == 1
    assert len(ended.lines) == 1
    assert line in ended.lines[0]


def test_a_version_that_tabular_did_not_register_is_not_promoted(store, duel):
    duel.crown("constant")
    store.client.create_model_version(duel.registry, place_of(store, duel.train("logistic")))
    ended = store.step("promote", name=duel.registry, version="2", reason="it looks good")
    assert "was not registered by Tabular" in ended.lines[0]
    assert alias_of(store, duel.registry) == "1"


@pytest.fixture
def two(duel):
    """A duel with two versions, of which the second is the champion."""
    for model in ("constant", "logistic"):
        duel.crown(model)
    return duel


def promoted(duel, version, **asked):
    """A run of promote that has to end well."""
    ended = duel.store.step("promote", name=duel.registry, version=version, reason="by hand", **asked)
    assert ended.status == 0, ended.stderr
    return ended


def stages_of(duel):
    return {str(one.version): one.current_stage for one in duel.store.versions(duel.registry)}


def moves(duel):
    """The history: what was moved to which version, and what was there before."""
    from steps.model import registry

    events = registry.history(duel.store.client, duel.registry)
    return [(event["alias"] or event["stage"], event["version"], event["before"]) for event in events]


def test_promote_moves_a_version_to_the_stage_that_is_named(two):
    named = {"1": "Staging", "2": "Production"}
    for version, stage in named.items():
        promoted(two, version, alias=stage.lower(), stage=stage)
    assert stages_of(two) == named


def test_the_champion_is_moved_to_a_stage(two):
    ended = promoted(two, "2", stage="Production")
    assert stages_of(two) == {"1": "None", "2": "Production"}
    assert f"{two.registry} version 2 is in Production now" in ended.stdout


def test_a_stage_alone_moves_no_alias(two):
    promoted(two, "1", stage="Staging")
    assert stages_of(two) == {"1": "Staging", "2": "None"}
    assert alias_of(two.store, two.registry) == "2"
    assert moves(two)[-1] == ("Staging", "1", None)


def test_an_alias_alone_moves_no_stage(two):
    promoted(two, "2", stage="Production")
    promoted(two, "1", alias="champion")
    assert stages_of(two) == {"1": "None", "2": "Production"}
    assert alias_of(two.store, two.registry) == "1"


def test_an_alias_and_a_stage_asked_for_together_are_two_moves(two):
    promoted(two, "2", stage="Production")
    ended = promoted(two, "1", alias="champion", stage="Production")
    assert stages_of(two) == {"1": "Production", "2": "Archived"}
    assert moves(two)[-2:] == [("champion", "1", "2"), ("Production", "1", "2")]
    assert (
        ended.run.data.params.items()
        >= {
            "promoted_version": "1",
            "promoted_alias": "champion",
            "promoted_stage": "Production",
        }.items()
    )


@pytest.mark.long
def test_what_was_moved_half_before_is_moved_the_rest_of_the_way(two):
    ended = promoted(two, "2", alias="champion", stage="Production")
    assert "version 2 is champion already and in Production now" in ended.stdout
    assert moves(two)[-1] == ("Production", "2", None)


def test_what_has_the_alias_and_the_stage_already_is_left_as_it_is(two):
    promoted(two, "2", stage="Production")
    before = moves(two)
    ended = promoted(two, "2", alias="champion", stage="Production")
    assert "version 2 is champion already and in Production already" in ended.stdout
    assert moves(two) == before


@pytest.mark.long
def test_a_version_that_leaves_a_stage_for_another_says_so(two):
    promoted(two, "2", stage="Production")
    ended = promoted(two, "2", stage="Staging")
    assert "version 2 is in Staging now, no longer in Production" in ended.stdout


@pytest.mark.long
def test_who_is_put_out_of_a_stage_is_named(two):
    promoted(two, "2", stage="Production")
    ended = promoted(two, "1", stage="Production")
    assert "version 1 is in Production now in the place of version 2, which is Archived" in ended.stdout


@pytest.mark.long
def test_the_way_back_takes_the_stage_along_where_both_are_named(two):
    promoted(two, "2", stage="Production")
    promoted(two, "previous", alias="champion", stage="Production")
    assert alias_of(two.store, two.registry) == "1"
    assert stages_of(two) == {"1": "Production", "2": "Archived"}


def test_previous_with_a_stage_alone_is_refused_in_one_line(two):
    ended = two.store.step("promote", name=two.registry, version="previous", reason="back", stage="Production")
    assert ended.status == 1
    assert len(ended.lines) == 1
    assert "version: 'previous' is the one that had an alias before" in ended.lines[0]
    assert "alias=champion" in ended.lines[0]
    assert set(stages_of(two).values()) == {"None"}


def test_what_mlflows_own_client_made_champion_is_champion_already(store, duel):
    """There is no history to show then."""
    store.client.create_registered_model(duel.registry)
    store.client.create_model_version(duel.registry, place_of(store, duel.train("constant")))
    store.client.set_registered_model_alias(duel.registry, "champion", "1")
    ended = promoted(duel, "1")
    assert f"{duel.registry} version 1 is champion already" in ended.stdout


@pytest.fixture(scope="module")
def staged(arena, tmp_path_factory):
    """A name to which two were registered one after the other, by a problem that moves stages along."""
    duel = Duel(arena, tmp_path_factory.mktemp("staged"), "staged")
    path = Path(problem(duel.folder, duel.name))
    path.write_text(f"{path.read_text()}registry: {{stages: true}}\n")
    for model in ("constant", "logistic"):
        evaluation = duel.arena.evaluation(duel.train(model))
        assert duel.store.step("register", evaluation=evaluation.id, problem=str(path)).status == 0
    return duel


def test_stages_are_moved_along_where_the_problem_asks_for_them(staged):
    assert stages_of(staged) == {"1": "Archived", "2": "Production"}


def test_a_registration_with_stages_has_both_moves_in_the_history(staged):
    assert moves(staged) == [
        ("champion", "1", None),
        ("Production", "1", None),
        ("champion", "2", "1"),
        ("Production", "2", "1"),
    ]


@pytest.mark.parametrize("forks", ["as here", "none"])
def test_a_model_that_could_not_serve_is_refused(duel, twin, monkeypatch, forks):
    """Its input example is one that it does not take: a server would be asked in vain."""
    if forks == "none":  # as in a container without /dev/shm: a process of its own
        monkeypatch.setattr(pool, "forks", lambda: False)
    duel.arena.evaluation(twin)
    example = folder_of(duel.store, twin) / "serving_input_example.json"
    with altered(example, example.read_text().replace('"x"', '"another"')):
        ended = duel.register(twin)
    assert ended.tags["tabular.outcome"] == "refused"
    assert "logistic cannot serve" in ended.tags["tabular.verdict"]
    assert not duel.store.versions(duel.registry)


def test_a_model_that_cannot_be_fetched_is_no_verdict(duel, twin, monkeypatch):
    """The store may be away for a while: the candidate is not refused, and the same command goes on later."""
    duel.arena.evaluation(twin)

    fetch = mlflow.artifacts.download_artifacts

    def away(artifact_uri, **more):
        if artifact_uri.startswith("models:"):
            raise MlflowException("the store is away")
        return fetch(artifact_uri=artifact_uri, **more)

    monkeypatch.setattr("mlflow.artifacts.download_artifacts", away)
    ended = duel.register(twin)
    assert ended.status == 1
    (line,) = ended.lines
    assert "cannot be read (the store is away)" in line
    assert "tabular.outcome" not in ended.tags
    assert not duel.store.versions(duel.registry)


@pytest.fixture(scope="module")
def required(store, tmp_path_factory):
    """A chain whose gate nobody can pass, typed with `-P require=registered` and a name for its run."""
    asked = Path(problem(tmp_path_factory.mktemp("required"), "high_gate", least=1.1, models="logistic"))
    asked.write_text(f"{asked.read_text()}\nseed: 0\n")  # that of the arena
    return store.project(run_name="mine", problem=str(asked), require="registered")


@pytest.mark.slow
def test_a_chain_without_a_new_champion_ends_well_and_says_so(chains, fork_server):
    store, ended = chains.store("without a champion", after="again", fork_server=fork_server)
    again = ended["again"]
    assert again.status == 0, again.stderr
    assert again.run.info.status == "FINISHED"
    assert again.tags["tabular.outcome"] == "kept_champion"
    assert f"{again.tags['tabular.winner']} is the champion (version 1) already" in again.stdout
    assert len(store.versions("small_classifier")) == 1


@pytest.mark.slow
def test_a_chain_that_must_register_fails_where_it_does_not(store, required):
    assert required.status == 1
    assert required.run.info.status == "FAILED"
    assert required.tags["tabular.outcome"] == "refused"
    assert len(required.lines) == 1
    assert "require: nothing was registered (refused)" in required.lines[0]
    assert required.tags["tabular.reason"] == required.lines[0].removeprefix("tabular: ")
    assert not store.versions("high_gate_classifier")


@pytest.mark.slow
def test_a_chain_that_must_register_and_does_not_leaves_its_results_all_the_same(store, required):
    assert {"leaderboard.json", "chain.json", "environment.json"} <= store.artifacts(required.run)


@pytest.mark.slow
def test_a_chain_whose_run_was_named_keeps_that_name_and_names_its_steps_itself(store, required):
    assert required.run.info.run_name == "mine"
    assert store.children(required.id)["etl"].info.run_name == "etl high_gate"


@pytest.mark.slow
def test_a_chain_and_the_steps_by_themselves_train_the_same_model_of_one_seed(store, arena, required):
    first, second = store.children(required.id)["train logistic"].data, arena.trained("logistic").run.data
    assert first.tags["tabular.digest.model"] == second.tags["tabular.digest.model"]
    assert lasting(first.metrics) == lasting(second.metrics)


@pytest.mark.slow
def test_a_chain_and_the_steps_by_themselves_give_the_same_predictions_of_one_seed(store, arena, required):
    runs = [store.children(required.id)["evaluate"], arena.evaluation(arena.trained("logistic")).run]
    first, second = (pd.read_parquet(store.artifact(run, "predictions/logistic.parquet")) for run in runs)
    pd.testing.assert_frame_equal(first, second, check_exact=True)


def test_the_verdict_is_an_artifact_too(store, first):
    _, ended = first
    verdict = json.loads(store.artifact(ended.run, "verdict.json").read_text())
    assert verdict["outcome"] == "registered"
    assert verdict["winner"]["model"] == "logistic"
