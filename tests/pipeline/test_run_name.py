"""What a run is called: what a person has called it, else what it did."""

import random

import pytest
from mlflow.utils import name_utils

from steps.run import run_name
from steps.run.step import Step


@pytest.fixture
def begin(store, tmp_path):
    """Makes a step in a run of some name; "" where MLflow is to make one up."""

    def made(name, parent=None):
        tags = {"mlflow.parentRunId": parent} if parent else {}
        run = store.client.create_run(store.experiment, run_name=name or None, tags=tags)
        made.runs.append(run.info.run_id)
        tags = dict(run.data.tags)
        return Step("etl", {}, run.info.run_id, store.experiment, tmp_path, store.client, "", tags)

    made.runs = []
    yield made
    for run_id in made.runs:
        store.client.set_terminated(run_id)


def name_of(step):
    step.flush()
    return step.client.get_run(step.run_id).info.run_name


def test_a_name_that_mlflow_has_made_up_gives_way_to_what_the_run_did(begin):
    step = begin("")
    step.finish("etl iris", "done", "done")
    assert name_of(step) == "etl iris"


def test_a_name_that_a_person_gave_stays(begin):
    step = begin("mine")
    step.finish("etl iris", "done", "done")
    assert name_of(step) == "mine"


def test_our_own_name_gives_way_to_a_better_one(begin):
    step = begin("")
    step.name_run("reproduce etl")
    step.finish("reproduce etl iris", "done", "done")
    assert name_of(step) == "reproduce etl iris"


def test_a_name_that_is_given_while_the_run_works_stays(store, begin):
    """As `mlflow run` gives it: when it has started the process."""
    step = begin("")
    step.name_run("main iris")
    step.flush()
    store.client.set_tag(step.run_id, "mlflow.runName", "mine")
    step.finish("main iris", "done", "done")
    assert name_of(step) == "mine"


def test_a_run_that_main_made_is_named_by_what_it_did(store, begin):
    main = begin("mine")
    store.client.set_tag(main.run_id, "tabular.owner.pid", "1")
    child = begin("train logistic", parent=main.run_id)
    child.finish("train logistic C=1", "done", "done")
    assert name_of(child) == "train logistic C=1"


def test_a_name_that_was_given_below_a_persons_own_run_stays(begin):
    step = begin("mine", parent=begin("a study").run_id)
    step.finish("etl iris", "done", "done")
    assert name_of(step) == "mine"


def test_a_name_that_was_given_below_another_project_of_a_persons_own_stays(store, begin):
    theirs = begin("a study")
    store.client.set_tag(theirs.run_id, "mlflow.project.entryPoint", "main")
    step = begin("mine", parent=theirs.run_id)
    step.finish("etl iris", "done", "done")
    assert name_of(step) == "mine"


def test_every_name_that_mlflow_makes_up_is_known_as_one():
    random.seed(0)
    names = [name_utils._generate_random_name() for _ in range(500)]
    assert [name for name in names if not run_name.is_generated(name)] == []


def test_a_name_that_mlflow_cut_off_is_known_as_one():
    longest = max(name_utils._GENERATOR_PREDICATES, key=len), max(name_utils._GENERATOR_NOUNS, key=len)
    assert run_name.is_generated("-".join([*longest, "417"]).lower()[:20])


@pytest.mark.parametrize("name", ["mine", "main iris", "bold-ant", "bold-ant-417b", "bold-dataset-3", "my-ant-3"])
def test_a_name_of_other_words_is_a_persons(name):
    assert not run_name.is_generated(name)


def test_a_name_that_is_given_before_ours_was_sent_stays(store, begin):
    step = begin("")
    step.name_run("main iris")
    store.client.set_tag(step.run_id, "mlflow.runName", "mine")
    step.finish("main iris", "done", "done")
    assert name_of(step) == "mine"


@pytest.mark.slow
def test_mlflow_runs_option_names_the_run(store):
    ended = store.project("etl", run_name="mine", data="sklearn:iris", target="target")
    assert ended.status == 0, ended.stderr
    assert ended.run.info.run_name == "mine"
