"""The traces of RFC 8448 as objects: steps in the order of the document, and the transcript as it grows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "vectors" / "rfc8448"
NAMES = ("simple-1rtt", "resumed-0rtt", "hello-retry-request", "client-authentication", "compatibility-mode")
HELLO_RETRY_REQUEST = hashlib.sha256(b"HelloRetryRequest").digest()


@dataclass(frozen=True)
class Step:
    """One step; ``values`` are bytes by the document's names, empty when it is the same as an earlier step."""

    actor: str
    action: str
    same_as: str
    values: dict[str, bytes]

    def __getitem__(self, name: str) -> bytes:
        return self.values[name]


@dataclass
class Trace:
    """One connection."""

    name: str
    steps: list[Step] = field(default_factory=list)

    @classmethod
    def load(cls, name: str) -> Trace:
        """Read the trace ``name`` of `NAMES`."""
        content = json.loads((FOLDER / f"{name}.json").read_text())
        return cls(
            name,
            [
                Step(
                    step["actor"],
                    step["action"],
                    step["same_as"],
                    {key: bytes.fromhex(value) for key, value in step["values"].items()},
                )
                for step in content["steps"]
            ],
        )

    def all(self, action: str) -> list[Step]:
        """Every step with values that does ``action``."""
        return [step for step in self.steps if step.action == action and step.values]

    def one(self, action: str, actor: str | None = None) -> Step:
        """The one step with values that does ``action``, by ``actor`` if given."""
        steps = [step for step in self.all(action) if actor in (None, step.actor)]
        assert len(steps) == 1, (action, len(steps))
        return steps[0]

    @property
    def psk(self) -> bytes | None:
        """The PSK that the handshake resumes with."""
        secret = self.all('extract secret "early"')[0]["IKM"]
        return secret if any(secret) else None

    @property
    def shared_secret(self) -> bytes:
        """The result of the key exchange."""
        return self.one('extract secret "handshake"')["IKM"]

    def messages(self) -> Iterator[tuple[str, str, bytes]]:
        """Every handshake message as it was sent: sender, name, bytes."""
        for step in self.steps:
            if step.action.startswith("construct a"):
                ((name, message),) = step.values.items()
                if name == "ClientHello":  # the document shows it before its binders are added
                    message = self._with_binders(message)
                yield step.actor, name, message

    def _with_binders(self, hello: bytes) -> bytes:
        if self.psk is None:
            return hello
        binder = self.one("calculate PSK binder")["finished"]
        return hello + b"\x00\x21\x20" + binder

    def hashes(self) -> dict[str, bytes]:
        """The transcript hash after each message, by "sender name", and a hello's by its name alone.

        RFC 9846, section 4.1: a ClientHello that was answered with a retry is replaced by its hash.
        """
        found: dict[str, bytes] = {}
        transcript = b""
        for sender, name, message in self.messages():
            if name == "ServerHello" and message[6:38] == HELLO_RETRY_REQUEST:
                transcript = b"\xfe\x00\x00\x20" + hashlib.sha256(transcript).digest()
                name = "HelloRetryRequest"
            transcript += message
            found[f"{sender} {name}"] = found[name] = hashlib.sha256(transcript).digest()
        return found
