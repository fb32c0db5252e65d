"""The TLS 1.2 client from the ServerHello on: full and abbreviated handshakes. RFC 5246, 5077, 5746, 7627, 8422."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NoReturn, TypeAlias

from resumption.constants import ExtensionType, NamedGroup, ProtocolVersion, name_of
from resumption.crypto.certificates import is_rsassa_pss, public_key_of
from resumption.crypto.chain_schemes import check_chain_schemes
from resumption.crypto.schedule12 import MasterSecret12
from resumption.crypto.signatures import curve_group, verify
from resumption.crypto.suites import SUITES
from resumption.errors import (
    DecodeError,
    HandshakeFailure,
    IllegalParameter,
    UnexpectedMessage,
    UnsupportedExtension,
)
from resumption.frozen import frozen
from resumption.handshake.client_flight12 import (
    AwaitSignature,
    ExpectChangeCipherSpec,
    ExpectTicket,
    Hellos,
    Progress,
    facts_of_connection,
    send_flight,
)
from resumption.handshake.credentials import RequestedCertificate
from resumption.handshake.established12 import (
    ClientHandshaking12,
    RecordedTranscript,
    fits_suite,
    usable_schemes,
)
from resumption.handshake.offer import Offered
from resumption.handshake.record_sizes import granted
from resumption.handshake.state import Output, Transcript, on
from resumption.handshake.status import NOTHING_SHOWN, Shown, judge_status
from resumption.session.gate import Answer, accepted
from resumption.session.verdicts import Reason
from resumption.wire import extensions, messages12
from resumption.wire.messages import ServerHello

__all__ = [
    "ExpectCertificate",
    "ExpectKeyExchange",
    "ExpectRequestOrDone",
    "ExpectServerHelloDone",
    "on_server_hello",
]

_TLS12 = int(ProtocolVersion.TLSv1_2)
_ALPN = int(ExtensionType.application_layer_protocol_negotiation)
_EMS = int(ExtensionType.extended_master_secret)
_RENEGOTIATION_INFO = int(ExtensionType.renegotiation_info)
_SESSION_TICKET = int(ExtensionType.session_ticket)
_SERVER_NAME = int(ExtensionType.server_name)
_SUPPORTED_GROUPS = int(ExtensionType.supported_groups)
_POINT_FORMATS = int(ExtensionType.ec_point_formats)
_STATUS_REQUEST = int(ExtensionType.status_request)
_TIMESTAMPS = int(ExtensionType.signed_certificate_timestamp)
_EMS_FLAG = 1  # bit 0 of a session's flags
_UNCOMPRESSED = b"\x01\x00"  # ec_point_formats that list nothing else

# What a TLS 1.2 ServerHello may answer; extensions of TLS 1.3 do not belong there. Nor does supported_groups, but there
# are load balancers that send it: other clients pass over it, and so does this one.
_SERVER_HELLO_EXTENSIONS = frozenset(
    {
        _ALPN,
        _EMS,
        _RENEGOTIATION_INFO,
        _SESSION_TICKET,
        _SERVER_NAME,
        _POINT_FORMATS,
        _STATUS_REQUEST,
        _TIMESTAMPS,
        _SUPPORTED_GROUPS,
        int(ExtensionType.max_fragment_length),
        int(ExtensionType.record_size_limit),
    }
)


AfterServerHello: TypeAlias = "ExpectCertificate | ExpectTicket | ExpectChangeCipherSpec"


def on_server_hello(
    offered: Offered, message: ServerHello, hello_raw: bytes, raw: bytes, out: Output
) -> AfterServerHello:
    """Take a TLS 1.2 ServerHello: a new session, or the one that was offered. RFC 5246, section 7.4.1.3."""
    suite = SUITES.get(message.cipher_suite)
    if suite is None or suite.version != _TLS12 or message.cipher_suite not in offered.hello.cipher_suites:
        raise IllegalParameter(f"the server chose suite 0x{message.cipher_suite:04x}, which was not offered this way")
    if message.legacy_compression_method != 0:
        raise IllegalParameter("the server chose a compression method")
    received = message.extensions
    kinds = received.keys()
    if not (kinds <= offered.hello.extensions.keys() and kinds <= _SERVER_HELLO_EXTENSIONS):
        _refuse_extensions(offered, received)
    if received.get(_RENEGOTIATION_INFO) != b"\0":  # an empty renegotiated_connection
        _check_renegotiation(received)
    alpn = None
    if _ALPN in received:
        alpn = extensions.parse_alpn_server(received[_ALPN])
        if alpn not in offered.config.alpn:
            raise IllegalParameter("the server chose an application protocol that was not offered")
    if received.get(_EMS):
        extensions.parse_extended_master_secret(received[_EMS])
    if received.get(_SERVER_NAME):
        extensions.parse_server_name_server(received[_SERVER_NAME])
    if received.get(_SESSION_TICKET):
        raise DecodeError("the session_ticket extension of a ServerHello is empty")
    formats = received.get(_POINT_FORMATS, _UNCOMPRESSED)
    if formats != _UNCOMPRESSED and 0 not in extensions.parse_ec_point_formats(formats):
        raise IllegalParameter("the server does not support uncompressed points")
    scts: tuple[bytes, ...] = ()
    if received.get(_STATUS_REQUEST):
        raise DecodeError("the status_request extension of a ServerHello is empty")
    if _TIMESTAMPS in received:
        scts = tuple(extensions.parse_signed_certificate_timestamp_server(received[_TIMESTAMPS]))
    sizes = granted(offered, received, _TLS12)
    if sizes is not None:
        out.limit_records(sizes.send, sizes.receive, sizes.unprotected)
    hellos = Hellos(
        offered,
        suite,
        message.random,
        message.legacy_session_id_echo,
        _EMS in received,
        _SESSION_TICKET in received,
        _SERVER_NAME in received,
        alpn,
        sizes.max_fragment_mode if sizes is not None else 255,
        _STATUS_REQUEST in received,
        scts,
    )
    session_id = message.legacy_session_id_echo
    if not session_id or session_id != offered.hello.legacy_session_id:
        return ExpectCertificate(hellos, RecordedTranscript(suite.hash, hello_raw, raw))
    session = offered.session
    verdict = accepted(
        (session.data,) if session is not None else (),
        Answer(version=_TLS12, suite=suite.suite, selected=0, extended_master_secret=hellos.extended_master_secret),
        offered.policy,
    )
    if session is None or verdict.reason is not None:
        reason = verdict.reason or Reason.UNSOLICITED
        if reason in (Reason.EMS_LOST, Reason.EMS_GAINED):
            raise HandshakeFailure(f"the server's resumption is not acceptable: {reason.sentence}")
        raise IllegalParameter(f"the server's resumption is not acceptable: {reason.sentence}")
    offered.check_mode(hellos.max_fragment_mode)
    before = session.data
    master = MasterSecret12(suite.hash, session.secret)
    data = facts_of_connection(hellos, before.peer_chain, before)
    progress = Progress(hellos, Transcript(suite.hash, hello_raw, raw), master, hellos.keys(master), data, True)
    return ExpectTicket(progress) if hellos.ticket_promised else ExpectChangeCipherSpec(progress)


def _refuse_extensions(offered: Offered, received: dict[int, bytes]) -> NoReturn:
    """Say which of the extensions does not belong there."""
    for number in received:
        if number not in offered.hello.extensions:
            raise UnsupportedExtension(f"the ServerHello answers {name_of(ExtensionType, number)}, never offered")
        if number not in _SERVER_HELLO_EXTENSIONS:
            break
    raise IllegalParameter(f"{name_of(ExtensionType, number)} does not belong in a TLS 1.2 ServerHello")


def _check_renegotiation(received: dict[int, bytes]) -> None:
    """Every server must know secure renegotiation; the first handshake has nothing to bind. RFC 5746, section 3.4."""
    body = received.get(_RENEGOTIATION_INFO)
    if body is None:
        raise HandshakeFailure("the server does not support secure renegotiation (RFC 5746)")
    if extensions.parse_renegotiation_info(body):
        raise HandshakeFailure("renegotiation_info of a first handshake must be empty")


@frozen
class ExpectCertificate(ClientHandshaking12):
    """Awaiting the server's chain. RFC 5246, section 7.4.2."""

    hellos: Hellos
    transcript: RecordedTranscript

    @on(messages12.Certificate)
    def on_certificate(self, message: messages12.Certificate, raw: bytes, out: Output) -> ExpectKeyExchange:
        """Verify the chain and the name; the key must fit the suite."""
        chain = message.certificate_list
        if not chain:
            raise DecodeError("the server's Certificate holds no certificate")
        offered = self.hellos.offered
        config = offered.config
        check_chain_schemes(chain, config.certificate_schemes)
        path: tuple[bytes, ...] = ()
        if config.trust is not None:
            name = offered.server_name if config.verify_hostname else None
            now = config.clock()
            path = config.trust.verify_server(chain, name, now)
            if config.crls is not None:
                config.crls.check(path, config.trust, now)
        curve = curve_group(public_key_of(chain[0]))
        if curve is not None and curve not in config.groups_12:
            raise IllegalParameter("the server's certificate has a key on a curve that was not offered")
        self.transcript.add(raw)
        return ExpectKeyExchange(self.hellos, self.transcript, chain, path)


@frozen
class ExpectKeyExchange(ClientHandshaking12):
    """Awaiting the signed share of the server, and before it what it promised of a status. RFC 8422, section 5.4."""

    hellos: Hellos
    transcript: RecordedTranscript
    chain: tuple[bytes, ...]
    path: tuple[bytes, ...]  # verified; empty if nothing is
    ocsp_response: bytes | None = None

    @on(messages12.CertificateStatus)
    def on_certificate_status(
        self, message: messages12.CertificateStatus, raw: bytes, out: Output
    ) -> ExpectKeyExchange:
        """The stapled status, which a server may promise and then leave out. RFC 6066, section 8."""
        if not self.hellos.status_promised or self.ocsp_response is not None:
            raise UnexpectedMessage("a CertificateStatus came that the ServerHello did not announce")
        self.transcript.add(raw)
        return replace(self, ocsp_response=message.response)

    @on(messages12.ServerKeyExchange)
    def on_server_key_exchange(
        self, message: messages12.ServerKeyExchange, raw: bytes, out: Output
    ) -> ExpectRequestOrDone:
        """Verify the signature over both randoms and the share."""
        hellos = self.hellos
        config = hellos.offered.config
        shown = Shown(self.ocsp_response, hellos.scts) if self.ocsp_response or hellos.scts else NOTHING_SHOWN
        until = judge_status(config, self.path, shown, config.clock(), out)
        if until != math.inf:
            hellos = replace(hellos, status_until=until)
        if message.named_curve not in config.groups_12:
            raise IllegalParameter(f"the server chose {name_of(NamedGroup, message.named_curve)}, never offered")
        if message.algorithm not in config.schemes:
            raise IllegalParameter("the server signed with a scheme that was not offered")
        if not fits_suite(message.algorithm, hellos.suite):
            raise IllegalParameter("the server's signature is not of the kind that the suite names")
        content = hellos.offered.hello.random + hellos.server_random + message.params
        verify(
            public_key_of(self.chain[0]),
            message.algorithm,
            content,
            message.signature,
            version=_TLS12,
            rsassa_pss=is_rsassa_pss(self.chain[0]),
        )
        self.transcript.add(raw)
        return ExpectRequestOrDone(hellos, self.transcript, self.chain, message.named_curve, message.public)


@frozen
class ExpectRequestOrDone(ClientHandshaking12):
    """Awaiting CertificateRequest or ServerHelloDone. RFC 5246, sections 7.4.4 and 7.4.5."""

    hellos: Hellos
    transcript: RecordedTranscript
    chain: tuple[bytes, ...]
    group: int
    peer_share: bytes

    @on(messages12.CertificateRequest)
    def on_certificate_request(
        self, message: messages12.CertificateRequest, raw: bytes, out: Output
    ) -> ExpectServerHelloDone:
        """The server asks for our certificate."""
        self.transcript.add(raw)
        return ExpectServerHelloDone(
            self.hellos,
            self.transcript,
            self.chain,
            self.group,
            self.peer_share,
            RequestedCertificate(
                _TLS12,
                usable_schemes(message.supported_signature_algorithms, message.certificate_types),
                message.certificate_authorities,
            ),
        )

    @on(messages12.ServerHelloDone)
    def on_server_hello_done(
        self, message: messages12.ServerHelloDone, raw: bytes, out: Output
    ) -> ExpectTicket | ExpectChangeCipherSpec | AwaitSignature:
        """Answer with our share."""
        self.transcript.add(raw)
        return send_flight(self.hellos, self.transcript, self.chain, self.group, self.peer_share, None, out)


@frozen
class ExpectServerHelloDone(ClientHandshaking12):
    """Awaiting the end of the server's flight, after it asked for our certificate."""

    hellos: Hellos
    transcript: RecordedTranscript
    chain: tuple[bytes, ...]
    group: int
    peer_share: bytes
    requested: RequestedCertificate

    @on(messages12.ServerHelloDone)
    def on_server_hello_done(
        self, message: messages12.ServerHelloDone, raw: bytes, out: Output
    ) -> ExpectTicket | ExpectChangeCipherSpec | AwaitSignature:
        """Answer with our certificate, or an empty one, and our share."""
        self.transcript.add(raw)
        return send_flight(self.hellos, self.transcript, self.chain, self.group, self.peer_share, self.requested, out)
