"""The floor under each handshake: its primitive calls and nothing else, the least that any engine over them can take.

Counted for one pair of client and server with the terms of `resumption.cli.bench.material`: key shares and exchanges,
the signature and its check, the verification of the chain, every HMAC of the key schedule as two bare hash calls, the
transcript's digests, AEAD keys and records, opening and sealing the ticket, random bytes. No message is parsed or
packed, no session made, no rule checked. `CENSUS` says how many there are of each.
"""

from __future__ import annotations

import datetime
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.verification import PolicyBuilder, Store

from resumption.cli.bench.material import SERVER_NAME, TLS13, Terms
from resumption.cli.certificates import Certificates

__all__ = ["CENSUS", "Census", "Floor"]

_TICKET_LENGTH = 512  # bytes, as `resumption.session.tickets.keys` makes them
_FLIGHT_LENGTH = 1024  # bytes of the server's handshake flight with a certificate in it
_SMALL_LENGTH = 48  # bytes: a Finished, an alert


@dataclass(frozen=True, slots=True)
class Census:
    """How many calls of each kind one pair needs."""

    key_shares: int  # generating a key and reading its public bytes
    exchanges: int  # loading the peer's share and the exchange itself
    signatures: int  # made and verified
    chains: int  # verified
    hmacs: int  # of the suite's hash, under keys used once or twice
    ticket_hmacs: int  # HMAC-SHA256 under a prepared key: sealing and opening a ticket
    digests: int  # of the transcript, on a copy
    aead_keys: int
    flights: int  # records that hold the server's certificate: sealed and opened
    small_records: int  # sealed and opened
    tickets: int  # AEAD operations over a whole ticket, inside it or in the record that carries it
    random: int  # calls of the random source


CENSUS = {
    # HMACs of TLS 1.3, one side: extract and two handshake secrets, their keys 4, both Finished 4, the next extract 2,
    # two application secrets and their keys 6, resumption secret and PSK 2; resumed, also the early secret 1,
    # the binder 3 and its derivation 1.
    "tls13_full": Census(2, 2, 1, 1, 42, 3, 10, 9, 1, 3, 3, 5),
    "tls13_resumed": Census(2, 2, 0, 0, 52, 5, 10, 10, 0, 4, 4, 6),
    # TLS 1.2, one side: master secret 4 (full only), key block 4, both Finished 4.
    "tls12_full": Census(2, 2, 1, 1, 24, 3, 7, 5, 0, 4, 1, 4),
    "tls12_resumed": Census(0, 0, 0, 0, 16, 2, 4, 5, 0, 4, 1, 2),
}


class Floor:
    """The primitive calls of one kind of handshake. ``run`` does those of one pair."""

    def __init__(self, terms: Terms, certificates: Certificates, *, resumed: bool) -> None:
        self.census = census = CENSUS[f"{terms.name}_{'resumed' if resumed else 'full'}"]
        hash_of: Callable[[bytes], hashlib._Hash] = hashlib.sha384 if terms is TLS13 else hashlib.sha256
        block = 128 if terms is TLS13 else 64
        leaf = x509.load_pem_x509_certificate(certificates.chain.read_bytes())
        root = x509.load_pem_x509_certificate(certificates.authority.read_bytes())
        key = serialization.load_pem_private_key(certificates.key.read_bytes(), None)
        public_key = leaf.public_key()
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(public_key, ec.EllipticCurvePublicKey):
            raise TypeError("the certificate's key is an elliptic curve key")
        sign, verify = key.sign, public_key.verify
        algorithm = ec.ECDSA(hashes.SHA256())
        signed = os.urandom(146)
        builder = PolicyBuilder().store(Store([root]))
        subject = x509.DNSName(SERVER_NAME)
        peer_share = X25519PrivateKey.generate().public_key().public_bytes_raw()
        inner_block, outer_block = os.urandom(block + 60), os.urandom(block + hash_of(b"").digest_size)
        prepared, transcript = hashlib.sha256(os.urandom(64)), hash_of(os.urandom(600))
        aead_key, nonce, header = os.urandom(32 if terms is TLS13 else 16), os.urandom(12), os.urandom(5)
        aead = AESGCM(aead_key)
        texts = [
            (number, text := os.urandom(length), aead.encrypt(nonce, text, header))
            for number, length in (
                (census.flights, _FLIGHT_LENGTH),
                (census.small_records, _SMALL_LENGTH),
            )
        ]
        ticket = os.urandom(_TICKET_LENGTH)
        sealed = aead.encrypt(nonce, ticket, header)

        def run() -> None:
            for _ in range(census.key_shares):
                share = X25519PrivateKey.generate()
                share.public_key().public_bytes_raw()
            for _ in range(census.exchanges):
                share.exchange(X25519PublicKey.from_public_bytes(peer_share))
            for _ in range(census.signatures):
                verify(sign(signed, algorithm), signed, algorithm)
            for _ in range(census.chains):
                now = datetime.datetime.now(datetime.UTC)
                builder.time(now).build_server_verifier(subject).verify(leaf, [])
            for _ in range(census.hmacs):
                hash_of(inner_block).digest()
                hash_of(outer_block).digest()
            for _ in range(2 * census.ticket_hmacs):
                running = prepared.copy()
                running.update(nonce)
                running.digest()
            for _ in range(census.digests):
                transcript.copy().digest()
            for _ in range(census.aead_keys):
                AESGCM(aead_key)
            for number, text, body in texts:
                for _ in range(number):
                    aead.encrypt(nonce, text, header)
                    aead.decrypt(nonce, body, header)
            for step in range(census.tickets):
                if step % 2:
                    aead.encrypt(nonce, ticket, header)
                else:
                    aead.decrypt(nonce, sealed, header)
            for _ in range(census.random):
                os.urandom(32)

        self.run = run
