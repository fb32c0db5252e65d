"""Key exchange groups: make a share, answer a share, get the shared secret.

What it does: for each NamedGroup (RFC 9846, section 4.3.7) the client's two steps (`generate`, then `KeyShare.finish`)
and the server's one (`respond`). What it leaves to others: framing of shares (`wire.extensions`) and the choice of a
group (handshake). Shares are raw public bytes everywhere: nothing else is ever made of them.

Every share of the peer is checked before use: its exact length, for the NIST curves the uncompressed form and the curve
equation (section 4.3.8.2), for X25519 and X448 that the result is not all zero (section 7.4.2), for ML-KEM the
encapsulation key check of FIPS 203. What does not pass is `IllegalParameter`.

The hybrids concatenate shares and secrets in the order of their definitions (draft-ietf-tls-ecdhe-mlkem): ML-KEM first
in X25519MLKEM768, ECDH first in the two with NIST curves. Where the OpenSSL beneath `cryptography` has no ML-KEM they
are not in the table, nor are the finite fields (`finite_field`) where `cryptography` has let go of those.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x448, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from resumption.constants import NamedGroup, name_of
from resumption.crypto.finite_field import AVAILABLE, FiniteField
from resumption.errors import ConfigurationError, IllegalParameter

__all__ = [
    "DEFAULT_GROUPS",
    "GROUPS",
    "HYBRID_GROUPS",
    "GroupFacts",
    "KeyShare",
    "by_name",
    "chosen_shares",
    "generate",
    "respond",
]


class KeyShare:
    """Our share while the peer's is awaited: ``public`` goes on the wire, `finish` ends it. Use it once.

    RFC 9846, section 4.3.8: a share is never reused for another connection.
    """

    __slots__ = ("_finish", "group", "public")

    def __init__(self, group: int, public: bytes, finish: Callable[[bytes], bytes]) -> None:
        self.group: int = group
        self.public: bytes = public
        self._finish: Callable[[bytes], bytes] = finish

    def finish(self, peer_share: bytes) -> bytes:
        """The shared secret of ours and the ``peer_share``. Raises `IllegalParameter` for a share that is not valid."""
        return self._finish(peer_share)


class _Exchange(Protocol):
    """How one group works. ``generate`` gives the public bytes and the step that takes the peer's share."""

    def generate(self) -> tuple[bytes, Callable[[bytes], bytes]]:
        """Client, first step."""

    def respond(self, peer_share: bytes) -> tuple[bytes, bytes]:
        """Server: our share and the shared secret."""


class _X25519:
    """RFC 7748, section 6.1."""

    def generate(self) -> tuple[bytes, Callable[[bytes], bytes]]:
        private = x25519.X25519PrivateKey.generate()

        def finish(peer_share: bytes) -> bytes:
            try:  # ValueError: wrong length, or an all-zero result
                return private.exchange(x25519.X25519PublicKey.from_public_bytes(peer_share))
            except ValueError:
                raise _bad_share("x25519", peer_share) from None

        return private.public_key().public_bytes_raw(), finish

    def respond(self, peer_share: bytes) -> tuple[bytes, bytes]:
        public, finish = self.generate()
        return public, finish(peer_share)


class _X448:
    """RFC 7748, section 6.2."""

    def generate(self) -> tuple[bytes, Callable[[bytes], bytes]]:
        private = x448.X448PrivateKey.generate()

        def finish(peer_share: bytes) -> bytes:
            try:  # ValueError: wrong length, or an all-zero result
                return private.exchange(x448.X448PublicKey.from_public_bytes(peer_share))
            except ValueError:
                raise _bad_share("x448", peer_share) from None

        return private.public_key().public_bytes_raw(), finish

    def respond(self, peer_share: bytes) -> tuple[bytes, bytes]:
        public, finish = self.generate()
        return public, finish(peer_share)


_ECDH = ec.ECDH()
_POINT = (Encoding.X962, PublicFormat.UncompressedPoint)


class _NistCurve:
    """ECDH over a NIST curve with uncompressed points. RFC 9846, sections 4.3.8.2 and 7.4.2."""

    def __init__(self, curve: ec.EllipticCurve) -> None:
        self._curve = curve
        self._length = 1 + 2 * ((curve.key_size + 7) // 8)

    def generate(self) -> tuple[bytes, Callable[[bytes], bytes]]:
        private = ec.generate_private_key(self._curve)

        def finish(peer_share: bytes) -> bytes:
            # the length excludes the compressed and hybrid forms and infinity, which the loader would accept
            if len(peer_share) != self._length or peer_share[0] != 4:
                raise _bad_share(self._curve.name, peer_share)
            try:  # ValueError: not a point of the curve
                peer = ec.EllipticCurvePublicKey.from_encoded_point(self._curve, peer_share)
            except ValueError:
                raise _bad_share(self._curve.name, peer_share) from None
            return private.exchange(_ECDH, peer)

        return private.public_key().public_bytes(*_POINT), finish

    def respond(self, peer_share: bytes) -> tuple[bytes, bytes]:
        public, finish = self.generate()
        return public, finish(peer_share)


class _MlKem:
    """ML-KEM as one part of a hybrid; the secret is 32 bytes. FIPS 203.

    Both steps raise ValueError for what the peer got wrong, which `_Hybrid` answers for.
    """

    def __init__(
        self,
        generate_key: Callable[[], mlkem.MLKEM768PrivateKey | mlkem.MLKEM1024PrivateKey],
        load: Callable[[bytes], mlkem.MLKEM768PublicKey | mlkem.MLKEM1024PublicKey],
    ) -> None:
        self._generate_key = generate_key
        self._load = load

    def generate(self) -> tuple[bytes, Callable[[bytes], bytes]]:
        private = self._generate_key()
        return private.public_key().public_bytes_raw(), private.decapsulate

    def respond(self, peer_share: bytes) -> tuple[bytes, bytes]:
        secret, ciphertext = self._load(peer_share).encapsulate()
        return ciphertext, secret


class _Hybrid:
    """Two exchanges side by side, shares and secrets concatenated. draft-ietf-tls-hybrid-design, section 3.

    ``cuts`` are the lengths of the first part in the client's and in the server's share.
    """

    def __init__(self, name: str, first: _Exchange, second: _Exchange, cuts: tuple[int, int]) -> None:
        self._name = name
        self._first = first
        self._second = second
        self._client_cut, self._server_cut = cuts

    def generate(self) -> tuple[bytes, Callable[[bytes], bytes]]:
        first_public, finish_first = self._first.generate()
        second_public, finish_second = self._second.generate()
        cut = self._server_cut

        def finish(peer_share: bytes) -> bytes:
            try:  # ValueError: the ML-KEM ciphertext has the wrong length
                return finish_first(peer_share[:cut]) + finish_second(peer_share[cut:])
            except ValueError:
                raise _bad_share(self._name, peer_share) from None

        return first_public + second_public, finish

    def respond(self, peer_share: bytes) -> tuple[bytes, bytes]:
        cut = self._client_cut
        try:  # ValueError: the ML-KEM encapsulation key does not pass its check
            first_public, first_secret = self._first.respond(peer_share[:cut])
            second_public, second_secret = self._second.respond(peer_share[cut:])
        except ValueError:
            raise _bad_share(self._name, peer_share) from None
        return first_public + second_public, first_secret + second_secret


class _FiniteField:
    """As `finite_field` has it, with our error for a bad share."""

    def __init__(self, name: str, bits: int, offset: int) -> None:
        self._name = name
        self._field = FiniteField(bits, offset)

    def generate(self) -> tuple[bytes, Callable[[bytes], bytes]]:
        public, finish_plainly = self._field.generate()

        def finish(peer_share: bytes) -> bytes:
            try:  # ValueError: wrong length, or out of range
                return finish_plainly(peer_share)
            except ValueError:
                raise _bad_share(self._name, peer_share) from None

        return public, finish

    def respond(self, peer_share: bytes) -> tuple[bytes, bytes]:
        try:
            return self._field.respond(peer_share)
        except ValueError:
            raise _bad_share(self._name, peer_share) from None


def _bad_share(name: str, share: bytes) -> IllegalParameter:
    return IllegalParameter(f"the peer's {name} key share of {len(share)} bytes is not valid")


@dataclass(frozen=True, slots=True, eq=False)
class GroupFacts:
    """One group. Lengths are in bytes; ``tls13_only``: has no meaning in TLS 1.2. ``curve``: a hybrid's curve, else 0.

    ``openssl_name`` is what OpenSSL's ``SSL_group_to_name`` says; ``aliases`` are further names people write.
    """

    group: int
    name: str
    openssl_name: str
    aliases: tuple[str, ...]
    client_share_length: int
    server_share_length: int
    secret_length: int
    tls13_only: bool
    curve: int
    exchange: _Exchange


def _facts(
    group: NamedGroup,
    exchange: _Exchange,
    lengths: tuple[int, int, int],
    *aliases: str,
    tls13_only: bool = False,
    curve: int = 0,
) -> GroupFacts:
    return GroupFacts(int(group), group.name, group.name, aliases, *lengths, tls13_only, int(curve), exchange)


def _has_ml_kem() -> bool:
    """Whether the OpenSSL beneath has ML-KEM: asked by a key that is refused at once, either way."""
    try:
        mlkem.MLKEM768PublicKey.from_public_bytes(b"")
    except UnsupportedAlgorithm:  # pragma: no cover - OpenSSL before 3.5
        return False
    except ValueError:
        return True
    return True  # pragma: no cover


_P256, _P384, _P521 = _NistCurve(ec.SECP256R1()), _NistCurve(ec.SECP384R1()), _NistCurve(ec.SECP521R1())
_ML_KEM_768 = _MlKem(mlkem.MLKEM768PrivateKey.generate, mlkem.MLKEM768PublicKey.from_public_bytes)
_ML_KEM_1024 = _MlKem(mlkem.MLKEM1024PrivateKey.generate, mlkem.MLKEM1024PublicKey.from_public_bytes)
_G = NamedGroup

_CLASSICAL = (
    _facts(_G.x25519, _X25519(), (32, 32, 32)),
    _facts(_G.secp256r1, _P256, (65, 65, 32), "P-256", "prime256v1"),
    _facts(_G.secp384r1, _P384, (97, 97, 48), "P-384"),
    _facts(_G.secp521r1, _P521, (133, 133, 66), "P-521"),
    _facts(_G.x448, _X448(), (56, 56, 56)),
)
_HYBRIDS = (
    _facts(
        _G.X25519MLKEM768,
        _Hybrid("X25519MLKEM768", _ML_KEM_768, _X25519(), (1184, 1088)),
        (1216, 1120, 64),
        tls13_only=True,
        curve=_G.x25519,
    ),
    _facts(
        _G.SecP256r1MLKEM768,
        _Hybrid("SecP256r1MLKEM768", _P256, _ML_KEM_768, (65, 65)),
        (1249, 1153, 64),
        tls13_only=True,
        curve=_G.secp256r1,
    ),
    _facts(
        _G.SecP384r1MLKEM1024,
        _Hybrid("SecP384r1MLKEM1024", _P384, _ML_KEM_1024, (97, 97)),
        (1665, 1665, 80),
        tls13_only=True,
        curve=_G.secp384r1,
    ),
)
_FINITE_FIELDS = (
    _facts(_G.ffdhe2048, _FiniteField("ffdhe2048", 2048, 560_316), (256, 256, 256), tls13_only=True),
    _facts(_G.ffdhe3072, _FiniteField("ffdhe3072", 3072, 2_625_351), (384, 384, 384), tls13_only=True),
)
_ALL: tuple[GroupFacts, ...] = (
    *(_HYBRIDS if _has_ml_kem() else ()),
    *_CLASSICAL,
    *(_FINITE_FIELDS if AVAILABLE else ()),
)

GROUPS: dict[int, GroupFacts] = {facts.group: facts for facts in _ALL}
"""Every group by its number."""

HYBRID_GROUPS: tuple[int, ...] = tuple(facts.group for facts in _ALL if facts.curve)
"""Post-quantum hybrids, TLS 1.3 only; empty without ML-KEM."""
DEFAULT_GROUPS: tuple[int, ...] = (*HYBRID_GROUPS[:1], *(facts.group for facts in _CLASSICAL))
"""In order of preference: X25519MLKEM768 where there is ML-KEM, then the elliptic curves."""

_BY_NAME = {name.upper(): facts for facts in _ALL for name in (facts.name, facts.openssl_name, *facts.aliases)}


def by_name(name: str) -> GroupFacts:
    """The group with this IANA or OpenSSL name, in any case. Raises `ConfigurationError` for a name we do not speak."""
    facts = _BY_NAME.get(name.upper())
    if facts is None:
        raise ConfigurationError(f"unknown key exchange group {name!r}")
    return facts


def _exchange_of(group: int) -> _Exchange:
    facts = GROUPS.get(group)
    if facts is None:
        raise ConfigurationError(f"key exchange group {name_of(NamedGroup, group)} is not supported")
    return facts.exchange


def generate(group: int) -> KeyShare:
    """A fresh share of ``group``. Raises `ConfigurationError` when the group is not in `GROUPS`."""
    public, finish = _exchange_of(group).generate()
    return KeyShare(group, public, finish)


def respond(group: int, peer_share: bytes) -> tuple[bytes, bytes]:
    """The server's share and the shared secret that answer a client's share. RFC 9846, section 4.3.8.

    Raises `IllegalParameter` for a share that is not valid in ``group``, and `ConfigurationError` when the group is
    not in `GROUPS`: the handshake only takes groups that both sides have.
    """
    return _exchange_of(group).respond(peer_share)


def chosen_shares(groups: tuple[int, ...], wanted: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """The groups to send shares of to a server that is not known: so many as ``wanted``, or those.

    None: the first, and with a hybrid also its curve; a server without ML-KEM then needs no second hello. See
    docs/adr/0007. Raises `ConfigurationError` for a wish that is not part of ``groups``, in their order.
    """
    if wanted is None:
        facts = GROUPS.get(groups[0])
        return (groups[0], facts.curve) if facts is not None and facts.curve in groups else groups[:1]
    if isinstance(wanted, int):
        if wanted < 0:
            raise ConfigurationError("key_shares is negative")
        return groups[:wanted]
    if wanted != tuple([group for group in groups if group in wanted]):
        raise ConfigurationError("key_shares must name some of groups, in the same order")
    return wanted
