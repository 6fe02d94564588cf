"""A table of the user's own, without a problem's YAML: the kinds of file, column, name and label that must work.

What can be read of a file is tested on tables (tests/data); here one of each kind goes through the steps.
"""

import functools
import gzip
import http.server
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml

from tabular.data import datasets, tables
from tabular.problem import build
from tests import servers

pytestmark = pytest.mark.usefixtures("undrawn")

N = 120
MIXED = pd.DataFrame(
    {
        "amount": [None if i % 9 == 0 else i * 1.5 for i in range(N)],
        "count": [i % 7 for i in range(N)],
        "city": [None if i % 11 == 0 else ("Paris", "Rome", "Oslo")[i % 3] for i in range(N)],
        "member": [None if i % 13 == 0 else i % 4 == 0 for i in range(N)],
        "joined": [None if i % 17 == 0 else f"2024-{1 + i % 12:02d}-{1 + i % 28:02d}" for i in range(N)],
        "churn": [("no", "yes")[(i % 7) > 3] for i in range(N)],
    }
)


def csv(separator=","):
    return MIXED.to_csv(index=False, sep=separator).encode()


def zipped(separator=","):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("t.csv", csv(separator))
        archive.writestr("__MACOSX/._t.csv", b"\0")
    return packed.getvalue()


FILES = {
    "t.csv": csv(),
    "t.csv.gz": gzip.compress(csv()),
    "t.csv.zip": zipped(),
    "semicolons.csv": csv(";"),
    "tabs.tsv": csv("\t"),
    "with a mark.csv": b"\xef\xbb\xbf" + csv(),
    "windows.csv": csv().replace(b"\n", b"\r\n"),
}


@pytest.fixture
def stand(store, tmp_path, monkeypatch):
    """The folder that the user stands in."""
    monkeypatch.setattr(store, "cwd", tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def plain(store, tmp_path_factory):
    """A run of etl on the table as a plain CSV."""
    path = tmp_path_factory.mktemp("plain") / "t.csv"
    path.write_bytes(csv())
    return store.step("etl", data=str(path), target="churn")


@pytest.fixture(scope="module")
def trained(store, plain):
    """The run of train of a model on that."""
    return functools.cache(lambda model: store.step("train", dataset=plain.id, model=model))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The table on an HTTP server of this machine; gives its address."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "served.csv").write_bytes(csv())
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with servers.serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as serving:
        yield f"http://127.0.0.1:{serving.server_port}"


def schema(store, run):
    return json.loads(store.artifact(run, "dataset/schema.json").read_text())


def rows(path):
    """What is read of a table, and as what."""
    table = tables.scan(path)
    return pa.Table.from_batches(list(table.batches()))


def test_the_yaml_that_etl_prints_below_its_hints_takes_the_keys_that_they_name(store, stand):
    MIXED.assign(customer=[f"c{row}" for row in range(N)]).to_csv(stand / "t.csv", index=False)
    first = store.step("etl", data="t.csv", target="churn")
    told, _, after = first.stdout.partition("  such keys go into a YAML")
    assert "'customer' has another value in every row" in told
    asked = yaml.safe_load("\n".join(line for line in after.splitlines()[1:] if line.startswith("    ")))
    assert asked == {
        "name": "t",
        "task": "classification",
        "data": {"source": str(stand / "t.csv"), "target": "churn"},
    }
    asked["data"]["drop"] = {"customer": "an id"}
    (stand / "t.yaml").write_text(yaml.safe_dump(asked))
    again = store.step("etl", problem="t.yaml")
    assert again.status == 0, again.stderr
    assert int(again.run.data.params["columns"]) == int(first.run.data.params["columns"]) - 1
    assert "such keys go into a YAML" not in again.stdout


@pytest.mark.parametrize("name", FILES)
def test_the_form_of_a_file_changes_nothing_of_its_rows(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name])
    (tmp_path / "plain.csv").write_bytes(csv())
    assert rows(tmp_path / name).equals(rows(tmp_path / "plain.csv"))


def test_a_packed_file_of_a_hard_name_is_read_by_the_step_too(store, stand, plain):
    name = "quoted 'name' \"x\".zip"
    (stand / name).write_bytes(zipped(";"))
    ended = store.step("etl", data=name, target="churn")
    assert ended.status == 0, ended.stderr
    assert "  data: read with ';' between the columns\n" in ended.stdout
    for side in ("train", "holdout"):
        assert ended.tags[f"tabular.digest.{side}"] == plain.tags[f"tabular.digest.{side}"]


def test_parquet_gives_the_same_rows_as_text(store, stand, plain):
    MIXED.assign(joined=pd.to_datetime(MIXED["joined"])).to_parquet(stand / "t.parquet")
    ended = store.step("etl", data="t.parquet", target="churn")
    assert ended.status == 0, ended.stderr
    assert ended.tags["tabular.digest.train"] == plain.tags["tabular.digest.train"]


def test_a_table_is_read_from_a_url(store, plain, server):
    ended = store.step("etl", data=f"{server}/served.csv", target="churn")
    assert ended.status == 0, ended.stderr
    assert ended.tags["tabular.digest.train"] == plain.tags["tabular.digest.train"]
    assert f"{server}/served.csv" in ended.run.inputs.dataset_inputs[0].dataset.source


def test_a_url_that_is_not_there_is_one_line(store, server):
    ended = store.step("etl", data=f"{server}/gone.csv", target="churn")
    assert ended.status == 1
    assert ended.lines == [f"tabular: {server}/gone.csv: the server answers 404 File not found; check the address"]


def test_columns_are_read_as_what_they_hold(store, plain):
    assert [(column["name"], column["dtype"]) for column in schema(store, plain.run)["columns"]] == [
        ("amount", "double"),
        ("count", "double"),
        ("city", "string"),
        ("member", "boolean"),
        ("joined", "datetime"),
    ]


@pytest.mark.parametrize("model", ["logistic_regression", "lightgbm"])
def test_a_model_learns_from_mixed_columns_with_missing_values(trained, model):
    ended = trained(model)
    assert ended.status == 0, ended.stderr
    assert ended.run.data.metrics["cv_accuracy_mean"] > 0.9


def test_a_served_model_answers_raw_rows_with_missing_values(store, plain, trained):
    import mlflow

    mlflow.set_tracking_uri(store.uri)
    model = mlflow.pyfunc.load_model(trained("lightgbm").tags["tabular.model_uri"])
    rows = pd.read_parquet(store.artifact(plain.run, "dataset/holdout.parquet")).drop(columns="churn")
    answer = model.predict(rows)
    assert list(answer) == ["label", "probability_no", "probability_yes"]
    assert set(answer["label"]) <= {"no", "yes"}


def test_the_input_example_of_a_model_is_answered_when_it_is_served(store, trained):
    import mlflow

    mlflow.set_tracking_uri(store.uri)
    uri = trained("logistic_regression").tags["tabular.model_uri"]
    logged = store.client.get_logged_model(uri.removeprefix("models:/"))
    example = Path(logged.artifact_location.removeprefix("file://")) / "serving_input_example.json"
    answer = mlflow.models.validate_serving_input(uri, example.read_text())
    assert len(answer) == 3


@pytest.mark.parametrize(
    "split",
    [{"by": "time", "column": "joined"}, {"by": "group", "column": "customer"}, {"by": "time", "column": "day"}],
)
def test_a_table_is_split_by_time_or_group_from_etl_to_evaluate(store, stand, split):
    table = MIXED.assign(customer=[f"c{i % 30}" for i in range(N)], day=range(N))
    table["joined"] = [f"2024-{1 + i // 28:02d}-{1 + i % 28:02d}" for i in range(N)]
    table.to_csv(stand / "t.csv", index=False)
    model = {"estimator": "sklearn.linear_model.LogisticRegression"}
    data = {"source": "t.csv", "target": "churn"}
    asked = {"name": "cut", "data": data, "split": split, "models": {"m": model}, "search": {"folds": 3}}
    (stand / "p.yaml").write_text(yaml.safe_dump(asked))
    etl = store.step("etl", problem="p.yaml")
    trained = store.step("train", dataset=etl.id, model="m")
    ended = store.step("evaluate", dataset=etl.id, models=trained.id)
    assert ended.status == 0, etl.stderr + trained.stderr + ended.stderr


LABELS = {
    "integers": ([0, 1], "0, 1"),
    "negative integers": ([-1, 1], "-1, 1"),
    "texts": (["stays", "leaves"], "leaves, stays"),
    "texts with blanks and accents": (["reste là", "s'en va"], "reste là, s'en va"),
    "booleans": ([False, True], "False, True"),
    "floats": ([0.5, 1.5], "0.5, 1.5"),
    "whole floats": ([1.0, 2.0], "1, 2"),
    "three classes": (["a", "b", "c"], "a, b, c"),
    "long texts": (["a" * 300, "b" * 300], f"{'a' * 300}, {'b' * 300}"),
    "texts of symbols": (["<=50K", ">50K"], "<=50K, >50K"),
    "thirty classes": (list(range(30)), ", ".join(str(i) for i in range(30))),
    "as many as are allowed": ([f"c{i:02}" for i in range(100)], ", ".join(f"c{i:02}" for i in range(100))),
}


def labelled(folder, labels):
    n = 12 * len(labels)
    codes = np.arange(n) % len(labels)
    table = pd.DataFrame({"x": codes * 10 + np.arange(n) % 3, "z": np.arange(n) % 5, "y": [labels[i] for i in codes]})
    table.to_csv(folder / "t.csv", index=False)


@pytest.fixture(scope="module")
def etl_of(store, tmp_path_factory):
    """The run of etl on classes of a kind."""

    @functools.cache
    def made(kind):
        folder = tmp_path_factory.mktemp("labelled")
        labelled(folder, LABELS[kind][0])
        # numbers that are names of classes are told to be such
        ended = store.step("etl", data=str(folder / "t.csv"), target="y", task="classification")
        assert ended.status == 0, ended.stderr
        return ended

    return made


@pytest.fixture(scope="module")
def train_of(store, etl_of):
    """The run of train on classes of a kind."""

    @functools.cache
    def made(kind):
        ended = store.step("train", dataset=etl_of(kind).id, model="logistic_regression")
        assert ended.status == 0, ended.stderr
        return ended

    return made


@pytest.mark.parametrize(("labels", "classes"), LABELS.values(), ids=LABELS.keys())
def test_labels_of_any_type_are_classes(tmp_path, labels, classes):
    labelled(tmp_path, labels)
    problem = build({"name": "labels", "data": {"source": "t.csv", "target": "y"}}, "made")
    prepared = datasets.prepare(tables.scan(tmp_path / "t.csv"), problem, tmp_path)
    assert ", ".join(map(str, prepared.schema.classes)) == classes


@pytest.mark.parametrize("kind", ["whole floats", "texts with blanks and accents", "thirty classes"])
def test_a_step_names_the_classes_that_it_has_found(etl_of, kind):
    assert etl_of(kind).run.data.params["classes"] == LABELS[kind][1]


@pytest.mark.parametrize("kind", ["integers", "booleans", "floats", "long texts"])
def test_a_model_answers_with_the_labels_as_they_were(store, train_of, kind):
    import mlflow

    mlflow.set_tracking_uri(store.uri)
    model = mlflow.pyfunc.load_model(train_of(kind).tags["tabular.model_uri"])
    answer = model.predict(pd.DataFrame({"x": [0.0, 12.0], "z": [1.0, 2.0]}))
    assert answer["label"].tolist() == sorted(LABELS[kind][0])[:2]


@pytest.mark.parametrize("kind", ["texts of symbols", "long texts"])
def test_candidates_are_evaluated_on_classes_of_any_name(store, etl_of, train_of, kind):
    ended = store.step("evaluate", dataset=etl_of(kind).id, models=train_of(kind).id)
    assert ended.status == 0, ended.stderr


@pytest.mark.usefixtures("drawn")
def test_candidates_are_evaluated_and_drawn_on_many_classes(store, etl_of, train_of):
    kind = "thirty classes"
    ended = store.step("evaluate", dataset=etl_of(kind).id, models=train_of(kind).id)
    assert ended.status == 0, ended.stderr


@pytest.mark.parametrize("kind", ["texts of symbols", "long texts", "booleans"])
def test_the_rows_of_each_class_are_a_table_by_the_classes_own_names(store, etl_of, kind):
    counts = json.loads(store.artifact(etl_of(kind).run, "classes.json").read_text())["data"]
    assert [row[0] for row in counts] == sorted(str(label) for label in LABELS[kind][0])
    assert sum(row[1] + row[2] for row in counts) == 24


def test_rows_without_a_target_are_left_out_and_counted(store, stand):
    table = MIXED.copy()
    table.loc[::10, "churn"] = None
    table.to_csv(stand / "t.csv", index=False)
    ended = store.step("etl", data="t.csv", target="churn")
    assert ended.status == 0, ended.stderr
    assert ended.run.data.params["rows_without_target"] == "12"


@pytest.fixture(scope="module")
def same(store, tmp_path_factory):
    """A run of etl on a table with a column of one value."""
    path = tmp_path_factory.mktemp("same") / "t.csv"
    MIXED.assign(same=1).to_csv(path, index=False)
    return store.step("etl", data=str(path), target="churn")


def test_a_column_of_one_value_is_pointed_out_and_kept(same):
    assert same.status == 0
    assert "'same' has one value only" in same.stdout
    assert "'same' has one value only" in same.tags["mlflow.note.content"]


def test_numbers_too_long_for_a_float_are_rounded_and_pointed_out(store, stand):
    MIXED.assign(id=[2**62 + i for i in range(N)]).to_csv(stand / "t.csv", index=False)
    ended = store.step("etl", data="t.csv", target="churn")
    assert ended.status == 0, ended.stderr
    assert "'id' has numbers of more than 15 digits" in ended.stdout


def test_a_column_of_one_value_does_not_stop_a_model(store, same):
    assert store.step("train", dataset=same.id, model="logistic_regression").status == 0


def test_a_value_seen_in_the_holdout_only_does_not_stop_a_model(store, stand):
    MIXED.assign(id=[f"n{i}" for i in range(N)]).to_csv(stand / "t.csv", index=False)
    etl = store.step("etl", data="t.csv", target="churn")
    trained = store.step("train", dataset=etl.id, model="logistic_regression")
    assert store.step("evaluate", dataset=etl.id, models=trained.id).status == 0


def test_labels_of_mixed_numbers_are_read_alike_in_every_part_of_a_long_file(store, stand):
    labels = [1.0] * 70_000 + [2.5] * 70_000  # the first part by itself would be whole numbers
    pd.DataFrame({"x": range(len(labels)), "y": labels}).to_csv(stand / "t.csv", index=False)
    etl = store.step("etl", data="t.csv", target="y", task="classification")
    ended = store.step("train", dataset=etl.id, model="logistic_regression")
    assert ended.status == 0, ended.stderr


@pytest.mark.usefixtures("drawn")
def test_a_column_named_as_the_category_of_another_does_not_stop_the_evaluation(store, stand):
    table = MIXED.assign(city_Paris=(MIXED["city"] == "Paris").astype(int))
    table.to_csv(stand / "t.csv", index=False)
    etl = store.step("etl", data="t.csv", target="churn")
    trained = store.step("train", dataset=etl.id, model="logistic_regression")
    ended = store.step("evaluate", dataset=etl.id, models=trained.id)
    assert ended.status == 0, ended.stderr


ODD = {
    "amount": "Betrag in € (brutto)",
    "count": 'the "count", or so',
    "city": "l'été à Orléans",
    "member": "a.b.c",
    "joined": "日付/[date]{x}:,;",
    "churn": 'ist\'s "weg", $HOME?',
}


@pytest.fixture(scope="module")
def odd(store, tmp_path_factory):
    """A whole chain on a table of odd names, typed in the folder of that table, where the project is not."""
    folder = tmp_path_factory.mktemp("own folder")
    MIXED.rename(columns=ODD).to_csv(folder / "meine Tabelle (2).csv", index=False)
    return store.project(cwd=folder, data="meine Tabelle (2).csv", target=ODD["churn"], trials=1)


@pytest.mark.slow
def test_a_table_of_odd_names_ends_with_a_registered_champion(odd):
    assert odd.status == 0, odd.stderr
    assert odd.tags["tabular.outcome"] == "registered"


@pytest.mark.slow
def test_a_relative_path_is_looked_for_where_the_command_was_typed(store, odd):
    assert "source: /" in store.artifact(odd.run, "problem.yaml").read_text()
    assert odd.run.data.tags["tabular.problem"] == "meine_Tabelle_2"


@pytest.mark.slow
def test_the_model_of_a_table_of_odd_names_answers_raw_rows(store, odd):
    import mlflow

    mlflow.set_tracking_uri(store.uri)
    model = mlflow.pyfunc.load_model(odd.tags["tabular.champion"])
    rows = MIXED.assign(joined=pd.to_datetime(MIXED["joined"]), count=MIXED["count"].astype(float))
    rows = rows.rename(columns=ODD).drop(columns=ODD["churn"])
    answer = model.predict(rows.head(5))
    assert len(answer) == 5


WEIGHTED = """
name: weighted
data: {{source: {source}, target: churn}}
models:
  lightgbm:
    estimator: lightgbm.LGBMClassifier
    params: {{class_weight: {weights}}}
    space: {{num_leaves: {{type: int, low: 4, high: 8}}}}
search: {{metric: f1_macro, trials: 1, folds: 2}}
"""


def searched(store, plain, folder, weights):
    """A search with these weights of the classes, on the table that `plain` has read."""
    path = folder / "weighted.yaml"
    source = json.loads(plain.tags["tabular.arguments"])["data"]
    path.write_text(WEIGHTED.format(source=source, weights=weights))
    return store.step("hpo", problem=str(path), dataset=plain.id, model="lightgbm")


def test_weights_of_classes_go_by_their_names_and_any_scorer_can_be_searched_for(store, plain, tmp_path):
    labels = [str(label) for label in schema(store, plain.run)["classes"]]
    equal, unequal = (
        searched(store, plain, tmp_path, json.dumps(dict(zip(labels, weights, strict=True))))
        for weights in ([1, 1], [1, 50])
    )
    assert equal.status == unequal.status == 0, equal.stderr + unequal.stderr
    assert equal.run.data.metrics["best_cv_f1_macro"] != unequal.run.data.metrics["best_cv_f1_macro"]


def test_a_weight_of_no_class_is_one_line(store, plain, tmp_path):
    ended = searched(store, plain, tmp_path, '{"none such": 2}')
    assert ended.status == 1
    assert ended.lines == [line for line in ended.lines if "class_weight: 'none such' is no class" in line] != []
