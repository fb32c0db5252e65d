"""What a server shows beside its certificate: an OCSP response and certificate timestamps, and what a client makes of
it.

RFC 6066, section 8; RFC 6962, section 3.3; RFC 9846, section 4.5.1.1 [8446: 4.4.2.1].
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from resumption.config import ClientConfig
from resumption.constants import ExtensionType
from resumption.crypto.status import check_status, demands_status
from resumption.errors import BadCertificateStatus
from resumption.frozen import frozen
from resumption.handshake.state import Output
from resumption.wire import extensions

__all__ = ["NOTHING_SHOWN", "Shown", "judge_status", "shown_beside"]

_STATUS_REQUEST = int(ExtensionType.status_request)
_TIMESTAMPS = int(ExtensionType.signed_certificate_timestamp)


@frozen
class Shown:
    """What came beside a certificate. ``scts`` are serialised timestamps, which nobody here checks."""

    ocsp_response: bytes | None
    scts: tuple[bytes, ...]


NOTHING_SHOWN = Shown(None, ())


def shown_beside(bodies: Mapping[int, bytes]) -> Shown:
    """What the extensions of the first CertificateEntry say. TLS 1.3."""
    if not bodies:
        return NOTHING_SHOWN
    status, timestamps = bodies.get(_STATUS_REQUEST), bodies.get(_TIMESTAMPS)
    return Shown(
        extensions.parse_status_request_certificate(status) if status is not None else None,
        tuple(extensions.parse_signed_certificate_timestamp_server(timestamps)) if timestamps is not None else (),
    )


def judge_status(config: ClientConfig, path: Sequence[bytes], shown: Shown, now: float, out: Output) -> float:
    """Until when the revocation status is good by this client's policy; for ever where it asks nothing.

    ``path`` is the verified chain, empty where nothing is verified. Raises `CertificateRevoked` or
    `BadCertificateStatus`.
    """
    if shown is not NOTHING_SHOWN:
        out.show(shown.ocsp_response, shown.scts)
    if config.ocsp == "off" or not path:
        return math.inf
    if shown.ocsp_response is not None:
        return check_status(shown.ocsp_response, path, now)
    if config.ocsp == "require" or demands_status(path[0]):
        raise BadCertificateStatus("the server shows no OCSP response for its certificate, and one is demanded")
    return math.inf
