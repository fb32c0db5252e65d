"""Fixtures that every part of the suite shares."""

from __future__ import annotations

import shutil

import pytest

from tests.pki import Pki


@pytest.fixture(scope="session")
def pki() -> Pki:
    """The certificates of this test run; each is made when first used."""
    return Pki()


@pytest.fixture(scope="session")
def openssl() -> str:
    """The path of the openssl program; skips where there is none."""
    path = shutil.which("openssl")
    if path is None:
        pytest.skip("the openssl program is not installed")
    return path
