"""Ticket keys for fleets without a shared secret in every configuration: roots made at random, agreed on in a store.

Each generation (a day) has a root that one node makes and the first one to write it decides: all others take what is
there (`AgreeingStore.put_if_absent`), however many try at once. Roots are made a generation ahead, so nobody waits for
one. `StoredTicketKeys.refresh` does all the talking; sealing and opening only use what it brought.

What the store may see is a choice that has to be made. With a key-encryption key it sees sealed roots and is trusted
for availability only, as for sessions: the key is a shared secret, but one that opens no ticket by itself, once the
store has forgotten the generation. Without one the roots lie in the store in the clear, and **whoever reads the store
reads the tickets**; that takes ``trust_store=True``. docs/adr/0010-rotation-by-store.md weighs the two.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from resumption.errors import ConfigurationError, InternalError, StoreError
from resumption.session.stores.store import SessionStore, open_store
from resumption.session.tickets.derivation import PreparedHmac, check_diversity, key_material, overwrite
from resumption.session.tickets.epochs import RingTimes
from resumption.session.tickets.keys import TicketKeys
from resumption.session.tickets.ring import KeyRing, TicketStatus
from resumption.session.tickets.roots import StoredRoots

__all__ = ["AgreeingStore", "StoredTicketKeys"]

_VERSION: Final = b"\x01"
_OPEN_VERSION: Final = b"\x02"  # not sealed: the store is trusted
_SALT_LENGTH: Final = 16
_ROOT_LENGTH: Final = 32
_LABEL: Final = b"resumption stored roots 1"
_log = logging.getLogger("resumption.tickets")


class AgreeingStore(SessionStore, Protocol):
    """A store in which several nodes can agree: the one more thing that rotation needs of it."""

    def put_if_absent(self, key: str, value: bytes, expires_at: float) -> bytes:
        """Keep ``value`` unless there is one, in one step; returns the one that is there afterwards.

        Of any number of concurrent callers all get the same. Raises `StoreError`.
        """


class StoredTicketKeys(TicketKeys):
    """A ring of ticket keys whose roots are in a store. Used like `TicketKeys`; never pickled or copied.

    A server context calls `refresh` now and then by itself (`ServerContext.refresh`). While the store cannot be
    reached, the keys that are known go on being used, and after them there are no tickets; `status` says so.
    """

    def __init__(
        self,
        store: str | AgreeingStore,
        key: bytes | bytearray | str | None = None,
        *,
        trust_store: bool = False,
        epoch_s: int = 3600,
        generation_s: int = 86_400,
        skew_s: int = 60,
        lifetime_s: int = 86_400,
        namespace: str = "resumption",
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """``store``: an URL or a store; ``key``: the fleet's key-encryption key, a secret as for `TicketKeys`.

        The numbers are those of `TicketKeys.from_secret`; nodes with other numbers have other keys. Raises
        `ConfigurationError` if there is neither a key nor ``trust_store``, or the store cannot make nodes agree. A
        store that is down is no error: keys come when it does.
        """
        if (key is None) is not trust_store:
            raise ConfigurationError(
                "roots in a store need key=, which seals them, or else trust_store=True: then whoever can read the "
                "store can read every session"
            )
        times = RingTimes(epoch_s, generation_s, skew_s, lifetime_s)
        material = bytearray() if key is None else key_material(key)
        top = PreparedHmac(PreparedHmac(_LABEL).digest(bytes(material)))
        overwrite(material)
        self._sealing = None if key is None else PreparedHmac(top.expand(b"seal"))
        fingerprint = top.expand(times.bound(b"fingerprint"))[:6].hex()
        super().__init__(KeyRing(StoredRoots(), times, fingerprint, top.expand(b"fleet")))
        self._own_store = open_store(store) if isinstance(store, str) else None
        opened = self._own_store if self._own_store is not None else store
        if not hasattr(opened, "put_if_absent"):
            raise ConfigurationError("this kind of store cannot make nodes agree on a key: it has no put_if_absent")
        self._store: AgreeingStore = opened  # type: ignore[assignment]
        self._prefix = f"{namespace}:k:{fingerprint}:"
        self._random = random
        self._refreshing = threading.Lock()
        self._trouble: str | None = None
        self.refresh(clock())

    @property
    def trouble(self) -> str | None:
        """Why the last `refresh` did not bring all keys; None if it did."""
        return self._trouble

    def refresh(self, now: float) -> bool:
        """Bring the roots for ``now`` and for the generation after it; make those that nobody made yet.

        Returns whether there were new ones. May block as long as the store lets it. Never raises for a store's trouble.
        """
        ring = self.ring
        epoch = ring.times.epoch_at(now)
        if epoch < 0 or ring.is_closed:
            return False
        with self._refreshing:
            ring.window(now)
            known, trouble, news = ring.known_roots, None, False
            present = ring.times.generation_of(epoch)
            for generation in range(ring.generations_at(epoch)[0], present + 2):
                try:
                    root = self._agree(generation, known.get(generation), may_make=generation >= present)
                except StoreError as error:
                    trouble = str(error)
                    break
                if root is None:
                    if generation >= present:
                        trouble = f"the root of generation {generation} in the store was not made with this key"
                elif root != known.get(generation):
                    ring.learn(generation, root)
                    news = True
            if trouble is not None and trouble != self._trouble:
                _log.warning("ticket keys stay as they are: %s", trouble)
            self._trouble = trouble
            return news

    def status(self, now: float) -> TicketStatus:
        """As of every ring, and what is wrong with the store, if something is."""
        status = super().status(now)
        return TicketStatus(
            mode=status.mode,
            forward_secrecy=status.forward_secrecy
            + (" from this key" if self._sealing is not None else ", if the store forgets; it sees every key"),
            fingerprint=status.fingerprint,
            not_issuing_because=status.not_issuing_because and (self._trouble or status.not_issuing_because),
            keys=status.keys,
            counts=status.counts,
            trouble=self._trouble,
        )

    def close(self) -> None:
        """Overwrite the keys, and close a store that was opened by URL."""
        super().close()
        if self._own_store is not None:
            self._own_store.close()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _agree(self, generation: int, known: bytes | None, *, may_make: bool) -> bytes | None:
        """The root that all nodes use for a generation; None if there is none, or none that this key opens."""
        name = f"{self._prefix}{generation}"
        if known is None and not may_make:
            record = self._store.get(name)
            return None if record is None else self._open_root(record, name)
        root = known if known is not None else self._fresh_root()
        times = self.ring.times
        expires_at = (generation + 2) * times.generation_s + times.lifetime_s + times.epoch_s
        return self._open_root(self._store.put_if_absent(name, self._seal_root(root, name), expires_at), name)

    def _fresh_root(self) -> bytes:
        root = self._random(_ROOT_LENGTH)
        if len(root) != _ROOT_LENGTH:
            raise InternalError(f"the random source returned {len(root)} bytes where {_ROOT_LENGTH} were asked for")
        check_diversity(root, "what the random source returned")
        return root

    def _seal_root(self, root: bytes, name: str) -> bytes:
        if self._sealing is None:
            return _OPEN_VERSION + root
        salt = self._sealing.digest(b"salt" + self._random(_SALT_LENGTH) + root)[:_SALT_LENGTH]
        secret, nonce = self._sealing.expand_key_and_nonce(b"root" + salt)
        return _VERSION + salt + AESGCM(secret).encrypt(nonce, root, name.encode())

    def _open_root(self, record: bytes, name: str) -> bytes | None:
        if self._sealing is None:
            return record[1:] if record[:1] == _OPEN_VERSION and len(record) == 1 + _ROOT_LENGTH else None
        if record[:1] != _VERSION or len(record) != 1 + _SALT_LENGTH + _ROOT_LENGTH + 16:
            return None
        secret, nonce = self._sealing.expand_key_and_nonce(b"root" + record[1 : 1 + _SALT_LENGTH])
        try:
            return AESGCM(secret).decrypt(nonce, record[1 + _SALT_LENGTH :], name.encode())
        except InvalidTag:
            return None
