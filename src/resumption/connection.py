"""A connection as an application has it: what it is, what it sends, how it ends.

The upper layer of the engine, over `resumption.engine` (states, questions, alerts), `resumption.ownership` (sessions)
and `resumption.channel` (records). It touches no socket, file or clock either: what is to be sent collects until
`data_to_send` takes it, where handshake messages share records until the key changes.
"""

from __future__ import annotations

from resumption.config import ClientConfig, ServerConfig
from resumption.constants import AlertDescription, ContentType, KeyUpdateRequest, ProtocolVersion
from resumption.crypto.channel_binding import EXPORTER_LABEL, EXPORTER_LENGTH, server_end_point
from resumption.engine import Engine
from resumption.errors import Error, InternalError, UsageError
from resumption.handshake.established13 import ServerConnected
from resumption.ownership import Host
from resumption.session.verdicts import Reason
from resumption.wire.messages import KeyUpdate

__all__ = ["Connection", "Host"]

_APPLICATION_DATA = int(ContentType.application_data)
_TLS13 = int(ProtocolVersion.TLSv1_3)
_REKEY_MARGIN = 1 << 10  # records left under a key when it is changed unasked


class Connection(Engine):
    """One TLS connection, client or server by its configuration.

    Nothing is sent before `data_to_send` is first called (a client's hello is made then). Not safe for concurrent
    calls: drivers serialise them. Every call after a fatal error raises `ConnectionFailed`.
    """

    __slots__ = ("__weakref__", "_references")

    def __init__(
        self,
        config: ClientConfig | ServerConfig,
        host: Host | None = None,
        *,
        server_name: str = "",
        send_server_name: bool = True,
        peer_key: bytes | None = None,
    ) -> None:
        super().__init__(config, host, server_name=server_name, send_server_name=send_server_name, peer_key=peer_key)
        self._references = 1

    # --- what it is ------------------------------------------------------------------------------------------------

    @property
    def handshake_complete(self) -> bool:
        """Whether application data may flow."""
        return self._data is not None and self._error is None

    @property
    def peer_closed(self) -> bool:
        """Whether the peer sent close_notify."""
        return self._peer_closed

    @property
    def error(self) -> Error | None:
        """The error that ended the connection, or None."""
        return self._error

    @property
    def trailing_data(self) -> bytes:
        """Bytes after the peer's close_notify: they belong to the protocol beneath."""
        return self._reader.rest() if self._peer_closed else b""

    # --- bytes out --------------------------------------------------------------------------------------------------

    def data_to_send(self) -> bytes:
        """What to send now; taken once. May be called at any time, also after an error (for the alert)."""
        if not self._begun and not self.is_server and not self._freed:
            self._begin()
        out = self._out
        if not self._flight:
            if len(out) == 1:  # a record of application data, mostly: 0.2 us less
                return out.pop()
            if not out:
                return b""
        try:
            return self._take_output()
        except InternalError as error:  # a padding policy's: what it was asked for is lost, and with it the connection
            self._end_with_alert(error)
            return self._take_output()

    def send_data(self, data: bytes | bytearray | memoryview) -> None:
        """Queue application data of any length. Raises `UsageError` before the handshake is complete or after close."""
        if self._error is not None or self._freed:
            self._check_usable()
        if self._data is None and not self._may_answer_early:
            raise UsageError("the handshake is not complete: application data cannot be sent yet")
        if self._sent_close:
            self._check_writable()
        if self._flight:
            self._flush()
        length = len(data)
        fragment_length = self._fragment_length
        if self._sealer.remaining - length // fragment_length < _REKEY_MARGIN:
            if self.version != _TLS13:
                raise UsageError("this TLS 1.2 connection has used up its key: close it and make another one")
            self._send_under_new_keys(memoryview(data))
            return
        try:
            if 0 < length <= fragment_length:
                self._out.append(self._sealer.seal(_APPLICATION_DATA, data))
            elif length:
                self._out.append(self._sealer.seal_many(_APPLICATION_DATA, data, fragment_length))
        except InternalError as error:
            self._end_with_alert(error)
            raise

    def _send_under_new_keys(self, data: memoryview) -> None:
        """Change the key before it is used up, and again before half of what the next one may do is done."""
        while True:
            self.update_keys()
            room = max(1, self._sealer.remaining // 2) * self._fragment_length
            try:
                self._out.append(self._sealer.seal_many(_APPLICATION_DATA, data[:room], self._fragment_length))
            except InternalError as error:
                self._end_with_alert(error)
                raise
            if len(data) <= room:
                return
            data = data[room:]

    def send_early_data(self, data: bytes | bytearray | memoryview) -> int:
        """Client: queue application data that is sent before the handshake is complete; all of it, or nothing.

        Returns how many bytes were queued: 0 where there may be none, or no more; `early_data` tells why. The first
        call begins the handshake. Anyone may play early data again to the server: send what does no harm when it comes
        twice, and look at `early_data` afterwards: what was not accepted is not sent again. RFC 9846, section 8.
        """
        self._check_usable()
        if self.is_server:
            raise UsageError("only clients send early data; a server answers it with send_data")
        self._check_writable()
        if not self._begun:
            self._early_size = len(data)
            self._begin()
        return self._seal_early(data)

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
        try:
            self.update_write_key()
        except InternalError as error:
            self._end_with_alert(error)
            raise

    def export_keying_material(self, label: bytes, context: bytes | None, length: int) -> bytes:
        """Secret bytes that both ends of this connection, and nobody else, can compute. RFC 9846, section 7.5.

        Different for each connection, also for two that one session resumed. Raises `UsageError` before the handshake
        is complete, and in TLS 1.2 without an extended master secret.
        """
        self._check_usable()
        if self._state is None:
            raise UsageError("keying material can be exported once the handshake is complete")
        return self._state.export(label, context, length)

    def channel_binding(self, kind: str = "tls-exporter") -> bytes:
        """What ties an authentication inside this connection (SCRAM, GSS, tokens) to it.

        "tls-exporter": 32 bytes of this connection alone, RFC 9266. "tls-server-end-point": a hash of the server's
        certificate, RFC 5929; on a resumed connection, of the original handshake's. Raises `UsageError` before the
        handshake is complete; for the former in TLS 1.2 without an extended master secret; for the latter where there
        is no certificate, where a server has several, or where its signature has no hash; and for any other kind.
        """
        if kind == "tls-exporter":
            return self.export_keying_material(EXPORTER_LABEL, b"", EXPORTER_LENGTH)
        if kind == "tls-unique":
            raise UsageError("tls-unique is not offered: resumption breaks it, and TLS 1.3 has none; use tls-exporter")
        if kind != "tls-server-end-point":
            raise UsageError(f"the channel binding {kind!r} is not known: tls-exporter or tls-server-end-point")
        self._check_usable()
        if self._data is None:
            raise UsageError("there is a channel binding once the handshake is complete")
        config, chain = self._config, self._data.peer_chain
        if isinstance(config, ServerConfig):
            if self.resumption is not None and self.resumption.reason is Reason.EXTERNAL_PSK:
                raise UsageError("a PSK served in place of certificates: there is none to bind to")
            if len(config.certified_keys) != 1:
                raise UsageError("this server has several certificates: tls-server-end-point could be that of any")
            chain = config.certified_keys[0].chain
        if not chain:
            raise UsageError("the server showed no certificate: there is none to bind to")
        return server_end_point(chain[0])

    def new_session_ticket(self) -> bool:
        """Server, TLS 1.3: send one more ticket (SSL_new_session_ticket). False if none can be issued."""
        self._check_usable()
        state = self._state
        if not isinstance(state, ServerConnected):
            raise UsageError("only an established TLS 1.3 server can send a ticket")
        self._check_writable()
        return state.issue_ticket(self)

    def request_client_certificate(self, *, required: bool = False) -> None:
        """Server, TLS 1.3: ask the client for its certificate now (SSL_verify_client_post_handshake).

        The answer comes as `PeerAuthenticated`, and `peer_chain` is the verified chain from then on; tickets issued
        before do not carry it. A client that shows none is accepted unless ``required``. Raises `UsageError` if the
        client did not offer it, or the context has no ``post_handshake_auth``. RFC 9846, section 4.7.2.
        """
        self._check_usable()
        state = self._state
        if not isinstance(state, ServerConnected):
            raise UsageError("only an established TLS 1.3 server can ask for a certificate")
        self._check_writable()
        state.request_certificate(self, required=required)

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
        if self._lent or self._shown:
            self._drop_lent()
        if self._session is not None:
            self._drop_session()
        self._state = None
        self._question = None

    def __repr__(self) -> str:
        role = "server" if self.is_server else "client"
        state = "failed" if self._error is not None else type(self._state).__name__
        return f"<Connection {self.number} {role} {state}>"
