"""Requests to a tracking server whose answer breaks off are asked again.

MLflow itself asks again where there is no answer, or one that says so (503 and the like), but not where a server or a
proxy ends in the middle of an answer; and it asks again for what makes something new, such as a run, of which there are
two then. That is asked again here after a look whether it was made.
"""

import re
import sys
import time
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR, MLFLOW_HTTP_REQUEST_MAX_RETRIES
from mlflow.exceptions import InvalidUrlException, MlflowException
from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
from mlflow.utils import rest_utils
from requests import Response
from requests.exceptions import ChunkedEncodingError, ContentDecodingError

from steps.run import creations

# How often, and the seconds before the first time; each time twice as long.
TIMES, FIRST_SECONDS = 6, 0.25
# The most seconds between two requests for something new.
MOST_SECONDS = 120.0
# Answers that say that the server has not come to it, or not to its end.
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
# What may be sent twice, though its method does not say so.
SAME_TWICE = re.compile(
    r"/(runs/(log-batch|log-metric|log-parameter|log-inputs|set-tag|update|search)|[\w-]+/search"
    r"|experiments/set-experiment-tag|registered-models/(alias|set-tag)|model-versions/set-tag)$"
)


def install() -> None:
    """Ask again in all of MLflow's requests and downloads of this process from now on."""
    asks = rest_utils.http_request
    if hasattr(asks, "__wrapped__"):
        return
    again = _again(asks)
    for module in [*sys.modules.values()]:  # many modules hold the function by its name
        if getattr(module, "__name__", "").startswith("mlflow") and vars(module).get("http_request") is asks:
            vars(module)["http_request"] = again
    HttpArtifactRepository._download_file = _whole(HttpArtifactRepository._download_file)


def _again(ask: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(ask)
    def asked(host_creds: Any, endpoint: str, method: str, *about: Any, **more: Any) -> Any:
        look = creations.lookup(endpoint, method)
        if look is not None and not about:
            make = partial(ask, host_creds, endpoint, method, **more)
            return _made(make, partial(look, partial(asked, host_creds), more.get("json", {})))
        if not is_same_twice(endpoint, method):
            return ask(host_creds, endpoint, method, *about, **more)
        sent = more.get("data")

        def ask_whole() -> Any:
            if hasattr(sent, "seek"):
                sent.seek(0)  # a file whose upload broke off stands at its end
            return ask(host_creds, endpoint, method, *about, **more)

        return _repeated(ask_whole)

    return asked


def _whole(download: Callable[..., None]) -> Callable[..., None]:
    """The download of a file, which MLflow reads after the request has returned."""

    @wraps(download)
    def downloaded(*about: Any, **more: Any) -> None:
        _repeated(partial(download, *about, **more))

    return downloaded


def _repeated(ask: Callable[[], Any]) -> Any:
    """What is asked, once its answer does not break off."""
    for time_ in range(TIMES):
        try:
            return ask()
        except Exception as error:
            if time_ == TIMES - 1 or not broke_off(error):
                raise
        time.sleep(FIRST_SECONDS * 2**time_)
    raise AssertionError("the last time returns or raises")


def _made(make: Callable[..., Response], look: Callable[[], Response | None]) -> Response:
    """The answer to a request for something new, or what it has made; with as much patience as MLflow's own requests.

    Parameters
    ----------
    make
        Sends the request.
    look
        The answer that a lost one would have been, where the thing was made; else None.
    """
    times = MLFLOW_HTTP_REQUEST_MAX_RETRIES.get()
    for time_ in range(times + 1):
        try:
            answer = make(max_retries=0, raise_on_status=False)
        except InvalidUrlException:
            raise
        except MlflowException:
            if time_ == times:
                raise
        else:
            if answer.status_code not in TRANSIENT or time_ == times:
                return answer
        time.sleep(min(MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR.get() * 2**time_, MOST_SECONDS))
        made = look()
        if made is not None:
            return made
    raise AssertionError("the last time returns or raises")


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
