"""TLS 1.2 after the handshake, and what its client and server states have in common. RFC 5246, section 7."""

from __future__ import annotations

from typing import ClassVar, Self

from resumption.constants import AlertDescription
from resumption.crypto.hashes import HashFacts
from resumption.crypto.protection import RecordOpener12, RecordSealer12
from resumption.crypto.schedule12 import KeyBlock, MasterSecret12
from resumption.crypto.signatures import SCHEMES
from resumption.crypto.suites import SuiteFacts
from resumption.errors import UsageError
from resumption.frozen import frozen
from resumption.handshake.state import Output, State, Transcript, on
from resumption.session.model import SessionData
from resumption.wire import messages12
from resumption.wire.messages import ClientHello

__all__ = [
    "ClientConnected",
    "ClientHandshaking12",
    "Exporter",
    "Keys",
    "RecordedTranscript",
    "ServerConnected",
    "fits_suite",
    "usable_schemes",
]

_RSA_SIGN, _ECDSA_SIGN = 1, 64  # ClientCertificateType; the second is for EdDSA keys too


class RecordedTranscript(Transcript):
    """A transcript that also keeps the messages: a TLS 1.2 CertificateVerify signs them, not their hash."""

    __slots__ = ("messages",)

    def __init__(self, facts: HashFacts, *messages: bytes) -> None:
        super().__init__(facts, *messages)
        self.messages = bytearray().join(messages)

    def add(self, raw: bytes) -> None:
        """Take in one whole message, or several."""
        super().add(raw)
        self.messages += raw


@frozen
class Keys:
    """The keys of one connection, waiting for the change_cipher_spec of each direction."""

    suite: SuiteFacts
    block: KeyBlock

    @classmethod
    def derive(cls, suite: SuiteFacts, master: MasterSecret12, client_random: bytes, server_random: bytes) -> Keys:
        """From the master secret and both randoms. RFC 5246, section 6.3."""
        return cls(suite, master.key_block(suite, client_random, server_random))

    def client_sealer(self) -> RecordSealer12:
        """Seals what the client writes."""
        return RecordSealer12(self.suite, self.block.client_key, self.block.client_iv)

    def client_opener(self) -> RecordOpener12:
        """Opens what the client wrote."""
        return RecordOpener12(self.suite, self.block.client_key, self.block.client_iv)

    def server_sealer(self) -> RecordSealer12:
        """Seals what the server writes."""
        return RecordSealer12(self.suite, self.block.server_key, self.block.server_iv)

    def server_opener(self) -> RecordOpener12:
        """Opens what the server wrote."""
        return RecordOpener12(self.suite, self.block.server_key, self.block.server_iv)


def fits_suite(scheme: int, suite: SuiteFacts) -> bool:
    """Whether a signature scheme is of the suite's kind: Ed25519 counts as ECDSA. RFC 8422, section 5.1.3."""
    return (SCHEMES[scheme].key_type in ("RSA", "RSA-PSS")) == (suite.authentication == "RSA")


def usable_schemes(schemes: tuple[int, ...], certificate_types: bytes) -> tuple[int, ...]:
    """Those of a server's ``schemes`` for keys of a type that it takes. RFC 5246, section 7.4.4; RFC 8422, 5.5."""
    return tuple(
        scheme
        for scheme in schemes
        if scheme in SCHEMES
        and (_RSA_SIGN if SCHEMES[scheme].key_type in ("RSA", "RSA-PSS") else _ECDSA_SIGN) in certificate_types
    )


@frozen
class Exporter:
    """Exports keying material, if the session has an extended master secret. RFC 5705; RFC 7627, section 5.4."""

    master: MasterSecret12
    client_random: bytes
    server_random: bytes
    extended_master_secret: bool

    def export(self, label: bytes, context: bytes | None, length: int) -> bytes:
        """``length`` bytes. Raises `UsageError` without an extended master secret: two connections could share them."""
        if not self.extended_master_secret:
            raise UsageError("this connection has no extended master secret: its exports would not be its own")
        return self.master.exporter(label, self.client_random, self.server_random, context, length)


class ClientHandshaking12(State):
    """A state of a client that awaits something else than a HelloRequest, which may come at any time."""

    __slots__ = ()

    @on(messages12.HelloRequest)
    def on_hello_request(self, message: messages12.HelloRequest, raw: bytes, out: Output) -> Self:
        """Ignored, and not in the transcript: we are negotiating. RFC 5246, section 7.4.1.1."""
        out.count_renegotiation()
        return self


class _Connected(State):
    """What both roles do once connected."""

    __slots__ = ()

    handshaking: ClassVar[bool] = False
    exporter: Exporter

    def export(self, label: bytes, context: bytes | None, length: int) -> bytes:
        """Exported keying material. RFC 5705."""
        return self.exporter.export(label, context, length)


@frozen
class ClientConnected(_Connected):
    """A client after its handshake. Renegotiation is refused, every time. RFC 5746, section 4.5."""

    data: SessionData
    exporter: Exporter

    @on(messages12.HelloRequest)
    def on_hello_request(self, message: messages12.HelloRequest, raw: bytes, out: Output) -> ClientConnected:
        """Refuse with a warning; the connection goes on."""
        out.warn(AlertDescription.no_renegotiation)
        return self


@frozen
class ServerConnected(_Connected):
    """A server after its handshake. Renegotiation is refused, every time. RFC 5746, section 4.5."""

    data: SessionData
    exporter: Exporter

    @on(ClientHello)
    def on_client_hello(self, message: ClientHello, raw: bytes, out: Output) -> ServerConnected:
        """Refuse with a warning; the connection goes on."""
        out.warn(AlertDescription.no_renegotiation)
        return self
