"""What coverage-guided fuzzing drives: one function for each thing that reads bytes of others.

A target takes any bytes and returns, or raises what is a defect. `fuzz_guided` gives them to atheris, which looks for
inputs that reach new lines; ``corpus/<target>`` keeps those that did, and the suite runs every one of them on every
Python, without atheris.

Conversations need decisions, not bytes: `Decisions` is a source of randomness whose numbers are the input itself, so
that the fuzzer, changing bytes, changes which record is dropped, which message is twisted and how.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

from resumption.crypto.certificates import CertifiedKey
from resumption.crypto.trust import TrustStore
from resumption.errors import CertificateError, ConfigurationError, DecodeError, PeerError, SessionFormatError
from resumption.handshake.hello import ClientHelloFacts
from resumption.session.formats import der, packed
from resumption.session.model import Session
from resumption.session.tickets.keys import TicketKeys
from resumption.session.tickets.sealing import RecordSealer
from resumption.wire.messages import (
    Certificate,
    CertificateRequest,
    ClientHello,
    EncryptedExtensions,
    NewSessionTicket,
    ServerHello,
)
from tests.fuzz.conversations import Fuzzer
from tests.pki import Pki

__all__ = ["CORPORA", "TARGETS", "Decisions", "Target"]

CORPORA = Path(__file__).parent / "corpus"
Target = Callable[[bytes], None]
NOW = 1_790_000_000.0
SECRET = bytes(range(100, 132))


class Decisions(Random):
    """Randomness that is the input, byte for byte; past its end every number is 0."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self._data = data
        self._at = 0

    def getrandbits(self, k: int, /) -> int:
        length = (k + 7) // 8
        chunk = self._data[self._at : self._at + length]
        self._at += length
        return int.from_bytes(chunk.ljust(length, b"\0")) >> (8 * length - k)

    def random(self) -> float:
        return self.getrandbits(16) / 65_536


@cache
def _fuzzer() -> Fuzzer:
    return Fuzzer(Pki())


def conversation(data: bytes) -> None:
    """A whole conversation with a peer that misbehaves as ``data`` decides."""
    _fuzzer().play("guided", Decisions(data))


def session_der(data: bytes) -> None:
    """An SSL_SESSION: what is read must be written the same way again, once it was written by us."""
    try:
        session = Session.from_der(data)
    except SessionFormatError:
        return
    with session:
        written = session.to_der()
        session.to_text()
        with Session.from_der(written) as again:
            assert again.to_der() == written
            assert again.data.cipher == session.data.cipher


def session_pem(data: bytes) -> None:
    """A session's PEM text."""
    with contextlib.suppress(SessionFormatError):
        der.from_pem(data)


def session_packed(data: bytes) -> None:
    """The packed form that tickets and stored records hold; behind a seal, but read strictly all the same."""
    try:
        facts, secret, not_resumable = packed.unpack(data)
    except SessionFormatError:
        return
    assert packed.pack(facts, secret, not_resumable=not_resumable) == data


@cache
def _keys() -> TicketKeys:
    return TicketKeys.from_secret(SECRET)


def ticket(data: bytes) -> None:
    """A ticket that nobody here sealed: it never opens, ours or OpenSSL's."""
    for mechanism in ("tls12-ticket", "tls13-stateless"):
        assert _keys().open(data, partition=bytes(32), mechanism=mechanism, now=NOW) is None
    keys = TicketKeys.from_openssl_block(bytes(range(80)))
    assert keys.open(data, partition=bytes(32), mechanism="tls12-ticket", now=NOW) is None


def sealed_record(data: bytes) -> None:
    """A record that a store made up."""
    assert RecordSealer(_keys()).open(data, session_id=b"id", partition=bytes(32), now=NOW) is None


_MESSAGES = (ClientHello, ServerHello, EncryptedExtensions, Certificate, CertificateRequest, NewSessionTicket)


def message(data: bytes) -> None:
    """A handshake message: what is read is written so that it reads the same; a hello is looked at whole."""
    if not data:
        return
    kind = _MESSAGES[data[0] % len(_MESSAGES)]
    try:
        read = kind.parse(data[1:])
        if isinstance(read, ClientHello):
            ClientHelloFacts(read)
    except (DecodeError, PeerError):
        return
    assert kind.parse(read.pack()[4:]) == read


@cache
def _trust() -> TrustStore:
    return TrustStore.load(Pki().trust_pem)


def certificate(data: bytes) -> None:
    """A peer's certificate chain (DER, two of them), and a credential file."""
    at = int.from_bytes(data[:2])
    with contextlib.suppress(CertificateError):
        _trust().verify_server((data[2 : 2 + at], data[2 + at :]), None, NOW)
    with contextlib.suppress(ConfigurationError):
        CertifiedKey.load(data, data)


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        conversation,
        message,
        session_der,
        session_packed,
        session_pem,
        ticket,
        sealed_record,
        certificate,
    )
}
