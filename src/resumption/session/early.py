"""Early data (0-RTT): what became of it, why not, and the two pure functions that decide.

`early_eligible` is the server's question, asked once the gate let the session pass and its binder verified: may the
data that came with this hello be taken? `early_offerable` is the client's, before it sends any. Neither does I/O or
reads a clock; whether a hello was seen before, only `session.fleet.replay` knows, and it is asked last. Early data
fails closed: whatever is not clearly allowed is refused, and the connection goes on without it.

RFC 9846, sections 4.3.10 and 8; what makes early data dangerous to applications is in its section 8 and in RFC 8470.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from resumption.constants import MAX_TICKET_LIFETIME_S
from resumption.frozen import frozen
from resumption.session.facts import SessionData
from resumption.session.verdicts import TLS_13, Worded

__all__ = [
    "NO_EARLY_DATA",
    "EarlyData",
    "EarlyOffer",
    "EarlyPolicy",
    "EarlyReason",
    "EarlyState",
    "early_eligible",
    "early_offerable",
    "too_early_response",
]


class EarlyState(StrEnum):
    """How far the early data of a connection came."""

    NONE = "none"  # there is none
    OFFERED = "offered"  # it is on its way, and not decided about
    ACCEPTED = "accepted"
    REJECTED = "rejected"  # it was sent, and thrown away


class EarlyReason(Worded):
    """Why early data was not sent, or not accepted. The value is for programs and never changes."""

    # On either side.
    OFF = "off", "early data is switched off here"
    NOT_ALLOWED = "not-allowed", "the session does not allow early data, or not so much"
    OTHER_SUITE = "other-suite", "the cipher suite is not the session's"
    OTHER_ALPN = "other-alpn", "the application protocol is not the session's"
    OTHER_NAME = "other-name", "the server name is not the session's"
    OTHER_VERSION = "other-version", "the protocol version is not the session's"
    RETRIED = "retried", "the server asked for another hello"
    NOT_RESUMED = "not-resumed", "the session was not resumed"

    FROM_THE_FUTURE = "from-the-future", "the session seems to come from the future: a clock is wrong"

    # A server's.
    VETOED = "vetoed", "the application refused the early data"
    NOT_FIRST = "not-first", "the session is not the first that the client named"
    OTHER_DOMAIN = "other-domain", "the session was made where other hellos are remembered"
    STALE = "stale", "the hello is older or younger than its ticket's age allows"
    CLOCK = "clock", "the clock went back"
    WARMING_UP = "warming-up", "hellos of a moment ago may have been forgotten"
    SEEN = "seen", "the hello was seen before: it is a replay"
    REGISTER_FULL = "register-full", "no more hellos can be remembered now"
    REGISTER_UNAVAILABLE = "register-unavailable", "it could not be found out in time whether the hello is a replay"

    # A client's.
    NO_SESSION = "no-session", "there is no session that can be offered"
    EXPIRED = "expired", "the session is too old"
    NOT_VERIFIED = "not-verified", "the server was not verified as it would be now"
    SERVER_REJECTED = "server-rejected", "the server resumed the session and threw the early data away"


@dataclass(frozen=True, slots=True)
class EarlyData:
    """What became of early data on one connection. ``str()`` says it in one line."""

    state: EarlyState = EarlyState.NONE
    reason: EarlyReason | None = None  # why there is none, or why it was rejected
    size: int = 0  # bytes that the client sent, or that the server received

    @property
    def accepted(self) -> bool:
        """Whether the server took it. If not, what was sent has to be sent again, by whoever knows that it may be."""
        return self.state is EarlyState.ACCEPTED

    def __str__(self) -> str:
        if self.state is EarlyState.NONE:
            return "no early data" if self.reason is None else f"no early data: {self.reason.sentence}"
        told = f"{self.size} bytes of early data {self.state.value}"
        return told if self.reason is None else f"{told}: {self.reason.sentence}"


NO_EARLY_DATA: Final = EarlyData()


@frozen(kw_only=True)
class EarlyPolicy:
    """What a server demands of early data. ``domain``: where the hellos are remembered that would be replays here."""

    max_early_data: int  # bytes that one connection may send; 0 for none
    domain: bytes
    window_s: float  # by how much the age that the client tells may be off


@frozen(kw_only=True)
class EarlyOffer:
    """What one ClientHello says about its early data, and what was chosen for it."""

    position: int  # of the accepted identity
    retried: bool
    version: int
    suite: int
    alpn: bytes | None
    server_name: str | None
    obfuscated_age_ms: int  # modulo 2**32


def early_eligible(data: SessionData, policy: EarlyPolicy, offer: EarlyOffer, now: float) -> EarlyReason | None:
    """Why a server must refuse the early data that came with a session which resumes; None: ask the register.

    ``now`` is in seconds since the epoch. The first rule that fails decides. RFC 9846, sections 4.3.10 and 8.3.
    """
    if policy.max_early_data <= 0:
        return EarlyReason.OFF
    if offer.retried:
        return EarlyReason.RETRIED
    if offer.position != 0:
        return EarlyReason.NOT_FIRST
    if offer.version != data.version or data.version != TLS_13:
        return EarlyReason.OTHER_VERSION
    if offer.suite != data.cipher:
        return EarlyReason.OTHER_SUITE
    if offer.alpn != data.alpn:
        return EarlyReason.OTHER_ALPN
    if offer.server_name != data.hostname:
        return EarlyReason.OTHER_NAME
    if not 0 < data.max_early_data <= policy.max_early_data:
        return EarlyReason.NOT_ALLOWED
    if not policy.domain or data.replay_domain != policy.domain:
        return EarlyReason.OTHER_DOMAIN
    seen_ms = (now - data.time) * 1000
    if not seen_ms >= 0:
        return EarlyReason.FROM_THE_FUTURE
    # No wrapping around zero here: an age just below 2**32 would be that of a ticket from the client's future.
    claimed_ms = (offer.obfuscated_age_ms - data.ticket_age_add) & 0xFFFFFFFF
    if not abs(claimed_ms - seen_ms) <= policy.window_s * 1000:
        return EarlyReason.STALE
    return None


def early_offerable(
    data: SessionData, size: int, *, alpn: tuple[bytes, ...], server_name: str | None, verify: bool, now: float
) -> EarlyReason | None:
    """Why a client must not send ``size`` bytes of early data with a session that it is about to offer; None: it may.

    The gate has let the session pass before. ``verify``: this connection verifies servers, so the session has to come
    from one that did: early data goes out before anyone proves to be there (F25). RFC 9846, section 4.3.10.
    """
    if data.version != TLS_13:
        return EarlyReason.OTHER_VERSION
    if not 0 < size <= data.max_early_data:
        return EarlyReason.NOT_ALLOWED
    if data.hostname is not None and data.hostname != server_name:
        return EarlyReason.OTHER_NAME
    if data.alpn is not None and data.alpn not in alpn:
        return EarlyReason.OTHER_ALPN
    if verify and data.verify_result != 0:
        return EarlyReason.NOT_VERIFIED
    if not now >= data.time:
        return EarlyReason.FROM_THE_FUTURE
    if not now - data.time <= min(data.timeout, data.ticket_lifetime_hint, MAX_TICKET_LIFETIME_S):
        return EarlyReason.EXPIRED
    return None


def too_early_response(http_version: str = "HTTP/1.1") -> bytes:
    """An HTTP/1.x answer to a request that must not be served from early data: 425 (Too Early). RFC 8470, section 5.2.

    The client then repeats the request once the handshake is complete, on this connection or on another one.
    """
    return f"{http_version} 425 Too Early\r\nContent-Length: 0\r\n\r\n".encode("ascii")
