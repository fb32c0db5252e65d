"""TLS 1.3 after the handshake: tickets and key updates. RFC 9846, section 4.7 [8446: 4.6]."""

from __future__ import annotations

import hashlib
from typing import ClassVar

from resumption.config import ClientConfig, Config, ServerConfig
from resumption.constants import MAX_TICKET_LIFETIME_S, ExtensionType, KeyUpdateRequest, ProtocolVersion
from resumption.crypto.schedule13 import MasterSecrets, resumption_psk
from resumption.crypto.suites import SuiteFacts
from resumption.errors import IllegalParameter, TooManyMessages
from resumption.frozen import frozen
from resumption.handshake.events import KeysUpdated
from resumption.handshake.placement import Place, check_request
from resumption.handshake.state import Output, State, on
from resumption.handshake.tickets import MAX_OFFERED_LENGTH, lifetime_of, seal_session
from resumption.session.model import SessionData
from resumption.session.verdicts import Mechanism
from resumption.wire import extensions
from resumption.wire.grease import grease_for
from resumption.wire.messages import KeyUpdate, NewSessionTicket

__all__ = ["Budget", "ClientConnected", "Negotiated", "ServerConnected", "TicketSecrets", "log_application_secrets"]

_EARLY_DATA = int(ExtensionType.early_data)
_UPDATE_REQUESTED = int(KeyUpdateRequest.update_requested)
_UPDATE_NOT_REQUESTED = int(KeyUpdateRequest.update_not_requested)
_TLS13 = int(ProtocolVersion.TLSv1_3)
_HOUR_S = 3600.0


@frozen
class Negotiated:
    """What the hellos agreed on. ``server_name`` is canonical, or empty when there was none."""

    config: Config
    suite: SuiteFacts
    group: int
    server_name: str
    acknowledged_name: bool
    alpn: bytes | None
    max_fragment_mode: int = 255  # as in a session: 255 for none


class Budget:
    """Counts the post-handshake messages of one connection against a limit per hour."""

    __slots__ = ("_config", "_count", "_since")

    def __init__(self, config: Config) -> None:
        self._config = config
        self._count = 0
        self._since = 0.0

    def spend(self) -> None:
        """Count one message. Raises `TooManyMessages` past the limit."""
        config = self._config
        self._count += 1
        if self._count == 1:
            self._since = config.clock()
        elif self._count > config.max_post_handshake_messages:
            now = config.clock()
            if now - self._since < _HOUR_S:
                raise TooManyMessages(
                    f"the peer sent more than {config.max_post_handshake_messages} post-handshake messages in an hour"
                )
            self._count, self._since = 1, now


class TicketSecrets:
    """The source of one connection's resumption secrets: derived when the first ticket needs it."""

    __slots__ = ("_digest", "_hash", "_issued", "_master", "_secret")

    def __init__(self, suite: SuiteFacts, master: MasterSecrets, digest: bytes) -> None:
        self._hash = suite.hash
        self._master = master
        self._digest = digest  # through the client's Finished
        self._secret = b""  # the resumption master secret, once a ticket asked for it
        self._issued = 0

    def psk(self, ticket_nonce: bytes) -> bytes:
        """The PSK of the ticket with this nonce. RFC 9846, section 4.7.1 [8446: 4.6.1]."""
        if not self._secret:
            self._secret = self._master.resumption_master_secret(self._digest)
        return resumption_psk(self._hash, self._secret, ticket_nonce)

    def export(self, label: bytes, context: bytes, length: int) -> bytes:
        """Exported keying material of this connection. RFC 9846, section 7.5."""
        return self._master.exporter(label, context, length)

    def next_nonce(self) -> bytes:
        """A nonce that no other ticket of this connection has: eight bytes, counting from zero."""
        nonce = self._issued.to_bytes(8, "big")
        self._issued += 1
        return nonce


def log_application_secrets(out: Output, client_random: bytes, master: MasterSecrets) -> None:
    """Tell the key log of the secrets that protect application data, in the labels of NSS."""
    out.log_secret("CLIENT_TRAFFIC_SECRET_0", client_random, master.client_application_traffic_secret)
    out.log_secret("SERVER_TRAFFIC_SECRET_0", client_random, master.server_application_traffic_secret)
    out.log_secret("EXPORTER_SECRET", client_random, master.exporter_master_secret)


class _Connected(State):
    """What both roles do once connected."""

    __slots__ = ()

    handshaking: ClassVar[bool] = False
    is_tls13: ClassVar[bool] = True
    budget: Budget
    tickets: TicketSecrets

    def export(self, label: bytes, context: bytes | None, length: int) -> bytes:
        """Exported keying material; here no context and an empty one are the same. RFC 9846, section 7.5."""
        return self.tickets.export(label, context or b"", length)

    def _update_keys(self, message: KeyUpdate, out: Output) -> None:
        self.budget.spend()
        if message.request_update not in (_UPDATE_NOT_REQUESTED, _UPDATE_REQUESTED):
            raise IllegalParameter(f"a KeyUpdate with request_update {message.request_update}")
        out.update_read_key()
        if message.request_update == _UPDATE_REQUESTED:
            out.send(KeyUpdate(_UPDATE_NOT_REQUESTED).pack())
            out.update_write_key()
        out.emit(KeysUpdated())


@frozen
class ClientConnected(_Connected):
    """A client after its handshake: tickets may come at any time."""

    config: ClientConfig
    data: SessionData
    tickets: TicketSecrets
    budget: Budget

    @on(NewSessionTicket)
    def on_new_session_ticket(self, message: NewSessionTicket, raw: bytes, out: Output) -> ClientConnected:
        """Make a session of its own for each ticket; the parent is never changed. RFC 9846, section 4.7.1."""
        self.budget.spend()
        check_request(message.extensions, Place.NST)
        max_early_data = 0
        if _EARLY_DATA in message.extensions:
            max_early_data = extensions.parse_early_data_ticket(message.extensions[_EARLY_DATA])
        if message.ticket_lifetime == 0 or len(message.ticket) > MAX_OFFERED_LENGTH:
            return self  # to be discarded at once
        data = self.data.replaced(
            session_id=hashlib.sha256(message.ticket).digest(),
            time=self.config.clock(),
            ticket=message.ticket,
            ticket_lifetime_hint=min(message.ticket_lifetime, MAX_TICKET_LIFETIME_S),
            ticket_age_add=message.ticket_age_add,
            max_early_data=max_early_data,
        )
        out.issue(data, self.tickets.psk(message.ticket_nonce))
        return self

    @on(KeyUpdate)
    def on_key_update(self, message: KeyUpdate, raw: bytes, out: Output) -> ClientConnected:
        """RFC 9846, section 4.7.3 [8446: 4.6.3]."""
        self._update_keys(message, out)
        return self


@frozen
class ServerConnected(_Connected):
    """A server after its handshake: it may issue tickets at any time."""

    config: ServerConfig
    data: SessionData
    tickets: TicketSecrets
    budget: Budget
    may_issue: bool  # the client can use tickets: it listed psk_dhe_ke

    @on(KeyUpdate)
    def on_key_update(self, message: KeyUpdate, raw: bytes, out: Output) -> ServerConnected:
        """RFC 9846, section 4.7.3 [8446: 4.6.3]."""
        self._update_keys(message, out)
        return self

    def issue_ticket(self, out: Output) -> bool:
        """Send one NewSessionTicket, stateless or stateful as configured. RFC 9846, section 4.7.1 [8446: 4.6.1].

        Returns False, having sent nothing, when the client cannot use one, the lineage is at its end, or no ticket key
        is usable: a handshake never fails for that.
        """
        config = self.config
        if not self.may_issue or (not config.stateful and config.tickets is None):
            return False
        now = config.clock()
        lifetime_s = lifetime_of(config, self.data, now)
        if lifetime_s <= 0:
            return False
        nonce = self.tickets.next_nonce()
        age_add = int.from_bytes(config.random(4), "big")
        data = self.data.replaced(
            session_id=out.new_session_id(_TLS13) if config.stateful else config.random(32),
            time=now,
            timeout=lifetime_s,
            ticket_age_add=age_add,
        )
        announced: dict[int, bytes] = {}
        if config.max_early_data and config.replay is not None:
            data = data.replaced(max_early_data=config.max_early_data, replay_domain=config.replay.domain)
            announced = {_EARLY_DATA: extensions.pack_early_data_ticket(config.max_early_data)}
        secret = self.tickets.psk(nonce)
        if config.stateful or config.tickets is None:
            ticket: bytes | None = data.session_id
        else:
            ticket = seal_session(config, data, secret, Mechanism.STATELESS_13, lifetime_s, now)
        if not ticket:
            return False
        out.issue(data, secret)
        if config.grease:
            announced = {grease_for(nonce).extension: b"", **announced}
        out.send(NewSessionTicket(lifetime_s, age_add, nonce, ticket, announced).pack())
        return True
