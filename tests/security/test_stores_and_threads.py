"""Caches, stores and threads under whole handshakes: failures F70 to F79."""

from __future__ import annotations

import gc
import hashlib
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from resumption.errors import BadRecordMac, TooManyMessages, UnexpectedEOF
from resumption.handshake.events import NeedSession
from resumption.server_context import ServerContext
from resumption.session.cache import CacheMode, SessionCache
from resumption.session.model import APPLICATION, Session
from resumption.session.verdicts import Mechanism, Reason
from resumption.wire.messages import ServerHello
from tests.handshake.pairs import Pair, World
from tests.security.paths import Stage, declined, disguised, keep, reason_of
from tests.security.test_wrong_context import insistent

only = pytest.mark.parametrize


def by_store(stage: Stage) -> None:
    if stage.path.shared_by != "store":
        pytest.skip("no store is asked")


def test_f70_handshakes_never_fill_a_cache_beyond_its_limit(stage: Stage) -> None:
    client, server = stage.client(), stage.server()
    for context in (client, server):
        context.sessions = SessionCache(mode=context.sessions.mode, max_size=4, max_per_peer=4, clock=stage.clock)
    for number in range(20):
        pair = stage.meet(client, server, fresh=bool(number % 3), purpose=str(number % 5)).check()
        if number % 4 == 0 and pair.server.session is not None:
            pair.server.session.mark_not_resumable()
        for context in (client, server):
            assert len(context.sessions) <= 4
            assert len(list(context.sessions)) == len(context.sessions)
    for context in (client, server):
        context.sessions.close()
        assert len(context.sessions) == 0


def fingerprint(session: Session) -> bytes:
    return hashlib.sha256(session.to_packed()).digest()


def test_f71_a_session_that_many_threads_resume_stays_as_it_was(stage: Stage) -> None:
    client, server = stage.client(session_cache_mode=CacheMode.OFF), stage.server(session_timeout=7_200)
    server.on_get_session = None
    session = stage.session(client, server)
    theirs = [(one, fingerprint(one)) for one in server.sessions]
    before, references = fingerprint(session), session.references
    stage.clock.advance(4_000)  # late enough for TLS 1.2 tickets to be renewed
    resumed: list[bool] = []
    errors: list[BaseException] = []
    start = threading.Barrier(8)

    def resume() -> None:
        try:
            start.wait()
            for _ in range(4):
                pair = stage.meet(client, server, session=session).check()
                resumed.append(pair.server.session_reused)
                pair.free()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=resume) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    single_use = stage.path.mechanism is Mechanism.STATEFUL_13
    assert resumed.count(True) == (1 if single_use else 32), "a stateful ticket is spent by one, and by one only"
    assert fingerprint(session) == before
    for one, digest in theirs:
        if not one.is_freed:
            assert fingerprint(one) == digest
    assert session.references == references


def test_f73_tickets_without_end_end_the_connection_and_not_the_memory(stage: Stage) -> None:
    if not stage.path.is_tls13:
        pytest.skip("TLS 1.2 has one ticket for each handshake")
    client, server = stage.client(max_post_handshake_messages=40), stage.server()
    pair = stage.meet(client, server).check()
    for _ in range(60):
        assert pair.server.new_session_ticket()
    with pytest.raises(TooManyMessages):
        list(pair.client.receive_data(pair.server.data_to_send()))
    assert len(client.sessions) == 8


def asked(stage: Stage) -> tuple[Pair, NeedSession, ServerContext]:
    """A server that waits for its store."""
    client, server = stage.client(), stage.server()
    session = stage.session(client, server)
    server.sessions.flush_all()
    connection, end = client.connection("localhost", session=session), server.connection()
    stage.connections += (connection, end)
    (question,) = end.receive_data(connection.data_to_send())
    assert isinstance(question, NeedSession)
    assert end.data_to_send() == b"", "nothing is said before the answer"
    return Pair(connection, end, None), question, server  # type: ignore[arg-type]


def finish(pair: Pair) -> None:
    pair.pump().check()
    assert pair.client.handshake_complete
    assert pair.server.handshake_complete


def test_f74_no_answer_is_a_full_handshake_and_a_late_one_is_dropped(stage: Stage) -> None:
    by_store(stage)
    pair, question, server = asked(stage)
    list(pair.server.answer(question, None))
    finish(pair)
    assert not pair.server.session_reused
    outside = server.outside
    assert outside is not None
    late = outside.find_session(pair.server, question)
    assert late is not None
    cached = late in server.sessions
    assert late.references == 1 + cached
    assert cached is not stage.path.is_tls13
    assert list(pair.server.answer(question, late)) == []
    server.sessions.discard(late)
    assert late.is_freed, "the late answer was given back"
    assert not pair.server.session_reused
    pair.talk()


def test_f74_a_second_answer_and_one_after_the_end_are_dropped(stage: Stage) -> None:
    by_store(stage)
    pair, question, server = asked(stage)
    outside = server.outside
    assert outside is not None
    twice = [keep(Session()) for _ in range(2)]
    for one in twice:
        one.acquire(pair.server.holder)
    session = outside.find_session(pair.server, question)
    assert session is not None
    list(pair.server.answer(question, session))
    assert list(pair.server.answer(question, twice[0])) == []
    finish(pair)
    assert pair.server.session_reused
    pair.server.free()
    assert list(pair.server.answer(question, twice[1])) == []
    assert [one.references for one in twice] == [1, 1]


@only("trouble", ["raises", "garbage", "another's record", "rolled back", "closed"])
def test_f74_f76_whatever_a_store_does_the_handshake_succeeds(stage: Stage, trouble: str) -> None:
    by_store(stage)
    client, server = stage.client(), stage.server()
    session = stage.session(client, server)
    values: Any = stage.store._values
    (name, (record, expires_at)), *_ = reversed(values.items())
    if trouble == "closed":
        stage.store.close()
    elif trouble == "raises":
        stage.store.get = stage.store.take = _fail  # type: ignore[method-assign]
    else:
        for key in list(values):
            if trouble == "garbage":
                values[key] = (bytes(len(record)), expires_at)
            elif trouble == "another's record":
                values[key] = (record[:-1] + b"\0", expires_at)
            else:
                values[key] = (values[key][0][:-5], expires_at)
    server.sessions.flush_all()
    silent = trouble in ("raises", "closed")
    declined(stage.meet(client, server, session=session), Reason.STORE_UNAVAILABLE if silent else Reason.UNKNOWN)
    assert name


def _fail(*args: object) -> Any:
    raise RuntimeError("out of order")


def test_f77_in_quiet_every_connection_but_the_first_resumes(stage: Stage) -> None:
    client, server = stage.client(), stage.server()
    results = [stage.meet(client, server).check() for _ in range(20)]
    assert [pair.client.session_reused for pair in results] == [False] + [True] * 19
    assert [pair.server.session_reused for pair in results] == [False] + [True] * 19
    for pair in results[1:]:
        for end in (pair.client, pair.server):
            assert end.resumption is not None
            assert end.resumption.mechanism is stage.path.mechanism
    assert server.session_stats.hits == 19
    assert client.session_stats.connect_good == server.session_stats.accept_good == 20


# F78: what ends a session


def damage(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def end_with_fatal_alert(pair: Pair) -> None:
    pair.client.send_data(b"x")
    took = pair.pump(to_server=damage)
    assert isinstance(took.server_error, BadRecordMac)


def end_with_fatal_alert_from_the_peer(pair: Pair) -> None:
    pair.server.send_data(b"x")
    took = pair.pump(to_client=damage)
    assert isinstance(took.client_error, BadRecordMac)
    assert took.server_error is not None


def end_cut(pair: Pair) -> None:
    for end in (pair.client, pair.server):
        with pytest.raises(UnexpectedEOF):
            end.receive_eof()


def end_cleanly(pair: Pair) -> None:
    pair.client.close()
    pair.server.close()
    pair.pump().check()


def end_forgotten(pair: Pair) -> None:
    pair.free()


@only(
    ("end", "fatal"),
    [
        (end_with_fatal_alert, True),
        (end_with_fatal_alert_from_the_peer, True),
        (end_cut, False),
        (end_cleanly, False),
        (end_forgotten, False),
    ],
)
def test_f78_only_a_fatal_alert_of_tls12_ends_the_session(
    stage: Stage, end: Callable[[Pair], None], fatal: bool
) -> None:
    if stage.path.is_sealed and fatal and not stage.path.is_tls13:
        pytest.skip("what was handed out sealed cannot be called back")
    client, server = stage.client(), stage.server()
    server.on_get_session = None
    pair = stage.meet(client, server).check()
    ended = fatal and not stage.path.is_tls13
    end(pair)
    assert (len(client.sessions) == 0) == ended
    if stage.path.mechanism is Mechanism.SESSION_ID or stage.path.shared_by == "callback":
        assert (len(server.sessions) == 0) == ended
    again = stage.meet(client, server).check()
    assert again.server.session_reused == (not ended)


@only("part", range(1, 3))
def test_f78_a_handshake_that_is_cut_publishes_nothing(stage: Stage, part: int) -> None:
    """The client's last flight never arrives; or the server's first does not."""
    heard: list[Session] = []
    client, server = stage.client(), stage.server()
    for context in (client, server):
        context.on_new_session = lambda connection, session: heard.append(session)
    flights = [0]

    def lose(data: bytes) -> bytes:
        flights[0] += 1
        return data if flights[0] < part else b""

    pair = stage.meet(client, server, to_server=lose if part == 2 else None, to_client=lose if part == 1 else None)
    for end in (pair.client, pair.server):
        if not end.handshake_complete:
            with pytest.raises(UnexpectedEOF):
                end.receive_eof()
    assert not pair.server.handshake_complete
    assert heard == []
    assert len(server.sessions) == 0
    assert len(client.sessions) == 0
    assert not stage.store._values


# F79: what a stranger can tell from the answer


def shape(flights: list[bytes]) -> list[Any]:
    """What everyone sees of a server: its records' types and lengths, and the ServerHello but for its random bytes."""
    seen: list[Any] = []
    for flight in flights:
        while flight:
            length = int.from_bytes(flight[3:5], "big")
            body, kind = flight[5 : 5 + length], flight[0]
            seen.append((kind, length))
            if kind == 22 and body[0] == 2 and len(seen) == 1:
                size = int.from_bytes(body[1:4], "big")
                hello = ServerHello.parse(body[4 : 4 + size])
                fields = [(number, len(value)) for number, value in hello.extensions.items()]
                seen.append((hello.cipher_suite, len(hello.legacy_session_id_echo), fields))
            flight = flight[5 + length :]
    return seen


def test_f79_unknown_expired_foreign_and_corrupt_look_the_same(stage: Stage) -> None:
    client = stage.client()
    server, other = stage.server(session_timeout=100), stage.server(host_rule="other", session_timeout=100)
    expired, foreign = stage.session(client, server), stage.session(client, other)
    stage.clock.advance(101)
    good = stage.session(client, server)
    names = "ticket" if expired.data.ticket else "session_id"
    name: bytes = getattr(good.data, names)
    corrupt = {names: name[:20] + bytes([name[20] ^ 1]) + name[21:]}
    unknown = {names: bytes(reversed(name))}
    offers = {
        "expired": insistent(expired, stage.clock()),
        "foreign": insistent(foreign, stage.clock()),
        "corrupt": disguised(good, **corrupt),
        "unknown": disguised(good, **unknown),
    }
    shapes = {}
    reasons = {}
    for what, session in offers.items():
        flights: list[bytes] = []

        def look(data: bytes, flights: list[bytes] = flights) -> bytes:
            flights.append(data)
            return data

        pair = stage.meet(client, server, session=session, to_client=look).check()
        assert not pair.server.session_reused
        shapes[what], reasons[what] = shape(flights), reason_of(pair)
    assert shapes["expired"] == shapes["foreign"] == shapes["corrupt"] == shapes["unknown"]
    assert set(reasons.values()) <= {Reason.UNKNOWN, Reason.EXPIRED, stage.path.foreign, Reason.OTHER_PARTITION}
    resumed: list[bytes] = []

    def keep_it(data: bytes) -> bytes:
        resumed.append(data)
        return data

    stage.meet(client, server, session=good, to_client=keep_it).check()
    assert shape(resumed) != shapes["unknown"], "the measure can tell a difference"


def test_f79_ids_are_random_and_long(stage: Stage) -> None:
    """Straight from the system's source, and with no part in common."""
    client = stage.client()
    server = stage.server(random=os.urandom)
    ids = [stage.session(client, server).data for _ in range(12)]
    names = [data.ticket or data.session_id for data in ids]
    assert len(set(names)) == 12
    if not stage.path.is_ticket:
        assert {len(name) for name in names} == {32}
        for place in range(0, 32, 4):
            assert len({name[place : place + 4] for name in names}) == 12


def test_f72_a_forgotten_context_is_collected_without_a_word(world: World) -> None:
    """Its sessions may be older than its cache, and then they are collected first. Any noise fails the test."""
    sessions = [world.client_session(0x0303, session_id=bytes([number]) * 32) for number in range(4)]
    context = world.client_context()
    context.on_get_session = context.find_session  # a cycle, as callbacks make them
    for session in sessions:
        context.sessions.add(session)
    kept = sessions.pop()
    for session in sessions:
        session.free()
    del sessions, session, context
    gc.collect()
    assert kept.holders == {APPLICATION: 1}, "the cache gave back its reference"
    kept.free()
