"""The TLS 1.2 server awaiting the client's flights, full and abbreviated: certificate if asked for, key exchange,
Finished. RFC 5246, sections 7.3 and 7.4; RFC 5077, section 3.3.

What the client answers was sent by `server12`.
"""

from __future__ import annotations

from resumption.config import ServerConfig
from resumption.constants import ProtocolVersion
from resumption.crypto.certificates import is_rsassa_pss, not_after_of, public_key_of
from resumption.crypto.chain_schemes import check_chain_schemes
from resumption.crypto.groups import KeyShare
from resumption.crypto.schedule12 import MasterSecret12
from resumption.crypto.signatures import verify
from resumption.crypto.suites import SuiteFacts
from resumption.errors import HandshakeFailure, IllegalParameter
from resumption.frozen import frozen
from resumption.handshake.established12 import Exporter, Keys, RecordedTranscript, ServerConnected
from resumption.handshake.hello import ClientHelloFacts
from resumption.handshake.record_sizes import RecordSizes, asked_mode
from resumption.handshake.state import Output, State, Transcript, on
from resumption.handshake.tickets import lifetime_of, seal_session, with_appdata
from resumption.session.model import Session, SessionData
from resumption.session.verdicts import Mechanism, Reason, Resumption
from resumption.wire import messages12
from resumption.wire.messages import CertificateVerify, Finished

__all__ = [
    "Choice",
    "ExpectCertificate",
    "ExpectCertificateVerify",
    "ExpectChangeCipherSpec",
    "ExpectFinished",
    "ExpectKeyExchange",
    "Opening",
    "Progress",
]

_TLS12 = int(ProtocolVersion.TLSv1_2)
_EMS_FLAG = 1  # bit 0 of a session's flags


@frozen
class Choice:
    """What this server picked from the hello, before any session is looked at."""

    config: ServerConfig
    facts: ClientHelloFacts
    raw: bytes
    alpn: bytes | None
    extended_master_secret: bool
    sizes: RecordSizes | None

    @property
    def wants_ticket(self) -> bool:
        """Whether the client can use a ticket, and this server makes them: a stateful one keeps its sessions."""
        config = self.config
        return config.tickets is not None and not config.stateful and self.facts.session_ticket is not None


@frozen
class Opening:
    """What the states of a full handshake have in common until the master secret exists."""

    choice: Choice
    suite: SuiteFacts
    server_random: bytes
    session_id: bytes
    ticket: bool
    share: KeyShare
    transcript: RecordedTranscript
    reason: Reason


@frozen
class ExpectCertificate(State):
    """Awaiting the client's chain, which may be empty. RFC 5246, section 7.4.6."""

    opening: Opening

    @on(messages12.Certificate)
    def on_certificate(self, message: messages12.Certificate, raw: bytes, out: Output) -> ExpectKeyExchange:
        """An empty chain is an answer too; whether it is acceptable is the policy's affair."""
        config = self.opening.choice.config
        chain = message.certificate_list
        if not chain and config.client_auth == "required":
            # In TLS 1.2 there is no alert of its own for this. RFC 5246, section 7.4.6.
            raise HandshakeFailure("this server requires a client certificate")
        check_chain_schemes(chain, config.certificate_schemes)
        if chain and config.trust is not None:
            now = config.clock()
            path = config.trust.verify_client(chain, now)
            if config.crls is not None:
                config.crls.check(path, config.trust, now)
        self.opening.transcript.add(raw)
        return ExpectKeyExchange(self.opening, chain)


@frozen
class ExpectKeyExchange(State):
    """Awaiting the client's share. RFC 8422, section 5.7."""

    opening: Opening
    chain: tuple[bytes, ...]

    @on(messages12.ClientKeyExchange)
    def on_client_key_exchange(
        self, message: messages12.ClientKeyExchange, raw: bytes, out: Output
    ) -> ExpectCertificateVerify | ExpectChangeCipherSpec:
        """Now there is a master secret. RFC 7627, section 4."""
        opening, chain = self.opening, self.chain
        choice, suite, transcript = opening.choice, opening.suite, opening.transcript
        premaster = opening.share.finish(message.public)
        transcript.add(raw)
        hello, config = choice.facts.hello, choice.config
        if choice.extended_master_secret:
            master = MasterSecret12.from_premaster(suite.hash, premaster, session_hash=transcript.digest())
        else:
            randoms = hello.random + opening.server_random
            master = MasterSecret12.from_premaster(suite.hash, premaster, randoms=randoms)
        now = config.clock()
        deadline = now + config.max_auth_age_s
        data = SessionData(
            version=_TLS12,
            cipher=suite.suite,
            session_id=opening.session_id,
            id_context=config.id_context,
            time=now,
            timeout=config.session_timeout_s,
            peer_certificate=chain[0] if chain else None,
            peer_chain=chain,
            verify_result=0,
            hostname=choice.facts.server_name or None,
            flags=_EMS_FLAG if choice.extended_master_secret else 0,
            alpn=choice.alpn,
            max_fragment_mode=asked_mode(choice.facts),
            group=opening.share.group,
            role="server",
            partition=config.partition,
            policy_epoch=config.policy_epoch,
            auth_time=now,
            deadline=min(deadline, not_after_of(chain)) if chain else deadline,
        )
        keys = Keys.derive(suite, master, hello.random, opening.server_random)
        progress = Progress(
            config,
            choice,
            suite,
            transcript,
            keys,
            opening.server_random,
            data,
            None,
            None,
            opening.reason,
            opening.ticket,
        )
        if chain:
            return ExpectCertificateVerify(progress, master, transcript)
        return ExpectChangeCipherSpec(progress, master)


@frozen
class ExpectCertificateVerify(State):
    """Awaiting the proof that the client holds its certificate's key. RFC 5246, section 7.4.8."""

    progress: Progress
    master: MasterSecret12
    transcript: RecordedTranscript

    @on(CertificateVerify)
    def on_certificate_verify(self, message: CertificateVerify, raw: bytes, out: Output) -> ExpectChangeCipherSpec:
        """Verify the signature over all messages so far."""
        progress = self.progress
        leaf = progress.data.peer_chain[0]
        if message.algorithm not in progress.config.schemes:
            raise IllegalParameter("the client signed with a scheme that was not offered")
        verify(
            public_key_of(leaf),
            message.algorithm,
            bytes(self.transcript.messages),
            message.signature,
            version=_TLS12,
            rsassa_pss=is_rsassa_pss(leaf),
        )
        self.transcript.add(raw)
        return ExpectChangeCipherSpec(progress, self.master)


@frozen
class Progress:
    """What the last states have in common. ``session`` is the one that resumes the connection."""

    config: ServerConfig
    choice: Choice
    suite: SuiteFacts
    transcript: Transcript
    keys: Keys
    server_random: bytes
    data: SessionData
    session: Session | None
    mechanism: Mechanism | None
    reason: Reason | None
    ticket: bool

    def finish(self, master: MasterSecret12, out: Output) -> None:
        """Send change_cipher_spec and our Finished."""
        if self.config.log_secrets:
            out.log_secret("CLIENT_RANDOM", self.choice.facts.hello.random, master.secret)
        out.send_change_cipher_spec()
        out.write_with(self.keys.server_sealer())
        finished = Finished(master.server_verify_data(self.transcript.digest())).pack()
        self.transcript.add(finished)
        out.send(finished)

    def connected(self, master: MasterSecret12) -> ServerConnected:
        """The state of the established connection."""
        choice = self.choice
        return ServerConnected(
            self.data,
            Exporter(master, choice.facts.hello.random, self.server_random, choice.extended_master_secret),
        )

    def send_ticket(self, data: SessionData, master: MasterSecret12, out: Output) -> SessionData:
        """Seal a NewSessionTicket, empty if that cannot be; returns the facts that are in it. RFC 5077, section 3.3."""
        config = self.config
        now = config.clock()
        data = with_appdata(config, data, out)
        lifetime_s = lifetime_of(config, data, now)
        sealed = None
        if lifetime_s > 0:
            sealed = seal_session(config, data, master.secret, Mechanism.TICKET_12, lifetime_s, now, out)
        message = messages12.NewSessionTicket(lifetime_s if sealed else 0, sealed or b"").pack()
        self.transcript.add(message)
        out.send(message)
        return data


@frozen
class ExpectChangeCipherSpec(State):
    """Awaiting the client's change_cipher_spec: the keys exist, so it can be obeyed. RFC 5246, section 7.1."""

    progress: Progress
    master: MasterSecret12

    def change_cipher_spec(self, out: Output) -> ExpectFinished:
        """Read with the new keys."""
        out.read_with(self.progress.keys.client_opener())
        return ExpectFinished(self.progress, self.master)


@frozen
class ExpectFinished(State):
    """Awaiting the client's Finished. RFC 5246, section 7.4.9."""

    progress: Progress
    master: MasterSecret12

    @on(Finished)
    def on_finished(self, message: Finished, raw: bytes, out: Output) -> ServerConnected:
        """Verify it; in a full handshake the ticket and our Finished follow."""
        progress, master, data = self.progress, self.master, self.progress.data
        master.check_client_finished(progress.transcript.digest(), message.verify_data)
        session = progress.session
        if session is not None:
            age_s = max(0.0, progress.config.clock() - session.data.time)
            out.resume(session)
            out.complete(Resumption(True, mechanism=progress.mechanism, age_s=age_s), data)
            return progress.connected(master)
        progress.transcript.add(raw)
        if progress.ticket:
            data = progress.send_ticket(data, master, out)
        progress.finish(master, out)
        out.complete(Resumption(False, progress.reason), data)
        out.issue(data, master.secret)
        return progress.connected(master)
