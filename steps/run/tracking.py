"""The tracking store and the registry as they may be shown, and the account that asks them."""

from urllib.parse import unquote, urlsplit

import mlflow
from mlflow.utils.credentials import read_mlflow_creds

from tabular import addresses

# MLflow's error code for what the account has no right to.
FORBIDDEN = "PERMISSION_DENIED"


def address() -> str:
    """The address of the tracking store, without what only its user may know."""
    return addresses.without_credentials(mlflow.get_tracking_uri())


def registry() -> str:
    """The address of the registry, without what only its user may know."""
    return addresses.without_credentials(mlflow.get_registry_uri())


def registry_is_elsewhere() -> bool:
    """Whether the registry is another store than the tracking store, so that it knows nothing of logged models."""
    return mlflow.get_registry_uri().rstrip("/") != mlflow.get_tracking_uri().rstrip("/")


def is_server() -> bool:
    """Whether the store is a server, and no database that is asked by itself."""
    return urlsplit(mlflow.get_tracking_uri()).scheme in ("http", "https")


def account() -> str | None:
    """The account with which a tracking server is asked; None where it is asked with none, or the store is no server.

    It is the one of MLFLOW_TRACKING_USERNAME, of MLflow's file of credentials, or of the server's address.
    """
    if not is_server():
        return None
    parts = urlsplit(mlflow.get_tracking_uri())
    return read_mlflow_creds().username or (unquote(parts.username) if parts.username and parts.password else None)
