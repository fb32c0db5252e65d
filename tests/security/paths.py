"""The ways to name a session, each through whole handshakes of contexts that share what can be shared.

A `Path` is a mechanism and how servers come by each other's sessions: from a callback that looks into every cache of
the stage, from a sealed store, or from the ticket itself. A `Stage` makes contexts for one path. All its servers hold
the same ticket keys and the same store and reach the same caches, so that a session of one that is not resumed by
another was declined for a reason, not for want of means.
"""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

from resumption.client_context import ClientContext
from resumption.connection import Connection
from resumption.constants import ExtensionType
from resumption.handshake.events import Failed, HostChosen, NeedSession, SessionIssued
from resumption.ownership import SessionOwner
from resumption.server_context import ServerContext
from resumption.session.model import Session
from resumption.session.stores.memory import MemoryStore
from resumption.session.tickets.keys import TicketKeys
from resumption.session.verdicts import Mechanism, Reason
from tests.handshake.pairs import TLS12, TLS13, Pair, Tap, Took, World, feed
from tests.pki import Credential, Pki

SECRET = bytes(range(7, 71))


class Path(NamedTuple):
    mechanism: Mechanism
    shared_by: str  # "callback", "store" or "ticket"

    @property
    def is_tls13(self) -> bool:
        return self.mechanism.version == TLS13

    @property
    def is_sealed(self) -> bool:
        """Whether the partition already keeps the session from being opened, before the gate is asked."""
        return self.shared_by != "callback"

    @property
    def is_ticket(self) -> bool:
        return self.shared_by == "ticket"

    @property
    def foreign(self) -> Reason:
        """Why a session of another partition is declined."""
        return Reason.UNKNOWN if self.is_sealed else Reason.OTHER_PARTITION

    def __str__(self) -> str:
        return self.mechanism.value if self.is_ticket else f"{self.mechanism.value}-{self.shared_by}"


PATHS = (
    Path(Mechanism.SESSION_ID, "callback"),
    Path(Mechanism.SESSION_ID, "store"),
    Path(Mechanism.TICKET_12, "ticket"),
    Path(Mechanism.STATEFUL_13, "callback"),
    Path(Mechanism.STATEFUL_13, "store"),
    Path(Mechanism.STATELESS_13, "ticket"),
)


def carry(
    pair: Pair, context: ServerContext | None, to_server: Tap | None = None, to_client: Tap | None = None
) -> Took:
    """As `tests.handshake.pairs.pump`, and the server's questions are answered by its store."""
    outside = context.outside if context is not None else None
    took: list[list[Any]] = [[], []]
    errors: list[Any] = [None, None]
    sides = ((pair.client, pair.server, to_server, 1), (pair.server, pair.client, to_client, 0))
    while True:
        silent = True
        for sender, receiver, tap, side in sides:
            data = sender.data_to_send()
            if data and tap is not None:
                data = tap(data)
            if not data:
                continue
            silent = False
            if receiver.error is not None:
                continue
            events, error = feed(receiver, data)
            for event in events:
                if isinstance(event, HostChosen):
                    outside = event.context.outside
                if outside is not None and side and isinstance(event, NeedSession):
                    try:
                        answer: Any = event.fetch(outside, receiver)
                    except Exception as trouble:  # as the drivers do
                        answer = Failed(trouble)
                    events = [*events, *receiver.answer(event, answer)]
                elif outside is not None and side and isinstance(event, SessionIssued):
                    with contextlib.suppress(Exception):  # as the drivers do
                        outside.session_issued(receiver, event.session)
            took[side].extend(events)
            errors[side] = errors[side] or error
        if silent:
            return Took(took[0], took[1], errors[0], errors[1])


_kept: list[Session] = []


def keep(session: Session | None) -> Session:
    """A reference of the application's, given back when the test is over."""
    assert session is not None
    _kept.append(session)
    return session


def give_back() -> None:
    """Every reference that `keep` was shown."""
    while _kept:
        _kept.pop().free()


class Stage(World):
    """Servers that share all they can, and clients, for one path."""

    def __init__(self, pki: Pki, path: Path) -> None:
        super().__init__(pki, seed=str(path))
        self.path = path
        self.keys = TicketKeys.from_secret(SECRET)
        self.store = MemoryStore(clock=self.clock)
        self.servers: list[ServerContext] = []
        self.contexts: list[ServerContext | ClientContext] = []
        self.connections: list[Connection] = []

    def close(self) -> None:
        """The end of everything that was made here."""
        for connection in self.connections:
            connection.free()
        for context in self.contexts:
            context.close()
        self.keys.close()

    def server(self, **changes: Any) -> ServerContext:
        path = self.path
        settings: dict[str, Any] = {"tickets": self.keys}
        if path.is_tls13:
            settings.update(minimum_version=TLS13, stateful=path.mechanism is Mechanism.STATEFUL_13)
        else:
            settings.update(maximum_version=TLS12)
        if path.shared_by == "store":
            settings.update(store=self.store)
        elif path.mechanism is Mechanism.SESSION_ID:
            settings.update(tickets=None)
        context = self.server_context(**{**settings, **changes})
        if path.shared_by == "callback":
            context.on_get_session = self._find
        self.servers.append(context)
        self.contexts.append(context)
        return context

    def _find(self, connection: SessionOwner, session_id: bytes) -> tuple[Session, bool] | None:
        """What an application does that lets its contexts look into each other's caches."""
        for context in self.servers:
            for session in context.sessions:
                if session.id == session_id:
                    return session, True
        return None

    def client(self, **changes: Any) -> ClientContext:
        context = self.client_context(**changes)
        self.contexts.append(context)
        if self.path.mechanism is Mechanism.SESSION_ID:  # a client without RFC 5077
            context.config.hello_extensions.pop(int(ExtensionType.session_ticket))
        return context

    def meet(  # type: ignore[override]
        self,
        clients: ClientContext,
        servers: ServerContext,
        *,
        session: Session | None = None,
        name: str = "localhost",
        purpose: str = "",
        fresh: bool = False,
        to_server: Tap | None = None,
        to_client: Tap | None = None,
    ) -> Pair:
        """One handshake, however it ends. A session is offered by hand, or the client's cache is asked."""
        client = clients.connection(name, session=session, fresh=fresh, purpose=purpose)
        return self.join(client, servers, to_server, to_client)

    def join(
        self, client: Connection, servers: ServerContext, to_server: Tap | None = None, to_client: Tap | None = None
    ) -> Pair:
        pair = Pair(client, servers.connection(), Took([], [], None, None))
        self.connections += (pair.client, pair.server)
        return pair._replace(took=carry(pair, servers, to_server, to_client))

    def session(self, clients: ClientContext, servers: ServerContext, *, name: str = "localhost") -> Session:
        """A new session from a full handshake."""
        pair = self.meet(clients, servers, name=name, fresh=True).check()
        assert not pair.client.session_reused
        session = keep(pair.client.get1_session())
        assert session.is_resumable
        return session

    def resumes(
        self, clients: ClientContext, servers: ServerContext, session: Session, name: str = "localhost"
    ) -> Pair:
        """The control of every test here: the session is good where it belongs."""
        pair = self.meet(clients, servers, session=session, name=name).check()
        assert pair.server.session_reused, pair.server.resumption
        assert pair.client.session_reused
        assert pair.server.resumption is not None
        assert pair.server.resumption.mechanism is self.path.mechanism
        return pair


def reason_of(pair: Pair) -> Reason | None:
    assert pair.server.resumption is not None
    return pair.server.resumption.reason


def declined(pair: Pair, reason: Reason, leaf: Credential | None = None) -> None:
    """A full handshake took place after all, for this reason and with this certificate, and the connection works."""
    pair.check()
    assert not pair.server.session_reused
    assert not pair.client.session_reused
    assert reason_of(pair) is reason
    if leaf is not None:
        assert pair.client.peer_chain == leaf.chain_der
    pair.talk()


def disguised(session: Session, **changes: Any) -> Session:
    """A copy whose facts a hostile client has rewritten to have it offered where it wants."""
    return keep(Session.create(session.data.replaced(**changes), session.secret))
