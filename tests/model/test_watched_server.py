"""The server of serving/ as Prometheus sees it: what a real one counts, and that what deploy/ asks of it is there."""

import json
import re
import shutil
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import made
import pandas as pd
import pytest
import yaml
from servers import Server, free_port, started

pytest.importorskip("prometheus_client", reason="requirements-serving.txt is not installed here")

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
DEPLOY = PROJECT / "deploy"
ROW = {"amount": 50.5, "visits": 3, "agent": 14, "town": "Porto", "member": True, "since": "2021-03-04"}
# (name of a sample, its labels): value
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Watched(Server):
    """A server under way, and what it tells Prometheus."""

    def scraped(self) -> Samples:
        from prometheus_client.parser import text_string_to_metric_families

        with urllib.request.urlopen(f"{self.address}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        families = text_string_to_metric_families(text)
        return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def gained(before: Samples, after: Samples) -> dict[str, float]:
    """The counts that have grown, by name and labels: `tabular_requests_total status=200`."""
    found = {}
    for (name, labels), value in after.items():
        if name.startswith("tabular_") and name.endswith(("_total", "_count")):
            told = " ".join([name, *(f"{label}={text}" for label, text in sorted(labels))])
            found[told] = value - before.get((name, labels), 0)
    return {name: count for name, count in found.items() if count}


def watched(model: str, tracking: str, folder: Path, **variables: str) -> Any:
    port = free_port()
    words = [sys.executable, "-m", "uvicorn", "--app-dir", str(PROJECT / "serving"), "--port", str(port), "server:app"]
    about = {"__pyfunc_model_path__": model, "MLFLOW_TRACKING_URI": tracking, **variables}
    return started(words, port, folder, **about)


@pytest.fixture(scope="module")
def of_classes(shelf: dict, tracking: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """LightGBM of two classes, served."""
    with watched(shelf["lightgbm", 2].uri, tracking, tmp_path_factory.mktemp("classes")) as server:
        yield Watched(int(server.address.rpartition(":")[2]))


@pytest.fixture(scope="module")
def of_numbers(tracking: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A ridge regression, served."""
    data = made.prepare(made.table_of_numbers(), tmp_path_factory.mktemp("numbers"), task="regression")
    fitted = made.ridge(data)
    about = {"intervals": made.intervals_of(fitted, data, 0.9), "coverage": 0.9}
    uri = made.log(fitted, data, tmp_path_factory.mktemp("ridge") / "parts", **about).model_uri
    with watched(uri, tracking, tmp_path_factory.mktemp("served"), TABULAR_BUCKETS="1,4,1000") as server:
        yield Watched(int(server.address.rpartition(":")[2]))


def test_what_was_not_asked_for_yet_is_a_0(of_classes: Watched) -> None:
    found = of_classes.scraped()
    zeros = {"tabular_requests_total": {"status": "200"}, "tabular_answers_total": {"label": "yes"}}
    zeros["tabular_unseen_categories_total"] = {"column": "town"}
    for name, labels in zeros.items():
        assert (name, frozenset(labels.items())) in found


def test_requests_rows_and_answers_are_counted_as_they_were_given(of_classes: Watched, shelf: dict) -> None:
    before = of_classes.scraped()
    status, answers = of_classes.frame(shelf["lightgbm", 2].data.frame.head(50))
    assert status == 200
    labels = Counter(answer["label"] for answer in answers)
    assert len(labels) == 2
    assert gained(before, of_classes.scraped()) == {
        "tabular_requests_total status=200": 1,
        "tabular_request_seconds_count": 1,
        "tabular_rows_total": 50,
        **{f"tabular_answers_total label={label}": count for label, count in labels.items()},
    }


def test_a_refused_request_is_an_error_and_no_row(of_classes: Watched) -> None:
    before = of_classes.scraped()
    assert of_classes.records({**ROW, "amount": "much"})[0] == 400
    assert gained(before, of_classes.scraped()) == {
        "tabular_requests_total status=400": 1,
        "tabular_request_seconds_count": 1,
    }


def test_rows_with_a_category_that_was_never_seen_are_counted_by_column(of_classes: Watched) -> None:
    before = of_classes.scraped()
    seen, missing = {**ROW, "town": " Porto "}, {**ROW, "town": None}
    assert (
        of_classes.records({**ROW, "town": "Braga"}, {**ROW, "town": "Faro"}, {**ROW, "agent": 999}, seen, missing)[0]
        == 200
    )
    found = gained(before, of_classes.scraped())
    assert {name: count for name, count in found.items() if "unseen" in name} == {
        "tabular_unseen_categories_total column=town": 2,
        "tabular_unseen_categories_total column=agent": 1,
    }


def test_the_answers_are_those_of_mlflows_own_server(of_classes: Watched, shelf: dict) -> None:
    one = shelf["lightgbm", 2]
    rows = one.data.frame.head(20)
    status, answers = of_classes.frame(rows)
    assert status == 200
    expected = one.loaded.predict(rows)
    pd.testing.assert_frame_equal(pd.DataFrame(answers), expected.reset_index(drop=True), check_dtype=False)
    name = one.data.frame.columns[0]
    assert name in of_classes.records({key: value for key, value in ROW.items() if key != name})[1]


def test_the_model_that_is_served_is_told(of_classes: Watched, shelf: dict) -> None:
    (labels,) = [dict(labels) for name, labels in of_classes.scraped() if name == "tabular_model_info"]
    assert labels["model_id"] == shelf["lightgbm", 2].uri.removeprefix("models:/")
    assert len(labels["run_id"]) == 32


def test_predicted_numbers_are_counted_in_the_buckets_of_the_environment(of_numbers: Watched) -> None:
    before = of_numbers.scraped()
    status, answers = of_numbers.records(ROW, {**ROW, "amount": 90.0}, {**ROW, "amount": -20.0})
    assert status == 200
    after = of_numbers.scraped()
    numbers = [answer["prediction"] for answer in answers]
    for bound in (1, 4, 1000):
        key = ("tabular_predictions_bucket", frozenset({("le", str(float(bound)))}))
        assert after[key] - before[key] == sum(number <= bound for number in numbers)
    assert not any(name == "tabular_answers_total" for name, _ in after)


# --- what deploy/ asks ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exposed(of_classes: Watched, of_numbers: Watched) -> dict[str, set[str]]:
    """Each metric that the servers tell of, with the names of its labels."""
    of_classes.records({**ROW, "town": "Braga"})
    found: dict[str, set[str]] = {}
    for server in (of_classes, of_numbers):
        for name, labels in server.scraped():
            found.setdefault(name, set()).update(label for label, _ in labels)
    return found


def expressions() -> Iterator[str]:
    """All that the alerts and the dashboard ask of Prometheus."""
    for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text(encoding="utf-8"))["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for panel in json.loads((DEPLOY / "dashboard.json").read_text(encoding="utf-8"))["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def test_the_metrics_that_alerts_and_dashboard_name_are_those_that_a_server_exposes(
    exposed: dict[str, set[str]],
) -> None:
    named = {name for expression in expressions() for name in re.findall(r"\btabular_\w+", expression)}
    assert len(named) >= 6
    assert named <= exposed.keys()
    ours = {
        name for name in exposed if name.startswith("tabular_") and not name.endswith(("_created", "_sum", "_count"))
    }
    assert ours <= named  # and none is looked at by nobody


def test_every_label_that_alerts_and_dashboard_name_is_one_of_the_metric(exposed: dict[str, set[str]]) -> None:
    of_prometheus = {"job", "instance"}
    for expression in expressions():
        named = {label for name in re.findall(r"\btabular_\w+", expression) for label in exposed[name]}
        asked = re.findall(r"(?:by|on) \(([\w, ]*)\)", expression) + re.findall(r"(\w+)\s*=~?\s*\"", expression)
        labels = {label for text in asked for label in text.replace(",", " ").split()}
        assert labels <= named | of_prometheus, expression


def test_every_rule_has_what_prometheus_asks_of_one() -> None:
    (group,) = yaml.safe_load((DEPLOY / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    names = [rule["alert"] for rule in group["rules"]]
    assert len({*names}) == len(names) > 4
    for rule in group["rules"]:
        assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[smhd]", rule["for"])
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["expr"].count("(") == rule["expr"].count(")")
        named = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        kept = {label for text in re.findall(r"by \(([\w, ]*)\)", rule["expr"]) for label in text.split(", ")}
        assert named <= (kept or {"instance"})


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus' promtool is not installed here")
def test_prometheus_warns_of_what_it_is_told_to_and_of_nothing_else() -> None:
    words = ["promtool", "test", "rules", str(PROJECT / "tests" / "fixtures" / "alerts_test.yaml")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_panel_has_what_grafana_asks_of_one() -> None:
    board = json.loads((DEPLOY / "dashboard.json").read_text(encoding="utf-8"))
    variables = {one["name"] for one in board["templating"]["list"]}
    assert board["schemaVersion"] >= 30 and board["title"] and board["uid"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24 and panel["title"] and panel["type"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        asked = set(re.findall(r"\$\{?(\w+)", json.dumps([panel["datasource"], panel["targets"]])))
        assert asked - {"__rate_interval"} <= variables
