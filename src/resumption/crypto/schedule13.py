"""The TLS 1.3 key schedule as typestates. RFC 9846, section 7.

What it does: turns a PSK and a key exchange secret into every other secret, in the three stages of section 7.1, each a
class that offers only what may be derived there: `EarlySecret`, `HandshakeSecrets`, `MasterSecrets`. What it leaves to
others: the transcript (hashes of it come in as bytes) and using traffic keys (`protection`).

Fast by precomputation: an HkdfLabel differs between handshakes only in the transcript hash, so everything around it is
built at import, per hash; so are the early secret without a PSK and what follows from it. Every output is at most one
hash long (but for exporters), so one HMAC per label is all of HKDF-Expand. The pieces of a stage that always serve are
derived when it is made, as a pair that shares the padded key; the others when asked for. No secret is in a ``repr``.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import Literal, TypeAlias

from resumption.crypto.hashes import SHA256, SHA384, HashFacts, HmacKey, hmac_once, hmac_pair
from resumption.crypto.suites import SuiteFacts
from resumption.errors import ConfigurationError, DecodeError, DecryptError

__all__ = [
    "BinderKind",
    "EarlySecret",
    "HandshakeSecrets",
    "MasterSecrets",
    "expand_label",
    "next_traffic_secret",
    "resumption_psk",
    "traffic_keys",
    "verify_data",
]

BinderKind: TypeAlias = Literal["resumption", "external", "imported"]
_MAX_LABEL_LENGTH = 255 - len(b"tls13 ")


def _info(label: bytes, length: int, context_length: int) -> bytes:
    """An HkdfLabel up to and including the length of its context. RFC 9846, section 7.1."""
    full = b"tls13 " + label
    return length.to_bytes(2, "big") + bytes((len(full),)) + full + bytes((context_length,))


class _Labels:
    """Every HkdfLabel of one hash.

    Names ending in ``_info`` lack the transcript hash and the block counter that follow it; the others are complete,
    the block counter 0x01 of HKDF-Expand included, and are HMAC input as they stand.
    """

    __slots__ = (
        "binders",
        "client_application_info",
        "client_early_info",
        "client_handshake_info",
        "derived",
        "derived_without_psk",
        "early_exporter_info",
        "early_without_psk",
        "exporter_info",
        "finished",
        "iv",
        "key",
        "resumption_info",
        "server_application_info",
        "server_handshake_info",
        "traffic_update",
        "zero",
        "zero_key",
    )

    def __init__(self, facts: HashFacts) -> None:
        size = facts.digest_size
        after_nothing = facts.empty_digest + b"\x01"
        self.zero: bytes = bytes(size)
        self.derived: bytes = _info(b"derived", size, size) + after_nothing
        self.binders: dict[BinderKind, bytes] = {
            "resumption": _info(b"res binder", size, size) + after_nothing,
            "external": _info(b"ext binder", size, size) + after_nothing,
            "imported": _info(b"imp binder", size, size) + after_nothing,  # RFC 9258, section 5.2
        }
        self.client_early_info: bytes = _info(b"c e traffic", size, size)
        self.early_exporter_info: bytes = _info(b"e exp master", size, size)
        self.client_handshake_info: bytes = _info(b"c hs traffic", size, size)
        self.server_handshake_info: bytes = _info(b"s hs traffic", size, size)
        self.client_application_info: bytes = _info(b"c ap traffic", size, size)
        self.server_application_info: bytes = _info(b"s ap traffic", size, size)
        self.exporter_info: bytes = _info(b"exp master", size, size)
        self.resumption_info: bytes = _info(b"res master", size, size)
        self.finished: bytes = _info(b"finished", size, 0) + b"\x01"
        self.traffic_update: bytes = _info(b"traffic upd", size, 0) + b"\x01"
        self.key: dict[int, bytes] = {length: _info(b"key", length, 0) + b"\x01" for length in (16, 32)}
        self.iv: bytes = _info(b"iv", 12, 0) + b"\x01"
        # HKDF-Extract with the salt 0 starts every schedule; without a PSK two more steps are constant
        self.zero_key: HmacKey = HmacKey(facts, self.zero)
        self.early_without_psk: bytes = self.zero_key.digest(self.zero)
        self.derived_without_psk: HmacKey = HmacKey(facts, hmac_once(facts, self.early_without_psk, self.derived))


_LABELS = {facts: _Labels(facts) for facts in (SHA256, SHA384)}


def expand_label(facts: HashFacts, secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
    """HKDF-Expand-Label for any label, context and length. RFC 9846, section 7.1.

    Raises `ConfigurationError` when the label or the length (bytes) is longer than HKDF allows.
    """
    if len(label) > _MAX_LABEL_LENGTH:
        raise ConfigurationError(f"a label has at most {_MAX_LABEL_LENGTH} bytes, this one has {len(label)}")
    if not 0 <= length <= 255 * facts.digest_size:
        raise ConfigurationError(f"cannot derive {length} bytes: the limit is {255 * facts.digest_size}")
    info = _info(label, length, len(context)) + context
    key = HmacKey(facts, secret)
    block, blocks = b"", []
    for counter in range(1, -(-length // facts.digest_size) + 1):
        block = key.digest(block + info + bytes((counter,)))
        blocks.append(block)
    return b"".join(blocks)[:length]


def verify_data(facts: HashFacts, base_secret: bytes, transcript_hash: bytes) -> bytes:
    """The contents of a Finished, or a binder, made with ``base_secret``. RFC 9846, section 4.5.3 (8446: 4.4.4)."""
    return hmac_once(facts, hmac_once(facts, base_secret, _LABELS[facts].finished), transcript_hash)


def next_traffic_secret(facts: HashFacts, secret: bytes) -> bytes:
    """The traffic secret that follows ``secret`` at a KeyUpdate. RFC 9846, section 7.2."""
    return hmac_once(facts, secret, _LABELS[facts].traffic_update)


def traffic_keys(suite: SuiteFacts, secret: bytes) -> tuple[bytes, bytes]:
    """The AEAD key and the IV of a traffic secret. RFC 9846, section 7.3."""
    labels = _LABELS[suite.hash]
    length = suite.key_length
    key, iv = hmac_pair(suite.hash, secret, labels.key[length], labels.iv)
    return key[:length], iv[:12]


def resumption_psk(facts: HashFacts, resumption_master_secret: bytes, ticket_nonce: bytes) -> bytes:
    """The PSK of the ticket with this nonce of at most 255 bytes. RFC 9846, section 4.7.1 (8446: 4.6.1)."""
    info = _info(b"resumption", facts.digest_size, len(ticket_nonce)) + ticket_nonce + b"\x01"
    return hmac_once(facts, resumption_master_secret, info)


def _export(facts: HashFacts, secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
    secret = expand_label(facts, secret, label, facts.empty_digest, facts.digest_size)
    return expand_label(facts, secret, b"exporter", facts.digest(context), length)


def _check_finished(expected: bytes, received: bytes, whose: str) -> None:
    if len(received) != len(expected):
        raise DecodeError(f"the {whose}'s Finished has {len(received)} bytes instead of {len(expected)}")
    if not compare_digest(expected, received):
        raise DecryptError(f"the {whose}'s Finished does not verify")


class EarlySecret:
    """The first stage: what a PSK, or its absence, gives. RFC 9846, section 7.1."""

    __slots__ = ("_derived", "_labels", "_secret", "hash")

    def __init__(self, facts: HashFacts, early_secret: bytes, derived: HmacKey | None) -> None:
        """Use `from_psk`. ``derived`` is the salt of the next stage if it is known already."""
        self.hash: HashFacts = facts
        self._labels: _Labels = _LABELS[facts]
        self._secret: bytes = early_secret
        self._derived: HmacKey | None = derived

    @classmethod
    def from_psk(cls, facts: HashFacts, psk: bytes | None) -> EarlySecret:
        """The early secret of ``psk``, or of a handshake without one (None), which costs nothing."""
        labels = _LABELS[facts]
        if psk is None:
            return cls(facts, labels.early_without_psk, labels.derived_without_psk)
        return cls(facts, labels.zero_key.digest(psk), None)

    def binder(self, transcript_hash: bytes, *, kind: BinderKind = "resumption") -> bytes:
        """The binder that proves knowledge of the PSK. RFC 9846, section 4.3.11.2 (8446: 4.2.11.2).

        ``transcript_hash`` is that of the ClientHello up to and without its binders list, after a HelloRetryRequest
        preceded by the first flight. ``kind`` is where the PSK comes from: a ticket, outside, or an import (RFC 9258).
        """
        labels = self._labels
        binder_key = hmac_once(self.hash, self._secret, labels.binders[kind])
        return verify_data(self.hash, binder_key, transcript_hash)

    def verify_binder(self, transcript_hash: bytes, binder: bytes, *, kind: BinderKind = "resumption") -> None:
        """Check the client's ``binder`` in constant time. Raises `DecryptError`. RFC 9846, section 4.3.11."""
        if not compare_digest(self.binder(transcript_hash, kind=kind), binder):
            raise DecryptError("the PSK binder does not verify")

    def client_early_traffic_secret(self, transcript_hash: bytes) -> bytes:
        """The secret of 0-RTT records; ``transcript_hash`` is that of the ClientHello. RFC 9846, section 7.1."""
        return hmac_once(self.hash, self._secret, self._labels.client_early_info + transcript_hash + b"\x01")

    def early_exporter_master_secret(self, transcript_hash: bytes) -> bytes:
        """The secret of early exporters; ``transcript_hash`` is that of the ClientHello. RFC 9846, section 7.5."""
        return hmac_once(self.hash, self._secret, self._labels.early_exporter_info + transcript_hash + b"\x01")

    def early_exporter(self, transcript_hash: bytes, label: bytes, context: bytes, length: int) -> bytes:
        """``length`` bytes of early exported keying material: as `MasterSecrets.exporter`. RFC 9846, section 7.5."""
        return _export(self.hash, self.early_exporter_master_secret(transcript_hash), label, context, length)

    def handshake(self, shared_secret: bytes, hello_hash: bytes) -> HandshakeSecrets:
        """The next stage. ``hello_hash`` is the hash of ClientHello...ServerHello. RFC 9846, section 7.1.

        ``shared_secret`` is the key exchange's; for a PSK without one (psk_ke) it is a hash length of zero bytes.
        """
        if self._derived is not None:
            secret = self._derived.digest(shared_secret)
        else:
            salt = hmac_once(self.hash, self._secret, self._labels.derived)
            secret = hmac_once(self.hash, salt, shared_secret)
        return HandshakeSecrets(self.hash, secret, hello_hash)


class HandshakeSecrets:
    """The second stage: handshake traffic secrets and both Finished messages. RFC 9846, section 7.1."""

    __slots__ = ("_secret", "client_handshake_traffic_secret", "hash", "server_handshake_traffic_secret")

    client_handshake_traffic_secret: bytes
    server_handshake_traffic_secret: bytes

    def __init__(self, facts: HashFacts, handshake_secret: bytes, hello_hash: bytes) -> None:
        """Comes from `EarlySecret.handshake`."""
        labels = _LABELS[facts]
        tail = hello_hash + b"\x01"
        self.hash: HashFacts = facts
        self._secret: bytes = handshake_secret
        self.client_handshake_traffic_secret, self.server_handshake_traffic_secret = hmac_pair(
            facts, handshake_secret, labels.client_handshake_info + tail, labels.server_handshake_info + tail
        )

    def client_verify_data(self, transcript_hash: bytes) -> bytes:
        """The client's Finished over ``transcript_hash``. RFC 9846, section 4.5.3 (8446: 4.4.4)."""
        return verify_data(self.hash, self.client_handshake_traffic_secret, transcript_hash)

    def server_verify_data(self, transcript_hash: bytes) -> bytes:
        """The server's Finished over ``transcript_hash``. RFC 9846, section 4.5.3 (8446: 4.4.4)."""
        return verify_data(self.hash, self.server_handshake_traffic_secret, transcript_hash)

    def check_client_finished(self, transcript_hash: bytes, received: bytes) -> None:
        """Check the client's Finished in constant time. Raises `DecryptError`, or `DecodeError` for another length."""
        _check_finished(self.client_verify_data(transcript_hash), received, "client")

    def check_server_finished(self, transcript_hash: bytes, received: bytes) -> None:
        """Check the server's Finished in constant time. Raises `DecryptError`, or `DecodeError` for another length."""
        _check_finished(self.server_verify_data(transcript_hash), received, "server")

    def into_master(self, server_finished_hash: bytes) -> MasterSecrets:
        """The last stage; ``server_finished_hash`` is the hash of ClientHello...server Finished."""
        labels = _LABELS[self.hash]
        salt = hmac_once(self.hash, self._secret, labels.derived)
        return MasterSecrets(self.hash, hmac_once(self.hash, salt, labels.zero), server_finished_hash)


class MasterSecrets:
    """The last stage: application traffic, exporters, resumption. RFC 9846, section 7.1.

    (The RFC now says "main secret"; its labels and our names keep "master".)
    """

    __slots__ = (
        "_exporter_master_secret",
        "_secret",
        "_tail",
        "client_application_traffic_secret",
        "hash",
        "server_application_traffic_secret",
    )

    client_application_traffic_secret: bytes
    server_application_traffic_secret: bytes

    def __init__(self, facts: HashFacts, master_secret: bytes, server_finished_hash: bytes) -> None:
        """Comes from `HandshakeSecrets.into_master`."""
        labels = _LABELS[facts]
        tail = server_finished_hash + b"\x01"
        self.hash: HashFacts = facts
        self._secret: bytes = master_secret
        self._tail: bytes = tail
        self._exporter_master_secret: bytes | None = None
        self.client_application_traffic_secret, self.server_application_traffic_secret = hmac_pair(
            facts, master_secret, labels.client_application_info + tail, labels.server_application_info + tail
        )

    @property
    def exporter_master_secret(self) -> bytes:
        """Derived when first asked for. RFC 9846, section 7.5."""
        if self._exporter_master_secret is None:
            info = _LABELS[self.hash].exporter_info + self._tail
            self._exporter_master_secret = hmac_once(self.hash, self._secret, info)
        return self._exporter_master_secret

    def resumption_master_secret(self, client_finished_hash: bytes) -> bytes:
        """What ticket PSKs come from; the hash is that of ClientHello...client Finished. RFC 9846, section 7.1."""
        info = _LABELS[self.hash].resumption_info + client_finished_hash + b"\x01"
        return hmac_once(self.hash, self._secret, info)

    def exporter(self, label: bytes, context: bytes, length: int) -> bytes:
        """``length`` bytes of exported keying material. An absent context is an empty one. RFC 9846, section 7.5.

        Raises `ConfigurationError` when the label or the length is more than HKDF allows.
        """
        return _export(self.hash, self.exporter_master_secret, label, context, length)
