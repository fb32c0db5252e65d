"""Revocation lists for tests."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from tests.pki import Credential

DAY_S = 86_400.0


def crl(
    issuer: Credential,
    *revoked: Credential,
    since: float | None = None,
    until: float | None = None,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
    signer: Credential | None = None,
) -> bytes:
    """A list (PEM) of ``issuer`` that names ``revoked``, in force from an hour ago for a day; ``signer`` forges it."""
    now = time.time()
    since = now - 3_600 if since is None else since
    until = now + DAY_S if until is None else until
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(_moment(since))
        .next_update(_moment(until))
    )
    for one in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(_moment(since)).build())
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical)
    key = (signer or issuer).private_key
    edwards = isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return builder.sign(key, None if edwards else hashes.SHA256()).public_bytes(Encoding.PEM)


def crls(*lists: bytes | Iterable[bytes]) -> bytes:
    """Several, in one file."""
    return b"".join(one if isinstance(one, bytes) else crls(*one) for one in lists)


def _moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)
