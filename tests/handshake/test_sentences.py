"""Single sentences of the texts that no other file is about."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from resumption.connection import Connection
from resumption.constants import ExtensionType as E
from resumption.constants import HandshakeType as H
from resumption.crypto.certificates import CertifiedKey
from resumption.crypto.cookies import CookieKeys
from resumption.crypto.external_psk import ExternalPsk
from resumption.crypto.groups import generate
from resumption.crypto.schedule13 import EarlySecret
from resumption.errors import (
    ConfigurationError,
    IllegalParameter,
    ProtocolVersionUnsupported,
    RecordOverflow,
    TooManyMessages,
    UnexpectedMessage,
    UsageError,
)
from resumption.wire import extensions as ext
from resumption.wire import messages12
from resumption.wire.messages import Certificate, ClientHello
from tests.handshake.pairs import TLS13, VERSIONS, Random, World, certified
from tests.handshake.samples import ALERT, CCS, CHANGE_CIPHER_SPEC, DATA, HANDSHAKE
from tests.handshake.scripted13 import Client13, Psk, Server13
from tests.handshake.stops import client12_for, client13_for, sealed, server12_for, server13_for
from tests.handshake.test_cookies13 import Visitor
from tests.handshake.test_early13 import offering

both_versions = pytest.mark.parametrize("version", VERSIONS, ids=("1.2", "1.3"))
KEY, NAME = bytes(range(32)), b"sensor 7"


# --- hellos ----------------------------------------------------------------------------------------------------------


@pytest.mark.proves("9846:4.2.2:1")
@both_versions
def test_the_first_thing_a_client_says_is_its_hello(world: World, version: int) -> None:
    stream = Connection(world.client_config(maximum_version=version), server_name="localhost").data_to_send()
    length = int.from_bytes(stream[3:5], "big")
    assert (stream[0], len(stream) - 5) == (HANDSHAKE, length)
    assert stream[5] == H.client_hello
    ClientHello.parse(stream[9:])
    server = Connection(world.server_config(maximum_version=version))
    assert server.data_to_send() == b""


@pytest.mark.proves("9846:4.3.1:9")
def test_the_version_is_looked_at_before_the_rest_of_a_server_hello(world: World) -> None:
    junk: dict[str, Any] = {
        "legacy_session_id_echo": b"another",
        "cipher_suite": 0x0005,
        "legacy_compression_method": 7,
    }
    peer = server13_for(world, minimum_version=TLS13)
    peer.give(peer.sealer.seal_many(22, peer.server_hello(drop=(int(E.supported_versions),), **junk).pack()))
    peer.refused(ProtocolVersionUnsupported)
    peer = server13_for(world, minimum_version=TLS13)
    peer.give(peer.sealer.seal_many(22, peer.server_hello(**junk).pack())).refused(IllegalParameter)


@pytest.mark.proves("9846:9.2:1")
def test_the_mandatory_extensions_are_offered_and_understood(world: World) -> None:
    peer = server13_for(world, certificate_schemes=(0x0403, 0x0807))
    assert peer.hello.extensions.keys() >= {
        E.supported_versions,
        E.signature_algorithms,
        E.signature_algorithms_cert,
        E.supported_groups,
        E.key_share,
        E.server_name,
    }
    peer.say_retry(None, add={int(E.cookie): b"\0\1c"}).accepted()
    assert peer.hello.extensions[E.cookie] == b"\0\1c"


@pytest.mark.proves("5077:3.2:2")
def test_a_client_that_has_no_use_for_tickets_of_tls12_asks_for_none(world: World) -> None:
    assert E.session_ticket not in server13_for(world, minimum_version=TLS13).hello.extensions
    assert E.session_ticket in server13_for(world).hello.extensions


@pytest.mark.proves("9846:4.3.7:2")
def test_the_groups_that_a_server_names_change_nothing(world: World) -> None:
    config = world.client_config()
    peer = Server13(Connection(config, server_name="localhost"), certified(world.leaf))
    peer.say_hello().say_extensions({int(E.supported_groups): ext.pack_supported_groups((24, 23))})
    peer.say_certificate().say_verify().say_finished().accepted()
    again = Server13(Connection(config, server_name="localhost"), certified(world.leaf)).hello
    shares = ext.parse_key_share_client(again.extensions[E.key_share])
    assert [group for group, _ in shares if group in (24, 23)] == []
    assert set(ext.parse_supported_groups(again.extensions[E.supported_groups])) >= {29, 23, 24}


@pytest.mark.proves("8422:5.2:2")
def test_a_server_of_other_point_formats_is_refused(world: World) -> None:
    server12_for(world).say_hello(add={int(E.ec_point_formats): b"\1\1"}).refused(IllegalParameter)
    peer = server12_for(world).say_hello(add={int(E.ec_point_formats): b"\2\1\0"})
    peer.say_certificate().say_key_exchange().say_done().accepted()
    assert peer.flight


@pytest.mark.proves("9846:4.7.1:4")
@pytest.mark.parametrize("before", ["localhost", "other.test", None])
def test_the_name_that_is_reported_is_that_of_the_hello_that_resumes(world: World, before: str | None) -> None:
    config = world.server_config()
    peer = Client13(Connection(config), psks=(sealed(world, config, TLS13, hostname=before),)).connect().accepted()
    assert peer.resumed is (before == "localhost")
    assert peer.subject.facts is not None
    assert peer.subject.facts.hostname == "localhost"


# --- HelloRequest ----------------------------------------------------------------------------------------------------


@pytest.mark.proves("5246:7.4.1.1:1")
def test_a_hello_request_within_a_handshake_is_ignored_and_not_in_the_transcript(world: World) -> None:
    request = messages12.HelloRequest().pack()
    for resumed in (False, True):
        peer = server12_for(world, resumed=resumed)

        def ask(peer: Any = peer) -> None:
            peer.give(peer.sealer.seal_many(22, request)).accepted()

        ask()
        peer.say_hello(ticket=True, **({"master": peer.secret} if resumed else {}))
        ask()
        if not resumed:
            for step in (peer.say_certificate, peer.say_key_exchange, peer.say_request, peer.say_done):
                step()
                ask()
        peer.say_ticket()
        ask()
        peer.say_ccs()
        ask()
        peer.say_finished().accepted()
        assert peer.subject.handshake_complete
        peer.say(messages12.HelloRequest()).warned(100)


def test_hello_requests_within_a_handshake_are_counted(world: World) -> None:
    peer = server12_for(world, max_renegotiation_attempts=3)
    request = peer.sealer.seal_many(22, messages12.HelloRequest().pack())
    for _ in range(3):
        peer.give(request).accepted()
    peer.give(request).refused(TooManyMessages)
    peer13 = server13_for(world, minimum_version=TLS13)
    peer13.give(request).refused(UnexpectedMessage)


# --- records ---------------------------------------------------------------------------------------------------------


@pytest.mark.proves("9846:5:4", "5246:6:1")
@both_versions
def test_records_are_of_the_four_types(world: World, version: int) -> None:
    types: set[int] = set()

    def watch(data: bytes) -> bytes:
        at = 0
        while at < len(data):
            types.add(data[at])
            at += 5 + int.from_bytes(data[at + 3 : at + 5], "big")
        return data

    pair = world.meet(
        world.client_config(maximum_version=version), world.server_config(), to_server=watch, to_client=watch
    ).check()
    pair.client.send_data(b"x")
    pair.pump(watch, watch).check()
    pair.client.close()
    pair.pump(watch, watch).check()
    assert types <= {CCS, ALERT, HANDSHAKE, DATA}
    assert types >= {CCS, HANDSHAKE, DATA}


@pytest.mark.proves("5246:6.1:1", "5246:6.1:2", "5246:6.1:3")
def test_sequence_numbers_count_from_zero_at_change_cipher_spec(world: World) -> None:
    """Each record is opened by hand, under the number that it must have and no other."""
    peer = client12_for(world).say_hello().read_flight().say_key_exchange().say_ccs()
    peer.say_finished()
    peer.subject.send_data(b"one")
    peer.subject.send_data(b"two")
    stream = peer._reader.rest() + peer.subject.data_to_send()
    records = [record for record in split(stream) if record[0] in (HANDSHAKE, DATA)]
    contents = []
    for number, record in enumerate(records[-3:]):
        key, salt, body = peer.block.server_key, peer.block.server_iv, record[5:]
        for tried in range(4):
            header = tried.to_bytes(8, "big") + record[:3] + (len(body) - 24).to_bytes(2, "big")
            if tried == number:
                contents.append(AESGCM(key).decrypt(salt + body[:8], body[8:], header))
            else:
                with pytest.raises(InvalidTag):
                    AESGCM(key).decrypt(salt + body[:8], body[8:], header)
    assert contents[0][:4] == b"\x14\x00\x00\x0c"
    assert contents[1:] == [b"one", b"two"]


def split(stream: bytes) -> list[bytes]:
    found = []
    while stream:
        length = 5 + int.from_bytes(stream[3:5], "big")
        found.append(stream[:length])
        stream = stream[length:]
    return found


@pytest.mark.proves("9846:7.4.2:1")
@pytest.mark.parametrize(("group", "size"), [(23, 32), (24, 48), (25, 66)])
def test_leading_zeros_of_a_shared_secret_are_kept(group: int, size: int) -> None:
    """One secret in 256 begins with a zero byte (with P-521, whose first byte holds one bit, every other)."""
    ours = generate(group)
    for _ in range(5_000):
        secret = ours.finish(generate(group).public)
        assert len(secret) == size
        if secret[0] == 0:
            return
    pytest.fail("no secret began with a zero byte")


# --- max_fragment_length ---------------------------------------------------------------------------------------------

FRAGMENT = int(E.max_fragment_length)


@pytest.mark.proves("6066:4:1", "6066:4:2", "6066:4:4")
@pytest.mark.parametrize(("length", "code"), [(512, 1), (1024, 2), (2048, 3), (4096, 4)])
def test_a_fragment_length_is_one_code_and_its_answer_is_the_same(world: World, length: int, code: int) -> None:
    body = bytes((code,))
    assert server13_for(world, max_fragment_length=length).hello.extensions[FRAGMENT] == body
    peer = client13_for(world).say_hello(add={FRAGMENT: body}).read_flight()
    assert ext.parse_extensions(peer.part(H.encrypted_extensions))[FRAGMENT] == body
    assert client12_for(world).say_hello(add={FRAGMENT: body}).read_hello().extensions[FRAGMENT] == body
    for other in {1, 2, 3, 4} - {code}:
        wrong = {FRAGMENT: bytes((other,))}
        server13_for(world, max_fragment_length=length).say_hello().say_extensions(wrong).refused(IllegalParameter)
        server12_for(world, max_fragment_length=length).say_hello(add=wrong).refused(IllegalParameter)


@pytest.mark.proves("6066:4:6")
def test_a_record_above_the_fragment_length_is_record_overflow(world: World) -> None:
    peer = server12_for(world, max_fragment_length=512).say_hello(add={FRAGMENT: b"\1"})
    peer.give(peer.sealer.seal(HANDSHAKE, b"\x0b\x00\x03\x00" + bytes(509))).refused(RecordOverflow)


# --- certificate status ----------------------------------------------------------------------------------------------

STATUS = int(E.status_request)
ASKS = b"\x01\x00\x00\x00\x00"


@pytest.mark.proves("9846:4.5.1.1:1", "6066:8:1")
def test_a_status_is_asked_for_and_shown_in_the_structures_of_rfc_6066(world: World) -> None:
    assert server13_for(world, ocsp="check").hello.extensions[STATUS] == ASKS
    key = certified(world.leaf).with_status(b"a response")
    peer = client13_for(world, certified_keys=(key,)).say_hello(add={STATUS: ASKS}).read_flight()
    first, *others = Certificate.parse(peer.part(H.certificate)).certificate_list
    assert first.extensions == {STATUS: b"\x01\x00\x00\x0aa response"}
    assert all(not entry.extensions for entry in others)


@pytest.mark.proves("6066:8:3", "6066:8:4")
def test_a_status_of_tls12_is_announced_and_comes_only_to_who_asks(world: World) -> None:
    key = certified(world.leaf).with_status(b"a response")
    for asks in (True, False):
        peer = client12_for(world, certified_keys=(key,)).say_hello(add={STATUS: ASKS} if asks else {}).read_flight()
        came = [raw[4:] for raw in peer.flight if raw[0] == H.certificate_status]
        assert came == ([b"\x01\x00\x00\x0aa response"] if asks else [])
        assert peer.server_hello.extensions.get(STATUS) == (b"" if asks else None)


# --- PSKs ------------------------------------------------------------------------------------------------------------


def with_external(peer: Client13, age: int) -> Client13:
    """Say a hello with the external key under this age, and its right binder."""
    peer.psks = (Psk(NAME, KEY, obfuscated_age=age),)
    raw = peer.with_psks(peer.hello())
    digest = peer.psk_facts.new(raw[:-35]).digest()
    return peer.say(raw[:-32] + EarlySecret.from_psk(peer.psk_facts, KEY).binder(digest, kind="external"))


@pytest.mark.proves("9846:4.3.11:1")
@pytest.mark.parametrize("age", [0, 1, 77, 2**31, 2**32 - 1])
def test_the_age_of_an_external_identity_is_ignored(world: World, age: int) -> None:
    config = world.server_config(psks={NAME: ExternalPsk(NAME, KEY, "server")})
    peer = with_external(Client13(Connection(config)), age).read_flight().say_finished().accepted()
    assert peer.resumed


@pytest.mark.proves("9846:2.2:1", "9846:4.3.11:2")
def test_the_hash_of_an_external_key_is_set_with_it_or_sha256() -> None:
    assert ExternalPsk(NAME, KEY, "client").hash == "sha256"
    assert ExternalPsk(NAME, KEY, "client", "sha384").hash_facts.digest_size == 48


@pytest.mark.proves("9846:4.4.2:7", "9846:F.1:1")
def test_nobody_is_asked_for_a_certificate_where_an_external_key_served(world: World) -> None:
    settings = {"trust": world.pki.root.cert_pem, "session_id_context": b"x", "post_handshake_auth": True}
    servers = world.server_context(psks={NAME: ExternalPsk(NAME, KEY, "server")}, **settings)
    clients = world.client_context(
        psk=ExternalPsk(NAME, KEY, "client"), post_handshake_auth=True, identity=world.pki.client
    )
    pair = world.meet(clients, servers).check()
    assert not pair.client.peer_chain
    with pytest.raises(UsageError, match="external PSK"):
        pair.server.request_client_certificate()
    client = Connection(
        world.client_config(psk=ExternalPsk(NAME, KEY, "client"), post_handshake_auth=True), server_name="localhost"
    )
    peer = Server13(client, certified(world.leaf), psk=KEY)
    peer.connect().say_request(context=b"later").refused(UnexpectedMessage)


@pytest.mark.proves("9846:4.3.11:8", "9846:4.3.11:9")
def test_early_data_is_not_taken_with_another_identity_than_the_first(world: World) -> None:
    for index in (1, 2, 0xFFFF):
        peer, _ = offering(world)
        peer.give(peer.sealer.seal_many(22, hello_with(peer, index)))
        assert isinstance(peer.error, IllegalParameter)
        assert not peer.subject.early_data.accepted


def hello_with(peer: Server13, index: int) -> bytes:
    share = generate(peer.group).public
    return peer.server_hello(share=share, add={int(E.pre_shared_key): index.to_bytes(2, "big")}).pack()


# --- certificates ---------------------------------------------------------------------------------------------------


@pytest.mark.proves("9846:9.1:2")
def test_the_mandatory_schemes_are_offered_to_sign_with_and_for_certificates(world: World) -> None:
    mandatory = {0x0401, 0x0403, 0x0804}
    for hello in (server13_for(world).hello, server12_for(world).hello):
        assert mandatory <= set(ext.parse_signature_algorithms(hello.extensions[E.signature_algorithms]))
    for scheme, leaf in ((0x0403, world.pki.ecdsa_p256), (0x0804, world.pki.rsa2048)):
        servers = world.server_config(certified_keys=(certified(leaf),))
        clients = world.client_config(schemes=(scheme,), certificate_schemes=(0x0403, 0x0401))
        world.meet(clients, servers).check()


@pytest.mark.proves("9846:4.3.3:11", "9846:4.5.1.2:6")
def test_a_chain_with_sha1_is_not_even_a_last_resort(world: World) -> None:
    """`cryptography` no longer signs with it: the algorithm is put in by hand, in both places."""
    good = world.pki.server(issuer=world.pki.rsa_root)
    sha256, sha1 = bytes.fromhex("06092a864886f70d01010b"), bytes.fromhex("06092a864886f70d010105")
    assert good.cert_der.count(sha256) == 2
    with pytest.raises(ConfigurationError, match="SHA-1"):
        CertifiedKey.load(good.cert_der.replace(sha256, sha1), good.key_pem)


@pytest.mark.proves("9846:4.7.2:6")
def test_a_server_that_asked_for_a_certificate_takes_whatever_comes_before_the_answer(world: World) -> None:
    settings = {"trust": world.pki.root.cert_pem, "session_id_context": b"x", "post_handshake_auth": True}
    clients = world.client_context(post_handshake_auth=True, identity=world.pki.client)
    pair = world.meet(clients, world.server_context(**settings)).check()
    pair.server.request_client_certificate()
    request = pair.server.data_to_send()
    for number in range(50):
        pair.client.send_data(b"meanwhile %d" % number)
        pair.client.update_keys()
        pair.pump().check()
    assert pair.server.peer_chain == ()
    list(pair.client.receive_data(request))
    pair.pump().check()
    assert pair.server.peer_chain == world.pki.client.chain_der


@pytest.mark.proves("9846:4.3.2:3")
def test_a_server_that_remembers_nothing_ignores_change_cipher_spec_before_the_second_hello(world: World) -> None:
    config = world.server_config(cookies=CookieKeys.generate(random=Random("cookies")))
    peer = Visitor(Connection(config))
    peer.say_hello().read_cookie(None)
    peer.go_to(Connection(config)).give(CHANGE_CIPHER_SPEC)
    peer.come_back().read_flight().say_finished().accepted()
    assert peer.subject.handshake_complete


@pytest.mark.proves("9846:5.5:2")
def test_early_data_ends_before_its_key_is_used_up(world: World) -> None:
    """There is no update of that key, and its last record is that of EndOfEarlyData."""
    peer, _ = offering(world)
    sealer: Any = peer.subject._sealer
    sealer._limit = sealer._sequence + 4
    assert [peer.subject.send_early_data(b"x") for _ in range(5)] == [1, 1, 1, 0, 0]
    assert sealer.remaining == 1
