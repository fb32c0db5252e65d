"""The policy epoch of a fleet: one number that revokes every session made under a lower one, told through a store.

A store is trusted for availability only, so the number is signed with a key that all nodes have (`KeyRing.fleet`): it
cannot be forged or raised by the store. It can be withheld, or an older one be brought back; no node goes back for
that, but one that starts anew begins where its configuration (``policy_epoch``) and the store say. Where a store may be
hostile, write the number into the configuration as well.
"""

from __future__ import annotations

import hmac
from typing import Final

from resumption.errors import StoreError
from resumption.session.stores.store import SessionStore
from resumption.session.tickets.ring import KeyRing

__all__ = ["PublishedEpoch"]

MOST: Final = 2**32 - 1
_VERSION: Final = b"\x01"
_LENGTH: Final = 1 + 8 + 32
_FOREVER: Final = 253_402_300_799.0  # the end of the year 9999; a number has no end


class PublishedEpoch:
    """The policy epoch that the nodes of one fleet publish in one store. Every method may block."""

    def __init__(self, store: SessionStore, ring: KeyRing, *, namespace: str = "resumption") -> None:
        """``ring``: of the ticket keys that the fleet shares; another fleet in the same store has another number."""
        self._store = store
        self._fleet = ring.fleet
        self.key = f"{namespace}:e:{ring.fleet.expand(b'policy epoch')[:16].hex()}"

    def read(self) -> int:
        """The highest number published; 0 if there is none, or none that is authentic. Raises `StoreError`."""
        record = self._store.get(self.key)
        if record is None or len(record) != _LENGTH or record[:1] != _VERSION:
            return 0
        number, code = record[1:9], record[9:]
        return int.from_bytes(number, "big") if hmac.compare_digest(self._code(number), code) else 0

    def publish(self, epoch: int) -> int:
        """Make it known that ``epoch`` has come, unless a higher one has. Returns the one that has. `StoreError`.

        Of two nodes that publish at once the lower may be written last: the other sees that when it looks next, and
        writes again (`follow`).
        """
        present = self.read()
        if present >= epoch:
            return present
        if epoch > MOST:
            raise StoreError(f"a policy epoch is at most {MOST}")
        number = epoch.to_bytes(8, "big")
        self._store.put(self.key, _VERSION + number + self._code(number), _FOREVER)
        return epoch

    def follow(self, epoch: int) -> int:
        """The number for a node that is at ``epoch``: a higher one that was published, else its own, published anew if
        the store has lost it. Raises `StoreError`."""
        return self.publish(epoch) if epoch else self.read()

    def _code(self, number: bytes) -> bytes:
        return self._fleet.digest(b"policy epoch\0" + self.key.encode() + b"\0" + number)
