"""TLS 1.3 after the handshake: tickets and key updates. RFC 9846, section 4.7 [8446: 4.6]."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from hmac import compare_digest
from typing import ClassVar

from resumption.config import ClientConfig, Config, ServerConfig
from resumption.constants import MAX_TICKET_LIFETIME_S, ExtensionType, KeyUpdateRequest, ProtocolVersion
from resumption.crypto.schedule13 import MasterSecrets, resumption_psk, verify_data
from resumption.crypto.suites import SUITES, SuiteFacts
from resumption.errors import DecryptError, IllegalParameter, TooManyMessages, UnexpectedMessage, UsageError
from resumption.frozen import frozen
from resumption.handshake.authentication13 import Unproven, send_certificate
from resumption.handshake.compressed13 import expanded
from resumption.handshake.credentials import read_request
from resumption.handshake.events import KeysUpdated, PeerAuthenticated
from resumption.handshake.identity13 import Identity, check_proof, take_chain
from resumption.handshake.placement import Place, check_request
from resumption.handshake.state import AwaitingAnswer, Output, State, Transcript, on
from resumption.handshake.tickets import MAX_OFFERED_LENGTH, lifetime_of, seal_session, with_appdata
from resumption.session.model import SessionData
from resumption.session.verdicts import Mechanism
from resumption.wire import extensions
from resumption.wire.grease import grease_for
from resumption.wire.messages import (
    Certificate,
    CertificateRequest,
    CertificateVerify,
    CompressedCertificate,
    Finished,
    KeyUpdate,
    NewSessionTicket,
)

__all__ = [
    "AwaitLaterSignature",
    "Budget",
    "ClientConnected",
    "ExpectLaterCertificateVerify",
    "ExpectLaterFinished",
    "LaterRequests",
    "Negotiated",
    "ServerConnected",
    "TicketSecrets",
    "log_application_secrets",
]

_EARLY_DATA = int(ExtensionType.early_data)
_UPDATE_REQUESTED = int(KeyUpdateRequest.update_requested)
_UPDATE_NOT_REQUESTED = int(KeyUpdateRequest.update_not_requested)
_TLS13 = int(ProtocolVersion.TLSv1_3)
_HOUR_S = 3600.0
_REQUEST_CONTEXT_LENGTH = 16
_MAX_REQUESTS = 8  # without an answer, per connection


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
    psk_identity: bytes | None = None  # of the external PSK that serves, or served when the session was made


class Budget:
    """Counts the post-handshake messages of one connection against a limit per hour."""

    __slots__ = ("_config", "_count", "_key_updates", "_since", "_updating_since")

    def __init__(self, config: Config) -> None:
        self._config = config
        self._count = 0
        self._key_updates = 0
        self._since = self._updating_since = 0.0

    def spend_key_update(self) -> None:
        """Count one KeyUpdate, which is also a message. Raises `TooManyMessages` past either limit."""
        self.spend()
        config = self._config
        self._key_updates += 1
        if self._key_updates == 1:
            self._updating_since = config.clock()
        if self._key_updates > config.max_key_updates:
            now = config.clock()
            if now - self._updating_since < _HOUR_S:
                raise TooManyMessages(f"the peer sent more than {config.max_key_updates} KeyUpdates in an hour")
            self._key_updates, self._updating_since = 1, now

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


class LaterRequests:
    """The requests for a client's certificate that were sent after the handshake and are not answered yet."""

    __slots__ = ("_open", "transcript")

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript  # through the client's Finished
        self._open: dict[bytes, tuple[bytes, bool]] = {}

    @property
    def is_waiting(self) -> bool:
        """Whether an answer may come."""
        return bool(self._open)

    def open(self, context: bytes, message: bytes, required: bool) -> None:
        """``message``, with this context, was sent."""
        if len(self._open) >= _MAX_REQUESTS:
            raise UsageError(f"{_MAX_REQUESTS} requests for the client's certificate are still without an answer")
        self._open[context] = message, required

    def close(self, context: bytes) -> tuple[bytes, bool]:
        """The request that is answered, and whether a certificate is required. Raises `IllegalParameter`."""
        request = self._open.pop(context, None)
        if request is None:
            raise IllegalParameter("the client's Certificate answers none of the requests that were sent")
        return request


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
        self.budget.spend_key_update()
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
    later: Transcript | None  # through our Finished, if post-handshake authentication was offered

    @on(CertificateRequest)
    def on_certificate_request(
        self, message: CertificateRequest, raw: bytes, out: Output
    ) -> ClientConnected | AwaitLaterSignature:
        """Answer at once, with or without a certificate. RFC 9846, section 4.7.2 [8446: 4.6.2]."""
        if self.later is None:
            raise UnexpectedMessage("a CertificateRequest came after the handshake, which was not offered")
        self.budget.spend()
        wanted = read_request(message)
        if not wanted.context:
            raise IllegalParameter("a CertificateRequest after the handshake must have a context")
        transcript = self.later.forked(raw)
        unproven = send_certificate(wanted, self.config, transcript, out)
        if unproven is not None:
            return AwaitLaterSignature(self, transcript, unproven)
        return self._finish_answer(transcript, out)

    def _finish_answer(self, transcript: Transcript, out: Output) -> ClientConnected:
        facts = SUITES[self.data.cipher].hash
        out.send(Finished(verify_data(facts, out.write_secret(), transcript.digest())).pack())
        return self

    @on(NewSessionTicket)
    def on_new_session_ticket(self, message: NewSessionTicket, raw: bytes, out: Output) -> ClientConnected:
        """Make a session of its own for each ticket; the parent is never changed. RFC 9846, section 4.7.1."""
        self.budget.spend()
        check_request(message.extensions, Place.NST)
        max_early_data = 0
        if _EARLY_DATA in message.extensions:
            max_early_data = extensions.parse_early_data_ticket(message.extensions[_EARLY_DATA])
        if self.data.psk_identity is not None and not self.config.publish_psk_sessions:
            return self
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
class AwaitLaterSignature(AwaitingAnswer[bytes]):
    """Awaiting the signature that answers a later request, of a key that is held elsewhere. Data may be sent."""

    handshaking: ClassVar[bool] = False
    is_tls13: ClassVar[bool] = True

    connected: ClientConnected
    transcript: Transcript
    unproven: Unproven

    def on_answer(self, answer: bytes, out: Output) -> ClientConnected:
        """Answer the request, all at once."""
        self.unproven.send(answer, self.transcript, out)
        return self.connected._finish_answer(self.transcript, out)

    def export(self, label: bytes, context: bytes | None, length: int) -> bytes:
        """As `ClientConnected` does: nothing of that changes."""
        return self.connected.export(label, context, length)


@frozen
class ServerConnected(_Connected):
    """A server after its handshake: it may issue tickets at any time."""

    config: ServerConfig
    data: SessionData
    tickets: TicketSecrets
    budget: Budget
    may_issue: bool  # the client can use tickets: it listed psk_dhe_ke
    later: LaterRequests | None  # for a client that offered post-handshake authentication, where it is wanted

    def request_certificate(self, out: Output, *, required: bool) -> None:
        """Ask the client for its certificate now. RFC 9846, section 4.7.2 [8446: 4.6.2]."""
        if self.data.psk_identity is not None:
            raise UsageError("an external PSK serves in place of certificates: the two are not combined")
        if self.later is None:
            raise UsageError(
                "the client did not offer post-handshake authentication"
                if self.config.post_handshake_auth
                else "this server was not made for it: ServerContext(post_handshake_auth=True, trust=...)"
            )
        context = self.config.random(_REQUEST_CONTEXT_LENGTH)
        message = CertificateRequest(context, self.config.request_extensions).pack()
        self.later.open(context, message, required)
        out.send(message)

    @on(Certificate)
    def on_certificate(
        self, message: Certificate, raw: bytes, out: Output
    ) -> ExpectLaterCertificateVerify | ExpectLaterFinished:
        """The answer to a request; what follows it belongs to it, and nothing may come between."""
        return self._take(message, raw, out)

    def _take(
        self, message: Certificate | CompressedCertificate, raw: bytes, out: Output
    ) -> ExpectLaterCertificateVerify | ExpectLaterFinished:
        if self.later is None or not self.later.is_waiting:
            raise UnexpectedMessage("a Certificate came after the handshake, and nobody had asked for one")
        self.budget.spend()
        if isinstance(message, CompressedCertificate):
            message = expanded(self.config, message)
        request, required = self.later.close(message.certificate_request_context)
        identity = take_chain(self.config, message, self.config.request_extensions, required)
        transcript = self.later.transcript.forked(request)
        transcript.add(raw)
        out.expect_only_handshake(True)
        if identity.chain:
            return ExpectLaterCertificateVerify(self, transcript, identity)
        return ExpectLaterFinished(self, transcript, identity)

    @on(CompressedCertificate)
    def on_compressed_certificate(
        self, message: CompressedCertificate, raw: bytes, out: Output
    ) -> ExpectLaterCertificateVerify | ExpectLaterFinished:
        """The same, compressed."""
        return self._take(message, raw, out)

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
        data = with_appdata(config, data, out)
        secret = self.tickets.psk(nonce)
        if config.stateful or config.tickets is None:
            ticket: bytes | None = data.session_id
        else:
            ticket = seal_session(config, data, secret, Mechanism.STATELESS_13, lifetime_s, now, out)
        if not ticket:
            return False
        out.issue(data, secret)
        if config.grease:
            announced = {grease_for(nonce).extension: b"", **announced}
        out.send(NewSessionTicket(lifetime_s, age_add, nonce, ticket, announced).pack())
        return True


@frozen
class _Answering(State):
    """In the middle of a client's answer to a request that came after the handshake."""

    handshaking: ClassVar[bool] = False
    is_tls13: ClassVar[bool] = True

    connected: ServerConnected
    transcript: Transcript
    identity: Identity

    def export(self, label: bytes, context: bytes | None, length: int) -> bytes:
        """As `ServerConnected` does: nothing of that changes."""
        return self.connected.export(label, context, length)


@frozen
class ExpectLaterCertificateVerify(_Answering):
    """Awaiting the proof that the client holds the key of the certificate it shows later. RFC 9846, section 4.7.2."""

    @on(CertificateVerify)
    def on_certificate_verify(self, message: CertificateVerify, raw: bytes, out: Output) -> ExpectLaterFinished:
        """Verify the signature over the handshake, the request and the chain."""
        check_proof(self.connected.config, self.identity, message, self.transcript.digest())
        self.transcript.add(raw)
        return ExpectLaterFinished(self.connected, self.transcript, self.identity)


@frozen
class ExpectLaterFinished(_Answering):
    """Awaiting the Finished that ends a client's later authentication. RFC 9846, sections 4.5.3 and 4.7.2."""

    @on(Finished)
    def on_finished(self, message: Finished, raw: bytes, out: Output) -> ServerConnected:
        """Only now the client is who it says. Tickets made from here on say so too; those before never will (F16)."""
        before, identity = self.connected, self.identity
        facts = SUITES[before.data.cipher].hash
        expected = verify_data(facts, out.read_secret(), self.transcript.digest())
        if not compare_digest(expected, message.verify_data):
            raise DecryptError("the client's Finished after the handshake does not verify")
        out.expect_only_handshake(False)
        if not identity.chain:
            out.emit(PeerAuthenticated(()))
            return before
        data = before.data.replaced(
            peer_certificate=identity.chain[0],
            peer_chain=identity.chain,
            verify_result=identity.verify_result,
            auth_time=identity.auth_time,
            deadline=min(identity.deadline, before.data.deadline),
        )
        out.authenticated(data)
        out.emit(PeerAuthenticated(identity.chain))
        connected = replace(before, data=data)
        if before.config.num_tickets:
            connected.issue_ticket(out)
        return connected
