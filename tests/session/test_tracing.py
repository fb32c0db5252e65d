"""Tracing: the life of a session, the places in messages, and the switch."""

from __future__ import annotations

import inspect
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from resumption.errors import ReferenceCountError, SessionFreedError
from resumption.session import traces
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


def test_tracing_is_off_and_then_nothing_is_written(session: Session) -> None:
    session.note("something")
    session.up_ref().free()
    assert session.life == ()
    assert session._trace is None
    assert not traces.is_tracing()


def test_a_life_is_told_in_order_and_after_the_end(connection: Holder, cache: Holder) -> None:
    clock = itertools.count(100)
    with tracing(clock=lambda: float(next(clock))):
        one = Session.create(data(), SECRET, holder=connection)
        one.acquire(cache)
        one.up_ref("archive")
        one.transfer(connection, APPLICATION)
        one.mark_not_resumable("condemned by an alert")
        one.free("archive")
        one.release(cache)
        one.free()
    assert [(step.event, step.holder, step.references) for step in one.life] == [
        ("made", "connection 7", 1),
        ("taken", "cache of client", 2),
        ("taken", "application (archive)", 3),
        ("handed over", "connection 7", 3),
        ("taken over", "application", 3),
        ("condemned by an alert", "", 3),
        ("given back", "application (archive)", 2),
        ("given back", "cache of client", 1),
        ("given back", "application", 0),
        ("wiped", "", 0),
    ]
    assert [step.time for step in one.life] == [100.0 + number for number in range(10)]
    ordinals = [step.ordinal for step in one.life]
    assert ordinals == sorted(set(ordinals))
    first = inspect.getsourcelines(test_a_life_is_told_in_order_and_after_the_end)[1]
    assert all(step.place.startswith("test_tracing.py:") for step in one.life)
    assert int(one.life[0].place.partition(":")[2]) == first + 3
    assert str(one.life[0]) == f"made by connection 7 at {one.life[0].place}, references: 1"
    assert str(one.life[-1]) == f"wiped at {one.life[-1].place}, references: 0"


def test_messages_have_places_while_tracing(connection: Holder) -> None:
    with tracing():
        one = Session.create(data(), SECRET)
        one.acquire(connection)
        one.free()
        place = one.life[-1].place
        with pytest.raises(ReferenceCountError) as caught:
            one.free()
        assert str(caught.value) == (
            f"the application already freed its only reference to session 3f9c41d2.. (at {place})."
        )
        one.up_ref("archive").free("archive")
        with pytest.raises(
            ReferenceCountError, match=r"application \(archive\) already freed its last .* \(at test_tr"
        ):
            one.free("archive")
        one.release(connection)
        with pytest.raises(SessionFreedError) as gone:
            one.to_der()
        assert str(gone.value) == (
            f"session 3f9c41d2.. was freed when its last holder (connection 7, {one.life[-1].place}) let go; "
            "its secrets are gone."
        )


def test_a_handed_over_reference_was_not_given_back(connection: Holder) -> None:
    with tracing():
        one = Session.create(data(), SECRET)
        one.transfer(APPLICATION, connection)
        with pytest.raises(ReferenceCountError, match="held by: connection 7"):
            one.free()
        one.release(connection)


def test_a_note_changes_nothing_but_the_life(connection: Holder) -> None:
    with tracing():
        one = Session.create(data(), SECRET, holder=connection)
        one.note("resumed", connection)
        one.note("seen", APPLICATION)
        assert [(step.event, step.holder, step.references) for step in one.life[1:]] == [
            ("resumed", "connection 7", 1),
            ("seen", "application", 1),
        ]
        assert one._trace is not None
        assert {holder: len(places) for holder, places in one._trace.taken.items()} == {connection: 1}
        assert one._trace.given_back == {}
        one.release(connection)
        assert one._trace.taken == {}


def test_a_life_begins_where_tracing_does() -> None:
    one = Session()
    with tracing():
        one.up_ref()
        one.free()
    one.free()
    assert [step.event for step in one.life] == ["taken", "given back"]


def test_a_life_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "MAX_STEPS", 3)
    with tracing(), Session() as one:
        for _ in range(5):
            one.up_ref().free()
    assert len(one.life) == 3


def test_tracing_nests_and_switches() -> None:
    states = [traces.is_tracing()]
    with tracing():
        states.append(traces.is_tracing())
        with tracing(False):
            states.append(traces.is_tracing())
        states.append(traces.is_tracing())
    switch = tracing()
    states.append(traces.is_tracing())
    switch.__exit__(None, None, None)
    states.append(traces.is_tracing())
    assert states == [False, True, False, True, True, False]


@pytest.mark.parametrize(("value", "expected"), [("1", "True"), ("0", "False"), ("", "False")])
def test_the_environment_switches_tracing_on(value: str, expected: str) -> None:
    script = "from resumption.session import traces; print(traces.is_tracing())"
    ran = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "RESUMPTION_TRACE": value}, capture_output=True, text=True
    )
    assert ran.stdout.strip() == expected


def run_as(module: str, code: str, **names: object) -> dict[str, Any]:
    space: dict[str, Any] = {"__name__": module, **names}
    exec(compile(code, f"/somewhere/{module.rpartition('.')[2]}.py", "exec"), space)
    return space


def test_a_place_is_outside_the_library_but_may_be_in_its_commands() -> None:
    with tracing(), Session() as one:
        inner = run_as("resumption.context", "def keep(session):\n    session.up_ref()\n")
        command = run_as("resumption.cli.demo", "def keep(session):\n\n\n    session.up_ref()\n")
        run_as("app", "\n\nkeep(session)\n", keep=inner["keep"], session=one)
        run_as("app", "keep(session)\n", keep=command["keep"], session=one)
        run_as("resumption_user", "keep(session)\n", keep=inner["keep"], session=one)
        places = [step.place for step in one.life[1:]]
        one.free()
        one.free()
        one.free()
    assert places == ["app.py:3", "demo.py:4", "resumption_user.py:1"]


def test_a_place_is_found_when_the_library_is_all_there_is() -> None:
    places: list[str] = []

    class Frame:
        f_globals = {"__name__": "resumption.x"}  # noqa: RUF012
        f_code = compile("", "x.py", "exec")
        f_lineno = 9
        f_back = None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "_getframe", lambda depth: Frame())
        places.append(traces.place_of_caller())
    assert places == ["x.py:9"]
