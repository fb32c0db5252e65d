"""The ring of ticket and record keys: derived from one secret by time, so that a fleet agrees without talking.

Time is cut into epochs (an hour), each with its own ticket key, and generations (a day), each with its own root
(`session.tickets.roots`). Whoever has the secret and a clock computes the same keys: rotation is time passing.

This module decides which keys exist now, and never touches a ticket: that is `resumption.session.tickets.keys` and
`resumption.session.tickets.sealing`. It reads no clock: every method is told ``now``, in seconds since the epoch.

Clock rules. The ring never moves backwards: it accepts around the latest epoch it has seen. While the clock is at most
one epoch behind that, tickets go on being issued, under the latest key; further behind, none are issued and those out
are still accepted. A clock that makes no sense (not a number, before 1970, after 9999) changes and issues nothing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from resumption.errors import ConfigurationError, UsageError
from resumption.session import forking
from resumption.session.tickets.derivation import PreparedHmac, check_diversity, overwrite
from resumption.session.tickets.epochs import RingTimes
from resumption.session.tickets.roots import RatchetRoots, StaticRoots, StoredRoots

__all__ = [
    "EpochKey",
    "GenerationKeys",
    "KeyRing",
    "TicketKeyStatus",
    "TicketStatus",
    "Window",
]

_ROOT_LENGTH = 32
_KEY_NAME_LENGTH = 16
_CLOSED = 1 << 62  # the latest epoch of a closed ring: no clock gets there
_STATE_FORMAT = "resumption ticket ring 2"
_DERIVATION = b"resumption ticket ring 1"


class EpochKey:
    """The key that tickets are sealed with during one epoch. Immutable."""

    __slots__ = ("epoch", "generation", "mac", "name")

    def __init__(self, root: PreparedHmac, generation: int, epoch: int) -> None:
        number = epoch.to_bytes(8, "big")
        self.epoch = epoch
        self.generation = generation
        self.name = root.expand(b"name" + number)[:_KEY_NAME_LENGTH]
        self.mac = PreparedHmac(root.expand(b"stek" + number))


class GenerationKeys:
    """The keys for records in a store during one generation. Immutable."""

    __slots__ = ("generation", "index", "record")

    def __init__(self, root: PreparedHmac, generation: int) -> None:
        self.generation = generation
        self.index = PreparedHmac(root.expand(b"index"))
        self.record = PreparedHmac(root.expand(b"record"))


class Window:
    """Every key that is accepted while ``top`` is the latest epoch seen. Immutable: a ring swaps it for another."""

    __slots__ = ("by_epoch", "by_name", "generations", "top")

    def __init__(self, top: int, keys: list[EpochKey], generations: list[GenerationKeys]) -> None:
        self.top = top
        self.by_epoch = {key.epoch: key for key in keys}
        self.by_name = {key.name: key for key in keys}
        self.generations = {keys.generation: keys for keys in generations}


class _Issuing(NamedTuple):
    """Which key is issued with, as long as nothing changes: the window, the first epoch that may be, and the time."""

    window: Window
    first: int
    since: float
    until: float
    key: EpochKey


@dataclass(frozen=True, slots=True)
class TicketKeyStatus:
    """One ticket key as an operator may see it: its public name and its dates, never the key."""

    name: str  # hexadecimal, as at the front of every ticket sealed with it
    epoch: int
    generation: int
    age_s: float  # negative: it will be issued with later, and is accepted already
    accepted_for_s: float
    is_issuing: bool


@dataclass(frozen=True, slots=True)
class TicketStatus:
    """What an operator may know of a set of ticket keys. Two nodes agree if mode and fingerprint do."""

    mode: str  # "static", "ratchet", "stored" or "openssl"
    forward_secrecy: str  # in words; "no forward secrecy" if the secret opens every ticket ever made
    fingerprint: str
    not_issuing_because: str | None  # None: tickets are issued
    keys: tuple[TicketKeyStatus, ...]  # oldest first
    counts: Mapping[str, int]
    trouble: str | None = None  # why newer keys could not be taken in, where keys come from files or a store

    @property
    def issuing(self) -> str | None:
        """The name of the key that new tickets are sealed with, or None."""
        return next((key.name for key in self.keys if key.is_issuing), None)


class KeyRing(forking.LockedAtFork):
    """The keys that exist now. One ring may be used by any number of threads; it survives a fork and is never pickled.

    Reading takes no lock: the present `Window` is one immutable object, swapped when an epoch begins.
    """

    def __init__(
        self, roots: StaticRoots | RatchetRoots | StoredRoots, times: RingTimes, fingerprint: str, fleet: bytes
    ) -> None:
        """``fleet``: a key of its own, the same on all nodes and for ever, with which they sign what they publish."""
        self.times = times
        self.fingerprint = fingerprint
        self.fleet = PreparedHmac(fleet)
        self._fleet = bytearray(fleet)
        self._roots = roots
        self._window = Window(-1, [], [])
        self._issuing_epoch = -1
        self._issuing: _Issuing | None = None
        self._revoked_generations: set[int] = set()
        self._revoked_names: set[bytes] = set()
        self._lock = threading.Lock()
        forking.watch(self)

    @classmethod
    def from_material(
        cls, material: bytearray, times: RingTimes, *, ratchet: bool, first_generation: int | None
    ) -> KeyRing:
        """A ring whose roots derive from vetted ``material``, by HKDF; the numbers in ``times`` are part of it.

        ``first_generation`` is the generation the material stands for in ratchet mode; None: the first one used.
        ``material`` is overwritten.
        """
        secret = PreparedHmac(PreparedHmac(_DERIVATION).digest(bytes(material)))  # HKDF-Extract
        overwrite(material)
        kind = b"ratchet" if ratchet else b"static"
        fingerprint = secret.expand(times.bound(b"fingerprint " + kind))[:6].hex()
        root = secret.expand(times.bound(b"root " + kind))
        fleet = secret.expand(b"fleet")  # the same whatever the numbers are
        return cls(RatchetRoots(root, first_generation) if ratchet else StaticRoots(root), times, fingerprint, fleet)

    @property
    def mode(self) -> str:
        """Where the roots come from: "static", "ratchet" or "stored"."""
        if isinstance(self._roots, RatchetRoots):
            return "ratchet"
        return "static" if isinstance(self._roots, StaticRoots) else "stored"

    @property
    def revoked(self) -> tuple[int | str, ...]:
        """The generations and the names of keys that were revoked, as `TicketKeys.from_secret` takes them."""
        with self._lock:
            return (*sorted(self._revoked_generations), *sorted(name.hex() for name in self._revoked_names))

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._window.top == _CLOSED

    # --- which keys --------------------------------------------------------------------------------------------------

    def window(self, now: float) -> Window:
        """Every key accepted at ``now``."""
        window = self._window
        epoch = self.times.epoch_at(now)
        return self._move_to(epoch) if epoch > window.top else window

    def issuing_key(self, now: float) -> EpochKey | None:
        """The key to seal a ticket with at ``now``; None if no ticket may be issued (see `why_not_issuing`)."""
        known = self._issuing
        # A server asks twice for each ticket, and the answer is the same for most of an epoch: 0.2 us instead of 1.3.
        if (
            known is not None
            and known.since <= now < known.until
            and known.window is self._window
            and known.first == self._issuing_epoch
        ):
            return known.key
        window = self.window(now)
        epoch = self.times.epoch_at(now)
        if not max(0, window.top - 1) <= epoch <= window.top:
            return None
        first = self._first_issuing_epoch(now)
        for candidate in range(first, epoch + 2):  # more than one only when keys were revoked
            key = window.by_epoch.get(candidate)
            if key is not None:
                since, until = self.times.steady_at(now)
                self._issuing = _Issuing(window, first, since, until, key)
                return key
        return None

    def why_not_issuing(self, now: float) -> str | None:
        """In words, why `issuing_key` is None at ``now``; None if it is not."""
        if self.issuing_key(now) is not None:
            return None
        epoch = self.times.epoch_at(now)
        if self.is_closed:
            return "the keys were closed"
        if epoch < 0 or epoch > self._window.top:
            return "the clock is out of range"
        if epoch < self._window.top - 1 or self._issuing_epoch > epoch + 1:
            return "the clock went back by more than one epoch"
        return "the keys for this time were revoked, or lie before the first generation known"

    def accepted_until(self, key: EpochKey) -> int:
        """The moment from which tickets under ``key`` are no longer accepted, in seconds since the epoch."""
        return (key.epoch + self.times.epochs_accepted + 1) * self.times.epoch_s

    def status(self, now: float, counts: Mapping[str, int]) -> TicketStatus:
        """Names and ages of the keys at ``now``, and why none is issued with, if so."""
        issuing = self.issuing_key(now)
        keys = tuple(
            TicketKeyStatus(
                name=key.name.hex(),
                epoch=key.epoch,
                generation=key.generation,
                age_s=now - key.epoch * self.times.epoch_s,
                accepted_for_s=self.accepted_until(key) - now,
                is_issuing=key is issuing,
            )
            for key in self._window.by_epoch.values()
        )
        remembered = self.times.generation_s + max(self.times.lifetime_s, self.times.generation_s)
        return TicketStatus(
            mode=self.mode,
            forward_secrecy="no forward secrecy" if self.mode == "static" else f"forward secrecy after {remembered} s",
            fingerprint=self.fingerprint,
            not_issuing_because=self.why_not_issuing(now),
            keys=keys,
            counts=counts,
        )

    def writing_keys(self, now: float) -> GenerationKeys | None:
        """The keys to write a record with at ``now``; None if none may be written."""
        window = self.window(now)
        epoch = self.times.epoch_at(now)
        if not max(0, window.top - 1) <= epoch <= window.top:
            return None
        return window.generations.get(max(0, int(now - self.times.skew_s)) // self.times.generation_s)

    def reading_keys(self, now: float) -> list[GenerationKeys]:
        """The keys that a record read at ``now`` may have been written with, likeliest first."""
        generations = self.window(now).generations
        epoch = self.times.epoch_at(now)
        newest = self.times.generation_of(epoch) if epoch >= 0 else -1
        return [generations[number] for number in (newest, newest - 1) if number in generations]

    def records_accepted_until(self, keys: GenerationKeys) -> int:
        """The moment from which records under ``keys`` are no longer looked for, in seconds since the epoch."""
        return (keys.generation + 2) * self.times.generation_s

    # --- changing it -------------------------------------------------------------------------------------------------

    def rotate_now(self, now: float) -> bool:
        """Issue with the next epoch's key from now on; every node already accepts it.

        Returns False if that was done already, or cannot be done now: the next rotation comes within one epoch anyway.
        """
        self.window(now)
        epoch = self.times.epoch_at(now)
        with self._lock:
            following = max(0, int(now - self.times.skew_s) // self.times.epoch_s) + 1 if epoch >= 0 else -1
            if following <= self._issuing_epoch or epoch != self._window.top:
                return False
            self._issuing_epoch = following
            return True

    def revoke(self, *, generation: int | None = None, name: bytes | None = None) -> int:
        """Drop a whole generation, or the one key called ``name``. Returns how many ticket keys went."""
        with self._lock:
            if generation is not None:
                self._revoked_generations.add(generation)
            if name is not None:
                self._revoked_names.add(name)
            before = self._window
            self._issuing = None
            self._window = Window(
                before.top,
                [key for key in before.by_epoch.values() if self._is_good(key)],
                [keys for keys in before.generations.values() if keys.generation not in self._revoked_generations],
            )
            return len(before.by_epoch) - len(self._window.by_epoch)

    def to_state(self, now: float) -> str:
        """The oldest generation still needed, for a restart: **key material**, to be stored like the secret itself.

        Raises `UsageError` in static mode, where the secret is all there is, and after `close`.
        """
        self.issuing_key(now)
        with self._lock:
            oldest = self._roots.oldest if isinstance(self._roots, RatchetRoots) else None
        if oldest is None:
            raise UsageError("only ticket keys in ratchet mode, in use and not closed, have a state to store")
        generation, root = oldest
        state = {
            "format": _STATE_FORMAT,
            "fingerprint": self.fingerprint,
            "epoch_s": self.times.epoch_s,
            "generation_s": self.times.generation_s,
            "generation": generation,
            "root": root.hex(),
            "fleet": self._fleet.hex(),
        }
        return json.dumps(state, indent=1) + "\n"

    @classmethod
    def from_state(cls, state: str, *, skew_s: int = 60, lifetime_s: int = 86_400) -> KeyRing:
        """The ring that `to_state` stored. It can go forward, never back. Raises `ConfigurationError`."""
        try:
            fields = json.loads(state)
            if set(fields) != {"format", "fingerprint", "epoch_s", "generation_s", "generation", "root", "fleet"}:
                raise ValueError("other fields")
            root, fleet = bytes.fromhex(fields["root"]), bytes.fromhex(fields["fleet"])
            generation, fingerprint = fields["generation"], fields["fingerprint"]
            sane = type(generation) is int and generation >= 0 and type(fingerprint) is str
            if fields["format"] != _STATE_FORMAT or not len(root) == len(fleet) == _ROOT_LENGTH or not sane:
                raise ValueError("other values")
        except (ValueError, TypeError, RecursionError):
            raise ConfigurationError("these are no stored ticket keys, or they are damaged") from None
        check_diversity(root, "the stored root")
        times = RingTimes(fields["epoch_s"], fields["generation_s"], skew_s, lifetime_s)
        return cls(RatchetRoots(root, generation), times, fingerprint, fleet)

    def close(self) -> None:
        """Overwrite the roots and drop every key. Afterwards nothing is issued and nothing opens."""
        with self._lock:
            self._roots.wipe()
            overwrite(self._fleet)
            self._window = Window(_CLOSED, [], [])
            self._issuing = None

    def __del__(self) -> None:
        if hasattr(self, "_roots"):
            self._roots.wipe()
            overwrite(self._fleet)

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError(
            "ticket keys are not pickled or copied: make them in each process from the same secret, "
            "for example with TicketKeys.from_environment() or TicketKeys.from_file()"
        )

    # --- inside ------------------------------------------------------------------------------------------------------

    def _first_issuing_epoch(self, now: float) -> int:
        epoch = max(0, int((now - self.times.skew_s) // self.times.epoch_s))
        if epoch > self._issuing_epoch:
            with self._lock:
                self._issuing_epoch = max(self._issuing_epoch, epoch)
        return self._issuing_epoch

    def _move_to(self, top: int) -> Window:
        times = self.times
        with self._lock:
            window = self._window
            if top <= window.top:
                return window
            newest = times.generation_of(top + 1)
            if not self._roots.reaches(newest):
                return window
            issued = max(0, top * times.epoch_s - times.skew_s) // times.epoch_s  # the earliest that may be issued with
            if isinstance(self._roots, RatchetRoots):
                self._roots.begin_at(times.generation_of(issued))
            self._roots.forget_before(self.generations_at(top)[0])
            self._issuing = None  # or it would keep keys that are to be forgotten
            self._window = self._window_at(top, self._window)
            return self._window

    def generations_at(self, epoch: int) -> range:
        """The generations whose roots are needed while ``epoch`` is the latest."""
        times = self.times
        first = max(0, epoch - times.epochs_accepted)
        oldest = min(times.generation_of(first), max(0, times.generation_of(epoch) - 1))
        return range(oldest, times.generation_of(epoch + 1) + 1)

    def learn(self, generation: int, root: bytes) -> None:
        """Take in the root of a generation, where roots are stored: its keys exist from now on, everywhere here."""
        with self._lock:
            if isinstance(self._roots, StoredRoots) and not self.is_closed and self._roots.learn(generation, root):
                self._issuing = None
                if self._window.top >= 0:
                    self._window = self._window_at(self._window.top, Window(-1, [], []))

    @property
    def known_roots(self) -> dict[int, bytes]:
        """The roots that were handed in: **key material**. Empty where roots are not stored."""
        with self._lock:
            return self._roots.known if isinstance(self._roots, StoredRoots) else {}

    def _window_at(self, top: int, known: Window) -> Window:
        """The keys accepted while ``top`` is the latest epoch; those in ``known`` are not derived again."""
        epochs, generations = range(max(0, top - self.times.epochs_accepted), top + 2), self.generations_at(top)
        roots = self._roots.between(generations[0], generations[-1])
        for generation in self._revoked_generations:
            roots.pop(generation, None)
        keys = []
        for epoch in epochs:
            key = known.by_epoch.get(epoch)
            if key is None:
                generation = self.times.generation_of(epoch)
                key = EpochKey(roots[generation], generation, epoch) if generation in roots else None
            if key is not None and self._is_good(key):
                keys.append(key)
        newest = self.times.generation_of(top)
        records = [GenerationKeys(roots[number], number) for number in (newest - 1, newest) if number in roots]
        return Window(top, keys, records)

    def _is_good(self, key: EpochKey) -> bool:
        return key.generation not in self._revoked_generations and key.name not in self._revoked_names
