"""A model served for real: what `mlflow models serve` answers over HTTP, and what it refuses."""

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from servers import Server, serving

from steps.model.served import as_features

pytestmark = pytest.mark.slow

ROW = {"amount": 50.5, "visits": 3, "agent": 14, "town": "Porto", "member": True, "since": "2021-03-04T00:00:00"}


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
    as_digits = frame.assign(member=[None if pd.isna(one) else int(one) for one in frame["member"]])
    assert server.ask(as_digits.astype({"member": "Int64"}).to_csv(index=False)) == (200, answers)

    probability = server.records(ROW)[1][0]["probability_yes"]
    for threshold, label in ((probability - 0.01, "yes"), (probability + 0.01, "no")):
        assert server.records(ROW, params={"threshold": threshold})[1][0]["label"] == label

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
        assert (status, f"missing inputs ['{name}']" in message) == (400, True), message
    refused = [("amount", "much"), ("agent", "me"), ("town", 3), ("town", {"a": 1}), ("member", "maybe")]
    refused += [("member", 7), ("since", "soon"), ("since", 5), ("amount", [1])]
    for name, value in refused:
        for beside in ([], [ROW]):
            status, message = server.records(*beside, {**ROW, name: value})
            assert status == 400, f"{name} = {value!r}: {message}"
            assert f"column '{name}'" in message or f"column {name}" in message, message

    assert server.ask({"dataframe_split": {"columns": list(ROW), "data": []}}) == (200, [])
