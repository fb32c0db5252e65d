"""Revoking everything at once: on one server, on all that share a store, and by the tickets that clients carry."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path as File
from typing import Any

import pytest

from resumption.errors import StoreError
from resumption.session.fleet.rotation import StoredTicketKeys
from resumption.session.fleet.upkeep import Upkeep
from resumption.session.stores.memory import MemoryStore
from resumption.session.tickets.key_files import TicketKeyFiles
from resumption.session.verdicts import Reason
from tests.handshake.pairs import World
from tests.security.paths import SECRET, Stage, declined


def test_f04_revoke_all_ends_every_session_of_this_server(stage: Stage) -> None:
    client, server = stage.client(), stage.server()
    before = [stage.session(client, server) for _ in range(2)]
    assert server.revoke_all() == 1
    for session in before:
        declined(stage.meet(client, server, session=session), Reason.OTHER_EPOCH)
    stage.resumes(client, server, stage.session(client, server))
    assert server.revoke_all() == 2


def test_f04_revoke_all_reaches_every_server_that_shares_the_store(stage: Stage) -> None:
    keys: dict[str, Any] = {"tickets": stage.keys, "store": stage.store}
    client = stage.client()
    a, b = stage.server(**keys), stage.server(**keys)
    session = stage.session(client, a)
    assert a.revoke_all() == 1
    b.refresh()
    assert b.config.policy_epoch == 1
    declined(stage.meet(client, b, session=session), Reason.OTHER_EPOCH)
    stage.resumes(client, b, stage.session(client, a))
    late = stage.server(**keys)
    late.refresh()
    assert late.config.policy_epoch == 1


def test_f04_a_ticket_of_a_later_epoch_brings_the_news(stage: Stage) -> None:
    client = stage.client()
    a, b = stage.server(), stage.server()
    old = stage.session(client, b)
    a.revoke_all()
    declined(stage.meet(client, b, session=stage.session(client, a)), Reason.OTHER_EPOCH)
    assert b.config.policy_epoch == 1
    declined(stage.meet(client, b, session=old), Reason.OTHER_EPOCH)
    stage.resumes(client, b, stage.session(client, a))


def test_f04_two_servers_that_revoke_at_once_agree(world: World) -> None:
    store, keys = MemoryStore(clock=world.clock), world.tickets
    servers = [world.server_context(tickets=keys, store=store) for _ in range(4)]
    start = threading.Barrier(4)

    def revoke(number: int) -> None:
        start.wait()
        servers[number].revoke_all()

    threads = [threading.Thread(target=revoke, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(2):  # whoever wrote last may have written the lower number: the others put that right
        for server in servers:
            server.refresh()
    assert len({server.config.policy_epoch for server in servers}) == 1
    assert servers[0].config.policy_epoch >= 1
    for server in servers:
        server.close()


def test_f04_a_store_that_is_down_does_not_keep_a_server_from_revoking(world: World) -> None:
    store = MemoryStore(clock=world.clock)
    server = world.server_context(tickets=world.tickets, store=store)
    store.close()
    with pytest.raises(StoreError):
        server.revoke_all()
    assert server.config.policy_epoch == 1
    server.refresh()  # logs, and does not raise
    server.close()


def reminded(upkeep: Upkeep | None) -> None:
    assert upkeep is not None
    upkeep._next = 0.0
    thread = upkeep.remind()
    assert thread is not None
    thread.join()


def test_servers_look_for_changed_key_files_by_themselves(world: World, tmp_path: File) -> None:
    path = tmp_path / "key"

    def put(name: str) -> bytes:
        block = hashlib.shake_256(name.encode()).digest(80)
        fresh = tmp_path / "fresh"
        fresh.write_bytes(block)
        fresh.chmod(0o600)
        fresh.replace(path)
        return block

    put("one")
    server, client = world.server_context(tickets=TicketKeyFiles(path)), world.client_context()
    pair = world.meet(client, server).check()
    block = put("two")
    reminded(server._upkeep)
    assert server.ticket_keys is not None
    assert server.ticket_keys.status(world.clock()).issuing == block[:16].hex()
    assert not world.meet(client, server).check().client.session_reused, "the key before is in no file any more"
    pair.free()
    for context in (server, client):
        context.close()


def test_servers_with_stored_keys_resume_each_others_clients(world: World) -> None:
    store = MemoryStore(clock=world.clock)
    servers = [
        world.server_context(tickets=StoredTicketKeys(store, SECRET, clock=world.clock, random=world.random))
        for _ in range(2)
    ]
    client = world.client_context()
    assert not world.meet(client, servers[0]).check().client.session_reused
    assert world.meet(client, servers[1]).check().client.session_reused
    world.clock.advance(86_400)
    for server in servers:
        reminded(server._upkeep)
    assert not world.meet(client, servers[0]).check().client.session_reused, "a day later"
    assert world.meet(client, servers[1]).check().client.session_reused
    for context in (client, *servers):
        context.close()
