"""The cells of the matrix: every combination of peer, role, version, suite, group, certificate and scenario.

A `Case` is one cell. `cases` makes all that both ends can do, from our own tables and from what each peer is known to
lack, so a group or suite that is added to the engine is in the matrix the same day. `sample` is what the suite plays:
every value of every column, for each peer, role and version. How a case is played is in `tests.interop.matrix`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from resumption.constants import CipherSuite, NamedGroup, ProtocolVersion
from resumption.crypto.groups import GROUPS
from resumption.crypto.suites import SUITES

PeerName: TypeAlias = Literal["openssl", "gnutls", "ssl"]
Role: TypeAlias = Literal["client", "server"]
Scenario: TypeAlias = Literal[
    "plain", "hello retry", "client certificate", "key update", "early data", "early data refused"
]

V12, V13 = ProtocolVersion.TLSv1_2, ProtocolVersion.TLSv1_3
PEERS: tuple[PeerName, ...] = ("openssl", "gnutls", "ssl")
CERTIFICATES = ("ecdsa_p256", "ecdsa_p384", "ecdsa_p521", "ed25519", "ed448", "rsa2048")
SCENARIOS: dict[int, tuple[Scenario, ...]] = {
    V12: ("plain", "client certificate"),
    V13: ("plain", "hello retry", "client certificate", "key update", "early data", "early data refused"),
}
_CURVES = {
    "ecdsa_p256": NamedGroup.secp256r1,
    "ecdsa_p384": NamedGroup.secp384r1,
    "ecdsa_p521": NamedGroup.secp521r1,
}

# How the peers write our names. What is not here, they do not have.
OPENSSL_GROUPS = {
    NamedGroup.x25519: "X25519",
    NamedGroup.secp256r1: "P-256",
    NamedGroup.secp384r1: "P-384",
    NamedGroup.secp521r1: "P-521",
    NamedGroup.x448: "X448",
    NamedGroup.ffdhe2048: "ffdhe2048",
    NamedGroup.ffdhe3072: "ffdhe3072",
}
GNUTLS_GROUPS = {
    NamedGroup.x25519: "X25519",
    NamedGroup.secp256r1: "SECP256R1",
    NamedGroup.secp384r1: "SECP384R1",
    NamedGroup.secp521r1: "SECP521R1",
    NamedGroup.x448: "X448",
    NamedGroup.ffdhe2048: "FFDHE2048",
    NamedGroup.ffdhe3072: "FFDHE3072",
}
GNUTLS_CIPHERS = {
    "AES_128_GCM": "AES-128-GCM",
    "AES_256_GCM": "AES-256-GCM",
    "CHACHA20_POLY1305": "CHACHA20-POLY1305",
    "AES_128_CCM": "AES-128-CCM",
    "AES_128_CCM_8": "AES-128-CCM-8",
}
# Groups that Python's ssl offers and takes without being told (what the OpenSSL beneath it prefers).
SSL_GROUPS = (
    NamedGroup.x25519,
    NamedGroup.secp256r1,
    NamedGroup.x448,
    NamedGroup.secp521r1,
    NamedGroup.secp384r1,
)
_TLS12_GROUPS = frozenset(SSL_GROUPS)


@dataclass(frozen=True, slots=True)
class Case:
    """One cell of the matrix. ``role`` is ours."""

    peer: PeerName
    role: Role
    version: int
    suite: int
    group: int
    certificate: str
    scenario: Scenario

    def __str__(self) -> str:
        return (
            f"{self.peer}, we are the {self.role}, TLS 1.{self.version - 0x0301}, {CipherSuite(self.suite).name}, "
            f"{NamedGroup(self.group).name}, {self.certificate}, {self.scenario}"
        )

    @property
    def has_early_data(self) -> bool:
        """Whether the second visit brings early data."""
        return self.scenario.startswith("early data")

    @property
    def columns(self) -> tuple[object, ...]:
        """What varies within a peer, role and version."""
        return self.suite, self.group, self.certificate, self.scenario

    @property
    def other_group(self) -> NamedGroup:
        """The group that a client sends a share of before it is asked for ``group``."""
        return NamedGroup.secp256r1 if self.group == NamedGroup.x25519 else NamedGroup.x25519


def _suites(version: int, certificate: str) -> list[int]:
    """Our suites of this version that the certificate can serve."""
    found = [number for number, facts in SUITES.items() if facts.version == version]
    if version == V13:
        return found
    kind = "_ECDHE_RSA_" if certificate.startswith("rsa") else "_ECDHE_ECDSA_"
    return [number for number in found if kind in CipherSuite(number).name]


def bulk(suite: int) -> str:
    """The cipher within a suite's name: AES_128_GCM."""
    name = CipherSuite(suite).name.removeprefix("TLS_").partition("_WITH_")
    return (name[2] or name[0]).removesuffix("_SHA256").removesuffix("_SHA384")


def possible(case: Case) -> bool:
    """Whether the peer can play its part."""
    group = NamedGroup(case.group)
    if case.version == V12 and group not in _TLS12_GROUPS:
        return False
    if case.peer == "gnutls":
        # gnutls-cli and gnutls-serv 3.7 refuse Ed448 in TLS 1.2; curves are bound to signatures there.
        return group in GNUTLS_GROUPS and bulk(case.suite) in GNUTLS_CIPHERS
    if case.peer == "openssl":
        return group in OPENSSL_GROUPS
    if case.has_early_data:  # Python's ssl has none
        return False
    if group not in SSL_GROUPS or "CCM" in bulk(case.suite):  # it cannot enable CCM
        return False
    if case.role == "server" and case.scenario != "hello retry" and case.version == V13:
        return group == NamedGroup.x25519  # its client sends that share only: the others are hello retries
    if case.role == "server" and case.scenario == "hello retry":
        return group != NamedGroup.x25519
    if case.role == "client" and case.scenario == "hello retry":
        return group in (NamedGroup.secp256r1, NamedGroup.secp384r1, NamedGroup.secp521r1)  # what set_ecdh_curve takes
    return True


def wanted_groups(case: Case) -> tuple[int, ...]:
    """What a client lists, so that ``case.group`` is chosen."""
    if case.scenario == "hello retry":
        return case.other_group, case.group
    wanted = [case.group]
    if case.version == V12:  # there the list also says on which curves certificates may be: the server's, the root's
        if case.certificate in _CURVES:
            wanted += [_CURVES[case.certificate], NamedGroup.secp256r1]
        elif case.scenario == "client certificate":
            wanted.append(NamedGroup.secp256r1)
    return tuple(dict.fromkeys(wanted))


def cases() -> Iterator[Case]:
    """Every case that is possible."""
    for peer, role, version in itertools.product(PEERS, ("client", "server"), (V13, V12)):
        for certificate, scenario, group in itertools.product(CERTIFICATES, SCENARIOS[version], GROUPS):
            for suite in _suites(version, certificate):
                case = Case(peer, role, version, suite, group, certificate, scenario)  # type: ignore[arg-type]
                if possible(case):
                    yield case


def sample(everything: Iterable[Case]) -> list[Case]:
    """Few cases in which every value of every column is met, for each peer, role and version."""
    chosen: list[Case] = []
    for _, some in itertools.groupby(everything, key=lambda case: (case.peer, case.role, case.version)):
        left = list(some)
        missing = {(at, value) for case in left for at, value in enumerate(case.columns)}
        while missing:
            best = max(left, key=lambda case: len(missing & set(enumerate(case.columns))))
            chosen.append(best)
            missing -= set(enumerate(best.columns))
    return chosen
