"""Who a TLS 1.3 client is: its Certificate and CertificateVerify, as a server judges them, during and after a
handshake.

RFC 9846, sections 4.5.1 and 4.5.2 [8446: 4.4.2, 4.4.3].
"""

from __future__ import annotations

from collections.abc import Container

from resumption.config import ServerConfig
from resumption.crypto.certificates import is_rsassa_pss, not_after_of, public_key_of
from resumption.crypto.chain_schemes import check_chain_schemes
from resumption.crypto.signatures import certificate_verify_content, verify
from resumption.errors import CertificateRequired, IllegalParameter
from resumption.frozen import frozen
from resumption.handshake.placement import Place, check_response
from resumption.wire.messages import Certificate, CertificateVerify

__all__ = ["Identity", "check_proof", "take_chain"]


@frozen
class Identity:
    """What is known of the client: its chain (empty when it showed none), and since when."""

    chain: tuple[bytes, ...]
    verify_result: int
    auth_time: float
    deadline: float


def take_chain(config: ServerConfig, message: Certificate, asked: Container[int], required: bool) -> Identity:
    """The identity that ``message`` claims, its chain verified; the proof is still to come unless it is empty.

    ``asked`` are the extensions of our request. An empty chain is an answer too: `CertificateRequired` only where a
    certificate is ``required``.
    """
    now = config.clock()
    if not message.certificate_list:
        if required:
            raise CertificateRequired("this server requires a client certificate")
        return Identity((), 0, now, now + config.max_auth_age_s)
    for entry in message.certificate_list:
        check_response(asked, entry.extensions, Place.CT)
    chain = tuple(entry.cert_data for entry in message.certificate_list)
    check_chain_schemes(chain, config.certificate_schemes)
    if config.trust is not None:
        path = config.trust.verify_client(chain, now)
        if config.crls is not None:
            config.crls.check(path, config.trust, now)
    return Identity(chain, 0, now, min(now + config.max_auth_age_s, not_after_of(chain)))


def check_proof(config: ServerConfig, identity: Identity, message: CertificateVerify, digest: bytes) -> None:
    """Verify the client's signature over the transcript, whose hash is ``digest``."""
    if message.algorithm not in config.schemes:
        raise IllegalParameter("the client signed with a scheme that was not offered")
    content = certificate_verify_content(False, digest)
    leaf = identity.chain[0]
    verify(public_key_of(leaf), message.algorithm, content, message.signature, rsassa_pss=is_rsassa_pss(leaf))
