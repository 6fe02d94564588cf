"""Starts the scoring server of an image, with a key only for a model whose signed statement the key verifies.

The image holds tabular/provenance.py beside this file. The environment says all: `__pyfunc_model_path__`, the model's
folder; TABULAR_VERIFY_KEY, a file of public keys, without which nothing is verified; and TABULAR_MODEL, the registered
name that the model must have, or NAME/VERSION.
"""

import os
import sys
from pathlib import Path

import provenance

STATEMENT = Path(__file__).with_name("provenance.dsse.json")


def main() -> None:
    """Verify the model, and become the server, which is given this process's words."""
    key = os.environ.get("TABULAR_VERIFY_KEY")
    if key:
        try:
            model = os.environ["__pyfunc_model_path__"]  # noqa: SIM112 (the name is MLflow's)
            verify(Path(model), Path(key), os.environ.get("TABULAR_MODEL", ""))
        except ValueError as error:
            sys.exit(f"tabular: {error}")
    os.execv(sys.executable, [sys.executable, "-m", "uvicorn", *sys.argv[1:]])


def verify(model: Path, key: Path, asked: str) -> None:
    """Verify a model's folder; a ValueError has one line for people."""
    if not asked:
        raise ValueError("TABULAR_MODEL: name the registered model that is to be served, as NAME or NAME/VERSION")
    name, _, version = asked.partition("/")
    try:
        keys = provenance.public_keys(key.read_bytes())
    except (OSError, provenance.KeyFileError) as error:
        raise ValueError(f"TABULAR_VERIFY_KEY: {key} {getattr(error, 'strerror', None) or error}") from None
    if not STATEMENT.is_file():
        raise ValueError(f"{asked} is not signed, as TABULAR_VERIFY_KEY asks: {STATEMENT} is not in the image")
    try:
        told = provenance.verified(STATEMENT.read_bytes(), keys)
        provenance.check(told, provenance.files(model), name, version or None)
    except provenance.NotVerifiedError as error:
        raise ValueError(
            f"{asked} is not verified by TABULAR_VERIFY_KEY: {error}: not served; build the image anew from a version "
            "that is"
        ) from None


if __name__ == "__main__":
    main()
