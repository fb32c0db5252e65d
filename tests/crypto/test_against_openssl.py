"""Schedules and protection against OpenSSL: our keys open its records, its connections read ours, exporters agree."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import pytest
from OpenSSL import SSL

from resumption.crypto.protection import RecordOpener12, RecordOpener13, RecordSealer12, RecordSealer13
from resumption.crypto.schedule12 import MasterSecret12
from resumption.crypto.schedule13 import expand_label, verify_data
from resumption.crypto.suites import SUITES, SuiteFacts
from tests.pki import Pki

pytestmark = pytest.mark.interop
DATA, HANDSHAKE = 23, 22
suites13 = pytest.mark.parametrize("suite", [0x1301, 0x1302, 0x1303])
suites12 = pytest.mark.parametrize("suite", [s for s, facts in SUITES.items() if facts.version == 0x0303])


@dataclass
class Session:
    """An OpenSSL client and server in memory, all their records, and the secrets they logged."""

    client: SSL.Connection
    server: SSL.Connection
    records: list[tuple[str, bytes]] = field(default_factory=list)
    secrets: dict[str, bytes] = field(default_factory=dict)

    def take(self, sender: str) -> bytes:
        """What ``sender`` has written."""
        connection = self.client if sender == "client" else self.server
        try:
            return connection.bio_read(1 << 20)
        except SSL.WantReadError:
            return b""

    def carry(self) -> None:
        """Bring what was written to the other side, and keep the records."""
        for sender, receiver in (("client", self.server), ("server", self.client)):
            stream = self.take(sender)
            if stream:
                receiver.bio_write(stream)
            while stream:
                end = 5 + int.from_bytes(stream[3:5], "big")
                self.records.append((sender, stream[:end]))
                stream = stream[end:]


def connect(pki: Pki, suite: int) -> Session:
    facts = SUITES[suite]
    credential = pki.rsa2048 if facts.authentication == "RSA" else pki.ecdsa_p256
    contexts = [SSL.Context(SSL.TLS_CLIENT_METHOD), SSL.Context(SSL.TLS_SERVER_METHOD)]
    secrets: dict[str, bytes] = {}

    def log(_: SSL.Connection, line: bytes) -> None:
        label, _random, secret = line.decode().split()
        secrets[label] = bytes.fromhex(secret)

    for context in contexts:
        context.set_min_proto_version(facts.version)
        context.set_max_proto_version(facts.version)
        if facts.version == 0x0304:
            context.set_tls13_ciphersuites(facts.name.encode())
        else:
            context.set_cipher_list(f"{facts.openssl_name}:@SECLEVEL=0".encode())  # tags of 8 bytes need that
    contexts[1].use_privatekey(credential.private_key)
    contexts[1].use_certificate(credential.certificate)
    contexts[0].set_keylog_callback(log)
    client, server = SSL.Connection(contexts[0], None), SSL.Connection(contexts[1], None)
    client.set_connect_state()
    server.set_accept_state()
    session = Session(client, server, secrets=secrets)
    done: set[SSL.Connection] = set()
    for _ in range(6):
        for connection in (client, server):
            try:
                connection.do_handshake()
                done.add(connection)
            except SSL.WantReadError:
                pass
            session.carry()
    assert len(done) == 2
    return session


def transcript_hash(suite: SuiteFacts, *messages: bytes) -> bytes:
    return hashlib.new(suite.hash.name, b"".join(messages)).digest()


@suites13
def test_13_handshake_of_openssl_is_read_and_its_finished_verified(pki: Pki, suite: int) -> None:
    facts = SUITES[suite]
    session = connect(pki, suite)
    secrets = {side: session.secrets[f"{side.upper()}_HANDSHAKE_TRAFFIC_SECRET"] for side in ("client", "server")}
    openers = {side: RecordOpener13(facts, secret) for side, secret in secrets.items()}
    hellos = [record[5:] for _, record in session.records if record[0] == HANDSHAKE]
    assert len(hellos) == 2
    messages: list[bytes] = []
    finished = {}
    for sender, record in session.records:
        if record[0] != DATA or sender in finished:
            continue
        content_type, content = openers[sender].open(record[:5], record[5:])
        assert content_type == HANDSHAKE
        while content:
            end = 4 + int.from_bytes(content[1:4], "big")
            if content[0] == 20:
                expected = verify_data(facts.hash, secrets[sender], transcript_hash(facts, *hellos, *messages))
                assert content[4:end] == expected
                finished[sender] = True
            messages.append(content[:end])
            content = content[end:]
    assert set(finished) == {"client", "server"}


@suites13
def test_13_application_data_both_ways_and_key_updates(pki: Pki, suite: int) -> None:
    facts = SUITES[suite]
    session = connect(pki, suite)
    secrets = [session.secrets[f"{side}_TRAFFIC_SECRET_0"] for side in ("CLIENT", "SERVER")]
    sealer, opener = RecordSealer13(facts, secrets[0]), RecordOpener13(facts, secrets[0])
    for size in (1, 100, 5000, 2**14):
        session.client.send(bytes(size))
        record = session.take("client")
        assert opener.open(record[:5], record[5:]) == (DATA, bytes(size))
        ours = sealer.seal(DATA, b"x" * size)
        session.server.bio_write(ours)
        assert session.server.recv(2**15) == b"x" * size
    session.server.bio_write(sealer.seal(DATA, b"padded", 1000) + sealer.seal_many(DATA, b"many" * 10000))
    received = b""
    while len(received) < 40006:
        received += session.server.recv(2**15)
    assert received == b"padded" + b"many" * 10000
    session.server.bio_write(sealer.seal(HANDSHAKE, b"\x18\0\0\1\0"))  # KeyUpdate, none requested
    sealer.key_update()
    session.server.bio_write(sealer.seal(DATA, b"under the new key"))
    assert session.server.recv(100) == b"under the new key"


@pytest.mark.proves("9846:7.5:1")
@suites13
def test_13_exporters_agree(pki: Pki, suite: int) -> None:
    facts = SUITES[suite]
    session = connect(pki, suite)
    secret = session.secrets["EXPORTER_SECRET"]
    for label, context, length in ((b"EXPORTER-one", b"", 20), (b"EXPORTER-two", b"context", 100)):
        derived = expand_label(facts.hash, secret, label, facts.hash.empty_digest, facts.hash.digest_size)
        ours = expand_label(facts.hash, derived, b"exporter", facts.hash.digest(context), length)
        assert session.client.export_keying_material(label, length, context) == ours


@suites12
def test_12_finished_records_and_exporters(pki: Pki, suite: int) -> None:
    facts = SUITES[suite]
    session = connect(pki, suite)
    randoms = session.client.client_random(), session.client.server_random()
    master = MasterSecret12(facts.hash, session.client.master_key())
    assert master.secret == session.secrets["CLIENT_RANDOM"]
    keys = master.key_block(facts, *randoms)
    client_opener = RecordOpener12(facts, keys.client_key, keys.client_iv)
    server_opener = RecordOpener12(facts, keys.server_key, keys.server_iv)

    # the handshake: plain messages until each side's ChangeCipherSpec, then one protected Finished
    messages, protected, seen = b"", {"client": b"", "server": b""}, set()
    for sender, record in session.records:
        if record[0] == 20:
            seen.add(sender)
        elif record[0] == HANDSHAKE and sender not in seen:
            messages += record[5:]
        elif record[0] == HANDSHAKE and not protected[sender]:
            opener = client_opener if sender == "client" else server_opener
            content_type, content = opener.open(record[:5], record[5:])
            assert content_type == HANDSHAKE
            protected[sender] = content
            # a server's NewSessionTicket goes before its ChangeCipherSpec and is in ``messages`` already
            check = master.check_client_finished if sender == "client" else master.check_server_finished
            check(transcript_hash(facts, messages), content[4:])
            messages += content
    assert all(protected.values())

    sealer = RecordSealer12(facts, keys.client_key, keys.client_iv)
    sealer.seal(HANDSHAKE, protected["client"])  # OpenSSL's client used sequence number 0 for it
    for size in (1, 100, 2**14):
        session.server.bio_write(sealer.seal(DATA, b"x" * size))
        assert session.server.recv(2**15) == b"x" * size
        session.server.send(b"y" * size)
        record = session.take("server")
        assert server_opener.open(record[:5], record[5:]) == (DATA, b"y" * size)
    session.server.bio_write(sealer.seal_many(DATA, b"many" * 10000))
    received = b""
    while len(received) < 40000:
        received += session.server.recv(2**15)
    assert received == b"many" * 10000

    for label, context, length in ((b"EXPORTER-one", None, 20), (b"EXPORTER-two", b"context", 100)):
        ours = master.exporter(label, *randoms, context, length)
        assert session.client.export_keying_material(label, length, context) == ours
