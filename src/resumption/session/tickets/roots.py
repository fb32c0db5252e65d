"""Where the roots of key generations come from: straight from the secret, or each from the one before it.

- `StaticRoots`: every generation's root comes from the secret directly. Simple, and **no forward secrecy**: whoever
  steals the secret opens every ticket ever made with it.
- `RatchetRoots`: each generation's root comes from the one before it, which is then overwritten. What is stolen today
  does not open the tickets of generations already forgotten. The price: the starting point must be stored, and moved
  on.
- `StoredRoots`: each generation's root is random, and comes from elsewhere (`resumption.session.fleet.rotation`).

Each belongs to one `session.tickets.ring.KeyRing`, which decides what is still needed and locks around every call.
Roots lie in bytearrays and are overwritten when they are dropped. Python and the libraries below it may hold copies
elsewhere: erasure is an effort, not a promise.
"""

from __future__ import annotations

import hmac

from resumption.session.tickets.derivation import PreparedHmac, overwrite

__all__ = ["RatchetRoots", "StaticRoots", "StoredRoots"]

_MOST_RATCHET_STEPS = 131_072  # 359 years of days; about 0.4 s of work


class StaticRoots:
    """Each generation's root straight from the secret, in any order. No forward secrecy."""

    def __init__(self, root: bytes) -> None:
        self._root = bytearray(root)

    def reaches(self, generation: int) -> bool:
        """Always: no generation is further than another."""
        return True

    def between(self, first: int, last: int) -> dict[int, PreparedHmac]:
        """The roots of the generations from ``first`` to ``last``, both included."""
        if not self._root:
            return {}
        root = PreparedHmac(self._root)
        return {
            number: PreparedHmac(root.expand(b"generation" + number.to_bytes(8, "big")))
            for number in range(first, last + 1)
        }

    def forget_before(self, generation: int) -> None:
        """Nothing can be forgotten: the secret leads everywhere."""

    def wipe(self) -> None:
        """Overwrite the root."""
        overwrite(self._root)


class RatchetRoots:
    """Each generation's root from the one before: ``R[g+1] = HKDF-Expand(R[g], "next")``. Only goes forward.

    One root is held, that of the oldest generation still needed; later ones are computed from it when the window moves.
    ``generation`` None means that the root belongs to whatever generation is first asked for.
    """

    def __init__(self, root: bytes, generation: int | None) -> None:
        self._root = bytearray(root)
        self._generation = generation

    @property
    def oldest(self) -> tuple[int, bytes] | None:
        """The oldest generation known and its root; None before first use and after `wipe`."""
        return None if self._generation is None or not self._root else (self._generation, bytes(self._root))

    def reaches(self, generation: int) -> bool:
        """Whether ``generation`` is few enough steps away; a wildly wrong clock must not destroy the ring."""
        return self._generation is None or generation - self._generation <= _MOST_RATCHET_STEPS

    def begin_at(self, generation: int) -> None:
        """Settle which generation the root belongs to, if nothing has."""
        if self._generation is None:
            self._generation = generation

    def between(self, first: int, last: int) -> dict[int, PreparedHmac]:
        """The roots from ``first`` to ``last``, both included, less those forgotten or before the first one known."""
        if self._generation is None or not self._root:
            return {}
        root = bytes(self._root)
        roots = {}
        for number in range(self._generation, last + 1):
            if number >= first:
                roots[number] = PreparedHmac(root)
            root = _next_root(root)
        return roots

    def forget_before(self, generation: int) -> None:
        """Move the held root forward to ``generation``, overwriting each one passed."""
        if self._generation is None or not self._root:
            return
        while self._generation < generation:
            self._root[:] = _next_root(self._root)
            self._generation += 1

    def wipe(self) -> None:
        """Overwrite the root."""
        overwrite(self._root)


class StoredRoots:
    """Roots that were made at random, one for each generation, and are handed in as they become known."""

    def __init__(self) -> None:
        self._roots: dict[int, bytearray] = {}

    @property
    def known(self) -> dict[int, bytes]:
        """The root of each generation that is held."""
        return {generation: bytes(root) for generation, root in self._roots.items()}

    def learn(self, generation: int, root: bytes) -> bool:
        """Take in a root, in place of another one for this generation. False if it is known already."""
        before = self._roots.get(generation)
        if before is not None and bytes(before) == root:
            return False
        self._roots[generation] = bytearray(root)
        if before is not None:
            overwrite(before)
        return True

    def reaches(self, generation: int) -> bool:
        """Always: there is nothing to compute on the way."""
        return True

    def between(self, first: int, last: int) -> dict[int, PreparedHmac]:
        """The roots from ``first`` to ``last``, both included, that are known."""
        return {number: PreparedHmac(root) for number, root in self._roots.items() if first <= number <= last}

    def forget_before(self, generation: int) -> None:
        """Overwrite what is older."""
        for number in [number for number in self._roots if number < generation]:
            overwrite(self._roots.pop(number))

    def wipe(self) -> None:
        """Overwrite all roots."""
        for root in self._roots.values():
            overwrite(root)
        self._roots.clear()


def _next_root(root: bytes | bytearray) -> bytes:
    """The root of the following generation: HKDF-Expand(root, "next"), in one call because it may be one of many."""
    return hmac.digest(root, b"next\x01", "sha256")
