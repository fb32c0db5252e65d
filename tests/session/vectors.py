"""The SSL_SESSION vectors: what OpenSSL 3.0.19 wrote, as PEM and as text."""

from __future__ import annotations

import binascii
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "vectors" / "sessions"
NAMES = sorted(path.stem for path in FOLDER.glob("*.pem"))


def pem(name: str) -> str:
    """The PEM file."""
    return (FOLDER / f"{name}.pem").read_text("ascii")


def der(name: str) -> bytes:
    """The DER inside the PEM file, read without our reader."""
    return binascii.a2b_base64("".join(pem(name).splitlines()[1:-1]))


def text(name: str) -> str:
    """What OpenSSL prints for it."""
    return (FOLDER / f"{name}.txt").read_text("ascii")


def certificate() -> bytes:
    """A real certificate: the one in tls13-ticket, field [3], as the worked example of its layout has it."""
    encoded = der("tls13-ticket")
    assert encoded[113:117] == bytes.fromhex("a382019e")
    return encoded[117 : 117 + 414]
