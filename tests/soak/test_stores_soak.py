"""The short version of `python3 dev.py soak stores`: every store in every trouble, under a load that does not stop.

Here the load is threads; the command (which CI runs) has processes fight over sessions as well.
"""

from __future__ import annotations

import pytest

from resumption import StoreLimits
from tests.peers import require_peer
from tests.pki import Pki
from tests.soak.stores import PATIENT, Report, credentials_of, over_sockets, soak
from tests.store_troubles import OPENS, TROUBLES, troubled

LIKE_OTHERS = ("allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random")
CASES = [(store, trouble) for store in TROUBLES for trouble in TROUBLES[store] if not trouble.endswith(LIKE_OTHERS)]
QUICK = StoreLimits(probe_every_s=0.1, negative_s=0.0)


def check(report: Report) -> None:
    """What holds however slow the machine is."""
    assert report.errors == []
    assert report.completed == report.handshakes > 0
    assert report.failed_ever == 0
    assert report.wrong_accepts == 0
    assert report.double_uses == 0
    assert report.resumed_after > 0, "the store is in use again"
    assert report.recovered, "every breaker has closed"
    assert report.is_sound


@pytest.mark.parametrize(("store", "trouble"), CASES)
def test_f74_in_every_trouble_every_handshake_completes_and_the_store_is_used_again_afterwards(
    pki: Pki, store: str, trouble: str
) -> None:
    if store != "sqlite":
        require_peer({"redis": "redis-server"}.get(store, store))
    opens = trouble in OPENS[store]
    report = soak(store, trouble, 20, credentials=credentials_of(pki), limits=QUICK, until_open=opens)
    check(report)
    assert report.opened >= opens


def test_f77_clients_that_return_at_once_to_another_process_are_known_there(pki: Pki) -> None:
    require_peer("redis-server")
    with troubled("redis", "none") as subject:
        assert over_sockets(credentials_of(pki), subject.url, PATIENT, 9) == ("9/9", "8/8")
