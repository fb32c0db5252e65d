"""Trust: whether a peer's certificate chain is good for what it is used for, now. RFC 5280, RFC 9525, RFC 9846 4.5.

What it does: `TrustStore` holds trusted roots and verifies chains against them; path building, signatures, validity and
name constraints are those of `cryptography`'s verifier. What it leaves to others: where roots come from (`anchors`),
the proof that the peer owns the leaf's key (handshake), revocation (nothing here asks anybody).

Two policies. ``default`` is the middle way: what public sites and ordinary private authorities issue is accepted
(leaves of trustme, a self-signed certificate of ``openssl req -x509`` as its own anchor, missing key identifiers), and
nothing that lets a certificate speak for what it was not issued for. ``strict`` is the verifier's own web PKI profile
(CA/Browser Forum rules). Both demand: a path to an anchor; CA:TRUE, path length, keyCertSign and extended key usage
along it; RSA keys of 2048 bits and more; no MD5 or SHA-1; a matching subjectAltName, the common name is never looked
at. Any trusted certificate is an anchor, self-signed or not (OpenSSL: X509_V_FLAG_PARTIAL_CHAIN).
"""

from __future__ import annotations

import datetime
import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, TypeAlias

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder

from resumption.crypto.anchors import Anchors, TrustSource, anchors_from, name_key
from resumption.crypto.certificates import CertificateFacts, facts_of, not_after_of, parse_certificate
from resumption.crypto.diagnosis import Purpose, check_leaf, explain
from resumption.crypto.names import ServerName, server_name_of
from resumption.errors import BadCertificate, CertificateError, ConfigurationError, UnknownCA

__all__ = ["PolicyName", "TrustSource", "TrustStore", "VerdictCache"]

PolicyName: TypeAlias = Literal["default", "strict"]

MAX_CERTIFICATES = 10  # in the chain that the peer sends
MAX_CHAIN_SIZE = 131_072  # bytes of DER, all certificates of the chain together
VERDICT_AGE_S = 300.0

_SERVER = Purpose("server", ExtendedKeyUsageOID.SERVER_AUTH.dotted_string, "serverAuth")
_CLIENT = Purpose("client", ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string, "clientAuth")


class VerdictCache:
    """Remembers chains that were found good, for a short time. Opt-in; safe to share between stores and threads.

    Only successes are kept, each under the exact bytes of the chain, the name it was verified for, the purpose, the
    policy and the digest of the anchors, until the first certificate expires or ``max_age_s`` seconds have passed,
    whichever comes first. At most ``max_entries``; the oldest goes first. The peer's signature over the handshake is
    never remembered: it is checked each time.
    """

    __slots__ = ("_entries", "_lock", "max_age_s", "max_entries")

    def __init__(self, *, max_entries: int = 256, max_age_s: float = VERDICT_AGE_S) -> None:
        if max_entries < 1 or max_age_s <= 0:
            raise ConfigurationError("a verdict cache needs max_entries of at least 1 and a max_age_s above 0")
        self.max_entries = max_entries
        self.max_age_s = max_age_s
        self._entries: OrderedDict[bytes, tuple[float, float, tuple[bytes, ...]]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes, now: float) -> tuple[bytes, ...] | None:
        """The verified chain, or None. A clock that went back to before the verification makes it a miss."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            since, until, verified = entry
            if since <= now < until:
                return verified
            del self._entries[key]
            return None

    def put(self, key: bytes, verified: tuple[bytes, ...], now: float) -> None:
        """Remember ``verified`` (leaf first, anchor last), found good at ``now``."""
        until = min(not_after_of(verified), now + self.max_age_s)
        with self._lock:
            self._entries[key] = (now, until, verified)
            while len(self._entries) > self.max_entries:
                self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)


class TrustStore:
    """Trusted certificates and the policy by which chains are verified against them. Immutable; share it freely.

    Stores of the same unchanged sources share one parsed set of anchors per process.
    """

    __slots__ = ("_anchors", "_builders", "_verdicts", "max_certificates", "max_chain_size", "policy")

    def __init__(
        self,
        anchors: Anchors,
        *,
        policy: PolicyName = "default",
        max_certificates: int = MAX_CERTIFICATES,
        max_chain_size: int = MAX_CHAIN_SIZE,
        verdicts: VerdictCache | None = None,
    ) -> None:
        """See `load`, which is the usual way to make one."""
        if policy not in ("default", "strict"):
            raise ConfigurationError(f"unknown trust policy {policy!r}: it is 'default' or 'strict'")
        if not 1 <= max_certificates <= 100:
            raise ConfigurationError("max_certificates is from 1 to 100")
        self.policy: PolicyName = policy
        self.max_certificates = max_certificates
        self.max_chain_size = max_chain_size
        self._anchors = anchors
        self._verdicts = verdicts
        self._builders: dict[tuple[Purpose, bool], PolicyBuilder] = {}

    @classmethod
    def load(
        cls,
        *sources: TrustSource,
        policy: PolicyName = "default",
        max_certificates: int = MAX_CERTIFICATES,
        max_chain_size: int = MAX_CHAIN_SIZE,
        verdicts: VerdictCache | None = None,
    ) -> TrustStore:
        """A store of the roots in ``sources``: files, directories, PEM or DER bytes, certificates, lists of these.

        None, or no source at all, is the system's roots. ``max_certificates`` and ``max_chain_size`` (bytes) limit what
        a peer may send. ``verdicts`` turns on the cache of good verdicts. Raises `ConfigurationError` for a source that
        is missing or holds no certificate.
        """
        return cls(
            anchors_from(sources or (None,)),
            policy=policy,
            max_certificates=max_certificates,
            max_chain_size=max_chain_size,
            verdicts=verdicts,
        )

    @property
    def digest(self) -> bytes:
        """32 bytes that are equal for equal sets of roots, on any machine: SHA-256 over their sorted digests."""
        return self._anchors.digest

    @property
    def scope(self) -> bytes:
        """32 bytes that are equal for stores that judge alike: by the same roots and the same rules. What was verified
        by one store counts for another only if these are equal."""
        rules = f"{self.policy} {self.max_certificates} {self.max_chain_size} ".encode()
        return hashlib.sha256(rules + self.digest).digest()

    @property
    def count(self) -> int:
        """How many certificates are trusted."""
        return self._anchors.count

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """The trusted certificates, DER."""
        return tuple(map(self._anchors.encoding_of, self._anchors.certificates))

    @property
    def subjects(self) -> tuple[bytes, ...]:
        """Their distinguished names, DER, each once: what a server lists as its certificate authorities."""
        return tuple(dict.fromkeys(name_key(c, "subject") for c in self._anchors.certificates))

    def __repr__(self) -> str:
        return f"<TrustStore policy={self.policy}>"

    def verify_server(self, chain: Sequence[bytes], server_name: str | None, now: float) -> tuple[bytes, ...]:
        """Verify a server's ``chain`` (DER, leaf first, as it was sent) for ``server_name`` at ``now``.

        ``server_name`` is a host name or an address literal; None verifies the chain but no name. ``now`` is in seconds
        since the epoch. Returns the verified path, leaf first and anchor last. Raises a `CertificateError` with
        OpenSSL's ``verify_code``; `ConfigurationError` only if ``server_name`` is no name at all. RFC 9846, 4.5.1.
        """
        return self._verify(chain, _SERVER, None if server_name is None else server_name_of(server_name), now)

    def verify_client(self, chain: Sequence[bytes], now: float) -> tuple[bytes, ...]:
        """Verify a client's ``chain`` as `verify_server` does without a name.

        The default policy does not ask for a subjectAltName: who the client is, the application reads from the leaf.
        """
        return self._verify(chain, _CLIENT, None, now)

    def _verify(
        self, chain: Sequence[bytes], purpose: Purpose, name: ServerName | None, now: float
    ) -> tuple[bytes, ...]:
        self._check_size(chain, purpose)
        verdicts = self._verdicts
        key = b""
        if verdicts is not None:
            key = self._verdict_key(chain, purpose, name)
            remembered = verdicts.get(key, now)
            if remembered is not None:
                return remembered
        leaf = facts_of(chain[0])
        others = [parse_certificate(der) for der in chain[1:]]
        moment = _moment(now)
        try:
            path = self._build(leaf, others, purpose, name, moment)
        except CertificateError:
            raise
        except Exception as failure:  # refused, or a certificate so odd that the verifier stumbles
            raise explain(leaf, others, self._anchors, purpose, name, now, failure) from None
        check_leaf(leaf, purpose)
        verified = (chain[0], *map(self._anchors.encoding_of, path[1:]))
        if verdicts is not None:
            verdicts.put(key, verified, now)
        return verified

    def _check_size(self, chain: Sequence[bytes], purpose: Purpose) -> None:
        if not chain:
            raise BadCertificate(f"the {purpose.peer} sent no certificate", verify_code=1)
        if len(chain) > self.max_certificates:
            raise UnknownCA(
                f"the {purpose.peer} sent {len(chain)} certificates, at most {self.max_certificates} are accepted",
                verify_code=22,
            )
        size = sum(map(len, chain))
        if size > self.max_chain_size:
            raise BadCertificate(
                f"the {purpose.peer}'s certificate chain has {size} bytes, at most {self.max_chain_size} are accepted",
                verify_code=1,
            )

    def _verdict_key(self, chain: Sequence[bytes], purpose: Purpose, name: ServerName | None) -> bytes:
        rules = f"{purpose.oid} {self.policy} {self.max_certificates}".encode()
        parts = (rules, self.digest, b"\0" if name is None else name.text.encode())
        hashed = hashlib.sha256()
        for part in (*parts, *chain):
            hashed.update(len(part).to_bytes(4, "big"))
            hashed.update(part)
        return hashed.digest()

    def _build(
        self,
        leaf: CertificateFacts,
        others: list[x509.Certificate],
        purpose: Purpose,
        name: ServerName | None,
        moment: datetime.datetime,
    ) -> list[x509.Certificate]:
        """A path from the leaf to an anchor, by `cryptography`'s verifier; its errors are passed on."""
        subject = None if name is None else _subject_of(name)
        builder = self._builder(purpose, subject is not None).time(moment)
        if subject is not None:
            return builder.build_server_verifier(subject).verify(leaf.certificate, others)
        path = builder.build_client_verifier().verify(leaf.certificate, others).chain
        if name is not None and not leaf.covers(name):
            raise ValueError("leaf certificate has no matching subjectAltName")
        return path

    def _builder(self, purpose: Purpose, with_subject: bool) -> PolicyBuilder:
        builder = self._builders.get((purpose, with_subject))
        if builder is None:
            bare = self._anchors.builder
            if bare is None:
                raise UnknownCA(
                    f"the {purpose.peer}'s certificate cannot be verified: the trust store is empty; "
                    "name the roots to trust"
                )
            authorities, leaves = _extension_policies(self.policy, purpose, with_subject)
            builder = bare.max_chain_depth(self.max_certificates - 1).extension_policies(
                ca_policy=authorities, ee_policy=leaves
            )
            self._builders[purpose, with_subject] = builder
        return builder


# --- policies ------------------------------------------------------------------------------------------------------


def _moment(now: float) -> datetime.datetime:
    try:
        return datetime.datetime.fromtimestamp(now, datetime.UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ConfigurationError("the present time is not a number of seconds since the epoch") from error


@lru_cache(maxsize=256)
def _subject_of(name: ServerName) -> x509.DNSName | x509.IPAddress | None:
    """``name`` as the verifier takes it. None for one that it refuses though it is in use, such as ``my_service``."""
    if name.address is not None:
        return x509.IPAddress(name.address)
    return x509.DNSName(name.text) if _PREFERRED_SYNTAX.fullmatch(name.text) else None


# RFC 1034, section 3.5, as RFC 1123 amends it: no underscore, no hyphen at the ends of a label.
_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_PREFERRED_SYNTAX = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


def _extension_policies(
    policy: PolicyName, purpose: Purpose, with_subject: bool
) -> tuple[ExtensionPolicy, ExtensionPolicy]:
    """The rules for authorities and for leaves.

    The verifier itself checks CA:TRUE and the path length, and matches the subjectAltName when it has a subject. The
    leaf's purpose is checked after the path is found (`check_leaf`): it is the same leaf on every path.
    """
    anything, maybe = Criticality.AGNOSTIC, ExtensionPolicy.permit_all
    if policy == "strict":
        authorities, leaves = ExtensionPolicy.webpki_defaults_ca(), ExtensionPolicy.webpki_defaults_ee()
        if purpose is _SERVER and not with_subject:
            # Without a subject the verifier takes us for a server that looks at a client: put serverAuth in its place.
            check = _purpose_check(purpose)
            kind = x509.ExtendedKeyUsage
            authorities = authorities.may_be_present(kind, Criticality.NON_CRITICAL, check)
            leaves = leaves.may_be_present(kind, Criticality.NON_CRITICAL, check)
        return authorities, leaves
    authorities = (
        maybe()
        .require_present(x509.BasicConstraints, anything, None)
        .may_be_present(x509.KeyUsage, anything, _may_sign_certificates)
        .may_be_present(x509.ExtendedKeyUsage, anything, _purpose_check(purpose))
    )
    leaves = maybe()
    if with_subject:
        leaves = leaves.require_present(x509.SubjectAlternativeName, anything, None)
    return authorities, leaves


def _may_sign_certificates(_policy: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("keyUsage.keyCertSign must be asserted in a CA certificate")


def _purpose_check(
    purpose: Purpose,
) -> Callable[[Policy, x509.Certificate, x509.ExtendedKeyUsage | None], None]:
    wanted = ObjectIdentifier(purpose.oid)
    either = (wanted, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)

    def check(_policy: Policy, _certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None) -> None:
        if usage is not None and not any(oid in either for oid in usage):
            raise ValueError("required EKU not found")

    return check
