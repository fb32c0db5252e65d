"""Private keys that are held elsewhere: signatures in time, late, wrong, and none, without a stream and with one."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from resumption.client_context import ClientContext
from resumption.constants import AlertDescription as A
from resumption.crypto.certificates import CertifiedKey
from resumption.crypto.signatures import SCHEMES, sign
from resumption.errors import AlertReceived, ConfigurationError, Error, InternalError
from resumption.handshake import client13, client_flight12, flight13, server12
from resumption.handshake.events import Failed, NeedSignature, PeerAuthenticated
from resumption.server_context import ServerContext
from resumption.streams.blocking import Stream
from tests import peers
from tests.handshake.pairs import TLS12, TLS13, VERSIONS, World, received, trust
from tests.pki import Credential, Pki

both_versions = pytest.mark.parametrize("version", VERSIONS, ids=("1.2", "1.3"))
both_roles = pytest.mark.parametrize("role", ["server", "client"])
LIMIT_S = 60.0
STATES: dict[tuple[str, int], type] = {
    ("server", TLS12): server12.AwaitSignature,
    ("server", TLS13): flight13.AwaitSignature,
    ("client", TLS12): client_flight12.AwaitSignature,
    ("client", TLS13): client13.AwaitSignature,
}


class Holder:
    """Has a private key, signs with it, and remembers for whom."""

    def __init__(self, credential: Credential) -> None:
        self.credential = credential
        self.schemes: list[int] = []
        self.threads: list[int] = []

    def __call__(self, scheme: int, content: bytes) -> bytes:
        self.schemes.append(scheme)
        self.threads.append(threading.get_ident())
        pss = SCHEMES[scheme].key_type == "RSA-PSS"
        return sign(self.credential.private_key, scheme, content, version=TLS12, rsassa_pss=pss)

    async def awaited(self, scheme: int, content: bytes) -> bytes:
        await asyncio.sleep(0)
        return self(scheme, content)

    def key(self, signer: Any = None) -> CertifiedKey:
        return CertifiedKey.held_elsewhere(self.credential.chain_pem, signer or self)


def settings(world: World, role: str, key: CertifiedKey, version: int = TLS13) -> tuple[Any, Any]:
    """A client's and a server's, of which ``role`` has ``key``; a client's is demanded."""
    client: dict[str, Any] = {"maximum_version": version}
    server: dict[str, Any] = {}
    if role == "server":
        server["certified_keys"] = (key,)
    else:
        client["certified_key"] = key
        server |= {"client_auth": "required", "trust": trust(world.pki.trust_pem), "id_context": b"test"}
    return world.client_config(**client), world.server_config(**server)


def asked(world: World, role: str, version: int) -> tuple[Any, NeedSignature, Holder]:
    """A pair that stands still for a signature, and the question."""
    holder = Holder(world.pki.ecdsa_p256 if role == "server" else world.pki.client)
    pair = world.meet(*settings(world, role, holder.key(), version))
    pair.took.check()
    events = pair.took.server if role == "server" else pair.took.client
    (question,) = [event for event in events if isinstance(event, NeedSignature)]
    return pair, question, holder


def one(pair: Any, role: str) -> Any:
    return pair.server if role == "server" else pair.client


@both_versions
@both_roles
def test_a_connection_without_a_stream_asks_for_the_signature(world: World, role: str, version: int) -> None:
    pair, question, holder = asked(world, role, version)
    connection = one(pair, role)
    assert type(connection._state) is STATES[role, version]
    assert connection.bytes_needed == 0
    assert not pair.client.handshake_complete
    assert holder.schemes == []  # the engine asks nobody by itself
    assert question.version == version
    assert question.key.chain == holder.credential.chain_der
    list(connection.answer(question, holder(question.scheme, question.content)))
    pair.pump().check()
    pair.check().talk()
    if role == "client":
        assert pair.server.peer_chain == holder.credential.chain_der


WRONG: dict[str, Callable[[NeedSignature, Holder], Any]] = {
    "none": lambda question, holder: Failed(),
    "an error": lambda question, holder: Failed(OSError("the HSM is gone")),
    "empty": lambda question, holder: b"",
    "short": lambda question, holder: holder(question.scheme, question.content)[:-1],
    "of something else": lambda question, holder: holder(question.scheme, question.content + b"!"),
    "not bytes": lambda question, holder: "signature",
}


@both_versions
@both_roles
@pytest.mark.parametrize("wrong", WRONG)
def test_a_signature_that_is_not_one_is_never_sent(world: World, role: str, version: int, wrong: str) -> None:
    pair, question, holder = asked(world, role, version)
    connection, other = (pair.server, pair.client) if role == "server" else (pair.client, pair.server)
    with pytest.raises(InternalError) as caught:
        list(connection.answer(question, WRONG[wrong](question, holder)))
    assert "HSM" not in str(caught.value)
    took = pair.pump()
    error = took.client_error or took.server_error
    assert isinstance(error, AlertReceived)
    assert error.description == A.internal_error
    assert not other.handshake_complete


@both_roles
def test_a_late_answer_and_a_second_one_change_nothing(world: World, role: str) -> None:
    pair, question, holder = asked(world, role, TLS13)
    connection = one(pair, role)
    signature = holder(question.scheme, question.content)
    list(connection.answer(question, signature))
    assert connection.answer(question, signature) == ()
    pair.pump().check()
    pair.check().talk()
    late, question, holder = asked(world, role, TLS13)
    one(late, role).free()
    assert one(late, role).answer(question, holder(question.scheme, question.content)) == ()


def test_a_key_that_is_here_asks_nothing(world: World) -> None:
    pair = world.meet(world.client_config(), world.server_config()).check()
    assert not [event for event in pair.took.server if isinstance(event, NeedSignature)]


def test_data_may_flow_while_a_later_request_waits_for_its_signature(world: World, pki: Pki) -> None:
    holder = Holder(pki.client)
    client = world.client_config(certified_key=holder.key(), post_handshake_auth=True)
    server = world.server_config(post_handshake_auth=True, trust=trust(pki.trust_pem), id_context=b"test")
    pair = world.meet(client, server).check()
    pair.server.request_client_certificate(required=True)
    (question,) = [event for event in pair.pump().check().client if isinstance(event, NeedSignature)]
    exported = pair.client.export_keying_material(b"EXPORTER-test", None, 32)
    pair.client.send_data(b"meanwhile")
    pair.client.update_keys()
    assert received(pair.pump().check().server) == b"meanwhile"
    list(pair.client.answer(question, holder(question.scheme, question.content)))
    events = pair.pump().check().server
    assert [event.chain for event in events if isinstance(event, PeerAuthenticated)] == [pki.client.chain_der]
    assert pair.client.export_keying_material(b"EXPORTER-test", None, 32) == exported
    pair.talk()


@pytest.mark.parametrize("leaf", ["ecdsa_p256", "ecdsa_p384", "ed25519", "ed448", "rsa2048"])
def test_the_leaf_decides_the_schemes(pki: Pki, leaf: str) -> None:
    credential: Credential = getattr(pki, leaf)
    here = CertifiedKey.load(credential.chain_pem, credential.key_pem)
    elsewhere = Holder(credential).key()
    assert elsewhere.private_key is None
    for name in ("chain", "schemes13", "schemes12", "leaf_key_digest", "not_after", "names"):
        assert getattr(elsewhere, name) == getattr(here, name)


def test_a_key_elsewhere_needs_a_function_and_a_chain(pki: Pki) -> None:
    with pytest.raises(ConfigurationError, match="signer"):
        CertifiedKey.held_elsewhere(pki.ed25519.chain_pem, b"not a function")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="no certificate"):
        CertifiedKey.held_elsewhere(b"", lambda scheme, content: b"")
    with pytest.raises(ConfigurationError, match="elsewhere"):
        Holder(pki.ed25519).key().sign(0x0807, b"", TLS13)


# --- with streams ----------------------------------------------------------------------------------------------------


def contexts(pki: Pki, role: str, key: CertifiedKey, version: int) -> tuple[ClientContext, ServerContext]:
    if role == "server":
        return ClientContext(trust=pki.trust_pem, maximum_version=version), ServerContext(key)
    server = ServerContext(
        pki.ed25519.chain_pem,
        pki.ed25519.key_pem,
        client_auth="required",
        trust=pki.trust_pem,
        session_id_context=b"test",
    )
    return ClientContext(trust=pki.trust_pem, maximum_version=version, certificate=key), server


def credential_of(pki: Pki, role: str) -> Credential:
    return pki.ecdsa_p256 if role == "server" else pki.client


def over_sockets(
    client: ClientContext, server: ServerContext, streams: dict[str, Stream] | None = None
) -> tuple[bytes, list[Exception]]:
    """What the client got for ``ping``, and what went wrong on either side. Fills ``streams`` before all that."""
    ends = socket.socketpair()
    streams = {} if streams is None else streams
    streams["client"] = Stream(ends[0], client.connection("localhost"), timeout=LIMIT_S)
    streams["server"] = server.wrap(ends[1], timeout=LIMIT_S)
    failures: list[Exception] = []

    def serve() -> None:
        try:
            with streams["server"] as stream:
                stream.sendall(stream.recv(10))
        except (Error, OSError) as error:
            failures.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    got = b""
    try:
        with streams["client"] as stream:
            stream.sendall(b"ping")
            got = stream.recv(10)
    except (Error, OSError) as error:
        failures.append(error)
    thread.join(LIMIT_S)
    return got, failures


@both_versions
@both_roles
def test_a_blocking_stream_calls_the_signer_on_its_own_thread_with_the_engine_free(
    pki: Pki, role: str, version: int
) -> None:
    holder = Holder(credential_of(pki, role))
    free: list[bool] = []
    streams: dict[str, Stream] = {}

    def signer(scheme: int, content: bytes) -> bytes:
        free.append(streams[role]._engine.acquire(blocking=False))
        streams[role]._engine.release()
        return holder(scheme, content)

    client, server = contexts(pki, role, holder.key(signer), version)
    got, failures = over_sockets(client, server, streams)
    assert (got, failures) == (b"ping", [])
    assert free == [True]
    assert len(holder.schemes) == 1


@both_roles
@pytest.mark.parametrize("trouble", ["raises", "is a coroutine function", "is wrong"])
def test_a_signer_that_fails_ends_a_blocking_handshake(pki: Pki, role: str, trouble: str) -> None:
    holder = Holder(credential_of(pki, role))

    def raises(scheme: int, content: bytes) -> bytes:
        raise TimeoutError("the HSM does not answer")

    signers: dict[str, Any] = {
        "raises": raises,
        "is a coroutine function": holder.awaited,
        "is wrong": lambda scheme, content: holder(scheme, b"other"),
    }
    got, failures = over_sockets(*contexts(pki, role, holder.key(signers[trouble]), TLS13))
    assert got == b""
    assert [error for error in failures if isinstance(error, InternalError)]
    alerts = [error for error in failures if isinstance(error, AlertReceived)]
    assert [alert.description for alert in alerts] == [A.internal_error]


async def over_asyncio(client: ClientContext, server: ServerContext) -> bytes:
    async def echo(stream: Any) -> None:
        await stream.sendall(await stream.recv(10))

    async with (
        asyncio.timeout(LIMIT_S),
        await server.serve(echo, ("127.0.0.1", 0), on_error=lambda error, peer: None) as listening,
    ):
        port = listening.sockets[0].getsockname()[1]
        async with client.open(("127.0.0.1", port), server_name="localhost") as stream:
            await stream.sendall(b"ping")
            got: bytes = await stream.recv(10)
            return got


@both_versions
@both_roles
@pytest.mark.parametrize("awaited", [True, False], ids=["awaited", "in a thread"])
def test_an_asyncio_stream_goes_on_with_the_loop_while_it_waits(
    pki: Pki, role: str, version: int, awaited: bool
) -> None:
    holder = Holder(credential_of(pki, role))

    async def main() -> bytes:
        loop, turned = asyncio.get_running_loop(), threading.Event()

        async def signer(scheme: int, content: bytes) -> bytes:
            loop.call_soon(turned.set)
            await asyncio.sleep(0)
            await asyncio.to_thread(turned.wait, LIMIT_S)
            return holder(scheme, content)

        def blocking(scheme: int, content: bytes) -> bytes:
            loop.call_soon_threadsafe(turned.set)
            assert turned.wait(LIMIT_S)  # would last for ever in the loop's own thread
            return holder(scheme, content)

        key = holder.key(signer if awaited else blocking)
        return await over_asyncio(*contexts(pki, role, key, version))

    assert asyncio.run(main()) == b"ping"
    assert (holder.threads == [threading.get_ident()]) is awaited


@both_roles
def test_an_awaited_signer_that_fails_ends_the_handshake(pki: Pki, role: str) -> None:
    async def signer(scheme: int, content: bytes) -> bytes:
        raise TimeoutError("the HSM does not answer")

    key = Holder(credential_of(pki, role)).key(signer)
    with pytest.raises(Error):
        asyncio.run(over_asyncio(*contexts(pki, role, key, TLS12)))


@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_openssl_checks_the_signature_of_a_server_whose_key_is_elsewhere(pki: Pki, option: str) -> None:
    holder = Holder(pki.rsa2048)
    context = ServerContext(holder.key())
    with context.listen(("127.0.0.1", 0), timeout=LIMIT_S) as listener:

        def serve() -> None:
            with listener.accept() as stream:
                stream.recv(10)
                stream.sendall(b"good day")

        thread = threading.Thread(target=serve)
        thread.start()
        run = peers.openssl_client(listener.address[1], option, ca=pki.trust_pem)
        thread.join(LIMIT_S)
    assert "good day" in run.output
    assert len(holder.schemes) == 1


@pytest.mark.parametrize("version", VERSIONS, ids=("1.2", "1.3"))
def test_openssl_checks_the_signature_of_a_client_whose_key_is_elsewhere(pki: Pki, version: int) -> None:
    holder = Holder(pki.client_rsa)
    context = ClientContext(trust=pki.trust_pem, certificate=holder.key(), maximum_version=version)
    with (
        peers.openssl_server(pki.ecdsa_p256, "-Verify", "3", "-verify_return_error", "-rev", ca=pki.trust_pem) as peer,
        context.connect(peer.address, server_name="localhost", timeout=LIMIT_S) as stream,
    ):
        stream.sendall(b"abc\n")
        assert stream.recv(10).strip() == b"cba"
    assert len(holder.schemes) == 1
