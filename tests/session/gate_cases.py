"""A question to the server's gate that resumes, in a form that tests can break one fact at a time."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

from resumption.session.facts import SessionData
from resumption.session.gate import Offer, Policy, eligible
from resumption.session.verdicts import Mechanism, Verdict

NOW = 1_800_000_000.0
AUTHS = ("none", "optional", "required")
CASES = list(itertools.product(Mechanism, AUTHS))
by_case = pytest.mark.parametrize(("mechanism", "auth"), CASES, ids=[f"{m.value}-{a}" for m, a in CASES])
by_mechanism = pytest.mark.parametrize("mechanism", list(Mechanism), ids=lambda m: m.value)

AES_128_12, AES_256_12 = 0xC02F, 0xC030
AES_128_13, AES_256_13, CHACHA_13 = 0x1301, 0x1302, 0x1303
SECRET = bytes(range(1, 65))


class FakeHash(NamedTuple):
    name: str
    digest_size: int


class FakeSuite(NamedTuple):
    version: int
    hash: FakeHash


SHA256, SHA384 = FakeHash("sha256", 32), FakeHash("sha384", 48)
ENABLED = {
    AES_128_12: FakeSuite(0x0303, SHA256),
    AES_256_12: FakeSuite(0x0303, SHA384),
    AES_128_13: FakeSuite(0x0304, SHA256),
    AES_256_13: FakeSuite(0x0304, SHA384),
    CHACHA_13: FakeSuite(0x0304, SHA256),
}


@dataclass
class Case:
    """One question to the gate, in a form that rows can break."""

    mechanism: Mechanism
    auth: str
    data: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    offer: dict[str, Any] = field(default_factory=dict)
    secret: bytes = b""
    resumable: bool = True
    revalidated: bool = True
    now: float = NOW

    @property
    def is_13(self) -> bool:
        return self.mechanism in (Mechanism.STATEFUL_13, Mechanism.STATELESS_13)

    def ask(self) -> Verdict:
        return eligible(
            SessionData(**self.data),
            self.secret,
            Policy(**self.policy),
            Offer(**self.offer),
            self.now,
            resumable=self.resumable,
            revalidated=self.revalidated,
        )


def good(mechanism: Mechanism, auth: str = "none") -> Case:
    """A session that may resume, with a client certificate unless nobody asks for one."""
    case = Case(mechanism, auth)
    version = 0x0304 if case.is_13 else 0x0303
    suite = AES_128_13 if case.is_13 else AES_128_12
    case.secret = SECRET[:32] if case.is_13 else SECRET[:48]
    case.data = {
        "version": version,
        "cipher": suite,
        "session_id": bytes(32),
        "id_context": b"shop",
        "time": NOW - 100,
        "timeout": 7200,
        "peer_certificate": None if auth == "none" else b"leaf",
        "verify_result": 0,
        "hostname": "shop.example",
        "flags": 0 if case.is_13 else 1,
        "role": "server",
        "partition": b"p" * 32,
        "policy_epoch": 3,
        "auth_time": NOW - 5000,
        "deadline": NOW + 5000,
    }
    case.policy = {
        "partition": b"p" * 32,
        "policy_epoch": 3,
        "id_context": b"shop",
        "suites": ENABLED,
        "client_auth": auth,
        "max_auth_age_s": 10_000.0,
        "clock_skew_s": 60.0,
    }
    case.offer = {
        "mechanism": mechanism,
        "version": version,
        "suite": suite if case.is_13 else 0,
        "suites": frozenset(ENABLED),
        "server_name": "shop.example",
        "extended_master_secret": not case.is_13,
        "psk_dhe_ke": case.is_13,
    }
    return case


def swap_version(case: Case) -> None:
    """A session of the other protocol version, whole in itself."""
    case.data["version"] = 0x0303 if case.is_13 else 0x0304


def disable_session_suite(case: Case) -> None:
    case.policy["suites"] = {number: facts for number, facts in ENABLED.items() if number != case.data["cipher"]}
