"""SSL_*: what a connection does with sessions. Each docstring begins with who owns what."""

from __future__ import annotations

from resumption.config import AllowEarlyData
from resumption.connection import Connection
from resumption.constants import DEFAULT_SESSION_TIMEOUT_S
from resumption.openssl.contexts import FindPskSession, PskClient, PskServer, UsePskSession
from resumption.openssl.convention import succeeds
from resumption.ownership import GenerateSessionId, NotResumable
from resumption.psk_callback import PskCallback
from resumption.session.early import EarlyState
from resumption.session.model import Session
from resumption.streams.blocking import Stream

__all__ = [
    "SSL_EARLY_DATA_ACCEPTED",
    "SSL_EARLY_DATA_NOT_SENT",
    "SSL_EARLY_DATA_REJECTED",
    "SSL_READ_EARLY_DATA_ERROR",
    "SSL_READ_EARLY_DATA_FINISH",
    "SSL_READ_EARLY_DATA_SUCCESS",
    "SSL_clear",
    "SSL_copy_session_id",
    "SSL_dup",
    "SSL_free",
    "SSL_get0_session",
    "SSL_get1_session",
    "SSL_get_default_timeout",
    "SSL_get_early_data_status",
    "SSL_get_max_early_data",
    "SSL_get_num_tickets",
    "SSL_get_recv_max_early_data",
    "SSL_get_session",
    "SSL_get_verify_result",
    "SSL_has_matching_session_id",
    "SSL_new_session_ticket",
    "SSL_read_early_data",
    "SSL_session_reused",
    "SSL_set_allow_early_data_cb",
    "SSL_set_generate_session_id",
    "SSL_set_max_early_data",
    "SSL_set_not_resumable_session_callback",
    "SSL_set_num_tickets",
    "SSL_set_psk_client_callback",
    "SSL_set_psk_find_session_callback",
    "SSL_set_psk_server_callback",
    "SSL_set_psk_use_session_callback",
    "SSL_set_recv_max_early_data",
    "SSL_set_session",
    "SSL_set_session_id_context",
    "SSL_shutdown",
    "SSL_write_early_data",
]

SSL_EARLY_DATA_NOT_SENT = 0
SSL_EARLY_DATA_REJECTED = 1
SSL_EARLY_DATA_ACCEPTED = 2
SSL_READ_EARLY_DATA_ERROR = 0
SSL_READ_EARLY_DATA_SUCCESS = 1
SSL_READ_EARLY_DATA_FINISH = 2

_EARLY_DATA_STATUS = {
    EarlyState.REJECTED: SSL_EARLY_DATA_REJECTED,
    EarlyState.ACCEPTED: SSL_EARLY_DATA_ACCEPTED,
}


def SSL_get_session(ssl: Connection) -> Session | None:
    """Borrow. The connection's session; None if there is none."""
    return ssl.session


SSL_get0_session = SSL_get_session


def SSL_get1_session(ssl: Connection) -> Session | None:
    """+1 caller. The connection's session; None if there is none."""
    return ssl.get1_session()


@succeeds
def SSL_set_session(ssl: Connection, session: Session | None) -> None:
    """+1 connection, -1 on the session that it had. None clears. False on a server, and once the handshake began."""
    ssl.set_session(session)


@succeeds
def SSL_copy_session_id(to: Connection, source: Connection) -> None:
    """+1 connection, ``to``, -1 on the session that it had. Takes the session id context of ``source`` too."""
    to.copy_session_from(source)


def SSL_dup(ssl: Connection) -> Connection:
    """+1 connection, the new one, on the shared session. Once the handshake began: this very one, to be freed twice."""
    return ssl.dup()


def SSL_session_reused(ssl: Connection) -> bool:
    """No reference changes. Whether the handshake was a resumption."""
    return ssl.session_reused


def SSL_clear(ssl: Connection) -> bool:
    """-1 connection, except for a client after a clean end. Ready for another handshake."""
    ssl.clear()
    return True


def SSL_shutdown(ssl: Connection) -> bool:
    """No reference changes. Queues close_notify; True (C: 1) once both directions are closed, False (C: 0) before."""
    return ssl.shutdown()


def SSL_free(ssl: Connection | None) -> None:
    """-1 connection, on whatever sessions it holds. None is a no-op."""
    if ssl is not None:
        ssl.free()


def SSL_get_verify_result(ssl: Connection) -> int:
    """No reference changes. The X509_V_* code of the peer's verification; 0 is good, and also before the handshake."""
    return 0 if ssl.facts is None else ssl.facts.verify_result


def SSL_get_default_timeout(ssl: Connection) -> int:
    """No reference changes. 7200 seconds, for every connection."""
    return DEFAULT_SESSION_TIMEOUT_S


@succeeds
def SSL_set_session_id_context(ssl: Connection, id_context: bytes) -> None:
    """Copy. Before the handshake; False if longer than 32 bytes."""
    ssl.session_id_context = id_context


def SSL_set_generate_session_id(ssl: Connection, callback: GenerateSessionId | None) -> bool:
    """No reference changes. callback(connection, most bytes) -> id; wins over the context's."""
    ssl.generate_session_id = callback
    return True


def SSL_has_matching_session_id(ssl: Connection, session_id: bytes) -> bool:
    """No reference changes. Whether the internal cache holds a session with this id."""
    return ssl.has_matching_session_id(session_id)


def SSL_set_not_resumable_session_callback(ssl: Connection, callback: NotResumable | None) -> None:
    """No reference changes. callback(connection, is forward secure) -> true for a session that must not resume."""
    ssl.not_resumable_callback = callback


@succeeds
def SSL_set_num_tickets(ssl: Connection, number: int) -> None:
    """No reference changes. TLS 1.3 tickets after a full handshake of this connection; False for a client."""
    ssl.num_tickets = number


def SSL_get_num_tickets(ssl: Connection) -> int:
    """No reference changes. TLS 1.3 tickets after a full handshake of this connection; 0 for a client."""
    return ssl.num_tickets


@succeeds
def SSL_set_max_early_data(ssl: Connection, max_early_data: int) -> None:
    """No reference changes. Bytes that this connection's tickets allow; False for a client, and without a register."""
    ssl.max_early_data = max_early_data


def SSL_get_max_early_data(ssl: Connection) -> int:
    """No reference changes. Bytes of early data that this connection's tickets allow; 0 for a client."""
    return ssl.max_early_data


def SSL_get_early_data_status(ssl: Connection) -> int:
    """No reference changes. 0 not sent (or not decided), 1 rejected, 2 accepted."""
    return _EARLY_DATA_STATUS.get(ssl.early_data.state, SSL_EARLY_DATA_NOT_SENT)


@succeeds
def SSL_write_early_data(ssl: Connection | Stream, data: bytes) -> bool:
    """No reference changes. A client's first words: True if all is queued (with a stream, sent), False if none may go.

    A server answers early data with it, on a stream; on a connection its `send_data` does.
    """
    return ssl.send_early_data(data) == len(data)


def SSL_read_early_data(ssl: Stream, size: int) -> tuple[int, bytes]:
    """No reference changes. A server's early data, at most ``size`` bytes, with SSL_READ_EARLY_DATA_SUCCESS.

    With SSL_READ_EARLY_DATA_FINISH there are none, and the handshake is complete. C's ERROR is raised. A connection
    without a stream gives early data as `EarlyDataReceived` events.
    """
    data = ssl.recv_early_data(size)
    return SSL_READ_EARLY_DATA_SUCCESS if data else SSL_READ_EARLY_DATA_FINISH, data


@succeeds
def SSL_set_recv_max_early_data(ssl: Connection, recv_max_early_data: int) -> None:
    """No reference changes. Bytes that are taken at most, whatever the ticket allows; False for a client."""
    ssl.recv_max_early_data = recv_max_early_data


def SSL_get_recv_max_early_data(ssl: Connection) -> int:
    """No reference changes. Bytes of early data that are taken at most: what tickets allow, or 0, unless set."""
    return ssl.recv_max_early_data


@succeeds
def SSL_set_allow_early_data_cb(ssl: Connection, callback: AllowEarlyData | None) -> None:
    """Borrow, for the callback. callback(connection, session): False refuses early data that would be taken.

    Wins over the context's. There is no ``arg``: in Python a callback remembers by itself.
    """
    ssl.on_allow_early_data = callback


@succeeds
def SSL_set_psk_use_session_callback(ssl: Connection, callback: UsePskSession | None) -> None:
    """-1 caller, on the session that the callback returns. See SSL_CTX_set_psk_use_session_callback."""
    ssl.psk = None if callback is None else PskCallback(lambda ssl: callback(ssl, None))


@succeeds
def SSL_set_psk_find_session_callback(ssl: Connection, callback: FindPskSession | None) -> None:
    """-1 caller, on the session that the callback returns. See SSL_CTX_set_psk_find_session_callback."""
    ssl.psks = None if callback is None else PskCallback(callback)


@succeeds
def SSL_set_psk_client_callback(ssl: Connection, callback: PskClient | None) -> None:
    """Copy, of what the callback returns. See SSL_CTX_set_psk_client_callback."""
    ssl.psk = None if callback is None else PskCallback(lambda ssl: callback(ssl, None))


@succeeds
def SSL_set_psk_server_callback(ssl: Connection, callback: PskServer | None) -> None:
    """Copy, of what the callback returns. See SSL_CTX_set_psk_server_callback."""
    ssl.psks = None if callback is None else PskCallback(callback)


@succeeds
def SSL_new_session_ticket(ssl: Connection) -> bool:
    """+1 connection, on the ticket's session; -1 on the one before. False for a client, TLS 1.2, or too early."""
    return ssl.new_session_ticket()
