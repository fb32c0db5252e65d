"""The TLS 1.2 client from its second flight on, full and abbreviated: certificate if asked for, key exchange, Finished.
RFC 5246, sections 7.3 and 7.4; RFC 5077, section 3.3.

What it answers was taken in by `client12`.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace

from resumption.constants import ProtocolVersion
from resumption.crypto.certificates import not_after_of
from resumption.crypto.groups import respond
from resumption.crypto.schedule12 import MasterSecret12
from resumption.crypto.suites import SuiteFacts
from resumption.frozen import frozen
from resumption.handshake.credentials import RequestedCertificate
from resumption.handshake.established12 import (
    ClientConnected,
    ClientHandshaking12,
    Exporter,
    Keys,
    RecordedTranscript,
)
from resumption.handshake.events import NeedSignature
from resumption.handshake.offer import Lineage, Offered
from resumption.handshake.state import AwaitingAnswer, Output, Transcript, on
from resumption.handshake.tickets import MAX_OFFERED_LENGTH
from resumption.session.gate import mechanism_of
from resumption.session.model import SessionData
from resumption.session.verdicts import Reason, Resumption
from resumption.wire import messages12
from resumption.wire.messages import CertificateVerify, Finished

__all__ = [
    "AwaitSignature",
    "ExpectChangeCipherSpec",
    "ExpectFinished",
    "ExpectTicket",
    "Hellos",
    "Progress",
    "facts_of_connection",
    "send_flight",
]

_TLS12 = int(ProtocolVersion.TLSv1_2)
_EMS_FLAG = 1  # bit 0 of a session's flags


@frozen
class Hellos:
    """What both hellos agreed on."""

    offered: Offered
    suite: SuiteFacts
    server_random: bytes
    session_id: bytes
    extended_master_secret: bool
    ticket_promised: bool
    acknowledged_name: bool
    alpn: bytes | None
    max_fragment_mode: int
    status_promised: bool
    scts: tuple[bytes, ...]
    status_until: float = math.inf  # how long the revocation status is good

    def keys(self, master: MasterSecret12) -> Keys:
        """The keys that follow from ``master``."""
        return Keys.derive(self.suite, master, self.offered.hello.random, self.server_random)


def facts_of_connection(hellos: Hellos, chain: tuple[bytes, ...], before: SessionData | None) -> SessionData:
    """The facts of this connection; who the peer is comes from the session when it was resumed."""
    offered = hellos.offered
    config = offered.config
    flags = _EMS_FLAG if hellos.extended_master_secret else 0
    if (
        before is not None
        and before.role == "client"  # of our own making: it says of all else what would be said here
        and before.flags == flags
        and before.alpn == hellos.alpn
        and before.max_fragment_mode == hellos.max_fragment_mode
        and before.id_context == config.id_context
        and before.policy_epoch == config.policy_epoch
        and (not hellos.acknowledged_name or before.hostname == offered.server_name)
    ):
        return before
    now = config.clock()
    verified = config.trust is not None
    if before is not None:
        lineage = offered.lineage_of(before)
    else:
        deadline = min(now + config.max_auth_age_s, not_after_of(chain), hellos.status_until)
        lineage = Lineage(now, deadline, offered.policy.verify_name if verified else None)
    return SessionData(
        version=_TLS12,
        cipher=hellos.suite.suite,
        session_id=before.session_id if before is not None else hellos.session_id,
        id_context=config.id_context,
        time=before.time if before is not None else now,
        timeout=before.timeout if before is not None else config.session_timeout_s,
        peer_certificate=before.peer_certificate if before is not None else chain[0],
        peer_chain=chain,
        verify_result=before.verify_result if before is not None else (0 if verified else 1),
        hostname=offered.server_name if hellos.acknowledged_name else (before.hostname if before else None),
        ticket=before.ticket if before is not None else b"",
        flags=flags,
        alpn=hellos.alpn,
        max_fragment_mode=hellos.max_fragment_mode,
        group=before.group if before is not None else 0,
        role="client",
        policy_epoch=config.policy_epoch,
        auth_time=lineage.auth_time,
        deadline=lineage.deadline,
        verified_name=lineage.verified_name,
    )


def send_flight(
    hellos: Hellos,
    transcript: RecordedTranscript,
    chain: tuple[bytes, ...],
    group: int,
    peer_share: bytes,
    requested: RequestedCertificate | None,
    out: Output,
) -> ExpectTicket | ExpectChangeCipherSpec | AwaitSignature:
    """Certificate if asked for, ClientKeyExchange, CertificateVerify, change_cipher_spec, Finished."""
    key, scheme = None, None
    if requested is not None:
        key = out.choose_certificate(requested)
        scheme = requested.scheme_for(key) if key is not None else None
        certificate = messages12.Certificate(key.chain if key is not None and scheme is not None else ()).pack()
        transcript.add(certificate)
        out.send(certificate)
    public, premaster = respond(group, peer_share)
    exchange = messages12.ClientKeyExchange(public).pack()
    transcript.add(exchange)
    out.send(exchange)
    suite = hellos.suite
    if hellos.extended_master_secret:
        master = MasterSecret12.from_premaster(suite.hash, premaster, session_hash=transcript.digest())
    else:
        randoms = hellos.offered.hello.random + hellos.server_random
        master = MasterSecret12.from_premaster(suite.hash, premaster, randoms=randoms)
    if key is not None and scheme is not None:
        content = bytes(transcript.messages)
        if key.signer is not None:
            question = NeedSignature(key, scheme, content, _TLS12)
            out.ask(question)
            return AwaitSignature(hellos, transcript, chain, group, master, question)
        _send_proof(scheme, key.sign(scheme, content, _TLS12), transcript, out)
    return _finish(hellos, transcript, chain, group, master, out)


@frozen
class AwaitSignature(AwaitingAnswer[bytes]):
    """Awaiting our CertificateVerify's signature, which the holder of the key makes. No message may come meanwhile."""

    hellos: Hellos
    transcript: RecordedTranscript
    chain: tuple[bytes, ...]  # the server's
    group: int
    master: MasterSecret12
    question: NeedSignature

    def on_answer(self, answer: bytes, out: Output) -> ExpectTicket | ExpectChangeCipherSpec:
        """Send the rest of the flight."""
        question = self.question
        _send_proof(question.scheme, question.checked(answer), self.transcript, out)
        return _finish(self.hellos, self.transcript, self.chain, self.group, self.master, out)


def _send_proof(scheme: int, signature: bytes, transcript: RecordedTranscript, out: Output) -> None:
    proof = CertificateVerify(scheme, signature).pack()
    transcript.add(proof)
    out.send(proof)


def _finish(
    hellos: Hellos,
    transcript: RecordedTranscript,
    chain: tuple[bytes, ...],
    group: int,
    master: MasterSecret12,
    out: Output,
) -> ExpectTicket | ExpectChangeCipherSpec:
    data = facts_of_connection(hellos, chain, None).replaced(group=group)
    progress = Progress(hellos, transcript, master, hellos.keys(master), data, False)
    progress.finish(out)
    return ExpectTicket(progress) if hellos.ticket_promised else ExpectChangeCipherSpec(progress)


@frozen
class Progress:
    """What the last states have in common. In an abbreviated handshake (``resumed``) the server finishes first."""

    hellos: Hellos
    transcript: Transcript
    master: MasterSecret12
    keys: Keys
    data: SessionData
    resumed: bool

    def finish(self, out: Output) -> None:
        """Send change_cipher_spec and our Finished."""
        offered = self.hellos.offered
        if offered.config.log_secrets:
            out.log_secret("CLIENT_RANDOM", offered.hello.random, self.master.secret)
        out.send_change_cipher_spec()
        out.write_with(self.keys.client_sealer())
        finished = Finished(self.master.client_verify_data(self.transcript.digest())).pack()
        self.transcript.add(finished)
        out.send(finished)


@frozen
class ExpectTicket(ClientHandshaking12):
    """Awaiting the NewSessionTicket that the ServerHello promised. RFC 5077, section 3.3."""

    progress: Progress

    @on(messages12.NewSessionTicket)
    def on_new_session_ticket(
        self, message: messages12.NewSessionTicket, raw: bytes, out: Output
    ) -> ExpectChangeCipherSpec:
        """A ticket names the session by its own digest; one that is empty or too long changes nothing."""
        progress = self.progress
        progress.transcript.add(raw)
        if not 0 < len(message.ticket) <= MAX_OFFERED_LENGTH:
            return ExpectChangeCipherSpec(progress)
        data = progress.data.replaced(
            session_id=hashlib.sha256(message.ticket).digest(),
            ticket=message.ticket,
            ticket_lifetime_hint=message.ticket_lifetime_hint,
            time=progress.hellos.offered.config.clock(),
            timeout=progress.hellos.offered.config.session_timeout_s,
        )
        return ExpectChangeCipherSpec(replace(progress, data=data))


@frozen
class ExpectChangeCipherSpec(ClientHandshaking12):
    """Awaiting the server's change_cipher_spec: the keys exist, so it can be obeyed. RFC 5246, section 7.1."""

    progress: Progress

    def change_cipher_spec(self, out: Output) -> ExpectFinished:
        """Read with the new keys."""
        out.read_with(self.progress.keys.server_opener())
        return ExpectFinished(self.progress)


@frozen
class ExpectFinished(ClientHandshaking12):
    """Awaiting the server's Finished. RFC 5246, section 7.4.9."""

    progress: Progress

    @on(Finished)
    def on_finished(self, message: Finished, raw: bytes, out: Output) -> ClientConnected:
        """Verify it; in an abbreviated handshake ours is still to come."""
        progress = self.progress
        offered, data = progress.hellos.offered, progress.data
        progress.master.check_server_finished(progress.transcript.digest(), message.verify_data)
        session = offered.session
        if progress.resumed and session is not None:
            progress.transcript.add(raw)
            progress.finish(out)
            before = session.data
            age_s = max(0.0, offered.config.clock() - before.time)
            out.resume(session)
            out.complete(Resumption(True, mechanism=mechanism_of(before), age_s=age_s), data)
            if data.ticket != before.ticket:
                out.issue(data, progress.master.secret)
        else:
            out.complete(Resumption(False, offered.reason or Reason.SERVER_DECLINED, peer=offered.server_name), data)
            out.issue(data, progress.master.secret)
        hellos = progress.hellos
        return ClientConnected(
            data,
            Exporter(progress.master, offered.hello.random, hellos.server_random, hellos.extended_master_secret),
        )
