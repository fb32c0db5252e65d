"""Tickets: a server's session, sealed so that only the same fleet opens it again, in the same security scope.

`TicketKeys` seals with keys that derive from one secret by time (`session.tickets.ring`), so any number of workers
and machines agree without talking to each other, rotation included. It seals bytes: what is in them, and whether a
session may resume, is decided elsewhere. A ticket that does not open is None, a miss, and never an exception.

A ticket is ``key name (16) | salt (24) | AES-256-GCM(session)``, padded so that its length is one of five. Key and
nonce come from the salt, afresh for every ticket, so no counter has to be kept in step across a fleet. The name, the
salt, the partition and the mechanism are authenticated: in another partition the ticket does not even open. RFC 5077,
section 4 and RFC 9846, section 4.7.1 leave the construction to the server.

``now`` is in seconds since the epoch and comes from the caller, as do random bytes.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol, Self, TypedDict, Unpack, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from resumption.constants import MAX_TICKET_LIFETIME_S
from resumption.errors import ConfigurationError, InternalError
from resumption.session.tickets.derivation import MAXIMUM_SECRET_LENGTH, MINIMUM_SECRET_LENGTH, key_material
from resumption.session.tickets.epochs import RingTimes
from resumption.session.tickets.openssl_tickets import OpenSSLTicketKeys
from resumption.session.tickets.ring import EpochKey, KeyRing, TicketKeyStatus, TicketStatus
from resumption.session.tickets.secret_files import read_secret_file, write_secret_file

__all__ = ["RingOptions", "TicketKeyStatus", "TicketKeys", "TicketProtection", "TicketStatus"]

TICKET_LENGTHS = (512, 1024, 2048, 4096, 8192)  # bytes, the whole ticket: the limit of one ticket is 8 KiB

_NAME_LENGTH = 16
_SALT_LENGTH = 24
_HEAD_LENGTH = _NAME_LENGTH + _SALT_LENGTH
_TAG_LENGTH = 16
_OVERHEAD = _HEAD_LENGTH + _TAG_LENGTH + 1  # the one byte marks where the padding begins
_LENGTHS_ACCEPTED = frozenset(TICKET_LENGTHS)


class TicketProtection(Protocol):
    """What a server needs from ticket keys. `TicketKeys` and `OpenSSLTicketKeys` are the two implementations."""

    session_format: ClassVar[str]  # what ``plaintext`` is to be: "packed" (our own form) or "der" (SSL_SESSION)

    def lifetime_left(self, now: float) -> int:
        """The longest lifetime that may be promised for a ticket issued at ``now``, in whole seconds; 0: issue none."""

    def seal(
        self,
        plaintext: bytes,
        *,
        partition: bytes,
        mechanism: str,
        now: float,
        random: Callable[[int], bytes],
        lifetime_s: float,
    ) -> bytes | None:
        """A ticket, or None if none can be issued now."""

    def open(self, ticket: bytes, *, partition: bytes, mechanism: str, now: float) -> bytes | None:
        """What was sealed, or None if this is no ticket of ours for this partition and mechanism."""

    def status(self, now: float) -> TicketStatus:
        """Names, ages and counts; no keys."""

    def close(self) -> None:
        """Overwrite the keys."""


class RingOptions(TypedDict, total=False):
    """What may be given along with a secret: see `TicketKeys.from_secret`."""

    ratchet: bool
    since: float
    epoch_s: int
    generation_s: int
    skew_s: int
    lifetime_s: int
    revoked: Iterable[int | str]


class _Source(NamedTuple):
    """Where keys came from, for a process that is to have them too: a name, never key material."""

    make: str
    where: str
    options: RingOptions


class TicketKeys:
    """A ring of ticket keys. Make one in each process from the same secret, or one before forking, and share it.

    Safe to use from any number of threads, and after a fork. A pickle of keys from a file or from the environment says
    where they came from, and reads it again where it is opened; other keys refuse to be pickled or copied. Keys change,
    and are forgotten, when the ring is used after their time has come. Counts are kept without a lock: under many
    threads they may run slightly low.
    """

    session_format: ClassVar[str] = "packed"

    def __init__(self, ring: KeyRing) -> None:
        """From a ring; most callers want `from_secret`, `from_environment`, `from_file` or `generate`."""
        self.ring = ring
        self._source: _Source | None = None
        self._sealed = self._opened = self._unknown = self._rejected = self._refused = self._oversize = 0

    # --- where keys come from ----------------------------------------------------------------------------------------

    @classmethod
    def from_secret(
        cls,
        secret: bytes | bytearray | str,
        *,
        ratchet: bool = False,
        since: float = 0.0,
        epoch_s: int = 3600,
        generation_s: int = 86_400,
        skew_s: int = 60,
        lifetime_s: int = 86_400,
        revoked: Iterable[int | str] = (),
    ) -> Self:
        """The keys that every holder of ``secret`` derives: 32 or more bytes of key material, or their text.

        Text in hexadecimal is decoded, any other text counts as its own bytes. ``lifetime_s`` is how long a ticket is
        accepted at most, ``epoch_s`` how often the key changes; the rest is in `RingTimes`. A fleet must agree on all.

        ``ratchet=True`` forgets the keys of passed generations. ``since`` is then the time for which the secret
        stands, in seconds since the epoch: the whole way from there is computed at first use, 3 us a generation.
        While the secret itself stays within reach of a thief there is no forward secrecy; store `to_state` instead.

        ``revoked`` holds generations (numbers) and keys (names) to refuse from the start: see `revoke`. Raises
        `ConfigurationError` if the secret is weak or the numbers do not fit together.
        """
        times = RingTimes(epoch_s, generation_s, skew_s, lifetime_s)
        first = times.generation_of(times.epoch_at(since))
        if first < 0:
            raise ConfigurationError("since must be seconds since the epoch")
        keys = cls(KeyRing.from_material(key_material(secret), times, ratchet=ratchet, first_generation=first))
        keys._revoke_all(revoked)
        return keys

    @classmethod
    def generate(
        cls,
        *,
        random: Callable[[int], bytes] = os.urandom,
        ratchet: bool = True,
        epoch_s: int = 3600,
        generation_s: int = 86_400,
        skew_s: int = 60,
        lifetime_s: int = 86_400,
    ) -> Self:
        """Fresh keys that nobody else has, for a server that is one process, or forks after this call.

        Raises `ConfigurationError` if ``random`` does not return 32 random bytes.
        """
        times = RingTimes(epoch_s, generation_s, skew_s, lifetime_s)
        material = key_material(random(MINIMUM_SECRET_LENGTH))
        return cls(KeyRing.from_material(material, times, ratchet=ratchet, first_generation=None))

    @classmethod
    def from_environment(
        cls,
        variable: str = "TICKET_SECRET",
        *,
        environ: Mapping[str, str] = os.environ,
        **options: Unpack[RingOptions],
    ) -> Self:
        """As `from_secret`, with the text of an environment variable. Raises `ConfigurationError` if it is not set."""
        secret = environ.get(variable)
        if not secret:
            raise ConfigurationError(
                f"the environment variable {variable} is not set: it should hold the ticket secret"
            )
        keys = cls.from_secret(secret, **options)
        if environ is os.environ:
            keys._source = _Source("from_environment", variable, options)
        return keys

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        check_mode: bool = True,
        **options: Unpack[RingOptions],
    ) -> Self:
        """As `from_secret`, with what is in a file: raw bytes, text, or what `save` wrote.

        Nobody but the owner may have access to the file (mode 0600 or less); where secrets are mounted with other
        modes, ``check_mode=False`` says so. A saved ring brings its own numbers: then only ``skew_s``,
        ``lifetime_s`` and ``revoked`` are taken from the call. Raises `ConfigurationError` if the file cannot be read
        or is not acceptable.
        """
        content = read_secret_file(Path(path), MAXIMUM_SECRET_LENGTH, check_mode=check_mode)
        if content.startswith(b"{"):
            try:
                state = content.decode("ascii")
            except UnicodeDecodeError:
                raise ConfigurationError(f"{path} is damaged: it should hold stored ticket keys") from None
            keys = cls.from_state(
                state,
                skew_s=options.get("skew_s", 60),
                lifetime_s=options.get("lifetime_s", 86_400),
                revoked=options.get("revoked", ()),
            )
        else:
            keys = cls.from_secret(content, **options)
        again = {**options, "check_mode": check_mode}
        keys._source = _Source("from_file", str(Path(path).absolute()), cast("RingOptions", again))
        return keys

    @classmethod
    def from_state(
        cls, state: str, *, skew_s: int = 60, lifetime_s: int = 86_400, revoked: Iterable[int | str] = ()
    ) -> Self:
        """The ring that `to_state` described; it can go forward, never back. Raises `ConfigurationError`."""
        keys = cls(KeyRing.from_state(state, skew_s=skew_s, lifetime_s=lifetime_s))
        keys._revoke_all(revoked)
        return keys

    @staticmethod
    def from_openssl_block(block: bytes | bytearray) -> OpenSSLTicketKeys:
        """OpenSSL's ticket keys: 80 bytes, as nginx's ssl_session_ticket_key files hold. See `OpenSSLTicketKeys`."""
        return OpenSSLTicketKeys(block)

    # --- tickets -----------------------------------------------------------------------------------------------------

    def lifetime_left(self, now: float) -> int:
        """The longest lifetime, in whole seconds, that may be promised for a ticket issued at ``now``.

        It is the time for which the key will still be accepted, and never more than seven days (RFC 9846, section
        4.7.1). 0 means that no ticket can be issued now.
        """
        key = self.ring.issuing_key(now)
        if key is None:
            return 0
        return max(0, min(int(self.ring.accepted_until(key) - now), MAX_TICKET_LIFETIME_S))

    def seal(
        self,
        plaintext: bytes,
        *,
        partition: bytes,
        mechanism: str,
        now: float,
        random: Callable[[int], bytes],
        lifetime_s: float,
    ) -> bytes | None:
        """A ticket that holds ``plaintext`` and opens only in this ``partition`` and for this ``mechanism``.

        ``lifetime_s`` is what will be promised to the client: at most `lifetime_left`. Returns None if no ticket can be
        issued: no key is usable now, nothing is left to promise, or the ticket would be longer than 8 KiB; the
        handshake goes on without. Raises `InternalError` if ``random`` returns too little: that must never be papered
        over.
        """
        key = self.ring.issuing_key(now)
        if key is None or not lifetime_s > 0:
            self._refused += 1
            return None
        size = bisect_left(TICKET_LENGTHS, len(plaintext) + _OVERHEAD)
        if size == len(TICKET_LENGTHS):
            self._oversize += 1
            return None
        fresh = random(_SALT_LENGTH)
        if len(fresh) != _SALT_LENGTH:
            raise InternalError(f"the random source returned {len(fresh)} bytes where {_SALT_LENGTH} were asked for")
        # Hashing the plaintext in keeps key and nonce unique even where a random source repeats itself.
        salt = key.mac.digest(b"salt" + fresh + plaintext)[:_SALT_LENGTH]
        secret, nonce = key.mac.expand_key_and_nonce(b"tkt" + salt)
        head = key.name + salt
        padded = (plaintext + b"\x80").ljust(TICKET_LENGTHS[size] - _OVERHEAD + 1, b"\0")
        self._sealed += 1
        return head + AESGCM(secret).encrypt(nonce, padded, _associated_data(head, partition, mechanism))

    def open(self, ticket: bytes, *, partition: bytes, mechanism: str, now: float) -> bytes | None:
        """What was sealed in ``ticket``; None if it is not ours, too old, altered, or of other partition or mechanism.

        The length is checked first, then the key is looked up by name; no key is ever tried in vain.
        """
        key = self._key_of(ticket, now)
        if key is None:
            self._unknown += 1
            return None
        head = ticket[:_HEAD_LENGTH]
        secret, nonce = key.mac.expand_key_and_nonce(b"tkt" + head[_NAME_LENGTH:])
        try:
            padded = AESGCM(secret).decrypt(nonce, ticket[_HEAD_LENGTH:], _associated_data(head, partition, mechanism))
        except InvalidTag:
            self._rejected += 1
            return None
        self._opened += 1
        return padded.rstrip(b"\0")[:-1]

    # --- operation ---------------------------------------------------------------------------------------------------

    def rotate_now(self, now: float) -> bool:
        """Issue with a new key at once; tickets already out stay good, and the whole fleet accepts the new ones.

        Returns False if the next key is in use already: the one after it comes by itself, within an epoch. To refuse
        the old key as well, `revoke` it.
        """
        return self.ring.rotate_now(now)

    def revoke(self, *, generation: int | None = None, name: str | None = None) -> int:
        """Refuse every ticket of a ``generation``, or of the key with this ``name`` (both as in `status`).

        Nothing is issued with revoked keys either: after its generation is revoked, a ring issues nothing until the
        next one begins. Each process of a fleet has to be told, and told again when it restarts (``revoked`` of
        `from_secret`). Returns how many keys went. Raises `ConfigurationError` unless exactly one of the two is given,
        and ``name`` is 32 hexadecimal digits.
        """
        if (generation is None) == (name is None):
            raise ConfigurationError("give either a generation or the name of a key")
        if name is None:
            return self.ring.revoke(generation=generation)
        try:
            key_name = bytes.fromhex(name)
        except ValueError:
            key_name = b""
        if len(key_name) != _NAME_LENGTH:
            raise ConfigurationError("the name of a ticket key is 32 hexadecimal digits")
        return self.ring.revoke(name=key_name)

    def status(self, now: float) -> TicketStatus:
        """What keys there are, how old they are, whether tickets are issued, and how many were. No key is in it."""
        return self.ring.status(
            now,
            {
                "sealed": self._sealed,
                "opened": self._opened,
                "unknown": self._unknown,
                "rejected": self._rejected,
                "refused": self._refused,
                "oversize": self._oversize,
            },
        )

    def to_state(self, now: float) -> str:
        """In ratchet mode, the oldest generation still needed, for a restart: **key material**. Raises `UsageError`."""
        return self.ring.to_state(now)

    def save(self, path: str | os.PathLike[str], now: float) -> None:
        """Write `to_state` to a file of mode 0600, replacing it in one step. Raises `UsageError` and `OSError`."""
        write_secret_file(Path(path), self.to_state(now).encode("ascii"))

    def close(self) -> None:
        """Overwrite the keys. Afterwards no ticket is issued and none opens.

        Python may hold copies elsewhere, in freed memory for example: erasure is an effort, not a promise.
        """
        self.ring.close()

    def __repr__(self) -> str:
        return f"<TicketKeys {self.ring.mode} {self.ring.fingerprint}>"

    def __reduce__(self) -> str | tuple[object, ...]:
        source = self._source
        if source is None:
            return self.ring.__reduce__()  # raises TypeError and says what to do instead
        revoked = self.ring.revoked  # what was revoked here stays so there
        return _from_source, (source.make, source.where, {**source.options, "revoked": revoked})

    def _revoke_all(self, revoked: Iterable[int | str]) -> None:
        for what in revoked:
            if isinstance(what, int):
                self.revoke(generation=what)
            else:
                self.revoke(name=what)

    def _key_of(self, ticket: bytes, now: float) -> EpochKey | None:
        if len(ticket) not in _LENGTHS_ACCEPTED:
            return None
        return self.ring.window(now).by_name.get(ticket[:_NAME_LENGTH])


def _associated_data(head: bytes, partition: bytes, mechanism: str) -> bytes:
    return head + len(partition).to_bytes(2, "big") + partition + mechanism.encode()


def _from_source(make: str, where: str, options: RingOptions) -> TicketKeys:
    """The other end of a pickle: keys made anew from where they came from."""
    return cast("TicketKeys", getattr(TicketKeys, make)(where, **options))
