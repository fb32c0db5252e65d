"""Fixtures of the command line's tests: certificates, and one running server for all that only connect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from resumption.cli.certificates import Certificates, make_certificates
from tests.cli.commands import Served, served


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def server() -> Iterator[Served]:
    """``resumption serve`` with two workers. Its lines are nobody's: look at what the clients are told."""
    with served("--workers", 2, "--alpn", "http/1.1", "--alpn", "other") as running:
        yield running


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/sessions.db"
