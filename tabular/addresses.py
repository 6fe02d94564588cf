"""Addresses of tables: which kind of place they name, how they are shown, and the secrets that they name."""

import os
import re
from pathlib import PurePosixPath
from typing import Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from tabular.errors import UserError, nearest

Kind: TypeAlias = Literal["path", "sklearn", "web", "store", "mlflow", "database"]

SUPPORTED = (
    "a path, a folder or a glob, an http(s) URL, s3://, gs://, abfss:// or hdfs://, runs:/… or models:/… of MLflow, "
    "a database with a query, or sklearn:NAME"
)
KINDS: dict[str, Kind] = {
    **dict.fromkeys(("http", "https"), "web"),
    **dict.fromkeys(("s3", "s3a", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs"), "store"),
    **dict.fromkeys(("runs", "models", "mlflow-artifacts"), "mlflow"),
    **dict.fromkeys(("postgresql", "postgres", "sqlite", "duckdb", "mysql", "mariadb", "oracle", "mssql"), "database"),
    **dict.fromkeys(("snowflake", "bigquery", "redshift", "trino", "clickhouse", "databricks"), "database"),
}
# The databases that are a file.
FILE_DATABASES = ("sqlite", "duckdb")
VARIABLE = re.compile(r"\$\{(\w+)\}")
# Parameters of a query string whose values are secrets: X-Amz-Signature, sig, access_token, api_key.
_SECRET = r"(?:[\w.-]*[-_])?(?:sig|signature|token|secret|password|passwd|pwd|key|apikey|auth|credential)"
_SECRET_PARAMETER = re.compile(rf"(?i)([?&]{_SECRET}=)([^&#\s\"]*)")
_USER = re.compile(r"(?i)\b([a-z][\w+.-]*://)([^\s/?#\"]*)@")


def names_elsewhere(address: str) -> bool:
    """Whether an address begins with a scheme, and so is no path; `file://` is for paths with one."""
    scheme = _scheme(address)
    return scheme == "sklearn" or KINDS.get(scheme) == "mlflow" or ("://" in address and scheme != "file")


def without_file_scheme(address: str) -> str:
    """The path that a `file://` URL names; any other address as it is."""
    return unquote(urlsplit(address).path) if _scheme(address) == "file" else address


def _scheme(address: str) -> str:
    return address.partition(":")[0].lower() if re.match(r"[A-Za-z][\w+.-]+:", address) else ""


def kind(address: str, query: str | None = None) -> Kind:
    """The kind of place that an address names.

    Raises
    ------
    UserError
        Where the address begins with an unknown scheme, a database comes without a query or a query without a database.

    """
    scheme = _scheme(address)
    dialect = scheme.partition("+")[0]  # postgresql+psycopg names a driver
    if scheme == "sklearn":
        found: Kind = "sklearn"
    elif names_elsewhere(address):
        # SQLAlchemy knows more databases than are named here
        if dialect not in KINDS and query is None:
            near = nearest(dialect, [*KINDS, "sklearn"])
            raise UserError(f"{shown(address)}: {scheme}:// is not supported{near}; give {SUPPORTED}")
        found = KINDS.get(dialect, "database")
    else:
        found = "path"
    if found == "database" and query is None:
        raise UserError(
            f"{shown(address)}: is a database: say which rows in data.query, such as: select * from customers"
        )
    if found != "database" and query is not None:
        raise UserError(
            f"data.query: {shown(address)} is no database to ask; leave data.query out, or name one, such as "
            "postgresql://host/database"
        )
    return found


def shown(address: str) -> str:
    """An address without its password and its query string, which may hold signatures and tokens."""
    scheme, there, rest = address.partition("://")
    if not there:
        return address
    stores = KINDS.get(scheme.lower()) == "store"
    # in the name of an object ? is a letter like another, and in Azure's addresses the part before @ is the container
    host, slash, path = rest.partition("/")
    path, query, _ = (path, "", "") if stores else path.partition("?")
    if scheme.lower() not in ("abfs", "abfss"):
        host = host.rpartition("@")[2]
    host, more, _ = (host, "", "") if stores else host.partition("?")
    return f"{scheme}://{host}{slash}{path}" + ("?..." if query or more else "")


def written_secret(address: str) -> str:
    """What stands in a URL as it is, and not as a variable, and should be nobody else's; "" for nothing.

    A password, what a web server's user is where there is no password, and the signature or token of a query string.
    """
    scheme, _, rest = address.partition("://")
    user, _, password = re.split("[/?#]", rest)[0].rpartition("@")[0].partition(":")
    is_web = scheme.lower().startswith("http")
    # a web server's user may be a token; a database's is no secret, nor is the container of Azure's addresses
    secrets = [password or (user if is_web else "")]
    if KINDS.get(scheme.lower()) != "store":  # in the name of an object ? is a letter like another
        secrets += [value for _, value in _SECRET_PARAMETER.findall(rest)]
    return "".join(secret for secret in secrets if not VARIABLE.search(secret))


def without_credentials(text: str) -> str:
    """A text without the passwords, and the tokens, of the URLs in it; variables that are named in their place stay."""
    return _SECRET_PARAMETER.sub(_hidden_value, _USER.sub(_hidden_user, text))


def _hidden_value(found: re.Match[str]) -> str:
    return found[0] if VARIABLE.search(found[2]) else f"{found[1]}..."


def _hidden_user(found: re.Match[str]) -> str:
    scheme, user = found.groups()
    if VARIABLE.search(user) or scheme.lower().startswith("abfs"):  # there it is the container
        return found[0]
    # a web server's user may be a token
    name = "" if scheme.lower().startswith("http") else user.partition(":")[0]
    return f"{scheme}{name}@" if name else scheme


def with_secrets(text: str, where: str) -> str:
    """A text with the environment's variables in the place of `${NAME}`; `where` names the text in errors."""
    missing = [name for name in VARIABLE.findall(text) if name not in os.environ]
    if missing:
        raise UserError(f"{where}: the environment has no variable {missing[0]}, which it names")
    return VARIABLE.sub(lambda found: os.environ[found[1]], text)


def without_secrets(message: str, *texts: str) -> str:
    """A message of a server without what the variables hold that these texts name."""
    for name in {name for text in texts for name in VARIABLE.findall(text)}:
        value = os.environ.get(name, "")
        message = message.replace(value, f"${{{name}}}") if len(value) > 3 else message
    return message


def file_name(address: str) -> str:
    """What a copy is named: like the address, since a suffix (.csv, .zip, .parquet) matters to the reader."""
    name = PurePosixPath(unquote(urlsplit(address).path if "://" in address else address)).name
    name = re.sub(r"[^\w.\-=]", "_", name).lstrip(".")
    return name[-100:] or "download"


def is_glob(text: str) -> bool:
    """Whether a path holds wildcards."""
    return re.search(r"[*?\[]", text) is not None


def split_glob(path: str) -> tuple[str, tuple[str, ...]]:
    """The folder before the first component of a path that has wildcards, and the components from there on."""
    components = path.rstrip("/").split("/")
    first = next((place for place, name in enumerate(components) if is_glob(name)), len(components))
    base = "/".join(components[:first])
    return base or ("/" if path.startswith("/") else "."), tuple(components[first:])


def name_of(address: str) -> str:
    """What a table is called after its address: the stem of a file, the name of a folder or of a database."""
    if address.lower().startswith("sklearn:"):
        return address.partition(":")[2]
    path = urlsplit(address).path if "://" in address else address
    path = split_glob(path)[0] if is_glob(path) else path
    name = unquote(PurePosixPath(path).name) or (urlsplit(address).hostname or "" if "://" in address else "")
    return name.split(".")[0]
