"""A connection's early data (0-RTT): what the engine does with it before its handshake is complete.

`EarlyDataOwner` is the part of a connection between its sessions and its handshake. A client hands early data over by a
call of its own, `send_early_data`; a server gets it as an event of its own, `EarlyDataReceived`. Nothing here sends
early data again, and nothing takes it for more than it is: see `resumption.session.early`.
"""

from __future__ import annotations

from typing import Any

from resumption.config import AllowEarlyData, ClientConfig, ServerConfig
from resumption.constants import ContentType
from resumption.errors import UnexpectedMessage, UsageError
from resumption.handshake.early13 import EarlyFlow
from resumption.handshake.events import EarlyDataReceived
from resumption.ownership import Host, SessionOwner
from resumption.session.early import NO_EARLY_DATA, EarlyData, EarlyState

__all__ = ["EarlyDataOwner"]

_APPLICATION_DATA = int(ContentType.application_data)


class EarlyDataOwner(SessionOwner):
    """A connection as a sender or receiver of early data."""

    __slots__ = ("_early", "_early_size")

    def __init__(
        self, config: ClientConfig | ServerConfig, host: Host | None, server_name: str, peer_key: bytes | None
    ) -> None:
        super().__init__(config, host, server_name, peer_key)
        self._early: EarlyData | EarlyFlow = NO_EARLY_DATA
        self._early_size = 0  # client: bytes that the hello is to announce

    @property
    def early_data(self) -> EarlyData:
        """What became of early data: none, offered, accepted or rejected, why, and how many bytes there were."""
        early = self._early
        return early if isinstance(early, EarlyData) else early.status

    @property
    def max_early_data(self) -> int:
        """Server: bytes of early data that tickets allow; the context's, unless it was set here before."""
        return self._config.max_early_data if isinstance(self._config, ServerConfig) else 0

    @max_early_data.setter
    def max_early_data(self, size: int) -> None:
        self._set_for_server(max_early_data=size)

    @property
    def recv_max_early_data(self) -> int:
        """Server: bytes of early data that are taken at most; the context's, unless it was set here before."""
        return self._config.taken_early_data if isinstance(self._config, ServerConfig) else 0

    @recv_max_early_data.setter
    def recv_max_early_data(self, size: int | None) -> None:
        self._set_for_server(recv_max_early_data=size)

    @property
    def on_allow_early_data(self) -> AllowEarlyData | None:
        """Server: who is asked last whether early data is taken; the context's, unless it was set here before."""
        return self._config.on_allow_early_data if isinstance(self._config, ServerConfig) else None

    @on_allow_early_data.setter
    def on_allow_early_data(self, callback: AllowEarlyData | None) -> None:
        self._set_for_server(on_allow_early_data=callback)

    @property
    def data_is_early(self) -> bool:
        """Server: whether what was received so far is early data, which may be a replay. False once the handshake is
        complete: then the client has proved that it is there. RFC 8470, section 3."""
        return self._data is None and self.is_server and self.early_data.accepted

    def export_early_keying_material(self, label: bytes, context: bytes | None, length: int) -> bytes:
        """Keying material of the hello that early data came with, the same at both ends. RFC 9846, section 7.5.

        Unlike `export_keying_material` it is there at once, and it is the same again for every replay of the hello.
        Raises `UsageError` where no early data was offered (client) or accepted (server).
        """
        early = self._early
        if isinstance(early, EarlyData):
            raise UsageError("there are no early keys: early data was not offered, or not accepted")
        return early.export(label, context or b"", length)

    def _set_for_server(self, **changes: Any) -> None:
        self._check_not_begun()
        if not isinstance(self._config, ServerConfig):
            raise UsageError("what a client may send, its session says")
        self._reconfigure(**changes)

    def _seal_early(self, data: bytes | bytearray | memoryview) -> int:
        """Client: queue early data if it still may be sent; all of it or nothing. Returns how many bytes."""
        early, length = self._early, len(data)
        if isinstance(early, EarlyData) or not early.is_open or early.size + length > early.limit:
            return 0
        if (
            self._sealer.remaining - length // self._fragment_length < 2
        ):  # this key has no update: RFC 9846, section 5.5
            return 0  # the last record is that of EndOfEarlyData
        if self._flight:
            self._flush()
        early.size += length
        if length:
            self._out.append(self._sealer.seal_many(_APPLICATION_DATA, data, self._fragment_length))
        return length

    @property
    def _may_answer_early(self) -> bool:
        """Server: whether it may answer early data before the handshake is complete."""
        return self.is_server and isinstance(self._early, EarlyFlow)

    def _take_early(self, content: bytes) -> None:
        """Server: application data came before the handshake was complete."""
        early = self._early
        if isinstance(early, EarlyData) or not self.is_server or self._handshake.left:
            raise UnexpectedMessage("application data came before the handshake was complete")
        early.count(len(content))
        if content:
            self._idle = 0
            self._events.append(EarlyDataReceived(content))
        else:
            self._count_idle("empty records")

    # What states ask for, as `resumption.handshake.state.Output` has it.

    def early_data_is(self, early: EarlyData | EarlyFlow) -> None:
        """Early data is in play, or it is known what became of it: the context counts that."""
        self._early = early
        if early.state is not EarlyState.OFFERED and self._host is not None:
            self._host.early_data_decided(self, self.early_data)

    def _forget_handshake(self) -> None:
        super()._forget_handshake()
        self._early = NO_EARLY_DATA
        self._early_size = 0
