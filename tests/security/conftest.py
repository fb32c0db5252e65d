"""The fixtures of the security tests: one stage for each way to name a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.handshake.pairs import World
from tests.pki import Pki
from tests.security.paths import PATHS, Path, Stage, give_back


@pytest.fixture(params=PATHS, ids=str)
def path(request: pytest.FixtureRequest) -> Path:
    """A way to name a session."""
    chosen: Path = request.param
    return chosen


@pytest.fixture
def stage(pki: Pki, path: Path) -> Iterator[Stage]:
    """A clock, certificates and contexts for one way to name a session."""
    stage = Stage(pki, path)
    yield stage
    stage.close()
    give_back()


@pytest.fixture
def world(pki: Pki) -> World:
    """For tests in which the way does not matter."""
    return World(pki)
