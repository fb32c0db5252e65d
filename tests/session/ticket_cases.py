"""What the tests of tickets, records and stores share: a fixed moment, fixed secrets, and bytes that are repeatable."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

from resumption.session.tickets.keys import TicketKeys

HOUR = 3600
DAY = 86_400
NOW = 20_780.0 * DAY + 12 * HOUR + 1800  # half past noon, far from the edges of epochs and generations

SECRET = hashlib.sha256(b"a secret for tests").digest()
OTHER_SECRET = hashlib.sha256(b"another secret for tests").digest()
PARTITION = hashlib.sha256(b"partition").digest()
OTHER_PARTITION = hashlib.sha256(b"other partition").digest()


def stream(seed: bytes) -> Callable[[int], bytes]:
    """A random source that gives the same bytes in every run."""
    count = 0

    def random(length: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(seed + count.to_bytes(8, "big")).digest(length)

    return random


def seal(
    keys: TicketKeys,
    plaintext: bytes = b"session",
    *,
    now: float = NOW,
    partition: bytes = PARTITION,
    mechanism: str = "tls13",
    random: Callable[[int], bytes] = os.urandom,
    lifetime_s: float = 7200,
) -> bytes | None:
    return keys.seal(plaintext, partition=partition, mechanism=mechanism, now=now, random=random, lifetime_s=lifetime_s)


def sealed(keys: TicketKeys, plaintext: bytes = b"session", *, now: float = NOW) -> bytes:
    ticket = seal(keys, plaintext, now=now)
    assert ticket is not None
    return ticket


def opened(
    keys: TicketKeys,
    ticket: bytes,
    *,
    now: float = NOW,
    partition: bytes = PARTITION,
    mechanism: str = "tls13",
) -> bytes | None:
    return keys.open(ticket, partition=partition, mechanism=mechanism, now=now)


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
