"""What verifying a chain costs, in microseconds of CPU time, beside the bare primitives.

Run from the project's root as ``python -m tests.bench.bench_trust [rounds]``. All cases run in turn, in short slices;
the least of each is printed. At the end: loading the system's roots, in milliseconds, beside the ssl module.
"""

from __future__ import annotations

import datetime
import gc
import ssl
import sys
import time
from collections.abc import Callable
from functools import partial

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store
from tests.pki import Pki

from resumption.crypto import certificates
from resumption.crypto.anchors import anchors_from
from resumption.crypto.certificates import public_key_of
from resumption.crypto.names import server_name_of
from resumption.crypto.trust import TrustStore, VerdictCache
from resumption.errors import ConfigurationError

Action = Callable[[], object]
ROUNDS = 100
REPEATS = 25


def race(actions: dict[str, Action], rounds: int) -> dict[str, float]:
    """The best time of each action in microseconds, all measured in turn."""
    best = dict.fromkeys(actions, float("inf"))
    for _ in range(rounds):
        for name, action in actions.items():
            start = time.process_time()
            for _ in range(REPEATS):
                action()
            best[name] = min(best[name], (time.process_time() - start) / REPEATS * 1e6)
    return best


def chain_actions(pki: Pki) -> dict[str, Action]:
    """Verification in all its forms; first the floor, then the verifier used without any preparation."""
    now = time.time()
    store = TrustStore.load(pki.trust_pem)
    strict = TrustStore.load(pki.trust_pem, policy="strict")
    remembering = TrustStore.load(pki.trust_pem, verdicts=VerdictCache())
    leaf, root = pki.ecdsa_p256, pki.root.certificate
    anchors = Store([root, pki.rsa_root.certificate])
    root_key = pki.root.certificate.public_key()
    assert isinstance(root_key, ec.EllipticCurvePublicKey)
    signature, signed, algorithm = (
        leaf.certificate.signature,
        leaf.certificate.tbs_certificate_bytes,
        ec.ECDSA(hashes.SHA256()),
    )
    subject = x509.DNSName("localhost")

    def plain() -> object:
        moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
        certificate = x509.load_der_x509_certificate(leaf.cert_der)
        verifier = PolicyBuilder().store(anchors).time(moment).build_server_verifier(subject)
        path = verifier.verify(certificate, [])
        return [c.public_bytes(serialization.Encoding.DER) for c in path], certificate.public_key()

    def unremembered() -> object:
        certificates._remembered_certificate.cache_clear()
        certificates._remembered_facts.cache_clear()
        return store.verify_server(leaf.chain_der, "localhost", now)

    return {
        "one P-256 signature (the floor)": lambda: root_key.verify(signature, signed, algorithm),
        "cryptography, web PKI, nothing prepared": plain,
        "verify_server, leaf under root": partial(store.verify_server, leaf.chain_der, "localhost", now),
        "  the same, strict": partial(strict.verify_server, leaf.chain_der, "localhost", now),
        "  the same, by address": partial(store.verify_server, leaf.chain_der, "127.0.0.1", now),
        "  the same, certificate never seen before": unremembered,
        "  the same, verdict remembered (opt-in)": partial(remembering.verify_server, leaf.chain_der, "localhost", now),
        "verify_server, leaf, intermediate, root": partial(
            store.verify_server, pki.under_intermediate.chain_der, "localhost", now
        ),
        "verify_server, RSA leaf under RSA root": partial(store.verify_server, pki.rsa2048.chain_der, "localhost", now),
        "verify_client": partial(store.verify_client, pki.client.chain_der, now),
        "public_key_of": partial(public_key_of, leaf.cert_der),
        "server_name_of": partial(server_name_of, "localhost"),
    }


def main(rounds: int) -> None:
    """Print both tables."""
    actions = chain_actions(Pki())
    gc.collect()
    gc.freeze()
    times = race(actions, rounds)
    floor = next(iter(times.values()))
    for name, micros in times.items():
        print(f"  {name:<44} {micros:8.2f} us   {micros / floor:5.2f}")
    print("\nthe system's roots")
    steps: dict[str, Action] = {
        "TrustStore.load(), first": lambda: anchors_from([None]),
        "TrustStore.load(), again": lambda: anchors_from([None]),
        "parsed at the first verification": lambda: anchors_from([None]).builder,
        "ssl.create_default_context()": ssl.create_default_context,
    }
    for name, action in steps.items():
        start = time.process_time()
        try:
            action()
        except ConfigurationError:
            print("  this machine has none")
            return
        print(f"  {name:<44} {(time.process_time() - start) * 1e3:8.2f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
