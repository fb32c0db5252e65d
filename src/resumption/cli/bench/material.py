"""What every contender gets alike: one certificate with its authority, one suite per version, one group, one ticket."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from resumption.cli.certificates import Certificates, make_certificates
from resumption.constants import CipherSuite, NamedGroup, ProtocolVersion

__all__ = ["GROUP", "SERVER_NAME", "TICKETS", "TLS12", "TLS13", "VERSIONS", "Terms", "temporary_certificates"]

SERVER_NAME = "localhost"
GROUP = int(NamedGroup.x25519)  # what OpenSSL 3 prefers; the standard library cannot choose it
TICKETS = 1  # per connection


@dataclass(frozen=True, slots=True)
class Terms:
    """What both ends of a measured connection must have agreed on, whoever they are.

    In TLS 1.3 the standard library cannot choose a suite, so everyone takes the one that OpenSSL picks by itself.
    """

    version: int
    suite: CipherSuite
    openssl_suite: str
    name: str  # "tls13": the key in the JSON output
    words: str
    ssl_version: ssl.TLSVersion


TLS13 = Terms(
    int(ProtocolVersion.TLSv1_3),
    CipherSuite.TLS_AES_256_GCM_SHA384,
    "TLS_AES_256_GCM_SHA384",
    "tls13",
    "TLS 1.3",
    ssl.TLSVersion.TLSv1_3,
)
TLS12 = Terms(
    int(ProtocolVersion.TLSv1_2),
    CipherSuite.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "tls12",
    "TLS 1.2",
    ssl.TLSVersion.TLSv1_2,
)
VERSIONS = (TLS13, TLS12)


@contextmanager
def temporary_certificates() -> Iterator[Certificates]:
    """A P-256 leaf for `SERVER_NAME` and the authority above it, in files that go away."""
    with TemporaryDirectory(prefix="resumption-bench-") as folder:
        yield make_certificates(Path(folder))
