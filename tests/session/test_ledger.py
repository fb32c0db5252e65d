"""The ledger: whose reference it is, the words for misuse, leaks, tracing, and finalizers and forks in between."""

from __future__ import annotations

import gc
import inspect
import os
import signal
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator

import pytest

from resumption.errors import DoubleFreeError, ReferenceCountError, SessionFreedError, UsageError
from resumption.session import ledger
from resumption.session.model import APPLICATION, Holder, Session, tracing
from tests.session.session_cases import SECRET, data, give_back_all


@pytest.fixture
def session() -> Iterator[Session]:
    one = Session.create(data(), SECRET)
    yield one
    give_back_all(one)


@pytest.fixture
def connection() -> Holder:
    return Holder("connection", "7")


@pytest.fixture
def cache() -> Holder:
    return Holder("cache", "client")


# --- with ------------------------------------------------------------------------------------------------------------


def test_with_after_the_end_is_caught() -> None:
    one = Session()
    one.free()
    entered = False
    with pytest.raises(SessionFreedError), one:
        entered = True
    assert not entered


def test_with_gives_back_the_applications_reference(session: Session, connection: Holder) -> None:
    session.acquire(connection)
    with session.up_ref() as mine:
        assert mine is session
        assert session.references == 3
    assert session.holders == {APPLICATION: 1, connection: 1}


def test_with_gives_it_back_when_the_block_fails() -> None:
    one = Session()
    with pytest.raises(KeyError), one:
        raise KeyError
    assert one.is_freed


# --- whose reference -------------------------------------------------------------------------------------------------


def test_holders_are_counted_apart(session: Session, connection: Holder, cache: Holder) -> None:
    session.acquire(connection).acquire(cache).acquire(connection).up_ref().up_ref("archive")
    assert {str(holder): number for holder, number in session.holders.items()} == {
        "application": 2,
        "connection 7": 2,
        "cache of client": 1,
        "application (archive)": 1,
    }
    assert session.references == 6
    session.free("archive")
    session.release(connection)
    session.free()
    assert session.holders == {APPLICATION: 1, connection: 1, cache: 1}


def test_a_label_is_one_holder_in_all_sessions(session: Session) -> None:
    session.up_ref("archive")
    with Session() as other:
        other.up_ref("archive")
        [label] = [holder for holder in other.holders if holder is not APPLICATION]
        assert label in session.holders
        assert repr(label) == "application (archive)"
        other.free("archive")
    session.free("archive")


def test_holders_without_a_name_have_words() -> None:
    assert [str(Holder(kind)) for kind in ("application", "cache", "connection")] == [
        "application",
        "cache",
        "connection",
    ]


def test_a_borrowed_session_cannot_be_freed(session: Session, connection: Holder, cache: Holder) -> None:
    session.acquire(connection).acquire(cache)
    session.transfer(APPLICATION, connection)
    with pytest.raises(ReferenceCountError) as caught:
        session.free()
    assert str(caught.value) == (
        "the application holds no reference to session 3f9c41d2..; held by: connection 7, cache of client. "
        "Take one with get1_session() or up_ref() before you free it."
    )
    assert session.holders == {connection: 2, cache: 1}


def test_freeing_twice_is_caught_and_harms_nobody(session: Session, connection: Holder) -> None:
    session.acquire(connection)
    session.free()
    with pytest.raises(ReferenceCountError) as caught:
        session.free()
    assert str(caught.value) == (
        "the application already freed its only reference to session 3f9c41d2.. "
        "(switch on resumption.tracing() or RESUMPTION_TRACE=1 to see where)."
    )
    assert not isinstance(caught.value, SessionFreedError)
    assert session.holders == {connection: 1}


@pytest.mark.parametrize("others", [True, False])
def test_freeing_more_than_was_taken_says_so(session: Session, connection: Holder, others: bool) -> None:
    if others:
        session.acquire(connection)
    session.up_ref()
    session.free()
    session.free()
    with pytest.raises(ReferenceCountError, match="already freed its last reference"):
        session.free()


def test_freeing_twice_past_the_end_is_both_errors() -> None:
    one = Session.create(data(), SECRET)
    one.free()
    with pytest.raises(DoubleFreeError, match="the application already freed its only reference to session 3f9c41d2"):
        one.free()
    assert issubclass(DoubleFreeError, ReferenceCountError)
    assert issubclass(DoubleFreeError, SessionFreedError)


def test_freeing_a_borrowed_session_past_the_end_says_who_ended_it(connection: Holder, cache: Holder) -> None:
    one = Session.create(data(), SECRET, holder=connection)
    one.release(connection)
    with pytest.raises(DoubleFreeError) as caught:
        one.free()
    assert str(caught.value) == (
        "the application holds no reference: session 3f9c41d2.. was freed when its last holder (connection 7) let go; "
        "its secrets are gone (switch on resumption.tracing() or RESUMPTION_TRACE=1 to see where)."
    )
    with pytest.raises(DoubleFreeError, match="connection 7 already freed its last"):
        one.release(connection)
    with pytest.raises(DoubleFreeError, match="cache of client holds no reference"):
        one.release(cache)


def test_a_holder_cannot_give_back_what_another_holds(session: Session, connection: Holder, cache: Holder) -> None:
    session.acquire(connection)
    with pytest.raises(ReferenceCountError) as caught:
        session.release(cache)
    assert str(caught.value) == (
        "cache of client holds no reference to session 3f9c41d2..; held by: application, connection 7."
    )
    with pytest.raises(ReferenceCountError):
        session.free("never taken")
    assert session.references == 2


def test_a_reference_is_handed_over(session: Session, connection: Holder, cache: Holder) -> None:
    def holders() -> dict[str, int]:
        return {holder.kind: number for holder, number in session.holders.items()}

    session.transfer(APPLICATION, connection)
    assert holders() == {"connection": 1}
    session.acquire(connection)
    session.transfer(connection, connection)
    assert holders() == {"connection": 2}
    session.transfer(connection, cache)
    assert holders() == {"connection": 1, "cache": 1}
    session.acquire(connection)
    session.transfer(connection, cache)
    assert holders() == {"connection": 1, "cache": 2}
    session.transfer(connection, cache)
    assert holders() == {"cache": 3}
    session.acquire(connection)
    session.transfer(connection, APPLICATION)
    assert holders() == {"cache": 3, "application": 1}
    for absent in (connection, Holder("cache")):
        with pytest.raises(ReferenceCountError):
            session.transfer(absent, APPLICATION)
    assert session.references == 4


def test_handing_over_the_only_reference_is_not_freeing_it(session: Session, connection: Holder) -> None:
    session.transfer(APPLICATION, connection)
    with pytest.raises(ReferenceCountError, match="the application holds no reference to"):
        session.free()
    with pytest.raises(ReferenceCountError, match="held by: connection 7"):
        session.transfer(APPLICATION, connection)


def test_misuse_is_a_usage_error() -> None:
    assert issubclass(ReferenceCountError, UsageError)
    assert issubclass(SessionFreedError, UsageError)


# --- leaks -----------------------------------------------------------------------------------------------------------


def leak(make: Callable[[], Session]) -> tuple[list[str], bytearray]:
    """The warnings that follow when the only name of a session goes away, and its secret's bytes."""
    one = make()
    secret = one._secret
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del one
        gc.collect()
    return [str(warning.message) for warning in caught if warning.category is ResourceWarning], secret


def test_a_session_collected_while_the_application_holds_it_warns_and_is_wiped() -> None:
    warned, secret = leak(lambda: Session.create(data(), SECRET).up_ref().up_ref("archive"))
    assert warned == [
        "session 3f9c41d2.. was collected with 3 references of the application outstanding (switch on "
        "resumption.tracing() or RESUMPTION_TRACE=1 to see where). Give each back with free(), or use `with`."
    ]
    assert secret == bytes(len(SECRET))


def test_with_tracing_the_warning_has_the_places() -> None:
    with tracing():
        warned, _ = leak(lambda: Session.create(data(), SECRET).up_ref("archive"))
    [text] = warned
    line = leak_line(test_with_tracing_the_warning_has_the_places)
    assert (
        f"2 references of the application outstanding (taken at test_ledger.py:{line}, test_ledger.py:{line})" in text
    )


def leak_line(function: Callable[[], None]) -> int:
    lines, first = inspect.getsourcelines(function)
    return first + next(number for number, line in enumerate(lines) if "leak(lambda" in line)


def test_references_given_back_are_not_reported() -> None:
    def make() -> Session:
        one = Session.create(data(), SECRET)
        one.up_ref()
        one.free()
        return one

    with tracing():
        [text], _ = leak(make)
    assert text.count("test_ledger.py") == 1
    assert "1 reference of" in text


def test_a_session_that_only_others_held_is_wiped_without_a_word(connection: Holder, cache: Holder) -> None:
    warned, secret = leak(lambda: Session.create(data(), SECRET, holder=connection).acquire(cache))
    assert warned == []
    assert secret == bytes(len(SECRET))


def test_a_freed_session_is_collected_without_a_word() -> None:
    def make() -> Session:
        one = Session.create(data(), SECRET)
        one.free()
        return one

    assert leak(make)[0] == []


def test_a_session_that_was_never_finished_is_collected_without_a_word() -> None:
    def clock() -> float:
        raise KeyError

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(KeyError):
            Session(now=clock)
        gc.collect()


def test_a_freed_session_goes_without_the_collector(connection: Holder, cache: Holder) -> None:
    gc.disable()
    try:
        one = Session.create(data(), SECRET).acquire(connection).acquire(cache)
        one.ex_data["k"] = "v"
        for holder in list(one.holders):
            one.release(holder)
        watched = weakref.ref(one)
        del one
        assert watched() is None
    finally:
        gc.enable()


def test_anything_can_be_counted() -> None:
    class Plain(ledger.Counted):
        __slots__ = ()

        def __init__(self) -> None:
            self._begin(APPLICATION)

    one = Plain()
    with pytest.raises(ReferenceCountError, match="reference to the object; held by: application"):
        one.free("label")
    one.free()
    assert one.is_freed


@pytest.mark.parametrize("traced", [False, True])
def test_many_are_given_back_as_one_is(traced: bool) -> None:
    holder, other = Holder("cache", "all"), Holder("connection", "other")
    with tracing(traced):
        alone, shared, twice = (Session.create(data(), SECRET, holder=holder) for _ in range(3))
        shared.acquire(other)
        twice.acquire(holder)
        secret = alone._secret
        ledger.release_each([alone, shared, twice], holder)
        assert alone.is_freed
        assert secret == bytes(len(SECRET))
        assert shared.holders == {other: 1}
        assert twice.holders == {holder: 1}
        assert [step.event for step in alone.life] == (["made", "given back", "wiped"] if traced else [])
        with pytest.raises(DoubleFreeError, match="cache of all already freed its last reference to session 3f9c41d2"):
            alone.release(holder)
        ledger.release_each([shared], other)
        twice.release(holder)


def test_of_many_all_are_given_back_whatever_happens_to_one() -> None:
    holder = Holder("cache", "all")
    ended: list[str] = []

    class Loud:
        def __del__(self) -> None:
            ended.append("gone")

    sessions = [Session.create(data(), SECRET, holder=holder) for _ in range(4)]
    sessions[1].release(holder)
    sessions[3].ex_data["loud"] = Loud()
    with pytest.raises(DoubleFreeError):
        ledger.release_each(sessions, holder)
    assert all(session.is_freed for session in sessions)
    gc.collect()
    assert ended == ["gone"]


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("second", [1, 2])
def test_two_holders_and_what_each_may_do(first: int, second: int) -> None:
    """Every step from one and two references each, against counting in the head."""
    a, b, c = (Holder("connection", name) for name in "abc")

    def make() -> Session:
        one = Session.create(data(), SECRET, holder=a)
        for _ in range(first - 1):
            one.acquire(a)
        for _ in range(second):
            one.acquire(b)
        assert one.holders == {a: first, b: second}
        return one

    def counts(**changes: int) -> dict[Holder, int]:
        held = {a: first, b: second, c: 0}
        for name, change in changes.items():
            held[{"a": a, "b": b, "c": c}[name]] += change
        return {holder: number for holder, number in held.items() if number}

    for step, expected in (
        (lambda one: one.acquire(a), counts(a=1)),
        (lambda one: one.acquire(b), counts(b=1)),
        (lambda one: one.acquire(c), counts(c=1)),
        (lambda one: one.release(a), counts(a=-1)),
        (lambda one: one.release(b), counts(b=-1)),
        (lambda one: one.transfer(a, b), counts(a=-1, b=1)),
        (lambda one: one.transfer(b, a), counts(a=1, b=-1)),
        (lambda one: one.transfer(a, c), counts(a=-1, c=1)),
        (lambda one: one.transfer(b, c), counts(b=-1, c=1)),
        (lambda one: one.transfer(a, a), counts()),
        (lambda one: one.transfer(b, b), counts()),
    ):
        one = make()
        step(one)
        assert one.holders == expected
        assert one.references == sum(expected.values())
        for stranger in {a, b, c} - set(expected):
            with pytest.raises(ReferenceCountError):
                one.release(stranger)
        give_back_all(one)
        assert one.is_freed


# --- threads, forks, finalizers --------------------------------------------------------------------------------------


class Meddling(Holder):  # type: ignore[misc]
    """A holder whose hash runs code, as the collector may between any two steps: what a finalizer does to the count."""

    __slots__ = ("meddle",)

    def __init__(self, name: str) -> None:
        super().__init__("connection", name)
        self.meddle: list[Callable[[], object]] = []

    def __hash__(self) -> int:
        if self.meddle:
            self.meddle.pop()()
        return id(self)


def test_a_reference_given_back_while_another_is_taken_is_not_lost() -> None:
    one = Session.create(data(), SECRET)
    one.up_ref()
    other = Holder("connection", "other")
    one.acquire(other)
    holder = Meddling("1")
    holder.meddle.append(one.free)
    one.acquire(holder)
    assert one.holders == {APPLICATION: 1, other: 1, holder: 1}
    assert one.references == 3
    give_back_all(one)


def test_a_reference_given_back_while_another_is_handed_over_is_not_lost() -> None:
    one = Session.create(data(), SECRET)
    one.up_ref().up_ref()
    holder = Meddling("1")
    holder.meddle.append(one.free)
    one.transfer(APPLICATION, holder)
    assert one.holders == {APPLICATION: 1, holder: 1}
    assert one.references == 2
    give_back_all(one)


def test_a_holder_that_came_while_the_ledger_was_made_compact_stays() -> None:
    one = Session.create(data(), SECRET)
    first, second, third = (Holder("connection", name) for name in "123")
    one.acquire(first)

    def change_hands() -> None:
        one.acquire(second)
        one.release(first)
        one.acquire(third)
        one.release(second)

    meddle = [change_hands]

    class Several(dict[Holder, int]):
        """The ledger's dict; walking it is where the collector may run."""

        def __iter__(self) -> Iterator[Holder]:
            if meddle:
                meddle.pop()()
            return super().__iter__()

    one._several = Several(one.holders)
    one._only = one._second = None
    one.release(APPLICATION)
    assert one.holders == {third: 1}
    one.release(third)


def test_a_finalizer_may_give_back_a_reference_of_the_very_session_in_use() -> None:
    """The collector runs a finalizer in the middle of a count: nothing is lost."""
    one = Session.create(data(), SECRET)
    other = Holder("connection", "other")

    class Connection:
        def __init__(self) -> None:
            self.me = self
            self.holder = Holder("connection")
            one.acquire(self.holder)

        def __del__(self) -> None:
            one.release(self.holder)

    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(300):
            Connection()
            one.acquire(other)
            one.transfer(other, APPLICATION)
            one.transfer(APPLICATION, other)
            one.release(other)
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert one.holders == {APPLICATION: 1}
    one.free()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_a_thread_of_its_parent() -> None:
    """A thread is inside the ledger when the process forks: the fork waits for it, so the child never has to."""
    one = Session.create(data(), SECRET)
    inside, finish = threading.Event(), threading.Event()

    def stay_inside() -> None:
        with one._lock:
            inside.set()
            finish.wait(0.2)

    thread = threading.Thread(target=stay_inside)
    thread.start()
    inside.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(10)  # ends a child that hangs
        one.up_ref()
        os._exit(0 if one.references == 2 else 1)
    finish.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    one.up_ref().free()
    one.free()
