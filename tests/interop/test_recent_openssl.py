"""The OpenSSL that `cryptography` brings, through pyOpenSSL and in memory: hybrids, every group, suite and signature.

It is newer than the programs of most machines (ML-KEM came with 3.5), and needs no process and no socket.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

import pytest

from resumption import ClientContext, ServerContext
from resumption.connection import Connection
from resumption.constants import NamedGroup as G
from resumption.constants import ProtocolVersion
from resumption.constants import SignatureScheme as S
from resumption.crypto.cookies import CookieKeys
from resumption.crypto.groups import DEFAULT_GROUPS, GROUPS, HYBRID_GROUPS
from resumption.crypto.suites import SUITES
from tests.pki import Credential, Pki

pytestmark = pytest.mark.interop

V12, V13 = ProtocolVersion.TLSv1_2, ProtocolVersion.TLSv1_3
FULL_RECORD = 16_384 + 256 + 5
# OpenSSL's own names where they are not IANA's
GROUP_NAMES = {G.x25519: "X25519", G.secp256r1: "P-256", G.secp384r1: "P-384", G.secp521r1: "P-521", G.x448: "X448"}
SIGNATURES = {
    "ecdsa_p256": (S.ecdsa_secp256r1_sha256,),
    "ecdsa_p384": (S.ecdsa_secp384r1_sha384,),
    "ecdsa_p521": (S.ecdsa_secp521r1_sha512,),
    "ed25519": (S.ed25519,),
    "ed448": (S.ed448,),
    "rsa2048": (
        S.rsa_pss_rsae_sha256,
        S.rsa_pss_rsae_sha384,
        S.rsa_pss_rsae_sha512,
        S.rsa_pkcs1_sha256,
        S.rsa_pkcs1_sha384,
        S.rsa_pkcs1_sha512,
    ),
}


def group_name(group: int) -> str:
    return GROUP_NAMES.get(G(group), G(group).name)


class OpenSSL:
    """Settings of one end, for any number of connections."""

    def __init__(self, pki: Pki, version: int, leaf: Credential | None = None, groups: str = "") -> None:
        self.ssl: Any = importlib.import_module("OpenSSL.SSL")
        self.lib: Any = importlib.import_module("OpenSSL._util").lib
        self.is_server = leaf is not None
        self.context = context = self.ssl.Context(self.ssl.TLS_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        if leaf is not None:
            context.use_certificate(leaf.chain[0])
            for one in leaf.chain[1:]:
                context.add_extra_chain_cert(one)
            context.use_privatekey(leaf.private_key)
            context.set_session_id(b"interop")
        if groups:
            assert self.lib.SSL_CTX_set1_curves_list(context._context, groups.encode()) == 1

    def suites(self, version: int, name: str) -> OpenSSL:
        if version == V13:
            self.context.set_tls13_ciphersuites(name.encode())
            self.context.set_cipher_list(b"ALL:@SECLEVEL=0")  # a tag of 8 bytes is not secure enough for the default
        else:
            self.context.set_cipher_list(f"{name}:@SECLEVEL=0".encode())
        return self

    def signatures(self, names: str) -> OpenSSL:
        assert self.lib.SSL_CTX_set1_sigalgs_list(self.context._context, names.encode()) == 1
        return self

    def meet(self, ours: Connection, session: Any = None) -> OpenSSLEnd:
        """A handshake, and four bytes each way."""
        return OpenSSLEnd(self, ours, session)


class OpenSSLEnd:
    """One connection of OpenSSL's with one of ours."""

    def __init__(self, settings: OpenSSL, ours: Connection, session: Any) -> None:
        self.ours, self.settings = ours, settings
        self.theirs: Any = settings.ssl.Connection(settings.context, None)
        self.received: list[Any] = []
        if settings.is_server:
            self.theirs.set_accept_state()
        else:
            self.theirs.set_connect_state()
            self.theirs.set_tlsext_host_name(b"localhost")
            if session is not None:
                self.theirs.set_session(session)
        self._step(self.theirs.do_handshake)
        for _ in range(6):
            self._carry()
        assert ours.handshake_complete
        ours.send_data(b"ping")
        self._carry()
        assert self.theirs.recv(4) == b"ping"  # and the tickets that came before it
        self.theirs.send(b"pong")
        self._carry()
        assert self.received[-1].data == b"pong"
        self.reused = bool(settings.lib.SSL_session_reused(self.theirs._ssl))
        self.session = self.theirs.get_session()
        assert ours.session_reused is self.reused

    def close(self) -> None:
        """Say goodbye both ways, so that sessions are good for another connection."""
        self.ours.close()
        self._carry()
        with contextlib.suppress(self.settings.ssl.Error):
            self.theirs.shutdown()
        self._carry()
        self.ours.free()

    def _step(self, action: Any) -> None:
        with contextlib.suppress(self.settings.ssl.WantReadError):
            action()

    def _carry(self) -> None:
        with contextlib.suppress(self.settings.ssl.WantReadError):
            while True:
                self.received += self.ours.receive_data(self.theirs.bio_read(FULL_RECORD))
        data = self.ours.data_to_send()
        if data:
            self.theirs.bio_write(data)
        if not self.ours.peer_closed:
            self._step(self.theirs.do_handshake)


def clients(pki: Pki, version: int, **settings: Any) -> ClientContext:
    return ClientContext(trust=pki.trust_pem, minimum_version=version, maximum_version=version, **settings)


def servers(leaf: Credential, version: int, **settings: Any) -> ServerContext:
    return ServerContext(leaf.chain_pem, leaf.key_pem, minimum_version=version, maximum_version=version, **settings)


def visit(openssl: OpenSSL, context: ClientContext, group: int | None = None) -> list[bool]:
    """Our client at its server, twice: whether it was resumed."""
    found = []
    for _ in range(2):
        end = openssl.meet(context.connection("localhost"))
        facts = end.ours.facts
        assert facts is not None
        if group is not None and (facts.version == V13 or not end.reused):
            assert facts.group == group
            assert end.theirs.get_group_name().lower() in (group_name(group).lower(), G(group).name.lower())
        found.append(end.reused)
        end.close()
    return found


def receive(openssl: OpenSSL, context: ServerContext, group: int | None = None) -> list[bool]:
    """Its client at our server, twice."""
    session, found = None, []
    for _ in range(2):
        end = openssl.meet(context.connection(), session)
        facts = end.ours.facts
        assert facts is not None
        if group is not None and (facts.version == V13 or not end.reused):
            assert facts.group == group
        session = end.session
        found.append(end.reused)
        end.close()
    return found


# --- groups ----------------------------------------------------------------------------------------------------------

every_group = pytest.mark.parametrize("group", GROUPS, ids=lambda group: G(group).name)


@every_group
def test_our_client_exchanges_keys_in_every_group(pki: Pki, group: int) -> None:
    openssl = OpenSSL(pki, V13, pki.ecdsa_p256, group_name(group))
    assert visit(openssl, clients(pki, V13, groups=(group,)), group) == [False, True]


@every_group
def test_our_client_is_asked_for_every_group(pki: Pki, group: int) -> None:
    """HelloRetryRequest, the second time with the PSK."""
    other = G.x25519 if group != G.x25519 else G.secp256r1
    openssl = OpenSSL(pki, V13, pki.ecdsa_p256, group_name(group))
    context = clients(pki, V13, groups=(other, group), key_shares=1)
    assert visit(openssl, context, group) == [False, True]


@every_group
def test_our_server_exchanges_keys_in_every_group(pki: Pki, group: int) -> None:
    openssl = OpenSSL(pki, V13, groups=group_name(group))
    assert receive(openssl, servers(pki.ecdsa_p256, V13, groups=(group,)), group) == [False, True]


@every_group
def test_our_server_asks_for_every_group(pki: Pki, group: int) -> None:
    other = G.x25519 if group != G.x25519 else G.secp256r1
    openssl = OpenSSL(pki, V13, groups=f"{group_name(other)}:{group_name(group)}")
    assert receive(openssl, servers(pki.ecdsa_p256, V13, groups=(group,)), group) == [False, True]


@pytest.mark.parametrize("group", [group for group in GROUPS if not GROUPS[group].tls13_only], ids=lambda g: G(g).name)
def test_tls12_in_every_curve(pki: Pki, group: int) -> None:
    openssl = OpenSSL(pki, V12, pki.rsa2048, group_name(group))
    assert visit(openssl, clients(pki, V12, groups=(group,)), group) == [False, True]
    openssl = OpenSSL(pki, V12, groups=group_name(group))
    assert receive(openssl, servers(pki.rsa2048, V12, groups=(group,)), group) == [False, True]


def test_left_to_themselves_both_take_the_hybrid(pki: Pki) -> None:
    assert DEFAULT_GROUPS[0] == HYBRID_GROUPS[0] == G.X25519MLKEM768
    assert visit(OpenSSL(pki, V13, pki.ecdsa_p256), clients(pki, V13), G.X25519MLKEM768) == [False, True]
    assert receive(OpenSSL(pki, V13), servers(pki.ecdsa_p256, V13), G.X25519MLKEM768) == [False, True]


# --- suites ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: SUITES[suite].name)
def test_every_suite(pki: Pki, suite: int) -> None:
    facts = SUITES[suite]
    leaf = pki.rsa2048 if facts.authentication == "RSA" else pki.ecdsa_p256
    server = OpenSSL(pki, facts.version, leaf).suites(facts.version, facts.openssl_name)
    assert visit(server, clients(pki, facts.version, suites=(suite,))) == [False, True]
    client = OpenSSL(pki, facts.version).suites(facts.version, facts.openssl_name)
    assert receive(client, servers(leaf, facts.version, suites=(suite,))) == [False, True]


# --- signatures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])
@pytest.mark.parametrize(("leaf", "scheme"), [(leaf, one) for leaf, all_of in SIGNATURES.items() for one in all_of])
def test_every_signature_scheme(pki: Pki, version: int, leaf: str, scheme: S) -> None:
    """Each end accepts exactly one scheme for the handshake; PKCS#1 is for TLS 1.2 alone."""
    credential: Credential = getattr(pki, leaf)
    everything = tuple(int(one) for all_of in SIGNATURES.values() for one in all_of)
    context = clients(pki, version, schemes=(scheme,), certificate_schemes=everything)
    if version == V13 and scheme.name.startswith("rsa_pkcs1"):
        openssl = OpenSSL(pki, version, credential)
        with pytest.raises(openssl.ssl.Error, match="no suitable signature algorithm"):
            visit(openssl, context)
        return
    assert visit(OpenSSL(pki, version, credential), context) == [False, True]
    openssl = OpenSSL(pki, version).signatures(scheme.name)
    assert receive(openssl, servers(credential, version)) == [False, True]


# --- cookies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [G.x25519, G.secp384r1], ids=lambda group: group.name)
def test_openssl_brings_our_cookie_back_and_is_resumed_over_one(pki: Pki, group: int) -> None:
    context = servers(pki.ecdsa_p256, V13, cookies=CookieKeys.generate(), groups=(group,))
    openssl = OpenSSL(pki, V13, groups=f"X25519:{group_name(group)}" if group != G.x25519 else "X25519")
    assert receive(openssl, context, group) == [False, True]
