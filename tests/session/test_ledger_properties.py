"""The ledger against the simplest model of it, a Counter: random histories, and many threads at once."""

from __future__ import annotations

import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from resumption.errors import DoubleFreeError, ReferenceCountError, SessionFreedError
from resumption.session.model import APPLICATION, Holder, Session, tracing
from tests.session.session_cases import SECRET, data, give_back_all

HOLDERS = [APPLICATION, *(Holder("connection", str(number)) for number in range(3)), Holder("cache", "client")]
LABELS = st.sampled_from([None, "archive", "log"])
holders = st.sampled_from(HOLDERS)


class History(RuleBasedStateMachine):
    """One session and its copies in random hands. The model: a Counter of holders by name, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions: list[Session] = []
        self.models: list[Counter[str]] = []
        self.secrets: list[bytearray] = []

    def adopt(self, session: Session, holder: str) -> None:
        """Follow a new session."""
        self.sessions.append(session)
        self.models.append(Counter({holder: 1}))
        self.secrets.append(session._secret)

    @initialize(holder=holders)
    def make(self, holder: Holder) -> None:
        self.adopt(Session.create(data(), SECRET, holder=holder), str(holder))

    def take(self, number: int, name: str, session: Session, result: Session) -> None:
        """A reference was taken; the session itself came back."""
        assert result is session
        self.models[number][name] += 1

    @rule(pick=st.integers(0, 100), holder=holders)
    def acquire(self, pick: int, holder: Holder) -> None:
        number = pick % len(self.sessions)
        session, model = self.sessions[number], self.models[number]
        if model.total():
            self.take(number, str(holder), session, session.acquire(holder))
        else:
            with pytest.raises(SessionFreedError):
                session.acquire(holder)

    @rule(pick=st.integers(0, 100), label=LABELS)
    def up_ref(self, pick: int, label: str | None) -> None:
        number = pick % len(self.sessions)
        session, model = self.sessions[number], self.models[number]
        if model.total():
            name = "application" if label is None else f"application ({label})"
            self.take(number, name, session, session.up_ref(label))
        else:
            with pytest.raises(SessionFreedError):
                session.up_ref(label)

    def give_back(self, number: int, name: str, give: Callable[[], object]) -> None:
        """Give back: refused exactly if the model says that this holder has none."""
        model = self.models[number]
        if model[name]:
            give()
            model[name] -= 1
            return
        with pytest.raises(ReferenceCountError) as caught:
            give()
        assert isinstance(caught.value, DoubleFreeError) is not bool(model.total())

    @rule(pick=st.integers(0, 100), holder=holders)
    def release(self, pick: int, holder: Holder) -> None:
        number = pick % len(self.sessions)
        self.give_back(number, str(holder), lambda: self.sessions[number].release(holder))

    @rule(pick=st.integers(0, 100), label=LABELS)
    def free(self, pick: int, label: str | None) -> None:
        number = pick % len(self.sessions)
        name = "application" if label is None else f"application ({label})"
        self.give_back(number, name, lambda: self.sessions[number].free(label))

    @rule(pick=st.integers(0, 100), old=holders, new=holders)
    def transfer(self, pick: int, old: Holder, new: Holder) -> None:
        number = pick % len(self.sessions)
        if self.models[number][str(old)]:
            self.models[number][str(new)] += 1
        self.give_back(number, str(old), lambda: self.sessions[number].transfer(old, new))

    @rule(pick=st.integers(0, 100))
    def use(self, pick: int) -> None:
        number = pick % len(self.sessions)
        session = self.sessions[number]
        if self.models[number].total():
            assert session.data == data()
            assert session.secret == SECRET
        else:
            for name in ("data", "secret", "id", "is_resumable", "ex_data"):
                with pytest.raises(SessionFreedError):
                    getattr(session, name)

    @precondition(lambda self: len(self.sessions) < 4)
    @rule(pick=st.integers(0, 100), holder=holders)
    def dup(self, pick: int, holder: Holder) -> None:
        number = pick % len(self.sessions)
        if self.models[number].total():
            self.adopt(self.sessions[number].dup(holder=holder), str(holder))

    @rule(pick=st.integers(0, 100))
    def with_block(self, pick: int) -> None:
        number = pick % len(self.sessions)
        if self.models[number].total():
            with self.sessions[number].up_ref():
                assert self.sessions[number].references == self.models[number].total() + 1

    @invariant()
    def the_ledger_is_the_model(self) -> None:
        for session, model, secret in zip(self.sessions, self.models, self.secrets, strict=True):
            assert {str(holder): number for holder, number in session.holders.items()} == dict(+model)
            assert session.references == model.total()
            assert session.is_freed is not bool(model.total())
            assert secret == (SECRET if model.total() else bytes(len(SECRET)))
            # compact whenever there is one holder, also after there were many, and while there are two at first
            if session._several is not None:
                assert len(+model) > 1
                assert session._only is session._second is None
            elif session._second is not None:
                assert len(+model) == 2
                assert model[str(session._second)] == 1
            else:
                assert len(+model) < 2

    def teardown(self) -> None:
        for session in self.sessions:
            give_back_all(session)


class TracedHistory(History):
    """The same with tracing on: nothing but the messages and the lives changes."""

    def __init__(self) -> None:
        super().__init__()
        self.tracing = tracing()

    @invariant()
    def the_life_ends_at_the_count(self) -> None:
        for session, model in zip(self.sessions, self.models, strict=True):
            assert session.life[-1].references == model.total()
            assert (session.life[-1].event == "wiped") is not bool(model.total())

    def teardown(self) -> None:
        self.tracing.__exit__(None, None, None)
        super().teardown()


History.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TracedHistory.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestHistory = History.TestCase
TestTracedHistory = TracedHistory.TestCase


# --- threads ---------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def frequent_switches() -> Iterator[None]:
    """Give every race a chance, also where one lock guards the whole interpreter."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(*jobs: Callable[[], object]) -> None:
    """Run the jobs at once; the first error of any is raised."""
    begin = threading.Barrier(len(jobs))
    errors: list[BaseException] = []

    def run(job: Callable[[], object]) -> None:
        begin.wait()
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_no_count_is_lost_between_threads() -> None:
    session = Session.create(data(), SECRET)
    shared = Holder("cache", "shared")
    session.acquire(shared)

    def work(seed: int) -> None:
        chance, mine = random.Random(seed), Holder("connection", str(seed))
        held: Counter[Holder] = Counter()
        for _ in range(400):
            holder = chance.choice((mine, shared, APPLICATION))
            if held[holder] and chance.random() < 0.5:
                session.release(holder)
                held[holder] -= 1
            elif held[holder] and chance.random() < 0.3:
                session.transfer(holder, mine)
                held[holder] -= 1
                held[mine] += 1
            else:
                session.acquire(holder)
                held[holder] += 1
        for holder in held.elements():
            session.release(holder)

    together(*(partial(work, seed) for seed in range(8)))
    assert session.holders == {APPLICATION: 1, shared: 1}
    assert session.secret == SECRET
    give_back_all(session)


def test_the_end_comes_once_and_for_all_threads() -> None:
    for _ in range(30):
        session = Session.create(data(), SECRET, holder=HOLDERS[1])
        mine = [Holder("connection", str(number)) for number in range(6)]
        for holder in mine:
            session.acquire(holder)
        session.release(HOLDERS[1])
        ends: list[str] = []

        def watched(self: Session, ends: list[str] = ends, end: Callable[[Session], object] = Session._end) -> object:
            ends.append("end")
            return end(self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Session, "_end", watched)
            together(*(partial(session.release, holder) for holder in mine))
        assert ends == ["end"]
        assert session.is_freed


def test_a_session_is_either_taken_or_freed_never_both() -> None:
    for _ in range(100):
        session = Session.create(data(), SECRET)
        other = Holder("connection")
        outcome: list[bool] = []

        def take(session: Session = session, other: Holder = other, outcome: list[bool] = outcome) -> None:
            try:
                session.acquire(other)
            except SessionFreedError:
                outcome.append(False)
            else:
                outcome.append(session.secret == SECRET)

        together(session.free, take)
        assert session.is_freed is not outcome[0]
        give_back_all(session)


def test_setters_of_two_threads_do_not_undo_each_other() -> None:
    session = Session.create(data(), SECRET)

    def set_time() -> None:
        for number in range(300):
            session.time = number

    def set_timeout() -> None:
        for number in range(300):
            session.timeout = number
            assert session.timeout == number

    together(set_time, set_timeout)
    assert (session.time, session.timeout) == (299, 299)
    session.free()


def test_one_of_two_caches_gets_the_session() -> None:
    class Cache:
        def resort(self, session: Session, /) -> None: ...

        def forget(self, session: Session, data: object, /) -> None: ...

    holder = Holder("cache", "one of two")
    for _ in range(50):
        session = Session.create(data(), SECRET)
        caches = (Cache(), Cache())
        linked: list[Cache] = []

        def link(cache: Cache, session: Session = session, linked: list[Cache] = linked) -> None:
            try:
                session.link(cache, holder)
            except ValueError:
                return
            linked.append(cache)

        together(*(partial(link, cache) for cache in caches))
        [owner] = linked
        assert session.is_linked(owner)
        session.unlink(owner)
        assert session.holders == {APPLICATION: 1, holder: 1}
        session.release(holder)
        session.free()
