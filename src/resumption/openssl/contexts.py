"""SSL_CTX_*: the session cache of a context, its callbacks and its limits. Each docstring begins with who owns what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from resumption.client_context import ClientContext
from resumption.config import AllowEarlyData
from resumption.openssl.convention import succeeds
from resumption.ownership import GenerateSessionId, NotResumable
from resumption.psk_callback import PskCallback
from resumption.server_context import ServerContext
from resumption.session.cache import CacheMode, SessionCache
from resumption.session.model import Session
from resumption.session.tickets.callbacks import (
    ChooseTicketKey,
    DecryptHook,
    GenerateHook,
    TicketKeyCallback,
    TicketOutcome,
    TicketReturn,
)
from resumption.session.tickets.openssl_tickets import OpenSSLTicketKeys

__all__ = [
    "SSL_CTX",
    "SSL_CTX_add_session",
    "SSL_CTX_flush_sessions",
    "SSL_CTX_flush_sessions_ex",
    "SSL_CTX_free",
    "SSL_CTX_get_max_early_data",
    "SSL_CTX_get_num_tickets",
    "SSL_CTX_get_recv_max_early_data",
    "SSL_CTX_get_session_cache_mode",
    "SSL_CTX_get_timeout",
    "SSL_CTX_get_tlsext_ticket_keys",
    "SSL_CTX_remove_session",
    "SSL_CTX_sess_accept",
    "SSL_CTX_sess_accept_good",
    "SSL_CTX_sess_accept_renegotiate",
    "SSL_CTX_sess_cache_full",
    "SSL_CTX_sess_cb_hits",
    "SSL_CTX_sess_connect",
    "SSL_CTX_sess_connect_good",
    "SSL_CTX_sess_connect_renegotiate",
    "SSL_CTX_sess_get_cache_size",
    "SSL_CTX_sess_get_get_cb",
    "SSL_CTX_sess_get_new_cb",
    "SSL_CTX_sess_get_remove_cb",
    "SSL_CTX_sess_hits",
    "SSL_CTX_sess_misses",
    "SSL_CTX_sess_number",
    "SSL_CTX_sess_set_cache_size",
    "SSL_CTX_sess_set_get_cb",
    "SSL_CTX_sess_set_new_cb",
    "SSL_CTX_sess_set_remove_cb",
    "SSL_CTX_sess_timeouts",
    "SSL_CTX_sessions",
    "SSL_CTX_set_allow_early_data_cb",
    "SSL_CTX_set_generate_session_id",
    "SSL_CTX_set_not_resumable_session_callback",
    "SSL_CTX_set_max_early_data",
    "SSL_CTX_set_num_tickets",
    "SSL_CTX_set_psk_client_callback",
    "SSL_CTX_set_psk_find_session_callback",
    "SSL_CTX_set_psk_server_callback",
    "SSL_CTX_set_psk_use_session_callback",
    "SSL_CTX_set_recv_max_early_data",
    "SSL_CTX_set_session_cache_mode",
    "SSL_CTX_set_session_id_context",
    "SSL_CTX_set_session_ticket_cb",
    "SSL_CTX_set_timeout",
    "SSL_CTX_set_tlsext_ticket_key_cb",
    "SSL_CTX_set_tlsext_ticket_key_evp_cb",
    "SSL_CTX_set_tlsext_ticket_keys",
    "SSL_SESS_CACHE_BOTH",
    "SSL_SESS_CACHE_CLIENT",
    "SSL_SESS_CACHE_NO_AUTO_CLEAR",
    "SSL_SESS_CACHE_NO_INTERNAL",
    "SSL_SESS_CACHE_NO_INTERNAL_LOOKUP",
    "SSL_SESS_CACHE_NO_INTERNAL_STORE",
    "SSL_SESS_CACHE_OFF",
    "SSL_SESS_CACHE_SERVER",
    "SSL_SESS_CACHE_UPDATE_TIME",
    "SSL_TICKET_EMPTY",
    "SSL_TICKET_NO_DECRYPT",
    "SSL_TICKET_RETURN_ABORT",
    "SSL_TICKET_RETURN_IGNORE",
    "SSL_TICKET_RETURN_IGNORE_RENEW",
    "SSL_TICKET_RETURN_USE",
    "SSL_TICKET_RETURN_USE_RENEW",
    "SSL_TICKET_SUCCESS",
    "SSL_TICKET_SUCCESS_RENEW",
]

SSL_CTX = ClientContext | ServerContext

UsePskSession: TypeAlias = Callable[[Any, None], "tuple[bytes, Session] | None"]
FindPskSession: TypeAlias = Callable[[Any, bytes], "Session | None"]
PskClient: TypeAlias = Callable[[Any, None], "tuple[bytes, bytes] | None"]
PskServer: TypeAlias = Callable[[Any, bytes], "bytes | None"]

SSL_SESS_CACHE_OFF = CacheMode.OFF
SSL_SESS_CACHE_CLIENT = CacheMode.CLIENT
SSL_SESS_CACHE_SERVER = CacheMode.SERVER
SSL_SESS_CACHE_BOTH = CacheMode.BOTH
SSL_SESS_CACHE_NO_AUTO_CLEAR = CacheMode.NO_AUTO_CLEAR
SSL_SESS_CACHE_NO_INTERNAL_LOOKUP = CacheMode.NO_INTERNAL_LOOKUP
SSL_SESS_CACHE_NO_INTERNAL_STORE = CacheMode.NO_INTERNAL_STORE
SSL_SESS_CACHE_NO_INTERNAL = CacheMode.NO_INTERNAL
SSL_SESS_CACHE_UPDATE_TIME = CacheMode.UPDATE_TIME
SSL_TICKET_EMPTY = TicketOutcome.EMPTY
SSL_TICKET_NO_DECRYPT = TicketOutcome.NO_DECRYPT
SSL_TICKET_SUCCESS = TicketOutcome.SUCCESS
SSL_TICKET_SUCCESS_RENEW = TicketOutcome.SUCCESS_RENEW
SSL_TICKET_RETURN_ABORT = TicketReturn.ABORT
SSL_TICKET_RETURN_IGNORE = TicketReturn.IGNORE
SSL_TICKET_RETURN_IGNORE_RENEW = TicketReturn.IGNORE_RENEW
SSL_TICKET_RETURN_USE = TicketReturn.USE
SSL_TICKET_RETURN_USE_RENEW = TicketReturn.USE_RENEW


@succeeds
def SSL_CTX_add_session(ctx: SSL_CTX, session: Session) -> bool:
    """+1 cache, -1 on what it displaces. False if this very session was there already, or cannot be cached."""
    return ctx.sessions.add(session)


def SSL_CTX_remove_session(ctx: SSL_CTX, session: Session | None) -> bool:
    """-1 cache. The argument is flagged not resumable. True if something was there; False for None or no id."""
    return session is not None and ctx.sessions.remove(session)


def SSL_CTX_flush_sessions_ex(ctx: SSL_CTX, time_s: float) -> None:
    """-1 cache, on each session that is expired at ``time_s``. 0 drops everything. Nobody else's hold is touched."""
    if time_s:
        ctx.sessions.flush(time_s)
    else:
        ctx.sessions.flush_all()


SSL_CTX_flush_sessions = SSL_CTX_flush_sessions_ex


def SSL_CTX_sessions(ctx: SSL_CTX) -> SessionCache:
    """Borrow. The cache itself. C warns never to change it directly; here it is made for that."""
    return ctx.sessions


def SSL_CTX_set_session_cache_mode(ctx: SSL_CTX, mode: int) -> CacheMode:
    """No reference changes. Returns the mode before."""
    before, ctx.session_cache_mode = ctx.session_cache_mode, CacheMode(mode)
    return before


def SSL_CTX_get_session_cache_mode(ctx: SSL_CTX) -> CacheMode:
    """No reference changes. What the cache does by itself."""
    return ctx.session_cache_mode


def SSL_CTX_sess_set_cache_size(ctx: SSL_CTX, size: int) -> int:
    """No reference changes. A smaller limit evicts at the next add; 0 is unlimited. Returns the limit before."""
    before, ctx.sessions.max_size = ctx.sessions.max_size, size
    return before


def SSL_CTX_sess_get_cache_size(ctx: SSL_CTX) -> int:
    """No reference changes. How many sessions the cache may hold; 0 is unlimited."""
    return ctx.sessions.max_size


def SSL_CTX_set_timeout(ctx: SSL_CTX | None, timeout_s: int) -> int:
    """No reference changes. The lifetime of sessions made later; returns the one before. 0 for None."""
    if ctx is None:
        return 0
    before, ctx.session_timeout = ctx.session_timeout, timeout_s
    return before


def SSL_CTX_get_timeout(ctx: SSL_CTX | None) -> int:
    """No reference changes. The lifetime of sessions made later, in seconds; 0 for None."""
    return 0 if ctx is None else ctx.session_timeout


def SSL_CTX_sess_set_new_cb(ctx: SSL_CTX, callback: Callable[[Any, Session], object] | None) -> None:
    """+1 caller, if the callback returns True (C: 1). callback(connection, session) is lent a reference."""
    ctx.on_new_session = callback


def SSL_CTX_sess_get_new_cb(ctx: SSL_CTX) -> Callable[[Any, Session], object] | None:
    """No reference changes. The callback; None if there is none."""
    return ctx.on_new_session


def SSL_CTX_sess_set_remove_cb(ctx: SSL_CTX, callback: Callable[[Any, Session], object] | None) -> None:
    """Borrow, for the callback. callback(context, session): of every session that leaves, except a displaced one."""
    ctx.on_remove_session = callback


def SSL_CTX_sess_get_remove_cb(ctx: SSL_CTX) -> Callable[[Any, Session], object] | None:
    """No reference changes. The callback; None if there is none."""
    return ctx.on_remove_session


def SSL_CTX_sess_set_get_cb(
    ctx: SSL_CTX, callback: Callable[[Any, bytes], Session | tuple[Session, bool] | None] | None
) -> None:
    """+1 connection, on the session that the callback returns (C: copy = 1). callback(connection, id) -> it, or None.

    With ``(session, False)`` the caller's own reference is handed over (C: copy = 0).
    """
    ctx.on_get_session = callback


def SSL_CTX_sess_get_get_cb(ctx: SSL_CTX) -> Callable[[Any, bytes], Session | tuple[Session, bool] | None] | None:
    """No reference changes. The callback; None if there is none."""
    return ctx.on_get_session


def SSL_CTX_sess_number(ctx: SSL_CTX) -> int:
    """No reference changes. Entries in the cache."""
    return len(ctx.sessions)


def SSL_CTX_sess_connect(ctx: SSL_CTX) -> int:
    """No reference changes. Client handshakes started."""
    return ctx.session_stats.connect


def SSL_CTX_sess_connect_good(ctx: SSL_CTX) -> int:
    """No reference changes. Client handshakes finished."""
    return ctx.session_stats.connect_good


def SSL_CTX_sess_connect_renegotiate(ctx: SSL_CTX) -> int:
    """No reference changes. Always 0: there is no renegotiation."""
    return ctx.session_stats.connect_renegotiate


def SSL_CTX_sess_accept(ctx: SSL_CTX) -> int:
    """No reference changes. Server handshakes started."""
    return ctx.session_stats.accept


def SSL_CTX_sess_accept_good(ctx: SSL_CTX) -> int:
    """No reference changes. Server handshakes finished."""
    return ctx.session_stats.accept_good


def SSL_CTX_sess_accept_renegotiate(ctx: SSL_CTX) -> int:
    """No reference changes. Always 0: there is no renegotiation."""
    return ctx.session_stats.accept_renegotiate


def SSL_CTX_sess_hits(ctx: SSL_CTX) -> int:
    """No reference changes. Sessions that resumed."""
    return ctx.session_stats.hits


def SSL_CTX_sess_cb_hits(ctx: SSL_CTX) -> int:
    """No reference changes. Sessions that the get callback (or the store) brought."""
    return ctx.session_stats.cb_hits


def SSL_CTX_sess_misses(ctx: SSL_CTX) -> int:
    """No reference changes. Sessions that were named and not found."""
    return ctx.session_stats.misses


def SSL_CTX_sess_timeouts(ctx: SSL_CTX) -> int:
    """No reference changes. Sessions that were found, but expired."""
    return ctx.session_stats.timeouts


def SSL_CTX_sess_cache_full(ctx: SSL_CTX) -> int:
    """No reference changes. Sessions evicted for want of room."""
    return ctx.session_stats.cache_full


@succeeds
def SSL_CTX_set_session_id_context(ctx: SSL_CTX, id_context: bytes) -> None:
    """Copy. False if longer than 32 bytes, and once the context has made connections."""
    ctx.session_id_context = id_context


def SSL_CTX_set_generate_session_id(ctx: SSL_CTX, callback: GenerateSessionId | None) -> bool:
    """No reference changes. callback(connection, most bytes) -> id."""
    ctx.generate_session_id = callback
    return True


def SSL_CTX_set_not_resumable_session_callback(ctx: SSL_CTX, callback: NotResumable | None) -> None:
    """No reference changes. callback(connection, is forward secure) -> true for a session that must not resume."""
    ctx.not_resumable_callback = callback


@succeeds
def SSL_CTX_set_num_tickets(ctx: ServerContext, number: int) -> None:
    """No reference changes. TLS 1.3 tickets after a full handshake; False above 8."""
    ctx.num_tickets = number


def SSL_CTX_get_num_tickets(ctx: ServerContext) -> int:
    """No reference changes. TLS 1.3 tickets after a full handshake."""
    return ctx.num_tickets


@succeeds
def SSL_CTX_set_max_early_data(ctx: ServerContext, max_early_data: int) -> None:
    """No reference changes. Bytes that tickets allow; False where the context has no register of replays."""
    ctx.max_early_data = max_early_data


def SSL_CTX_get_max_early_data(ctx: ServerContext) -> int:
    """No reference changes. Bytes of early data that tickets allow; 0 for none."""
    return ctx.max_early_data


@succeeds
def SSL_CTX_set_recv_max_early_data(ctx: ServerContext, recv_max_early_data: int) -> None:
    """No reference changes. Bytes that are taken at most, whatever the ticket allows; who sends more is cut off."""
    ctx.recv_max_early_data = recv_max_early_data


def SSL_CTX_get_recv_max_early_data(ctx: ServerContext) -> int:
    """No reference changes. Bytes of early data that are taken at most: what tickets allow, unless it was set."""
    return ctx.recv_max_early_data


def SSL_CTX_set_allow_early_data_cb(ctx: ServerContext, callback: AllowEarlyData | None) -> None:
    """Borrow, for the callback. callback(connection, session): False refuses early data that would be taken.

    There is no ``arg``: in Python a callback remembers by itself.
    """
    ctx.on_allow_early_data = callback


def SSL_CTX_set_psk_use_session_callback(ctx: ClientContext, callback: UsePskSession | None) -> None:
    """-1 caller, on the session that the callback returns. callback(connection, None) -> (identity, session), or None.

    The session's secret is the external PSK of this TLS 1.3 handshake, its suite says the hash. Asked once, before the
    hash is known; None offers no PSK (C: a NULL session), raising ends the handshake (C: 0).
    """
    ctx.psk = None if callback is None else PskCallback(lambda ssl: callback(ssl, None))


def SSL_CTX_set_psk_find_session_callback(ctx: ServerContext, callback: FindPskSession | None) -> None:
    """-1 caller, on the session that the callback returns. callback(connection, identity) -> session, or None.

    None is an identity that nobody knows (C: a NULL session), raising ends the handshake (C: 0).
    """
    ctx.psks = None if callback is None else PskCallback(callback)


def SSL_CTX_set_psk_client_callback(ctx: ClientContext, callback: PskClient | None) -> None:
    """Copy, of what the callback returns. callback(connection, None) -> (identity, key), or None for no PSK.

    As in C the key is for SHA-256 in TLS 1.3, where there is no hint. The PSK suites of TLS 1.2 are not here. It takes
    the place of a `SSL_CTX_set_psk_use_session_callback`, and the other way round.
    """
    ctx.psk = None if callback is None else PskCallback(lambda ssl: callback(ssl, None))


def SSL_CTX_set_psk_server_callback(ctx: ServerContext, callback: PskServer | None) -> None:
    """Copy, of what the callback returns. callback(connection, identity) -> key, or None for one that nobody knows."""
    ctx.psks = None if callback is None else PskCallback(callback)


@succeeds
def SSL_CTX_set_tlsext_ticket_keys(ctx: ServerContext, keys: bytes) -> None:
    """Copy. OpenSSL's own tickets, from 80 bytes; False for another length, and once connections were made."""
    ctx.ticket_keys = OpenSSLTicketKeys(keys)


def SSL_CTX_get_tlsext_ticket_keys(ctx: ServerContext) -> bytes | None:
    """Copy. The block of 80 bytes; None for keys of another form, such as `TicketKeys`, which have no such block."""
    keys = ctx.ticket_keys
    return keys.to_block() if isinstance(keys, OpenSSLTicketKeys) else None


@succeeds
def SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx: ServerContext, callback: ChooseTicketKey) -> None:
    """Not owned. callback(connection, name or None to seal) -> keys (C: 1), (keys, True) (2), None (0), or raises (-1).

    False once the context has made connections. Keys are `OpenSSLTicketKeys`: C lets it set up any cipher and code.
    """
    ctx.ticket_keys = TicketKeyCallback(callback)


SSL_CTX_set_tlsext_ticket_key_cb = SSL_CTX_set_tlsext_ticket_key_evp_cb


@succeeds
def SSL_CTX_set_session_ticket_cb(
    ctx: ServerContext, generate: GenerateHook | None, decrypt: DecryptHook | None
) -> None:
    """Borrow, for the callbacks. generate(connection, session) may set the ticket's application data; False is fatal.

    decrypt(connection, session or None, key name, status) returns one of SSL_TICKET_RETURN_*. There is no ``arg``: in
    Python a callback remembers by itself.
    """
    ctx.set_ticket_callbacks(generate, decrypt)


def SSL_CTX_free(ctx: SSL_CTX | None) -> None:
    """-1 cache, on each of its sessions, with remove callbacks. Connections live on. None is a no-op."""
    if ctx is not None:
        ctx.close()
