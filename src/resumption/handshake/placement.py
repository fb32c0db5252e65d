"""Which extension may stand in which TLS 1.3 message, as a table. RFC 9846, section 4.3 [8446: 4.2].

Two questions are answered from it. A response (ServerHello, EncryptedExtensions, HelloRetryRequest, Certificate) may
hold nothing but what was asked for; a request (ClientHello, CertificateRequest) and a NewSessionTicket may hold what
nobody here knows, which is ignored. In both, an extension that is known and belongs elsewhere ends the handshake.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from enum import Enum
from typing import Final

from resumption.constants import ExtensionType, name_of
from resumption.errors import IllegalParameter, UnsupportedExtension
from resumption.wire.grease import GREASE_VALUES

__all__ = ["Place", "check_request", "check_response"]


class Place(Enum):
    """A message that has extensions. The value is for error texts."""

    misplaced: frozenset[int]  # the extensions that are known here and do NOT belong in it

    CH = "a ClientHello"
    SH = "the ServerHello"
    HRR = "the HelloRetryRequest"
    EE = "EncryptedExtensions"
    CT = "a CertificateEntry"
    CR = "the CertificateRequest"
    NST = "a NewSessionTicket"


def _fill_table() -> None:
    known = ExtensionType
    belong: dict[Place, set[ExtensionType]] = {
        Place.CH: set(known) - {known.oid_filters},
        Place.SH: {known.key_share, known.pre_shared_key, known.supported_versions},
        Place.HRR: {known.key_share, known.cookie, known.supported_versions},
        Place.EE: {
            known.server_name,
            known.max_fragment_length,
            known.supported_groups,
            known.application_layer_protocol_negotiation,
            known.client_certificate_type,
            known.server_certificate_type,
            known.record_size_limit,
            known.early_data,
            known.ticket_request,
        },
        Place.CT: {known.status_request, known.signed_certificate_timestamp},
        Place.CR: {
            known.server_name,
            known.status_request,
            known.signature_algorithms,
            known.signed_certificate_timestamp,
            known.compress_certificate,
            known.certificate_authorities,
            known.oid_filters,
            known.signature_algorithms_cert,
        },
        Place.NST: {known.early_data},
    }
    for place, allowed in belong.items():
        place.misplaced = frozenset(int(number) for number in set(known) - allowed)
    for place in (Place.SH, Place.HRR, Place.EE, Place.CT):  # RFC 8701, section 3.1: nobody may choose these
        place.misplaced |= frozenset(GREASE_VALUES)


_fill_table()
_COOKIE: Final = int(ExtensionType.cookie)


def check_response(asked: Container[int], received: Iterable[int], place: Place) -> None:
    """Raise `UnsupportedExtension` for an answer to nothing, `IllegalParameter` for one that belongs elsewhere.

    ``asked`` are the extensions of the ClientHello, or of the CertificateRequest that a client's Certificate answers. A
    HelloRetryRequest may hold a cookie that nobody asked for.
    """
    misplaced = place.misplaced
    for number in received:
        if number not in asked and not (number == _COOKIE and place is Place.HRR):
            raise UnsupportedExtension(f"{place.value} answers {name_of(ExtensionType, number)}, which was not offered")
        if number in misplaced:
            raise IllegalParameter(f"{name_of(ExtensionType, number)} does not belong in {place.value}")


def check_request(received: Iterable[int], place: Place) -> None:
    """Raise `IllegalParameter` for a known extension that belongs elsewhere."""
    if place.misplaced.isdisjoint(received):
        return
    for number in received:
        if number in place.misplaced:
            raise IllegalParameter(f"{name_of(ExtensionType, number)} does not belong in {place.value}")
