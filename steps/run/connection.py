"""The connection to a tracking server, tried before anything is asked of it, and in words why it was lost later.

MLflow's own requests are tried again for minutes, and end in a traceback.
"""

import contextlib
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import SplitResult, urlsplit

import mlflow
import requests
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT
from mlflow.exceptions import MlflowException
from mlflow.utils import rest_utils
from mlflow.utils.credentials import get_default_host_creds

from steps.run import disk, tracking
from tabular import addresses
from tabular.errors import UserError, first_line

# The most seconds until a server lets itself be connected to, and until it answers. It checks a password first.
SECONDS = (4, 8)
# Servers before this version of MLflow do not know of logged models.
LEAST = 3
EXPERIMENTS = "/api/2.0/mlflow/experiments/search"
# Seconds that a server may take for the account of a request; a chain sends hundreds of them.
QUICK = 0.1
# What an MLflow server calls its errors for want of a database.
UNAVAILABLE = ("TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED")
# How MLflow, requests and urllib3 say, after their last try, that a server is away, and the same in few words.
# They are looked for in the text: of a folder's download that is all that MLflow leaves of an error.
GONE = (
    (
        r"too many (429|5\d\d) error responses|error code (50[234])\b|\b(50[234]) Server Error",
        "each answer is an error {}",
    ),
    (r"CERTIFICATE_VERIFY_FAILED", "its certificate is refused"),
    (r"SSLError|SSLEOFError", "no secure connection"),
    (r"NameResolutionError|getaddrinfo|Name or service not known", "its name is not found"),
    (r"Connection refused|actively refused", "connection refused"),
    (r"[Tt]imed out|timeout exception", "no answer in time"),
    (r"Connection aborted|RemoteDisconnected|Connection reset|Broken pipe|Connection broken", "connection broken off"),
    (r"Max retries exceeded|unreachable|No route to host", "no connection"),
    ("|".join(UNAVAILABLE), "each answer is that it cannot"),
)
AUTHORITY = "name the file with the certificate of its authority in MLFLOW_TRACKING_SERVER_CERT_PATH"


class Lost(Exception):
    """The tracking server has answered before and does not any more; the text is the line for the terminal.

    It is no `UserError`: who goes on where something is missing must not take a server that is away for it.
    """


def check() -> str:
    """Check that the tracking server answers, is MLflow and lets this account in; return the server's version.

    "" where the store is no server.

    Raises
    ------
    UserError
        With the reason, and what to do about it.
    """
    if not tracking.is_server():
        return ""
    try:
        return _version()
    except UserError as error:
        raise UserError(f"{error}{_via_proxy()}") from None


def _version() -> str:
    answer = ask("/version")
    version = answer.text.strip()
    if answer.status_code != 200 or not re.fullmatch(r"\d+\.\d+[\w.+-]*", version):
        raise UserError(
            f"{tracking.address()} answers, but not as an MLflow server does ({_shown(answer)}): look whether the "
            "address in MLFLOW_TRACKING_URI is whole, with the path where it has one"
        )
    if int(version.partition(".")[0]) < LEAST:
        raise UserError(
            f"{tracking.address()} runs MLflow {version}, which does not know of logged models: it has to be {LEAST}.0 "
            f"or newer, best {mlflow.__version__}, which the steps run"
        )
    found = ask(EXPERIMENTS, params={"max_results": 1})
    if found.status_code != 200:
        raise UserError(f"{tracking.address()} answers, but its database does not ({_shown(found)}): ask who keeps it")
    return version


def _via_proxy() -> str:
    """What to add to an error where the environment has requests to the server go through a proxy; else ""."""
    uri = mlflow.get_tracking_uri()
    proxy = requests.utils.select_proxy(uri, requests.utils.get_environ_proxies(uri))
    if proxy is None:
        return ""
    host = urlsplit(uri).hostname
    return (
        f"; the request went through the proxy {addresses.without_credentials(proxy)}, which the environment names: "
        f"where the server is reached without it, add {host} to NO_PROXY and no_proxy"
    )


def account() -> str:
    """Who is let in, in words, and what to do where the server takes long for the account of each request."""
    whose = tracking.account()
    if whose is None:
        return "none is asked for"
    seconds = min(_took(EXPERIMENTS) for _ in range(2)) - min(_took("/version") for _ in range(2))
    if seconds < QUICK:
        return f"{whose} is let in"
    return (
        f"{whose} is let in; the server takes {seconds:.1f} s for the account of each request, of which a chain sends "
        "hundreds: ask its administrator for auth_cache_ttl_seconds (docs/server.md)"
    )


def _took(endpoint: str) -> float:
    started = time.perf_counter()
    ask(endpoint, params={"max_results": 1})
    return time.perf_counter() - started


def ask(endpoint: str, method: str = "GET", *, uri: str = "", **about: Any) -> requests.Response:
    """The answer of the tracking server, or of the one at `uri`, to one request, which is not tried again.

    Raises
    ------
    UserError
        Where there is no answer, or the account is not let in.
    """
    uri = uri or mlflow.get_tracking_uri()
    creds, address = get_default_host_creds(uri), addresses.without_credentials(uri)
    try:
        answer = rest_utils.http_request(
            creds, endpoint, method, max_retries=0, timeout=SECONDS, raise_on_status=False, **about
        )
    except MlflowException as error:
        raise UserError(_why(error, uri)) from None
    if answer.status_code == 401:
        account = tracking.account()
        said = f"does not know the account {account!r} with this password" if account else "asks for an account"
        raise UserError(
            f"{address} {said}: give MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN, as its administrator says"
        )
    if answer.status_code in (502, 503, 504):
        raise UserError(
            f"{address}: a proxy answers ({_shown(answer)}), and MLflow behind it does not: ask who keeps it"
        )
    return answer  # type: ignore[no-any-return]


def _shown(answer: requests.Response) -> str:
    return f"{answer.status_code} {answer.reason}: {' '.join(re.sub(r'<[^>]*>', ' ', answer.text).split())[:80]!r}"


def _why(error: BaseException, uri: str) -> str:
    """Why there was no answer from an address, and what to do about it, from the errors behind MLflow's one."""
    address, parts = addresses.without_credentials(uri), urlsplit(uri)
    causes = [*_causes(error)]
    words = " ".join(map(str, causes))
    timeouts = f"within {SECONDS[0]} to {SECONDS[1]} s: is the host up, and is a firewall or a VPN in between?"
    port = _port(parts)
    told: tuple[tuple[Any, str, Callable[[Any], str]], ...] = (
        (ssl.SSLCertVerificationError, "not valid for", lambda one: f"{_refused(one)}: write there the name it is of"),
        (ssl.SSLCertVerificationError, "", lambda one: f"{_refused(one)}: {AUTHORITY}"),
        (OSError, "invalid path", lambda one: f"MLFLOW_TRACKING_SERVER_CERT_PATH names no file: {AUTHORITY}"),
        (ssl.SSLError, "WRONG_VERSION", lambda one: "no secure connection: does it speak http:// and not https://?"),
        (ssl.SSLError, "", lambda one: f"no secure connection ({one.reason or first_line(one)}): {AUTHORITY}"),
        (socket.gaierror, "", lambda one: f"there is no host {parts.hostname!r}: look at the address, or at the VPN"),
        (ConnectionRefusedError, "", lambda one: f"nobody answers: is the server running, and is {port} its port?"),
        ((TimeoutError, requests.exceptions.Timeout), "", lambda one: f"it does not answer {timeouts}"),
        (BaseException, "", lambda one: f"no answer ({first_line(causes[-1])}): look at its address"),
    )
    kind, _, tell = next(row for row in told if row[1] in words and any(isinstance(one, row[0]) for one in causes))
    return f"{address}: {tell(next(one for one in causes if isinstance(one, kind)))}"


def lost(error: BaseException) -> str | None:
    """What an error tells of a tracking server that does not answer any more, in one line; None where it is another."""
    said = next((one for one in _causes(error) if isinstance(one, Lost)), None)
    if said is not None:
        return str(said)
    if isinstance(error, UserError) or not tracking.is_server():
        return None
    causes = [one for one in _causes(error) if _is_of_the_server(one)]
    for pattern, tell in GONE:
        for found in filter(None, (re.search(pattern, str(one)) for one in causes)):
            reason = tell.format(*filter(None, found.groups()))
            return f"{tracking.address()} does not answer any more ({reason}): wait until it does, {disk.AGAIN}"
    return None


def refuse_lost(error: BaseException) -> None:
    """Raise `Lost` where an error is of a tracking server that does not answer any more."""
    said = lost(error)
    if said is not None:
        raise Lost(said) from None


@contextlib.contextmanager
def hasty(error: BaseException) -> Iterator[None]:
    """In this block each request is sent once, where an error tells of a lost server: that has been waited for."""
    if lost(error) is None:
        yield
        return
    hurried = {MLFLOW_HTTP_REQUEST_MAX_RETRIES.name: "0", MLFLOW_HTTP_REQUEST_TIMEOUT.name: str(SECONDS[1])}
    held = {name: os.environ.get(name) for name in hurried}
    os.environ.update(hurried)
    try:
        yield
    finally:
        for name, value in held.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _is_of_the_server(error: BaseException) -> bool:
    """Whether an error is of a request to the tracking server, and not to an object store or to where a table lies."""
    words, parts = addresses.without_credentials(str(error)), urlsplit(mlflow.get_tracking_uri())
    if isinstance(error, MlflowException) and words.startswith(("API request to endpoint", *UNAVAILABLE)):
        return True
    pool = f"host='{parts.hostname}', port={_port(parts)})"
    return pool in words or re.search(rf"{re.escape(tracking.address().rstrip('/'))}(?![\w.:-])", words) is not None


def _port(parts: SplitResult) -> int:
    return parts.port or {"http": 80, "https": 443}[parts.scheme]


def _refused(error: ssl.SSLCertVerificationError) -> str:
    return f"certificate refused ({error.verify_message.rstrip('.')})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that it was raised for, by Python and by urllib3."""
    seen: set[int] = set()
    pending: list[BaseException] = [error]
    while pending:
        one = pending.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        more = [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
        pending += [another for another in more if isinstance(another, BaseException)]
