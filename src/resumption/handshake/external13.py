"""A TLS 1.3 server that takes a key which both ends were given outside TLS. RFC 9846, section 4.3.11; RFC 9258.

Its identities are looked up before any of them is tried as a ticket, and what is one is never tried as the other (F44):
the label of its binder is another one too.
"""

from __future__ import annotations

from dataclasses import replace

from resumption.config import ServerConfig
from resumption.crypto.external_psk import ExternalPsk
from resumption.crypto.schedule13 import EarlySecret
from resumption.crypto.suites import SUITES, SuiteFacts
from resumption.frozen import frozen
from resumption.handshake.choice13 import MAX_IDENTITIES, Choice
from resumption.handshake.hello import ClientHelloFacts
from resumption.handshake.state import Transcript
from resumption.session.gate import external_usable
from resumption.session.verdicts import Reason
from resumption.wire.extensions import OfferedPsks

__all__ = ["External", "suite_before_retry", "take_external"]


def suite_before_retry(config: ServerConfig, facts: ClientHelloFacts, suite: SuiteFacts) -> SuiteFacts:
    """``suite``, or the one that the first key which is known needs: a HelloRetryRequest settles it."""
    for identity, _ in facts.psk.identities[:MAX_IDENTITIES] if facts.psk is not None else ():
        psk = config.psk_for(identity)
        if psk is not None:
            return suite if suite.hash is psk.hash_facts else _suite_for(config, facts, psk) or suite
    return suite


def _suite_for(config: ServerConfig, facts: ClientHelloFacts, psk: ExternalPsk) -> SuiteFacts | None:
    for number in config.suites_13:
        suite = SUITES[number]
        if suite.hash is psk.hash_facts and number in facts.hello.cipher_suites:
            return suite
    return None


@frozen
class External:
    """A key that the gate let pass and whose binder verified."""

    psk: ExternalPsk
    early: EarlySecret
    position: int


def take_external(
    choice: Choice, psk: ExternalPsk, offered: OfferedPsks, position: int
) -> tuple[Choice, External] | Reason:
    """The choice that serves with ``psk``, or why it does not. Raises `DecryptError` for a wrong binder.

    Before a retry, a suite of the key's hash is chosen in place of another one.
    """
    config, facts = choice.config, choice.facts
    if choice.suite.hash is not psk.hash_facts and not choice.retried:
        suite = _suite_for(config, facts, psk)
        if suite is not None:
            choice = replace(choice, suite=suite, transcript=Transcript(suite.hash))
    verdict = external_usable(
        psk, "server", choice.suite, psk_dhe_ke=facts.psk_dhe_ke, client_auth=config.policy.client_auth
    )
    if verdict.reason is not None:
        return verdict.reason
    early = EarlySecret.from_psk(choice.suite.hash, psk.key)
    truncated = choice.raw[: -offered.binders_length]
    digest = choice.transcript.digest_with(truncated)
    early.verify_binder(digest, offered.binders[position], kind=psk.binder_kind)
    return choice, External(psk, early, position)
