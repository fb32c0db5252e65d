"""Fixtures that every part of the suite shares."""

from __future__ import annotations

import pytest

from tests.pki import Pki


@pytest.fixture(scope="session")
def pki() -> Pki:
    """The certificates of this test run; each is made when first used."""
    return Pki()
