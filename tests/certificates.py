"""Certificates for tests of TLS: an authority of its own, and a certificate that it has signed."""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


def authority(folder: Path) -> dict[str, Path]:
    """The files `ca`, `cert` and `key` of a new authority, and of a machine at 127.0.0.1 that it knows."""
    folder.mkdir()
    root, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    about = {
        "ca": _signed("tests", root, "tests", root, x509.BasicConstraints(ca=True, path_length=0)),
        "cert": _signed(
            "machine",
            own,
            "tests",
            root,
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
        ),
    }
    files = {name: folder / f"{name}.pem" for name in (*about, "key")}
    for name, certificate in about.items():
        files[name].write_bytes(certificate.public_bytes(Encoding.PEM))
    files["key"].write_bytes(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def _signed(name: str, key, issuer: str, by, extension) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, issuer)]
    return (
        x509.CertificateBuilder()
        .subject_name(names[0])
        .issuer_name(names[1])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(extension, critical=True)
        .sign(by, hashes.SHA256())
    )
