"""Keys that both ends were given outside TLS, for TLS 1.3: external PSKs. RFC 9846, sections 2.2 and 4.3.11; RFC 9258.

An `ExternalPsk` belongs to one role, so that an end which has the key does not take its own handshake, reflected, for
its peer's (the Selfie attack). It serves with a key exchange only (psk_dhe_ke). `import_psk` derives such keys from one
that other protocols, hashes or pairs of roles use too. Whether a key may serve a handshake, the gate says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from resumption.constants import ProtocolVersion
from resumption.crypto.hashes import SHA256, SHA384, HashFacts, hmac_once
from resumption.crypto.schedule13 import BinderKind, expand_label
from resumption.errors import ConfigurationError

__all__ = ["ExternalPsk", "import_psk"]

_HASHES: Final = {"sha256": SHA256, "sha384": SHA384}
_KDF_IDS: Final = {"sha256": 1, "sha384": 2}  # RFC 9258, section 10
_LONGEST_IDENTITY: Final = 2**15  # bytes; a hello has to hold it
_SHORTEST_KEY: Final = 16  # bytes: less than 128 bits can be guessed, RFC 9257, section 6


@dataclass(frozen=True, slots=True)
class ExternalPsk:
    """One key, the name that goes over the wire in clear, and the hash that it is for. RFC 9846, section 4.3.11.

    ``role``: what this end is, "client" or "server". ``imported``: it comes from `import_psk`, which both ends have to
    use then. Raises `ConfigurationError` for a key that is shorter than 16 bytes or all of one byte, and for an empty
    identity or one of more than 2**15 bytes.
    """

    identity: bytes
    key: bytes = field(repr=False)
    role: Literal["client", "server"]
    hash: str = "sha256"
    imported: bool = False

    def __post_init__(self) -> None:
        if not 0 < len(self.identity) <= _LONGEST_IDENTITY:
            raise ConfigurationError(f"the identity of a PSK has 1 to {_LONGEST_IDENTITY} bytes")
        if len(self.key) < _SHORTEST_KEY or self.key.count(self.key[0]) == len(self.key):
            raise ConfigurationError(f"a PSK has at least {_SHORTEST_KEY} bytes, which are not all the same")
        if self.hash not in _HASHES:
            raise ConfigurationError('the hash of a PSK is "sha256" or "sha384"')
        if self.role not in ("client", "server"):
            raise ConfigurationError('the role of a PSK is what this end is: "client" or "server"')

    @property
    def hash_facts(self) -> HashFacts:
        """The hash of the suites that this key can serve."""
        return _HASHES[self.hash]

    @property
    def binder_kind(self) -> BinderKind:
        """The label of its binder. RFC 9846, section 7.1; RFC 9258, section 5.2."""
        return "imported" if self.imported else "external"


def import_psk(
    identity: bytes,
    key: bytes,
    role: Literal["client", "server"],
    *,
    context: bytes = b"",
    target: str = "sha256",
    key_hash: str = "sha256",
    protocol: int = ProtocolVersion.TLSv1_3,
) -> ExternalPsk:
    """The key for one protocol and hash that follows from ``key``, as RFC 9258, section 5, imports it.

    ``context`` is what else binds it, for example who is client and who is server. ``target`` is the hash of the suites
    that the result serves, ``key_hash`` the one that ``key`` itself is for. Import it once for each target.
    Raises `ConfigurationError` as `ExternalPsk` does.
    """
    if target not in _KDF_IDS or key_hash not in _HASHES:
        raise ConfigurationError('the hash of a PSK is "sha256" or "sha384"')
    if not identity or len(key) < _SHORTEST_KEY:
        raise ConfigurationError(f"a PSK has an identity, and at least {_SHORTEST_KEY} bytes")
    if len(identity) + len(context) > _LONGEST_IDENTITY - 8:
        raise ConfigurationError(f"identity and context of a PSK have at most {_LONGEST_IDENTITY - 8} bytes")
    # struct { opaque external_identity<1..2^16-1>; opaque context<0..2^16-1>; uint16 target_protocol, target_kdf; }
    imported = b"".join(
        (
            len(identity).to_bytes(2, "big"),
            identity,
            len(context).to_bytes(2, "big"),
            context,
            int(protocol).to_bytes(2, "big"),
            _KDF_IDS[target].to_bytes(2, "big"),
        )
    )
    facts = _HASHES[key_hash]
    extracted = hmac_once(facts, bytes(facts.digest_size), key)
    derived = expand_label(facts, extracted, b"derived psk", facts.digest(imported), _HASHES[target].digest_size)
    return ExternalPsk(imported, derived, role, target, imported=True)
