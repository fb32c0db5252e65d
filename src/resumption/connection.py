"""The sans-IO engine: bytes in, events and bytes out.

A `Connection` drives one handshake state after the other over its `Channel`, holds the connection's reference to its
session, and turns every error into its alert, in one place. It touches no socket, file or clock. What it wants to
know or tell beyond itself goes to its `Host` (the context) at once, or to its driver as an event.

How a byte travels: `receive_data` feeds the record reader; a whole record is opened by the current opener; handshake
content is put together to messages, each handed to the state; application data becomes an event. What is to be sent
collects until `data_to_send` takes it: handshake messages share records until the key changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from resumption.channel import SKIPPED
from resumption.config import ClientConfig, ServerConfig
from resumption.constants import (
    MAX_PLAINTEXT_LENGTH,
    AlertDescription,
    AlertLevel,
    ContentType,
    KeyUpdateRequest,
    ProtocolVersion,
)
from resumption.crypto.protection import PlainOpener, RecordOpener, RecordOpener13
from resumption.errors import (
    AlertReceived,
    ConnectionFailed,
    DecodeError,
    Error,
    InternalError,
    PeerError,
    UnexpectedEOF,
    UnexpectedMessage,
    UsageError,
)
from resumption.handshake.client import start_client
from resumption.handshake.established13 import ServerConnected
from resumption.handshake.events import DataReceived, Event, NeedSession, PeerClosed
from resumption.handshake.server import start_server
from resumption.handshake.state import AwaitingAnswer, State
from resumption.ownership import Host, SessionOwner
from resumption.session.model import Session
from resumption.wire.messages import KeyUpdate

__all__ = ["Connection", "Host"]

_CHANGE_CIPHER_SPEC = int(ContentType.change_cipher_spec)
_ALERT = int(ContentType.alert)
_HANDSHAKE = int(ContentType.handshake)
_APPLICATION_DATA = int(ContentType.application_data)
_CLOSE_NOTIFY = int(AlertDescription.close_notify)
_TLS13 = int(ProtocolVersion.TLSv1_3)
_REKEY_MARGIN = 1 << 10  # records left under a key when it is changed unasked


class Connection(SessionOwner):
    """One TLS connection, client or server by its configuration.

    Nothing is sent before `data_to_send` is first called (a client's hello is made then). Not safe for concurrent
    calls: drivers serialise them. Every call after a fatal error raises `ConnectionFailed`.
    """

    __slots__ = (
        "__weakref__",
        "_error",
        "_peer_closed",
        "_question",
        "_references",
        "_send_server_name",
        "_state",
    )

    def __init__(
        self,
        config: ClientConfig | ServerConfig,
        host: Host | None = None,
        *,
        server_name: str = "",
        send_server_name: bool = True,
        peer_key: bytes | None = None,
    ) -> None:
        super().__init__(config, host, server_name, peer_key)
        self._send_server_name = send_server_name
        self._references = 1
        self._start_over()

    def _start_over(self) -> None:
        """The state of a connection on which nothing was said."""
        self._state: State | None = None
        self._begun = False
        self._question: NeedSession | None = None
        self._error: Error | None = None
        self._peer_closed = False

    # --- what it is ------------------------------------------------------------------------------------------------

    @property
    def handshake_complete(self) -> bool:
        """Whether application data may flow."""
        return self._data is not None and self._error is None

    @property
    def bytes_needed(self) -> int:
        """How many bytes to read next: a driver that reads no more never reads past its own record. 0 at the end."""
        if self._peer_closed or self._error is not None or self._question is not None:
            return 0
        return self._reader.bytes_needed

    @property
    def peer_closed(self) -> bool:
        """Whether the peer sent close_notify."""
        return self._peer_closed

    @property
    def error(self) -> Error | None:
        """The error that ended the connection, or None."""
        return self._error

    # --- bytes in ---------------------------------------------------------------------------------------------------

    def receive_data(self, data: bytes | bytearray | memoryview) -> Iterable[Event]:
        """Take in bytes from the peer, cut anywhere, and return the events that they cause, in order.

        When the peer broke the protocol, iterating yields what came before and then raises; with nothing before, the
        call itself raises. The alert is by then in `data_to_send`: send it before you give up. Raises `PeerError`,
        `AlertReceived`, or `ConnectionFailed` if the connection had failed earlier.
        """
        if self._error is not None or self._freed:
            self._check_usable()
        if self._shown:
            self._drop_shown()
        if not self._begun:
            self._begin()
        self._reader.feed(data)
        try:
            self._process()
        except Exception as error:
            return self._failed(error)
        return self._deliver() if self._events else ()

    def receive_eof(self) -> Iterable[Event]:
        """The stream has ended. Raises `UnexpectedEOF` unless the peer said close_notify before."""
        self._check_usable()
        if self._peer_closed:
            return ()
        error = UnexpectedEOF(
            "the stream ended without close_notify: what was received may be cut short"
            if self._data is not None
            else "the peer ended the stream in the middle of the handshake"
        )
        self._end(error)
        raise error

    def answer(self, question: NeedSession, session: Session | None) -> Iterable[Event]:
        """Answer a question. ``session``'s reference (held by ``holder``) passes to the connection.

        A late answer, or one to another question, is dropped and its reference given back.
        """
        state = self._state
        if question is not self._question or not isinstance(state, AwaitingAnswer):
            if session is not None:
                session.release(self.holder)
            return ()
        self._question = None
        try:
            self._state = state.on_answer(session, self)
            self._ask_host()
            self._handle_messages()
            self._process()
        except Exception as error:
            return self._failed(error)
        return self._deliver()

    @property
    def trailing_data(self) -> bytes:
        """Bytes after the peer's close_notify: they belong to the protocol beneath."""
        return self._reader.rest() if self._peer_closed else b""

    def _failed(self, problem: Exception) -> Iterable[Event]:
        """Send the alert, end the connection, and raise what is wrong after the events that came before it."""
        error = problem if isinstance(problem, Error) else _unforeseen(problem)
        if isinstance(error, PeerError):
            self._send_alert(error.alert)
        elif isinstance(error, UnexpectedEOF):
            self._send_alert(AlertDescription.close_notify)
        elif not isinstance(error, AlertReceived):
            self._send_alert(AlertDescription.internal_error)
        self._end(error)
        events = self._deliver()
        if not events:
            raise error
        return _then_raise(events, error)

    def _end(self, error: Error) -> None:
        self._error = error
        self._state = None
        self._question = None
        if self._host is not None:
            try:
                self._host.connection_failed(self, error)
            except Exception as trouble:  # a callback's; the reason of the end must not be lost for it
                error.add_note(f"telling the context of it failed: {type(trouble).__name__}")

    def _process(self) -> None:
        """Handle every whole record that is there."""
        reader = self._reader
        while reader.left and self._question is None and not self._peer_closed:
            record = reader.next_record()
            if record is None:
                return
            content_type, header, body = record
            if content_type == _CHANGE_CIPHER_SPEC:
                self._on_change_cipher_spec(body)
                continue
            if self._unsettled:
                content_type, content = self._open_unsettled(content_type, header, body)
            else:
                content_type, content = self._opener.open(header, body)
            if content_type == _HANDSHAKE:
                self._handshake.feed(content)
                self._handle_messages()
            elif content_type == _APPLICATION_DATA:
                if self._data is None or self._handshake.left:
                    raise UnexpectedMessage("application data came before the handshake was complete")
                if content:
                    self._idle = 0
                    self._events.append(DataReceived(content))
                else:
                    self._count_idle("empty records")
            elif content_type == _ALERT:
                self._on_alert(content)
            elif content_type != SKIPPED:
                raise UnexpectedMessage(f"a protected record holds content type {content_type}")

    def _handle_messages(self) -> None:
        buffer = self._handshake
        while buffer.left and self._question is None:
            raw = buffer.next_message()
            if raw is None:
                return
            state = self._state
            if state is None:
                raise UnexpectedMessage("a handshake message came where none can be expected")
            self._state = state.receive(raw, self)
            if self._question is not None:
                self._ask_host()

    def _ask_host(self) -> None:
        """Let the context answer what it can at once, so that only real waiting reaches the driver."""
        while self._question is not None:
            question, state, host = self._question, self._state, self._host
            session = host.find_session(self, question) if host is not None else None
            if session is None and host is not None and host.must_ask_outside(self):
                self._events.append(question)
                return
            self._question = None
            if isinstance(state, AwaitingAnswer):
                self._state = state.on_answer(session, self)

    def _on_change_cipher_spec(self, body: bytes) -> None:
        """RFC 9846, section 5: exactly one byte of 1, and only while a handshake state says it may come."""
        if body != b"\x01":
            raise UnexpectedMessage("a change_cipher_spec record that is not the single byte 1")
        if self._state is None or self._handshake.left:
            raise UnexpectedMessage("change_cipher_spec came where it cannot be expected")
        self._count_idle("change_cipher_spec records")
        self._state = self._state.change_cipher_spec(self)

    def _on_alert(self, content: bytes) -> None:
        """RFC 9846, section 6: in TLS 1.3 all but the two closing alerts are fatal, whatever their level. Elsewhere a
        warning is passed over (RFC 5246, section 7.2.2), as of an unknown name before a ServerHello; not in any number.
        """
        if self._handshake.left:
            raise UnexpectedMessage("an alert came in the middle of a handshake message")
        if len(content) != 2:
            raise DecodeError(f"an alert record holds {len(content)} bytes; one alert has 2")
        level, description = content
        if description == _CLOSE_NOTIFY:
            self._peer_closed = True
            self._events.append(PeerClosed())
            if self._data is None:
                raise UnexpectedEOF("the peer closed the connection in the middle of the handshake")
            return
        state = self._state
        if description == AlertDescription.user_canceled or (
            level == AlertLevel.warning and state is not None and not state.is_tls13
        ):
            self._count_idle("warning alerts")
            return
        raise AlertReceived(description, level)

    # --- bytes out --------------------------------------------------------------------------------------------------

    def data_to_send(self) -> bytes:
        """What to send now; taken once. May be called at any time, also after an error (for the alert)."""
        if not self._begun and not self.is_server and not self._freed:
            self._begin()
        return self._take_output() if self._flight or self._out else b""

    def send_data(self, data: bytes | bytearray | memoryview) -> None:
        """Queue application data of any length. Raises `UsageError` before the handshake is complete or after close."""
        if self._error is not None or self._freed:
            self._check_usable()
        if self._data is None:
            raise UsageError("the handshake is not complete: application data cannot be sent yet")
        if self._sent_close:
            self._check_writable()
        if self._flight:
            self._flush()
        length = len(data)
        if self._sealer.remaining - length // MAX_PLAINTEXT_LENGTH < _REKEY_MARGIN:
            if self.version != _TLS13:
                raise UsageError("this TLS 1.2 connection has used up its key: close it and make another one")
            self.update_keys()
        if 0 < length <= MAX_PLAINTEXT_LENGTH:
            self._out.append(self._sealer.seal(_APPLICATION_DATA, data))
        elif length:
            self._out.append(self._sealer.seal_many(_APPLICATION_DATA, data))

    def update_keys(self, *, request_peer: bool = False) -> None:
        """Change the writing key now, and ask the peer to do the same if ``request_peer``. RFC 9846, section 4.7.3."""
        self._check_usable()
        if self.version != _TLS13:
            raise UsageError("only an established TLS 1.3 connection can update its keys")
        self._check_writable()
        asking = request_peer and not self._update_asked  # not twice before there is an answer
        self._update_asked |= asking
        wish = KeyUpdateRequest.update_requested if asking else KeyUpdateRequest.update_not_requested
        self.send(KeyUpdate(wish).pack())
        self.update_write_key()

    def export_keying_material(self, label: bytes, context: bytes | None, length: int) -> bytes:
        """Secret bytes that both ends of this connection, and nobody else, can compute. RFC 9846, section 7.5.

        Different for each connection, also for two that one session resumed. Raises `UsageError` before the handshake
        is complete, and in TLS 1.2 without an extended master secret.
        """
        self._check_usable()
        if self._state is None:
            raise UsageError("keying material can be exported once the handshake is complete")
        return self._state.export(label, context, length)

    def new_session_ticket(self) -> bool:
        """Server, TLS 1.3: send one more ticket (SSL_new_session_ticket). False if none can be issued."""
        self._check_usable()
        state = self._state
        if not isinstance(state, ServerConnected):
            raise UsageError("only an established TLS 1.3 server can send a ticket")
        self._check_writable()
        return state.issue_ticket(self)

    def shutdown(self, *, quiet: bool = False) -> bool:
        """Close the writing direction (SSL_shutdown): True once both directions are closed.

        Sends close_notify; ``quiet`` only counts it as sent (SSL_set_quiet_shutdown): the peer is told nothing.
        """
        if quiet:
            self._sent_close = True
        else:
            self.close()
        return self._sent_close and self._peer_closed

    def close(self) -> None:
        """Close the writing direction: send close_notify (once). Reading goes on until the peer has closed too."""
        if self._sent_close or self._error is not None or self._freed:
            return
        if not self._begun:
            return  # nothing was ever said
        self._send_alert(AlertDescription.close_notify)

    def warn(self, description: AlertDescription) -> None:
        """Send a warning alert; the connection goes on. For states. Counted, as the peer can provoke it at will."""
        self._count_idle("messages that deserve a warning")
        self._send_warning(description)

    def ask(self, question: NeedSession) -> None:
        """Ask the context, then the driver. For states."""
        self._question = question

    def read_with(self, opener: RecordOpener) -> None:
        """Change the reading key. For states."""
        self._unsettled = (
            self.is_server and isinstance(self._opener, PlainOpener) and isinstance(opener, RecordOpener13)
        )
        super().read_with(opener)

    # --- life ---------------------------------------------------------------------------------------------------------

    def dup(self) -> Connection:
        """Another handle (SSL_dup): before the handshake a connection of its own with the same settings, sharing the
        session; afterwards this very one, which then has to be freed once more."""
        if self._begun:
            self._references += 1
            return self
        twin = Connection(
            self._config,
            self._host,
            server_name=self.server_name,
            send_server_name=self._send_server_name,
            peer_key=self.peer_key,
        )
        twin._fresh = self._fresh
        twin.generate_session_id = self.generate_session_id
        twin.not_resumable_callback = self.not_resumable_callback
        if self._session is not None:
            twin._install(self._session)
        return twin

    def clear(self) -> None:
        """Make the connection ready for another handshake (SSL_clear). What was not sent yet is lost.

        After a clean end (close_notify sent, no failure) a client keeps its session and will offer it; after any other
        its reference is given back. The session itself is never condemned for that.
        """
        clean = self._sent_close and self._error is None and not self.is_server
        if self._begun and not clean:
            self._drop_session()
        self._explicit = self._session is not None
        self._forget_handshake()
        self._start_over()

    def free(self) -> None:
        """The end of the connection: its references to sessions are given back. Nothing is sent. May be repeated."""
        self._references -= 1
        if self._references > 0:
            return
        self._freed = True
        self._drop_lent()
        self._drop_session()
        self._state = None
        self._question = None

    def _check_usable(self) -> None:
        if self._error is not None:
            raise ConnectionFailed(f"the connection failed earlier: {self._error}") from self._error
        if self._freed:
            raise UsageError("the connection was freed")

    def _check_writable(self) -> None:
        if self._sent_close:
            raise UsageError("this side of the connection is closed")

    def _begin(self) -> None:
        """Start the handshake at the first sign of use."""
        if self._begun:
            return
        self._begun = True
        try:
            self._start()
        except Error as error:
            self._end(error)
            raise
        except Exception as error:
            failure = _unforeseen(error)
            self._end(failure)
            raise failure from error

    def _start(self) -> None:
        if self._host is not None:
            self._host.handshake_started(self)
        config = self._config
        if isinstance(config, ClientConfig):
            self._state = start_client(
                config,
                self.server_name,
                self._session,
                self,
                explicit=self._explicit,
                fresh=self._fresh,
                send_server_name=self._send_server_name,
            )
            self._flush_first()
        else:
            self._state = start_server(config)

    def __repr__(self) -> str:
        role = "server" if self.is_server else "client"
        state = "failed" if self._error is not None else type(self._state).__name__
        return f"<Connection {self.number} {role} {state}>"


def _unforeseen(error: Exception) -> InternalError:
    failure = InternalError(f"an unforeseen {type(error).__name__} ended the connection")
    failure.__cause__ = error
    return failure


def _then_raise(events: list[Event], error: Error) -> Iterator[Event]:
    yield from events
    raise error
