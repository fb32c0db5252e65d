"""What all tests of the handshake share."""

from __future__ import annotations

import pytest

from tests.handshake.pairs import World
from tests.pki import Pki


@pytest.fixture
def world(pki: Pki) -> World:
    """A clock of its own for each test; the certificates are shared."""
    return World(pki)
