"""The TLS 1.2 key schedule. RFC 5246, sections 5, 6.3, 7.4.9 and 8.1; RFC 7627; RFC 5705.

What it does: makes the master secret from a premaster secret, the extended way (RFC 7627) or the classic one, and from
a master secret the key block, both Finished messages and exporters. What it leaves to others: the transcript (hashes of
it come in as bytes) and using keys (`protection`).

The PRF's HMAC key state is prepared once per master secret and serves everything derived from it: in a resumed
handshake a key block and two Finished, 8 HMACs of which none starts from the key.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import NamedTuple, NoReturn

from resumption.crypto.hashes import HashFacts, HmacKey
from resumption.crypto.suites import SuiteFacts
from resumption.errors import ConfigurationError, DecodeError, DecryptError

__all__ = ["MASTER_SECRET_LENGTH", "VERIFY_DATA_LENGTH", "KeyBlock", "MasterSecret12", "prf"]

MASTER_SECRET_LENGTH = 48  # bytes, RFC 5246, section 8.1
VERIFY_DATA_LENGTH = 12  # bytes, RFC 5246, section 7.4.9

# RFC 5705, section 4, forbids exporters under the labels of the protocol itself: they would reveal its secrets.
_RESERVED_LABELS = frozenset(
    (b"client finished", b"server finished", b"master secret", b"extended master secret", b"key expansion")
)


class KeyBlock(NamedTuple):
    """The keys of both directions. RFC 5246, section 6.3. AEAD suites have no MAC keys."""

    client_key: bytes
    server_key: bytes
    client_iv: bytes
    server_iv: bytes


def prf(key: HmacKey, seed: bytes, length: int) -> bytes:
    """``length`` bytes of P_hash; ``seed`` is the label followed by the seed proper. RFC 5246, section 5."""
    # Written out instead of calling ``key.digest``: 16 HMACs a resumed pair, 0.1 us each.
    inner_copy, outer_copy = key.inner_copy, key.outer_copy
    inner = inner_copy()
    inner.update(seed)
    outer = outer_copy()
    outer.update(inner.digest())
    chain = outer.digest()  # A(1)
    inner = inner_copy()
    inner.update(chain + seed)
    outer = outer_copy()
    outer.update(inner.digest())
    block = outer.digest()
    while len(block) < length:
        inner = inner_copy()
        inner.update(chain)
        outer = outer_copy()
        outer.update(inner.digest())
        chain = outer.digest()  # A(2), A(3), ...
        inner = inner_copy()
        inner.update(chain + seed)
        outer = outer_copy()
        outer.update(inner.digest())
        block += outer.digest()
    return block[:length]


def _refuse_finished(received: bytes, whose: str) -> NoReturn:
    if len(received) != VERIFY_DATA_LENGTH:
        raise DecodeError(f"the {whose}'s Finished has {len(received)} bytes instead of {VERIFY_DATA_LENGTH}")
    raise DecryptError(f"the {whose}'s Finished does not verify")


class MasterSecret12:
    """A TLS 1.2 master secret and what follows from it.

    ``secret`` is the 48-byte master secret, ``hash`` the PRF's. Make one with `from_premaster`, or, to resume, from the
    secret that the session holds.
    """

    __slots__ = ("_key", "hash", "secret")

    def __init__(self, facts: HashFacts, secret: bytes) -> None:
        self.hash: HashFacts = facts
        self.secret: bytes = secret
        self._key: HmacKey = HmacKey(facts, secret)

    @classmethod
    def from_premaster(
        cls,
        facts: HashFacts,
        premaster_secret: bytes,
        *,
        session_hash: bytes | None = None,
        randoms: bytes | None = None,
    ) -> MasterSecret12:
        """The master secret of a full handshake, by exactly one of two ways.

        ``session_hash``: the hash of the handshake up to and with ClientKeyExchange, for an extended master secret
        (RFC 7627, section 4). ``randoms``: client random then server random, for the classic one (RFC 5246, section
        8.1). Raises `ConfigurationError` when both or none are given.
        """
        if session_hash is not None and randoms is None:
            seed = b"extended master secret" + session_hash
        elif randoms is not None and session_hash is None:
            seed = b"master secret" + randoms
        else:
            raise ConfigurationError("a master secret is made from the session hash or from the randoms")
        return cls(facts, prf(HmacKey(facts, premaster_secret), seed, MASTER_SECRET_LENGTH))

    def key_block(self, suite: SuiteFacts, client_random: bytes, server_random: bytes) -> KeyBlock:
        """The keys and IVs of both directions. The server's random comes first here. RFC 5246, section 6.3."""
        key, iv = suite.key_length, suite.iv_length
        block = prf(self._key, b"key expansion" + server_random + client_random, 2 * (key + iv))
        return KeyBlock(block[:key], block[key : 2 * key], block[2 * key : 2 * key + iv], block[2 * key + iv :])

    def client_verify_data(self, transcript_hash: bytes) -> bytes:
        """The client's Finished over ``transcript_hash``, 12 bytes. RFC 5246, section 7.4.9."""
        return prf(self._key, b"client finished" + transcript_hash, VERIFY_DATA_LENGTH)

    def server_verify_data(self, transcript_hash: bytes) -> bytes:
        """The server's Finished over ``transcript_hash``, 12 bytes. RFC 5246, section 7.4.9."""
        return prf(self._key, b"server finished" + transcript_hash, VERIFY_DATA_LENGTH)

    def check_client_finished(self, transcript_hash: bytes, received: bytes) -> None:
        """Check the client's Finished in constant time. Raises `DecryptError`, or `DecodeError` for another length."""
        if not compare_digest(self.client_verify_data(transcript_hash), received):
            _refuse_finished(received, "client")

    def check_server_finished(self, transcript_hash: bytes, received: bytes) -> None:
        """Check the server's Finished in constant time. Raises `DecryptError`, or `DecodeError` for another length."""
        if not compare_digest(self.server_verify_data(transcript_hash), received):
            _refuse_finished(received, "server")

    def exporter(
        self, label: bytes, client_random: bytes, server_random: bytes, context: bytes | None, length: int
    ) -> bytes:
        """``length`` bytes of exported keying material. RFC 5705, section 4.

        An empty ``context`` and none (None) give different results. Only for sessions with an extended master secret
        (RFC 7627, section 5.4): that is the caller's to check. Raises `ConfigurationError` for a label of the protocol
        itself, a negative length, and a context of more than 2**16 - 1 bytes.
        """
        if length < 0:
            raise ConfigurationError(f"cannot export {length} bytes")
        if label in _RESERVED_LABELS:
            raise ConfigurationError("this label belongs to the protocol itself")
        seed = label + client_random + server_random
        if context is not None:
            if len(context) > 0xFFFF:
                raise ConfigurationError(f"an exporter context has at most 65535 bytes, this one has {len(context)}")
            seed += len(context).to_bytes(2, "big") + context
        return prf(self._key, seed, length)
