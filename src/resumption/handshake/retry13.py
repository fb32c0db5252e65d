"""HelloRetryRequest as a server sends it, and what the second ClientHello must repeat. RFC 9846, section 4.2.4.

Pure functions: the states that send the request and take the answer are in `server13`.
"""

from __future__ import annotations

import hashlib

from resumption.constants import ExtensionType, NamedGroup, ProtocolVersion, name_of
from resumption.errors import IllegalParameter, MissingExtension
from resumption.handshake.hello import ClientHelloFacts
from resumption.wire import extensions
from resumption.wire.messages import HELLO_RETRY_REQUEST_RANDOM, ClientHello, ServerHello

__all__ = ["check_psks", "check_repeated", "pack_retry", "requested_share", "unchanged_digest"]

_TLS12 = int(ProtocolVersion.TLSv1_2)
_TLS13 = int(ProtocolVersion.TLSv1_3)
_KEY_SHARE = int(ExtensionType.key_share)
_COOKIE = int(ExtensionType.cookie)
_EARLY_DATA = int(ExtensionType.early_data)
_PADDING = int(ExtensionType.padding)
_PRE_SHARED_KEY = int(ExtensionType.pre_shared_key)
_SUPPORTED_VERSIONS = int(ExtensionType.supported_versions)
_SELECTED_VERSION = extensions.pack_supported_versions_server(_TLS13)

# What may differ between the two hellos, and is looked at by itself. RFC 9846, section 4.2.2 [8446: 4.1.2].
_MAY_CHANGE = frozenset({_KEY_SHARE, _COOKIE, _EARLY_DATA, _PADDING, _PRE_SHARED_KEY})


def pack_retry(session_id: bytes, suite: int, group: int | None, cookie: bytes | None) -> bytes:
    """A packed HelloRetryRequest: the same bytes for the same arguments, as a stateless server needs them."""
    bodies = {_SUPPORTED_VERSIONS: _SELECTED_VERSION}
    if group is not None:
        bodies[_KEY_SHARE] = extensions.pack_key_share_retry(group)
    if cookie is not None:
        bodies[_COOKIE] = extensions.pack_cookie(cookie)
    return ServerHello(
        legacy_version=_TLS12,
        random=HELLO_RETRY_REQUEST_RANDOM,
        legacy_session_id_echo=session_id,
        cipher_suite=suite,
        legacy_compression_method=0,
        extensions=bodies,
    ).pack()


def check_repeated(before: ClientHello, message: ClientHello) -> None:
    """Nothing may have changed but what the request asked for (F35). Raises `IllegalParameter`."""
    if (
        message.legacy_version != before.legacy_version
        or message.random != before.random
        or message.legacy_session_id != before.legacy_session_id
        or message.cipher_suites != before.cipher_suites
        or message.legacy_compression_methods != before.legacy_compression_methods
    ):
        raise IllegalParameter("the second ClientHello differs from the first")
    was, now = before.extensions, message.extensions
    for number in was.keys() | now.keys():
        if number not in _MAY_CHANGE and was.get(number) != now.get(number):
            raise IllegalParameter(f"extension {number} differs between the two ClientHellos")
    if [one for one in was if one not in _MAY_CHANGE] != [one for one in now if one not in _MAY_CHANGE]:
        raise IllegalParameter("the extensions of the two ClientHellos are not in the same order")


def unchanged_digest(hello: ClientHello) -> bytes:
    """What `check_repeated` compares, as 32 bytes: equal for two hellos that it would let pass, and for no others."""
    parts = [
        hello.legacy_version.to_bytes(2, "big"),
        hello.random,
        bytes((len(hello.legacy_session_id),)),
        hello.legacy_session_id,
        len(hello.cipher_suites).to_bytes(2, "big"),
        b"".join([suite.to_bytes(2, "big") for suite in hello.cipher_suites]),
        bytes((len(hello.legacy_compression_methods),)),
        hello.legacy_compression_methods,
    ]
    for number, body in hello.extensions.items():  # in their order, which must stay too
        if number not in _MAY_CHANGE:
            parts += (number.to_bytes(2, "big"), len(body).to_bytes(2, "big"), body)
    return hashlib.sha256(b"".join(parts)).digest()


def check_psks(first: ClientHelloFacts, second: ClientHelloFacts) -> None:
    """The second hello may leave PSKs out, but not bring new ones or another order. RFC 9846, section 4.2.2."""
    if second.psk is None:
        return
    before = iter([identity for identity, _ in first.psk.identities] if first.psk is not None else ())
    for identity, _ in second.psk.identities:
        if identity not in before:  # goes on from where the one before it was found
            raise IllegalParameter("the second ClientHello offers a PSK that the first did not, or in another order")


def requested_share(facts: ClientHelloFacts, group: int, asked: bool) -> bytes:
    """The key share of ``group`` in a second hello: the only one, if the request ``asked`` for it."""
    if _EARLY_DATA in facts.hello.extensions:
        raise IllegalParameter("the second ClientHello may not announce early data")
    shares = facts.key_shares
    if shares is None:
        raise MissingExtension("the second ClientHello has no key_share")
    for number, share in shares:
        if number == group and (len(shares) == 1 or not asked):
            return share
    raise IllegalParameter(f"the second ClientHello has no key share for {name_of(NamedGroup, group)}, or others too")
