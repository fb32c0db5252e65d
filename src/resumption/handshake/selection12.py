"""What a TLS 1.2 server picks from a hello for a full handshake: the group, the suite, the certificate, its scheme."""

from __future__ import annotations

from resumption.config import ServerConfig
from resumption.crypto.certificates import CertifiedKey
from resumption.crypto.signatures import curve_group
from resumption.crypto.suites import SUITES, SuiteFacts
from resumption.errors import HandshakeFailure
from resumption.handshake.established12 import fits_suite
from resumption.handshake.hello import ClientHelloFacts

__all__ = ["choose_group", "choose_suite"]


def choose_group(config: ServerConfig, facts: ClientHelloFacts) -> int:
    """Our first group that the client lists; without a list it can do P-256. RFC 8422, section 5.1."""
    groups = facts.groups if facts.groups is not None else (23,)
    group = next((group for group in config.groups_12 if group in groups), None)
    if group is None:
        raise HandshakeFailure("the client offers no elliptic curve that is enabled here")
    return group


def choose_suite(
    config: ServerConfig, facts: ClientHelloFacts, schemes: tuple[int, ...]
) -> tuple[SuiteFacts, CertifiedKey, int]:
    """Our first suite that the client offers and for which there is a certificate that it can check."""
    keys = config.keys_for(facts.server_name or None, facts.certificate_schemes)
    if facts.groups is not None:  # a key on a curve that the client did not list is none it can check: RFC 8422, 5.3
        groups = facts.groups
        keys = tuple([key for key in keys if (curve := curve_group(key.public_key)) is None or curve in groups])
    for number in config.suites_12:
        if number not in facts.hello.cipher_suites:
            continue
        suite = SUITES[number]
        for key in keys:
            for scheme in key.schemes12:
                if scheme in schemes and fits_suite(scheme, suite):
                    return suite, key, scheme
    raise HandshakeFailure("the client offers no TLS 1.2 cipher suite that is enabled here and fits a certificate")
