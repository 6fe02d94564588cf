"""Downloads from web servers."""

from collections.abc import Mapping
from pathlib import Path

from tabular.addresses import file_name, shown, with_secrets
from tabular.errors import UserError


def download(url: str, headers: Mapping[str, str], folder: Path, progress: bool, timeout: float) -> Path:
    """Download a URL into a folder, where a file of this name is replaced.

    Parameters
    ----------
    url, headers
        The address, and what the request says; in both `${NAME}` stands for a variable of the environment.
    folder
        The folder, which may not be there yet.
    progress
        Whether a progress bar is drawn on stderr.
    timeout
        Seconds that the server may stay silent.

    Raises
    ------
    UserError
        Where the file cannot be had, without the secrets of URL and headers.

    """
    import pooch
    import requests

    address = with_secrets(url, shown(url))
    said = {name: with_secrets(text, f"data.headers: {name}") for name, text in headers.items()}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(url)
    get = pooch.HTTPDownloader(progressbar=progress, timeout=timeout, headers=said)
    try:
        get(address, str(path), None)
    except requests.RequestException as error:
        path.unlink(missing_ok=True)
        raise UserError(f"{shown(url)}: {_cause(error, timeout)}") from error
    except OSError as error:
        path.unlink(missing_ok=True)
        raise UserError(f"{shown(url)}: cannot be written to {folder}: {error.strerror or error}") from error
    return path


def _cause(error: Exception, timeout: float) -> str:
    """Why a request failed, in a few words, and what the user can do about it, if anything."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        status = error.response.status_code
        hint = "check data.headers, or what the address is signed with" if status in (401, 403) else "check the address"
        return f"the server answers {status} {error.response.reason}; {hint}"
    text = str(error)
    is_a = requests.exceptions
    # From specific to general. A timeout within a body is a ConnectionError that only its text identifies.
    causes = {
        f"no answer in {timeout:g} seconds; try again later": isinstance(error, is_a.Timeout) or "timed out" in text,
        "the connection was cut before the end; try again": isinstance(error, is_a.ChunkedEncodingError),
        "its certificate cannot be verified": isinstance(error, is_a.SSLError),
        "the host's name is not known; check the address and the network": "NameResolution" in text,
        "the host refuses the connection; check the address and the port": "refused" in text,
        "a header of the request is not valid; check data.headers": isinstance(error, is_a.InvalidHeader),
        "the host cannot be reached; check the address and the network": isinstance(error, is_a.ConnectionError),
    }
    # The last resort is not the error's own text, which may repeat the URL with its secrets.
    otherwise = f"the request failed ({type(error).__name__}); check the address"
    return next((cause for cause, holds in causes.items() if holds), otherwise)
