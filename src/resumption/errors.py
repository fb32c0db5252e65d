"""Every error of the package, and the alert that each one sends.

Three families, told apart by who is at fault. `PeerError`: the peer broke the protocol; the connection sends the
class's alert, fails, and raises it. `UsageError`: our caller did; nothing is sent and no state changes.
`AlertReceived`: the peer gave up; an alert is never answered with an alert. Texts say what was expected and what came,
with lengths, never contents: no secret and no peer-controlled byte string reaches a message.
"""

from __future__ import annotations

from resumption.constants import AlertDescription, AlertLevel, name_of

__all__ = [
    "AlertReceived",
    "BadCertificate",
    "BadCertificateStatus",
    "BadRecordMac",
    "CertificateError",
    "CertificateExpired",
    "CertificateRequired",
    "CertificateRevoked",
    "ConfigurationError",
    "ConnectionFailed",
    "DecodeError",
    "DecryptError",
    "DoubleFreeError",
    "Error",
    "HandshakeFailure",
    "HandshakeTimeout",
    "HostnameMismatch",
    "IllegalParameter",
    "InappropriateFallback",
    "InsufficientSecurity",
    "InternalError",
    "MissingExtension",
    "NoApplicationProtocol",
    "PeerError",
    "ProtocolVersionUnsupported",
    "RecordOverflow",
    "ReferenceCountError",
    "SessionError",
    "SessionFormatError",
    "SessionFreedError",
    "StoreError",
    "TooManyMessages",
    "UnexpectedEOF",
    "UnexpectedMessage",
    "UnknownCA",
    "UnrecognizedName",
    "UnsupportedCertificate",
    "UnsupportedExtension",
    "UsageError",
    "WantRead",
    "WantWrite",
]


class Error(Exception):
    """Root of every error that this package raises on purpose."""


# --- the peer broke the protocol -----------------------------------------------------------------------------------


class PeerError(Error):
    """The peer broke the protocol. ``alert`` is what the connection sends before it fails."""

    alert: AlertDescription = AlertDescription.handshake_failure


class DecodeError(PeerError):
    """A message could not be parsed: a field is out of range, or a length is wrong. RFC 9846, section 6.2."""

    alert = AlertDescription.decode_error


class UnexpectedMessage(PeerError):
    """A message or record came that does not belong here. RFC 9846, section 6.2."""

    alert = AlertDescription.unexpected_message


class TooManyMessages(UnexpectedMessage):
    """The peer sent more messages of a harmless kind (empty records, KeyUpdates, warnings) than the limits allow."""


class BadRecordMac(PeerError):
    """A record did not open under the current key. RFC 9846, section 5.2."""

    alert = AlertDescription.bad_record_mac


class RecordOverflow(PeerError):
    """A record is longer than the protocol allows. RFC 9846, sections 5.1 and 5.2."""

    alert = AlertDescription.record_overflow


class HandshakeFailure(PeerError):
    """No acceptable set of parameters could be negotiated. RFC 9846, section 6.2."""

    alert = AlertDescription.handshake_failure


class IllegalParameter(PeerError):
    """A field is well formed but its value is not allowed here. RFC 9846, section 6.2."""

    alert = AlertDescription.illegal_parameter


class DecryptError(PeerError):
    """A signature, Finished or binder did not verify. RFC 9846, section 6.2."""

    alert = AlertDescription.decrypt_error


class ProtocolVersionUnsupported(PeerError):
    """The peer's versions and ours have none in common. RFC 9846, section 6.2."""

    alert = AlertDescription.protocol_version


class InsufficientSecurity(PeerError):
    """The peer offers only parameters weaker than this side requires. RFC 9846, section 6.2."""

    alert = AlertDescription.insufficient_security


class InappropriateFallback(PeerError):
    """The client fell back to a lower version than both sides support. RFC 7507."""

    alert = AlertDescription.inappropriate_fallback


class MissingExtension(PeerError):
    """The peer left out an extension that it must send. RFC 9846, section 9.2."""

    alert = AlertDescription.missing_extension


class UnsupportedExtension(PeerError):
    """The peer answered with an extension that was not offered, or that does not belong here. RFC 9846, section 4.3."""

    alert = AlertDescription.unsupported_extension


class UnrecognizedName(PeerError):
    """No server here has the name that the client asked for. RFC 6066, section 3."""

    alert = AlertDescription.unrecognized_name


class NoApplicationProtocol(PeerError):
    """Client and server have no application protocol in common. RFC 7301, section 3.2."""

    alert = AlertDescription.no_application_protocol


class InternalError(PeerError):
    """Something failed on this side that the peer is not to blame for, for example a callback that raised."""

    alert = AlertDescription.internal_error


class CertificateError(PeerError):
    """The peer's certificate chain is not acceptable.

    ``verify_code`` is the X509_V_ERR_* number that OpenSSL would report, as kept in a session's ``verify_result``.
    """

    alert = AlertDescription.certificate_unknown
    verify_code: int = 1

    def __init__(self, message: str, *, verify_code: int | None = None) -> None:
        super().__init__(message)
        if verify_code is not None:
            self.verify_code = verify_code


class BadCertificate(CertificateError):
    """A certificate is corrupt, or its contents do not verify. RFC 9846, section 6.2."""

    alert = AlertDescription.bad_certificate
    verify_code = 7  # X509_V_ERR_CERT_SIGNATURE_FAILURE


class UnsupportedCertificate(CertificateError):
    """A certificate's key is of a kind or size that is not accepted. RFC 9846, section 6.2."""

    alert = AlertDescription.unsupported_certificate
    verify_code = 66  # X509_V_ERR_EE_KEY_TOO_SMALL


class CertificateExpired(CertificateError):
    """A certificate of the chain is not valid now. RFC 9846, section 6.2."""

    alert = AlertDescription.certificate_expired
    verify_code = 10  # X509_V_ERR_CERT_HAS_EXPIRED


class CertificateRevoked(CertificateError):
    """A certificate of the chain was revoked. RFC 9846, section 6.2."""

    alert = AlertDescription.certificate_revoked
    verify_code = 23  # X509_V_ERR_CERT_REVOKED


class BadCertificateStatus(CertificateError):
    """The OCSP response for a certificate is missing, broken, stale or not to be believed. RFC 6066, section 8."""

    alert = AlertDescription.bad_certificate_status_response


class UnknownCA(CertificateError):
    """No path leads from the peer's certificate to a trusted root. RFC 9846, section 6.2."""

    alert = AlertDescription.unknown_ca
    verify_code = 20  # X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY


class HostnameMismatch(CertificateError):
    """The certificate is not for the name or address that was asked for. RFC 9525."""

    alert = AlertDescription.bad_certificate
    verify_code = 62  # X509_V_ERR_HOSTNAME_MISMATCH


class CertificateRequired(CertificateError):
    """The client sent no certificate although one is required. RFC 9846, section 6.2."""

    alert = AlertDescription.certificate_required


# --- the peer, or the transport, gave up ---------------------------------------------------------------------------


class AlertReceived(Error):
    """The peer sent a fatal alert; ``description`` is its number, ``level`` its level."""

    def __init__(self, description: int, level: int = AlertLevel.fatal) -> None:
        super().__init__(f"the peer ended the connection with alert {name_of(AlertDescription, description)}")
        self.description = description
        self.level = level


class UnexpectedEOF(Error):
    """The stream ended without close_notify: what was received may be cut short. RFC 9846, section 6.1."""


class HandshakeTimeout(Error, TimeoutError):
    """The handshake was not finished by its deadline."""


class WantRead(Error, BlockingIOError):
    """A stream that must not wait has nothing to read yet: repeat the call when the socket is readable."""


class WantWrite(Error, BlockingIOError):
    """A stream that must not wait cannot send yet: repeat the call, with the same data, when the socket is writable."""


# --- our caller is at fault ----------------------------------------------------------------------------------------


class UsageError(Error):
    """The calling program asked for something that cannot be done now. Nothing was sent, nothing changed."""


class ConfigurationError(UsageError, ValueError):
    """A setting, or a combination of settings, makes no sense."""


class ConnectionFailed(UsageError):
    """The connection failed earlier; ``__cause__`` is the error that ended it."""


class SessionError(UsageError, ValueError):
    """A session was given a value that it cannot hold, or was used where it does not belong."""


class ReferenceCountError(UsageError):
    """A reference was given back by someone who does not hold it. The session is unharmed."""


class SessionFreedError(UsageError):
    """A session was used after its last holder let go of it."""


class DoubleFreeError(ReferenceCountError, SessionFreedError):
    """A reference was given back to a session that has no holder any more."""


# --- data at rest --------------------------------------------------------------------------------------------------


class SessionFormatError(Error, ValueError):
    """Bytes or text that should hold a session do not."""


class StoreError(Error):
    """A session store failed. Raised by direct store calls only: inside a handshake it is a miss."""
