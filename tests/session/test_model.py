"""Session and its facts: what they hold, what may be set when, copies, codecs, and the end of the secret."""

from __future__ import annotations

import copy
import dataclasses
import gc
import inspect
import math
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from resumption.errors import SessionError, SessionFormatError, SessionFreedError
from resumption.session.facts import FACT_NAMES, Draft, SessionData
from resumption.session.model import APPLICATION, Holder, Session
from tests.session.session_cases import ID, SECRET, Cache, data, give_back_all

CACHE = Holder("cache", "of the test")


@pytest.fixture
def session() -> Iterator[Session]:
    one = Session.create(data(), SECRET)
    yield one
    give_back_all(one)


@pytest.fixture
def connection() -> Holder:
    return Holder("connection", "7")


# --- facts -----------------------------------------------------------------------------------------------------------


def test_the_facts_are_frozen_and_compare_by_value() -> None:
    one = data()
    assert one == data()
    assert hash(one) == hash(data())
    assert one != data(cipher=0x1302)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.cipher = 1  # type: ignore[misc]


def test_the_fast_constructor_has_the_defaults_of_the_fields() -> None:
    plain = SessionData()
    parameters = inspect.signature(SessionData.__new__).parameters
    for field in dataclasses.fields(SessionData):
        assert getattr(plain, field.name) == field.default, field.name
        assert parameters[field.name].default == field.default, field.name
    assert set(parameters) - {"cls"} == set(FACT_NAMES)


def test_the_fast_constructor_puts_each_fact_where_it_belongs() -> None:
    values = {name: object() for name in FACT_NAMES}
    facts = SessionData(**values)  # type: ignore[arg-type]
    assert {name: getattr(facts, name) for name in FACT_NAMES} == values


def test_a_draft_has_the_layout_of_the_facts() -> None:
    draft: Any = Draft()
    for name in FACT_NAMES:
        setattr(draft, name, getattr(data(), name))
    draft.__class__ = SessionData
    assert draft == data()


def test_facts_work_with_dataclasses_replace_and_pickle() -> None:
    assert dataclasses.replace(data(), cipher=5) == data(cipher=5)
    assert pickle.loads(pickle.dumps(data(hostname="a"))) == data(hostname="a")


def test_replaced_changes_only_what_is_named() -> None:
    assert data().replaced(cipher=5, alpn=b"h2") == data(cipher=5, alpn=b"h2")
    assert data().replaced() == data()
    with pytest.raises(TypeError, match="colour, shape"):
        data().replaced(shape=1, colour=2)


def test_the_end_itself_is_still_valid() -> None:
    facts = data(time=1000.0, timeout=300)
    assert facts.expires_at == 1300.0
    assert not facts.is_expired(1300.0)
    assert facts.is_expired(math.nextafter(1300.0, math.inf))


def test_a_sum_past_64_bits_never_expires() -> None:
    facts = data(time=1000, timeout=2**63 - 1)
    assert facts.expires_at == math.inf
    assert not facts.is_expired(2.0**70)
    assert data(time=1000, timeout=2**63 - 1001).expires_at == 2**63 - 1


def test_only_bit_0_of_the_flags_is_the_extended_master_secret() -> None:
    assert data(flags=3).extended_master_secret is True
    assert data(flags=2).extended_master_secret is False


# --- making and reading ----------------------------------------------------------------------------------------------


def test_a_new_session_is_openssls_new_session() -> None:
    with Session(now=lambda: 12.5) as one:
        assert one.data == SessionData(time=12.5, timeout=304, verify_result=1, max_fragment_mode=255)
        assert one.secret == b""
        assert not one.has_secret
        assert not one.is_resumable
        assert one.holders == {APPLICATION: 1}


def test_a_new_session_takes_the_time_of_day() -> None:
    with Session() as one:
        assert one.time > 1.6e9


def test_a_created_session_belongs_to_who_asked_for_it(connection: Holder) -> None:
    one = Session.create(data(), SECRET, holder=connection)
    assert one.holders == {connection: 1}
    assert one.secret == SECRET
    assert one.has_secret
    one.release(connection)


def test_a_secret_has_at_most_512_bytes(session: Session) -> None:
    Session.create(data(), bytes(512)).free()
    with pytest.raises(SessionError, match="512"):
        Session.create(data(), bytes(513))
    with pytest.raises(SessionError, match="512"):
        session.secret = bytes(513)
    assert session.secret == SECRET
    session.secret = bytes(512)
    assert session.secret == bytes(512)


def test_every_fact_can_be_read_from_the_session(session: Session) -> None:
    for name in FACT_NAMES:
        assert getattr(session, "id" if name == "session_id" else name) == getattr(session.data, name)
    assert session.extended_master_secret is False
    assert session.expires_at == 1300.0
    assert not session.is_expired(1300.0)
    assert session.is_expired(1301.0)
    assert not session.has_ticket


SETTABLE: dict[str, tuple[object, object]] = {
    "id": (b"x" * 32, b"x" * 33),
    "id_context": (b"x" * 32, b"x" * 33),
    "time": (2**63 - 1024, -1),
    "timeout": (2**63 - 1, -1),
    "version": (0xFFFF, 0x10000),
    "cipher": (0xFFFF, -1),
    "hostname": ("bücher.example", "a\0b"),
    "alpn": (b"h" * 255, b"h" * 256),
    "max_early_data": (2**32 - 1, 2**32),
    "ticket_appdata": (b"a" * 65535, b"a" * 65536),
}


@pytest.mark.parametrize("name", SETTABLE)
def test_a_setter_replaces_one_fact_and_no_other(session: Session, name: str) -> None:
    good, _ = SETTABLE[name]
    before = session.data
    setattr(session, name, good)
    assert getattr(session, name) == good
    assert before == data()
    assert session.data == data(**{"session_id" if name == "id" else name: good})


@pytest.mark.parametrize("name", SETTABLE)
def test_a_setter_refuses_what_the_format_cannot_hold(session: Session, name: str) -> None:
    _, bad = SETTABLE[name]
    wrong_type: object = 5 if isinstance(bad, bytes | str) else "5"
    for value in (bad, wrong_type):
        with pytest.raises(SessionError):
            setattr(session, name, value)
    assert session.data == data()


def test_nothing_clears_hostname_alpn_and_appdata(session: Session) -> None:
    session.hostname, session.alpn, session.ticket_appdata = "a", b"h2", b"x"
    session.hostname = None
    session.alpn = None
    session.ticket_appdata = None  # type: ignore[assignment]
    assert session.data == data()
    session.alpn = b""
    assert session.alpn is None


def test_a_hostname_that_utf8_cannot_write_is_refused(session: Session) -> None:
    with pytest.raises(SessionError):
        session.hostname = "\ud800"
    session.hostname = b"\xff".decode("utf-8", "surrogateescape")


def test_a_time_is_a_number_that_is_one(session: Session) -> None:
    for bad in (math.nan, math.inf, 2**63):
        with pytest.raises(SessionError):
            session.time = bad


def test_numbers_may_be_zero(session: Session) -> None:
    session.time = session.timeout = session.version = session.cipher = session.max_early_data = 0
    assert session.data == data(time=0, timeout=0, version=0, cipher=0)


def test_bytes_like_values_are_copied(session: Session) -> None:
    given = bytearray(b"abc")
    session.id = given  # type: ignore[assignment]
    session.secret = given  # type: ignore[assignment]
    given[0] = 0
    assert session.id == b"abc"
    assert type(session.id) is bytes
    assert session.secret == b"abc"


@pytest.mark.parametrize("name", sorted(set(FACT_NAMES) - set(SETTABLE) - {"session_id"}))
def test_the_other_facts_are_not_settable(session: Session, name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(session, name, getattr(session, name))
    assert inspect.getdoc(getattr(Session, name))


def test_a_new_secret_wipes_the_old_one(session: Session) -> None:
    old = session._secret
    session.secret = b"new"
    assert session.secret == b"new"
    assert old == bytes(len(SECRET))


def test_it_is_resumable_with_an_id_or_a_ticket_until_it_is_condemned() -> None:
    for facts, expected in ((data(session_id=b""), False), (data(session_id=b"", ticket=b"t"), True), (data(), True)):
        with Session.create(facts, SECRET) as one:
            assert one.is_resumable is expected
            assert one.has_ticket is bool(facts.ticket)
            one.mark_not_resumable()
            assert not one.is_resumable
            assert one.is_marked_not_resumable
            assert one.data == facts


def test_the_words_for_a_session_hold_no_secret(session: Session) -> None:
    assert repr(session) == "<session 3f9c41d2.., 0x0304, 0x1301, references: 1>"
    assert SECRET.hex() not in repr(session) + repr(session.data) + str(session)
    with Session() as one:
        assert "without id" in repr(one)
    assert repr(one) == "<a session without id, freed>"


# --- copies ----------------------------------------------------------------------------------------------------------


def test_dup_is_a_second_session(session: Session, connection: Holder) -> None:
    session.acquire(connection)
    session.ex_data["k"] = "v"
    session.mark_not_resumable()
    second = session.dup()
    assert second is not session
    assert (second.data, second.secret, second.holders) == (session.data, SECRET, {APPLICATION: 1})
    assert second.is_marked_not_resumable
    assert second.ex_data == {"k": "v"}
    assert second.ex_data is not session.ex_data
    second.free()
    assert session.secret == SECRET
    assert session.references == 2


def test_a_dup_is_in_no_cache(session: Session) -> None:
    owner = Cache()
    session.link(owner, CACHE)
    with session.dup() as second:
        assert not second.is_linked()
        second.cipher = 7
    session.unlink(owner)


def test_a_dup_can_be_made_for_another_holder(session: Session, connection: Holder) -> None:
    second = session.dup(holder=connection)
    assert second.holders == {connection: 1}
    assert not second.is_marked_not_resumable
    second.release(connection)


def test_copying_by_accident_is_refused(session: Session) -> None:
    for copier in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="dup"):
            copier(session)
    assert session.references == 1


def test_a_session_survives_pickling_with_all_it_knows(session: Session) -> None:
    session.mark_not_resumable()
    with pickle.loads(pickle.dumps(session)) as second:
        assert second.data == session.data
        assert second.secret == SECRET
        assert second.is_marked_not_resumable
        assert second.holders == {APPLICATION: 1}


# --- encodings ----------


def test_der_pem_and_packed_lead_back_to_the_session(session: Session, connection: Holder) -> None:
    der = session.to_der()
    second, consumed = Session.decode(der + b"rest")
    with second, Session.from_der(der) as third, Session.from_pem(session.to_pem()) as fourth:
        assert consumed == len(der)
        for one in (second, third, fourth):
            assert (one.data, one.secret, one.holders) == (session.data, SECRET, {APPLICATION: 1})
    fifth = Session.from_packed(session.to_packed(), holder=connection)
    assert (fifth.data, fifth.secret, fifth.holders) == (session.data, SECRET, {connection: 1})
    assert not fifth.is_marked_not_resumable
    fifth.release(connection)


def test_from_der_is_strict_about_what_follows(session: Session) -> None:
    with pytest.raises(SessionFormatError, match="4 bytes follow"):
        Session.from_der(session.to_der() + b"rest")


def test_reading_takes_a_clock_for_sessions_without_a_time(session: Session) -> None:
    session.time = 0
    for one in (Session.from_der(session.to_der(), now=lambda: 5.0), Session.from_pem(session.to_pem(), now=lambda: 5)):
        with one:
            assert one.time == 5.0


def test_the_mark_is_lost_in_der_as_in_openssl(session: Session) -> None:
    session.mark_not_resumable()
    with Session.from_der(session.to_der()) as second:
        assert second.is_resumable


def test_text_and_key_log_line(session: Session) -> None:
    assert session.to_text().startswith("SSL-Session:\n    Protocol  : TLSv1.3\n")
    assert session.to_keylog() == f"RSA Session-ID:{ID.hex().upper()} Master-Key:{SECRET.hex().upper()}\n"


# --- published sessions ----------------------------------------------------------------------------------------------


def test_in_a_cache_only_time_and_timeout_may_change(session: Session) -> None:
    owner = Cache()
    assert session.link(owner, CACHE)
    for name, (good, _) in SETTABLE.items():
        if name in ("time", "timeout"):
            setattr(session, name, 50)
        else:
            with pytest.raises(SessionError, match="in a cache"):
                setattr(session, name, good)
    with pytest.raises(SessionError, match="in a cache"):
        session.secret = b"x"
    assert session.data == data(time=50, timeout=50)
    assert session.secret == SECRET
    assert owner.resorted == [(50, 300), (50, 50)]
    assert session.unlink(owner)
    session.cipher = 1
    session.time = 60
    assert len(owner.resorted) == 2


def test_a_session_is_in_one_cache_at_most(session: Session) -> None:
    first, second = Cache(), Cache()
    assert session.link(first, CACHE)
    assert not session.link(first, CACHE)
    assert session.is_linked()
    assert session.is_linked(first)
    assert not session.is_linked(second)
    with pytest.raises(SessionError, match="another cache"):
        session.link(second, CACHE)
    assert not session.unlink(second)
    assert session.is_linked(first)
    assert session.unlink(first)
    assert not session.unlink(first)
    assert session.link(second, CACHE)
    session.unlink(second)


def test_a_cache_that_kept_the_link_is_told_of_the_end() -> None:
    owner, one = Cache(), Session.create(data(), SECRET)
    one.link(owner, CACHE)
    assert one.holders == {APPLICATION: 1, CACHE: 1}
    one.free()
    assert owner.forgotten == []
    one.release(CACHE)
    assert owner.forgotten == [(one, data())]
    assert not one.is_linked()


# --- the application's own values ------------------------------------------------------------------------------------


def test_ex_data_is_a_mapping_and_app_data_its_slot_0(session: Session) -> None:
    assert session.app_data is None
    session.app_data = "mine"
    session.ex_data["other"] = 2
    assert session.ex_data == {0: "mine", "other": 2}
    assert session.app_data == "mine"


def test_ex_data_goes_at_the_end_and_outside_the_lock() -> None:
    one = Session.create(data(), SECRET)
    seen: list[bool] = []

    class Value:
        def __del__(self) -> None:
            seen.append(one._lock._is_owned())  # type: ignore[attr-defined]

    one.app_data = Value()
    one.free()
    gc.collect()
    assert seen == [False]


# --- the end ---------------------------------------------------------------------------------------------------------


def test_the_last_free_wipes_the_secret() -> None:
    one = Session.create(data(), SECRET)
    one.up_ref()
    kept = one._secret
    one.free()
    assert kept == SECRET
    one.free()
    assert kept == bytes(len(SECRET))
    assert one.is_freed
    assert one.references == 0
    assert one.holders == {}


AFTER_THE_END = {"references", "holders", "is_freed", "life", "is_linked", "unlink", "note", "is_marked_not_resumable"}
CONSTRUCTORS = {"create", "decode", "from_der", "from_pem", "from_packed"}
ARGUMENTS: dict[str, tuple[object, ...]] = {
    "acquire": (APPLICATION,),
    "release": (APPLICATION,),
    "transfer": (APPLICATION, APPLICATION),
    "is_expired": (0.0,),
    "link": (Cache(), CACHE),
}


@pytest.mark.parametrize(
    "name", sorted(name for name in dir(Session) if name[0] != "_" and name not in AFTER_THE_END | CONSTRUCTORS)
)
def test_every_use_after_the_end_is_caught(name: str) -> None:
    one = Session.create(data(), SECRET)
    one.free()
    with pytest.raises(SessionFreedError):
        value = getattr(one, name)
        value(*ARGUMENTS.get(name, ()))


@pytest.mark.parametrize("name", [*SETTABLE, "secret", "app_data"])
def test_every_setter_after_the_end_is_caught(name: str) -> None:
    one = Session.create(data(), SECRET)
    one.free()
    with pytest.raises(SessionFreedError):
        setattr(one, name, SETTABLE.get(name, (b"x",))[0])


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_secret_that_is_wiped_while_it_is_read_is_no_secret(when: str) -> None:
    one = Session.create(data(), SECRET)

    class Wiped(bytearray):
        def __bytes__(self) -> bytes:
            if when == "before":
                one.free()
            read = bytes(memoryview(self))
            if when == "after" and one.references:
                one.free()
            return read

    one._secret = Wiped(SECRET)
    with pytest.raises(SessionFreedError):
        _ = one.secret


def test_a_secret_is_wiped_only_once_the_session_is_marked_as_freed() -> None:
    one = Session.create(data(), SECRET)
    marked: list[bool] = []

    class Watched(bytearray):
        def __setitem__(self, index: Any, value: Any) -> None:
            marked.append(one._data is None)
            super().__setitem__(index, value)

    one._secret = Watched(SECRET)
    one.free()
    assert marked == [True]


def test_a_secret_that_is_replaced_while_it_is_read_is_read_again() -> None:
    one = Session.create(data(), SECRET)

    class Replaced(bytearray):
        def __bytes__(self) -> bytes:
            one._secret = bytearray(b"another one")
            return bytes(len(self))

    one._secret = Replaced(SECRET)
    assert one.secret == b"another one"
    one.free()
