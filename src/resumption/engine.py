"""The sans-IO engine: bytes in, states, questions and alerts.

An `Engine` drives one handshake state after the other over its `Channel`, and turns every error into its alert, in one
place. It touches no socket, file or clock. What it wants to know or tell beyond itself goes to its `Host` (the context)
at once, or to its driver as an event.

How a byte travels: `receive_data` feeds the record reader; a whole record is opened by the current opener; handshake
content is put together to messages, each handed to the state; application data becomes an event. What an application
does with a connection (send, close, free) is in `resumption.connection`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from resumption.channel import SKIPPED
from resumption.config import ClientConfig, ServerConfig
from resumption.constants import AlertDescription, AlertLevel, ContentType, KeyUpdateRequest
from resumption.crypto.protection import KeyWorn, PlainOpener, RecordOpener, RecordOpener13
from resumption.early import EarlyDataOwner
from resumption.errors import (
    AlertReceived,
    ConnectionFailed,
    DecodeError,
    Error,
    InternalError,
    PeerError,
    TooManyMessages,
    UnexpectedEOF,
    UnexpectedMessage,
    UsageError,
)
from resumption.handshake.client import start_client
from resumption.handshake.events import PENDING, DataReceived, Event, Failed, PeerClosed, Question
from resumption.handshake.server import start_server
from resumption.handshake.state import AwaitingAnswer, State
from resumption.ownership import Host
from resumption.wire.messages import KeyUpdate
from resumption.wire.records import MESSAGE_HEADER_LENGTH, RECORD_HEADER_LENGTH

__all__ = ["Engine"]

_CHANGE_CIPHER_SPEC = int(ContentType.change_cipher_spec)
_ALERT = int(ContentType.alert)
_HANDSHAKE = int(ContentType.handshake)
_APPLICATION_DATA = int(ContentType.application_data)
_CLOSE_NOTIFY = int(AlertDescription.close_notify)

A = TypeVar("A")


class Engine(EarlyDataOwner):
    """One end of a connection up to its events. Not safe for concurrent calls."""

    __slots__ = (
        "_error",
        "_peer_closed",
        "_question",
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
        self._start_over()

    def _start_over(self) -> None:
        """The state of a connection on which nothing was said."""
        self._state: State | None = None
        self._begun = False
        self._question: Question[Any] | None = None
        self._error: Error | None = None
        self._peer_closed = False

    @property
    def bytes_needed(self) -> int:
        """How many bytes to read next: a driver that reads no more never reads past its own record. 0 at the end."""
        if self._peer_closed or self._error is not None or self._question is not None:
            return 0
        return self._reader.bytes_needed

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
        reader = self._reader
        try:
            # Exactly one whole protected record and nothing beside it, which is what most calls bring on an established
            # connection: neither reader nor loop is needed. Every check is made as there:
            # type and length of the header here, the rest by `_open` and `_take`.
            if (
                self._data is not None
                and not reader.left
                and type(data) is bytes
                and (length := len(data) - RECORD_HEADER_LENGTH) > 0
                and data[0] == _APPLICATION_DATA
                and data[3] << 8 | data[4] == length <= reader.limit
                and self._question is None
                and not (self._peer_closed or self._unsettled or self._handshake.left or self._events)
            ):
                body = data[RECORD_HEADER_LENGTH:] if length < 4096 else memoryview(data)[RECORD_HEADER_LENGTH:]
                try:
                    content_type, content = self._opener.open(data[:RECORD_HEADER_LENGTH], body)
                except KeyWorn:
                    content_type, content = self._open_worn(data[:RECORD_HEADER_LENGTH], body)
                if content_type == _APPLICATION_DATA and content:
                    self._idle = 0
                    return [DataReceived(content)]
                self._take(content_type, content)
            else:
                reader.feed(data)
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

    def answer(self, question: Question[A], answer: A | Failed) -> Iterable[Event]:
        """Answer a question; with `Failed` if there is no answer to be had. What it holds passes to the connection.

        A late answer, a second one, or one to another question is dropped, and what it holds is given back.
        """
        state = self._state
        if question is not self._question or not isinstance(state, AwaitingAnswer):
            if not isinstance(answer, Failed):
                question.discard(answer, self)
            return ()
        self._question = None
        try:
            if isinstance(answer, Failed):
                answer = question.fallback(answer.error)
            self._state = state.on_answer(answer, self)
            self._ask_host()
            self._handle_messages()
            self._process()
        except Exception as error:
            return self._failed(error)
        return self._deliver()

    def _failed(self, problem: Exception) -> Iterable[Event]:
        """Send the alert, end the connection, and raise what is wrong after the events that came before it."""
        error = self._end_with_alert(problem)
        events = self._deliver()
        if not events:
            raise error
        return _then_raise(events, error)

    def _end_with_alert(self, problem: Exception) -> Error:
        error = problem if isinstance(problem, Error) else _unforeseen(problem)
        if isinstance(error, PeerError):
            self._send_alert(error.alert)
        elif isinstance(error, UnexpectedEOF):
            self._send_alert(AlertDescription.close_notify)
        elif not isinstance(error, AlertReceived):
            self._send_alert(AlertDescription.internal_error)
        self._end(error)
        return error

    def _end(self, error: Error) -> None:
        self._error = error
        self._forget_keys()
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
                try:
                    content_type, content = self._opener.open(header, body)
                except KeyWorn:
                    content_type, content = self._open_worn(header, body)
            if content_type != _HANDSHAKE:
                self._take(content_type, content)
                continue
            state = self._state
            if (
                state is not None
                and not self._handshake.left
                and (length := len(content) - MESSAGE_HEADER_LENGTH) >= 0
                and length == content[1] << 16 | content[2] << 8 | content[3] <= self._handshake.limit
            ):  # one message fills the record, as most do: nothing has to be put together
                self._state = state.receive(content, self)
                if self._question is not None:
                    self._ask_host()
            else:
                self._handshake.feed(content)
                self._handle_messages()

    def _take(self, content_type: int, content: bytes) -> None:
        """Handle the content of one record that was opened."""
        if content_type == _APPLICATION_DATA:
            if self._data is None or self._handshake.left:
                self._take_early(content)
            elif content:
                self._idle = 0
                self._events.append(DataReceived(content))
            else:
                self._count_idle("empty records")
        elif content_type == _HANDSHAKE:
            self._handshake.feed(content)
            self._handle_messages()
        elif content_type == _ALERT:
            self._on_alert(content)
        elif content_type != SKIPPED:
            raise UnexpectedMessage(f"a protected record holds content type {content_type}")

    def _open_worn(self, header: bytes, body: bytes | memoryview) -> tuple[int, bytes]:
        """Open a record under a key that the peer should change; ask for that first."""
        self._ask_for_update()
        return self._opener.open(header, body)

    def _ask_for_update(self) -> None:
        """The peer should change its key, and does not think of it itself. RFC 9846, sections 4.7.3 and 5.5."""
        if self._data is not None and not self._sent_close and not self._update_asked:
            self._update_asked = True
            self.send(KeyUpdate(KeyUpdateRequest.update_requested).pack())
            self.update_write_key()

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
            question, state = self._question, self._state
            answer = question.at_once(self._host, self)
            if answer is PENDING:
                self._events.append(question)
                return
            self._question = None
            if isinstance(state, AwaitingAnswer):
                self._state = state.on_answer(answer, self)

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
            self._warnings += 1
            if self._warnings > self._config.max_warning_alerts:
                raise TooManyMessages(f"the peer sent more than {self._config.max_warning_alerts} warning alerts")
            return
        raise AlertReceived(description, level)

    def warn(self, description: AlertDescription) -> None:
        """Send a warning alert; the connection goes on. For states. Counted, as the peer can provoke it at will."""
        self.count_renegotiation()
        self._send_warning(description)

    def count_renegotiation(self) -> None:
        """The peer asked for a renegotiation. For states. Raises `TooManyMessages` past the limit."""
        self._renegotiations += 1
        if self._renegotiations > self._config.max_renegotiation_attempts:
            raise TooManyMessages(
                f"the peer tried to renegotiate more than {self._config.max_renegotiation_attempts} times"
            )

    def ask(self, question: Question[Any]) -> None:
        """Ask the context, then the driver. For states."""
        self._question = question

    def read_with(self, opener: RecordOpener) -> None:
        """Change the reading key. For states."""
        self._unsettled = (
            self.is_server and isinstance(self._opener, PlainOpener) and isinstance(opener, RecordOpener13)
        )
        super().read_with(opener)

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
        config = self._config
        if self._host is not None and not (isinstance(config, ServerConfig) and config.chooses_host):
            self._host.handshake_started(self)  # otherwise the host that is chosen will be told
        if isinstance(config, ClientConfig):
            self._expect_first()
            self._state = start_client(
                config,
                self.server_name,
                self._session,
                self,
                explicit=self._explicit,
                fresh=self._fresh,
                send_server_name=self._send_server_name,
                early_size=self._early_size,
            )
            self._flush_first()
        else:
            self._state = start_server(config)


def _unforeseen(error: Exception) -> InternalError:
    failure = InternalError(f"an unforeseen {type(error).__name__} ended the connection")
    failure.__cause__ = error
    return failure


def _then_raise(events: list[Event], error: Error) -> Iterator[Event]:
    yield from events
    raise error
