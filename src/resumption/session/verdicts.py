"""What the gate can answer: a verdict with its reason, and the story of one handshake in words and as data.

`Reason` lists every cause for which a connection was not resumed, or had to be given up. Its values are stable strings
for statistics and logs; its sentences are for people. `Resumption` is what a connection shows afterwards. Deciding is
left to `resumption.session.gate`: nothing here looks at a session.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum, StrEnum
from typing import Any, ClassVar, Final, Self, TypeAlias

from resumption.constants import AlertDescription

__all__ = ["RESUMABLE", "Abort", "Declined", "Mechanism", "Reason", "Resumable", "Resumption", "Verdict", "Worded"]

TLS_12: Final = 0x0303
TLS_13: Final = 0x0304


class Mechanism(Enum):
    """The four ways in which a client can name a session, with the protocol version of each."""

    SESSION_ID = "session-id"  # TLS 1.2, RFC 5246: the server looks the id up
    TICKET_12 = "ticket-12"  # TLS 1.2, RFC 5077: the ticket holds the session
    STATEFUL_13 = "stateful-13"  # TLS 1.3: the ticket is a key that the server looks up
    STATELESS_13 = "stateless-13"  # TLS 1.3: the ticket holds the session

    version: int
    words: str
    label: str  # the value, as a plain attribute: 0.05 us instead of 0.4

    def __init__(self, value: str) -> None:
        self.label = value
        self.version = TLS_13 if value.endswith("13") else TLS_12
        self.words = {
            "session-id": "TLS 1.2 session id",
            "ticket-12": "TLS 1.2 ticket",
            "stateful-13": "TLS 1.3 stateful ticket",
            "stateless-13": "TLS 1.3 ticket",
        }[value]

    __hash__ = object.__hash__  # each member exists once: 0.05 us instead of 0.3


class Worded(StrEnum):
    """Base of reasons: the value is for programs and never changes; ``sentence`` is for people."""

    sentence: str

    def __new__(cls, value: str, sentence: str) -> Self:
        """A member from its two parts."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member


class Reason(Worded):
    """Why a connection was not resumed. The value is for programs and never changes; ``sentence`` is for people."""

    # Nothing to judge: decided before the gate.
    NO_SESSION = "no-session", "no session for this peer yet"
    NOT_OFFERED = "not-offered", "the client offered no session"
    UNKNOWN = "unknown", "the session that the client offered is not known here"
    STORE_UNAVAILABLE = "store-unavailable", "the session store did not answer in time"
    RESUMPTION_OFF = "resumption-off", "resumption is switched off"
    FRESH_REQUESTED = "fresh-requested", "a full handshake was asked for"

    # Both sides of the gate.
    MECHANISM_DISABLED = "mechanism-disabled", "this way of resuming is switched off here"
    WRONG_ROLE = "wrong-role", "the session was made in the other role"
    UNKNOWN_ORIGIN = "unknown-origin", "the session came from outside and nothing vouches for where it was made"
    NOT_RESUMABLE = "not-resumable", "the session is flagged as not resumable"
    OTHER_VERSION = "other-version", "the session belongs to another protocol version"
    SUITE_NOT_ENABLED = "suite-not-enabled", "the session's cipher suite is not enabled any more"
    SUITE_NOT_OFFERED = "suite-not-offered", "the cipher suite is not among those offered"
    OTHER_SUITE = "other-suite", "the cipher suite is not the session's"
    OTHER_HASH = "other-hash", "the cipher suite's hash is not the session's"
    OTHER_ID_CONTEXT = "other-id-context", "the session belongs to another session id context"
    OTHER_NAME = "other-name", "the session belongs to another server name"
    OTHER_FRAGMENT_LENGTH = "other-fragment-length", "the session was made with another maximum fragment length"
    FROM_THE_FUTURE = "from-the-future", "the session seems to come from the future: a clock is wrong"
    EXPIRED = "expired", "the session has expired"
    PAST_DEADLINE = "past-deadline", "a certificate behind the session has expired, or its lineage is too old"
    REVALIDATION_FAILED = "revalidation-failed", "the peer's certificate is not acceptable any more"
    BAD_SECRET = "bad-secret", "the session has no usable secret"
    EMS_ABSENT = "ems-absent", "the session was made without an extended master secret"
    EMS_LOST = "ems-lost", "the session has an extended master secret, and this handshake leaves it out"

    # The server's side of the gate.
    NO_PSK_DHE_KE = "no-psk-dhe-ke", "the client does not offer key exchange with a session"
    OTHER_PARTITION = "other-partition", "the session belongs to another host, or to other settings of this one"
    OTHER_EPOCH = "other-epoch", "the session was revoked together with all of its time"
    ID_CONTEXT_MISSING = "id-context-missing", "client certificates are checked, and no session id context is set"
    AUTH_TOO_OLD = "auth-too-old", "the peer proved its identity too long ago"
    NO_CLIENT_CERTIFICATE = "no-client-certificate", "the session holds no client certificate, and one is asked for"
    CLIENT_NOT_VERIFIED = "client-not-verified", "the session's client certificate was not verified"
    EMS_GAINED = "ems-gained", "the session lacks an extended master secret, and this handshake has one"
    EMS_REQUIRED = "ems-required", "an extended master secret is required here"

    # The client's side of the gate.
    NOTHING_TO_OFFER = "nothing-to-offer", "the session has neither an id nor a ticket that can be offered"
    NOT_VERIFIED = "not-verified", "the server was not verified when the session was made"
    NAME_NOT_COVERED = "name-not-covered", "nothing shows that the session's certificate is valid for this name"
    STATUS_NOT_FRESH = "status-not-fresh", "the server's revocation status has to be asked for again"
    ALREADY_USED = "already-used", "the ticket was used before"
    SERVER_DECLINED = "server-declined", "the server did not accept the session"
    UNSOLICITED = "unsolicited", "the server accepted a session that was never offered"
    BAD_INDEX = "bad-index", "the server chose a session outside the list that was offered"

    # Decided after the gate.
    EXTERNAL_PSK = "external-psk", "a key that both ends were given outside TLS served in place of a session"
    ALREADY_SPENT = "already-spent", "the ticket was spent a moment ago by another connection"


@dataclass(frozen=True, slots=True)
class Resumable:
    """The session may resume this connection."""

    reason: ClassVar[None] = None


@dataclass(frozen=True, slots=True)
class Declined:
    """The session may not resume this connection: do a full handshake, and count the reason."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Abort:
    """The connection must end with this alert: the hello contradicts the session that it names."""

    reason: Reason
    alert: AlertDescription = AlertDescription.handshake_failure


Verdict: TypeAlias = Resumable | Declined | Abort
RESUMABLE: Final = Resumable()


@dataclass(frozen=True, slots=True, init=False)
class Resumption:
    """How one handshake went: resumed, and by what; or full, and why. ``str()`` says it in one line."""

    resumed: bool
    reason: Reason | None = None  # why not; None when resumed, or when nothing speaks for a cause yet
    mechanism: Mechanism | None = None
    age_s: float | None = None  # seconds since the session was made
    tickets_left: int | None = None  # client: how many more the cache holds for this peer
    tickets_before: int | None = None  # client: how many it held before this one was taken
    peer: str | None = None  # client: the server's name

    def __new__(
        cls,
        resumed: bool,
        reason: Reason | None = None,
        mechanism: Mechanism | None = None,
        age_s: float | None = None,
        tickets_left: int | None = None,
        tickets_before: int | None = None,
        peer: str | None = None,
    ) -> Resumption:
        """Plain slots that become frozen: 0.6 us. The constructor of a frozen dataclass takes 2, three times a pair."""
        draft: Any = _Draft()
        draft.resumed = resumed
        draft.reason = reason
        draft.mechanism = mechanism
        draft.age_s = age_s
        draft.tickets_left = tickets_left
        draft.tickets_before = tickets_before
        draft.peer = peer
        draft.__class__ = cls
        made: Resumption = draft
        return made

    def __getnewargs__(self) -> tuple[bool]:
        return (self.resumed,)

    def __str__(self) -> str:
        if self.resumed:
            parts = [self.mechanism.words] if self.mechanism is not None else []
            if self.age_s is not None:
                parts.append(f"{duration(self.age_s)} old")
            if self.tickets_left is not None:
                of = f" of {self.tickets_before}" if self.tickets_before is not None else ""
                parts.append(f"{self.tickets_left}{of} left")
            return f"resumed ({', '.join(parts)})" if parts else "resumed"
        if self.reason is None:
            return "full handshake"
        if self.reason is Reason.NO_SESSION and self.peer:
            return f"full handshake: no session for {self.peer} yet"
        return f"full handshake: {self.reason.sentence}"


class _Draft:
    """A `Resumption` that is being filled in: slots in the same layout."""

    __slots__ = tuple(field.name for field in fields(Resumption))


def duration(seconds: float) -> str:
    """A span of time in one unit, rounded down: "4 s", "3 min", "5 h", "2 days". Negative spans count as nothing."""
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole} s"
    if whole < 7_200:
        return f"{whole // 60} min"
    if whole < 172_800:
        return f"{whole // 3_600} h"
    return f"{whole // 86_400} days"
