"""A model served for real: what `mlflow models serve` answers over HTTP, and what it refuses."""

import contextlib
import gzip
import http.client
import inspect
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.pyfunc import PyFuncModel, scoring_server
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
from servers import Server, serving, split

from steps.model.served import as_features

pytestmark = pytest.mark.slow

ROW = {"amount": 50.5, "visits": 3, "agent": 14, "town": "Porto", "member": True, "since": "2021-03-04T00:00:00"}
JSON = {"Content-Type": "application/json"}
ONE = {"dataframe_records": [ROW]}


@pytest.fixture(scope="module")
def server(shelf: dict, tracking: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The random forest of two classes, served; all its processes are gone afterwards."""
    with serving(shelf["random_forest", 2].uri, tracking, tmp_path_factory.mktemp("served")) as made:
        yield made


def test_the_server_answers_rows_as_the_model_does_and_names_what_it_refuses(server: Server, shelf: dict) -> None:
    """One server, since it takes its seconds to start; each case below is one request."""
    one = shelf["random_forest", 2]
    frame = one.data.frame.head(5)
    expected = one.fitted.outputs(one.data.X.head(5))[:, 1].tolist()
    status, answers = server.frame(frame)
    assert (status, [answer["probability_yes"] for answer in answers]) == (200, expected)
    assert set(answers[0]) == {"label", "probability_no", "probability_yes"}
    records = json.loads(frame.to_json(orient="records", date_format="iso", double_precision=15))
    assert server.records(*records) == (200, answers)

    assert server.ask(frame.to_csv(index=False)) == (200, answers)
    assert server.ask({"inputs": {name: [row[name] for row in records] for name in ROW}}) == (200, answers)
    assert server.post(frame.to_parquet(), {"Content-Type": scoring_server.CONTENT_TYPE_PARQUET}) == (200, answers)
    as_digits = frame.assign(member=[None if pd.isna(one) else int(one) for one in frame["member"]])
    assert server.ask(as_digits.astype({"member": "Int64"}).to_csv(index=False)) == (200, answers)

    probability = server.records(ROW)[1][0]["probability_yes"]
    for threshold, label in ((probability - 0.01, "yes"), (probability + 0.01, "no")):
        assert server.records(ROW, params={"threshold": threshold})[1][0]["label"] == label

    status, explained = server.records(*records, params={"explain": 2})
    assert status == 200, explained
    for plain, found in zip(answers, explained, strict=True):
        assert {name: found[name] for name in plain} == plain
        assert {found["reason_1"], found["reason_2"]} <= {*ROW}
        told = [found[name] for name in ("base_value", "reason_1_value", "reason_2_value", "other_reasons_value")]
        assert sum(told) == pytest.approx(found["probability_yes"], rel=0, abs=1e-6)
        assert found["reason_scale"] == "probability of yes"
    for most in (-1, "many", 2.5):
        status, message = server.records(ROW, params={"explain": most})
        assert (status, "explain" in message) == (400, True), f"{most!r}: {message}"

    answered: dict[str, dict[str, Any]] = {
        "an unseen category": {"town": "Braga"},
        "an unseen number of a category": {"agent": 999},
        "a whole number where numbers are doubles": {"amount": 50},
        "a whole number of 64 bits": {"visits": 2**60},
        "a date without its time": {"since": "2021-03-04"},
        "a date with its zone": {"since": "2021-03-04T00:00:00Z"},
        "a column that it does not know": {"more": [1, 2]},
        "a text with blanks around it": {"town": " Porto "},
        "a word that means missing": {"town": "NA", "since": " n/a"},
        "a truth as a digit": {"member": 0},
        "a truth as a word": {"member": "false"},
        **{f"a null in {name}": {name: None} for name in ROW},
        "nulls in all columns": dict.fromkeys(ROW),
    }
    for case, change in answered.items():
        for beside in ([], [ROW]):  # a column of nulls only has another type than one with nulls in it
            status, found = server.records(*beside, {**ROW, **change})
            assert status == 200, f"{case}: {found}"
            assert len(found) == len(beside) + 1, case
            known = {name: value for name, value in {**ROW, **change}.items() if name in ROW}
            features = as_features(pd.DataFrame([known]), [vars(column) for column in one.data.schema.columns])
            assert found[-1]["probability_yes"] == one.fitted.outputs(features)[0, 1], case
    a_null = server.records({**ROW, "member": None})[1][0]["probability_yes"]
    assert a_null < probability, "MLflow's own cast makes true out of a null"

    for name in ROW:
        status, message = server.records({other: value for other, value in ROW.items() if other != name})
        assert (status, message) == (400, f"Model is missing inputs ['{name}'].")
    refused = [("amount", "much"), ("agent", "me"), ("town", 3), ("town", {"a": 1}), ("member", "maybe")]
    refused += [("member", 7), ("since", "soon"), ("since", 5), ("amount", [1])]
    refused += [("amount", "'. Error: b")]
    for name, value in refused:
        for beside in ([], [ROW]):
            status, message = server.records(*beside, {**ROW, name: value})
            assert (status, message.count("\n")) == (400, 0), f"{name} = {value!r}: {message}"
            assert message.startswith(f"column '{name}' holds "), message

    assert server.ask({"dataframe_split": {"columns": list(ROW), "data": []}}) == (200, [])


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"treshold": 0.3}, "params: 'treshold' is no parameter of this model, which takes threshold"),
        ({"threshold": 7}, "threshold: 7 is not from 0 to 1"),
        ({"threshold": -1}, "threshold: -1 is not from 0 to 1"),
        ({"threshold": float("nan")}, "threshold: nan is not from 0 to 1"),
        ({"threshold": None}, "threshold: None is not from 0 to 1"),
        ({"threshold": "x"}, "threshold"),
        ({"threshold": True}, "threshold"),
        ({"threshold": [0.5]}, "threshold"),
        ([0.5], "params: [0.5] is no object of names and values"),
    ],
    ids=str,
)
def test_a_parameter_that_is_none_or_out_of_its_range_is_a_400_that_names_it(
    server: Server, params: Any, named: str
) -> None:
    status, message = server.ask({**ONE, "params": params})
    assert (status, message.count("\n")) == (400, 0)
    assert named in message


def test_what_is_no_part_of_a_request_is_a_400_that_names_it(server: Server) -> None:
    status, message = server.ask({**ONE, "parameters": {"threshold": 0.3}})
    assert (status, "'parameters' is no part of a request" in message) == (400, True)


def test_a_column_that_comes_twice_is_a_400_that_names_it(server: Server) -> None:
    rows = {"columns": [*ROW, "town"], "data": [[*ROW.values(), "Lisboa"]]}
    status, message = server.ask({"dataframe_split": rows})
    assert (status, "the column 'town' more than once" in message) == (400, True)


def test_a_body_may_be_zipped(server: Server) -> None:
    plain = server.ask(ONE)
    zipped = gzip.compress(json.dumps(ONE).encode())
    assert plain[0] == 200
    assert server.post(zipped, {**JSON, "Content-Encoding": "gzip"}) == plain


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        (json.dumps(ONE).encode(), {}, "Content-Type: the request has none"),
        (gzip.compress(json.dumps(ONE).encode())[:-9], JSON, "begins as gzip"),
        (gzip.compress(b"")[:10] + b"no deflate", JSON, "begins as gzip"),
        (b'{"dataframe_records": [', JSON, "valid JSON"),
        (b"\xff\xfe", JSON, "valid JSON"),
        (b"", {"Content-Type": "text/csv"}, "CSV"),
        (b'a,b\n1,2\n1,"2', {"Content-Type": "text/csv"}, ""),
        (b"a,b\n1,2\n1,2,3", {"Content-Type": "text/csv"}, ""),
        (b"a,b\n1,2,3", {"Content-Type": "text/csv"}, "row 1 of the CSV has 3 cells, and its header has 2"),
    ],
    ids=[
        "no type",
        "gzip that ends",
        "no gzip",
        "half of a JSON",
        "no text",
        "empty",
        "open quote",
        "3 cells",
        "3 of 2",
    ],
)
def test_a_body_that_cannot_be_read_is_a_400(server: Server, body: bytes, headers: dict, said: str) -> None:
    status, message = server.post(body, headers)
    assert (status, said in message) == (400, True), message


def test_a_gzip_that_unzips_to_more_than_memory_should_hold_is_refused(shelf: dict, monkeypatch: Any) -> None:
    loaded = shelf["random_forest", 2].loaded
    # of several models in a process, the first that was loaded reads what they are all sent
    reading = inspect.getclosurevars(scoring_server.invocations).nonlocals["ours"]
    monkeypatch.setitem(reading.__globals__, "MOST_UNZIPPED", 1000)
    with pytest.raises(MlflowException, match="unzips to more than 1,000 bytes"):
        scoring_server.invocations(gzip.compress(bytes(1001)), "application/json", loaded, None)


def answered(server: Server, times: int) -> None:
    """Ask over one connection, a row that is answered and a request that is refused in turn."""
    port = int(server.address.rpartition(":")[2])
    bodies = [json.dumps(body).encode() for body in (ONE, {**ONE, "params": {"treshold": 1}})]
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        for at in range(times):
            connection.request("POST", "/invocations", bodies[at % 2], JSON)
            answer = connection.getresponse()
            assert (answer.status, bool(answer.read())) == ((200, 400)[at % 2], True)


def test_a_server_does_not_grow_by_the_requests_that_it_has_answered(server: Server) -> None:
    # it stands before those that make the server hold more: what they leave free would hide what requests leave
    answered(server, 300)
    before = server.resident()
    answered(server, 2000)
    grown = server.resident() - before
    assert grown < 2**20, f"{grown / 2000:.0f} bytes a request"


def test_50_requests_at_once_are_answered_each_with_its_own_rows(server: Server, shelf: dict) -> None:
    one = shelf["random_forest", 2]
    expected = one.fitted.outputs(one.data.X)[:, 1]
    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(lambda at: server.frame(one.data.frame.iloc[[at]]), range(50)))
    assert [status for status, _ in answers] == [200] * 50
    assert [rows[0]["probability_yes"] for _, rows in answers] == expected[:50].tolist()


def test_100_000_rows_are_answered_in_one_request_and_leave_nothing_behind(server: Server, shelf: dict) -> None:
    one = shelf["random_forest", 2]
    times = -(-100_000 // len(one.data.frame))
    rows = split(pd.concat([one.data.frame] * times, ignore_index=True).head(100_000))
    body = json.dumps(rows).encode()
    status, found = server.post(body, JSON)
    expected = np.tile(one.fitted.outputs(one.data.X)[:, 1], times)[:100_000]
    assert (status, [row["probability_yes"] for row in found]) == (200, expected.tolist())
    before = server.resident()
    assert server.post(body, JSON)[0] == 200
    assert server.resident() < before + 100 * 2**20, "as much as one such request takes"


def test_mlflow_has_the_names_by_which_a_model_reads_its_requests(shelf: dict) -> None:
    assert shelf["random_forest", 2].loaded
    taken = (PyFuncModel.predict, scoring_server.invocations, scoring_server._parse_json_data)
    assert all(hasattr(one, "__wrapped__") for one in (*taken, scoring_server.parse_csv_input))


class Other(mlflow.pyfunc.PythonModel):
    """A model of another project."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict | None = None) -> list:
        return [f"{value!r} of {params}" for value in model_input["x"].tolist()]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"dataframe_records": [{"x": "5"}], "more": 1, "params": {"a": 1}}', "application/json"),
        (b"x\n5", "text/csv"),
    ],
)
def test_other_models_of_the_process_are_asked_as_mlflow_does(
    shelf: dict, tmp_path: Path, body: bytes, kind: str
) -> None:
    assert shelf["random_forest", 2].loaded
    signature = ModelSignature(Schema([ColSpec("double", "x")]), params=ParamSchema([ParamSpec("b", "long", 2)]))
    mlflow.pyfunc.save_model(str(tmp_path / "other"), python_model=Other(), signature=signature, pip_requirements=[])
    other = mlflow.pyfunc.load_model(str(tmp_path / "other"))
    answer = scoring_server.invocations(body, kind, other, signature.inputs)
    assert json.loads(answer.response) == {"predictions": ["5.0 of {'b': 2}"]}
