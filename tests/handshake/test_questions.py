"""Questions to the driver: sessions that are kept outside the process, answers in time, late, twice and never."""

from __future__ import annotations

from typing import Any

import pytest

from resumption.connection import Connection
from resumption.constants import AlertDescription as A
from resumption.constants import HandshakeType
from resumption.errors import AlertReceived, Error, InternalError, UnexpectedEOF, UnexpectedMessage
from resumption.handshake import server12, server13
from resumption.handshake.events import (
    PENDING,
    AnswersAtOnce,
    Failed,
    HandshakeCompleted,
    NeedSession,
    Pending,
    Question,
)
from resumption.handshake.server import ExpectClientHello
from resumption.handshake.state import AwaitingAnswer, Output, State
from resumption.ownership import SessionOwner
from resumption.server_context import ServerContext
from resumption.session.model import Session
from resumption.session.verdicts import Mechanism, Reason, Resumption
from tests.handshake.pairs import TLS12, TLS13, VERSIONS, World
from tests.handshake.samples import CHANGE_CIPHER_SPEC, HANDSHAKE, SAMPLES, record
from tests.handshake.scripted12 import Client12
from tests.handshake.scripted13 import Client13, Psk

both_versions = pytest.mark.parametrize("version", VERSIONS, ids=("1.2", "1.3"))


class Asking(ServerContext):
    """A server whose sessions may be elsewhere."""

    def must_ask_outside(self, connection: SessionOwner) -> bool:
        return True


@pytest.fixture
def context(world: World) -> Asking:
    return Asking(world.leaf.chain_pem, world.leaf.key_pem, clock=world.clock, random=world.random)


SECRETS = {TLS12: b"0123456789abcdef" * 3, TLS13: b"0123456789abcdef" * 2}
ID = b"S" * 32


def asked(context: Asking, version: int, *more: bytes) -> tuple[Any, NeedSession]:
    """A client that names a session (in TLS 1.3 further ones), and the question that follows."""
    connection = context.connection()
    peer: Any
    if version == TLS13:
        psks = tuple(Psk(identity, SECRETS[TLS13]) for identity in (ID, *more))
        peer = Client13(connection, psks=psks).say_hello()
        state: type = server13.AwaitSession
    else:
        peer = Client12(connection, session_id=ID).say_hello()
        state = server12.AwaitSession
    peer.accepted()
    assert type(connection._state) is state
    assert connection.bytes_needed == 0
    return peer, question_of(peer)


def question_of(peer: Any) -> NeedSession:
    question = peer.events.pop()
    assert isinstance(question, NeedSession)
    return question


def held(world: World, connection: Connection, version: int, **changes: Any) -> Session:
    """The session, its one reference the connection's, as stores hand it over."""
    config = connection.config
    made = world.server_session(config, version, secret=SECRETS[version], **changes)  # type: ignore[arg-type]
    made.acquire(connection.holder)
    made.free()
    return made


def answer(peer: Any, question: NeedSession, session: Session | None) -> Any:
    peer.events += peer.subject.answer(question, session)
    return peer.listen()


def finish(peer: Any, version: int, resumed: bool) -> Resumption:
    if version == TLS13:
        peer.read_flight().say_finished()
        assert peer.resumed == resumed
    elif resumed:
        peer.read_hello()
        from resumption.crypto.schedule12 import MasterSecret12

        peer.use_master(MasterSecret12(peer.suite.hash, SECRETS[TLS12]))
        peer.read_end().say_ccs().say_finished()
    else:
        peer.read_flight().say_key_exchange().say_ccs().say_finished().read_end()
    peer.accepted()
    (completed,) = [event for event in peer.events if isinstance(event, HandshakeCompleted)]
    assert completed.resumption.resumed == resumed
    return completed.resumption


@both_versions
def test_a_question_says_what_is_needed(context: Asking, version: int) -> None:
    _, question = asked(context, version)
    assert question.key == ID
    assert question.version == version
    assert question.partition == context.config.partition
    assert question.mechanism is (Mechanism.STATEFUL_13 if version == TLS13 else Mechanism.SESSION_ID)


@both_versions
def test_an_answer_resumes(world: World, context: Asking, version: int) -> None:
    peer, question = asked(context, version)
    session = held(world, peer.subject, version)
    answer(peer, question, session)
    resumption = finish(peer, version, True)
    assert resumption.mechanism is question.mechanism
    assert session.holders == {peer.subject.holder: 1} or version == TLS13
    peer.subject.free()
    assert session.is_freed


@both_versions
def test_no_answer_is_a_full_handshake(context: Asking, version: int) -> None:
    peer, question = asked(context, version)
    answer(peer, question, None)
    assert finish(peer, version, False).reason is Reason.UNKNOWN


@both_versions
def test_what_is_answered_still_has_to_pass_the_gate(world: World, context: Asking, version: int) -> None:
    peer, question = asked(context, version)
    session = held(world, peer.subject, version, hostname="other.test")
    answer(peer, question, session)
    assert session.is_freed  # the reference was given back
    assert finish(peer, version, False).reason is Reason.OTHER_NAME


def test_tls13_asks_for_one_identity_after_the_other(world: World, context: Asking) -> None:
    peer, question = asked(context, TLS13, b"U" * 32, b"V" * 32)
    for expected in (b"U" * 32, b"V" * 32):
        answer(peer, question, None)
        question = question_of(peer)
        assert question.key == expected
    answer(peer, question, held(world, peer.subject, TLS13, session_id=b"V" * 32))
    finish(peer, TLS13, True)


@both_versions
def test_f74_a_late_answer_is_dropped_and_its_reference_given_back(world: World, context: Asking, version: int) -> None:
    peer, question = asked(context, version)
    answer(peer, question, None)
    late = held(world, peer.subject, version)
    assert list(peer.subject.answer(question, late)) == []
    assert late.is_freed
    finish(peer, version, False)
    late = held(world, peer.subject, version)
    assert list(peer.subject.answer(question, late)) == []
    assert late.is_freed


@both_versions
def test_f74_an_answer_after_the_end_is_dropped(world: World, context: Asking, version: int) -> None:
    for freed in (False, True):
        peer, question = asked(context, version)
        if freed:
            peer.subject.free()
        else:
            with pytest.raises(UnexpectedEOF):
                peer.subject.receive_eof()
        late = held(world, peer.subject, version)
        assert list(peer.subject.answer(question, late)) == []
        assert late.is_freed


@both_versions
def test_an_answer_to_another_question_is_dropped(world: World, context: Asking, version: int) -> None:
    peer, question = asked(context, version)
    _, other = asked(context, version)
    session = held(world, peer.subject, version)
    assert list(peer.subject.answer(other, session)) == []
    assert session.is_freed
    answer(peer, question, held(world, peer.subject, version))
    finish(peer, version, True)


def test_what_comes_meanwhile_waits(world: World, context: Asking) -> None:
    peer, question = asked(context, TLS13)
    peer.give(CHANGE_CIPHER_SPEC).accepted()
    answer(peer, question, held(world, peer.subject, TLS13))
    finish(peer, TLS13, True)


@both_versions
def test_a_misplaced_message_that_came_meanwhile_is_refused_with_the_answer(context: Asking, version: int) -> None:
    for kind, raw in SAMPLES.items():
        if kind == HandshakeType.client_key_exchange and version == TLS12:
            continue
        peer, question = asked(context, version)
        peer.give(record(HANDSHAKE, raw)).accepted()
        with pytest.raises(UnexpectedMessage):
            list(peer.subject.answer(question, None))
        peer.subject.free()


@both_versions
def test_an_alert_that_came_meanwhile_is_heard_with_the_answer(context: Asking, version: int) -> None:
    peer, question = asked(context, version)
    peer.give(record(21, bytes((2, A.internal_error)))).accepted()
    with pytest.raises(AlertReceived):
        list(peer.subject.answer(question, None))


@both_versions
def test_a_failure_while_a_session_is_being_resumed_gives_its_reference_back(
    world: World, context: Asking, version: int
) -> None:
    peer, question = asked(context, version)
    session = held(world, peer.subject, version)
    answer(peer, question, session)
    assert peer.subject.session is None  # the client has proved nothing yet
    peer.give(record(21, bytes((2, A.internal_error))))
    assert isinstance(peer.error, AlertReceived)
    peer.subject.free()
    assert session.is_freed


def test_a_wrong_binder_gives_the_reference_back(world: World, context: Asking) -> None:
    peer = Client13(context.connection(), psks=(Psk(ID, b"another secret of 32 bytes......"),)).say_hello()
    session = held(world, peer.subject, TLS13)
    question = question_of(peer)
    with pytest.raises(Error):
        list(peer.subject.answer(question, session))
    assert session.is_freed


def test_an_invalid_key_share_behind_a_good_binder_gives_the_reference_back(world: World, context: Asking) -> None:
    peer = Client13(context.connection(), psks=(Psk(ID, SECRETS[TLS13]),))
    peer.say_hello(add={51: b"\0\x24\0\x1d\0\x20" + bytes(32)})
    session = held(world, peer.subject, TLS13)
    with pytest.raises(Error):
        list(peer.subject.answer(question_of(peer), session))
    peer.subject.free()
    assert session.is_freed


class Guess(Question[int]):
    """A question of another kind: its answer is a number, and what it holds is counted."""

    def __init__(self, at_once: int | Pending = PENDING) -> None:
        self.answered_at_once = at_once
        self.dropped: list[int] = []

    def at_once(self, host: AnswersAtOnce | None, connection: Any) -> int | Pending:
        return self.answered_at_once

    def fallback(self, error: Exception | None) -> int:
        if error is not None:
            raise error
        return -1

    def discard(self, answer: int, connection: Any) -> None:
        self.dropped.append(answer)


class Guessing(AwaitingAnswer[int]):
    """What became of it."""

    def __init__(self) -> None:
        self.answers: list[int] = []

    def on_answer(self, answer: int, out: Output) -> State:
        self.answers.append(answer)
        return ExpectClientHello(out.config)  # type: ignore[attr-defined]


def guessing(context: Asking, question: Guess) -> tuple[Connection, Guessing]:
    """A server whose next message, whatever it is, makes it ask ``question``."""
    state = Guessing()

    class Curious(State):
        def receive(self, raw: bytes, out: Output) -> State:
            out.ask(question)
            return state

    connection = context.connection()
    connection._begun = True
    connection._state = Curious()
    return connection, state


def test_every_kind_of_question_is_asked_answered_once_and_dropped_when_late(context: Asking) -> None:
    question = Guess()
    connection, state = guessing(context, question)
    assert list(connection.receive_data(record(HANDSHAKE, SAMPLES[HandshakeType.finished]))) == [question]
    assert connection.bytes_needed == 0
    assert list(connection.answer(Guess(), 1)) == []
    assert state.answers == []
    assert list(connection.answer(question, 2)) == []
    assert list(connection.answer(question, 3)) == []
    assert list(connection.answer(question, Failed())) == []
    assert state.answers == [2]
    assert question.dropped == [3]
    assert connection.bytes_needed == 5


def test_a_question_that_is_answered_at_once_never_reaches_the_driver(context: Asking) -> None:
    connection, state = guessing(context, Guess(7))
    assert list(connection.receive_data(record(HANDSHAKE, SAMPLES[HandshakeType.finished]))) == []
    assert state.answers == [7]


def test_a_question_without_an_answer_falls_back_or_ends_the_connection(context: Asking) -> None:
    question = Guess()
    connection, state = guessing(context, question)
    connection.receive_data(record(HANDSHAKE, SAMPLES[HandshakeType.finished]))
    connection.answer(question, Failed())
    assert state.answers == [-1]
    connection, state = guessing(context, question)
    connection.receive_data(record(HANDSHAKE, SAMPLES[HandshakeType.finished]))
    with pytest.raises(InternalError):
        list(connection.answer(question, Failed(ValueError("no idea"))))
    assert state.answers == []
    assert connection.data_to_send() == record(21, bytes((2, A.internal_error)))
    assert list(connection.answer(question, 5)) == []


def test_a_question_that_does_not_say_how_it_is_answered_ends_the_connection() -> None:
    with pytest.raises(InternalError, match="nobody to ask"):
        Question.fetch(Guess(), None, None)
    with pytest.raises(InternalError, match="not answered"):
        Question.fallback(Guess(), None)
