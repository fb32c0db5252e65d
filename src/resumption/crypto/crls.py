"""Certificate revocation lists: whether a chain that verified holds what was revoked. RFC 5280, section 5.

What it does: reads lists once, and checks chains against them: the lists' signatures, issuers, scopes and validity too.
What it leaves to others: finding a path (`trust`), fetching lists, and when to look (handshake). Nothing here asks
anybody.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from cryptography import x509

from resumption.crypto.certificates import parse_certificate, read_source, timestamp_of
from resumption.crypto.trust import TrustStore
from resumption.errors import CertificateError, CertificateRevoked, ConfigurationError

__all__ = ["CrlSource", "RevocationLists"]

CrlSource: TypeAlias = "str | os.PathLike[str] | bytes | x509.CertificateRevocationList | Iterable[CrlSource]"

_SKEW_S = 300.0
_REMEMBERED = 1024  # signatures that were checked, good and bad
_NO_LIST, _EXPIRED_LIST = 3, 12  # X509_V_ERR_UNABLE_TO_GET_CRL, X509_V_ERR_CRL_HAS_EXPIRED
_BEGIN = b"-----BEGIN X509 CRL-----"
_END = b"-----END X509 CRL-----"
_UNDERSTOOD = (x509.CRLNumber, x509.AuthorityKeyIdentifier, x509.IssuingDistributionPoint)


@dataclass(frozen=True, slots=True, eq=False)
class _List:
    """One list, and what is asked of it. Times are seconds since the epoch."""

    crl: x509.CertificateRevocationList = field(repr=False)
    issuer: bytes  # its name, DER
    serials: frozenset[int] = field(repr=False)
    since: float
    until: float
    users: bool  # whether it speaks of certificates of this kind
    authorities: bool
    complete: bool  # whether it names what was revoked for any reason
    points: frozenset[x509.GeneralName] | None  # the distribution points that it is for; None for all

    def covers(self, certificate: x509.Certificate) -> bool:
        """Whether it would name ``certificate``, which is of its issuer and kind, if that were revoked."""
        if not self.complete or self.points is None:
            return self.complete
        try:
            wanted = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        except (x509.ExtensionNotFound, ValueError):
            return False
        return any(name in self.points for point in wanted for name in point.full_name or ())

    def is_signed_by(self, certificate: x509.Certificate) -> bool:
        """Whether the key of ``certificate`` signed it, and may."""
        try:
            usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
            if not usage.crl_sign:
                return False
        except x509.ExtensionNotFound:
            pass
        except ValueError:
            return False
        try:
            return self.crl.is_signature_valid(certificate.public_key())  # type: ignore[arg-type]
        except Exception:  # a key of another kind than the signature, or one that cannot be read
            return False


class RevocationLists:
    """Certificate revocation lists, in force together. Immutable, and safe to share between threads.

    A certificate that a list of its issuer names is revoked, also if the list is out of date. ``strict``: each
    certificate below the trusted one needs a list that its issuer signed and that is in force now; without, one that no
    list speaks of is taken for good.
    """

    __slots__ = ("_anchors", "_by_issuer", "_signed", "count", "strict")

    def __init__(self, lists: Iterable[x509.CertificateRevocationList], *, strict: bool = False) -> None:
        """See `load`, which is the usual way to make them."""
        self.strict = strict
        self.count = 0
        self._by_issuer: dict[bytes, list[_List]] = {}
        for crl in lists:
            read = _read(crl)
            self._by_issuer.setdefault(read.issuer, []).append(read)
            self.count += 1
        self._signed: dict[tuple[int, bytes], bool] = {}
        self._anchors: dict[
            bytes, tuple[frozenset[bytes], dict[bytes, tuple[bytes, ...]]]
        ] = {}  # by the digest of the trust store

    @classmethod
    def load(cls, *sources: CrlSource, strict: bool = False) -> RevocationLists:
        """The lists in ``sources``: files, PEM text, PEM or DER bytes, lists of `cryptography`, or several of these.

        Raises `ConfigurationError` for a source that is missing or holds no list, for a delta or an indirect list, and
        for one with a critical extension that is not understood: it would be misread.
        """
        return cls(_lists_in(sources), strict=strict)

    @classmethod
    def of(cls, lists: RevocationLists | CrlSource | None) -> RevocationLists | None:
        """As `load`, also of ones that were loaded already, or of none."""
        return lists if lists is None or isinstance(lists, RevocationLists) else cls.load(lists)

    def check(self, chain: Sequence[bytes], trust: TrustStore, now: float) -> None:
        """Whether no certificate of ``chain`` (DER, leaf first, one that was verified under ``trust``) is revoked.

        Raises `CertificateRevoked`; with ``strict`` a `CertificateError` where that cannot be told.
        """
        anchors, named = self._anchors_of(trust)
        for place, der in enumerate(chain):
            if der in anchors:
                continue  # it is trusted because it is named, whatever its issuer says
            certificate = parse_certificate(der)
            covered, stale = False, False
            for each in self._by_issuer.get(certificate.issuer.public_bytes(), ()):
                vouched = self._is_vouched_for(each, (*chain, *named.get(each.issuer, ())))
                if vouched is False or not (each.users if place == 0 else each.authorities):
                    continue
                if certificate.serial_number in each.serials:
                    raise CertificateRevoked("a certificate of the chain was revoked, a revocation list says")
                if vouched and each.covers(certificate):
                    if each.since <= now + _SKEW_S and now < each.until:
                        covered = True
                    else:
                        stale = True
            if self.strict and not covered:
                if stale:
                    raise CertificateError("the revocation list is not in force now", verify_code=_EXPIRED_LIST)
                raise CertificateError("no revocation list speaks of a certificate of the chain", verify_code=_NO_LIST)

    def allow(self, chain: Sequence[bytes], trust: TrustStore, now: float) -> bool:
        """As `check`, in a word."""
        try:
            self.check(chain, trust, now)
        except CertificateError:
            return False
        return True

    def _is_vouched_for(self, each: _List, candidates: Sequence[bytes]) -> bool | None:
        """Whether one with the issuer's name signed the list; None if none of that name is known here.

        ``candidates`` may hold what was not verified, but the list was given by the administrator: a forged certificate
        with an authority's name lets no list in or out that the authority's own would not.
        """
        answer = None
        for der in candidates:
            certificate = parse_certificate(der)
            if certificate.subject.public_bytes() != each.issuer:
                continue
            key = (id(each), der)
            signed = self._signed.get(key)
            if signed is None:
                if len(self._signed) >= _REMEMBERED:
                    self._signed.clear()
                signed = self._signed[key] = each.is_signed_by(certificate)
            if signed:
                return True
            answer = False
        return answer

    def _anchors_of(self, trust: TrustStore) -> tuple[frozenset[bytes], dict[bytes, tuple[bytes, ...]]]:
        """The trusted certificates, and by their names those that may have signed a list."""
        known = self._anchors.get(trust.digest)
        if known is None:
            certificates = trust.certificates
            named: dict[bytes, tuple[bytes, ...]] = {}
            for der in certificates:
                name = parse_certificate(der).subject.public_bytes()
                if name in self._by_issuer:
                    named[name] = (*named.get(name, ()), der)
            known = self._anchors[trust.digest] = frozenset(certificates), named
        return known

    def __repr__(self) -> str:
        return f"<RevocationLists {self.count}{' strict' if self.strict else ''}>"


def _read(crl: x509.CertificateRevocationList) -> _List:
    users = authorities = complete = True
    points: frozenset[x509.GeneralName] | None = None
    try:
        for extension in crl.extensions:
            value = extension.value
            if isinstance(value, x509.IssuingDistributionPoint):
                if value.indirect_crl:
                    raise ConfigurationError("an indirect revocation list is not supported")
                users = not (value.only_contains_ca_certs or value.only_contains_attribute_certs)
                authorities = not (value.only_contains_user_certs or value.only_contains_attribute_certs)
                complete = not value.only_some_reasons and value.relative_name is None
                points = frozenset(value.full_name) if value.full_name else None
            elif isinstance(value, x509.DeltaCRLIndicator):
                raise ConfigurationError("a delta revocation list is not supported: give the complete one")
            elif extension.critical and not isinstance(value, _UNDERSTOOD):
                raise ConfigurationError("a revocation list has a critical extension that is not understood")
        since = timestamp_of(crl.last_update_utc)
        until = since if crl.next_update_utc is None else timestamp_of(crl.next_update_utc)
        serials = frozenset(entry.serial_number for entry in crl)
        return _List(crl, crl.issuer.public_bytes(), serials, since, until, users, authorities, complete, points)
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError("a revocation list cannot be read: it is damaged") from error


def _lists_in(source: CrlSource | tuple[CrlSource, ...]) -> list[x509.CertificateRevocationList]:
    if isinstance(source, x509.CertificateRevocationList):
        return [source]
    if isinstance(source, str | bytes | bytearray | os.PathLike):
        data = read_source(source, "revocation list")
        try:
            if data.startswith(b"\x30"):
                return [x509.load_der_x509_crl(data)]
            found = [
                x509.load_pem_x509_crl(_BEGIN + part.partition(_END)[0] + _END + b"\n")
                for part in data.split(_BEGIN)[1:]
            ]
        except Exception as error:
            raise ConfigurationError("a revocation list cannot be read: it is damaged, or in no known form") from error
        if not found:
            raise ConfigurationError("no revocation list found: a PEM file needs a block 'BEGIN X509 CRL'")
        return found
    if isinstance(source, Iterable):
        return [crl for part in source for crl in _lists_in(part)]
    raise ConfigurationError(f"a revocation list is a path, bytes or a list object, not {type(source).__name__}")
