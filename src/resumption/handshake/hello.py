"""The facts of one ClientHello, each extension decoded once.

Both versions read the hello through this class. Decoding is strict for every extension that is known here, whether or
not the negotiation goes on to use it.

A server meets few kinds of clients, and those send the same lists of groups, schemes and versions every time. What such
a list says is remembered: looking it up takes 0.1 us, decoding it 0.7 us, and a hello has five to seven of them. Only
bodies of `_REMEMBERED_LENGTH` bytes or less are kept, so that nobody fills the memory with long ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from resumption.constants import ExtensionType, ProtocolVersion, PskKeyExchangeMode
from resumption.errors import IllegalParameter
from resumption.wire import extensions
from resumption.wire.messages import ClientHello

__all__ = ["ClientHelloFacts"]

_REMEMBERED_LENGTH = 128  # bytes
_REMEMBERED = 256  # bodies of each extension: a client that sends GREASE has 16 of each

_Parser = Callable[[bytes], Any]


def _remembering(parse: _Parser) -> tuple[_Parser, _Parser]:
    """``parse``, a pure function with immutable results, as it is for any body and with a memory for short ones."""
    return parse, lru_cache(_REMEMBERED)(parse)  # errors are not kept


def _as_it_is(parse: _Parser) -> tuple[_Parser, _Parser]:
    """The same for an extension whose body is another one each time."""
    return parse, parse


_PARSERS: dict[int, tuple[_Parser, _Parser]] = {
    int(number): parsers
    for number, parsers in {
        ExtensionType.server_name: _remembering(extensions.parse_server_name),
        ExtensionType.supported_groups: _remembering(extensions.parse_supported_groups),
        ExtensionType.signature_algorithms: _remembering(extensions.parse_signature_algorithms),
        ExtensionType.signature_algorithms_cert: _remembering(extensions.parse_signature_algorithms_cert),
        ExtensionType.application_layer_protocol_negotiation: _remembering(extensions.parse_alpn),
        ExtensionType.psk_key_exchange_modes: _remembering(extensions.parse_psk_key_exchange_modes),
        ExtensionType.key_share: _as_it_is(extensions.parse_key_share_client),
        ExtensionType.pre_shared_key: _as_it_is(extensions.parse_pre_shared_key_client),
        ExtensionType.cookie: _as_it_is(extensions.parse_cookie),
        ExtensionType.early_data: _as_it_is(extensions.parse_early_data),
        ExtensionType.extended_master_secret: _as_it_is(extensions.parse_extended_master_secret),
        ExtensionType.session_ticket: _as_it_is(extensions.parse_session_ticket),
        ExtensionType.renegotiation_info: _remembering(extensions.parse_renegotiation_info),
        ExtensionType.ec_point_formats: _remembering(extensions.parse_ec_point_formats),
        ExtensionType.record_size_limit: _as_it_is(extensions.parse_record_size_limit),
        ExtensionType.max_fragment_length: _as_it_is(extensions.parse_max_fragment_length),
        ExtensionType.ticket_request: _as_it_is(extensions.parse_ticket_request_client),
        ExtensionType.certificate_authorities: _as_it_is(extensions.parse_certificate_authorities),
        ExtensionType.status_request: _remembering(extensions.parse_status_request_client),
        ExtensionType.signed_certificate_timestamp: _as_it_is(extensions.parse_signed_certificate_timestamp),
        ExtensionType.post_handshake_auth: _as_it_is(extensions.parse_post_handshake_auth),
    }.items()
}
_SERVER_NAME = int(ExtensionType.server_name)
_SUPPORTED_GROUPS = int(ExtensionType.supported_groups)
_SIGNATURE_ALGORITHMS = int(ExtensionType.signature_algorithms)
_SIGNATURE_ALGORITHMS_CERT = int(ExtensionType.signature_algorithms_cert)
_ALPN = int(ExtensionType.application_layer_protocol_negotiation)
_SUPPORTED_VERSIONS = int(ExtensionType.supported_versions)
_PSK_MODES = int(ExtensionType.psk_key_exchange_modes)
_KEY_SHARE = int(ExtensionType.key_share)
_PRE_SHARED_KEY = int(ExtensionType.pre_shared_key)
_EMS = int(ExtensionType.extended_master_secret)
_SESSION_TICKET = int(ExtensionType.session_ticket)
_RENEGOTIATION_INFO = int(ExtensionType.renegotiation_info)
_POINT_FORMATS = int(ExtensionType.ec_point_formats)
_RECORD_SIZE_LIMIT = int(ExtensionType.record_size_limit)
_MAX_FRAGMENT_LENGTH = int(ExtensionType.max_fragment_length)
_STATUS_REQUEST = int(ExtensionType.status_request)
_TIMESTAMPS = int(ExtensionType.signed_certificate_timestamp)
_AUTHORITIES = int(ExtensionType.certificate_authorities)
_POST_HANDSHAKE_AUTH = int(ExtensionType.post_handshake_auth)
_TICKET_REQUEST = int(ExtensionType.ticket_request)
_TLS10 = int(ProtocolVersion.TLSv1)
_TLS12 = int(ProtocolVersion.TLSv1_2)
_PSK_DHE_KE = int(PskKeyExchangeMode.psk_dhe_ke)


_PARSE_VERSIONS = _remembering(extensions.parse_supported_versions_client)
# A hello that offers nothing below TLS 1.3 is spared a judgement of what only TLS 1.2 would read.
_PARSERS_13 = {
    number: parsers
    for number, parsers in _PARSERS.items()
    if number not in (_EMS, _SESSION_TICKET, _RENEGOTIATION_INFO, _POINT_FORMATS)
}


@lru_cache(_REMEMBERED)
def _best_first(versions: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(versions, reverse=True))


class ClientHelloFacts:
    """A parsed ClientHello. Absent extensions read as None or as an empty tuple.

    Raises `DecodeError` for a malformed extension and `IllegalParameter` where pre_shared_key is not the last one.
    """

    __slots__ = (
        "alpn",
        "authorities",
        "certificate_schemes",
        "extended_master_secret",
        "groups",
        "has_psk_modes",
        "hello",
        "key_shares",
        "max_fragment_length",
        "point_formats",
        "post_handshake_auth",
        "psk",
        "psk_dhe_ke",
        "record_size_limit",
        "renegotiation_info",
        "schemes",
        "server_name",
        "session_ticket",
        "ticket_request",
        "versions",
        "wants_scts",
        "wants_status",
    )

    hello: ClientHello
    server_name: str  # the name asked for, in lower case without a final dot; empty when none was
    versions: tuple[int, ...]  # the versions offered, best first. RFC 9846, section 4.3.1 [8446: 4.2.1]
    groups: tuple[int, ...] | None  # supported_groups
    schemes: tuple[int, ...] | None  # signature_algorithms
    certificate_schemes: tuple[int, ...]  # signature_algorithms_cert, or else signature_algorithms
    alpn: tuple[bytes, ...]  # the application protocols offered
    key_shares: tuple[tuple[int, bytes], ...] | None
    psk: extensions.OfferedPsks | None
    has_psk_modes: bool  # whether psk_key_exchange_modes is there at all
    psk_dhe_ke: bool  # whether the client can resume with a key exchange
    ticket_request: tuple[int, int] | None  # tickets wanted after a full handshake, and a resumed one. RFC 9149
    record_size_limit: int | None  # RFC 8449
    max_fragment_length: int | None  # the code, as it was sent. RFC 6066, section 4
    authorities: tuple[bytes, ...]  # names (DER) of the CAs that the client says it trusts
    post_handshake_auth: bool  # whether the client can be asked for its certificate after the handshake
    wants_status: bool  # whether the client asks for an OCSP response
    wants_scts: bool  # whether the client asks for signed certificate timestamps
    # what only TLS 1.2 asks
    extended_master_secret: bool  # RFC 7627
    session_ticket: bytes | None  # empty if the client would like one, None if it cannot use any. RFC 5077
    renegotiation_info: bytes | None  # the renegotiated_connection field. RFC 5746
    point_formats: bytes | None  # RFC 8422, section 5.1.2

    def __init__(self, hello: ClientHello) -> None:
        values: dict[int, Any] = {}
        known, versions = _PARSERS, None
        body = hello.extensions.get(_SUPPORTED_VERSIONS)
        if body is not None:
            versions = _PARSE_VERSIONS[len(body) <= _REMEMBERED_LENGTH](body)
            if _TLS12 not in versions:
                known = _PARSERS_13
        for number, body in hello.extensions.items():
            parsers = known.get(number)
            if parsers is not None:
                values[number] = parsers[len(body) <= _REMEMBERED_LENGTH](body)
        if _PRE_SHARED_KEY in values and next(reversed(hello.extensions)) != _PRE_SHARED_KEY:
            raise IllegalParameter("pre_shared_key is not the last extension of the ClientHello")
        value = values.get
        name = value(_SERVER_NAME)
        if versions is None:
            versions = tuple(range(_TLS10, min(hello.legacy_version, _TLS12) + 1))
        self.hello = hello
        self.server_name = name.lower().removesuffix(".") if name else ""
        self.versions = _best_first(versions)
        self.groups = value(_SUPPORTED_GROUPS)
        self.schemes = schemes = value(_SIGNATURE_ALGORITHMS)
        self.certificate_schemes = value(_SIGNATURE_ALGORITHMS_CERT, schemes or ())
        self.alpn = value(_ALPN, ())
        self.authorities = tuple(value(_AUTHORITIES, ()))
        self.wants_status = value(_STATUS_REQUEST) is not None
        self.wants_scts = _TIMESTAMPS in values
        self.post_handshake_auth = _POST_HANDSHAKE_AUTH in values
        self.key_shares = value(_KEY_SHARE)
        self.psk = value(_PRE_SHARED_KEY)
        self.has_psk_modes = _PSK_MODES in values
        self.psk_dhe_ke = _PSK_DHE_KE in value(_PSK_MODES, b"")
        self.ticket_request = value(_TICKET_REQUEST)
        self.record_size_limit = value(_RECORD_SIZE_LIMIT)
        self.max_fragment_length = value(_MAX_FRAGMENT_LENGTH)
        self.extended_master_secret = _EMS in values
        self.session_ticket = value(_SESSION_TICKET)
        self.renegotiation_info = value(_RENEGOTIATION_INFO)
        self.point_formats = value(_POINT_FORMATS)
