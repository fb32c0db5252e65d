"""What can be wrong with a session store, looked for one thing after the other, as servers would meet it."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from resumption.cli.processes import describe
from resumption.cli.sources import ticket_keys
from resumption.errors import ConfigurationError, Error
from resumption.session.fleet.revocation import PublishedEpoch
from resumption.session.stores.store import SessionStore, open_store
from resumption.session.tickets.keys import TicketKeys
from resumption.session.tickets.sealing import RecordSealer

__all__ = ["Finding", "examine"]

_HANDSHAKE_S = 0.02  # how long a handshake waits for a store
_SKEW_S = 60.0  # how far clocks may differ
_ROUNDS = 20


class Finding(NamedTuple):
    """One thing that was looked at. ``result`` is "ok", "warning" or "FAILED"."""

    result: str
    what: str
    detail: str


def examine(url: str, *, tickets: str | None, namespace: str, timeout_s: float) -> list[Finding]:
    """Everything that can be said of the store at ``url``, in order; what cannot go on ends the list.

    ``tickets`` names the fleet's keys. Raises `ConfigurationError` if the URL or the keys are not understood; whatever
    is wrong with the store is among the findings. What is written for the sake of it is removed.
    """
    keys = ticket_keys(tickets) if tickets is not None else None
    try:
        try:
            store = open_store(url, timeout_s=timeout_s)
        except ConfigurationError as error:
            if "chmod" not in str(error):
                raise
            return [Finding("FAILED", "permissions", str(error))]
        except Error as error:
            return [Finding("FAILED", "opened", describe(error))]
        with contextlib.closing(store):
            return _Examination(store, namespace, keys).run()
    finally:
        if keys is not None:
            keys.close()


class _Examination:
    def __init__(self, store: SessionStore, namespace: str, keys: TicketKeys | None) -> None:
        self._store: Any = store
        self._keys = keys
        self._namespace = namespace
        self._name = f"{namespace}:doctor:{secrets.token_hex(8)}"
        self._findings: list[Finding] = []

    def run(self) -> list[Finding]:
        checks: list[Callable[[], None]] = [self._reach, self._settings, self._values, self._taking, self._speed]
        checks += [self._marks, self._agreement]
        if self._keys is not None:
            checks += [self._sealing, self._epoch]
        for check in checks:
            try:
                check()
            except Error as error:
                self._say("FAILED", check.__name__.removeprefix("_"), describe(error))
                if check == self._reach:
                    break
        with contextlib.suppress(Error):
            self._store.remove(self._name, f"{self._name}:agreed")
        return self._findings

    def _say(self, result: str, what: str, detail: str) -> None:
        self._findings.append(Finding(result, what, detail))

    def _check(self, what: str, good: bool, detail: str, otherwise: str, *, bad: str = "FAILED") -> None:
        self._say("ok" if good else bad, what, detail if good else otherwise)

    def _reach(self) -> None:
        self._store.get(self._name)
        self._say("ok", "reached", "it answers")

    def _settings(self) -> None:
        facts = dict(self._store.describe()) if hasattr(self._store, "describe") else {}
        if "mode" in facts:
            self._check("permissions", facts["mode"] == "0600", "mode 0600", f"mode {facts['mode']}: chmod 600")
        if "journal" in facts:
            self._check("journal", facts["journal"] == "wal", "write-ahead", f"{facts['journal']}: use a local disk")
        if "check" in facts:
            self._check("integrity", facts["check"] == "ok", "the file is sound", str(facts["check"]))
        if "policy" in facts:
            unlimited = not facts.get("memory limit")
            self._check(
                "eviction",
                unlimited or facts["policy"] == "noeviction",
                f"{facts['policy']}, {'no memory limit' if unlimited else 'marks are kept'}",
                f"maxmemory-policy is {facts['policy']}: marks can be lost; set noeviction",
                bad="warning",
            )
        if "time" in facts:
            skew = abs(float(facts["time"]) - time.time())
            self._check("clock", skew < _SKEW_S, f"{skew:.1f} s apart", f"{skew:.0f} s apart: set the clocks")
        if facts.get("replicas"):
            self._say("warning", "replicas", "replication is asynchronous: a failover may bring a spent session back")

    def _values(self) -> None:
        now, value = time.time(), secrets.token_bytes(2048)
        self._store.put(self._name, value, now + 60)
        self._check("value kept", self._store.get(self._name) == value, "read as written", "it reads other bytes")
        self._store.put(self._name, value, now - 1)
        self._check(
            "expiry", self._store.get(self._name) is None, "what has passed is gone", "it keeps what has passed"
        )

    def _taking(self) -> None:
        self._store.put(self._name, b"once", time.time() + 60)
        taken = [self._store.take(self._name), self._store.take(self._name)]
        self._check("taken once", taken == [b"once", None], "the second taker gets nothing", "a value was given twice")

    def _speed(self) -> None:
        took = []
        for _ in range(_ROUNDS):
            started = time.perf_counter()
            self._store.get(self._name)
            took.append(time.perf_counter() - started)
        worst, median = max(took), sorted(took)[_ROUNDS // 2]
        words = f"{median * 1000:.2f} ms, at worst {worst * 1000:.2f} ms"
        self._check("speed", worst < _HANDSHAKE_S, words, f"{words}: handshakes give up after 20 ms", bad="warning")

    def _marks(self) -> None:
        try:
            added = [self._store.add_once(self._name, time.time() + 5) for _ in range(2)]
        except Error as error:
            self._say("warning", "marks", f"{describe(error)}; without marks there is no early data")
            return
        self._check("marks", added == [True, False], "set once", "a mark was set twice")

    def _agreement(self) -> None:
        put = getattr(self._store, "put_if_absent", None)
        if put is None:
            self._say("warning", "agreement", "nodes cannot agree on keys in a store of this kind")
            return
        answers = [put(f"{self._name}:agreed", value, time.time() + 60) for value in (b"one", b"two")]
        self._check("agreement", answers == [b"one", b"one"], "the first one decides", "nodes would disagree")

    def _sealing(self) -> None:
        assert self._keys is not None
        now, session_id, partition, plaintext = (
            time.time(),
            secrets.token_bytes(32),
            b"doctor",
            secrets.token_bytes(600),
        )
        sealer = RecordSealer(self._keys, namespace=self._namespace)
        sealed = sealer.seal(
            plaintext,
            session_id=session_id,
            partition=partition,
            expires_at=now + 60,
            now=now,
            random=secrets.token_bytes,
        )
        if sealed is None:
            why = self._keys.status(now).not_issuing_because or "there are no keys for it"
            self._say("FAILED", "sealed session", f"it could not be sealed: {why}")
            return
        self._store.put(sealed.key, sealed.record, sealed.expires_at)
        with contextlib.closing(TicketKeys.generate(ratchet=False)) as keys:
            others = RecordSealer(keys, namespace=self._namespace)
            foreign = [self._store.get(*others.store_keys(session_id, partition, now)[:2])]
            foreign.append(others.open(sealed.record, session_id=session_id, partition=partition, now=now))
            self._check("other keys", foreign == [None, None], "find nothing", "a fleet with other keys can read it")
        keys_of_ours = sealer.store_keys(session_id, partition, now)[:2]
        records = [self._store.take(*keys_of_ours), self._store.take(*keys_of_ours)]
        opened = records[0] and sealer.open(records[0], session_id=session_id, partition=partition, now=now)
        self._check(
            "sealed session",
            opened == plaintext and records[1] is None,
            f"opens with keys {self._keys.ring.fingerprint}, once",
            "it does not come back as it was, or more than once",
        )
        self._store.remove(sealed.key)

    def _epoch(self) -> None:
        assert self._keys is not None
        epoch = PublishedEpoch(self._store, self._keys.ring, namespace=self._namespace).read()
        self._say("ok", "policy epoch", f"{epoch} is published" if epoch else "none is published")
