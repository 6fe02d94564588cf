"""MLflow's scoring server of a model, with figures for Prometheus at /metrics (docs/serving.md).

    __pyfunc_model_path__=MODEL uvicorn --app-dir serving server:app

It needs nothing of this repository: the model's own requirements, and requirements-serving.txt. Figures are of this
process, so that there has to be one worker: start more servers, and have Prometheus ask each.
"""

import functools
import os
import time
from collections import Counter as Counts
from collections.abc import Callable
from typing import Any

from mlflow.pyfunc import scoring_server
from prometheus_client import REGISTRY, Counter, Histogram, Info, make_asgi_app

# Seconds of a request: a row takes some ten milliseconds, and a batch may take a second.
SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
# Predicted numbers, where the environment names no bounds (TABULAR_BUCKETS=100,200,500): 1, 2, 5, 10, … on both sides.
DECADES = [step * 10.0**power for power in range(-2, 8) for step in (1, 2, 5)]
NUMBERS = [*(-number for number in reversed(DECADES)), 0.0, *DECADES]

requests = Counter("tabular_requests_total", "Requests for predictions, by the HTTP status of the answer.", ["status"])
seconds = Histogram("tabular_request_seconds", "Seconds from a request to the end of its answer.", buckets=SECONDS)
rows = Counter("tabular_rows_total", "Rows that were predicted.")
answers = Counter("tabular_answers_total", "Predicted rows by their label, of a model of classes.", ["label"])
unseen = Counter(
    "tabular_unseen_categories_total", "Rows with a category that no row of training had, by column.", ["column"]
)
about = Info("tabular_model", "The model that is served: its id, and the run that logged it.")


def _buckets() -> list[float]:
    """The upper bounds of the buckets of predicted numbers."""
    given = os.environ.get("TABULAR_BUCKETS", "")
    try:
        return sorted({float(bound) for bound in given.split(",")}) if given else NUMBERS
    except ValueError:
        raise SystemExit(f"TABULAR_BUCKETS: {given!r} is to be numbers with commas, such as 100,200,500") from None


def counted(model: Any) -> Any:
    """A loaded model that counts what it answers."""
    served = model.unwrap_python_model()
    numbers = None
    if served.description["classes"]:
        for label in served.description["classes"]:
            answers.labels(str(label))  # so that a class that is never answered is a 0
    else:
        numbers = Histogram("tabular_predictions", "Predicted numbers, of a model of numbers.", buckets=_buckets())
    about.info({"model_id": model.metadata.model_id or "", "run_id": model.metadata.run_id or ""})
    _count_unseen(served)
    predict = model.predict

    @functools.wraps(predict)
    def counting(data: Any, params: dict[str, Any] | None = None) -> Any:
        answer = predict(data, params=params)
        rows.inc(len(answer))
        if numbers is None:
            for label, times in Counts(answer["label"].tolist()).items():
                answers.labels(str(label)).inc(times)
        else:
            for number in answer["prediction"].tolist():
                numbers.observe(number)
        return answer

    model.predict = counting
    return model


def _count_unseen(served: Any) -> None:
    """Have a model count categories that it does not know, where it looks up what each known one becomes.

    All members of a blend are asked with the same rows, of which the first one that looks up counts.
    """
    members = [member for _, member in getattr(served, "members", {}).values()] or [served]
    for member in members:
        encoder = getattr(member, "encoder", None)
        known = {part.name: part.rows for part in getattr(encoder, "_parts", ()) if hasattr(part, "rows")}
        if known:
            for column in known:
                unseen.labels(column)
            encoder.prepare = _counting_unseen(encoder.prepare, known)
            return


def _counting_unseen(prepare: Callable, known: dict[str, dict[Any, int]]) -> Callable:
    def counting(features: Any) -> Any:
        for column, values in known.items():
            # what is missing is NaN, and not equal to itself
            new = sum(value == value and value not in values for value in features[column].tolist())  # noqa: PLR0124
            if new:
                unseen.labels(column).inc(new)
        return prepare(features)

    return counting


class Watched:
    """A server that counts its requests for predictions, and answers /metrics."""

    def __init__(self, app: Callable) -> None:
        self.app, self.metrics = app, make_asgi_app(REGISTRY)

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        """Answer a request, as an ASGI application does."""
        path = scope.get("path", "").rstrip("/")
        if scope["type"] == "http" and path == "/metrics":
            await self.metrics(scope, receive, send)
        elif scope["type"] == "http" and path == "/invocations":
            await self._counted(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _counted(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        status, started = "500", time.perf_counter()  # what ends without an answer has failed

        async def noting(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            seconds.observe(time.perf_counter() - started)
            requests.labels(status).inc()


def served() -> Watched:
    """The server of the model that the environment names."""
    variable = scoring_server._SERVER_MODEL_PATH
    if not os.environ.get(variable):
        raise SystemExit(f"{variable}: name the folder or the URI of the model that is to be served")
    requests.labels("200")  # so that it is a 0 before the first request
    return Watched(scoring_server.init(counted(scoring_server.load_model_with_mlflow_config(os.environ[variable]))))


app = served()
