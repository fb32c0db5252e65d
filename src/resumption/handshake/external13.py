"""A TLS 1.3 server that takes a key which both ends were given outside TLS. RFC 9846, section 4.3.11; RFC 9258.

Its identities are looked up before any of them is tried as a ticket, and what is one is never tried as the other (F44):
the label of its binder is another one too.
"""

from __future__ import annotations

from resumption.config import ServerConfig
from resumption.crypto.external_psk import ExternalPsk
from resumption.crypto.hashes import SHA256, SHA384
from resumption.crypto.schedule13 import EarlySecret
from resumption.crypto.suites import SuiteFacts
from resumption.frozen import frozen
from resumption.handshake.choice13 import MAX_IDENTITIES, Choice, suite_for, with_suite_for
from resumption.handshake.hello import ClientHelloFacts
from resumption.handshake.state import Output
from resumption.session.gate import external_usable
from resumption.session.verdicts import Reason
from resumption.wire.extensions import OfferedPsks

__all__ = ["External", "suite_before_retry", "take_external"]


def suite_before_retry(config: ServerConfig, facts: ClientHelloFacts, suite: SuiteFacts, out: Output) -> SuiteFacts:
    """``suite``, or one that fits the PSKs: a HelloRetryRequest settles it before any session is looked up.

    An external key that is known decides. Otherwise the first PSK does, whose binder is as long as its hash.
    """
    psk = facts.psk
    if psk is None or not facts.psk_dhe_ke:
        return suite
    wanted = None
    if config.psks is not None:
        known = (config.psk_for(identity, out) for identity, _ in psk.identities[:MAX_IDENTITIES])
        wanted = next((external.hash_facts for external in known if external is not None), None)
    if wanted is None:
        if len(psk.binders[0]) == suite.hash.digest_size:
            return suite
        wanted = next((one for one in (SHA256, SHA384) if one.digest_size == len(psk.binders[0])), None)
    if wanted is None or wanted is suite.hash:
        return suite
    return suite_for(config, facts, wanted) or suite


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
    choice = with_suite_for(choice, psk.hash_facts)
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
