"""Extension bodies: one ``parse_<name>`` and one ``pack_<name>`` for each, without the type and length in front.

A message keeps its extensions as an index from type to undecoded body; the step that negotiates something decodes that
one body with a function from here. Where the sides send different bodies, the name ends in ``_client``, ``_server`` or
in the message that the body appears in. Above each pair stands its definition in the presentation language.

Every ``parse_`` function takes a body of any bytes whatsoever and returns plain values (numbers, bytes, tuples) or
raises `DecodeError`; every ``pack_`` function raises `UsageError` for a value that does not fit. Values that are well
formed but wrong (a group nobody offered, a limit that is too low) are the negotiation's business; unknown numbers,
GREASE among them (RFC 8701), come through as they are.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Final, TypeVar

from resumption.constants import CertificateStatusType
from resumption.errors import DecodeError, IllegalParameter, UsageError
from resumption.frozen import frozen
from resumption.wire.codec import (
    Codec,
    Struct,
    constant,
    extension_block,
    opaque,
    pair,
    remainder,
    uint8,
    uint16,
    uint16_list,
    uint32,
    vector,
)

__all__ = [
    "OfferedPsks",
    "pack_alpn",
    "pack_alpn_server",
    "pack_certificate_authorities",
    "pack_compress_certificate",
    "pack_cookie",
    "pack_early_data",
    "pack_early_data_ticket",
    "pack_ec_point_formats",
    "pack_extended_master_secret",
    "pack_extensions",
    "pack_key_share_client",
    "pack_key_share_retry",
    "pack_key_share_server",
    "pack_max_fragment_length",
    "pack_oid_filters",
    "pack_post_handshake_auth",
    "pack_pre_shared_key_client",
    "pack_pre_shared_key_server",
    "pack_psk_key_exchange_modes",
    "pack_record_size_limit",
    "pack_renegotiation_info",
    "pack_server_name",
    "pack_server_name_server",
    "pack_session_ticket",
    "pack_signature_algorithms",
    "pack_signature_algorithms_cert",
    "pack_signed_certificate_timestamp",
    "pack_signed_certificate_timestamp_server",
    "pack_status_request",
    "pack_status_request_certificate",
    "pack_status_request_client",
    "pack_supported_groups",
    "pack_supported_versions_client",
    "pack_supported_versions_server",
    "pack_ticket_request_client",
    "pack_ticket_request_server",
    "parse_alpn",
    "parse_alpn_server",
    "parse_certificate_authorities",
    "parse_compress_certificate",
    "parse_cookie",
    "parse_early_data",
    "parse_early_data_ticket",
    "parse_ec_point_formats",
    "parse_extended_master_secret",
    "parse_extensions",
    "parse_key_share_client",
    "parse_key_share_retry",
    "parse_key_share_server",
    "parse_max_fragment_length",
    "parse_oid_filters",
    "parse_post_handshake_auth",
    "parse_pre_shared_key_client",
    "parse_pre_shared_key_server",
    "parse_psk_key_exchange_modes",
    "parse_record_size_limit",
    "parse_renegotiation_info",
    "parse_server_name",
    "parse_server_name_server",
    "parse_session_ticket",
    "parse_signature_algorithms",
    "parse_signature_algorithms_cert",
    "parse_signed_certificate_timestamp",
    "parse_signed_certificate_timestamp_server",
    "parse_status_request",
    "parse_status_request_certificate",
    "parse_status_request_client",
    "parse_supported_groups",
    "parse_supported_versions_client",
    "parse_supported_versions_server",
    "parse_ticket_request_client",
    "parse_ticket_request_server",
]

T = TypeVar("T")


def _body(name: str, codec: Codec[T]) -> tuple[Callable[[bytes], T], Callable[[T], bytes]]:
    """The parse and pack functions of an extension whose whole body is one ``codec`` value."""
    read, write = codec.read, codec.write

    def parse(body: bytes) -> T:
        data = body if type(body) is bytes else bytes(body)
        end = len(data)
        try:
            value, at = read(data, 0, end)
        except DecodeError as error:
            raise DecodeError(f"{name}: {error}") from None
        if at != end:
            raise DecodeError(f"{name}: {end - at} bytes left over")
        return value

    return parse, write


def _empty(name: str) -> tuple[Callable[[bytes], None], Callable[[], bytes]]:
    """The functions of an extension that says everything by being there."""

    def parse(body: bytes) -> None:
        if body:
            raise DecodeError(f"{name}: {len(body)} bytes where none belong")

    def pack() -> bytes:
        return b""

    return parse, pack


# --- the block -----------------------------------------------------------------------------------------------------

_parse_block, _pack_block = _body("extensions", extension_block)


def parse_extensions(data: bytes) -> dict[int, bytes]:
    """The index of an extension block, its two-byte length included, in order of arrival. RFC 9846, section 4.3.

    Raises `DecodeError` for bad framing and `IllegalParameter` for a type that appears twice.
    """
    return _parse_block(data)


def pack_extensions(extensions: Mapping[int, bytes] | Iterable[tuple[int, bytes]]) -> bytes:
    """The block that holds ``extensions`` in their order, its two-byte length included.

    Raises `UsageError` if they do not fit, or if one type appears twice.
    """
    pairs = list(extensions.items() if isinstance(extensions, Mapping) else extensions)
    block = dict(pairs)
    if len(block) != len(pairs):
        raise UsageError("the same extension twice in one block")
    return _pack_block(block)


# --- names and protocols -------------------------------------------------------------------------------------------

# struct { NameType name_type; HostName name<1..2^16-1>; } ServerName;  ServerName server_name_list<1..2^16-1>;
# Other name types are skipped: "all future data structures [...] MUST begin with a 16-bit length field".
_HOST_NAME: Final = 0
_parse_name_list, _pack_name_list = _body("server_name", vector(pair(uint8, opaque(0, 2**16 - 1)), 1, 2**16 - 1))


def parse_server_name(body: bytes) -> str | None:
    """The host name that a client asks for, as it was sent; None if it names only other things. RFC 6066, section 3.

    Raises `DecodeError` for an empty name, `IllegalParameter` for a second one and for bytes that are not printable
    ASCII. Case, dots and address literals are left to whoever compares names.
    """
    host_names = [name for name_type, name in _parse_name_list(body) if name_type == _HOST_NAME]
    if not host_names:
        return None
    if len(host_names) > 1:
        raise IllegalParameter(f"server_name: {len(host_names)} host names, at most one is allowed")
    host = host_names[0]
    if not host:
        raise DecodeError("server_name: an empty host name")
    if not host.isascii() or not (text := host.decode("ascii")).isprintable():
        raise IllegalParameter(f"server_name: a host name of {len(host)} bytes that is not printable ASCII")
    return text


def pack_server_name(host: str) -> bytes:
    """The name list that asks for ``host``: ASCII, A-labels, no trailing dot. RFC 6066, section 3."""
    if not host or not host.isascii() or not host.isprintable():
        raise UsageError(f"a host name of {len(host)} characters that is not printable ASCII")
    return _pack_name_list(((_HOST_NAME, host.encode("ascii")),))


# The server's answer is empty. RFC 6066, section 3.
parse_server_name_server, pack_server_name_server = _empty("server_name")

# opaque ProtocolName<1..2^8-1>;  ProtocolName protocol_name_list<2..2^16-1>;  RFC 7301, section 3.1
_protocol_name = opaque(1, 2**8 - 1)
parse_alpn, pack_alpn = _body("application_layer_protocol_negotiation", vector(_protocol_name, 2, 2**16 - 1))


def parse_alpn_server(body: bytes) -> bytes:
    """The one protocol that the server selected. RFC 7301, section 3.1."""
    protocols = parse_alpn(body)
    if len(protocols) != 1:
        raise DecodeError(f"application_layer_protocol_negotiation: {len(protocols)} protocols, exactly one is allowed")
    return protocols[0]


def pack_alpn_server(protocol: bytes) -> bytes:
    """The list of the one ``protocol`` that the server selected. RFC 7301, section 3.1."""
    return pack_alpn((protocol,))


# --- versions, groups and signatures -------------------------------------------------------------------------------

# ProtocolVersion versions<2..254>;  ProtocolVersion selected_version;  RFC 9846, section 4.3.1 (4.2.1)
parse_supported_versions_client, pack_supported_versions_client = _body("supported_versions", uint16_list(2, 254))
parse_supported_versions_server, pack_supported_versions_server = _body("supported_versions", uint16)

# NamedGroup named_group_list<2..2^16-1>;  RFC 9846, section 4.3.7 (4.2.7)
parse_supported_groups, pack_supported_groups = _body("supported_groups", uint16_list(2, 2**16 - 1))

# SignatureScheme supported_signature_algorithms<2..2^16-2>;  RFC 9846, section 4.3.3 (4.2.3)
_schemes = uint16_list(2, 2**16 - 2)
parse_signature_algorithms, pack_signature_algorithms = _body("signature_algorithms", _schemes)
parse_signature_algorithms_cert, pack_signature_algorithms_cert = _body("signature_algorithms_cert", _schemes)

# ECPointFormat ec_point_format_list<1..2^8-1>;  RFC 8422, section 5.1.2
parse_ec_point_formats, pack_ec_point_formats = _body("ec_point_formats", opaque(1, 2**8 - 1))

# struct { NamedGroup group; opaque key_exchange<1..2^16-1>; } KeyShareEntry;  RFC 9846, section 4.3.8 (4.2.8)
_key_share_entry = pair(uint16, opaque(1, 2**16 - 1))
_unpack_share_header = struct.Struct(">HH").unpack_from
_unpack_one_share = struct.Struct(">HHH").unpack_from  # length of the list, group, length of the share

# KeyShareEntry client_shares<0..2^16-1>;  KeyShareEntry server_share;  NamedGroup selected_group;
_parse_key_shares, pack_key_share_client = _body("key_share", vector(_key_share_entry, 0, 2**16 - 1))
parse_key_share_server, pack_key_share_server = _body("key_share", _key_share_entry)
parse_key_share_retry, pack_key_share_retry = _body("key_share", uint16)


def parse_key_share_client(body: bytes) -> tuple[tuple[int, bytes], ...]:
    """Group and share of each entry. RFC 9846, section 4.3.8 (4.2.8)."""
    size = len(body)
    # Nearly every client sends one share: 0.5 us on this way, 2 us on the other.
    if size > 6 and type(body) is bytes:
        length, group, share_length = _unpack_one_share(body)
        if length == size - 2 and share_length == size - 6:
            return ((group, body[6:]),)
        if size > 11 and share_length == 1:  # an entry of GREASE before it: RFC 8701
            real, real_length = _unpack_share_header(body, 7)
            if length == size - 2 and 0 < real_length == size - 11:
                return ((group, body[6:7]), (real, body[11:]))
    return _parse_key_shares(body)


# opaque cookie<1..2^16-1>;  RFC 9846, section 4.3.2 (4.2.2)
parse_cookie, pack_cookie = _body("cookie", opaque(1, 2**16 - 1))


# --- resumption ----------------------------------------------------------------------------------------------------

# CertificateCompressionAlgorithm algorithms<2..2^8-2>;  RFC 8879, section 3
parse_compress_certificate, pack_compress_certificate = _body("compress_certificate", uint16_list(2, 254))

# PskKeyExchangeMode ke_modes<1..255>;  RFC 9846, section 4.3.9 (4.2.9)
parse_psk_key_exchange_modes, pack_psk_key_exchange_modes = _body("psk_key_exchange_modes", opaque(1, 255))


@frozen(repr=False)
class OfferedPsks(Struct):
    """The sessions that a client offers, with one binder each. RFC 9846, section 4.3.11 (4.2.11).

    ``identities`` are pairs of identity (a ticket) and obfuscated_ticket_age in milliseconds. That there are as many
    binders as identities is for the server to check.
    """

    identities: Annotated[tuple[tuple[bytes, int], ...], vector(pair(opaque(1, 2**16 - 1), uint32), 7, 2**16 - 1)]
    binders: Annotated[tuple[bytes, ...], vector(opaque(32, 255), 33, 2**16 - 1)]

    @property
    def binders_length(self) -> int:
        """Bytes of the binders list, its prefix included: what the end of a ClientHello loses when it is truncated."""
        return 2 + len(self.binders) + sum(map(len, self.binders))


_parse_pre_shared_keys, pack_pre_shared_key_client = _body("pre_shared_key", Codec(OfferedPsks.read, OfferedPsks.write))


def parse_pre_shared_key_client(body: bytes) -> OfferedPsks:
    """What the client offers. RFC 9846, section 4.3.11 (4.2.11)."""
    # Nearly every client offers one session: 1.2 us on this way, 4.5 us on the other.
    size = len(body)
    if size > 44 and type(body) is bytes:  # one identity of one byte, one binder of 32
        identities, length = body[0] << 8 | body[1], body[2] << 8 | body[3]
        at = 4 + length
        binder = size - at - 7
        if (
            identities == length + 6
            and length > 0
            and 32 <= binder <= 255
            and body[at + 4 : at + 7] == b"%b%c" % ((binder + 1).to_bytes(2), binder)
        ):
            return OfferedPsks(((body[4:at], int.from_bytes(body[at : at + 4])),), (body[at + 7 :],))
    return _parse_pre_shared_keys(body)


# uint16 selected_identity;
parse_pre_shared_key_server, pack_pre_shared_key_server = _body("pre_shared_key", uint16)

# Empty in a hello and in EncryptedExtensions; uint32 max_early_data_size in a ticket. RFC 9846, 4.3.10 (4.2.10)
parse_early_data, pack_early_data = _empty("early_data")
parse_early_data_ticket, pack_early_data_ticket = _body("early_data", uint32)

# The whole body is the ticket; empty asks for one, or (from the server) announces one. RFC 5077, section 3.2
parse_session_ticket, pack_session_ticket = _body("session_ticket", remainder)

# uint8 new_session_count; uint8 resumption_count;  uint8 expected_count;  RFC 9149, sections 2 and 3
parse_ticket_request_client, pack_ticket_request_client = _body("ticket_request", pair(uint8, uint8))
parse_ticket_request_server, pack_ticket_request_server = _body("ticket_request", uint8)


# --- binding the handshake together (TLS 1.2) ----------------------------------------------------------------------

# RFC 7627, section 5.1
parse_extended_master_secret, pack_extended_master_secret = _empty("extended_master_secret")

# opaque renegotiated_connection<0..255>;  RFC 5746, section 3.2
parse_renegotiation_info, pack_renegotiation_info = _body("renegotiation_info", opaque(0, 255))


# --- record sizes --------------------------------------------------------------------------------------------------

# enum { 2^9(1), 2^10(2), 2^11(3), 2^12(4), (255) } MaxFragmentLength;  RFC 6066, section 4
parse_max_fragment_length, pack_max_fragment_length = _body("max_fragment_length", uint8)

# uint16 RecordSizeLimit;  bytes, at least 64.  RFC 8449, section 4
parse_record_size_limit, pack_record_size_limit = _body("record_size_limit", uint16)


# --- certificates --------------------------------------------------------------------------------------------------

# opaque DistinguishedName<1..2^16-1>;  DistinguishedName authorities<3..2^16-1>;  RFC 9846, section 4.3.4 (4.2.4)
parse_certificate_authorities, pack_certificate_authorities = _body(
    "certificate_authorities", vector(opaque(1, 2**16 - 1), 3, 2**16 - 1)
)

# struct { opaque certificate_extension_oid<1..2^8-1>; opaque certificate_extension_values<0..2^16-1>; } OIDFilter;
# OIDFilter filters<0..2^16-1>;  RFC 9846, section 4.3.5 (4.2.5)
parse_oid_filters, pack_oid_filters = _body(
    "oid_filters", vector(pair(opaque(1, 2**8 - 1), opaque(0, 2**16 - 1)), 0, 2**16 - 1)
)

# RFC 9846, section 4.3.6 (4.2.6)
parse_post_handshake_auth, pack_post_handshake_auth = _empty("post_handshake_auth")

# A client asks with an empty body; the answer stands in a TLS 1.2 ServerHello or a TLS 1.3 CertificateEntry.
parse_signed_certificate_timestamp, pack_signed_certificate_timestamp = _empty("signed_certificate_timestamp")

# opaque SerializedSCT<1..2^16-1>;  SerializedSCT sct_list<1..2^16-1>;  RFC 6962, section 3.3
parse_signed_certificate_timestamp_server, pack_signed_certificate_timestamp_server = _body(
    "signed_certificate_timestamp", vector(opaque(1, 2**16 - 1), 1, 2**16 - 1)
)

# struct { ResponderID responder_id_list<0..2^16-1>; Extensions request_extensions<0..2^16-1>; } OCSPStatusRequest;
_OCSP: Final = CertificateStatusType.ocsp.value
_parse_ocsp_request, _pack_ocsp_request = _body(
    "status_request",
    pair(constant(uint8, _OCSP), pair(vector(opaque(1, 2**16 - 1), 0, 2**16 - 1), opaque(0, 2**16 - 1))),
)


def parse_status_request_client(body: bytes) -> tuple[tuple[bytes, ...], bytes] | None:
    """The responder ids and request extensions (DER) of a client that asks for OCSP. RFC 6066, section 8.

    None if it asks for a status of another type, whose body has no definition here.
    """
    if body and body[0] != _OCSP:
        return None
    return _parse_ocsp_request(body)[1]


def pack_status_request_client(responder_ids: tuple[bytes, ...] = (), request_extensions: bytes = b"") -> bytes:
    """Asks for OCSP, by default from whichever responder the server knows. RFC 6066, section 8."""
    return _pack_ocsp_request((_OCSP, (responder_ids, request_extensions)))


# In a TLS 1.2 ServerHello and in a TLS 1.3 CertificateRequest.
parse_status_request, pack_status_request = _empty("status_request")

# struct { CertificateStatusType status_type; OCSPResponse response<1..2^24-1>; } CertificateStatus;  RFC 6066
_parse_certificate_status, _pack_certificate_status = _body(
    "status_request", pair(constant(uint8, _OCSP), opaque(1, 2**24 - 1))
)


def parse_status_request_certificate(body: bytes) -> bytes:
    """The OCSP response (DER) beside a TLS 1.3 certificate. RFC 9846, section 4.5.1.1 (4.4.2.1)."""
    return _parse_certificate_status(body)[1]


def pack_status_request_certificate(response: bytes) -> bytes:
    """The body that carries an OCSP ``response`` (DER) beside a TLS 1.3 certificate."""
    return _pack_certificate_status((_OCSP, response))
