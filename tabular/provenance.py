"""Proof of origin: a statement in the in-toto format about a model's files, signed as a DSSE envelope, and verified.

A serving image holds a copy of this file beside `serve.py`: it imports nothing of this repository.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
# Among the byproducts of a version that was fitted on all rows: the model that was judged.
JUDGED = "judged model"
# MLflow writes it beside the files of a registered model that it downloads.
NOT_OF_THE_MODEL = ("registered_model_meta",)
# The hash by which an elliptic curve signs.
HASHES: Mapping[str, type[hashes.HashAlgorithm]] = {"secp256r1": hashes.SHA256, "secp384r1": hashes.SHA384}

PrivateKey: TypeAlias = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
PublicKey: TypeAlias = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey


class KeyFileError(ValueError):
    """A file that holds no key that can sign or verify; the text says why, without the file's name."""


class NotVerifiedError(ValueError):
    """A statement that is not proved, or a model that is not the one of its statement; the text says why."""


# --- the statement ----------------------------------------------------------------------------------------------------


def files(model: Path) -> dict[str, str]:
    """The sha256 of each file of a model's folder, by its path in the folder."""
    found = sorted((path.relative_to(model).as_posix(), path) for path in model.rglob("*") if not path.is_dir())
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found if name not in NOT_OF_THE_MODEL}


def statement(subject: Mapping[str, str], predicate: Mapping[str, Any]) -> dict[str, Any]:
    """An in-toto Statement v1 with a SLSA provenance v1 predicate; `subject` is the result of `files`."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in subject.items()],
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }


def check(told: Mapping[str, Any], found: Mapping[str, str], name: str, version: str | None = None) -> None:
    """Check that a verified statement is about these files under this registered name, and of this version if given.

    Raises
    ------
    NotVerifiedError
        With the first difference.
    """
    _check_name(told, name, version)
    stated = {entry["name"]: entry["digest"]["sha256"] for entry in told["subject"]}
    for file in sorted({*stated, *found}):
        if file not in found:
            raise NotVerifiedError(f"its file {file} is gone")
        if file not in stated:
            raise NotVerifiedError(f"its file {file} is not in the statement")
        if found[file] != stated[file]:
            raise NotVerifiedError(f"its file {file} is not the one of the statement")


def check_judged(told: Mapping[str, Any], digest: str, name: str, version: str) -> None:
    """Check that the statement of a version names the model of this digest as the one that was judged; as `check`."""
    _check_name(told, name, version)
    made = told["predicate"]["runDetails"]["byproducts"]
    if digest not in [one["digest"]["sha256"] for one in made if one["name"] == JUDGED]:
        raise NotVerifiedError("the model that was judged for it is not the one of the statement")


def _check_name(told: Mapping[str, Any], name: str, version: str | None) -> None:
    registered = told["predicate"]["buildDefinition"]["externalParameters"]["registered_model"]
    if registered["name"] != name or version not in (None, registered["version"]):
        raise NotVerifiedError(f"its statement is of {registered['name']} version {registered['version']}")


# --- signatures -------------------------------------------------------------------------------------------------------


def private_key(pem: bytes) -> PrivateKey:
    """The private key of a PEM file.

    Raises
    ------
    KeyFileError
        Where there is none, it needs a password, or it is of another kind than Ed25519 or ECDSA on P-256 or P-384.
    """
    try:
        found = serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        raise KeyFileError(
            "holds a key that needs a password: take the password off (openssl pkey -in … -out …)"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFileError("holds no private key in PEM") from None
    if isinstance(found, ed25519.Ed25519PrivateKey) or (
        isinstance(found, ec.EllipticCurvePrivateKey) and found.curve.name in HASHES
    ):
        return found
    raise KeyFileError("holds a key that is neither Ed25519 nor ECDSA on P-256 or P-384")


def public_keys(pem: bytes) -> list[PublicKey]:
    """The public keys of a PEM file, one or several; errors are those of `private_key`."""
    found: list[PublicKey] = []
    for block in re.findall(rb"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----", pem, re.DOTALL):
        try:
            key = serialization.load_pem_public_key(block)
        except (ValueError, UnsupportedAlgorithm):
            raise KeyFileError("holds something else than public keys in PEM") from None
        if not isinstance(key, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey) or (
            isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in HASHES
        ):
            raise KeyFileError("holds a key that is neither Ed25519 nor ECDSA on P-256 or P-384")
        found.append(key)
    if not found:
        raise KeyFileError("holds no public key in PEM")
    return found


def key_id(key: PublicKey) -> str:
    """The sha256 of a public key as a DER SubjectPublicKeyInfo, by which people tell keys apart."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).hexdigest()


def signed(payload: bytes, key: PrivateKey) -> dict[str, Any]:
    """The DSSE envelope of a statement that was written as JSON."""
    text = _to_sign(PAYLOAD_TYPE, payload)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        signature = key.sign(text)
    else:
        signature = key.sign(text, ec.ECDSA(HASHES[key.curve.name]()))
    return {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": key_id(key.public_key()), "sig": base64.b64encode(signature).decode()}],
    }


def verified(envelope: bytes, keys: Sequence[PublicKey]) -> dict[str, Any]:
    """The statement of a DSSE envelope that one of the keys has signed.

    Raises
    ------
    NotVerifiedError
        Where the envelope cannot be read, none of the keys has signed it, or it holds another kind of statement.
    """
    try:
        told = json.loads(envelope)
        kind, payload = str(told["payloadType"]), _decoded(told["payload"])
        signatures = [_decoded(one["sig"]) for one in told["signatures"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NotVerifiedError("its statement is no DSSE envelope that can be read") from None
    if not any(_has_signed(key, signature, _to_sign(kind, payload)) for key in keys for signature in signatures):
        ids = ", ".join(key_id(key)[:12] for key in keys)
        raise NotVerifiedError(f"its statement or its signature was altered, or another key than {ids} signed it")
    found: dict[str, Any] = json.loads(payload) if kind == PAYLOAD_TYPE else {}
    if (found.get("_type"), found.get("predicateType")) != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise NotVerifiedError("what is signed is no statement of a model's origin")
    return found


def _to_sign(kind: str, payload: bytes) -> bytes:
    """The bytes that are signed: DSSE's pre-authentication encoding."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def _has_signed(key: PublicKey, signature: bytes, text: bytes) -> bool:
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, text)
        else:
            key.verify(signature, text, ec.ECDSA(HASHES[key.curve.name]()))
    except InvalidSignature:
        return False
    return True


def _decoded(text: str) -> bytes:
    """The bytes of base64 in the one way to write them; others would leave an altered character unseen."""
    found = base64.b64decode(text, validate=True)
    if base64.b64encode(found).decode() != text:
        raise binascii.Error("not as it was written")
    return found
