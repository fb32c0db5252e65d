"""The handshake messages that only TLS 1.2 sends, or that it spells in its own way.

ClientHello, ServerHello, CertificateVerify and Finished are the same structs in both versions: they live in
`resumption.wire.messages`, and ``MESSAGES`` below refers to them. Three names mean different structs in the versions
(Certificate, CertificateRequest, NewSessionTicket), so import this module, not names from it. The key exchange is ECDHE
over named curves and nothing else: the messages of static RSA and of finite-field groups have no class.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from resumption.constants import CertificateStatusType, HandshakeType
from resumption.errors import UsageError
from resumption.frozen import frozen
from resumption.wire.codec import Message, constant, opaque, uint8, uint16, uint16_list, uint32, vector
from resumption.wire.messages import CertificateVerify, ClientHello, Finished, ServerHello

__all__ = [
    "MESSAGES",
    "NAMED_CURVE",
    "Certificate",
    "CertificateRequest",
    "CertificateStatus",
    "ClientKeyExchange",
    "HelloRequest",
    "NewSessionTicket",
    "ServerHelloDone",
    "ServerKeyExchange",
    "pack_server_ecdh_params",
]

#: The one ECCurveType that is left; the explicit curves are gone. RFC 8422, section 5.4.
NAMED_CURVE: Final = 3


@frozen(repr=False)
class HelloRequest(Message):
    """The server wishes to renegotiate. RFC 5246, section 7.4.1.1."""

    msg_type: ClassVar[int] = HandshakeType.hello_request.value


@frozen(repr=False)
class Certificate(Message):
    """A certificate chain, DER, the sender's own first; empty if a client has none. RFC 5246, section 7.4.2."""

    msg_type: ClassVar[int] = HandshakeType.certificate.value

    certificate_list: Annotated[tuple[bytes, ...], vector(opaque(1, 2**24 - 1), 0, 2**24 - 1)]


@frozen(repr=False)
class CertificateStatus(Message):
    """The OCSP response (DER) for the server's certificate. RFC 6066, section 8."""

    msg_type: ClassVar[int] = HandshakeType.certificate_status.value

    status_type: Annotated[int, constant(uint8, CertificateStatusType.ocsp.value)]
    response: Annotated[bytes, opaque(1, 2**24 - 1)]


@frozen(repr=False)
class ServerKeyExchange(Message):
    """The server's share of an ECDHE exchange, signed. RFC 8422, section 5.4.

    The signature covers client random, server random and ``params``.
    """

    msg_type: ClassVar[int] = HandshakeType.server_key_exchange.value

    curve_type: Annotated[int, constant(uint8, NAMED_CURVE)]
    named_curve: Annotated[int, uint16]
    public: Annotated[bytes, opaque(1, 2**8 - 1)]
    algorithm: Annotated[int, uint16]
    signature: Annotated[bytes, opaque(0, 2**16 - 1)]

    @property
    def params(self) -> bytes:
        """The part that is signed, byte for byte as it stands in the message: the encoding has no freedom."""
        return pack_server_ecdh_params(self.named_curve, self.public)


@frozen(repr=False)
class CertificateRequest(Message):
    """The server asks for a client certificate. RFC 5246, section 7.4.4."""

    msg_type: ClassVar[int] = HandshakeType.certificate_request.value

    certificate_types: Annotated[bytes, opaque(1, 2**8 - 1)]
    supported_signature_algorithms: Annotated[tuple[int, ...], uint16_list(2, 2**16 - 2)]
    certificate_authorities: Annotated[tuple[bytes, ...], vector(opaque(1, 2**16 - 1), 0, 2**16 - 1)]  # DER names


@frozen(repr=False)
class ServerHelloDone(Message):
    """The server's flight ends here. RFC 5246, section 7.4.5."""

    msg_type: ClassVar[int] = HandshakeType.server_hello_done.value


@frozen(repr=False)
class ClientKeyExchange(Message):
    """The client's share of an ECDHE exchange. RFC 8422, section 5.7."""

    msg_type: ClassVar[int] = HandshakeType.client_key_exchange.value

    public: Annotated[bytes, opaque(1, 2**8 - 1)]


@frozen(repr=False)
class NewSessionTicket(Message):
    """A ticket that a TLS 1.2 server hands out; empty if it has none after all. RFC 5077, section 3.3."""

    msg_type: ClassVar[int] = HandshakeType.new_session_ticket.value

    ticket_lifetime_hint: Annotated[int, uint32]  # seconds; 0 leaves it to the client
    ticket: Annotated[bytes, opaque(0, 2**16 - 1)]


def pack_server_ecdh_params(named_curve: int, public: bytes) -> bytes:
    """What the server signs after both randoms, before there is a `ServerKeyExchange` to ask. RFC 8422, section 5.4."""
    length = len(public)
    if not 1 <= length <= 255 or named_curve >> 16:
        raise UsageError(f"a point of {length} bytes on curve {named_curve} does not fit ServerECDHParams")
    return bytes((NAMED_CURVE, named_curve >> 8, named_curve & 0xFF, length)) + public


#: Which class parses which message of a TLS 1.2 handshake.
MESSAGES: Final[dict[int, type[Message]]] = {
    HandshakeType.hello_request.value: HelloRequest,
    HandshakeType.client_hello.value: ClientHello,
    HandshakeType.server_hello.value: ServerHello,
    HandshakeType.new_session_ticket.value: NewSessionTicket,
    HandshakeType.certificate.value: Certificate,
    HandshakeType.server_key_exchange.value: ServerKeyExchange,
    HandshakeType.certificate_request.value: CertificateRequest,
    HandshakeType.server_hello_done.value: ServerHelloDone,
    HandshakeType.certificate_verify.value: CertificateVerify,
    HandshakeType.client_key_exchange.value: ClientKeyExchange,
    HandshakeType.finished.value: Finished,
    HandshakeType.certificate_status.value: CertificateStatus,
}
