"""The application's say about tickets: which key seals one, what is in it, and what becomes of one that came."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import resumption
from resumption import openssl as face
from resumption.errors import AlertReceived, ConfigurationError, InternalError
from resumption.session.tickets.callbacks import TicketKeyCallback, TicketOutcome, TicketReturn
from resumption.session.tickets.keys import TicketKeys
from resumption.session.tickets.openssl_tickets import OpenSSLTicketKeys
from tests.handshake.pairs import TLS12, TLS13, VERSIONS, World, issued, pump
from tests.pki import Pki

ONE, OTHER = (OpenSSLTicketKeys(bytes([n]) * 16 + bytes(range(n, n + 64))) for n in (1, 2))
FIRST = {TLS12: 1, TLS13: 2}  # tickets of a full handshake
each_version = pytest.mark.parametrize("version", VERSIONS)


class Ends:
    """A client's and a server's context. No session is looked up by its id unless the cache is switched on."""

    def __init__(self, world: World, version: int, **server: Any) -> None:
        self.world = world
        self.server = world.server_context(**{"tickets": "auto", **server})
        self.client = world.client_context(maximum_version=version)

    def meet(self) -> tuple[bool, int]:
        """Whether a handshake was resumed, and how many tickets the client got in it."""
        pair = self.world.meet(self.client, self.server)
        try:
            pair.check()
            resumed = pair.client.session_reused
            return resumed, len([one for one in issued(pair.took.client) if one.has_ticket])
        finally:
            pair.free()

    def fail(self) -> str:
        """The server's error in a handshake, of which the client hears internal_error."""
        pair = self.world.meet(self.client, self.server)
        try:
            assert isinstance(pair.took.server_error, InternalError)
            assert isinstance(pair.took.client_error, AlertReceived)
            assert "internal_error" in str(pair.took.client_error)
            return str(pair.took.server_error)
        finally:
            pair.free()


@pytest.fixture
def make(pki: Pki) -> Iterator[Callable[..., Ends]]:
    made: list[Ends] = []

    def make(version: int, **server: Any) -> Ends:
        made.append(Ends(World(pki), version, **server))
        return made[-1]

    yield make
    for ends in made:
        ends.client.close()
        ends.server.close()


@each_version
@pytest.mark.parametrize(
    ("answer", "resumed", "renewed"),
    [(ONE, True, 0), ((ONE, False), True, 0), ((ONE, True), True, 1), (None, False, None), (OTHER, False, None)],
    ids=["1", "1 as a pair", "2", "0", "another key"],
)
def test_what_a_key_callback_answers_for_a_ticket(
    make: Callable[..., Ends], version: int, answer: Any, resumed: bool, renewed: int | None
) -> None:
    asked: list[bytes | None] = []

    def choose(connection: Any, name: bytes | None) -> Any:
        asked.append(name)
        return ONE if name is None else answer

    ends = make(version, tickets=TicketKeyCallback(choose))
    assert ends.meet() == (False, FIRST[version])
    assert asked == [None] * FIRST[version]
    assert ends.meet() == (resumed, FIRST[version] if renewed is None else renewed)
    assert asked[FIRST[version]] == ONE.name


@each_version
def test_a_key_callback_can_have_no_ticket_issued(make: Callable[..., Ends], version: int) -> None:
    ends = make(version)
    assert face.SSL_CTX_set_tlsext_ticket_key_evp_cb(ends.server, lambda connection, name: None)
    assert ends.meet() == (False, 0)
    counts = ends.server.stats().tickets
    assert counts["refused"] == FIRST[version]
    assert not face.SSL_CTX_set_tlsext_ticket_key_cb(ends.server, lambda connection, name: None)  # frozen


@each_version
@pytest.mark.parametrize("when", ["sealing", "opening"])
@pytest.mark.parametrize("how", ["raises", "returns nonsense"])
def test_a_key_callback_that_fails_is_an_internal_error(
    make: Callable[..., Ends], version: int, when: str, how: str
) -> None:
    def choose(connection: Any, name: bytes | None) -> Any:
        if (name is None) is (when == "opening"):
            return ONE
        return {}["nothing"] if how == "raises" else "nonsense"

    ends = make(version, tickets=TicketKeyCallback(choose))
    if when == "opening":
        ends.meet()
    server = ends.server.connection()
    client = ends.client.connection("localhost")
    with pytest.raises(KeyError if how == "raises" else resumption.Error):
        pump(client, server).check()
    assert isinstance(server.error, InternalError)
    assert server.held_session is None
    client.free()
    server.free()


def test_a_key_callback_by_itself() -> None:
    with pytest.raises(ConfigurationError):
        TicketKeyCallback(None)  # type: ignore[arg-type]
    keys = TicketKeyCallback(lambda connection, name: ONE)
    for ticket in (b"", b"short", ONE.name, ONE.name + bytes(100)):
        assert keys.open(ticket, partition=b"", mechanism="", now=0.0) is None
    assert keys.status(0.0).mode == "callback"
    assert keys.status(0.0).counts == {"sealed": 0, "opened": 0, "unknown": 2, "rejected": 2, "refused": 0}
    assert keys.lifetime_left(0.0) == 604_800
    with pytest.raises(TypeError):
        keys.__reduce__()
    keys.close()
    assert keys.lifetime_left(0.0) == 0
    assert keys.open(ONE.name + bytes(100), partition=b"", mechanism="", now=0.0) is None
    assert keys.status(0.0).not_issuing_because
    assert repr(keys) == "<TicketKeyCallback>"


@each_version
@pytest.mark.parametrize(
    ("answer", "resumed", "renewed"),
    [
        (TicketReturn.USE, True, 0),
        (TicketReturn.USE_RENEW, True, 1),
        (TicketReturn.IGNORE, False, 0),
        (TicketReturn.IGNORE_RENEW, False, None),
    ],
)
def test_what_the_decrypt_hook_decides(
    make: Callable[..., Ends], version: int, answer: TicketReturn, resumed: bool, renewed: int | None
) -> None:
    told: list[tuple[bool, int, TicketOutcome]] = []

    def decrypt(connection: Any, session: Any, name: bytes, outcome: TicketOutcome) -> int:
        told.append((session is not None, len(name), outcome))
        return answer if session is not None else TicketReturn.IGNORE_RENEW

    ends = make(version)
    assert face.SSL_CTX_set_session_ticket_cb(ends.server, None, decrypt)
    assert ends.meet() == (False, FIRST[version])
    assert told == ([(False, 0, TicketOutcome.EMPTY)] if version == TLS12 else [])
    told.clear()
    assert ends.meet() == (resumed, FIRST[version] if renewed is None else renewed)
    outcome = TicketOutcome.SUCCESS if version == TLS12 else TicketOutcome.SUCCESS_RENEW
    assert told == [(True, 16, outcome)]


@each_version
@pytest.mark.parametrize(("answer", "renewed"), [(TicketReturn.IGNORE, False), (TicketReturn.IGNORE_RENEW, True)])
def test_a_ticket_that_does_not_open_is_the_decrypt_hooks_to_judge(
    make: Callable[..., Ends], version: int, answer: TicketReturn, renewed: bool
) -> None:
    ends = make(version)
    ends.meet()
    ends.server.close()
    ends.server = ends.world.server_context(tickets=TicketKeys.generate())
    outcomes: list[TicketOutcome] = []

    def decrypt(connection: Any, session: Any, name: bytes, outcome: TicketOutcome) -> int:
        assert session is None
        outcomes.append(outcome)
        return answer

    ends.server.set_ticket_callbacks(None, decrypt)
    assert ends.meet() == (False, FIRST[version] if renewed else 0)
    assert outcomes == [TicketOutcome.NO_DECRYPT]


@each_version
@pytest.mark.parametrize("answer", [TicketReturn.ABORT, 17, None])
def test_the_decrypt_hook_can_end_the_connection(make: Callable[..., Ends], version: int, answer: Any) -> None:
    ends = make(version)
    ends.meet()
    seen: list[resumption.Session] = []
    ends.server.set_ticket_callbacks(None, lambda connection, session, name, outcome: seen.append(session) or answer)
    ends.fail()
    (session,) = seen
    assert session.is_freed


def test_what_did_not_open_cannot_be_used(make: Callable[..., Ends]) -> None:
    ends = make(TLS12)
    ends.server.set_ticket_callbacks(None, lambda *told: TicketReturn.USE)
    assert "did not open" in ends.fail()


@each_version
def test_a_hook_that_raises_is_an_internal_error_and_leaks_nothing(make: Callable[..., Ends], version: int) -> None:
    ends = make(version)
    ends.meet()
    ends.server.set_ticket_callbacks(None, lambda *told: {}["nothing"])
    server = ends.server.connection()
    client = ends.client.connection("localhost")
    with pytest.raises(KeyError):
        pump(client, server)
    assert isinstance(server.error, InternalError)
    assert server.held_session is None
    client.free()
    server.free()


@each_version
def test_the_gate_judges_what_the_hook_lets_pass(make: Callable[..., Ends], version: int) -> None:
    """USE is no more than a wish; a session that is declined is followed by new tickets, as ever."""
    ends = make(version, session_timeout=100)
    ends.meet()
    ends.server.set_ticket_callbacks(None, lambda *told: TicketReturn.USE)
    for session in ends.client.sessions:  # the client's clock is slow, say
        session.time, session.timeout = ends.world.clock() + 50, 10_000
    ends.world.clock.advance(101)
    (session, *_) = ends.client.sessions
    pair = ends.world.meet(ends.client, ends.server, session=session)
    pair.check()
    assert not pair.server.session_reused
    assert pair.server.resumption is not None
    assert pair.server.resumption.reason is resumption.Reason.EXPIRED
    assert len(issued(pair.took.client)) == FIRST[version]
    pair.free()


@each_version
@pytest.mark.parametrize("stateful", [False, True])
def test_application_data_travels_over_a_chain_of_resumptions(
    make: Callable[..., Ends], version: int, stateful: bool
) -> None:
    if stateful and version == TLS12:
        pytest.skip("a stateful server makes no tickets in TLS 1.2")
    ends = make(version, stateful=stateful)
    generated: list[bytes] = []

    def generate(connection: Any, session: resumption.Session) -> None:
        generated.append(session.ticket_appdata)
        assert session.secret == b""
        if not session.ticket_appdata:
            face.SSL_SESSION_set1_ticket_appdata(session, b"first met at noon")

    ends.server.set_ticket_callbacks(generate)
    for number in range(4):
        pair = ends.world.meet(ends.client, ends.server).check()
        session = pair.server.session
        assert session is not None
        assert face.SSL_SESSION_get0_ticket_appdata(session) == b"first met at noon", number
        assert pair.client.session_reused is (number > 0)
        pair.free()
    assert generated[: FIRST[version]] == [b""] * FIRST[version]
    assert set(generated[FIRST[version] :]) <= {b"first met at noon"}


def test_the_generate_hook_can_refuse(make: Callable[..., Ends]) -> None:
    ends = make(TLS12)
    ends.server.set_ticket_callbacks(lambda connection, session: False)
    assert "refused" in ends.fail()
    ends.server.set_ticket_callbacks(None)
    assert ends.meet() == (False, 1)
