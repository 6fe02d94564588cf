"""What a request to a tracking server was to make, looked up after its answer was lost: so it is made once.

A server that goes away may have made a run before it went. To ask again would make a second one, which nobody ends.
"""

from collections.abc import Callable
from typing import Any

from requests import Response

API = "/api/2.0/mlflow"
# Sends a request: endpoint, method, and what `requests` takes besides.
Ask = Callable[..., Response]
Body = dict[str, Any]


def lookup(endpoint: str, method: str) -> Callable[[Ask, Body], Response | None] | None:
    """The look-up of what a request makes; None where it makes nothing new, or nothing that a step makes."""
    return _LOOKUPS.get(endpoint) if method.upper() == "POST" else None


def _run(ask: Ask, body: Body) -> Response | None:
    asked = {
        "experiment_ids": [body["experiment_id"]],
        "filter": f"attributes.start_time = {body['start_time']}",
        "max_results": 1000,
    }
    wanted = _tags(body)
    for run in _content(ask(f"{API}/runs/search", "POST", json=asked)).get("runs", []):
        if wanted <= _tags(run["data"]):
            return _there(ask(f"{API}/runs/get", "GET", params={"run_id": run["info"]["run_id"]}))
    return None


def _logged_model(ask: Ask, body: Body) -> Response | None:
    asked = {
        "experiment_ids": [body["experiment_id"]],
        "filter": f"source_run_id = '{body['source_run_id']}'",
    }
    for model in _content(ask(f"{API}/logged-models/search", "POST", json=asked)).get("models", []):
        if model["info"]["name"] == body["name"]:
            return _there(ask(f"{API}/logged-models/{model['info']['model_id']}", "GET"))
    return None


def _registered_model(ask: Ask, body: Body) -> Response | None:
    return _there(ask(f"{API}/registered-models/get", "GET", params={"name": body["name"]}))


def _version(ask: Ask, body: Body) -> Response | None:
    asked = {"filter": f"run_id = '{body['run_id']}'", "max_results": 1000}
    wanted = _tags(body)
    for version in _content(ask(f"{API}/model-versions/search", "GET", params=asked)).get("model_versions", []):
        if version["name"] == body["name"] and wanted <= _tags(version):
            about = {"name": body["name"], "version": version["version"]}
            return _there(ask(f"{API}/model-versions/get", "GET", params=about))
    return None


def _output(ask: Ask, body: Body) -> Response | None:
    answer = ask(f"{API}/runs/get", "GET", params={"run_id": body["run_id"]})
    held = _content(answer).get("run", {}).get("outputs", {}).get("model_outputs", [])
    wanted = {model["model_id"] for model in body["models"]}
    return answer if wanted <= {model["model_id"] for model in held} else None


# By endpoint. Each answers what the creation would have answered.
_LOOKUPS: dict[str, Callable[[Ask, Body], Response | None]] = {
    f"{API}/runs/create": _run,
    f"{API}/runs/outputs": _output,
    f"{API}/logged-models": _logged_model,
    f"{API}/registered-models/create": _registered_model,
    f"{API}/model-versions/create": _version,
}


def _tags(held: Body) -> set[tuple[str, str]]:
    return {(tag["key"], tag.get("value", "")) for tag in held.get("tags", [])}


def _content(answer: Response) -> Body:
    return dict(answer.json()) if answer.status_code == 200 else {}


def _there(answer: Response) -> Response | None:
    return answer if answer.status_code == 200 else None
