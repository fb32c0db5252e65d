"""The facts of one ClientHello, each extension decoded once.

Both versions read the hello through this class. Decoding is strict for every extension that is known here, whether or
not the negotiation goes on to use it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from resumption.constants import ExtensionType, ProtocolVersion, PskKeyExchangeMode
from resumption.errors import IllegalParameter
from resumption.wire import extensions
from resumption.wire.messages import ClientHello

__all__ = ["ClientHelloFacts"]

_PARSERS: dict[int, Callable[[bytes], Any]] = {
    int(number): parse
    for number, parse in {
        ExtensionType.server_name: extensions.parse_server_name,
        ExtensionType.supported_groups: extensions.parse_supported_groups,
        ExtensionType.signature_algorithms: extensions.parse_signature_algorithms,
        ExtensionType.signature_algorithms_cert: extensions.parse_signature_algorithms_cert,
        ExtensionType.application_layer_protocol_negotiation: extensions.parse_alpn,
        ExtensionType.supported_versions: extensions.parse_supported_versions_client,
        ExtensionType.psk_key_exchange_modes: extensions.parse_psk_key_exchange_modes,
        ExtensionType.key_share: extensions.parse_key_share_client,
        ExtensionType.pre_shared_key: extensions.parse_pre_shared_key_client,
        ExtensionType.cookie: extensions.parse_cookie,
        ExtensionType.early_data: extensions.parse_early_data,
        ExtensionType.extended_master_secret: extensions.parse_extended_master_secret,
        ExtensionType.session_ticket: extensions.parse_session_ticket,
        ExtensionType.renegotiation_info: extensions.parse_renegotiation_info,
        ExtensionType.ec_point_formats: extensions.parse_ec_point_formats,
        ExtensionType.record_size_limit: extensions.parse_record_size_limit,
        ExtensionType.certificate_authorities: extensions.parse_certificate_authorities,
    }.items()
}
_SERVER_NAME = int(ExtensionType.server_name)
_SUPPORTED_GROUPS = int(ExtensionType.supported_groups)
_SIGNATURE_ALGORITHMS = int(ExtensionType.signature_algorithms)
_ALPN = int(ExtensionType.application_layer_protocol_negotiation)
_SUPPORTED_VERSIONS = int(ExtensionType.supported_versions)
_PSK_MODES = int(ExtensionType.psk_key_exchange_modes)
_KEY_SHARE = int(ExtensionType.key_share)
_PRE_SHARED_KEY = int(ExtensionType.pre_shared_key)
_EMS = int(ExtensionType.extended_master_secret)
_SESSION_TICKET = int(ExtensionType.session_ticket)
_RENEGOTIATION_INFO = int(ExtensionType.renegotiation_info)
_POINT_FORMATS = int(ExtensionType.ec_point_formats)
_TLS10 = int(ProtocolVersion.TLSv1)
_TLS12 = int(ProtocolVersion.TLSv1_2)


class ClientHelloFacts:
    """A parsed ClientHello. Absent extensions read as None or as an empty tuple.

    Raises `DecodeError` for a malformed extension and `IllegalParameter` where pre_shared_key is not the last one.
    """

    __slots__ = ("hello", "values")

    def __init__(self, hello: ClientHello) -> None:
        self.hello = hello
        values: dict[int, Any] = {}
        for number, body in hello.extensions.items():
            parse = _PARSERS.get(number)
            if parse is not None:
                values[number] = parse(body)
        if _PRE_SHARED_KEY in values and next(reversed(hello.extensions)) != _PRE_SHARED_KEY:
            raise IllegalParameter("pre_shared_key is not the last extension of the ClientHello")
        self.values = values

    @property
    def server_name(self) -> str:
        """The name asked for, in lower case without a final dot; empty when none was."""
        name = self.values.get(_SERVER_NAME)
        return name.lower().removesuffix(".") if name else ""

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions offered, best first. RFC 9846, section 4.3.1 [8446: 4.2.1]."""
        listed: tuple[int, ...] | None = self.values.get(_SUPPORTED_VERSIONS)
        if listed is not None:
            return tuple(sorted(listed, reverse=True))
        return tuple(range(min(self.hello.legacy_version, _TLS12), _TLS10 - 1, -1))

    @property
    def groups(self) -> tuple[int, ...] | None:
        """supported_groups, or None when absent."""
        return self.values.get(_SUPPORTED_GROUPS)

    @property
    def schemes(self) -> tuple[int, ...] | None:
        """signature_algorithms, or None when absent."""
        return self.values.get(_SIGNATURE_ALGORITHMS)

    @property
    def alpn(self) -> tuple[bytes, ...]:
        """The application protocols offered."""
        names: tuple[bytes, ...] = self.values.get(_ALPN, ())
        return names

    @property
    def key_shares(self) -> tuple[tuple[int, bytes], ...] | None:
        """The key shares, or None when the extension is absent."""
        return self.values.get(_KEY_SHARE)

    @property
    def psk(self) -> extensions.OfferedPsks | None:
        """The PSKs offered, or None."""
        return self.values.get(_PRE_SHARED_KEY)

    @property
    def has_psk_modes(self) -> bool:
        """Whether psk_key_exchange_modes is there at all."""
        return _PSK_MODES in self.values

    @property
    def psk_dhe_ke(self) -> bool:
        """Whether the client can resume with a key exchange."""
        return PskKeyExchangeMode.psk_dhe_ke in self.values.get(_PSK_MODES, b"")

    # What only TLS 1.2 asks.

    @property
    def extended_master_secret(self) -> bool:
        """Whether the client offers an extended master secret. RFC 7627."""
        return _EMS in self.values

    @property
    def session_ticket(self) -> bytes | None:
        """The ticket; empty if the client would like one, None if it cannot use any. RFC 5077."""
        return self.values.get(_SESSION_TICKET)

    @property
    def renegotiation_info(self) -> bytes | None:
        """The renegotiated_connection field, or None. RFC 5746."""
        return self.values.get(_RENEGOTIATION_INFO)

    @property
    def point_formats(self) -> bytes | None:
        """The point formats listed, or None. RFC 8422, section 5.1.2."""
        return self.values.get(_POINT_FORMATS)
