"""One file of ticket keys, two programs: OpenSSL's tickets are resumed by our server, and ours by OpenSSL's.

Python's ssl has no way to set ticket keys; libssl has (SSL_CTX_set_tlsext_ticket_keys), and is reached with ctypes
through the context object that Python made.
"""

from __future__ import annotations

import _ssl
import ctypes
import hashlib
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from resumption import ClientContext, Mechanism, Reason, ServerContext, TicketKeyFiles
from resumption.constants import ProtocolVersion
from tests import peers
from tests.interop.ours import our_server, visit
from tests.peers import resumed
from tests.pki import Pki

V12, V13 = ProtocolVersion.TLSv1_2, ProtocolVersion.TLSv1_3
BLOCK = hashlib.shake_256(b"the fleet's ticket keys").digest(80)
SET_TICKET_KEYS = 59  # SSL_CTRL_SET_TLSEXT_TICKET_KEYS
PYTHON = b"Python\0"  # the session id context that Python's ssl sets
SUITES = (0x1302, 0xC02C)  # what OpenSSL prefers: a session can only be resumed with a suite of its hash

pytestmark = pytest.mark.interop
each_version = pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])


def libssl() -> Callable[..., int]:
    try:
        control = ctypes.CDLL(_ssl.__file__).SSL_CTX_ctrl
    except (AttributeError, OSError):
        pytest.skip("this Python's libssl cannot be reached")
    control.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p]
    control.restype = ctypes.c_long
    return control  # type: ignore[no-any-return]


def with_keys(block: bytes, version: ProtocolVersion) -> Callable[[ssl.SSLContext], None]:
    control = libssl()

    def setup(context: ssl.SSLContext) -> None:
        pointer = ctypes.c_void_p.from_address(id(context) + object.__basicsize__)  # PySSLContext: head, SSL_CTX *
        assert control(pointer, SET_TICKET_KEYS, len(block), block) == 1
        context.sni_callback = lambda *_: None  # accepts the name, so that libssl writes it into the session
        wanted = ssl.TLSVersion.TLSv1_2 if version == V12 else ssl.TLSVersion.TLSv1_3
        context.minimum_version = context.maximum_version = wanted

    return setup


def our_context(pki: Pki, path: Path, *, foreign: bool) -> ServerContext:
    path.write_bytes(BLOCK)
    path.chmod(0o600)
    leaf = pki.ecdsa_p256
    return ServerContext(
        leaf.chain_pem,
        leaf.key_pem,
        tickets=TicketKeyFiles(path),
        session_id_context=PYTHON,
        suites=SUITES,
        accept_foreign_tickets=foreign,
    )


def our_client(pki: Pki, version: ProtocolVersion) -> ClientContext:
    return ClientContext(trust=pki.trust_pem, minimum_version=version, maximum_version=version)


@each_version
def test_our_own_tickets_in_openssls_form_resume_and_name_their_partition(
    pki: Pki, version: ProtocolVersion, tmp_path: Path
) -> None:
    with our_client(pki, version) as client, our_server(our_context(pki, tmp_path / "key", foreign=False)) as server:
        for expected in (False, True, True):
            seen = visit(client, server.port)
            seen.session.free()
            assert seen.resumption.resumed is expected, seen.resumption
    assert seen.resumption.mechanism is (Mechanism.TICKET_12 if version == V12 else Mechanism.STATELESS_13)


@each_version
@pytest.mark.parametrize("foreign", [True, False], ids=["accepted", "not accepted"])
def test_our_server_resumes_what_openssl_sealed_under_the_same_keys(
    pki: Pki, version: ProtocolVersion, foreign: bool, tmp_path: Path
) -> None:
    setup = with_keys(BLOCK, version)
    with our_client(pki, version) as client:
        with peers.ssl_server(pki.ecdsa_p256, setup) as theirs:
            session = visit(client, theirs.port).session
        with our_server(our_context(pki, tmp_path / "key", foreign=foreign)) as ours, session:
            seen = visit(client, ours.port, session=session)
            seen.session.free()
            (told,) = ours.resumptions
            assert (seen.resumption.resumed, told.resumed) == (foreign, foreign), told
            assert told.reason is (None if foreign else Reason.UNKNOWN_ORIGIN)


@each_version
def test_openssl_resumes_what_we_sealed_and_we_what_it_renewed(
    pki: Pki, version: ProtocolVersion, tmp_path: Path
) -> None:
    setup = with_keys(BLOCK, version)
    with our_client(pki, version) as client, our_server(our_context(pki, tmp_path / "key", foreign=False)) as ours:
        session = visit(client, ours.port).session
        with peers.ssl_server(pki.ecdsa_p256, setup) as theirs, session:
            seen = visit(client, theirs.port, session=session)
            assert resumed(seen.page) == [True], seen.resumption
            assert seen.resumption.resumed
        with seen.session:
            # Renewed by OpenSSL, it still says where it was made: no need to accept foreign tickets.
            again = visit(client, ours.port, session=seen.session)
            again.session.free()
            assert ours.resumptions[-1].resumed, ours.resumptions[-1]


@each_version
def test_f64_openssl_with_other_keys_is_not_understood(pki: Pki, version: ProtocolVersion, tmp_path: Path) -> None:
    setup = with_keys(hashlib.shake_256(b"another fleet").digest(80), version)
    with our_client(pki, version) as client:
        with peers.ssl_server(pki.ecdsa_p256, setup) as theirs:
            session = visit(client, theirs.port).session
        with our_server(our_context(pki, tmp_path / "key", foreign=True)) as ours, session:
            visit(client, ours.port, session=session).session.free()
            assert [told.reason for told in ours.resumptions] == [Reason.UNKNOWN]
