"""Where the application has a say about stateless tickets: which key seals them, and what becomes of one that came.

`TicketKeyCallback` asks for the key of each ticket (SSL_CTX_set_tlsext_ticket_key_evp_cb). `TicketHooks` are told
before a ticket is made, to put bytes of the application's into it, and after one came, to use or ignore what was in it
(SSL_CTX_set_session_ticket_cb). Neither can have a session resumed: what they let pass, the gate judges like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, ClassVar, NamedTuple, TypeAlias

from resumption.constants import MAX_TICKET_LIFETIME_S
from resumption.errors import ConfigurationError, InternalError
from resumption.frozen import frozen
from resumption.session.model import Session
from resumption.session.tickets.openssl_tickets import OpenSSLTicketKeys
from resumption.session.tickets.ring import TicketStatus

__all__ = [
    "ChooseTicketKey",
    "DecryptHook",
    "GenerateHook",
    "OpenedTicket",
    "TicketHooks",
    "TicketKeyCallback",
    "TicketOutcome",
    "TicketReturn",
    "decided",
]

ChooseTicketKey: TypeAlias = Callable[[Any, bytes | None], "OpenSSLTicketKeys | tuple[OpenSSLTicketKeys, bool] | None"]
"""Chooses a ticket's key: (connection, name of the key, or None for the one to seal with) -> see `TicketKeyCallback`.
"""

GenerateHook: TypeAlias = Callable[[Any, Session], object]
DecryptHook: TypeAlias = "Callable[[Any, Session | None, bytes, TicketOutcome], int]"

_NAME_LENGTH = 16


class TicketOutcome(IntEnum):
    """What came of opening a client's ticket (SSL_TICKET_STATUS)."""

    EMPTY = 3  # TLS 1.2: the client could use a ticket, and has none
    NO_DECRYPT = 4  # none of ours, or altered
    SUCCESS = 5
    SUCCESS_RENEW = 6  # and a new one is due


class TicketReturn(IntEnum):
    """What the application wants done with it (SSL_TICKET_RETURN)."""

    ABORT = 0  # end the connection with an internal_error alert
    IGNORE = 1  # a full handshake, and no new ticket
    IGNORE_RENEW = 2  # a full handshake, and a new ticket
    USE = 3  # resume if the gate lets it pass, and no new ticket
    USE_RENEW = 4  # resume if the gate lets it pass, and a new ticket


class OpenedTicket(NamedTuple):
    """What was sealed, None if nothing of ours; whether a new ticket is due: True, False, or None: by the rules."""

    plaintext: bytes | None
    renew: bool | None


@frozen
class TicketHooks:
    """``generate(connection, session)`` is called before each ticket of a server, stateless or not.

    ``session`` is borrowed for the call: the facts that will go into the ticket, without the secret. What is set as its
    ``ticket_appdata`` travels along, encrypted, over all renewals; other changes are not looked at. Returning False
    ends the connection with internal_error, as an exception does.

    ``decrypt(connection, session, key_name, outcome)`` is called after each attempt to open a stateless ticket, and
    returns a `TicketReturn`. ``session`` is borrowed, None where nothing opened; ``key_name`` is what the ticket begins
    with, at most 16 bytes. USE without a session ends the connection, and so does anything that is no `TicketReturn`.
    """

    generate: GenerateHook | None
    decrypt: DecryptHook | None


def decided(
    decrypt: DecryptHook, connection: object, session: Session | None, ticket: bytes, outcome: TicketOutcome
) -> TicketReturn:
    """The hook's answer for one ticket, checked. Raises `InternalError`."""
    answer = decrypt(connection, session, ticket[:_NAME_LENGTH], outcome)
    try:
        decision = TicketReturn(answer)
    except ValueError:
        raise InternalError("the decrypt hook of tickets must return a TicketReturn") from None
    if decision is TicketReturn.ABORT:
        raise InternalError("the application ended the connection over its ticket")
    if session is None and decision in (TicketReturn.USE, TicketReturn.USE_RENEW):
        raise InternalError("the decrypt hook wants a ticket used that did not open")
    return decision


class TicketKeyCallback:
    """Ticket keys that the application chooses, ticket by ticket: OpenSSL's own tickets under any number of keys.

    ``choose(connection, None)`` is asked for the key to seal with, ``choose(connection, name)`` for the one with the 16
    bytes that a client's ticket begins with. It returns `OpenSSLTicketKeys` (a key block, made once and kept), or None:
    no ticket is issued, or the ticket is not ours and a full handshake follows. With ``(keys, True)`` the ticket opens
    and a new one is due; with the keys alone **no** new one is issued, as in OpenSSL: in TLS 1.3 that ends the chain of
    resumptions. An exception ends the connection with an internal_error alert. It is called on the thread that drives
    the connection, outside all locks, and must not block; ``connection`` is None where there is none.
    """

    session_format: ClassVar[str] = "der"

    def __init__(self, choose: ChooseTicketKey) -> None:
        if not callable(choose):
            raise ConfigurationError(
                "TicketKeyCallback needs a function: choose(connection, name) -> OpenSSLTicketKeys"
            )
        self._choose: ChooseTicketKey | None = choose
        self._sealed = self._opened = self._unknown = self._rejected = self._refused = 0

    def lifetime_left(self, now: float) -> int:
        """Seconds that may be promised for a ticket issued at ``now``: seven days, as no end of the keys is known."""
        return MAX_TICKET_LIFETIME_S if self._choose is not None else 0

    def seal(
        self,
        plaintext: bytes,
        *,
        partition: bytes,
        mechanism: str,
        now: float,
        random: Callable[[int], bytes],
        lifetime_s: float,
        connection: object = None,
    ) -> bytes | None:
        """A ticket under the key that is chosen; None if none is. See `OpenSSLTicketKeys.seal`."""
        keys, _ = self._ask(connection, None)
        ticket = None
        if keys is not None:
            ticket = keys.seal(
                plaintext, partition=partition, mechanism=mechanism, now=now, random=random, lifetime_s=lifetime_s
            )
        if ticket is None:
            self._refused += 1
        else:
            self._sealed += 1
        return ticket

    def open(self, ticket: bytes, *, partition: bytes, mechanism: str, now: float) -> bytes | None:
        """What was sealed; None if no key is chosen, or it does not fit."""
        return self.open_asking(ticket, None, partition=partition, mechanism=mechanism, now=now).plaintext

    def open_asking(
        self, ticket: bytes, connection: object, *, partition: bytes, mechanism: str, now: float
    ) -> OpenedTicket:
        """As `open`, and whether a new ticket is due."""
        if len(ticket) < _NAME_LENGTH:
            self._unknown += 1
            return OpenedTicket(None, None)
        keys, renew = self._ask(connection, ticket[:_NAME_LENGTH])
        if keys is None:
            self._unknown += 1
            return OpenedTicket(None, None)
        plaintext = keys.open(ticket, partition=partition, mechanism=mechanism, now=now)
        if plaintext is None:
            self._rejected += 1
            return OpenedTicket(None, None)
        self._opened += 1
        return OpenedTicket(plaintext, renew)

    def status(self, now: float) -> TicketStatus:
        """The counts. The keys are the application's, and not known here."""
        return TicketStatus(
            mode="callback",
            forward_secrecy="as the application changes and forgets its keys",
            fingerprint="",
            not_issuing_because="the keys were closed" if self._choose is None else None,
            keys=(),
            counts={
                "sealed": self._sealed,
                "opened": self._opened,
                "unknown": self._unknown,
                "rejected": self._rejected,
                "refused": self._refused,
            },
        )

    def close(self) -> None:
        """Ask no more: nothing is issued and nothing opens. The keys stay the application's to close."""
        self._choose = None

    def __repr__(self) -> str:
        return "<TicketKeyCallback>"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("ticket keys are not pickled or copied: make them in each process")

    def _ask(self, connection: object, name: bytes | None) -> tuple[OpenSSLTicketKeys | None, bool]:
        if self._choose is None:
            return None, False
        answer = self._choose(connection, name)
        keys, renew = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, False)
        if keys is not None and not isinstance(keys, OpenSSLTicketKeys):
            raise InternalError("a ticket key callback must return OpenSSLTicketKeys, (keys, bool) or None")
        return keys, bool(renew)
