"""The targets of coverage-guided fuzzing: every input that was ever worth keeping, and a few hundred random ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest

from resumption.session.formats import packed
from resumption.session.model import Session
from tests.fuzz import targets
from tests.fuzz.conversations import Broken
from tests.fuzz.targets import CORPORA, TARGETS, Decisions

each_target = pytest.mark.parametrize("name", TARGETS)


@each_target
def test_every_stored_input(name: str) -> None:
    stored = sorted((CORPORA / name).iterdir())
    assert len(stored) >= 2, "no corpus"
    for path in stored:
        TARGETS[name](path.read_bytes())


@each_target
def test_changed_inputs(name: str) -> None:
    rng = Random(f"changed {name}")
    stored = [path.read_bytes() for path in sorted((CORPORA / name).iterdir())]
    for _ in range(100):
        data = bytearray(rng.choice(stored))
        for _ in range(rng.choice((1, 1, 4))):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        TARGETS[name](bytes(data))


def test_decisions_are_the_input() -> None:
    assert Decisions(b"\x05").getrandbits(8) == 5
    assert Decisions(b"\xff\x01").randbytes(2) == bytes(Random.randbytes(Decisions(b"\xff\x01"), 2))
    assert Decisions(b"").random() == 0
    assert Decisions(b"").choice("abc") == "a"
    assert {Decisions(bytes((n,))).choice("abc") for n in range(0, 256, 16)} == set("abc")


@contextmanager
def spoiled(where: object, name: str, value: object) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, name, value)
        yield


def test_what_is_broken_is_noticed() -> None:
    der = next((CORPORA / "session_der").glob("*")).read_bytes()
    sealed = next((CORPORA / "session_packed").glob("*")).read_bytes()
    with spoiled(Session, "to_text", lambda self: {}["unforeseen"]), pytest.raises(KeyError):
        for path in (CORPORA / "session_der").iterdir():
            targets.session_der(path.read_bytes())
    with spoiled(packed, "pack", lambda *_, **__: b"other"), pytest.raises(AssertionError):
        for path in (CORPORA / "session_packed").iterdir():
            targets.session_packed(path.read_bytes())
    assert der
    assert sealed
    assert issubclass(Broken, AssertionError)
