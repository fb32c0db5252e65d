"""The facts of a session: what was agreed, with whom, when, and for how long.

`SessionData` is a frozen value. Equal facts are equal values, safe to share between threads, sessions and caches. The
secret is not among them, so a `SessionData` may be printed, compared and logged; `resumption.session.model.Session`
adds the secret and the reference count. The names are OpenSSL's where it has one; `session.formats.der` says how
each is written, `resumption.session.formats.packed` carries all of them.

A frozen dataclass of so many fields is slow to build, because its ``__init__`` goes through ``object.__setattr__`` for
each. Here the fields are stored into a writable twin of the same layout, which then becomes a `SessionData`: four times
as fast through the constructor (1.3 us against 4.9), ten times for code in this package that fills a `Draft` itself
(tests/bench/bench_session.py). All ways give equal values, which the tests check field by field.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, final

__all__ = [
    "DER_DEFAULT_TIMEOUT_S",
    "Draft",
    "FLAG_EXTENDED_MASTER_SECRET",
    "NEVER",
    "NEW_SESSION_TIMEOUT_S",
    "SessionData",
]

FLAG_EXTENDED_MASTER_SECRET = 1  # the only session flag that is defined
NEW_SESSION_TIMEOUT_S = 304  # five minutes and four seconds: what a fresh SSL_SESSION has
DER_DEFAULT_TIMEOUT_S = 3  # what reading gives when the encoding has no timeout
NEVER = 2**63  # a sum of time and timeout that no 64-bit clock reaches


@final
@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class SessionData:
    """Everything that is known about a session, except its secret. Frozen; make changed copies with `replaced`.

    The last seven fields are ours: the packed form carries them, OpenSSL's encoding does not.
    """

    version: int = 0  # 0x0303 is TLS 1.2, 0x0304 TLS 1.3; 0 while nothing was negotiated
    cipher: int = 0  # the cipher suite's number
    session_id: bytes = b""  # at most 32 bytes
    id_context: bytes = b""  # at most 32 bytes; the application's name for where the session is valid
    time: float = 0.0  # when it was made, seconds since the epoch
    timeout: int = NEW_SESSION_TIMEOUT_S  # seconds it may be used for after that
    peer_certificate: bytes | None = None  # the peer's own certificate, DER
    peer_chain: tuple[bytes, ...] = ()  # everything the peer sent, its own certificate first, DER
    verify_result: int = 1  # X509_V_ERR_*; 0 is good, 1 is "nothing was verified"
    hostname: str | None = None  # the server name that the server acknowledged
    psk_identity_hint: bytes | None = None
    psk_identity: bytes | None = None
    ticket_lifetime_hint: int = 0  # seconds
    ticket: bytes = b""
    compression: int = 0
    srp_username: bytes | None = None
    flags: int = 0  # FLAG_EXTENDED_MASTER_SECRET
    ticket_age_add: int = 0  # milliseconds, modulo 2**32
    max_early_data: int = 0  # bytes
    alpn: bytes | None = None  # the protocol that was selected, without a length prefix
    max_fragment_mode: int = 255  # 0 off, 1 to 4 for 512 to 4096 bytes, 255 not negotiated
    ticket_appdata: bytes = b""
    group: int = 0  # the key exchange group's number
    peer_public_key: bytes | None = None  # a raw public key, SubjectPublicKeyInfo DER
    role: str = ""  # "client", "server", or "" when it came from outside
    partition: bytes = b""  # a server's security scope
    policy_epoch: int = 0
    auth_time: float = 0.0  # when the peer last proved its key online in this lineage, seconds since the epoch
    deadline: float = 0.0  # when the lineage ends, seconds since the epoch; 0.0 is never
    verified_name: str | None = None  # the name that a client verified the server under
    replay_domain: bytes = b""

    def __new__(
        cls,
        *,
        version: int = 0,
        cipher: int = 0,
        session_id: bytes = b"",
        id_context: bytes = b"",
        time: float = 0.0,
        timeout: int = NEW_SESSION_TIMEOUT_S,
        peer_certificate: bytes | None = None,
        peer_chain: tuple[bytes, ...] = (),
        verify_result: int = 1,
        hostname: str | None = None,
        psk_identity_hint: bytes | None = None,
        psk_identity: bytes | None = None,
        ticket_lifetime_hint: int = 0,
        ticket: bytes = b"",
        compression: int = 0,
        srp_username: bytes | None = None,
        flags: int = 0,
        ticket_age_add: int = 0,
        max_early_data: int = 0,
        alpn: bytes | None = None,
        max_fragment_mode: int = 255,
        ticket_appdata: bytes = b"",
        group: int = 0,
        peer_public_key: bytes | None = None,
        role: str = "",
        partition: bytes = b"",
        policy_epoch: int = 0,
        auth_time: float = 0.0,
        deadline: float = 0.0,
        verified_name: str | None = None,
        replay_domain: bytes = b"",
    ) -> SessionData:
        """Take the facts as they are: limits are checked where they enter (setters, decoders) or leave (encoders)."""
        draft: Any = Draft()
        draft.version = version
        draft.cipher = cipher
        draft.session_id = session_id
        draft.id_context = id_context
        draft.time = time
        draft.timeout = timeout
        draft.peer_certificate = peer_certificate
        draft.peer_chain = peer_chain
        draft.verify_result = verify_result
        draft.hostname = hostname
        draft.psk_identity_hint = psk_identity_hint
        draft.psk_identity = psk_identity
        draft.ticket_lifetime_hint = ticket_lifetime_hint
        draft.ticket = ticket
        draft.compression = compression
        draft.srp_username = srp_username
        draft.flags = flags
        draft.ticket_age_add = ticket_age_add
        draft.max_early_data = max_early_data
        draft.alpn = alpn
        draft.max_fragment_mode = max_fragment_mode
        draft.ticket_appdata = ticket_appdata
        draft.group = group
        draft.peer_public_key = peer_public_key
        draft.role = role
        draft.partition = partition
        draft.policy_epoch = policy_epoch
        draft.auth_time = auth_time
        draft.deadline = deadline
        draft.verified_name = verified_name
        draft.replay_domain = replay_domain
        draft.__class__ = cls
        frozen: SessionData = draft
        return frozen

    def replaced(self, **changes: Any) -> SessionData:
        """A copy with the named facts changed. `TypeError` for a name that is not a fact."""
        draft: Any = Draft()  # field by field: 2 us; through a dict and the constructor it is 4.5
        draft.version = self.version
        draft.cipher = self.cipher
        draft.session_id = self.session_id
        draft.id_context = self.id_context
        draft.time = self.time
        draft.timeout = self.timeout
        draft.peer_certificate = self.peer_certificate
        draft.peer_chain = self.peer_chain
        draft.verify_result = self.verify_result
        draft.hostname = self.hostname
        draft.psk_identity_hint = self.psk_identity_hint
        draft.psk_identity = self.psk_identity
        draft.ticket_lifetime_hint = self.ticket_lifetime_hint
        draft.ticket = self.ticket
        draft.compression = self.compression
        draft.srp_username = self.srp_username
        draft.flags = self.flags
        draft.ticket_age_add = self.ticket_age_add
        draft.max_early_data = self.max_early_data
        draft.alpn = self.alpn
        draft.max_fragment_mode = self.max_fragment_mode
        draft.ticket_appdata = self.ticket_appdata
        draft.group = self.group
        draft.peer_public_key = self.peer_public_key
        draft.role = self.role
        draft.partition = self.partition
        draft.policy_epoch = self.policy_epoch
        draft.auth_time = self.auth_time
        draft.deadline = self.deadline
        draft.verified_name = self.verified_name
        draft.replay_domain = self.replay_domain
        try:
            for name, value in changes.items():
                setattr(draft, name, value)
        except AttributeError:
            unknown = ", ".join(sorted(changes.keys() - set(FACT_NAMES)))
            raise TypeError(f"a session has no fact called {unknown}") from None
        draft.__class__ = SessionData
        frozen: SessionData = draft
        return frozen

    @property
    def extended_master_secret(self) -> bool:
        """Whether the master secret is bound to the handshake. RFC 7627."""
        return bool(self.flags & FLAG_EXTENDED_MASTER_SECRET)

    @property
    def expires_at(self) -> float:
        """The last moment of validity, seconds since the epoch; infinite when the sum passes 64 bits."""
        end = self.time + self.timeout
        return end if end < NEVER else math.inf

    def is_expired(self, now: float) -> bool:
        """Whether ``now`` (seconds since the epoch) is past the end. The end itself is still valid."""
        end = self.time + self.timeout
        return now > (end if end < NEVER else math.inf)


class Draft:
    """Facts being collected: plain slots in `SessionData`'s layout, which `SessionData` takes over.

    Fill every slot, then assign ``draft.__class__ = SessionData``; from then on the object is frozen.
    """

    __slots__ = tuple(field.name for field in fields(SessionData))


FACT_NAMES: tuple[str, ...] = Draft.__slots__
