"""Key exchange groups: both sides agree, known answers, and every kind of bad share is refused."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x448, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from resumption.constants import NamedGroup
from resumption.crypto import groups
from resumption.crypto.groups import (
    DEFAULT_GROUPS,
    GROUPS,
    HYBRID_GROUPS,
    GroupFacts,
    by_name,
    chosen_shares,
    generate,
    respond,
)
from resumption.errors import ConfigurationError, IllegalParameter
from tests.crypto.traces import Trace

G = NamedGroup
every_group = pytest.mark.parametrize("facts", GROUPS.values(), ids=lambda facts: facts.name)
nist_curves = pytest.mark.parametrize(
    ("group", "curve"),
    [(G.secp256r1, ec.SECP256R1()), (G.secp384r1, ec.SECP384R1()), (G.secp521r1, ec.SECP521R1())],
)

# Points of small order on Curve25519, u-coordinates in little endian: RFC 7748, section 6.1, says what they lead to.
P25519 = 2**255 - 19
LOW_ORDER_25519 = [
    value.to_bytes(32, "little")
    for value in (
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        P25519 - 1,
        P25519,
        P25519 + 1,
    )
]
P448 = 2**448 - 2**224 - 1
LOW_ORDER_448 = [value.to_bytes(56, "little") for value in (0, 1, P448 - 1, P448, P448 + 1)]


@every_group
def test_both_sides_get_the_same_secret(facts: GroupFacts) -> None:
    share = generate(facts.group)
    answer, secret = respond(facts.group, share.public)
    assert share.group == facts.group
    assert share.finish(answer) == secret
    assert len(share.public) == facts.client_share_length
    assert len(answer) == facts.server_share_length
    assert len(secret) == facts.secret_length


@pytest.mark.proves("9846:4.3.8:5")
@every_group
def test_shares_are_fresh(facts: GroupFacts) -> None:
    first, second = generate(facts.group), generate(facts.group)
    assert first.public != second.public
    assert respond(facts.group, first.public) != respond(facts.group, first.public)


@every_group
@pytest.mark.parametrize("change", ["empty", "short", "long"])
def test_a_share_of_the_wrong_length_is_refused(facts: GroupFacts, change: str) -> None:
    def spoil(share: bytes) -> bytes:
        return {"empty": b"", "short": share[:-1], "long": share + b"\0"}[change]

    share = generate(facts.group)
    answer, _ = respond(facts.group, share.public)
    with pytest.raises(IllegalParameter):
        respond(facts.group, spoil(share.public))
    with pytest.raises(IllegalParameter):
        share.finish(spoil(answer))


@every_group
@settings(max_examples=30, deadline=None)
@given(data=st.binary(max_size=40))
def test_any_bytes_are_a_secret_or_refused(facts: GroupFacts, data: bytes) -> None:
    share = generate(facts.group)
    for step in (lambda: respond(facts.group, data)[1], lambda: share.finish(data)):
        with contextlib.suppress(IllegalParameter):
            assert len(step()) == facts.secret_length
            assert len(data) in (facts.client_share_length, facts.server_share_length)


@pytest.mark.proves("9846:7.4.2:2", "8422:5.10:2", "8422:5.11:3")
@pytest.mark.parametrize("point", LOW_ORDER_25519)
def test_an_all_zero_x25519_secret_is_refused(point: bytes) -> None:
    with pytest.raises(IllegalParameter, match="x25519 key share of 32 bytes"):
        respond(G.x25519, point)
    with pytest.raises(IllegalParameter):
        generate(G.x25519).finish(point)


@pytest.mark.proves("9846:7.4.2:2", "8422:5.10:2", "8422:5.11:3")
@pytest.mark.parametrize("point", LOW_ORDER_448)
def test_an_all_zero_x448_secret_is_refused(point: bytes) -> None:
    with pytest.raises(IllegalParameter, match="x448 key share of 56 bytes"):
        respond(G.x448, point)
    with pytest.raises(IllegalParameter):
        generate(G.x448).finish(point)


@pytest.mark.proves("9846:4.3.8.2:1", "8422:5.11:1", "8422:5.11:2")
@nist_curves
def test_a_point_that_is_not_on_the_curve_is_refused(group: int, curve: ec.EllipticCurve) -> None:
    good = generate(group).public
    for bad in (
        good[:-1] + bytes((good[-1] ^ 1,)),
        b"\x04" + bytes(len(good) - 1),
        b"\x04" + b"\xff" * (len(good) - 1),
    ):
        with pytest.raises(IllegalParameter, match=f"{curve.name} key share"):
            respond(group, bad)
        with pytest.raises(IllegalParameter):
            generate(group).finish(bad)


@pytest.mark.proves("8422:5.1.2:1")
@nist_curves
def test_only_the_uncompressed_form_is_accepted(group: int, curve: ec.EllipticCurve) -> None:
    public = ec.generate_private_key(curve).public_key()
    compressed = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    full = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    hybrid_form = bytes((6 | full[-1] & 1,)) + full[1:]  # X9.62 hybrid: same length, other first byte
    for form in (compressed, b"\0", hybrid_form):
        with pytest.raises(IllegalParameter):
            respond(group, form)
    assert respond(group, full)


class FixedX25519:
    """Stands in for the key class of `cryptography`, with a key that is known."""

    def __init__(self, private: bytes) -> None:
        self.key = x25519.X25519PrivateKey.from_private_bytes(private)

    def generate(self) -> x25519.X25519PrivateKey:
        return self.key


@pytest.mark.parametrize("name", ["simple-1rtt", "resumed-0rtt"])
def test_x25519_with_the_keys_of_rfc_8448(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = Trace.load(name)
    client = trace.one("create an ephemeral x25519 key pair", "client")
    server = trace.one("create an ephemeral x25519 key pair", "server")
    ours, theirs = FixedX25519(client["private key"]), FixedX25519(server["private key"])
    monkeypatch.setattr(x25519, "X25519PrivateKey", ours)
    share = generate(G.x25519)
    assert share.public == client["public key"]
    assert share.finish(server["public key"]) == trace.shared_secret
    monkeypatch.setattr(x25519, "X25519PrivateKey", theirs)
    assert respond(G.x25519, client["public key"]) == (server["public key"], trace.shared_secret)


def test_p256_with_the_keys_of_rfc_8448(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = Trace.load("hello-retry-request")
    client = trace.one("create an ephemeral P-256 key pair", "client")
    server = trace.one("create an ephemeral P-256 key pair", "server")
    key = ec.derive_private_key(int.from_bytes(client["private key"], "big"), ec.SECP256R1())
    monkeypatch.setattr(ec, "generate_private_key", lambda curve: key)
    share = generate(G.secp256r1)
    assert share.public == client["public key"]
    assert share.finish(server["public key"]) == trace.shared_secret


# --- hybrids, taken apart with nothing but the primitives: which part comes first -----------------------------------


def test_x25519mlkem768_has_ml_kem_first() -> None:
    share = generate(G.X25519MLKEM768)
    mine = x25519.X25519PrivateKey.generate()
    kem_secret, ciphertext = mlkem.MLKEM768PublicKey.from_public_bytes(share.public[:1184]).encapsulate()
    agreed = mine.exchange(x25519.X25519PublicKey.from_public_bytes(share.public[1184:]))
    assert share.finish(ciphertext + mine.public_key().public_bytes_raw()) == kem_secret + agreed

    decapsulation_key = mlkem.MLKEM768PrivateKey.generate()
    answer, secret = respond(
        G.X25519MLKEM768,
        decapsulation_key.public_key().public_bytes_raw() + mine.public_key().public_bytes_raw(),
    )
    agreed = mine.exchange(x25519.X25519PublicKey.from_public_bytes(answer[1088:]))
    assert secret == decapsulation_key.decapsulate(answer[:1088]) + agreed


@pytest.mark.parametrize(
    ("group", "curve", "point_length", "private", "public"),
    [
        (G.SecP256r1MLKEM768, ec.SECP256R1(), 65, mlkem.MLKEM768PrivateKey, mlkem.MLKEM768PublicKey),
        (G.SecP384r1MLKEM1024, ec.SECP384R1(), 97, mlkem.MLKEM1024PrivateKey, mlkem.MLKEM1024PublicKey),
    ],
)
def test_hybrids_with_nist_curves_have_the_curve_first(
    group: int,
    curve: ec.EllipticCurve,
    point_length: int,
    private: type[mlkem.MLKEM768PrivateKey],
    public: type[mlkem.MLKEM768PublicKey],
) -> None:
    mine = ec.generate_private_key(curve)
    point = mine.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def agree(theirs: bytes) -> bytes:
        return mine.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(curve, theirs))

    share = generate(group)
    kem_secret, ciphertext = public.from_public_bytes(share.public[point_length:]).encapsulate()
    assert share.finish(point + ciphertext) == agree(share.public[:point_length]) + kem_secret

    decapsulation_key = private.generate()
    answer, secret = respond(group, point + decapsulation_key.public_key().public_bytes_raw())
    assert secret == agree(answer[:point_length]) + decapsulation_key.decapsulate(answer[point_length:])


@pytest.mark.parametrize("group", HYBRID_GROUPS)
def test_a_hybrid_refuses_a_bad_part_of_either_kind(group: int) -> None:
    share = generate(group)
    answer, _ = respond(group, share.public)
    kem_first = group == G.X25519MLKEM768
    curve_length = {G.X25519MLKEM768: 32, G.SecP256r1MLKEM768: 65, G.SecP384r1MLKEM1024: 97}[NamedGroup(group)]

    def with_bad_curve(whole: bytes) -> bytes:
        return whole[:-curve_length] + bytes(curve_length) if kem_first else bytes(curve_length) + whole[curve_length:]

    with pytest.raises(IllegalParameter):
        respond(group, with_bad_curve(share.public))
    with pytest.raises(IllegalParameter):
        share.finish(with_bad_curve(answer))
    # an encapsulation key whose coefficients are out of range: FIPS 203, section 7.2
    bad_kem = (
        b"\xff" * (len(share.public) - curve_length) + share.public[-curve_length:]
        if kem_first
        else share.public[:curve_length] + b"\xff" * (len(share.public) - curve_length)
    )
    with pytest.raises(IllegalParameter):
        respond(group, bad_kem)


# --- the shares of one hello ------------------------------------------------------------------------------------------


@pytest.mark.proves("9846:4.3.8:2")
def test_a_hybrid_and_its_curve_have_keys_of_their_own() -> None:
    hybrid, curve = generate(G.X25519MLKEM768), generate(G.x25519)
    assert hybrid.public[1184:] != curve.public


def test_default_shares_are_the_first_group_and_the_curve_of_a_hybrid() -> None:
    assert chosen_shares((G.x25519, G.secp256r1), None) == (G.x25519,)
    assert chosen_shares((G.X25519MLKEM768, G.secp256r1, G.x25519), None) == (G.X25519MLKEM768, G.x25519)
    assert chosen_shares((G.X25519MLKEM768, G.secp256r1), None) == (G.X25519MLKEM768,)
    assert chosen_shares((G.secp256r1, G.X25519MLKEM768, G.x25519), None) == (G.secp256r1,)


# --- the table -------------------------------------------------------------------------------------------------------


def test_defaults() -> None:
    assert DEFAULT_GROUPS[:2] == (G.X25519MLKEM768, G.x25519)
    assert set(DEFAULT_GROUPS[1:]) == {G.x25519, G.secp256r1, G.secp384r1, G.secp521r1, G.x448}
    assert set(HYBRID_GROUPS) == {G.X25519MLKEM768, G.SecP256r1MLKEM768, G.SecP384r1MLKEM1024}
    assert all(GROUPS[group].tls13_only for group in HYBRID_GROUPS)


@every_group
def test_a_group_is_found_by_its_names(facts: GroupFacts) -> None:
    assert facts.name == NamedGroup(facts.group).name
    for name in (facts.name, facts.openssl_name, *facts.aliases, facts.name.lower()):
        assert by_name(name) is facts


def test_prime256v1_is_secp256r1() -> None:
    assert by_name("prime256v1").group == by_name("P-256").group == 23


def test_an_unknown_group_is_our_mistake() -> None:
    with pytest.raises(ConfigurationError, match="ffdhe9000"):
        by_name("ffdhe9000")
    with pytest.raises(ConfigurationError, match="0x0999"):
        generate(0x0999)
    for group in (258, 4097):  # ffdhe4096, and a number of nobody's
        with pytest.raises(ConfigurationError, match=f"0x{group:04x}"):
            respond(group, b"")


def test_x448_with_the_keys_of_rfc_7748(monkeypatch: pytest.MonkeyPatch) -> None:
    """Section 6.2 there."""
    ours = x448.X448PrivateKey.from_private_bytes(
        bytes.fromhex(
            "9a8f4925d1519f5775cf46b04b5800d4ee9ee8bae8bc5565d498c28d"
            "d9c9baf574a9419744897391006382a6f127ab1d9ac2d8c0a598726b"
        )
    )
    theirs = bytes.fromhex(
        "3eb7a829b0cd20f5bcfc0b599b6feccf6da4627107bdb0d4f345b430"
        "27d8b972fc3e34fb4232a13ca706dcb57aec3dae07bdc1c67bf33609"
    )
    secret = bytes.fromhex(
        "07fff4181ac6cc95ec1c16a94a0f74d12da232ce40a77552281d282b"
        "b60c0b56fd2464c335543936521c24403085d59a449a5037514a879d"
    )
    monkeypatch.setattr(x448.X448PrivateKey, "generate", lambda: ours)
    assert generate(G.x448).finish(theirs) == secret
    assert respond(G.x448, theirs) == (ours.public_key().public_bytes_raw(), secret)


def test_a_hybrid_with_a_known_ml_kem_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key and ciphertext are published ones; the curve's secret follows that of ML-KEM."""
    lines = (Path(__file__).parents[1] / "vectors" / "ml-kem" / "ML-KEM-768.txt").read_text("ascii").splitlines()[1:]
    values = {name: bytes.fromhex(value) for name, _, value in (line.partition(" = ") for line in lines)}
    key = mlkem.MLKEM768PrivateKey.from_seed_bytes(values["d"] + values["z"])
    curve = x25519.X25519PrivateKey.generate()
    monkeypatch.setattr(groups._ML_KEM_768, "_generate_key", lambda: key)
    share = generate(G.X25519MLKEM768)
    assert share.public[:1184] == values["ek"]
    agreed = curve.exchange(x25519.X25519PublicKey.from_public_bytes(share.public[1184:]))
    assert share.finish(values["c"] + curve.public_key().public_bytes_raw()) == values["K"] + agreed
