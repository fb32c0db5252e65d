"""The gate: the only place that decides whether a session may resume a connection.

Three pure functions, no clock, no callback, no state. `eligible` is the server's question, asked once for every
session that a client names, whichever of the four ways it was named in. `offerable` is the client's question before it
offers one, `accepted` its question about the answer. A handshake resumes only on `Resumable`, and nothing else in the
package makes one: reading this file is reading the whole policy.

What is left to others: parsing and binders (the handshake), opening tickets and store records (they give the facts and
the secret that are judged here), taking a single-use session, holding certificates against today's revocation
lists (they tell what came of it), and early data.

Every comparison is written so that a value which compares with nothing (a NaN from a damaged clock or record) declines.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from resumption.constants import MAX_TICKET_LIFETIME_S, AlertDescription
from resumption.errors import ConfigurationError
from resumption.frozen import frozen
from resumption.session.facts import SessionData
from resumption.session.verdicts import (
    RESUMABLE,
    TLS_12,
    TLS_13,
    Abort,
    Declined,
    Mechanism,
    Reason,
    Verdict,
)

__all__ = [
    "Answer",
    "ClientAuth",
    "ClientPolicy",
    "ExternalKeyLike",
    "HashLike",
    "Offer",
    "Policy",
    "SuiteLike",
    "accepted",
    "eligible",
    "external_usable",
    "mechanism_of",
    "offerable",
]

MASTER_SECRET_LENGTH: Final = 48  # bytes, RFC 5246, section 8.1
STATEFUL_TICKET_LENGTH: Final = 32  # bytes: a stateful ticket is a session id; a sealed one is always longer
_SHORTEST_EXTERNAL_KEY: Final = 16  # bytes
_NO_MODE: Final = 255  # no max_fragment_length was negotiated, or (0) it was switched off
ClientAuth = Literal["none", "optional", "required"]


class HashLike(Protocol):
    """The two facts of a hash that matter here. `resumption.crypto.hashes.HashFacts` has them."""

    @property
    def name(self) -> str:
        """What tells hashes apart."""

    @property
    def digest_size(self) -> int:
        """Bytes; the length of a TLS 1.3 resumption secret."""


class SuiteLike(Protocol):
    """The two facts of a cipher suite that matter here. `resumption.crypto.suites.SuiteFacts` has them."""

    @property
    def version(self) -> int:
        """The protocol version that the suite belongs to."""

    @property
    def hash(self) -> HashLike:
        """The hash of its key schedule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What one virtual host of a server demands of a session. Frozen together with the host's settings.

    ``partition`` is the host's security scope: a digest of everything that shapes authentication, the transport among
    it. ``former_partitions`` names earlier scopes of the same host, each with the moment (seconds since the epoch) up
    to which it still counts; they serve only while neither this policy nor the session knows a client certificate.

    ``accept_unscoped`` lets in sessions that carry neither role nor partition, because they passed through OpenSSL's
    encoding (an external cache or ticket keys shared with OpenSSL). As in OpenSSL, the id context alone binds those.

    Raises `ConfigurationError` for a policy that could not protect anything.
    """

    partition: bytes
    suites: Mapping[int, SuiteLike]  # the suites that are enabled, by number
    policy_epoch: int = 0
    id_context: bytes = b""
    client_auth: ClientAuth = "none"
    reask_client_certificate: bool = False  # optional: a session without a certificate is declined
    max_auth_age_s: float = 604_800.0
    clock_skew_s: float = 60.0
    require_ems: bool = False
    mechanisms: frozenset[Mechanism] = frozenset(Mechanism)
    transport: str = "tcp"  # for logs: it is judged as a part of the partition
    former_partitions: Mapping[bytes, float] = field(default_factory=dict)
    accept_unscoped: bool = False

    def __post_init__(self) -> None:
        if not self.partition:
            raise ConfigurationError("a policy needs a partition, or sessions of any host would be accepted")
        if self.client_auth not in ("none", "optional", "required"):
            raise ConfigurationError(f'client_auth is "none", "optional" or "required", not {self.client_auth!r}')
        if not self.max_auth_age_s > 0:
            raise ConfigurationError(f"max_auth_age_s is a positive number of seconds, not {self.max_auth_age_s}")
        if not 0 <= self.clock_skew_s < math.inf:
            raise ConfigurationError(f"clock_skew_s is a number of seconds from 0 up, not {self.clock_skew_s}")


@frozen(kw_only=True)
class Offer:
    """What one ClientHello says about the session that it names, after the virtual host was chosen by it."""

    mechanism: Mechanism
    version: int  # what this handshake will speak
    suites: Collection[int]  # what the client offers
    suite: int = 0  # TLS 1.3: what this handshake will use. TLS 1.2: not looked at, a resumption uses the session's
    server_name: str | None = None  # canonical: lower case, A-labels, no final dot
    extended_master_secret: bool = False  # TLS 1.2
    psk_dhe_ke: bool = False  # TLS 1.3
    max_fragment_mode: int = 255  # what it asks for: RFC 6066, section 4, holds it for the whole session


def eligible(
    data: SessionData,
    secret: bytes | bytearray,
    policy: Policy,
    offer: Offer,
    now: float,
    *,
    resumable: bool,
    revalidated: bool = True,
) -> Verdict:
    """Whether the server may resume the session ``data`` for ``offer`` at ``now`` (seconds since the epoch).

    ``resumable`` is the object's flag, read now; pass True for facts that were just unsealed and have no object.
    ``revalidated``: today's revocation lists, and the application, have nothing against the client's certificate. The
    first rule that fails decides. RFC 9846, section 4.3.11; RFC 7627, section 5.3; RFC 6066, section 3.
    """
    version = offer.version
    if offer.mechanism not in policy.mechanisms:
        return Declined(Reason.MECHANISM_DISABLED)
    if version == TLS_13 and not offer.psk_dhe_ke:
        return Declined(Reason.NO_PSK_DHE_KE)

    unscoped = not data.role and not data.partition
    if unscoped:
        if not policy.accept_unscoped:
            return Declined(Reason.UNKNOWN_ORIGIN)
    elif data.role != "server":
        return Declined(Reason.WRONG_ROLE)
    if not resumable:
        return Declined(Reason.NOT_RESUMABLE)

    if data.version != version or offer.mechanism.version != version:
        return Declined(Reason.OTHER_VERSION)
    suite = policy.suites.get(data.cipher)
    if suite is None or suite.version != version:
        return Declined(Reason.SUITE_NOT_ENABLED)
    if version == TLS_13:
        chosen = policy.suites.get(offer.suite)
        if chosen is None or chosen.version != version:
            return Declined(Reason.SUITE_NOT_ENABLED)
        if offer.suite not in offer.suites:
            return Declined(Reason.SUITE_NOT_OFFERED)
        if chosen.hash.name != suite.hash.name:
            return Declined(Reason.OTHER_HASH)
    elif data.cipher not in offer.suites:
        return Declined(Reason.SUITE_NOT_OFFERED)

    if unscoped:
        if policy.client_auth != "none" and not policy.id_context:
            return Declined(Reason.ID_CONTEXT_MISSING)
    else:
        if data.partition != policy.partition and not _former(data, policy, now):
            return Declined(Reason.OTHER_PARTITION)
        if data.policy_epoch != policy.policy_epoch:
            return Declined(Reason.OTHER_EPOCH)
    if data.id_context != policy.id_context:
        return Declined(Reason.OTHER_ID_CONTEXT)
    if data.hostname != offer.server_name:
        return Declined(Reason.OTHER_NAME)
    if (data.max_fragment_mode or _NO_MODE) != offer.max_fragment_mode:
        return Declined(Reason.OTHER_FRAGMENT_LENGTH)

    auth_time = data.time if unscoped else data.auth_time
    latest = now + policy.clock_skew_s
    if not (data.time <= latest and auth_time <= latest):
        return Declined(Reason.FROM_THE_FUTURE)
    if _outlived(data, now):
        return Declined(Reason.EXPIRED)
    if not now < auth_time + policy.max_auth_age_s:
        return Declined(Reason.AUTH_TOO_OLD)
    if data.deadline and not now < data.deadline:
        return Declined(Reason.PAST_DEADLINE)

    if policy.client_auth != "none":
        if not data.peer_certificate:
            if policy.client_auth == "required" or policy.reask_client_certificate:
                return Declined(Reason.NO_CLIENT_CERTIFICATE)
        elif data.verify_result != 0:
            return Declined(Reason.CLIENT_NOT_VERIFIED)
    if not revalidated:
        return Declined(Reason.REVALIDATION_FAILED)

    if version == TLS_12:
        if data.extended_master_secret:
            if not offer.extended_master_secret:
                return Abort(Reason.EMS_LOST)
        elif offer.extended_master_secret:
            return Declined(Reason.EMS_GAINED)
        else:
            return Abort(Reason.EMS_REQUIRED) if policy.require_ems else Declined(Reason.EMS_ABSENT)
    if not _sound(secret, MASTER_SECRET_LENGTH if version == TLS_12 else suite.hash.digest_size):
        return Declined(Reason.BAD_SECRET)
    return RESUMABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPolicy:
    """What a client's settings, and this connection's, demand of a session before it is offered."""

    suites: Mapping[int, SuiteLike]  # what will be offered, by number
    versions: frozenset[int] = frozenset({TLS_12, TLS_13})
    server_name: str | None = None  # what will be sent, canonical
    verify: bool = True  # certificates are verified
    verify_name: str | None = None  # the reference identity that the certificate must be valid for; None: any
    id_context: bytes = b""
    extended_master_secret: bool = True  # what will be sent in TLS 1.2
    tickets_12: bool = True  # the TLS 1.2 session_ticket extension will be sent
    fresh: bool = False  # the caller asked for a full handshake
    fresh_status: bool = False  # revocation is checked strictly: a stored answer counts only while it is fresh
    offer_expired: bool = True  # TLS 1.2: offer an installed session although our own timeout has passed
    clock_skew_s: float = 60.0
    max_fragment_mode: int = 255  # what will be asked for


def offerable(
    data: SessionData,
    secret: bytes | bytearray,
    policy: ClientPolicy,
    now: float,
    *,
    resumable: bool,
    explicit: bool = False,
    used: bool = False,
    name_covered: bool = False,
    status_fresh: bool = False,
    revalidated: bool = True,
) -> Verdict:
    """Whether the client may offer the session ``data`` at ``now`` (seconds since the epoch).

    ``resumable`` is the object's flag, read now. The other flags are facts that the session does not hold:

    - ``explicit``: the caller installed it by hand. A ticket may then be used again, a session from outside (a file in
      OpenSSL's encoding) may be used at all, and in TLS 1.2 our own timeout does not count unless the policy says so:
      the server keeps its own clock, and OpenSSL offers such sessions too.
    - ``used``: it is a TLS 1.3 ticket that was offered before. RFC 9846, section C.4.
    - ``name_covered``: the stored certificate was found valid for ``policy.verify_name``, now. Needed for a session
      from outside, which does not tell what name it was verified for.
    - ``status_fresh``: the stored revocation status is still good.
    - ``revalidated``: today's revocation lists have nothing against the stored certificates.

    Never raises; the first rule that fails decides. RFC 9846, section 4.7.1; RFC 7627, section 5.3.
    """
    version = data.version
    outside = not data.role
    if policy.fresh:
        return Declined(Reason.FRESH_REQUESTED)
    if outside:
        if not explicit:
            return Declined(Reason.UNKNOWN_ORIGIN)
    elif data.role != "client":
        return Declined(Reason.WRONG_ROLE)
    if not resumable:
        return Declined(Reason.NOT_RESUMABLE)
    if used and version == TLS_13 and not explicit:
        return Declined(Reason.ALREADY_USED)

    if version not in (TLS_12, TLS_13) or version not in policy.versions:
        return Declined(Reason.OTHER_VERSION)
    if not data.ticket and (version == TLS_13 or not data.session_id):
        return Declined(Reason.NOTHING_TO_OFFER)
    if version == TLS_12 and data.ticket and not policy.tickets_12:
        return Declined(Reason.MECHANISM_DISABLED)
    suite = policy.suites.get(data.cipher)
    if suite is None or suite.version != version:
        return Declined(Reason.SUITE_NOT_ENABLED)
    if data.id_context != policy.id_context:
        return Declined(Reason.OTHER_ID_CONTEXT)
    if data.hostname is not None and data.hostname != policy.server_name:
        return Declined(Reason.OTHER_NAME)
    if (data.max_fragment_mode or _NO_MODE) not in (_NO_MODE, policy.max_fragment_mode):
        return Declined(Reason.OTHER_FRAGMENT_LENGTH)

    if not (explicit and version == TLS_12 and policy.offer_expired):
        if not data.time <= now + policy.clock_skew_s:
            return Declined(Reason.FROM_THE_FUTURE)
        if _outlived(data, now) or _past_hint(data, now):
            return Declined(Reason.EXPIRED)
    if data.deadline and not now < data.deadline:
        return Declined(Reason.PAST_DEADLINE)

    if policy.verify:
        if data.verify_result != 0:
            return Declined(Reason.NOT_VERIFIED)
        name = policy.verify_name
        if name is not None and data.verified_name != name:
            if data.verified_name is not None:
                return Declined(Reason.OTHER_NAME)
            if not outside:
                return Declined(Reason.NOT_VERIFIED)
            if not name_covered:
                return Declined(Reason.NAME_NOT_COVERED)
    if policy.fresh_status and not status_fresh:
        return Declined(Reason.STATUS_NOT_FRESH)
    if not revalidated:
        return Declined(Reason.REVALIDATION_FAILED)

    if version == TLS_12:
        if not data.extended_master_secret:
            return Declined(Reason.EMS_ABSENT)
        if not policy.extended_master_secret:
            return Declined(Reason.EMS_LOST)
    if not _sound(secret, MASTER_SECRET_LENGTH if version == TLS_12 else suite.hash.digest_size):
        return Declined(Reason.BAD_SECRET)
    return RESUMABLE


@frozen(kw_only=True)
class Answer:
    """What the ServerHello says about the sessions that were offered.

    ``selected`` is the server's choice: in TLS 1.3 the selected_identity of its pre_shared_key extension, in TLS 1.2
    0 if it echoed the (non-empty) session id that we sent; None if it accepted none.
    """

    version: int
    suite: int
    selected: int | None
    extended_master_secret: bool = False  # TLS 1.2


def accepted(offered: Sequence[SessionData], answer: Answer, policy: ClientPolicy) -> Verdict:
    """Whether the client may go on with the session that the server chose among those ``offered``.

    `Resumable` means that ``offered[answer.selected]`` resumes this connection; `Declined` that the server wants a full
    handshake; `Abort` that it chose what it must not. RFC 9846, section 4.3.11; RFC 5246, section 7.4.1.3; RFC 7627,
    section 5.3.
    """
    index = answer.selected
    if index is None:
        return Declined(Reason.SERVER_DECLINED)
    if not offered:
        return Abort(Reason.UNSOLICITED, AlertDescription.unsupported_extension)
    if not 0 <= index < len(offered):
        return Abort(Reason.BAD_INDEX, AlertDescription.illegal_parameter)
    data = offered[index]
    if data.version != answer.version:
        return Abort(Reason.OTHER_VERSION, AlertDescription.protocol_version)
    chosen = policy.suites.get(answer.suite)
    if chosen is None or chosen.version != answer.version:
        return Abort(Reason.SUITE_NOT_OFFERED, AlertDescription.illegal_parameter)
    if answer.version == TLS_13:
        original = policy.suites.get(data.cipher)
        if original is None or chosen.hash.name != original.hash.name:
            return Abort(Reason.OTHER_HASH, AlertDescription.illegal_parameter)
        return RESUMABLE
    if answer.suite != data.cipher:
        return Abort(Reason.OTHER_SUITE, AlertDescription.illegal_parameter)
    if answer.extended_master_secret != data.extended_master_secret:
        return Abort(Reason.EMS_LOST if data.extended_master_secret else Reason.EMS_GAINED)
    return RESUMABLE


class ExternalKeyLike(Protocol):
    """What matters here of a key from outside TLS. `resumption.crypto.external_psk.ExternalPsk` has it."""

    @property
    def key(self) -> bytes:
        """The secret."""

    @property
    def role(self) -> str:
        """What the end that holds it is: "client" or "server"."""

    @property
    def hash(self) -> str:
        """The name of the hash that it is for."""


def external_usable(
    psk: ExternalKeyLike,
    role: str,
    suite: SuiteLike | None,
    *,
    psk_dhe_ke: bool = True,
    fresh: bool = False,
    client_auth: ClientAuth = "none",
) -> Verdict:
    """Whether a key from outside TLS may serve a TLS 1.3 handshake in place of a session. RFC 9846, section 4.3.11.

    ``role`` is what this end is now (F45), ``suite`` what the handshake uses or would offer for it, ``fresh`` whether a
    client wants certificates. A server that asks for client certificates takes none: nothing would be asked for.
    """
    if fresh:
        return Declined(Reason.FRESH_REQUESTED)
    if not psk_dhe_ke:
        return Declined(Reason.NO_PSK_DHE_KE)
    if psk.role != role:
        return Declined(Reason.WRONG_ROLE)
    if suite is None or suite.version != TLS_13:
        return Declined(Reason.SUITE_NOT_ENABLED)
    if suite.hash.name != psk.hash:
        return Declined(Reason.OTHER_HASH)
    if client_auth != "none":
        return Declined(Reason.NO_CLIENT_CERTIFICATE)
    if len(psk.key) < _SHORTEST_EXTERNAL_KEY or not _sound(psk.key, len(psk.key)):
        return Declined(Reason.BAD_SECRET)
    return RESUMABLE


def mechanism_of(data: SessionData) -> Mechanism:
    """How a client names this session. In TLS 1.3 it can only guess what the ticket is: 32 bytes are a lookup key."""
    if data.version == TLS_13:
        return Mechanism.STATEFUL_13 if len(data.ticket) == STATEFUL_TICKET_LENGTH else Mechanism.STATELESS_13
    return Mechanism.TICKET_12 if data.ticket else Mechanism.SESSION_ID


def _former(data: SessionData, policy: Policy, now: float) -> bool:
    """Whether a session of an earlier partition still counts: in its grace time, with no client certificate about."""
    until = policy.former_partitions.get(data.partition)
    return until is not None and now < until and policy.client_auth == "none" and not data.peer_certificate


def _outlived(data: SessionData, now: float) -> bool:
    """Past the session's timeout, or past the seven days of a TLS 1.3 ticket. RFC 9846, section 4.7.1.

    A lifetime of zero means "discard at once"; the last moment of any other still counts.
    """
    if data.timeout <= 0 or data.is_expired(now):
        return True
    return data.version == TLS_13 and not now - data.time <= MAX_TICKET_LIFETIME_S


def _past_hint(data: SessionData, now: float) -> bool:
    """Past the lifetime that came with the ticket. In TLS 1.2 zero means "not stated". RFC 5077, section 5.6."""
    if not data.ticket or (data.version == TLS_12 and not data.ticket_lifetime_hint):
        return False
    return data.ticket_lifetime_hint <= 0 or not now - data.time <= data.ticket_lifetime_hint


def _sound(secret: bytes | bytearray, length: int) -> bool:
    """Whether a secret can be one: of the right length, and not the same byte throughout (never set, or wiped)."""
    return 0 < length == len(secret) and secret.count(secret[0]) != length
