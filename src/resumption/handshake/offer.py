"""What a client remembers of its ClientHello until the server has answered it."""

from __future__ import annotations

from typing import NamedTuple

from resumption.config import ClientConfig
from resumption.constants import ProtocolVersion
from resumption.crypto.certificates import not_after_of
from resumption.crypto.external_psk import ExternalPsk
from resumption.crypto.groups import KeyShare
from resumption.crypto.schedule13 import EarlySecret
from resumption.crypto.suites import SUITES, SuiteFacts
from resumption.errors import IllegalParameter
from resumption.frozen import frozen
from resumption.handshake.early13 import EarlyFlow
from resumption.session.gate import ClientPolicy
from resumption.session.model import Session, SessionData
from resumption.session.verdicts import Reason
from resumption.wire.messages import ClientHello

__all__ = ["Lineage", "Offered", "facts_of_external", "suite_for"]

_TLS13 = int(ProtocolVersion.TLSv1_3)


def suite_for(config: ClientConfig, psk: ExternalPsk) -> SuiteFacts | None:
    """The first suite that is enabled for the hash of an external PSK."""
    for number in config.suites_13:
        if SUITES[number].hash is psk.hash_facts:
            return SUITES[number]
    return None


def facts_of_external(config: ClientConfig, psk: ExternalPsk) -> SessionData:
    """An external PSK as it is offered: its identity in the place of a ticket. RFC 9846, section 4.3.11."""
    suite = suite_for(config, psk)
    return SessionData(version=_TLS13, cipher=suite.suite if suite is not None else 0, ticket=psk.identity)


class Lineage(NamedTuple):
    """When the server last proved its identity, until when that counts, and under which name it did."""

    auth_time: float
    deadline: float
    verified_name: str | None


@frozen
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
    external: ExternalPsk | None = None  # offered in place of a session; ``early`` is of it then
    flow: EarlyFlow | None = None  # early data that was offered

    @property
    def psk(self) -> SessionData | None:
        """The facts of what is offered as a PSK, in the form of a session's."""
        if self.external is not None:
            return facts_of_external(self.config, self.external)
        return self.session.data if self.session is not None else None

    @property
    def psk_identity(self) -> bytes | None:
        """The identity of the external PSK that is offered, or that was used when the offered session was made."""
        if self.external is not None:
            return self.external.identity
        return self.session.data.psk_identity if self.session is not None else None

    def check_mode(self, max_fragment_mode: int) -> None:
        """The maximum fragment length of the session that resumes holds for this connection. RFC 6066, section 4.

        Raises `IllegalParameter` when the server answered another one, or none.
        """
        if self.session is None:
            return
        before = self.session.data.max_fragment_mode
        if 0 < before < 5 and before != max_fragment_mode:
            raise IllegalParameter("the server resumes a session and changes its max_fragment_length")

    def lineage_of(self, before: SessionData) -> Lineage:
        """The lineage that a resumption of ``before`` goes on with. Renewing never prolongs it (F14).

        A session from outside (a file in OpenSSL's encoding) does not tell its lineage: it is taken to begin when the
        session was made, and the gate has found its certificate valid for the name of this connection.
        """
        if before.role:
            return Lineage(before.auth_time, before.deadline, before.verified_name)
        deadline = before.time + self.config.max_auth_age_s
        if before.peer_certificate is not None:
            deadline = min(deadline, not_after_of((before.peer_certificate,)))
        return Lineage(before.time, deadline, self.policy.verify_name)
