"""Every function of the C-named face: its value, and what it does to the references, as the manual pages say."""

from __future__ import annotations

import ast
import inspect
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import resumption
from resumption import openssl as face
from resumption.openssl import history
from resumption.openssl.convention import null_on_error, succeeds
from resumption.psk_callback import PskCallback
from resumption.session.facts import SessionData
from resumption.session.ledger import APPLICATION
from resumption.session.tickets.callbacks import TicketHooks, TicketKeyCallback
from tests.handshake.pairs import TLS12, TLS13, Pair, World, pump
from tests.pki import Pki

FACE = Path(face.__file__).parent
FUNCTIONS = [name for name in face.__all__ if inspect.isfunction(getattr(face, name))]
BLOCK = bytes(range(80))
SECRET = bytes(range(100, 132))


class Scene:
    """A session with every fact, held once by the application, and things to use it with. Each is made when needed."""

    def __init__(self, pki: Pki) -> None:
        self.world = World(pki)
        self.session = resumption.Session.create(self.facts(), SECRET)
        self.text = io.StringIO()
        self.binary = io.BytesIO()
        self._connections: list[resumption.Connection] = []

    @cached_property
    def public_key(self) -> bytes:
        key = self.world.leaf.certificate.public_key()
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def facts(self) -> SessionData:
        leaf = self.world.leaf
        return SessionData(
            version=TLS13,
            cipher=0x1301,
            session_id=b"I" * 32,
            id_context=b"context",
            time=self.world.clock() - 100,
            timeout=300,
            peer_certificate=leaf.chain_der[0],
            hostname="localhost",
            ticket=b"T" * 40,
            ticket_lifetime_hint=77,
            max_early_data=9,
            alpn=b"h2",
            max_fragment_mode=3,
            ticket_appdata=b"data",
            peer_public_key=self.public_key,
        )

    @cached_property
    def server(self) -> resumption.ServerContext:
        return self.world.server_context(replay=resumption.ReplayRegister(clock=self.world.clock))

    @cached_property
    def client(self) -> resumption.ClientContext:
        return self.world.client_context()

    @cached_property
    def caching(self) -> resumption.ServerContext:
        """The server's context with the session in its cache."""
        self.server.sessions.add(self.session)
        return self.server

    def connection(self, session: resumption.Session | None = None) -> resumption.Connection:
        made = self.client.connection("localhost", session=session)
        self._connections.append(made)
        return made

    @cached_property
    def offering(self) -> resumption.Connection:
        """A client's connection that holds the session."""
        return self.connection(self.session)

    @cached_property
    def accepting(self) -> resumption.Connection:
        made = self.server.connection()
        self._connections.append(made)
        return made

    @cached_property
    def pair(self) -> Pair:
        pair = self.world.meet(self.client, self.server).check()
        self._connections += [pair.client, pair.server]
        return pair

    def close(self) -> None:
        for connection in self._connections:
            connection.free()
        self.client.close()
        self.server.close()
        while APPLICATION in self.session.holders:
            self.session.free()


@pytest.fixture
def scene(pki: Pki) -> Iterator[Scene]:
    made = Scene(pki)
    yield made
    made.close()


def by_kind(session: resumption.Session | None) -> Counter[str]:
    counted: Counter[str] = Counter()
    for holder, number in session.holders.items() if session is not None else ():
        counted[holder.kind] += number
    return counted


class Early:
    """A server's stream with early data, as far as the face goes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def recv_early_data(self, size: int) -> bytes:
        taken, self._data = self._data[:size], self._data[size:]
        return taken


class Case(NamedTuple):
    """One call: what it returns, and what it changes in the ledger of a session."""

    name: str
    call: Callable[..., Any]  # (function, scene)
    value: Any = None  # or a check of (value, scene)
    change: Mapping[str, int] = MappingProxyType({})  # kind of holder: references
    before: Callable[[Scene], resumption.Session | None] = lambda scene: scene.session
    after: Callable[[Scene], resumption.Session | None] | None = None


def is_new(value: Any, scene: Scene) -> bool:
    """A session of the caller's own, with the same facts."""
    assert value is not scene.session
    assert value.holders == {APPLICATION: 1}
    assert value.secret in (SECRET, b"")
    value.free()
    return True


def returns(attribute: str) -> Callable[[Any, Scene], bool]:
    return lambda value, scene: value == getattr(scene.session, attribute) is not None


def written(content: str) -> Callable[[Any, Scene], bool]:
    return lambda value, scene: value is True and scene.text.getvalue() == getattr(scene.session, content)()


def sets(attribute: str, wanted: Any, returned: Any = True) -> Callable[[Any, Scene], bool]:
    def check(value: Any, scene: Scene) -> bool:
        assert getattr(scene.session, attribute) == wanted
        return bool(value is returned or value == returned)

    return check


def of_session(name: str, *arguments: Any, value: Any = None, **rest: Any) -> Case:
    return Case(name, lambda function, scene: function(scene.session, *arguments), value, **rest)


def of_server(name: str, *arguments: Any, value: Any = None, **rest: Any) -> Case:
    return Case(name, lambda function, scene: function(scene.server, *arguments), value, **rest)


def callback(*arguments: Any) -> None:
    raise AssertionError("nobody calls it here")


def counter(name: str) -> Case:
    """A counter is read from the statistics, whatever its value."""

    def call(function: Callable[..., int], scene: Scene) -> int:
        scene.server.session_stats.count(name, 7) if "renegotiate" not in name else None
        return function(scene.server)

    return Case(f"SSL_CTX_sess_{name}", call, 0 if "renegotiate" in name else 7)


COUNTERS = (
    *("connect", "connect_good", "connect_renegotiate", "accept", "accept_good", "accept_renegotiate"),
    *("hits", "cb_hits", "misses", "timeouts", "cache_full"),
)


def kept(scene: Scene) -> resumption.Session | None:
    """The established connection's session, held by the scene too, so that it can be looked at afterwards."""
    session = scene.pair.client.get1_session()
    assert session is not None
    scene.session.free()
    scene.session = session
    return session


CASES = [
    Case("SSL_SESSION_new", lambda f, s: f(), is_new),
    of_session("SSL_SESSION_dup", value=is_new),
    of_session("SSL_SESSION_up_ref", value=True, change={"application": 1}),
    of_session("SSL_SESSION_free", change={"application": -1}),
    Case("d2i_SSL_SESSION", lambda f, s: f(s.session.to_der() + b"more"), is_new),
    Case("d2i_SSL_SESSION_ex", lambda f, s: f(s.session.to_der(), None, None), is_new),
    Case("d2i_SSL_SESSION_bio", lambda f, s: f(io.BytesIO(s.session.to_der())), is_new),
    Case("PEM_read_SSL_SESSION", lambda f, s: f(io.StringIO(s.session.to_pem())), is_new),
    Case("PEM_read_bio_SSL_SESSION", lambda f, s: f(io.StringIO(s.session.to_pem())), is_new),
    of_session("i2d_SSL_SESSION", value=lambda v, s: v == s.session.to_der()),
    Case(
        "i2d_SSL_SESSION_bio",
        lambda f, s: f(s.binary, s.session),
        lambda v, s: v is True and s.binary.getvalue() == s.session.to_der(),
    ),
    Case("PEM_write_SSL_SESSION", lambda f, s: f(s.text, s.session), written("to_pem")),
    Case("PEM_write_bio_SSL_SESSION", lambda f, s: f(s.text, s.session), written("to_pem")),
    Case("SSL_SESSION_print", lambda f, s: f(s.text, s.session), written("to_text")),
    Case("SSL_SESSION_print_fp", lambda f, s: f(s.text, s.session), written("to_text")),
    Case("SSL_SESSION_print_keylog", lambda f, s: f(s.text, s.session), written("to_keylog")),
    Case("SSL_SESSION_get_ex_new_index", lambda f, s: f(0, None, None, None, None), lambda v, s: v > 0),
    of_session("SSL_SESSION_set_ex_data", 5, "five", value=lambda v, s: v is True and s.session.ex_data == {5: "five"}),
    Case("SSL_SESSION_get_ex_data", lambda f, s: (s.session.ex_data.update({5: "five"}), f(s.session, 5))[1], "five"),
    of_session("SSL_SESSION_set_app_data", "app", value=sets("app_data", "app")),
    Case("SSL_SESSION_get_app_data", lambda f, s: (s.session.ex_data.update({0: "app"}), f(s.session))[1], "app"),
    # facts
    of_session("SSL_SESSION_get_id", value=b"I" * 32),
    of_session("SSL_SESSION_set1_id", b"other", value=sets("id", b"other")),
    of_session("SSL_SESSION_get0_id_context", value=b"context"),
    of_session("SSL_SESSION_set1_id_context", b"other", value=sets("id_context", b"other")),
    of_session("SSL_SESSION_get_time_ex", value=lambda v, s: v == int(s.world.clock()) - 100),
    of_session("SSL_SESSION_set_time_ex", 5, value=sets("time", 5, 5)),
    of_session("SSL_SESSION_get_time", value=returns("time")),
    of_session("SSL_SESSION_set_time", 5, value=sets("time", 5, 5)),
    of_session("SSL_get_time", value=returns("time")),
    of_session("SSL_set_time", 5, value=sets("time", 5, 5)),
    of_session("SSL_SESSION_get_timeout", value=300),
    of_session("SSL_SESSION_set_timeout", 9, value=sets("timeout", 9)),
    of_session("SSL_get_timeout", value=300),
    of_session("SSL_set_timeout", 9, value=sets("timeout", 9)),
    of_session("SSL_SESSION_get_protocol_version", value=TLS13),
    of_session("SSL_SESSION_set_protocol_version", TLS12, value=sets("version", TLS12)),
    of_session("SSL_SESSION_get0_cipher", value=0x1301),
    of_session("SSL_SESSION_set_cipher", 0x1302, value=sets("cipher", 0x1302)),
    of_session("SSL_SESSION_get0_hostname", value="localhost"),
    of_session("SSL_SESSION_set1_hostname", "other.example", value=sets("hostname", "other.example")),
    of_session("SSL_SESSION_get0_alpn_selected", value=b"h2"),
    of_session("SSL_SESSION_set1_alpn_selected", b"", value=sets("alpn", None)),
    of_session("SSL_SESSION_has_ticket", value=True),
    of_session("SSL_SESSION_get_ticket_lifetime_hint", value=77),
    of_session("SSL_SESSION_get0_ticket", value=b"T" * 40),
    of_session("SSL_SESSION_get_max_early_data", value=9),
    of_session("SSL_SESSION_set_max_early_data", 8, value=sets("max_early_data", 8)),
    of_session("SSL_SESSION_get0_peer", value=returns("peer_certificate")),
    of_session("SSL_SESSION_get0_peer_rpk", value=returns("peer_public_key")),
    of_session("SSL_SESSION_get_compress_id", value=0),
    of_session("SSL_SESSION_get_master_key", 5, value=SECRET[:5]),
    of_session("SSL_SESSION_set1_master_key", b"other", value=sets("secret", b"other")),
    of_session("SSL_SESSION_get_max_fragment_length", value=3),
    of_session("SSL_SESSION_is_resumable", value=True),
    of_session("SSL_SESSION_set1_ticket_appdata", b"", value=sets("ticket_appdata", b"")),
    of_session("SSL_SESSION_get0_ticket_appdata", value=b"data"),
    # contexts
    Case("SSL_CTX_add_session", lambda f, s: f(s.server, s.session), True, {"cache": 1}),
    Case(
        "SSL_CTX_remove_session",
        lambda f, s: f(s.caching, s.session),
        lambda v, s: v is True and not s.session.is_resumable,
        {"cache": -1},
        before=lambda s: s.caching and s.session,
    ),
    *(
        Case(
            name,
            lambda f, s: f(s.caching, s.session.expires_at + 1),
            lambda v, s: v is None and s.session.is_resumable,
            {"cache": -1},
            before=lambda s: s.caching and s.session,
        )
        for name in ("SSL_CTX_flush_sessions_ex", "SSL_CTX_flush_sessions")
    ),
    Case("SSL_CTX_free", lambda f, s: f(s.caching), None, {"cache": -1}, before=lambda s: s.caching and s.session),
    of_server("SSL_CTX_sessions", value=lambda v, s: v is s.server.sessions),
    of_server("SSL_CTX_set_session_cache_mode", 3, value=face.SSL_SESS_CACHE_SERVER),
    of_server("SSL_CTX_get_session_cache_mode", value=face.SSL_SESS_CACHE_SERVER),
    of_server("SSL_CTX_sess_set_cache_size", 7, value=lambda v, s: v == 20_480 and s.server.sessions.max_size == 7),
    of_server("SSL_CTX_sess_get_cache_size", value=20_480),
    of_server("SSL_CTX_set_timeout", 60, value=lambda v, s: v == 7_200 and s.server.session_timeout == 60),
    of_server("SSL_CTX_get_timeout", value=7_200),
    of_server("SSL_CTX_sess_set_new_cb", callback, value=lambda v, s: s.server.on_new_session is callback),
    of_server("SSL_CTX_sess_get_new_cb", value=None),
    of_server("SSL_CTX_sess_set_remove_cb", callback, value=lambda v, s: s.server.on_remove_session is callback),
    of_server("SSL_CTX_sess_get_remove_cb", value=None),
    of_server("SSL_CTX_sess_set_get_cb", callback, value=lambda v, s: s.server.on_get_session is callback),
    of_server("SSL_CTX_sess_get_get_cb", value=None),
    Case("SSL_CTX_sess_number", lambda f, s: f(s.caching), 1, before=lambda s: s.caching and s.session),
    *map(counter, COUNTERS),
    of_server("SSL_CTX_set_session_id_context", b"c", value=lambda v, s: v and s.server.session_id_context == b"c"),
    of_server("SSL_CTX_set_generate_session_id", callback, value=lambda v, s: s.server.generate_session_id is callback),
    of_server(
        "SSL_CTX_set_not_resumable_session_callback",
        callback,
        value=lambda v, s: v is None and s.server.not_resumable_callback is callback,
    ),
    of_server("SSL_CTX_set_num_tickets", 4, value=lambda v, s: v is True and s.server.num_tickets == 4),
    of_server("SSL_CTX_get_num_tickets", value=2),
    of_server("SSL_CTX_set_max_early_data", 7, value=lambda v, s: v is True and s.server.max_early_data == 7),
    of_server("SSL_CTX_get_max_early_data", value=0),
    of_server("SSL_CTX_set_recv_max_early_data", 7, value=lambda v, s: v is True and s.server.recv_max_early_data == 7),
    of_server("SSL_CTX_get_recv_max_early_data", value=0),
    of_server(
        "SSL_CTX_set_allow_early_data_cb",
        callback,
        value=lambda v, s: v is None and s.server.on_allow_early_data is callback,
    ),
    *(
        Case(
            f"SSL_CTX_set_psk_{name}_callback",
            lambda f, s: f(s.client, callback),
            lambda v, s: v is None and isinstance(s.client.psk, PskCallback),
        )
        for name in ("use_session", "client")
    ),
    *(
        of_server(
            f"SSL_CTX_set_psk_{name}_callback",
            callback,
            value=lambda v, s: v is None and isinstance(s.server.psks, PskCallback),
        )
        for name in ("find_session", "server")
    ),
    of_server("SSL_CTX_set_tlsext_ticket_keys", BLOCK, value=True),
    Case(
        "SSL_CTX_get_tlsext_ticket_keys",
        lambda f, s: face.SSL_CTX_set_tlsext_ticket_keys(s.server, BLOCK) and f(s.server),
        BLOCK,
    ),
    *(
        of_server(name, callback, value=lambda v, s: v and isinstance(s.server.ticket_keys, TicketKeyCallback))
        for name in ("SSL_CTX_set_tlsext_ticket_key_cb", "SSL_CTX_set_tlsext_ticket_key_evp_cb")
    ),
    of_server(
        "SSL_CTX_set_session_ticket_cb",
        callback,
        callback,
        value=lambda v, s: v and s.server.config.ticket_hooks == TicketHooks(callback, callback),
    ),
    # connections
    *(
        Case(name, lambda f, s: f(s.offering), lambda v, s: v is s.session, before=lambda s: s.offering.session)
        for name in ("SSL_get_session", "SSL_get0_session")
    ),
    Case(
        "SSL_get1_session",
        lambda f, s: f(s.offering),
        lambda v, s: v is s.session,
        {"application": 1},
        before=lambda s: s.offering.session,
    ),
    Case("SSL_set_session", lambda f, s: f(s.connection(), s.session), True, {"connection": 1}),
    Case(
        "SSL_copy_session_id",
        lambda f, s: f(s.connection(), s.offering),
        True,
        {"connection": 1},
        before=lambda s: s.offering.session,
    ),
    Case(
        "SSL_dup",
        lambda f, s: f(s.offering),
        lambda v, s: s._connections.append(v) is None and v is not s.offering and v.session is s.session,
        {"connection": 1},
        before=lambda s: s.offering.session,
    ),
    Case("SSL_session_reused", lambda f, s: f(s.pair.client), False),
    Case("SSL_clear", lambda f, s: f(s.pair.client), True, {"connection": -1}, before=kept),
    Case("SSL_shutdown", lambda f, s: f(s.pair.client), False, before=kept),
    Case("SSL_free", lambda f, s: f(s.offering), None, {"connection": -1}, before=lambda s: s.offering.session),
    Case("SSL_get_verify_result", lambda f, s: f(s.pair.client), 0),
    Case("SSL_get_default_timeout", lambda f, s: f(s.offering), 7_200, before=lambda s: s.offering.session),
    Case(
        "SSL_set_session_id_context",
        lambda f, s: f(s.accepting, b"c"),
        lambda v, s: v is True and s.accepting.session_id_context == b"c",
    ),
    Case(
        "SSL_set_generate_session_id",
        lambda f, s: f(s.accepting, callback),
        lambda v, s: v is True and s.accepting.generate_session_id is callback,
    ),
    Case(
        "SSL_has_matching_session_id",
        lambda f, s: f(s.caching.connection(), s.session.id),
        True,
        before=lambda s: s.caching and s.session,
    ),
    Case(
        "SSL_set_not_resumable_session_callback",
        lambda f, s: f(s.accepting, callback),
        lambda v, s: v is None and s.accepting.not_resumable_callback is callback,
    ),
    Case(
        "SSL_set_num_tickets", lambda f, s: f(s.accepting, 5), lambda v, s: v is True and s.accepting.num_tickets == 5
    ),
    Case("SSL_get_num_tickets", lambda f, s: f(s.accepting), 2),
    Case(
        "SSL_set_max_early_data",
        lambda f, s: f(s.accepting, 7),
        lambda v, s: v is True and s.accepting.max_early_data == 7 and s.server.max_early_data == 0,
    ),
    Case("SSL_get_max_early_data", lambda f, s: f(s.accepting), 0),
    Case("SSL_get_early_data_status", lambda f, s: f(s.accepting), 0),
    Case("SSL_write_early_data", lambda f, s: f(s.connection(), b"nothing allows it"), False),
    Case("SSL_read_early_data", lambda f, s: f(Early(b"said early"), 4), (face.SSL_READ_EARLY_DATA_SUCCESS, b"said")),
    Case(
        "SSL_set_recv_max_early_data",
        lambda f, s: f(s.accepting, 7),
        lambda v, s: v is True and s.accepting.recv_max_early_data == 7 and s.server.recv_max_early_data == 0,
    ),
    Case("SSL_get_recv_max_early_data", lambda f, s: f(s.accepting), 0),
    Case(
        "SSL_set_allow_early_data_cb",
        lambda f, s: f(s.accepting, callback),
        lambda v, s: v is True and s.accepting.on_allow_early_data is callback,
    ),
    *(
        Case(
            f"SSL_set_psk_{name}_callback",
            lambda f, s: f(s.connection(), callback),
            lambda v, s: v is True and isinstance(s._connections[-1].psk, PskCallback),
        )
        for name in ("use_session", "client")
    ),
    *(
        Case(
            f"SSL_set_psk_{name}_callback",
            lambda f, s: f(s.accepting, callback),
            lambda v, s: v is True and isinstance(s.accepting.psks, PskCallback),
        )
        for name in ("find_session", "server")
    ),
    Case(
        "SSL_new_session_ticket",
        lambda f, s: f(s.pair.server),
        True,
        {"connection": 1},
        before=lambda s: s.pair and None,
        after=lambda s: s.pair.server.session,
    ),
]

each_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def test_every_function_has_a_case() -> None:
    assert sorted(case.name for case in CASES) == sorted(FUNCTIONS)


@each_case
def test_value_and_references(case: Case, scene: Scene) -> None:
    subject = case.before(scene)
    before = by_kind(subject)
    value = case.call(getattr(face, case.name), scene)
    after = by_kind(case.after(scene) if case.after is not None else subject)
    after.subtract(before)
    assert {kind: change for kind, change in after.items() if change} == case.change
    if callable(case.value):
        assert case.value(value, scene)
    else:
        assert value == case.value
        assert type(value) is type(case.value)


@each_case
def test_the_docstring_says_first_what_the_call_did(case: Case) -> None:
    """The same words that the case above was measured by."""
    doc = inspect.getdoc(getattr(face, case.name)) or ""
    assert re.match(r"(\+1 |-1 )(caller|cache|connection)\b|(Borrow|Copy|Not owned|No reference changes)\b", doc)
    holder = {"application": "caller"}
    if case.value is is_new:
        assert doc.startswith("+1 caller")
    elif case.change:
        ((kind, number),) = case.change.items()
        assert doc.startswith(f"{number:+d} {holder.get(kind, kind)}")
    elif not case.name.endswith(("_cb", "_callback")):  # those say what the callback will do
        assert not doc.startswith(("+", "-"))


# --- callbacks: what was installed is called, and its reference is as the docstring says ------------------------------


@pytest.mark.parametrize("keeps", [True, False])
def test_the_new_callback_keeps_the_reference_that_it_is_lent_by_returning_true(scene: Scene, keeps: bool) -> None:
    seen: list[resumption.Session] = []
    face.SSL_CTX_sess_set_new_cb(scene.client, lambda connection, session: seen.append(session) or keeps)
    _ = scene.pair
    assert len(seen) == 2
    assert [by_kind(session)["application"] for session in seen] == [int(keeps)] * 2
    assert face.SSL_CTX_sess_get_new_cb(scene.client) is not None
    for session in seen if keeps else ():
        face.SSL_SESSION_free(session)


def test_the_remove_callback_borrows(scene: Scene) -> None:
    seen: list[tuple[object, object, int]] = []
    face.SSL_CTX_sess_set_remove_cb(scene.caching, lambda ctx, one: seen.append((ctx, one, one.references)))
    face.SSL_CTX_flush_sessions(scene.caching, 0)
    assert seen == [(scene.server, scene.session, 2)]
    assert face.SSL_CTX_sess_get_remove_cb(scene.caching) is not None


@pytest.mark.parametrize("copy", [True, False])
def test_the_get_callback_lends_or_gives(scene: Scene, copy: bool) -> None:
    server = scene.world.server_context(tickets=None)
    client = scene.world.client_context(maximum_version=TLS12)
    scene._connections += (first := scene.world.meet(client, server).check())[:2]
    (found,) = server.sessions
    found.up_ref()
    server.sessions.discard(found)
    first.free()
    assert found.holders == {APPLICATION: 1}
    face.SSL_CTX_set_session_cache_mode(server, face.SSL_SESS_CACHE_SERVER | face.SSL_SESS_CACHE_NO_INTERNAL)
    answer: Any = found if copy else (found, False)
    face.SSL_CTX_sess_set_get_cb(server, lambda connection, session_id: answer if session_id == found.id else None)
    pair = scene.world.meet(client, server).check()
    assert face.SSL_session_reused(pair.server)
    assert by_kind(found) == ({"application": 1, "connection": 1} if copy else {"connection": 1})
    assert face.SSL_CTX_sess_cb_hits(server) == 1
    pair.free()
    if copy:
        found.free()
    assert found.is_freed
    client.close()
    server.close()


# --- conventions ------------------------------------------------------------------------------------------------------


def without_cipher(scene: Scene) -> bool:
    return face.SSL_SESSION_set_cipher(scene.session, 0)


def begun(scene: Scene) -> resumption.Connection:
    connection = scene.connection()
    connection.data_to_send()
    return connection


NO_MORE: Any = face.SSL_read_early_data
REFUSALS: list[tuple[str, Callable[[Scene], Any], Any]] = [
    ("an id of 33 bytes", lambda s: face.SSL_SESSION_set1_id(s.session, b"i" * 33), False),
    ("an id in a cache", lambda s: s.caching and face.SSL_SESSION_set1_id(s.session, b"i"), False),
    ("an id context of 33 bytes", lambda s: face.SSL_SESSION_set1_id_context(s.session, b"i" * 33), False),
    ("a secret of 513 bytes", lambda s: face.SSL_SESSION_set1_master_key(s.session, b"k" * 513), False),
    ("a name with NUL", lambda s: face.SSL_SESSION_set1_hostname(s.session, "a\0b"), False),
    ("a negative lifetime", lambda s: face.SSL_SESSION_set_timeout(s.session, -1), False),
    ("the lifetime of NULL", lambda s: face.SSL_SESSION_set_timeout(None, 5), False),
    ("the lifetime of NULL, read", lambda s: face.SSL_SESSION_get_timeout(None), 0),
    ("the time of NULL", lambda s: face.SSL_SESSION_get_time_ex(None), 0),
    ("the time of NULL, set", lambda s: face.SSL_SESSION_set_time_ex(None, 5), 0),
    ("junk for DER", lambda s: face.d2i_SSL_SESSION(b"junk"), None),
    ("junk for DER, ex", lambda s: face.d2i_SSL_SESSION_ex(b"junk"), None),
    ("junk for DER in a stream", lambda s: face.d2i_SSL_SESSION_bio(io.BytesIO(b"junk")), None),
    ("junk for PEM", lambda s: face.PEM_read_SSL_SESSION(io.StringIO("junk")), None),
    (
        "no cipher to encode",
        lambda s: without_cipher(s) and face.i2d_SSL_SESSION(s.session),
        None,
    ),
    (
        "no cipher to write",
        lambda s: without_cipher(s) and face.PEM_write_SSL_SESSION(s.text, s.session),
        False,
    ),
    (
        "no id for a key log",
        lambda s: face.SSL_SESSION_set1_id(s.session, b"") and face.SSL_SESSION_print_keylog(s.text, s.session),
        False,
    ),
    (
        "no cipher",
        lambda s: without_cipher(s) and face.SSL_SESSION_get0_cipher(s.session),
        None,
    ),
    ("an index with a new callback", lambda s: face.SSL_SESSION_get_ex_new_index(new=callback), -1),
    ("a value never set", lambda s: face.SSL_SESSION_get_ex_data(s.session, 3), None),
    ("free of NULL", lambda s: face.SSL_SESSION_free(None), None),
    ("SSL_free of NULL", lambda s: face.SSL_free(None), None),
    ("SSL_CTX_free of NULL", lambda s: face.SSL_CTX_free(None), None),
    ("add, again", lambda s: face.SSL_CTX_add_session(s.caching, s.session), False),
    (
        "add without id",
        lambda s: face.SSL_SESSION_set1_id(s.session, b"") and face.SSL_CTX_add_session(s.server, s.session),
        False,
    ),
    ("add to a second cache", lambda s: s.caching and face.SSL_CTX_add_session(s.client, s.session), False),
    ("remove NULL", lambda s: face.SSL_CTX_remove_session(s.server, None), False),
    ("remove what is not there", lambda s: face.SSL_CTX_remove_session(s.server, s.session), False),
    ("flush what is not expired", lambda s: face.SSL_CTX_flush_sessions_ex(s.caching, 1), None),
    ("the timeout of NULL", lambda s: face.SSL_CTX_get_timeout(None), 0),
    ("the timeout of NULL, set", lambda s: face.SSL_CTX_set_timeout(None, 5), 0),
    (
        "an id context of 33 bytes for a context",
        lambda s: face.SSL_CTX_set_session_id_context(s.server, b"i" * 33),
        False,
    ),
    ("a frozen context", lambda s: s.accepting and face.SSL_CTX_set_session_id_context(s.server, b"c"), False),
    ("early data of a client", lambda s: face.SSL_set_max_early_data(s.connection(), 1), False),
    ("how much of it", lambda s: face.SSL_get_max_early_data(s.connection()), 0),
    ("early data of a server", lambda s: face.SSL_write_early_data(s.accepting, b"x"), False),
    ("without a register", lambda s: face.SSL_CTX_set_max_early_data(s.world.server_context(), 1), False),
    ("more than none of a client", lambda s: face.SSL_set_recv_max_early_data(s.connection(), 1), False),
    ("what a client takes", lambda s: face.SSL_get_recv_max_early_data(s.connection()), 0),
    ("a connection's limit below 0", lambda s: face.SSL_set_recv_max_early_data(s.accepting, -1), False),
    ("a limit below 0", lambda s: face.SSL_CTX_set_recv_max_early_data(s.server, -1), False),
    ("a client to be asked", lambda s: face.SSL_set_allow_early_data_cb(s.connection(), callback), False),
    ("no more early data", lambda s: NO_MORE(Early(b""), 5), (face.SSL_READ_EARLY_DATA_FINISH, b"")),
    ("a PSK of a server", lambda s: face.SSL_set_psk_use_session_callback(s.accepting, callback), False),
    ("PSKs of a client", lambda s: face.SSL_set_psk_find_session_callback(s.connection(), callback), False),
    ("a PSK too late", lambda s: face.SSL_set_psk_client_callback(begun(s), callback), False),
    ("too many tickets", lambda s: face.SSL_CTX_set_num_tickets(s.server, 10_000), False),
    ("79 bytes of keys", lambda s: face.SSL_CTX_set_tlsext_ticket_keys(s.server, BLOCK[:79]), False),
    ("keys of another form", lambda s: face.SSL_CTX_get_tlsext_ticket_keys(s.server), None),
    ("no session", lambda s: face.SSL_get_session(s.connection()), None),
    ("no session to take", lambda s: face.SSL_get1_session(s.connection()), None),
    ("a session for a server", lambda s: face.SSL_set_session(s.accepting, s.session), False),
    ("a session too late", lambda s: face.SSL_set_session(begun(s), s.session), False),
    ("copy to a server", lambda s: face.SSL_copy_session_id(s.accepting, s.offering), False),
    (
        "an id context of 33 bytes for a connection",
        lambda s: face.SSL_set_session_id_context(s.accepting, b"i" * 33),
        False,
    ),
    ("an id that nothing has", lambda s: face.SSL_has_matching_session_id(s.accepting, b"i"), False),
    ("tickets of a client", lambda s: face.SSL_set_num_tickets(s.connection(), 1), False),
    ("number of a client's tickets", lambda s: face.SSL_get_num_tickets(s.connection()), 0),
    ("a ticket from a client", lambda s: face.SSL_new_session_ticket(s.pair.client), False),
    ("verification before the handshake", lambda s: face.SSL_get_verify_result(s.connection()), 0),
]


@pytest.mark.parametrize(("call", "value"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_zero_and_null(call: Callable[[Scene], Any], value: Any, scene: Scene) -> None:
    returned = call(scene)
    assert returned == value
    assert type(returned) is type(value)


def test_refusals_change_nothing(scene: Scene) -> None:
    facts, holders = scene.session.data, scene.session.holders
    assert not face.SSL_SESSION_set1_id(scene.session, b"i" * 33)
    assert not face.SSL_SESSION_set_timeout(scene.session, -1)
    assert not face.SSL_set_session(scene.accepting, scene.session)
    assert (scene.session.data, scene.session.holders) == (facts, holders)


def test_values_of_an_index_are_copied_and_freed_by_its_callbacks(scene: Scene) -> None:
    freed: list[str] = []
    index = face.SSL_SESSION_get_ex_new_index(0, "names", None, lambda value: value + "'", freed.append)
    assert face.SSL_SESSION_set_ex_data(scene.session, index, "a")
    copy = face.SSL_SESSION_dup(scene.session)
    assert face.SSL_SESSION_get_ex_data(copy, index) == "a'"
    face.SSL_SESSION_free(copy)
    assert freed == ["a'"]
    face.SSL_SESSION_free(scene.session)
    assert freed == ["a'", "a"]
    assert face.SSL_SESSION_get_ex_new_index() > index


def test_set_session_gives_back_what_the_connection_had(scene: Scene) -> None:
    with scene.session.dup() as other:
        assert face.SSL_set_session(scene.offering, other)
        assert by_kind(scene.session) == {"application": 1}
        assert by_kind(other) == {"application": 1, "connection": 1}
        assert face.SSL_set_session(scene.offering, None)
        assert by_kind(other) == {"application": 1}


def test_add_gives_back_what_it_displaces(scene: Scene) -> None:
    with scene.session.dup() as other:
        assert face.SSL_CTX_add_session(scene.caching, other)
        assert by_kind(scene.session) == {"application": 1}
        assert face.SSL_SESSION_is_resumable(scene.session)
        assert face.SSL_CTX_sess_number(scene.server) == 1
        assert face.SSL_CTX_remove_session(scene.server, other)


def test_flush_at_zero_drops_everything(scene: Scene) -> None:
    face.SSL_CTX_flush_sessions_ex(scene.caching, 0)
    assert face.SSL_CTX_sess_number(scene.server) == 0
    assert by_kind(scene.session) == {"application": 1}


def test_dup_after_the_start_is_the_same_connection_to_be_freed_twice(scene: Scene) -> None:
    client = scene.pair.client
    session = kept(scene)
    assert face.SSL_dup(client) is client
    face.SSL_free(client)
    assert by_kind(session)["connection"] == 1
    face.SSL_free(client)
    assert by_kind(session)["connection"] == 0


def test_shutdown_is_true_once_both_directions_are_closed(scene: Scene) -> None:
    assert not face.SSL_shutdown(scene.pair.client)
    scene.pair.pump()
    assert face.SSL_shutdown(scene.pair.server)
    scene.pair.pump()
    assert face.SSL_shutdown(scene.pair.client)


def test_a_session_from_get1_resumes_the_next_connection(scene: Scene) -> None:
    session = face.SSL_get1_session(scene.pair.client)
    again = scene.world.meet(scene.client, scene.server, session=session).check()
    assert face.SSL_session_reused(again.client)
    assert face.SSL_session_reused(again.server)
    assert face.SSL_CTX_sess_hits(scene.server) == 1
    again.free()
    face.SSL_SESSION_free(session)


def test_early_data_is_written_and_its_status_read(scene: Scene) -> None:
    assert face.SSL_CTX_set_max_early_data(scene.server, 100)
    scene.world.meet(scene.client, scene.server).check().free()
    for answered, status in ((True, 2), (False, 1)):
        assert face.SSL_CTX_set_max_early_data(scene.server, 100 if answered else 0)
        client, server = scene.client.connection("localhost"), scene.server.connection()
        assert face.SSL_write_early_data(client, b"early")
        assert face.SSL_get_early_data_status(client) == 0
        pump(client, server).check()
        assert face.SSL_get_early_data_status(client) == face.SSL_get_early_data_status(server) == status
        face.SSL_free(client)
        face.SSL_free(server)


@pytest.mark.parametrize("allows", [True, False])
@pytest.mark.parametrize("own", [True, False])
def test_the_allow_callback_is_asked_last(scene: Scene, allows: bool, own: bool) -> None:
    asked: list[tuple[Any, Any, int]] = []

    def allow(connection: Any, session: resumption.Session) -> bool:
        asked.append((connection, session.hostname, by_kind(session)["application"]))
        return allows

    assert face.SSL_CTX_set_max_early_data(scene.server, 100)
    face.SSL_CTX_set_allow_early_data_cb(scene.server, callback if own else allow)
    scene.world.meet(scene.client, scene.server).check().free()
    assert not asked
    client, server = scene.client.connection("localhost"), scene.accepting
    assert not own or face.SSL_set_allow_early_data_cb(server, allow)
    assert face.SSL_write_early_data(client, b"early")
    pump(client, server).check()
    assert asked == [(server, "localhost", 0)]
    wanted = face.SSL_EARLY_DATA_ACCEPTED if allows else face.SSL_EARLY_DATA_REJECTED
    assert face.SSL_get_early_data_status(client) == face.SSL_get_early_data_status(server) == wanted
    assert face.SSL_session_reused(server)
    face.SSL_free(client)


PSK = bytes(range(1, 33))


def psk_session() -> resumption.Session:
    session = face.SSL_SESSION_new()
    assert face.SSL_SESSION_set1_master_key(session, PSK)
    assert face.SSL_SESSION_set_cipher(session, 0x1302)
    assert face.SSL_SESSION_set_protocol_version(session, TLS13)
    return session


@pytest.mark.parametrize("own", [True, False])
def test_psk_callbacks_give_sessions_away(scene: Scene, own: bool) -> None:
    given: list[resumption.Session] = []
    asked: list[Any] = []

    def use(connection: Any, digest: None) -> tuple[bytes, resumption.Session]:
        asked.append((connection, digest))
        given.append(psk_session())
        return b"sensor", given[-1]

    def find(connection: Any, identity: bytes) -> resumption.Session | None:
        asked.append((connection, identity))
        given.append(psk_session())
        return given[-1]

    if not own:
        face.SSL_CTX_set_psk_use_session_callback(scene.client, use)
        face.SSL_CTX_set_psk_find_session_callback(scene.server, find)
    client, server = scene.connection(), scene.accepting
    if own:
        assert face.SSL_set_psk_use_session_callback(client, use)
        assert face.SSL_set_psk_find_session_callback(server, find)
    pump(client, server).check()
    assert asked == [(client, None), (server, b"sensor")]
    assert client.resumption is not None
    assert client.resumption.reason is resumption.Reason.EXTERNAL_PSK
    assert client.cipher == "TLS_AES_256_GCM_SHA384"
    assert all(session.is_freed for session in given)


@pytest.mark.parametrize("own", [True, False])
def test_the_older_psk_callbacks_give_keys(scene: Scene, own: bool) -> None:
    known = {b"sensor": PSK}
    if own:
        assert face.SSL_set_psk_client_callback(client := scene.connection(), lambda *_: (b"sensor", PSK))
        assert face.SSL_set_psk_server_callback(server := scene.accepting, lambda _, identity: known.get(identity))
    else:
        face.SSL_CTX_set_psk_client_callback(scene.client, lambda *_: (b"sensor", PSK))
        face.SSL_CTX_set_psk_server_callback(scene.server, lambda _, identity: known.get(identity))
        client, server = scene.connection(), scene.accepting
    pump(client, server).check()
    assert server.resumption is not None
    assert server.resumption.reason is resumption.Reason.EXTERNAL_PSK


def test_without_a_callback_there_is_no_psk_again(scene: Scene) -> None:
    for name in ("use_session", "client"):
        scene.client.psk = lambda name: None
        getattr(face, f"SSL_CTX_set_psk_{name}_callback")(scene.client, None)
        assert scene.client.psk is None
        assert getattr(face, f"SSL_set_psk_{name}_callback")(scene.connection(), None)
    for name in ("find_session", "server"):
        scene.server.psks = {}
        getattr(face, f"SSL_CTX_set_psk_{name}_callback")(scene.server, None)
        assert scene.server.psks is None
        assert getattr(face, f"SSL_set_psk_{name}_callback")(scene.accepting, None)


# --- counting errors are raised, never swallowed ----------------------------------------------------------------------

ARGUMENTS = {
    "session_id": b"i",
    "id_context": b"c",
    "time_s": 5,
    "timeout_s": 5,
    "version": TLS13,
    "suite": 0x1301,
    "hostname": "h",
    "alpn": b"h2",
    "max_early_data": 1,
    "secret": b"s",
    "appdata": b"a",
    "index": 1,
    "value": "v",
    "length": None,
}
WITH_SESSION = [name for name in FUNCTIONS if "session" in inspect.signature(getattr(face, name)).parameters]


@pytest.mark.parametrize("name", WITH_SESSION)
def test_what_was_freed_is_gone_for_every_function(name: str, scene: Scene) -> None:
    session = scene.session.dup()
    session.free()
    given = {"session": session, "ssl": scene.connection(), "ctx": scene.server, "stream": scene.text, **ARGUMENTS}
    function = getattr(face, name)
    with pytest.raises(resumption.SessionFreedError):
        function(**{parameter: given[parameter] for parameter in inspect.signature(function).parameters})


def test_there_are_many_such_functions() -> None:
    assert len(WITH_SESSION) > 45


def test_freeing_what_was_borrowed_is_an_error_and_harms_nobody(scene: Scene) -> None:
    borrowed = face.SSL_get0_session(scene.pair.client)
    assert borrowed is not None
    before = borrowed.holders
    assert APPLICATION not in before
    with pytest.raises(resumption.ReferenceCountError):
        face.SSL_SESSION_free(borrowed)
    assert borrowed.holders == before
    scene.pair.talk()


@pytest.mark.parametrize("wrap", [succeeds, null_on_error])
@pytest.mark.parametrize("error", [resumption.ReferenceCountError, resumption.SessionFreedError, ZeroDivisionError])
def test_the_conventions_let_counting_errors_and_surprises_through(
    wrap: Callable[[Callable[[], object]], Callable[[], object]], error: type[Exception]
) -> None:
    def fail() -> None:
        raise error("x")

    with pytest.raises(error):
        wrap(fail)()


def test_the_conventions() -> None:
    def refuse() -> None:
        raise resumption.UsageError("no")

    def unreadable() -> None:
        raise resumption.SessionFormatError("what is that")

    assert [succeeds(lambda value=value: value)() for value in (None, True, 0, False)] == [True, True, True, False]
    assert succeeds(refuse)() is False
    assert null_on_error(refuse)() is null_on_error(unreadable)() is None
    assert null_on_error(lambda: 5)() == 5
    with pytest.raises(resumption.SessionFormatError):
        succeeds(unreadable)()


# --- the shape of the face --------------------------------------------------------------------------------------------

MODULES = ("connections", "contexts", "sessions", "refusals")


def definitions() -> Iterator[ast.FunctionDef]:
    for module in MODULES:
        for node in ast.parse((FACE / f"{module}.py").read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                yield node


@pytest.mark.parametrize("node", list(definitions()), ids=lambda node: node.name)
def test_there_is_no_logic(node: ast.FunctionDef) -> None:
    """A docstring, and at most three statements, counted through branches; no loop, no handler, no private function."""
    statements = [inner for inner in ast.walk(node) if isinstance(inner, ast.stmt)][2:]
    assert 1 <= len(statements) <= 4
    assert len(node.body) <= 4
    assert not any(isinstance(inner, ast.For | ast.While | ast.Try | ast.With) for inner in statements)
    assert not node.name.startswith("_")


def test_the_package_brings_what_its_modules_list() -> None:
    listed = [name for module in MODULES for name in getattr(face, module).__all__]
    assert sorted(listed) == sorted(face.__all__)
    namespace: dict[str, Any] = {}
    exec("from resumption.openssl import *", namespace)
    assert set(face.__all__) <= set(namespace)


# Section 2 of the facts that this face answers to: the names of OpenSSL's manual pages on sessions.
MANUAL = """
SSL_SESSION_new SSL_SESSION_dup SSL_SESSION_up_ref SSL_SESSION_free SSL_get_session SSL_get0_session SSL_get1_session
SSL_set_session SSL_copy_session_id SSL_dup d2i_SSL_SESSION d2i_SSL_SESSION_ex i2d_SSL_SESSION d2i_SSL_SESSION_bio
i2d_SSL_SESSION_bio PEM_read_SSL_SESSION PEM_write_SSL_SESSION PEM_read_bio_SSL_SESSION PEM_write_bio_SSL_SESSION
SSL_SESSION_get_ex_new_index SSL_SESSION_set_ex_data SSL_SESSION_get_ex_data SSL_SESSION_set_app_data
SSL_SESSION_get_app_data SSL_SESSION_get_id SSL_SESSION_set1_id SSL_SESSION_get0_id_context
SSL_SESSION_set1_id_context SSL_SESSION_get_time_ex SSL_SESSION_set_time_ex SSL_SESSION_get_time SSL_SESSION_set_time
SSL_get_time SSL_set_time SSL_SESSION_get_timeout SSL_SESSION_set_timeout SSL_get_timeout SSL_set_timeout
SSL_SESSION_get_protocol_version SSL_SESSION_set_protocol_version SSL_SESSION_get0_cipher SSL_SESSION_set_cipher
SSL_SESSION_get0_hostname SSL_SESSION_set1_hostname SSL_SESSION_get0_alpn_selected SSL_SESSION_set1_alpn_selected
SSL_SESSION_has_ticket SSL_SESSION_get_ticket_lifetime_hint SSL_SESSION_get0_ticket SSL_SESSION_get_max_early_data
SSL_SESSION_set_max_early_data SSL_SESSION_get0_peer SSL_SESSION_get0_peer_rpk SSL_SESSION_get_compress_id
SSL_SESSION_get_master_key SSL_SESSION_set1_master_key SSL_SESSION_get_max_fragment_length SSL_SESSION_is_resumable
SSL_SESSION_set1_ticket_appdata SSL_SESSION_get0_ticket_appdata SSL_SESSION_print SSL_SESSION_print_fp
SSL_SESSION_print_keylog SSL_CTX_add_session SSL_CTX_remove_session SSL_CTX_flush_sessions_ex SSL_CTX_flush_sessions
SSL_CTX_sessions SSL_CTX_set_session_cache_mode SSL_CTX_get_session_cache_mode SSL_CTX_sess_set_cache_size
SSL_CTX_sess_get_cache_size SSL_CTX_set_timeout SSL_CTX_get_timeout SSL_get_default_timeout SSL_CTX_sess_set_new_cb
SSL_CTX_sess_get_new_cb SSL_CTX_sess_set_remove_cb SSL_CTX_sess_get_remove_cb SSL_CTX_sess_set_get_cb
SSL_CTX_sess_get_get_cb SSL_CTX_sess_number SSL_CTX_sess_connect SSL_CTX_sess_connect_good
SSL_CTX_sess_connect_renegotiate SSL_CTX_sess_accept SSL_CTX_sess_accept_good SSL_CTX_sess_accept_renegotiate
SSL_CTX_sess_hits SSL_CTX_sess_cb_hits SSL_CTX_sess_misses SSL_CTX_sess_timeouts SSL_CTX_sess_cache_full
SSL_CTX_set_session_id_context SSL_set_session_id_context SSL_CTX_set_generate_session_id SSL_set_generate_session_id
SSL_has_matching_session_id SSL_CTX_set_not_resumable_session_callback SSL_set_not_resumable_session_callback
SSL_session_reused SSL_CTX_free SSL_CTX_set_tlsext_ticket_keys SSL_CTX_get_tlsext_ticket_keys
SSL_CTX_set_tlsext_ticket_key_evp_cb SSL_CTX_set_tlsext_ticket_key_cb SSL_CTX_set_session_ticket_cb
SSL_CTX_set_num_tickets SSL_CTX_get_num_tickets SSL_set_num_tickets SSL_get_num_tickets SSL_new_session_ticket
SSL_set_session_ticket_ext SSL_set_session_ticket_ext_cb SSL_set_session_secret_cb SSL_CTX_set_max_early_data
SSL_CTX_get_max_early_data SSL_set_max_early_data SSL_get_max_early_data SSL_CTX_set_recv_max_early_data
SSL_CTX_get_recv_max_early_data SSL_set_recv_max_early_data SSL_get_recv_max_early_data
SSL_CTX_set_allow_early_data_cb SSL_set_allow_early_data_cb SSL_get_early_data_status
SSL_write_early_data SSL_read_early_data
SSL_CTX_set_psk_use_session_callback SSL_set_psk_use_session_callback SSL_CTX_set_psk_find_session_callback
SSL_set_psk_find_session_callback
"""
BESIDES = {
    *("SSL_clear", "SSL_free", "SSL_shutdown", "SSL_get_verify_result"),  # what a connection's sessions depend on
    *("SSL_CTX_set_psk_client_callback", "SSL_set_psk_client_callback"),  # how keys were given before TLS 1.3
    *("SSL_CTX_set_psk_server_callback", "SSL_set_psk_server_callback"),
}


def test_every_name_of_the_manual_is_here_or_said_to_be_missing() -> None:
    assert sorted({*FUNCTIONS, *history.REFUSED}) == sorted({*MANUAL.split(), *BESIDES})
    assert not set(FUNCTIONS) & set(history.REFUSED)
    assert all(reason.endswith(".") for reason in history.REFUSED.values())


@pytest.mark.parametrize("name", history.REFUSED)
def test_a_name_that_is_missing_says_why_when_it_is_called(name: str) -> None:
    with pytest.raises(resumption.UsageError, match=rf"^{name} is not here\. {re.escape(history.REFUSED[name])}$"):
        getattr(face, name)(None, None)


def test_ages_are_of_names_that_are_here() -> None:
    assert set(history.SINCE) <= set(FUNCTIONS)
    assert set(history.DEPRECATED) <= set(FUNCTIONS)
    for name, (_, instead) in history.DEPRECATED.items():
        assert getattr(face, name) is getattr(face, instead)  # they work
        assert instead not in history.DEPRECATED
