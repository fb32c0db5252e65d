"""Which cached sessions belong to which server: the client's side of a cache.

A client finds sessions by the peer they were made with, never by their id: an id is the server's choice, and another
server may choose the same one. What the key of a peer covers (host, port, trust, identity, proxies ...) is the client's
business; here it is a string of bytes. TLS 1.3 tickets are kept side by side, the newest last; of TLS 1.2 sessions one
per peer, the latest. Both the peers and the sessions of each are bounded, because servers decide how many tickets they
send.

Neither locked nor counted: `resumption.session.cache` does that, and owns the references.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from resumption.errors import ConfigurationError
from resumption.session.model import Session
from resumption.session.verdicts import TLS_13

__all__ = ["PeerIndex"]


class PeerIndex:
    """Sessions by peer, for at most ``max_peers`` peers with at most ``max_per_peer`` sessions each."""

    __slots__ = ("_peers", "entries", "max_peers", "max_per_peer")

    def __init__(self, max_peers: int, max_per_peer: int) -> None:
        if max_peers < 1 or max_per_peer < 1:
            raise ConfigurationError(
                f"a cache has room for at least 1 peer with 1 session, not for {max_peers} with {max_per_peer} each"
            )
        self.max_peers: Final = max_peers
        self.max_per_peer: Final = max_per_peer
        self._peers: OrderedDict[bytes, list[Session]] = OrderedDict()  # the peer that was used last comes last
        self.entries: dict[Session, bytes] = {}  # by session: its peer. To be read

    def __contains__(self, session: Session) -> bool:
        return session in self.entries

    def __iter__(self) -> Iterator[Session]:
        return iter(self.entries)

    def count(self, peer_key: bytes) -> int:
        """How many sessions of this peer there are."""
        return len(self._peers.get(peer_key, ()))

    def newest(self, peer_key: bytes) -> Session | None:
        """The latest session of this peer. It stays."""
        sessions = self._peers.get(peer_key)
        return sessions[-1] if sessions else None

    def add(self, peer_key: bytes, session: Session) -> tuple[list[Session], list[Session]]:
        """Put ``session`` in its place among those of its peer, and make the peer the one used last.

        Returns the sessions that have to leave: the TLS 1.2 session that this one supersedes, and those that are too
        many. They are still here; the newcomer is never among them.
        """
        sessions = self._peers.get(peer_key)
        if sessions is None:
            sessions = self._peers[peer_key] = []
        else:
            self._peers.move_to_end(peer_key)
        data = session.data
        superseded = [] if data.version == TLS_13 else [one for one in sessions if one.data.version != TLS_13]
        at = len(sessions)
        while at and sessions[at - 1].data.time > data.time:
            at -= 1
        sessions.insert(at, session)
        self.entries[session] = peer_key
        surplus = len(sessions) - len(superseded) - self.max_per_peer
        crowded: list[Session] = []
        if surplus > 0:
            crowded = [one for one in sessions if one is not session and one not in superseded][:surplus]
        if len(self._peers) > self.max_peers:
            crowded += self._peers[next(iter(self._peers))]
        return superseded, crowded

    def touch(self, peer_key: bytes) -> None:
        """Make this peer the one used last."""
        if peer_key in self._peers:
            self._peers.move_to_end(peer_key)

    def remove(self, session: Session) -> None:
        """Take ``session`` out, which is here."""
        peer_key = self.entries.pop(session)
        sessions = self._peers[peer_key]
        sessions.remove(session)
        if not sessions:
            del self._peers[peer_key]
