"""What a TLS 1.3 server chose for a ClientHello before it answers, and what that means for early data.

RFC 9846, sections 4.2 and 4.3.10. The states that use it are in `server13`.
"""

from __future__ import annotations

from dataclasses import replace

from resumption.config import ServerConfig
from resumption.constants import ProtocolVersion
from resumption.crypto.hashes import HashFacts
from resumption.crypto.schedule13 import EarlySecret
from resumption.crypto.suites import SUITES, SuiteFacts
from resumption.errors import InternalError
from resumption.frozen import frozen
from resumption.handshake.early13 import EarlyFlow
from resumption.handshake.events import NeedAdmission
from resumption.handshake.hello import ClientHelloFacts
from resumption.handshake.state import Output, Transcript
from resumption.session.early import EarlyData, EarlyOffer, EarlyPolicy, EarlyReason, EarlyState, early_eligible
from resumption.session.fleet.replay import replay_key
from resumption.session.model import Session
from resumption.session.verdicts import Mechanism
from resumption.wire.extensions import OfferedPsks

__all__ = [
    "MAX_IDENTITIES",
    "Accepted",
    "Choice",
    "admission_of",
    "open_early_data",
    "skippable",
    "suite_for",
    "with_suite_for",
    "why_not_early",
]

_TLS13 = int(ProtocolVersion.TLSv1_3)
MAX_IDENTITIES = 8  # of PSKs, tried per hello; the rest is ignored


@frozen
class Choice:
    """What this server picked from the hello, before any session is looked at."""

    config: ServerConfig
    facts: ClientHelloFacts
    raw: bytes
    transcript: Transcript  # what came before this hello: nothing, or the first one and the request
    suite: SuiteFacts
    group: int
    share: bytes
    alpn: bytes | None
    retried: bool


@frozen
class Accepted:
    """A session that passed the gate and whose binder verified."""

    session: Session
    early: EarlySecret
    position: int
    mechanism: Mechanism


def suite_for(
    config: ServerConfig, facts: ClientHelloFacts, hash_facts: HashFacts, first: int = 0
) -> SuiteFacts | None:
    """The suite of that hash to use: number ``first`` if it will do, or else the one that comes first here."""
    offered = facts.hello.cipher_suites
    for number in (first, *config.suites_13):
        if number in config.suites_13 and number in offered and SUITES[number].hash is hash_facts:
            return SUITES[number]
    return None


def with_suite_for(choice: Choice, hash_facts: HashFacts, first: int = 0) -> Choice:
    """``choice`` with a suite of the hash that a PSK needs, if there is one and none was settled by a retry.

    RFC 9846, section 4.3.11: suite and PSK have to fit together, and a round of signatures saved counts for more than
    the order of suites.
    """
    if choice.suite.hash is hash_facts or choice.retried:
        return choice
    suite = suite_for(choice.config, choice.facts, hash_facts, first)
    return choice if suite is None else replace(choice, suite=suite, transcript=Transcript(suite.hash))


def why_not_early(choice: Choice, psk: OfferedPsks, accepted: Accepted) -> EarlyReason | None:
    """Why the early data that comes with a session which resumes is refused; None: that is for the register to say."""
    config, position = choice.config, accepted.position
    offer = EarlyOffer(
        position=position,
        retried=choice.retried,
        version=_TLS13,
        suite=choice.suite.suite,
        alpn=choice.alpn,
        server_name=choice.facts.server_name or None,
        obfuscated_age_ms=psk.identities[position][1],
    )
    replay = config.replay
    policy = EarlyPolicy(  # made each time: the domain is another one after a fork
        max_early_data=config.max_early_data,
        domain=replay.domain if replay is not None else b"",
        window_s=replay.window_s if replay is not None else 0.0,
    )
    return early_eligible(accepted.session.data, policy, offer, config.clock())


def skippable(config: ServerConfig) -> int:
    """Bytes of records that are passed over where early data is refused: never less than twice what tickets allow."""
    return max(config.max_skipped_early_data, 2 * max(config.max_early_data, config.recv_max_early_data or 0))


def admission_of(choice: Choice, psk: OfferedPsks, accepted: Accepted) -> NeedAdmission:
    """The question whether this hello is new. Its binder has verified (F90). RFC 9846, section 8.2."""
    config = choice.config
    if config.replay is None:
        raise InternalError("early data was to be taken without a register")
    key = replay_key(accepted.session.secret, config.partition, psk.binders[accepted.position])
    return NeedAdmission(config.replay, key, config.clock())


def open_early_data(
    choice: Choice, accepted: Accepted | None, refusal: EarlyReason | None, out: Output
) -> EarlyFlow | None:
    """Say what becomes of the early data that comes with this hello, and how to read it if it is taken."""
    config, hello = choice.config, choice.facts.hello
    if accepted is None or refusal is not None:
        refusal = EarlyReason.OFF if not config.max_early_data else refusal
        out.early_data_is(EarlyData(EarlyState.REJECTED, refusal))
        return None
    limit = accepted.session.data.max_early_data
    if config.recv_max_early_data is not None:
        limit = min(limit, config.recv_max_early_data)
    flow = EarlyFlow(accepted.early, choice.transcript.digest(), choice.suite, limit, EarlyState.ACCEPTED)
    out.early_data_is(flow)
    if config.log_secrets:
        for label, secret in flow.secrets.items():
            out.log_secret(label, hello.random, secret)
    return flow
