"""What is particular to the stores that are servers: trouble with them, who may use them, and what they may forget."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from resumption.errors import StoreError
from resumption.session.stores.memcached import MemcachedStore
from resumption.session.stores.redis import RedisStore
from resumption.session.stores.redis_asyncio import AsyncRedisStore
from resumption.session.stores.store import SessionStore, open_store
from tests.pki import Pki
from tests.processes import HOST
from tests.session.test_forking import in_child
from tests.store_proxy import Mischief, StoreProxy
from tests.store_servers import (
    Server,
    memcached_server,
    redis_process,
    redis_sentinel,
    redis_server,
    until,
)

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
LATER = 1e11

each_server = pytest.mark.parametrize("run", [redis_server, memcached_server], ids=["redis", "memcached"])
Run = Callable[..., "Iterator[Server]"]


def calls(store: SessionStore) -> list[Callable[[], object]]:
    return [
        lambda: store.get("k"),
        lambda: store.take("k", "l"),
        lambda: store.put("k", b"v", LATER),
        lambda: store.remove("k", "l"),
        lambda: store.add_once("m", LATER),
    ]


@each_server
def test_a_server_that_is_not_there_is_a_store_error_and_its_return_is_noticed(run: Run) -> None:
    with run() as server:  # type: ignore[attr-defined]
        store = open_store(server.url, timeout_s=2.0)
        store.put("k", b"v", LATER)
    for call in calls(store):
        with pytest.raises(StoreError, match="the session store failed"):
            call()
    store.close()


def test_a_server_that_was_restarted_is_used_again_without_an_error() -> None:
    with redis_server() as server:
        store = open_store(server.url, timeout_s=2.0)
        store.put("k", b"v", LATER)
        server.processes[0].stop()
        with redis_process("--port", str(server.port)):  # the later option counts
            assert store.get("k") is None
            store.put("k", b"v", LATER)
            assert store.take("k") == b"v"
        store.close()


async def test_f85_a_write_whose_answer_was_lost_is_not_repeated() -> None:
    """The value may have been taken meanwhile: it would be there for a second taker."""
    with redis_server() as server, StoreProxy(server.port) as proxy:
        elsewhere = open_store(server.url, timeout_s=5.0)
        taken: list[bytes | None] = []

        def take() -> None:
            proxy.mischief = Mischief.NONE
            taken.append(elsewhere.take("k"))

        proxy.before_mischief = take
        store = open_store(f"redis://{HOST}:{proxy.port}", timeout_s=5.0)
        waiting = AsyncRedisStore(f"redis://{HOST}:{proxy.port}", timeout_s=5.0)
        store.put("other", b"v", LATER)
        await waiting.put("other", b"v", LATER)
        proxy.mischief = Mischief.CUT
        with pytest.raises(StoreError):
            store.put("k", b"v", LATER)
        proxy.mischief = Mischief.CUT
        with pytest.raises(StoreError):
            await waiting.put("k", b"v", LATER)
        assert taken == [b"v", b"v"]
        assert elsewhere.take("k") is None
        store.put("k", b"w", LATER)
        assert elsewhere.take("k") == b"w", "the next call connects again"
        for each in (store, elsewhere):
            each.close()
        await waiting.close()


@each_server
def test_f74_a_frozen_server_costs_the_timeout_and_its_late_answer_is_nobodys(run: Run) -> None:
    """A connection that may still bring the answer to an earlier question is not used for another one."""
    with run() as server:  # type: ignore[attr-defined]
        store = open_store(f"{server.url}?timeout_s=0.05")
        store.put("k", b"mine", LATER)
        store.put("l", b"other", LATER)
        pid = server.processes[0]._popen.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            with pytest.raises(StoreError, match=r"[tT]imeout"):
                store.get("k")
            assert time.monotonic() - started < 1.0
        finally:
            os.kill(pid, signal.SIGCONT)
        assert store.get("l") == b"other"
        assert store.get("k") == b"mine"
        store.close()


async def test_f74_a_cancelled_question_leaves_no_answer_to_the_next_one() -> None:
    with redis_server() as server:
        store = AsyncRedisStore(server.url, timeout_s=5.0)
        await store.put("k", b"mine", LATER)
        await store.put("l", b"other", LATER)
        pid = server.processes[0]._popen.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await store.get("k")
        finally:
            os.kill(pid, signal.SIGCONT)
        for _ in range(3):
            assert await store.get("l") == b"other"
        assert await store.add_once("m", LATER)
        assert not await store.add_once("m", LATER)
        await store.close()
        with pytest.raises(StoreError, match="closed"):
            await store.get("k")


@needs_fork
@each_server
def test_a_store_that_was_used_before_a_fork_is_usable_on_both_sides(run: Run) -> None:
    with run() as server:  # type: ignore[attr-defined]
        store = open_store(server.url, timeout_s=5.0)
        store.put("k", b"v", LATER)
        store.put("l", b"w", LATER)
        assert in_child(lambda: b"".join((store.take("k") or b"", store.get("l") or b""))) == b"vw"
        assert store.get("k") is None
        assert store.get("l") == b"w"
        store.close()


def test_connections_are_bounded() -> None:
    with redis_server() as server:
        admin = redis.Redis(HOST, server.port)
        store = open_store(f"{server.url}?max_connections=2&timeout_s=5")
        assert isinstance(store, RedisStore)
        store.put("k", b"v", LATER)
        held = [store._client.connection_pool.get_connection() for _ in range(2)]
        with pytest.raises(StoreError, match="MaxConnections"):
            store.get("k")
        for connection in held:
            store._client.connection_pool.release(connection)
        assert store.get("k") == b"v"
        assert admin.info()["connected_clients"] <= 3
        store.close()
        admin.close()


# --- who may use it --------------------------------------------------------------------------------------------------


def test_a_user_needs_the_password_and_the_commands_and_no_more() -> None:
    """These are the rights that the documentation asks for."""
    rights = "+get +mget +getdel +set +del +eval +info"
    rules = ["on", ">p%40ss:/#word", "~v:*", "~m:*", "~resumption:alive*", *rights.split()]
    with redis_server() as server:
        admin = redis.Redis(HOST, server.port)
        admin.execute_command("ACL", "SETUSER", "sessions", *rules)
        admin.execute_command("ACL", "SETUSER", "default", "off")
        where = f"{HOST}:{server.port}/0?timeout_s=5"
        store = open_store(f"redis://sessions:p%2540ss%3A%2F%23word@{where}")
        store.put("k", b"v", LATER)
        store.put("l", b"w", LATER)
        assert store.get("k", "l") == b"v"
        assert store.take("k", "l") == b"v"
        assert store.add_once("m", LATER)
        store.remove("k", "l")
        assert store.continuity().keeps_marks  # type: ignore[attr-defined]
        store.close()
        for url in (f"redis://sessions:wrong@{where}", f"redis://{where}"):
            stranger = open_store(url)
            with pytest.raises(StoreError, match=r"AuthenticationError|NoPermission|ResponseError") as caught:
                stranger.get("k")
            assert "wrong" not in str(caught.value)
            stranger.close()
        admin.close()


def test_tls_checks_the_server_and_shows_a_certificate(pki: Pki, tmp_path: Path) -> None:
    files = {}
    for name, data in (
        ("ca.pem", pki.trust_pem),
        ("server.pem", pki.ecdsa_p256.chain_pem),
        ("server.key", pki.ecdsa_p256.key_pem),
        ("cert.pem", pki.client.chain_pem),
        ("key.pem", pki.client.key_pem),
    ):
        (tmp_path / name).write_bytes(data)
        files[name] = str(tmp_path / name)
    options = ("--tls-cert-file", files["server.pem"], "--tls-key-file", files["server.key"])
    with redis_server(*options, "--tls-ca-cert-file", files["ca.pem"], tls=True, scheme="rediss") as server:
        mine = f"&certificate_file={files['cert.pem']}&key_file={files['key.pem']}"
        for host in ("localhost", HOST):
            store = open_store(f"rediss://{host}:{server.port}?ca_file={files['ca.pem']}{mine}&timeout_s=5")
            store.put("k", b"v", LATER)
            assert store.take("k") == b"v"
            store.close()
        for query in (f"ca_file={files['ca.pem']}", f"timeout_s=5{mine}"):
            stranger = open_store(f"rediss://localhost:{server.port}?{query}")
            with pytest.raises(StoreError):  # without a certificate; without knowing the server's
                stranger.get("k")
            stranger.close()


def test_a_socket_of_this_machine_will_do(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with redis_server("--unixsocket", str(path)):
        store = open_store(f"redis+unix://{path}?db=3&timeout_s=5")
        store.put("k", b"v", LATER)
        assert store.take("k") == b"v"
        store.close()


# --- what it may forget ----------------------------------------------------------------------------------------------


def facts(store: object) -> tuple[str, int, bool]:
    told = store.continuity()  # type: ignore[attr-defined]
    return told.identity, told.evicted, told.keeps_marks


def test_f86_a_redis_that_may_evict_takes_no_marks() -> None:
    with redis_server("--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru") as server:
        store = open_store(server.url, timeout_s=5.0)
        asynchronous = store.asynchronous()  # type: ignore[attr-defined]
        identity, evicted, keeps = facts(store)
        assert not keeps
        with pytest.raises(StoreError, match="may evict marks: set its maxmemory-policy to noeviction"):
            store.add_once("m", LATER)

        async def mark() -> None:
            try:
                await asynchronous.add_once("m", LATER)
            finally:
                await asynchronous.close()

        with pytest.raises(StoreError, match="may evict marks"):
            asyncio.run(mark())
        for number in range(100):
            store.put(f"k{number}", bytes(60_000), LATER)
        assert facts(store)[1] > evicted
        assert identity
        store.close()


def test_f86_a_redis_without_room_refuses_marks_and_keeps_those_it_has() -> None:
    with redis_server("--maxmemory", "3mb", "--maxmemory-policy", "noeviction") as server:
        store = open_store(server.url, timeout_s=5.0)
        assert store.add_once("m", LATER)
        before = facts(store)
        with pytest.raises(StoreError, match=r"OutOfMemory|OOM"):
            for number in range(100):
                store.put(f"k{number}", bytes(60_000), LATER)
        with pytest.raises(StoreError, match=r"OutOfMemory|OOM"):
            for number in range(20_000):
                store.add_once(f"n{number}", LATER)
        assert facts(store) == before
        for number in range(100):
            store.remove(f"k{number}")
        assert not store.add_once("m", LATER)
        store.close()


def test_f86_an_emptied_or_restarted_redis_is_another_one() -> None:
    with redis_server() as server:
        store = open_store(server.url, timeout_s=5.0)
        first = facts(store)
        store.put("k", b"v", LATER)
        assert store.add_once("m", LATER)
        assert facts(store) == first
        server.flush()
        second = facts(store)
        assert second != first
        server.processes[0].stop()
        with redis_process("--port", str(server.port)):
            assert facts(store)[0] not in (first[0], second[0])
        store.close()


def test_f86_a_memcached_that_may_evict_takes_no_marks() -> None:
    with memcached_server("-m", "8") as server:
        store = open_store(server.url, timeout_s=5.0)
        _, evicted, keeps = facts(store)
        assert not keeps
        with pytest.raises(StoreError, match="may evict marks: start memcached with -M"):
            store.add_once("m", LATER)
        for number in range(400):
            store.put(f"k{number}", bytes(60_000), LATER)
        assert facts(store)[1] > evicted
        store.close()


def test_f86_an_emptied_or_restarted_memcached_is_another_one() -> None:
    from pymemcache.client.base import Client

    with memcached_server() as server, memcached_server() as another:
        store = open_store(server.url, timeout_s=5.0)
        first = facts(store)
        assert store.add_once("m", LATER)
        store.put("k", b"v", LATER)
        assert facts(store) == first
        since = store.continuity().since  # type: ignore[attr-defined]
        admin = Client((HOST, server.port))
        admin.flush_all(noreply=False)
        admin.close()
        assert facts(store) != first
        assert store.continuity().since > since > 0  # type: ignore[attr-defined]
        elsewhere = open_store(another.url, timeout_s=5.0)
        assert facts(elsewhere) != first
        elsewhere.close()
        store.close()


def test_a_memcached_without_versions_is_not_trusted_with_taking() -> None:
    with memcached_server("-M", "-C") as server:
        store = open_store(server.url, timeout_s=5.0)
        store.put("k", b"v", LATER)
        assert store.get("k") == b"v"
        with pytest.raises(StoreError, match="keeps no versions"):
            store.take("k")
        store.close()


def test_several_memcached_divide_the_keys_and_nobody_stands_in_for_one_that_is_down() -> None:
    with memcached_server() as one, memcached_server() as two:
        store = open_store(f"{one.url},{HOST}:{two.port}?timeout_s=5")
        assert isinstance(store, MemcachedStore)
        for number in range(20):
            store.put(f"k{number}", b"v", LATER)
            assert store.get(f"k{number}", f"k{number - 1}") == b"v"
        assert store.take("k1", "k2") == b"v"
        assert store.get("k1", "k2") is None
        kept = [number for number in range(3, 20) if store._of(f"v:k{number}").server[1] == one.port]
        assert 0 < len(kept) < 17
        two.processes[0]._popen.kill()
        two.processes[0].stop()
        for number in range(3, 20):
            if number in kept:
                assert store.get(f"k{number}") == b"v"
            else:
                with pytest.raises(StoreError):
                    store.get(f"k{number}")
                with pytest.raises(StoreError):
                    store.put(f"k{number}", b"w", LATER)
        store.close()


def test_a_memcached_without_a_crawler_cannot_list_and_says_so() -> None:
    with memcached_server("-M", "-o", "no_lru_crawler") as server:
        store = open_store(server.url, timeout_s=5.0)
        store.put("k", b"v", LATER)
        for call in (lambda: store.entries("k", 1), lambda: store.clear("k")):  # type: ignore[attr-defined]
            with pytest.raises(StoreError, match="does not list its entries"):
                call()
        assert store.get("k") == b"v"
        store.close()


def test_the_entries_of_several_memcached_are_listed_and_dropped(tmp_path: Path) -> None:
    with memcached_server() as one, memcached_server() as two:
        store = open_store(f"{one.url},{HOST}:{two.port}?timeout_s=5")
        for number in range(250):
            store.put(f"a:{number}", bytes(number), LATER)
            store.put(f"b:{number}", b"v", LATER)
        store.take("a:7")
        found = store.entries("a:", 1000)  # type: ignore[attr-defined]
        assert sorted(entry.length for entry in found) == [number for number in range(250) if number != 7]
        assert len(store.entries("a:", 120)) == 120  # type: ignore[attr-defined]
        assert store.clear("a:") in (249, 250)  # type: ignore[attr-defined]
        assert store.entries("a:", 1000) == []  # type: ignore[attr-defined]
        assert len(store.entries("b:", 1000)) == 250  # type: ignore[attr-defined]
        store.close()


def test_memcached_lists_one_client_after_the_other() -> None:
    with memcached_server() as server:
        store = open_store(server.url, timeout_s=5.0)
        for number in range(3000):
            store.put(f"k:{number}", b"v", LATER)
        with ThreadPoolExecutor(4) as pool:
            told = list(pool.map(lambda _: len(store.entries("k:", 5000)), range(8)))  # type: ignore[attr-defined]
        assert told == [3000] * 8
        assert store.clear("k:") >= 3000  # type: ignore[attr-defined]
        assert store.entries("k:", 5000) == []  # type: ignore[attr-defined]
        store.close()


def test_long_keys_fit_into_memcached() -> None:
    with memcached_server() as server:
        store = open_store(server.url, timeout_s=5.0)
        keys = ["k" * 250, "k" * 249 + "l", "k" * 248]
        for key in keys:
            store.put(key, key[-3:].encode(), LATER)
            assert store.add_once(key, LATER)
        assert [store.get(key) for key in keys] == [b"kkk", b"kkl", b"kkk"]
        store.close()


def test_entries_that_are_something_else_are_a_miss_or_a_store_error() -> None:
    with redis_server() as server:
        admin = redis.Redis(HOST, server.port)
        store = open_store(server.url, timeout_s=5.0)
        admin.set("v:short", b"x")
        admin.lpush("v:list", "x")
        assert store.get("short") is None
        assert store.take("short") is None
        with pytest.raises(StoreError, match="WRONGTYPE"):
            store.get("list")
        store.close()
        admin.close()


# --- an older copy ---------------------------------------------------------------------------------------------------


def test_f85_what_an_older_copy_brings_back_is_not_taken_again(tmp_path: Path) -> None:
    at = ("--dir", str(tmp_path))
    with redis_server(*at) as server:
        store = open_store(server.url, timeout_s=5.0)
        waiting = store.asynchronous()  # type: ignore[attr-defined]
        for key in ("a", "b", "c"):
            store.put(key, key.encode(), LATER)
        admin = redis.Redis(HOST, server.port)
        since = store.continuity().since  # type: ignore[attr-defined]
        assert since > 0
        assert store.continuity().since == since  # type: ignore[attr-defined]
        admin.save()
        assert store.take("a") == b"a"
        server.processes[0].stop()
        with redis_process("--port", str(server.port), *at):
            assert store.get("a", "b") == b"a", "what may be used more than once is there"
            assert store.take("a") is None
            assert store.take("b", "c") is None
            store.put("c", b"new", LATER)
            assert store.take("b", "c") == b"new"

            async def take() -> list[bytes | None]:
                await waiting.put("d", b"d", LATER)
                taken = [await waiting.take(key) for key in ("a", "b", "c", "d")]
                await waiting.close()
                return taken

            assert asyncio.run(take()) == [None, None, None, b"d"]
            assert store.continuity().since > since, "marks from before may be gone"  # type: ignore[attr-defined]
        admin.close()
        store.close()


# --- fail-over -------------------------------------------------------------------------------------------------------


def test_f86_after_a_failover_the_store_is_used_again_and_is_another_one() -> None:
    with redis_sentinel(replicas=1) as server:
        store = open_store(f"{server.url}?timeout_s=1")
        store.put("k", b"v", LATER)
        store.put("spent", b"v", LATER)
        until(lambda: replica_has(server, "v:spent"), "replicated")
        before = facts(store)
        server.processes[0].stop()

        def works_again() -> bool:
            try:
                store.put("l", b"w", LATER)
                return store.get("l") == b"w"
            except StoreError:
                return False

        until(works_again, "failed over")
        assert facts(store) != before
        assert store.get("spent") == b"v"
        assert store.take("spent") is None, "the old primary may have given it away, and not have passed that on"
        store.put("new", b"v", LATER)
        assert store.take("new") == b"v"
        store.close()


def replica_has(server: Server, name: str) -> bool:
    with redis.Redis(HOST, server.port) as primary:
        port = int(primary.info("replication")["slave0"]["port"])
    with redis.Redis(HOST, port) as replica:
        return bool(replica.exists(name))


def test_a_mark_may_have_to_be_known_to_a_replica() -> None:
    with redis_sentinel(replicas=1) as server:
        store = open_store(f"{server.url}?timeout_s=2&wait_replicas=1")
        assert store.add_once("m", LATER)
        assert not store.add_once("m", LATER)
        server.processes[2].stop()
        with pytest.raises(StoreError, match="0 of 1 replicas acknowledged"):
            store.add_once("n", LATER)
        store.close()
