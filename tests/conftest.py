"""Fixtures that every part of the suite shares."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from tests.peers import require_peer
from tests.pki import Pki

# The machines that run this are shared: how long an example takes says nothing about the code.
settings.register_profile("resumption", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("resumption")


@pytest.fixture(scope="session")
def pki() -> Pki:
    """The certificates of this test run; each is made when first used."""
    return Pki()


@pytest.fixture(scope="session")
def openssl() -> str:
    """The path of the openssl program. Where there is none: skips, or fails where peers are required."""
    return require_peer("openssl")
