"""What a server's CertificateRequest says, and which of a client's certificates answers it best.

RFC 9846, sections 4.3.4, 4.3.5 and 4.4.2 [8446: 4.2.4, 4.2.5, 4.3.2]; RFC 5246, section 7.4.4.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from resumption.constants import ExtensionType, ProtocolVersion
from resumption.crypto.certificates import CertifiedKey
from resumption.crypto.oid_filters import OidFilters, check_filters, matches
from resumption.errors import MissingExtension
from resumption.handshake.placement import Place, check_request
from resumption.wire import extensions
from resumption.wire.messages import CertificateRequest

__all__ = ["RequestedCertificate", "choose_credential", "read_request"]

_SIGNATURE_ALGORITHMS = int(ExtensionType.signature_algorithms)
_SIGNATURE_ALGORITHMS_CERT = int(ExtensionType.signature_algorithms_cert)
_AUTHORITIES = int(ExtensionType.certificate_authorities)
_OID_FILTERS = int(ExtensionType.oid_filters)
_COMPRESS_CERTIFICATE = int(ExtensionType.compress_certificate)
_TLS13 = int(ProtocolVersion.TLSv1_3)


@dataclass(frozen=True, slots=True)
class RequestedCertificate:
    """What kind of certificate a server asks a client for.

    ``version`` is the connection's; ``schemes`` are the signature schemes that the server can check, ``authorities``
    the names (DER) of the CAs that it says it trusts, empty if it says nothing. ``context`` names a request that came
    after the handshake; it is empty within one. ``filters`` are extensions that the certificate must have.
    """

    version: int
    schemes: tuple[int, ...]
    authorities: tuple[bytes, ...]
    context: bytes = b""
    extensions: frozenset[int] = frozenset()  # what the answer may hold
    filters: OidFilters = ()
    compression: bytes | None = None  # the body of compress_certificate, RFC 8879

    def scheme_for(self, key: CertifiedKey) -> int | None:
        """The best scheme that ``key`` can sign with and the server can check; None if there is none, or if the
        certificate is not one of those that the server filters for."""
        if self.filters and not matches(key.chain[0], self.filters):
            return None
        for scheme in key.schemes13 if self.version == _TLS13 else key.schemes12:
            if scheme in self.schemes:
                return scheme
        return None


def read_request(message: CertificateRequest) -> RequestedCertificate:
    """The request of TLS 1.3. Raises `MissingExtension` without signature_algorithms, and as `check_filters` does."""
    bodies = message.extensions
    check_request(bodies, Place.CR)
    if _SIGNATURE_ALGORITHMS not in bodies:
        raise MissingExtension("the CertificateRequest has no signature_algorithms")
    if _SIGNATURE_ALGORITHMS_CERT in bodies:  # a chain of ours that is signed otherwise is that of last resort
        extensions.parse_signature_algorithms_cert(bodies[_SIGNATURE_ALGORITHMS_CERT])
    authorities: tuple[bytes, ...] = ()
    if _AUTHORITIES in bodies:
        authorities = tuple(extensions.parse_certificate_authorities(bodies[_AUTHORITIES]))
    filters: OidFilters = ()
    if _OID_FILTERS in bodies:
        filters = tuple(extensions.parse_oid_filters(bodies[_OID_FILTERS]))
        check_filters(filters)
    return RequestedCertificate(
        _TLS13,
        extensions.parse_signature_algorithms(bodies[_SIGNATURE_ALGORITHMS]),
        authorities,
        message.certificate_request_context,
        frozenset(bodies),
        filters,
        bodies.get(_COMPRESS_CERTIFICATE),
    )


def choose_credential(keys: Iterable[CertifiedKey], wanted: RequestedCertificate) -> CertifiedKey | None:
    """The first of ``keys`` that fits ``wanted`` and was issued under one of its authorities, else the first that fits.

    A server may name fewer authorities than it accepts, so a certificate of another one is still worth showing: whoever
    would rather show none says so with a hook. None if the server could check no signature.
    """
    fitting = [key for key in keys if wanted.scheme_for(key) is not None]
    if len(fitting) > 1 and wanted.authorities:
        authorities = frozenset(wanted.authorities)
        for key in fitting:
            if key.is_issued_under(authorities):
                return key
    return fitting[0] if fitting else None
