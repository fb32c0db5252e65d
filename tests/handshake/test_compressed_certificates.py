"""Certificate compression: both directions, every algorithm, what is malformed, and GnuTLS as the other side."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from resumption import ClientContext, ServerContext
from resumption.connection import Connection
from resumption.constants import AlertDescription as A
from resumption.constants import HandshakeType as H
from resumption.crypto.compression import compress
from resumption.errors import AlertReceived, BadCertificate, DecodeError, Error, IllegalParameter, UnexpectedMessage
from resumption.handshake import compressed13, flight13
from resumption.handshake.events import PeerAuthenticated
from resumption.wire.messages import CompressedCertificate
from tests import peers
from tests.handshake.pairs import TLS12, World
from tests.handshake.samples import message
from tests.handshake.scripted13 import Client13
from tests.pki import Pki

NAMES = {"zlib": 1, "brotli": 2, "zstd": 3}
LIMIT_S = 60.0
Sent = list[bytes]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """What is sent in place of each Certificate."""
    made: Sent = []
    smallest = compressed13.smallest

    def spy(packed: bytes, algorithms: tuple[int, ...]) -> bytes:
        made.append(smallest(packed, algorithms))
        return made[-1]

    monkeypatch.setattr(compressed13, "smallest", spy)
    return made


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The algorithm of each certificate that was decompressed."""
    numbers: list[int] = []
    decompress = compressed13.decompress

    def spy(algorithm: int, data: bytes, length: int) -> bytes | None:
        numbers.append(algorithm)
        return decompress(algorithm, data, length)

    monkeypatch.setattr(compressed13, "decompress", spy)
    return numbers


def algorithms(packed: Sent) -> list[int | None]:
    """Of each message; None for a plain one."""
    return [
        CompressedCertificate.parse(one[4:]).algorithm if one[0] == H.compressed_certificate else None for one in packed
    ]


def mutual(world: World, choice: Any) -> tuple[ClientContext, ServerContext]:
    pki = world.pki
    client = world.client_context(certificate_compression=choice, identity=pki.client_rsa, post_handshake_auth=True)
    server = world.server_context(
        certificate_compression=choice,
        leaf=pki.under_intermediate,
        client_auth="required",
        post_handshake_auth=True,
        trust=pki.trust_pem,
        session_id_context=b"test",
    )
    return client, server


@pytest.mark.parametrize("name", NAMES)
def test_both_sides_certificates_are_compressed(world: World, sent: Sent, taken: list[int], name: str) -> None:
    pair = world.meet(*mutual(world, [name])).check()
    assert algorithms(sent) == [NAMES[name]] * 2
    assert taken == [NAMES[name]] * 2
    assert pair.client.peer_chain == world.pki.under_intermediate.chain_der
    assert pair.server.peer_chain == world.pki.client_rsa.chain_der
    pair.talk()
    assert world.meet(*mutual(world, [name])).check().client.export_keying_material(b"x", None, 8)


def test_a_later_certificate_is_compressed_too(world: World, sent: Sent, taken: list[int]) -> None:
    pair = world.meet(*mutual(world, True)).check()
    del sent[:], taken[:]
    pair.server.request_client_certificate(required=True)
    events = pair.pump().check().server
    assert [event.chain for event in events if isinstance(event, PeerAuthenticated)] == [world.pki.client_rsa.chain_der]
    assert len(taken) == 1
    pair.talk()


def test_the_smallest_form_is_sent_and_made_once(world: World, sent: Sent) -> None:
    client = world.client_context(certificate_compression=True)
    server = world.server_context(certificate_compression=True, leaf=world.pki.under_intermediate)
    for _ in range(3):
        world.meet(client, server, fresh=True).check()
    assert len(sent) == 3
    assert sent[0] is sent[1] is sent[2]
    (plain,) = server.config.certificate_messages.values()
    sizes = [len(compressed13.smallest(plain, (number,))) for number in NAMES.values()]
    assert len(sent[0]) == min(sizes) < len(plain)


def test_what_does_not_shrink_is_sent_as_it_is() -> None:
    import os

    plain = message(H.certificate, os.urandom(2_000))
    assert compressed13.smallest(plain, (1, 2, 3)) is plain


@pytest.mark.parametrize(
    ("client", "server"), [(False, True), (True, False), ("zlib", "brotli")], ids=["client not", "server not", "other"]
)
def test_without_an_algorithm_in_common_nothing_is_compressed(
    world: World, taken: list[int], client: Any, server: Any
) -> None:
    contexts = (
        world.client_context(certificate_compression=client),
        world.server_context(certificate_compression=server, leaf=world.pki.under_intermediate),
    )
    world.meet(*contexts).check()
    assert taken == []


def test_tls_12_knows_nothing_of_it(world: World, taken: list[int]) -> None:
    client = world.client_context(certificate_compression=True, maximum_version=TLS12)
    assert 27 not in client.config.hello_extensions
    world.meet(client, world.server_context(certificate_compression=True)).check()
    assert taken == []


# --- malformed -------------------------------------------------------------------------------------------------------

LIMIT = 2**17


def lying(claimed: int, data: Callable[[bytes], bytes], algorithm: int = 1) -> Callable[[bytes], bytes]:
    def make(plain: bytes) -> bytes:
        return CompressedCertificate(algorithm, claimed or len(plain) - 4, data(plain[4:])).pack()

    return make


def zlibbed(body: bytes) -> bytes:
    return compress(1, body)


BAD: dict[str, tuple[Callable[[bytes], bytes], type[Error], A]] = {
    "not offered": (lying(0, lambda body: compress(2, body), 2), IllegalParameter, A.illegal_parameter),
    "unknown": (lying(0, zlibbed, 0x4000), IllegalParameter, A.illegal_parameter),
    "too long": (lying(LIMIT + 1, zlibbed), BadCertificate, A.bad_certificate),
    "longer than it is": (lying(5_000, zlibbed), BadCertificate, A.bad_certificate),
    "shorter than it is": (lying(10, zlibbed), BadCertificate, A.bad_certificate),
    "a bomb": (lying(LIMIT, lambda body: zlibbed(bytes(1 << 24))), BadCertificate, A.bad_certificate),
    "rubbish": (lying(0, lambda body: b"rubbish"), BadCertificate, A.bad_certificate),
    "cut": (lying(0, lambda body: zlibbed(body)[:-1]), BadCertificate, A.bad_certificate),
    "followed by more": (lying(0, lambda body: zlibbed(body) + b"!"), BadCertificate, A.bad_certificate),
    "no certificate": (lying(9, lambda body: zlibbed(b"\xff" * 9)), DecodeError, A.decode_error),
    "of length nothing": (
        lambda plain: message(H.compressed_certificate, b"\0\1\0\0\0\0\0\1x"),
        BadCertificate,
        A.bad_certificate,
    ),
    "empty": (lambda plain: message(H.compressed_certificate, b"\0\1\0\0\1\0\0\0"), DecodeError, A.decode_error),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("role", ["client", "server"])
def test_a_bad_compressed_certificate_ends_the_handshake(
    world: World, monkeypatch: pytest.MonkeyPatch, role: str, what: str
) -> None:
    make, error, alert = BAD[what]
    client, server = mutual(world, ["zlib"])
    real = compressed13.smallest

    def send(packed: bytes, numbers: tuple[int, ...]) -> bytes:
        is_servers = packed in server.config.certificate_messages.values()
        return make(packed) if is_servers is (role == "client") else real(packed, numbers)

    monkeypatch.setattr(compressed13, "smallest", send)
    took = world.meet(client, server).took
    mine, other = (took.client_error, took.server_error) if role == "client" else (took.server_error, took.client_error)
    assert isinstance(mine, error)
    assert isinstance(other, AlertReceived)
    assert other.description == alert


def test_a_compressed_certificate_that_nobody_asked_for_is_unexpected(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flight13, "_COMPRESS_CERTIFICATE", 0)  # server_name: always there
    monkeypatch.setattr(flight13, "compressed_for", lambda config, body, packed: compressed13.smallest(packed, (1,)))
    server = world.server_context(certificate_compression=True, leaf=world.pki.under_intermediate)
    pair = world.meet(world.client_context(), server)
    assert isinstance(pair.took.client_error, UnexpectedMessage)


@pytest.mark.parametrize("body", [b"", b"\0", b"\1\0", b"\3\0\1\0", b"\4\0\1"], ids=["none", "0", "odd", "3", "cut"])
def test_a_malformed_offer_is_a_decode_error_before_anything_else_is_said(world: World, body: bytes) -> None:
    peer = Client13(Connection(world.server_config(certificate_compression=(1,)))).say_hello(add={27: body})
    peer.refused(DecodeError)
    assert not peer.has_message


@pytest.mark.parametrize("body", [b"", b"random", b"\2\0\1"])
def test_a_server_without_compression_passes_over_whatever_is_offered(world: World, body: bytes) -> None:
    Client13(Connection(world.server_config())).connect(add={27: body}).accepted()


# --- GnuTLS ----------------------------------------------------------------------------------------------------------

_UNBUILT = "Unknown compression method"


@pytest.mark.interop
@pytest.mark.parametrize("name", NAMES)
def test_gnutls_takes_our_compressed_certificate(pki: Pki, sent: Sent, name: str) -> None:
    context = ServerContext(
        pki.under_intermediate.chain_pem, pki.under_intermediate.key_pem, certificate_compression=[name]
    )
    with context.listen(("127.0.0.1", 0), timeout=LIMIT_S) as listener:

        def serve() -> None:
            with listener.accept() as stream:
                stream.recv(10)
                stream.sendall(b"good day")

        thread = threading.Thread(target=serve)
        thread.start()
        run = peers.gnutls_client(listener.address[1], f"--compress-cert={name.upper()}", ca=pki.trust_pem)
        thread.join(LIMIT_S)
    assert "good day" in run.output
    if _UNBUILT in run.output:
        pytest.skip(f"GnuTLS was built without {name}")
    assert algorithms(sent) == [NAMES[name]]


@pytest.mark.interop
@pytest.mark.parametrize("name", NAMES)
def test_we_take_the_compressed_certificate_of_gnutls(pki: Pki, taken: list[int], name: str) -> None:
    context = ClientContext(trust=pki.trust_pem, certificate_compression=[name])
    options = ("--echo", "--disable-client-cert", f"--compress-cert={name.upper()}")
    with (
        peers.gnutls_server(pki.under_intermediate, *options) as peer,
        context.connect(peer.address, server_name="localhost", timeout=LIMIT_S) as stream,
    ):
        stream.sendall(b"echo\n")
        assert stream.recv(10)
        if not taken:
            peer.wait_for(_UNBUILT)
    if not taken:
        pytest.skip(f"GnuTLS was built without {name}")
    assert taken == [NAMES[name]]
