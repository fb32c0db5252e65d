"""What the crypto room costs, in microseconds of CPU time, beside the bare primitive calls: ``python bench_crypto.py``.

Each group is measured in one interleaved run: short slices in turn, the minimum of each. Trust ratios within a group
more than digits. ``--rounds N`` changes the number of rounds (default 100).
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hmac
import os
import ssl
import time
from collections.abc import Callable

import trustme

from resumption.crypto.hashes import SHA256, SHA384, HashFacts, HmacKey, hmac_once, hmac_pair
from resumption.crypto.protection import RecordOpener12, RecordOpener13, RecordSealer12, RecordSealer13
from resumption.crypto.schedule12 import MasterSecret12
from resumption.crypto.schedule13 import EarlySecret, resumption_psk, traffic_keys
from resumption.crypto.suites import SUITES

Action = Callable[[], object]
SLICE_S = 0.004


def race(actions: dict[str, Action], rounds: int) -> dict[str, float]:
    """The best time of each action in microseconds, all measured in turn."""
    repeats = {}
    for name, action in actions.items():
        start = time.process_time()
        for _ in range(50):
            action()
        repeats[name] = max(1, int(SLICE_S * 50 / max(time.process_time() - start, 1e-6)))
    best = dict.fromkeys(actions, float("inf"))
    for _ in range(rounds):
        for name, action in actions.items():
            start = time.process_time()
            for _ in range(repeats[name]):
                action()
            best[name] = min(best[name], (time.process_time() - start) / repeats[name])
    return {name: seconds * 1e6 for name, seconds in best.items()}


def show(title: str, actions: dict[str, Action], rounds: int, reference: str) -> None:
    """Run a group and print it; ratios are to ``reference``."""
    times = race(actions, rounds)
    print(f"\n{title}")
    for name, micros in times.items():
        print(f"  {name:<44} {micros:8.2f} us   {micros / times[reference]:5.2f}")


def schedule_actions(facts: HashFacts, suite: int) -> dict[str, Action]:
    """One side of a handshake: every secret, key and Finished that it needs."""
    keys = SUITES[suite]
    digest = os.urandom(facts.digest_size)
    shared, psk, nonce = os.urandom(32), os.urandom(facts.digest_size), b"\0" * 8

    def both_directions(secrets: list[bytes]) -> None:
        for secret in secrets:
            traffic_keys(keys, secret)

    def after(early: EarlySecret) -> None:
        handshake = early.handshake(shared, digest)
        both_directions([handshake.client_handshake_traffic_secret, handshake.server_handshake_traffic_secret])
        handshake.server_verify_data(digest)
        handshake.client_verify_data(digest)
        master = handshake.into_master(digest)
        both_directions([master.client_application_traffic_secret, master.server_application_traffic_secret])
        resumption_psk(facts, master.resumption_master_secret(digest), nonce)

    def full() -> None:
        after(EarlySecret.from_psk(facts, None))

    def resumed() -> None:
        early = EarlySecret.from_psk(facts, psk)
        early.binder(digest)
        after(early)

    def standard_library(count: int) -> Action:
        def run() -> None:
            for _ in range(count):
                hmac.digest(psk, digest, facts.name)

        return run

    return {
        "full, one side (21 HMACs)": full,
        "resumed, one side (26 HMACs)": resumed,
        "21 x hmac.digest of the standard library": standard_library(21),
        "26 x hmac.digest of the standard library": standard_library(26),
    }


def hmac_actions(facts: HashFacts) -> dict[str, Action]:
    """The two shapes of HMAC."""
    key, data = os.urandom(facts.digest_size), os.urandom(54)
    prepared = HmacKey(facts, key)
    return {
        "hmac.digest": lambda: hmac.digest(key, data, facts.name),
        "HmacKey, made": lambda: HmacKey(facts, key),
        "HmacKey, used": lambda: prepared.digest(data),
        "hmac_once": lambda: hmac_once(facts, key, data),
        "hmac_pair": lambda: hmac_pair(facts, key, data, data),
    }


def schedule12_actions() -> dict[str, Action]:
    """One side of a TLS 1.2 handshake."""
    suite = SUITES[0xC02F]
    secret, randoms, digest = os.urandom(48), os.urandom(32), os.urandom(32)

    def resumed() -> None:
        master = MasterSecret12(SHA256, secret)
        master.key_block(suite, randoms, randoms)
        master.client_verify_data(digest)
        master.server_verify_data(digest)

    def full() -> None:
        master = MasterSecret12.from_premaster(SHA256, randoms, session_hash=digest)
        master.key_block(suite, randoms, randoms)
        master.client_verify_data(digest)
        master.server_verify_data(digest)

    return {"full, one side": full, "resumed, one side": resumed}


def record_actions(suite_number: int, size: int) -> dict[str, Action]:
    """Seal and open one record, beside the bare AEAD calls."""
    suite = SUITES[suite_number]
    secret = os.urandom(suite.hash.digest_size)
    data = os.urandom(size)
    key, nonce, header = os.urandom(suite.key_length), os.urandom(12), b"\x17\x03\x03\0\0"
    aead = suite.aead(key)
    body = aead.encrypt(nonce, data, header)
    if suite.version == 0x0304:
        sealer, opener = RecordSealer13(suite, secret), RecordOpener13(suite, secret)
        record = RecordSealer13(suite, secret).seal(23, data)
    else:
        iv = os.urandom(suite.iv_length)
        sealer, opener = RecordSealer12(suite, key, iv), RecordOpener12(suite, key, iv)  # type: ignore[assignment]
        record = RecordSealer12(suite, key, iv).seal(23, data)
    record_header, record_body = record[:5], record[5:]

    def open_it() -> None:
        opener._sequence = 0
        opener.open(record_header, record_body)

    actions: dict[str, Action] = {
        "bare encrypt": lambda: aead.encrypt(nonce, data, header),
        "seal": lambda: sealer.seal(23, data),
        "bare decrypt": lambda: aead.decrypt(nonce, body, header),
        "open": open_it,
    }
    if size == 1 << 14:
        large = data * 4
        actions["bare encrypt, 4 times"] = lambda: [aead.encrypt(nonce, data, header) for _ in range(4)]
        actions["seal_many, 4 records"] = lambda: sealer.seal_many(23, large)
    return actions


def standard_library_pair(version: ssl.TLSVersion, cipher: str) -> tuple[str, Callable[[bytes], Action]]:
    """A connected pair of the standard library's in memory; gives an action that writes and reads ``data``."""
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA).configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    server_context.minimum_version = server_context.maximum_version = version
    if version == ssl.TLSVersion.TLSv1_2:
        server_context.set_ciphers(cipher)
    to_client, from_client, to_server, from_server = (ssl.MemoryBIO() for _ in range(4))
    client = client_context.wrap_bio(to_client, from_client, server_hostname="localhost")
    server = server_context.wrap_bio(to_server, from_server, server_side=True)
    for _ in range(4):
        for side in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
            to_server.write(from_client.read())
            to_client.write(from_server.read())

    def carry(data: bytes) -> Action:
        def run() -> None:
            client.write(data)
            to_server.write(from_client.read())
            assert len(server.read(len(data))) == len(data)

        return run

    negotiated = client.cipher()
    assert negotiated is not None
    return negotiated[0], carry


def bulk_actions(suite_number: int, version: ssl.TLSVersion, cipher: str, size: int) -> dict[str, Action]:
    """Write and read through the standard library, and seal and open here, with the same suite."""
    name, carry = standard_library_pair(version, cipher)
    suite = SUITES[suite_number]
    assert name in (suite.name, suite.openssl_name)
    data = os.urandom(size)
    if suite.version == 0x0304:
        secret = os.urandom(suite.hash.digest_size)
        sealer, opener = RecordSealer13(suite, secret), RecordOpener13(suite, secret)
    else:
        key, iv = os.urandom(suite.key_length), os.urandom(suite.iv_length)
        sealer, opener = RecordSealer12(suite, key, iv), RecordOpener12(suite, key, iv)  # type: ignore[assignment]

    def ours() -> None:
        record = sealer.seal(23, data)
        assert len(opener.open(record[:5], memoryview(record)[5:])[1]) == size

    return {f"ssl, write and read ({name})": carry(data), "seal, cut, open": ours}


def main() -> None:
    """Print every group."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    rounds = parser.parse_args().rounds
    gc.collect()
    gc.freeze()
    print(f"OpenSSL of the standard library: {ssl.OPENSSL_VERSION}")
    for facts, suite in ((SHA256, 0x1301), (SHA384, 0x1302)):
        show(f"HMAC, {facts.name}", hmac_actions(facts), rounds, "hmac.digest")
        show(f"TLS 1.3 key schedule, {facts.name}", schedule_actions(facts, suite), rounds, "full, one side (21 HMACs)")
    show("TLS 1.2 key schedule, sha256", schedule12_actions(), rounds, "resumed, one side")
    for suite in (0x1301, 0x1303, 0xC02F):
        for size in (100, 1 << 14):
            title = f"Records of {size} bytes, {SUITES[suite].name}"
            show(title, record_actions(suite, size), rounds, "bare encrypt")
    for suite, version, cipher in (
        (0x1302, ssl.TLSVersion.TLSv1_3, ""),
        (0xC02B, ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ):
        for size in (100, 1 << 14):
            actions = bulk_actions(suite, version, cipher, size)
            show(f"There and back, {size} bytes", actions, rounds, next(iter(actions)))


if __name__ == "__main__":
    main()
