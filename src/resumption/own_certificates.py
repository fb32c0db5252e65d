"""The certificates of a configuration: which one a peer gets, and what it is asked for in turn.

The parts of `resumption.config.ClientConfig` and `ServerConfig` that know of chains and authorities. Everything is
computed once for a configuration, or remembered for what clients keep asking.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Literal, TypeAlias, TypeVar

from resumption.constants import ExtensionType, ProtocolVersion
from resumption.crypto.certificates import CertifiedKey
from resumption.crypto.chain_schemes import by_preference
from resumption.crypto.trust import TrustStore
from resumption.wire import extensions, messages12
from resumption.wire.messages import Certificate, CertificateEntry
from resumption.wire.templates import signature_extensions

__all__ = ["MOST_AUTHORITIES", "ClientCertificates", "OcspPolicy", "ServerCertificates", "remember"]

MOST_AUTHORITIES = 2**14  # bytes of names in a request or a hello
_REMEMBERED = 1024  # servers, or questions, per configuration
_STAPLED = 16
_LONGEST_NAME, _LONGEST_SCHEMES = 253, 64
OcspPolicy: TypeAlias = Literal["off", "check", "require"]
K = TypeVar("K")
V = TypeVar("V")


class ClientCertificates:
    """What a client shows and asks for. The fields are those of `ClientConfig`."""

    certified_key: CertifiedKey | None
    further_keys: tuple[CertifiedKey, ...]
    trust: TrustStore | None
    maximum_version: int
    post_handshake_auth: bool
    send_authorities: bool
    ocsp: OcspPolicy
    request_scts: bool
    certificate_compression: tuple[int, ...]

    @cached_property
    def credentials(self) -> tuple[CertifiedKey, ...]:
        """All certificates that may answer a server's request, in order of preference."""
        return (*((self.certified_key,) if self.certified_key is not None else ()), *self.further_keys)

    @cached_property
    def certificate_extensions(self) -> dict[int, bytes]:
        """The ClientHello extensions that are about certificates, where they are wanted."""
        bodies: dict[int, bytes] = {}
        if self.ocsp != "off":
            bodies[int(ExtensionType.status_request)] = extensions.pack_status_request_client()
        if self.request_scts:
            bodies[int(ExtensionType.signed_certificate_timestamp)] = extensions.pack_signed_certificate_timestamp()
        if self.maximum_version < ProtocolVersion.TLSv1_3:
            return bodies
        bodies.update(_compression(self.certificate_compression))
        if self.post_handshake_auth:
            bodies[int(ExtensionType.post_handshake_auth)] = extensions.pack_post_handshake_auth()
        if self.send_authorities:
            authorities = _told(self.trust)
            if authorities:
                number = int(ExtensionType.certificate_authorities)
                bodies[number] = extensions.pack_certificate_authorities(authorities)
        return bodies


class ServerCertificates:
    """What a server shows and asks for. The fields are those of `ServerConfig`."""

    certified_keys: tuple[CertifiedKey, ...]
    schemes: tuple[int, ...]
    certificate_schemes: tuple[int, ...] | None
    trust: TrustStore | None
    send_authorities: bool
    certificate_compression: tuple[int, ...]

    @cached_property
    def authorities(self) -> tuple[bytes, ...]:
        """The names (DER) of the CAs that clients' certificates may chain to: none if they are not to be told, or are
        more than a request should hold."""
        return _told(self.trust) if self.send_authorities else ()

    @cached_property
    def request_extensions(self) -> dict[int, bytes]:
        """The extensions of a CertificateRequest of TLS 1.3. RFC 9846, section 4.4.2."""
        bodies = signature_extensions(self.schemes, self.certificate_schemes)
        bodies.update(_compression(self.certificate_compression))
        if self.authorities:
            number = int(ExtensionType.certificate_authorities)
            bodies[number] = extensions.pack_certificate_authorities(self.authorities)
        return bodies

    def select_certificate(
        self,
        server_name: str | None,
        schemes: tuple[int, ...],
        certificate_schemes: tuple[int, ...],
        authorities: tuple[bytes, ...] = (),
    ) -> tuple[CertifiedKey, int] | None:
        """The chain to prove to this client and the scheme to sign with, or None if it can check none of them.

        A chain for the name that was asked for wins over one that is not; then one whose certificates are signed with
        ``certificate_schemes`` over one whose are not; then one that was issued under one of ``authorities`` (names,
        DER), if the client says any; then the order of ``certified_keys``.
        """
        if authorities and len(self.certified_keys) > 1:
            known = frozenset(authorities)
            ours = sorted(self.certified_keys, key=lambda key: not key.is_issued_under(known))
            return _first_fit(by_preference(tuple(ours), server_name, certificate_schemes), schemes)
        question = (server_name, schemes, certificate_schemes)
        if question in self._selections:
            return self._selections[question]
        selection = _first_fit(self.keys_for(server_name, certificate_schemes), schemes)
        # the client says all of it: what is longer than any name or list in use is not remembered
        if max(len(schemes), len(certificate_schemes)) > _LONGEST_SCHEMES or len(server_name or "") > _LONGEST_NAME:
            return selection
        return remember(self._selections, question, selection)

    @cached_property
    def _selections(self) -> dict[tuple[str | None, tuple[int, ...], tuple[int, ...]], tuple[CertifiedKey, int] | None]:
        return {}

    @cached_property
    def certificate_messages(self) -> dict[CertifiedKey, bytes]:
        """The Certificate message of TLS 1.3 for each of our chains, packed. RFC 9846, section 4.5.1."""
        return {
            key: Certificate(b"", tuple(CertificateEntry(der, {}) for der in key.chain)).pack()
            for key in self.certified_keys
        }

    @cached_property
    def certificate_messages_12(self) -> dict[CertifiedKey, bytes]:
        """The Certificate message of TLS 1.2 for each of our chains, packed. RFC 5246, section 7.4.2."""
        return {key: messages12.Certificate(key.chain).pack() for key in self.certified_keys}

    def certificate_message(self, key: CertifiedKey, status: bytes | None, with_scts: bool) -> bytes:
        """The Certificate message of TLS 1.3 with an OCSP response and timestamps beside the leaf."""
        question = (key, status, with_scts)
        message = self._stapled.get(question)
        if message is not None:
            return message
        bodies: dict[int, bytes] = {}
        if status is not None:
            bodies[int(ExtensionType.status_request)] = extensions.pack_status_request_certificate(status)
        if with_scts:
            number = int(ExtensionType.signed_certificate_timestamp)
            bodies[number] = extensions.pack_signed_certificate_timestamp_server(key.scts)
        entries = (CertificateEntry(key.chain[0], bodies), *(CertificateEntry(der, {}) for der in key.chain[1:]))
        if len(self._stapled) >= _STAPLED:  # responses change a few times a day: the old ones go
            self._stapled.clear()
        self._stapled[question] = message = Certificate(b"", entries).pack()
        return message

    @cached_property
    def _stapled(self) -> dict[tuple[CertifiedKey, bytes | None, bool], bytes]:
        return {}

    def keys_for(self, server_name: str | None, certificate_schemes: tuple[int, ...]) -> tuple[CertifiedKey, ...]:
        """Our chains, in the order of `resumption.crypto.chain_schemes.by_preference`."""
        return by_preference(self.certified_keys, server_name, certificate_schemes)


def _compression(algorithms: tuple[int, ...]) -> dict[int, bytes]:
    """The extension that offers ``algorithms``, if there are any."""
    if not algorithms:
        return {}
    return {int(ExtensionType.compress_certificate): extensions.pack_compress_certificate(algorithms)}


def _told(trust: TrustStore | None) -> tuple[bytes, ...]:
    """The names of the CAs in ``trust``, unless they are too many to be told."""
    names = trust.subjects if trust is not None else ()
    return names if sum(map(len, names)) <= MOST_AUTHORITIES else ()


def _first_fit(keys: Iterable[CertifiedKey], schemes: tuple[int, ...]) -> tuple[CertifiedKey, int] | None:
    for key in keys:
        for scheme in key.schemes13:
            if scheme in schemes:
                return key, scheme
    return None


def remember(memory: dict[K, V], key: K, value: V) -> V:
    """Keep ``value`` in a bounded memory, and return it. A full one starts over: nothing is spent on use."""
    if len(memory) >= _REMEMBERED:
        memory.clear()
    memory[key] = value
    return value
