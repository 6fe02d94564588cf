"""The same row gets the same answer, however it comes: CSV, JSON, Parquet, a frame; served, in process, scored."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import made
import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mlflow.cli import cli
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from threadpoolctl import threadpool_limits

from steps.model import drift_reference
from tabular import problem
from tabular.data import datasets, tables
from tabular.data.columns import Reading
from tabular.data.datasets import ARROW
from tabular.errors import UserError

pytestmark = pytest.mark.slow

Rows = list[dict[str, Any]]
# Namibia is a town, an amount of -999 is none: what means missing is the columns' own.
MISSING: dict[str, Any] = {"add": ["?"], "columns": {"town": {"keep": ["NA"]}, "visits": {"add": ["-999"]}}}
ROW = {"amount": 50.5, "visits": 3, "member": True, "town": "Porto", "note": "a", "since": pd.Timestamp("2021-03-04")}
TEXTS = {**ROW, "amount": "50.5", "visits": "3", "member": "true", "since": "2021-03-04"}
# What anybody may write into a cell of any column.
WORDS = [
    "",
    " ",
    "NA",
    " NA",
    "none",
    "?",
    "null",
    "nan",
    "Porto",
    " Porto",
    "Porto\u00a0",
    "\u3000Porto\u200b",
    "\x1fa",
]
WORDS += [
    "0",
    "1",
    "1.0",
    "-7",
    "1e3",
    "+5",
    "05",
    "1_000",
    "1,5",
    "inf",
    "-999",
    "-999.0",
    "1" * 30,
    "1e999",
    "\u0661",
]
WORDS += [
    "true",
    " True ",
    "yes",
    '"',
    "a,b",
    "a\nb",
    "Évora",
    "2021-3-4",
    "2021",
    "20210304",
    "2021-02-30",
    "0001-01-01",
]
WORDS += ["2021-03-04T05:06:07Z", " 2021-03-04 05:06", "2021-03-04T07:06:07.123456789+02:00", "9999-12-31"]
VALUES: dict[str, st.SearchStrategy] = {
    "amount": st.floats(-1e6, 1e6) | st.integers(-9, 2**60),
    "visits": st.integers(0, 9) | st.just(-999),
    "member": st.booleans(),
    "town": st.sampled_from(["Lisboa", "Porto", " Porto", "NA", "", "none", "Braga"]),
    "note": st.text(max_size=4),
    "since": st.datetimes(pd.Timestamp(1700, 1, 1), pd.Timestamp(2200, 1, 1)).map(pd.Timestamp),
}


class Model:
    """A model of each type of column, of which an answer depends on all."""

    def __init__(self, folder: Path) -> None:
        self.folder, frame, generator = folder, made.table(300).drop(columns="agent"), np.random.default_rng(1)
        frame["town"] = frame["town"].mask(generator.random(300) < 0.3, "NA")
        frame.insert(4, "note", generator.choice(["a", "b", "a b", "é"], 300))
        frame.to_csv(folder / "table.csv", index=False)
        data = {"source": "table.csv", "target": "answer", "missing": MISSING}
        learnt = problem.build({"name": "made", "data": data}, "made")
        table = tables.scan(folder / "table.csv", datasets.reading(learnt))
        self.data = made.loaded(folder, datasets.prepare(table, learnt, folder).schema)
        self.uri = made.log(made.fit(self.data, "logistic_regression"), self.data, folder / "parts").model_uri
        self.loaded = mlflow.pyfunc.load_model(self.uri)
        self.signed = self.loaded.metadata.get_input_schema()

    def in_process(self, rows: Any) -> list[float]:
        return self.loaded.predict(rows)["probability_yes"].tolist()

    def served(self, body: bytes, kind: str) -> list[float]:
        """As MLflow's server asks, without the network."""
        answer = scoring_server.invocations(body, kind, self.loaded, self.signed)
        return [row["probability_yes"] for row in json.loads(answer.response)["predictions"]]

    def scored(self, name: str, content: bytes) -> list[float]:
        """As `predict` reads a file, and asks."""
        file = self.folder / name
        file.write_bytes(content)
        model = self.loaded.unwrap_python_model()
        columns = drift_reference.columns(model)
        wanted = pa.schema([(column.name, ARROW[column.dtype]) for column in columns])
        table = tables.scan_for(file, wanted, datasets.reading_for(columns, Reading()))
        return [
            one
            for batch in table.batches(wanted.names)
            for one in model.predict(None, batch.to_pandas())["probability_yes"].tolist()
        ]

    def commanded(self, name: str, content: bytes, kind: str) -> list[float]:
        """As `mlflow models predict` answers at the terminal."""
        file, out = self.folder / name, self.folder / "out.json"
        file.write_bytes(content)
        words = ["-m", self.uri, "-i", str(file), "-o", str(out), "-t", kind, "--env-manager", "local"]
        CliRunner().invoke(cli, ["models", "predict", *words], catch_exceptions=False)
        return [row["probability_yes"] for row in json.loads(out.read_text())["predictions"]]


@pytest.fixture(scope="module")
def model(tracking: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with threadpool_limits(1):
        yield Model(tmp_path_factory.mktemp("same"))


def plain(rows: Rows) -> Rows:
    """Rows as JSON has them."""
    return [
        {name: one.isoformat() if isinstance(one, pd.Timestamp) else one for name, one in row.items()} for row in rows
    ]


def as_frame(rows: Rows) -> pd.DataFrame:
    return pd.DataFrame(rows, dtype=object).infer_objects()


def as_csv(rows: Rows) -> bytes:
    return pd.DataFrame(plain(rows), dtype=object).to_csv(index=False, quoting=1).encode()


def as_parquet(rows: Rows) -> bytes:
    out = io.BytesIO()
    as_frame(rows).to_parquet(out)
    return out.getvalue()


def as_json(form: str, rows: Rows) -> bytes:
    given = plain(rows)
    columns = {name: [row[name] for row in given] for name in given[0]}
    split = {"columns": list(columns), "data": [[row[name] for name in columns] for row in given]}
    return json.dumps({form: split if form == "dataframe_split" else columns if form == "inputs" else given}).encode()


JSON, PARQUET = scoring_server.CONTENT_TYPE_JSON, scoring_server.CONTENT_TYPE_PARQUET
WAYS: dict[str, Callable[[Model, Rows], list[float]]] = {
    **{
        form: lambda model, rows, form=form: model.served(as_json(form, rows), JSON)
        for form in ("dataframe_split", "dataframe_records", "inputs", "instances")
    },
    "served CSV": lambda model, rows: model.served(as_csv(rows), "text/csv"),
    "served Parquet": lambda model, rows: model.served(as_parquet(rows), PARQUET),
    "scored CSV": lambda model, rows: model.scored("rows.csv", as_csv(rows)),
    "frame": lambda model, rows: model.in_process(as_frame(rows)),
    "frame of objects": lambda model, rows: model.in_process(pd.DataFrame(rows, dtype=object)),
    "frame of pandas' nullable types": lambda model, rows: model.in_process(as_frame(rows).convert_dtypes()),
    "columns by name": lambda model, rows: model.in_process(as_frame(rows).to_dict("list")),
}
OF_TEXTS = {**WAYS, "categories": lambda model, rows: model.in_process(pd.DataFrame(rows, dtype="category"))}
OF_VALUES = {
    **WAYS,
    "scored Parquet": lambda model, rows: model.scored("rows.parquet", as_parquet(rows)),
    "Arrow's types": lambda model, rows: model.in_process(as_frame(rows).convert_dtypes(dtype_backend="pyarrow")),
}
COMMANDED = {
    "commanded CSV": lambda model, rows: model.commanded("rows.csv", as_csv(rows), "csv"),
    "commanded JSON": lambda model, rows: model.commanded("rows.json", as_json("dataframe_records", rows), "json"),
    "commanded inputs": lambda model, rows: model.commanded("rows.json", as_json("inputs", rows), "json"),
}


def answers(ways: dict[str, Callable], model: Model, rows: Rows) -> dict[str, Any]:
    """What each way answers, or that it refuses."""
    found = {}
    for way, ask in ways.items():
        try:
            found[way] = ask(model, rows)
        except (MlflowException, UserError):
            found[way] = "refused"
    return found


def assert_same(found: dict[str, Any]) -> Any:
    expected = next(iter(found.values()))
    assert {way: answer for way, answer in found.items() if answer != expected} == {}, expected
    return expected


@pytest.mark.parametrize("name", ROW)
def test_whatever_is_written_into_a_cell_is_read_as_one_thing_or_refused_in_all_ways(model: Model, name: str) -> None:
    first = {way: OF_TEXTS[way] for way in ("scored CSV", "served CSV", "dataframe_records", "categories")}
    alone = {word: assert_same(answers(first, model, [TEXTS, {**TEXTS, name: word}])) for word in WORDS}
    taken = [word for word in WORDS if alone[word] != "refused"]
    together = assert_same(answers(OF_TEXTS, model, [{**TEXTS, name: word} for word in taken]))
    read = {**dict.fromkeys(WORDS, "refused"), **dict(zip(taken, together, strict=True))}
    assert read[""] == read[" "] == read["none"] == read["?"] != "refused"
    assert (read["NA"] == read[" NA"]) and ((read["NA"] != read[""]) == (name == "town"))
    if name in ("town", "note"):
        assert read["Porto"] == read[" Porto"] == read["Porto\u00a0"]
    if name == "visits":
        assert read["-999"] == read["-999.0"] == read[""] != read["-7"]


@settings(max_examples=25, deadline=None, database=None, derandomize=True)
@given(
    rows=st.lists(
        st.fixed_dictionaries({name: st.none() | values for name, values in VALUES.items()}), min_size=1, max_size=4
    )
)
@example(rows=[{**ROW, "since": pd.Timestamp("2021-03-04T05:06:07", tz="Europe/Lisbon")}])
def test_values_of_their_types_get_one_answer_in_all_ways(model: Model, rows: Rows) -> None:
    assert assert_same(answers(OF_VALUES, model, rows)) != "refused"


def test_mlflow_models_predict_answers_as_the_others_do(model: Model) -> None:
    rows = [{**ROW, "town": " NA"}, dict.fromkeys(ROW), {**ROW, "visits": -999, "amount": 5}]
    assert assert_same(answers({**OF_VALUES, **COMMANDED}, model, rows)) != "refused"
    assert assert_same(answers({**OF_TEXTS, **COMMANDED}, model, [TEXTS, {**TEXTS, "amount": "much"}])) == "refused"


def test_texts_are_learnt_as_one_thing_from_csv_and_from_parquet(tmp_path: Path) -> None:
    rows = [{"town": word, "amount": at, "y": "ab"[at % 2]} for at, word in enumerate(["x", *WORDS, "NA", "x"] * 5)]
    learnt = problem.build(
        {
            "name": "made",
            "data": {"source": "t", "target": "y", "missing": {"columns": {"town": MISSING["columns"]["town"]}}},
        },
        "made",
    )
    found = []
    for name, content in {"table.csv": as_csv(rows), "table.parquet": as_parquet(rows)}.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / f"of {name}").mkdir()
        table = tables.scan(tmp_path / name, datasets.reading(learnt))
        schema = datasets.prepare(table, learnt, tmp_path / f"of {name}").schema
        found.append(made.loaded(tmp_path / f"of {name}", schema).X)
    pd.testing.assert_frame_equal(*found)
    assert "NA" in set(found[0]["town"])
    assert not {"", " ", "none"} & set(found[0]["town"])


def test_the_values_of_an_only_column_need_no_name(tmp_path: Path, tracking: str) -> None:
    section = {"source": "table.csv", "target": "answer"}
    data = made.prepare(made.table()[["town", "answer"]], tmp_path, data=section)
    loaded = mlflow.pyfunc.load_model(
        made.log(made.fit(data, "logistic_regression"), data, tmp_path / "parts").model_uri
    )
    body = json.dumps({"inputs": [" Porto", "NA"]}).encode()
    found = scoring_server.invocations(body, JSON, loaded, loaded.metadata.get_input_schema())
    expected = loaded.predict(pd.DataFrame({"town": ["Porto", None]}))
    assert json.loads(found.response)["predictions"] == expected.to_dict("records")
