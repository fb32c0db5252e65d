"""What a client remembers of its ClientHello until the server has answered it."""

from __future__ import annotations

from dataclasses import dataclass

from resumption.config import ClientConfig
from resumption.crypto.groups import KeyShare
from resumption.crypto.schedule13 import EarlySecret
from resumption.session.gate import ClientPolicy
from resumption.session.model import Session
from resumption.session.verdicts import Reason
from resumption.wire.messages import ClientHello

__all__ = ["Offered"]


@dataclass(frozen=True, slots=True)
class Offered:
    """One ClientHello and the secrets behind it.

    ``session`` is offered (borrowed from the connection) and ``early`` its early secret; both are None when nothing is
    offered, and ``reason`` then says why.
    """

    config: ClientConfig
    server_name: str
    hello: ClientHello
    shares: tuple[KeyShare, ...]
    policy: ClientPolicy
    session: Session | None
    early: EarlySecret | None
    reason: Reason | None
    retried: bool = False  # this is the second hello
