"""A transport whose other end is an engine in the same loop, so that what happens when is up to the test."""

from __future__ import annotations

import asyncio
from typing import Any

from resumption.connection import Connection
from resumption.streams.aio import AsyncStream
from resumption.streams.link import Link
from tests.streams.world import Wire


class Line(asyncio.Transport):
    """A transport over a `Wire`: what is written, the peer hears at once; `deliver` brings what the peer said.

    It can be told to be full, it counts what was received while it should not, and it closes one turn of the loop after
    it was asked to, as real ones do.
    """

    def __init__(self, peer: Connection) -> None:
        super().__init__()
        self.wire = Wire(peer)
        self.link: Any = None
        self.is_reading = True
        self.is_stuck = False  # it takes no more, and does not close while it holds something
        self.held = bytearray()
        self.closing = False
        self.aborted = False
        self.eof_kept_open: bool | None = None

    # the link's end

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closing
        if self.is_stuck:
            if not self.held:
                self.link.pause_writing()
            self.held += data
        else:
            self.wire.hear(bytes(data))
            self.wire._pump()

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            if not self.held:
                self._end(None)

    def abort(self) -> None:
        if not self.aborted:
            self.closing = self.aborted = True
            self._end(None)

    def _end(self, error: Exception | None) -> None:
        asyncio.get_running_loop().call_soon(self.link.connection_lost, error)

    def pause_reading(self) -> None:
        assert self.is_reading
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.link = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.link

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("peer", 1), "sockname": ("here", 2)}.get(name, default)

    # the peer's end

    def deliver(self, size: int | None = None) -> None:
        """Bring up to ``size`` bytes of what the peer said."""
        assert self.is_reading, "the link wants nothing now"
        data = bytes(self.wire.inbox[:size])
        del self.wire.inbox[: len(data)]
        if isinstance(self.link, Link):
            while data:
                view = self.link.get_buffer(-1)
                count = min(len(view), len(data))
                view[:count] = data[:count]
                data = data[count:]
                self.link.buffer_updated(count)
        else:
            self.link.data_received(data)

    def say(self, data: bytes) -> None:
        self.wire.say(data)
        self.deliver()

    def end(self) -> None:
        """The peer ends the stream."""
        self.eof_kept_open = bool(self.link.eof_received())
        if not self.eof_kept_open:
            self.close()

    def break_off(self, error: Exception) -> None:
        """The connection breaks."""
        self.closing = True
        self.link.connection_lost(error)

    def unstick(self) -> None:
        """There is room again."""
        self.is_stuck = False
        data, self.held = bytes(self.held), bytearray()
        self.wire.hear(data)
        self.wire._pump()
        if self.closing:
            self._end(None)
        else:
            self.link.resume_writing()


def connect(client: Connection, server: Connection, **options: Any) -> tuple[AsyncStream, Line]:
    """A client over a line, its handshake done."""
    line = Line(server)
    stream = AsyncStream(client, transport=line, **options)
    line.deliver()
    assert client.handshake_complete
    return stream, line


async def turns(count: int = 3) -> None:
    """Let everything that is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)
