"""Statements of origin as values: signed, verified, altered; and read by another hand's code."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tabular import provenance
from tabular.provenance import KeyFileError, NotVerifiedError

PEM = serialization.Encoding.PEM
PUBLIC = serialization.PublicFormat.SubjectPublicKeyInfo
PRIVATE = serialization.PrivateFormat.PKCS8
PLAIN = serialization.NoEncryption()
KINDS: dict[str, Any] = {
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
}
FILES = {"MLmodel": "1" * 64, "served.py": "2" * 64}
PREDICATE = {"buildDefinition": {"externalParameters": {"registered_model": {"name": "häuser", "version": "3"}}}}
STATEMENT = provenance.statement(FILES, PREDICATE)
PAYLOAD = json.dumps(STATEMENT, ensure_ascii=False).encode()
KEY = ed25519.Ed25519PrivateKey.generate()


def envelope(**changes: Any) -> bytes:
    """A signed envelope as a file holds it, with some of its values changed afterwards."""
    return json.dumps({**provenance.signed(PAYLOAD, KEY), **changes}).encode()


def public_pem(key: Any) -> bytes:
    return key.public_key().public_bytes(PEM, PUBLIC)


def refused(content: bytes) -> str:
    with pytest.raises(NotVerifiedError) as caught:
        provenance.verified(content, [KEY.public_key()])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_key_from_a_file_signs_its_public_key_from_a_file_verifies(kind: str) -> None:
    made = KINDS[kind]()
    key = provenance.private_key(made.private_bytes(PEM, PRIVATE, PLAIN))
    content = json.dumps(provenance.signed(PAYLOAD, key)).encode()
    assert provenance.verified(content, provenance.public_keys(public_pem(made))) == STATEMENT


@pytest.mark.parametrize("kind", KINDS)
def test_another_hands_reader_of_dsse_verifies_the_envelope(kind: str) -> None:
    reason = "requirements-dev.txt is not installed here"
    dsse = pytest.importorskip("securesystemslib.dsse", reason=reason)
    signer = pytest.importorskip("securesystemslib.signer", reason=reason)
    made = KINDS[kind]()
    told = provenance.signed(PAYLOAD, made)
    key = signer.SSlibKey.from_crypto(made.public_key(), keyid=told["signatures"][0]["keyid"])
    read = dsse.Envelope.from_dict(told)
    read.verify([key], 1)
    read.payload += b" "
    with pytest.raises(Exception, match="Accepted signatures do not match"):
        read.verify([key], 1)


def test_each_bit_of_the_statement_and_of_the_signature_counts() -> None:
    told = provenance.signed(PAYLOAD, KEY)
    for held, change in (
        (PAYLOAD, lambda text: {"payload": text}),
        (base64.b64decode(told["signatures"][0]["sig"]), lambda text: {"signatures": [{"sig": text}]}),
    ):
        for place in range(len(held)):
            altered = held[:place] + bytes([held[place] ^ 1]) + held[place + 1 :]
            refused(envelope(**change(base64.b64encode(altered).decode())))


def test_a_character_of_base64_that_means_the_same_bytes_is_refused() -> None:
    sig = provenance.signed(PAYLOAD, KEY)["signatures"][0]["sig"]
    last = sig[-3]
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = sig[:-3] + letters[letters.index(last) ^ 1] + "=="
    assert base64.b64decode(other) == base64.b64decode(sig)
    refused(envelope(signatures=[{"sig": other}]))


def test_the_kind_of_what_is_signed_is_signed_too() -> None:
    assert "another key than" in refused(envelope(payloadType="text/plain"))


def test_no_other_thing_that_the_key_has_signed_passes_for_a_statement() -> None:
    other = json.dumps({**STATEMENT, "predicateType": "https://example.org/other"}).encode()
    assert "no statement of a model's origin" in refused(json.dumps(provenance.signed(other, KEY)).encode())


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"\xff", PAYLOAD, envelope(signatures=[{}]), envelope(payload=3)]
)
def test_what_is_no_envelope_is_refused(content: bytes) -> None:
    assert "no DSSE envelope" in refused(content)


def test_an_envelope_without_a_signature_is_refused() -> None:
    refused(envelope(signatures=[]))


# --- what a statement is about ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ({**FILES, "MLmodel": "3" * 64}, "its file MLmodel is not the one of the statement"),
        ({"MLmodel": "1" * 64}, "its file served.py is gone"),
        ({**FILES, "more.py": "3" * 64}, "its file more.py is not in the statement"),
    ],
)
def test_a_file_that_differs_is_named(found: dict[str, str], why: str) -> None:
    with pytest.raises(NotVerifiedError, match=why):
        provenance.check(STATEMENT, found, "häuser", "3")


@pytest.mark.parametrize(("name", "version"), [("häuser", "4"), ("other", "3"), ("other", None)])
def test_another_name_or_version_is_refused(name: str, version: str | None) -> None:
    with pytest.raises(NotVerifiedError, match="its statement is of häuser version 3"):
        provenance.check(STATEMENT, FILES, name, version)


def test_a_statement_of_these_files_this_name_and_this_version_is_taken() -> None:
    provenance.check(STATEMENT, FILES, "häuser", "3")
    provenance.check(STATEMENT, FILES, "häuser")


# --- keys that cannot be used -----------------------------------------------------------------------------------------

RSA = rsa.generate_private_key(65537, 2048)
OLD = ec.generate_private_key(ec.SECP192R1())


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        (b"nothing", "no private key in PEM"),
        (public_pem(KEY), "no private key in PEM"),
        (RSA.private_bytes(PEM, PRIVATE, PLAIN), "neither Ed25519 nor ECDSA"),
        (OLD.private_bytes(PEM, PRIVATE, PLAIN), "neither Ed25519 nor ECDSA"),
        (KEY.private_bytes(PEM, PRIVATE, serialization.BestAvailableEncryption(b"word")), "needs a password"),
    ],
    ids=["text", "public", "RSA", "P-192", "password"],
)
def test_a_file_that_cannot_sign_is_refused_with_the_reason(pem: bytes, why: str) -> None:
    with pytest.raises(KeyFileError, match=why):
        provenance.private_key(pem)


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        (b"", "no public key in PEM"),
        (KEY.private_bytes(PEM, PRIVATE, PLAIN), "something else than public keys"),
        (public_pem(KEY) + public_pem(RSA), "neither Ed25519 nor ECDSA"),
    ],
    ids=["empty", "private", "RSA"],
)
def test_a_file_that_cannot_verify_is_refused_with_the_reason(pem: bytes, why: str) -> None:
    with pytest.raises(KeyFileError, match=why):
        provenance.public_keys(pem)
