"""Sessions into stateless tickets and back, for both versions. RFC 5077, section 4; RFC 9846, section 4.7.1."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from resumption.config import MAX_TICKETS, ServerConfig
from resumption.constants import MAX_TICKET_LIFETIME_S, ExtensionType
from resumption.errors import InternalError, SessionError, SessionFormatError
from resumption.handshake.hello import ClientHelloFacts
from resumption.handshake.state import Output
from resumption.session.formats import der, packed
from resumption.session.model import Session, SessionData
from resumption.session.provenance import with_origin, without_origin
from resumption.session.tickets.callbacks import (
    DecryptHook,
    TicketKeyCallback,
    TicketOutcome,
    TicketReturn,
    decided,
)
from resumption.session.verdicts import Mechanism
from resumption.wire.extensions import pack_ticket_request_server

__all__ = [
    "MAX_OFFERED_LENGTH",
    "answer_ticket_request",
    "lifetime_of",
    "open_session",
    "seal_session",
    "tell_no_ticket",
    "with_appdata",
]

_TICKET_REQUEST = int(ExtensionType.ticket_request)
MAX_OFFERED_LENGTH = 2**15  # bytes of a ticket: a longer one may not fit a ClientHello beside everything else


def lifetime_of(config: ServerConfig, data: SessionData, now: float) -> int:
    """The lifetime to promise for a ticket of ``data`` at ``now``, in whole seconds; 0 or less: issue none.

    Never more than the session, its lineage, the protocol, or the key of a stateless ticket has left (F14, F63).
    """
    lifetime_s = min(data.timeout, MAX_TICKET_LIFETIME_S)
    if data.deadline:
        left_s = data.deadline - now
        if not left_s >= 1:  # also when the clock tells no time at all
            return 0
        lifetime_s = int(min(lifetime_s, left_s))
    if config.tickets is not None and not config.stateful:
        lifetime_s = min(lifetime_s, config.tickets.lifetime_left(now))
    return lifetime_s


def answer_ticket_request(config: ServerConfig, facts: ClientHelloFacts, wanted: int) -> tuple[int, tuple[int, bytes]]:
    """How many tickets a client gets that asked for ``wanted``, and the extension that says so. RFC 9149, section 3.

    A configuration that issues none issues none, whatever is asked; nobody gets more than `MAX_TICKETS`.
    """
    usable = facts.psk_dhe_ke and config.num_tickets > 0 and (config.stateful or config.tickets is not None)
    count = min(wanted, MAX_TICKETS) if usable else 0
    return count, (_TICKET_REQUEST, pack_ticket_request_server(count))


def seal_session(
    config: ServerConfig,
    data: SessionData,
    secret: bytes,
    mechanism: Mechanism,
    lifetime_s: int,
    now: float,
    connection: object = None,
) -> bytes | None:
    """A ticket that holds the session, or None when there is no usable key or it would be too large.

    ``connection`` is for an application that chooses the key.
    """
    tickets = config.tickets
    if tickets is None:
        return None
    seal: Callable[..., bytes | None] = tickets.seal
    try:
        if tickets.session_format == "packed":
            plaintext = packed.pack(data, secret)
        else:
            plaintext = der.encode(with_origin(data), secret)
            if isinstance(tickets, TicketKeyCallback):
                seal = partial(seal, connection=connection)
    except SessionError:
        return None
    return seal(
        plaintext,
        partition=config.partition,
        mechanism=mechanism.label,
        now=now,
        random=config.random,
        lifetime_s=lifetime_s,
    )


def open_session(config: ServerConfig, ticket: bytes, mechanism: Mechanism, now: float, out: Output) -> Session | None:
    """The session sealed in ``ticket``, its one reference held by the connection. Whatever does not open is a miss.

    Where the application has a say (`resumption.session.tickets.callbacks`), it is asked; ``out.ticket_renewal`` then
    tells whether a new ticket is due.
    """
    tickets = config.tickets
    if tickets is None:
        return None
    if isinstance(tickets, TicketKeyCallback):
        plaintext, renew = tickets.open_asking(
            ticket, out, partition=config.partition, mechanism=mechanism.label, now=now
        )
    else:
        plaintext = tickets.open(ticket, partition=config.partition, mechanism=mechanism.label, now=now)
        renew = None
    session = None if plaintext is None else _read(plaintext, tickets.session_format, now, out)
    hooks = config.ticket_hooks
    if hooks is None or hooks.decrypt is None:
        if session is not None:
            out.ticket_renewal = renew
        return session
    if session is None:
        outcome = TicketOutcome.NO_DECRYPT
    elif renew is None:
        outcome = TicketOutcome.SUCCESS if mechanism is Mechanism.TICKET_12 else TicketOutcome.SUCCESS_RENEW
    else:
        outcome = TicketOutcome.SUCCESS_RENEW if renew else TicketOutcome.SUCCESS
    return _decide(hooks.decrypt, session, ticket, outcome, out)


def tell_no_ticket(config: ServerConfig, out: Output) -> None:
    """Tell the application of a TLS 1.2 client that can use a ticket, and has none."""
    hooks = config.ticket_hooks
    if hooks is not None and hooks.decrypt is not None:
        _decide(hooks.decrypt, None, b"", TicketOutcome.EMPTY, out)


def with_appdata(config: ServerConfig, data: SessionData, out: Output) -> SessionData:
    """``data`` with what the application wants to have in the ticket. Raises `InternalError` if it refuses."""
    hooks = config.ticket_hooks
    if hooks is None or hooks.generate is None:
        return data
    session = Session.create(data, b"", holder=out.holder)
    try:
        if hooks.generate(out, session) is False:
            raise InternalError("the generate hook of tickets refused")
        return data.replaced(ticket_appdata=session.ticket_appdata)
    finally:
        session.release(out.holder)


def _decide(
    decrypt: DecryptHook, session: Session | None, ticket: bytes, outcome: TicketOutcome, out: Output
) -> Session | None:
    """What the application leaves of ``session``; what it decides about a new ticket is noted."""
    try:
        decision = decided(decrypt, out, session, ticket, outcome)
    except BaseException:
        if session is not None:
            session.release(out.holder)
        raise
    if decision in (TicketReturn.USE, TicketReturn.USE_RENEW):
        out.ticket_renewal = decision is TicketReturn.USE_RENEW
        return session
    out.ticket_renewal = False if decision is TicketReturn.IGNORE else None
    if session is not None:
        session.release(out.holder)
    return None


def _read(plaintext: bytes, session_format: str, now: float, out: Output) -> Session | None:
    try:
        if session_format == "packed":
            return Session.from_packed(plaintext, holder=out.holder)
        data, secret, consumed = der.decode(plaintext, lambda: now)
        data = without_origin(data)
    except SessionFormatError:
        return None
    if consumed != len(plaintext):
        return None
    return Session.create(data, secret, holder=out.holder, event="opened from a ticket")
