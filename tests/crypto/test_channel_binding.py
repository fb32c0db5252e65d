"""Channel bindings: which hash, which connection, and which refusals."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from resumption.crypto.channel_binding import server_end_point
from resumption.crypto.external_psk import ExternalPsk
from resumption.errors import UsageError
from tests.handshake.pairs import TLS12, VERSIONS, World
from tests.handshake.stops import client12_for
from tests.pki import Pki


@pytest.mark.parametrize(("key", "hash"), [("p256", "sha256"), ("p384", "sha384"), ("rsa2048", "sha256")])
@pytest.mark.parametrize("version", VERSIONS)
def test_both_ends_have_the_same_bindings_also_when_resumed(pki: Pki, version: int, key: str, hash: str) -> None:
    leaf = getattr(pki, key, None) or getattr(pki, f"ecdsa_{key}")
    world = World(pki, leaf=leaf)
    client, server = world.client_context(maximum_version=version), world.server_context()
    seen = set()
    for _ in range(3):
        pair = world.meet(client, server).check()
        exporter = pair.client.channel_binding()
        assert exporter == pair.server.channel_binding("tls-exporter")
        assert len(exporter) == 32
        assert exporter == pair.client.export_keying_material(b"EXPORTER-Channel-Binding", b"", 32)
        seen.add(exporter)
        end_point = pair.client.channel_binding("tls-server-end-point")
        assert end_point == pair.server.channel_binding("tls-server-end-point")
        assert end_point in {hashlib.new(name, leaf.chain_der[0]).digest() for name in ("sha256", "sha384", "sha512")}
    assert len(seen) == 3  # F50: of the connection, not of the session


def test_a_signature_without_a_hash_has_no_end_point(pki: Pki) -> None:
    for leaf in (pki.ed25519, pki.ecdsa_p256):
        try:
            found: Any = server_end_point(leaf.chain_der[0])
        except UsageError as error:
            found = str(error)
        if isinstance(found, str):
            assert "no hash" in found
        else:
            assert len(found) in (32, 48, 64)
    with pytest.raises(UsageError, match="cannot be read"):
        server_end_point(b"no certificate")


def test_bindings_that_cannot_be_had_are_refused(pki: Pki) -> None:
    world = World(pki)
    pair = world.meet(world.client_context(), world.server_context())
    for side in (pair.client, pair.server):
        with pytest.raises(UsageError, match="tls-unique"):
            side.channel_binding("tls-unique")
        with pytest.raises(UsageError, match="tls-other"):
            side.channel_binding("tls-other")
    fresh = world.client_context().connection("localhost")
    for kind in ("tls-exporter", "tls-server-end-point"):
        with pytest.raises(UsageError, match="complete"):
            fresh.channel_binding(kind)
    fresh.free()


def test_f50_there_is_no_exporter_binding_without_an_extended_master_secret(pki: Pki) -> None:
    world = World(pki, leaf=pki.ecdsa_p256)
    peer = client12_for(world)
    peer.extended = False
    peer.connect()
    assert peer.subject.version == TLS12
    with pytest.raises(UsageError, match="extended master secret"):
        peer.subject.channel_binding()


def test_a_psk_leaves_no_certificate_to_bind_to(pki: Pki) -> None:
    world = World(pki)
    key = bytes(range(32))
    client = world.client_context(psk=ExternalPsk(b"x", key, "client"))
    server = world.server_context(psks={b"x": ExternalPsk(b"x", key, "server")})
    pair = world.meet(client, server).check()
    assert pair.client.channel_binding() == pair.server.channel_binding()
    for side in (pair.client, pair.server):
        with pytest.raises(UsageError, match="none to bind to"):
            side.channel_binding("tls-server-end-point")
