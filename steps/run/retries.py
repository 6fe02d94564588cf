"""Requests to a tracking server whose answer breaks off are asked again, where twice is the same as once.

MLflow itself asks again where there is no answer, or one that says so (503 and the like), but not where a server or a
proxy ends in the middle of an answer. What makes something new (a run, a model, a version) is not asked twice.
"""

import re
import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.utils import rest_utils
from requests.exceptions import ChunkedEncodingError, ContentDecodingError

# How often, and the seconds before the first time; each time twice as long.
TIMES, FIRST_SECONDS = 6, 0.25
# What may be sent twice, though its method does not say so.
SAME_TWICE = re.compile(
    r"/(runs/(log-batch|log-metric|log-parameter|log-inputs|set-tag|update|search)|[\w-]+/search"
    r"|experiments/set-experiment-tag|registered-models/(alias|set-tag)|model-versions/set-tag)$"
)


def install() -> None:
    """Ask again in all of MLflow's requests of this process from now on."""
    asks = rest_utils.http_request
    if hasattr(asks, "__wrapped__"):
        return
    again = _again(asks)
    for module in [*sys.modules.values()]:  # many modules hold the function by its name
        if getattr(module, "__name__", "").startswith("mlflow") and vars(module).get("http_request") is asks:
            vars(module)["http_request"] = again


def _again(ask: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(ask)
    def asked(host_creds: Any, endpoint: str, method: str, *about: Any, **more: Any) -> Any:
        for time_ in range(TIMES):
            try:
                return ask(host_creds, endpoint, method, *about, **more)
            except MlflowException as error:
                if time_ == TIMES - 1 or not broke_off(error) or not is_same_twice(endpoint, method):
                    raise
            time.sleep(FIRST_SECONDS * 2**time_)
            sent = more.get("data")
            if hasattr(sent, "seek"):
                sent.seek(0)  # a file that is uploaded stands at its end
        raise AssertionError("the last time returns or raises")

    return asked


def broke_off(error: BaseException | None) -> bool:
    """Whether an error, or one behind it, says that an answer had begun and did not end."""
    while error is not None:
        if isinstance(error, ChunkedEncodingError | ContentDecodingError) or "IncompleteRead" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def is_same_twice(endpoint: str, method: str) -> bool:
    """Whether a request that is sent twice leaves what it leaves once."""
    return method.upper() != "POST" or SAME_TWICE.search(endpoint.partition("?")[0]) is not None
