"""The five traces of RFC 8448, byte for byte: every secret, key, Finished and binder, and every record both ways."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from resumption.constants import ContentType
from resumption.crypto.hashes import SHA256
from resumption.crypto.protection import (
    PlainOpener,
    PlainSealer,
    RecordOpener,
    RecordOpener13,
    RecordSealer,
    RecordSealer13,
)
from resumption.crypto.schedule13 import (
    EarlySecret,
    HandshakeSecrets,
    MasterSecrets,
    expand_label,
    resumption_psk,
    traffic_keys,
    verify_data,
)
from resumption.crypto.suites import SUITES
from tests.crypto.traces import NAMES, Trace

SUITE = SUITES[0x1301]


@pytest.fixture(params=NAMES)
def trace(request: pytest.FixtureRequest) -> Trace:
    return Trace.load(request.param)


@pytest.fixture
def resumed() -> Trace:
    return Trace.load("resumed-0rtt")


def stages(trace: Trace) -> tuple[EarlySecret, HandshakeSecrets, MasterSecrets]:
    hashes = trace.hashes()
    early = EarlySecret.from_psk(SHA256, trace.psk)
    handshake = early.handshake(trace.shared_secret, hashes["ServerHello"])
    return early, handshake, handshake.into_master(hashes["server Finished"])


def expanded(trace: Trace, label: str) -> bytes:
    return trace.one(f'derive secret "tls13 {label}"')["expanded"]


def traffic_secret(trace: Trace, actor: str, purpose: str) -> bytes:
    """The secret that protects what ``actor`` sends, computed by us."""
    early, handshake, master = stages(trace)
    return {
        "client early application data": lambda: early.client_early_traffic_secret(trace.hashes()["ClientHello"]),
        "client handshake data": lambda: handshake.client_handshake_traffic_secret,
        "server handshake data": lambda: handshake.server_handshake_traffic_secret,
        "client application data": lambda: master.client_application_traffic_secret,
        "server application data": lambda: master.server_application_traffic_secret,
    }[f"{actor} {purpose}"]()


def test_the_traces_have_all_their_steps() -> None:
    assert [len(Trace.load(name).steps) for name in NAMES] == [55, 60, 54, 52, 51]


def test_traffic_secrets_of_the_handshake(trace: Trace) -> None:
    _, handshake, _ = stages(trace)
    assert handshake.client_handshake_traffic_secret == expanded(trace, "c hs traffic")
    assert handshake.server_handshake_traffic_secret == expanded(trace, "s hs traffic")


def test_traffic_and_exporter_secrets_of_the_connection(trace: Trace) -> None:
    _, _, master = stages(trace)
    assert master.client_application_traffic_secret == expanded(trace, "c ap traffic")
    assert master.server_application_traffic_secret == expanded(trace, "s ap traffic")
    assert master.exporter_master_secret == expanded(trace, "exp master")
    assert master.resumption_master_secret(trace.hashes()["client Finished"]) == expanded(trace, "res master")


def test_finished_messages(trace: Trace) -> None:
    _, handshake, _ = stages(trace)
    hashes = trace.hashes()
    sent = {sender: message for sender, name, message in trace.messages() if name == "Finished"}
    before_server = "CertificateVerify" if trace.psk is None else "EncryptedExtensions"
    before_client = {
        "client-authentication": "client CertificateVerify",
        "resumed-0rtt": "client EndOfEarlyData",
    }.get(trace.name, "server Finished")
    assert b"\x14\0\0\x20" + handshake.server_verify_data(hashes[f"server {before_server}"]) == sent["server"]
    assert b"\x14\0\0\x20" + handshake.client_verify_data(hashes[before_client]) == sent["client"]
    handshake.check_server_finished(hashes[f"server {before_server}"], sent["server"][4:])
    handshake.check_client_finished(hashes[before_client], sent["client"][4:])


def test_every_expansion_from_its_own_secret(trace: Trace) -> None:
    checked = 0
    for step in trace.steps:
        if "expanded" in step.values and "finished" not in step.values:
            label = step.action.split('"')[1].removeprefix("tls13 ").encode()
            assert expand_label(SHA256, step["PRK"], label, step["hash"], 32) == step["expanded"]
            assert step["info"].startswith(b"\x00\x20" + bytes((6 + len(label),)) + b"tls13 " + label)
            checked += 1
    assert checked >= 8


def test_every_finished_key_from_its_own_secret(trace: Trace) -> None:
    steps = trace.all('calculate finished "tls13 finished"')
    assert len(steps) == 2
    for step in steps:
        assert expand_label(SHA256, step["PRK"], b"finished", b"", 32) == step["expanded"]


def test_every_pair_of_traffic_keys(trace: Trace) -> None:
    checked = 0
    for step in trace.steps:
        if "key expanded" in step.values:
            direction, purpose = step.action.removeprefix("derive ").split(" traffic keys for ")
            actor = step.actor if direction == "write" else {"client": "server", "server": "client"}[step.actor]
            secret = traffic_secret(trace, actor, purpose)
            assert secret == step["PRK"]
            assert traffic_keys(SUITE, secret) == (step["key expanded"], step["iv expanded"])
            checked += 1
    assert checked >= 4


def test_the_shared_secret_of_the_key_exchange(trace: Trace) -> None:
    client = trace.one(f"create an ephemeral {exchange(trace)} key pair", "client")
    server = trace.one(f"create an ephemeral {exchange(trace)} key pair", "server")
    if exchange(trace) == "x25519":
        private = X25519PrivateKey.from_private_bytes(client["private key"])
        shared = private.exchange(X25519PublicKey.from_public_bytes(server["public key"]))
    else:
        curve = ec.SECP256R1()
        shared = ec.derive_private_key(int.from_bytes(client["private key"], "big"), curve).exchange(
            ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(curve, server["public key"])
        )
    assert shared == trace.shared_secret


def exchange(trace: Trace) -> str:
    return "P-256" if trace.name == "hello-retry-request" else "x25519"


def test_binder(resumed: Trace) -> None:
    step = resumed.one("calculate PSK binder")
    early = EarlySecret.from_psk(SHA256, resumed.psk)
    assert hashlib.sha256(step["ClientHello prefix"]).digest() == step["binder hash"]
    assert early.binder(step["binder hash"]) == step["finished"]
    assert verify_data(SHA256, step["PRK"], step["binder hash"]) == step["finished"]
    early.verify_binder(step["binder hash"], step["finished"])


def test_early_secrets(resumed: Trace) -> None:
    early = EarlySecret.from_psk(SHA256, resumed.psk)
    hello_hash = resumed.hashes()["ClientHello"]
    assert early.client_early_traffic_secret(hello_hash) == expanded(resumed, "c e traffic")
    assert early.early_exporter_master_secret(hello_hash) == expanded(resumed, "e exp master")


def test_the_psk_of_the_ticket_is_the_one_that_resumes(resumed: Trace) -> None:
    first = Trace.load("simple-1rtt")
    step = first.one('generate resumption secret "tls13 resumption"')
    ticket = first.one("construct a NewSessionTicket handshake message")["NewSessionTicket"]
    nonce = ticket[13 : 13 + ticket[12]]
    assert nonce == step["hash"]
    psk = resumption_psk(SHA256, expanded(first, "res master"), nonce)
    assert psk == step["expanded"]
    assert psk == resumed.psk


def records(trace: Trace) -> list[tuple[str, int, bytes, bytes]]:
    """Every record with the traffic keys it was sent under: keys ("" for none), type, payload, record."""
    keys = {"client": "", "server": ""}
    found = []
    for step in trace.steps:
        if step.action.startswith("derive write traffic keys for "):
            keys[step.actor] = step.actor + " " + step.action.removeprefix("derive write traffic keys for ")
        elif step.action.startswith("send "):
            content_type = int(ContentType[step.action.split()[1]])
            under = "" if content_type == ContentType.change_cipher_spec else keys[step.actor]
            found.append((under or f"{step.actor} plain", content_type, step["payload"], step["complete record"]))
    return found


def test_every_record_is_sealed_to_the_same_bytes(trace: Trace) -> None:
    sealers: dict[str, RecordSealer] = {}
    for number, (under, content_type, payload, record) in enumerate(records(trace)):
        if under not in sealers:
            actor, purpose = under.split(" ", 1)
            sealers[under] = (
                PlainSealer() if purpose == "plain" else RecordSealer13(SUITE, traffic_secret(trace, actor, purpose))
            )
        sealer = sealers[under]
        if isinstance(sealer, PlainSealer):
            sealer.version = 0x0301 if number == 0 else 0x0303  # the first ClientHello: RFC 9846, section 5.1
        assert sealer.seal(content_type, payload) == record
    assert len(sealers) >= 5


def test_every_record_opens_to_its_payload(trace: Trace) -> None:
    openers: dict[str, RecordOpener] = {}
    for under, content_type, payload, record in records(trace):
        if under not in openers:
            actor, purpose = under.split(" ", 1)
            openers[under] = (
                PlainOpener() if purpose == "plain" else RecordOpener13(SUITE, traffic_secret(trace, actor, purpose))
            )
        assert openers[under].open(record[:5], record[5:]) == (content_type, payload)
    assert len(openers) >= 5
