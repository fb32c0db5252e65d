"""Revocation status by OCSP: whether a stapled response speaks for a certificate, now, and until when. RFC 6960.

What it does: checks one response against a leaf and its issuer. What it leaves to others: how the response came
(handshake), and what it means that none came (policy). Nothing here asks anybody.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from resumption.crypto.certificates import parse_certificate, timestamp_of
from resumption.errors import BadCertificateStatus, CertificateRevoked

__all__ = ["check_status", "demands_status"]

MAX_RESPONSE_SIZE = 65_536  # bytes
_SKEW_S = 300.0
_LONGEST_WITHOUT_UPDATE_S = 86_400.0  # how long a response that names no next update is believed
_GOOD_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


def demands_status(leaf: bytes) -> bool:
    """Whether the certificate (DER) says that its server must staple a status (TLS feature). RFC 7633."""
    try:
        feature = parse_certificate(leaf).extensions.get_extension_for_class(x509.TLSFeature).value
    except x509.ExtensionNotFound:
        return False
    return x509.TLSFeatureType.status_request in feature


def check_status(response: bytes, path: Sequence[bytes], now: float) -> float:
    """Check an OCSP ``response`` (DER) for the first certificate of ``path``, a verified one (DER, anchor last).

    Returns until when it is good, in seconds since the epoch as ``now`` is. Raises `CertificateRevoked`, or
    `BadCertificateStatus` for a response that is broken, stale, not signed by the issuer or a responder that it named,
    about another certificate, or that does not know.
    """
    if len(response) > MAX_RESPONSE_SIZE:
        raise BadCertificateStatus(f"an OCSP response of {len(response)} bytes is too long")
    leaf = parse_certificate(path[0])
    issuer = parse_certificate(path[1] if len(path) > 1 else path[0])
    try:
        parsed = ocsp.load_der_ocsp_response(response)
        if parsed.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise BadCertificateStatus(f"the OCSP responder answered {parsed.response_status.name}")
        single = next((each for each in parsed.responses if _is_about(each, leaf, issuer)), None)
        if single is None:
            raise BadCertificateStatus("the OCSP response is about another certificate")
        _check_signature(parsed, issuer, now)
        return _judge(single, now)
    except (BadCertificateStatus, CertificateRevoked):
        raise
    except Exception as error:
        raise BadCertificateStatus("the OCSP response cannot be read") from error


def _is_about(single: ocsp.OCSPSingleResponse, leaf: x509.Certificate, issuer: x509.Certificate) -> bool:
    if single.serial_number != leaf.serial_number:
        return False
    wanted = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, single.hash_algorithm).build()
    return wanted.issuer_name_hash == single.issuer_name_hash and wanted.issuer_key_hash == single.issuer_key_hash


def _judge(single: ocsp.OCSPSingleResponse, now: float) -> float:
    since = timestamp_of(single.this_update_utc)
    until = single.next_update_utc
    end = since + _LONGEST_WITHOUT_UPDATE_S if until is None else timestamp_of(until)
    if since > now + _SKEW_S:
        raise BadCertificateStatus("the OCSP response is from the future")
    if now >= end:
        raise BadCertificateStatus("the OCSP response is stale")
    if single.certificate_status is ocsp.OCSPCertStatus.REVOKED:
        raise CertificateRevoked("the certificate was revoked, its OCSP response says", verify_code=23)
    if single.certificate_status is not ocsp.OCSPCertStatus.GOOD:
        raise BadCertificateStatus("the OCSP responder does not know the certificate")
    return end


def _check_signature(parsed: ocsp.OCSPResponse, issuer: x509.Certificate, now: float) -> None:
    """The issuer signed it, or a responder whose certificate the issuer signed for this purpose. RFC 6960, 4.2.2.2."""
    for signer in (issuer, *parsed.certificates):
        if _is_named(parsed, signer):
            if signer is not issuer:
                _check_responder(signer, issuer, now)
            _verify(parsed, signer)
            return
    raise BadCertificateStatus("the OCSP response was signed by nobody who may")


def _is_named(parsed: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    name, key_hash = parsed.responder_name, parsed.responder_key_hash
    if name is not None:
        return name == signer.subject
    return key_hash == x509.SubjectKeyIdentifier.from_public_key(signer.public_key()).digest


def _check_responder(signer: x509.Certificate, issuer: x509.Certificate, now: float) -> None:
    try:
        signer.verify_directly_issued_by(issuer)
        usage = signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as error:
        raise BadCertificateStatus("the OCSP responder's certificate is not from the same issuer") from error
    if ExtendedKeyUsageOID.OCSP_SIGNING not in usage:
        raise BadCertificateStatus("the OCSP responder's certificate is not for signing responses")
    if not timestamp_of(signer.not_valid_before_utc) <= now <= timestamp_of(signer.not_valid_after_utc):
        raise BadCertificateStatus("the OCSP responder's certificate is not valid now")


def _verify(parsed: ocsp.OCSPResponse, signer: x509.Certificate) -> None:
    key, content, signature = signer.public_key(), parsed.tbs_response_bytes, parsed.signature
    algorithm = parsed.signature_hash_algorithm
    try:
        if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            key.verify(signature, content)
        elif not isinstance(algorithm, _GOOD_HASHES):
            raise BadCertificateStatus("the OCSP response is signed with a weak hash")
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, content, ec.ECDSA(algorithm))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, content, padding.PKCS1v15(), algorithm)
        else:
            raise BadCertificateStatus("the OCSP response is signed with a key of an unknown kind")
    except InvalidSignature:
        raise BadCertificateStatus("the signature of the OCSP response does not verify") from None
