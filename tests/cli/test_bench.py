"""``resumption bench``: what it says was really measured. No figure is judged here."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from resumption.cli.bench.bulk import RECORD_LENGTH, our_transfer, standard_transfer
from resumption.cli.bench.contenders import Ours, StandardLibrary, Unfair, check_flags
from resumption.cli.bench.material import TLS12, TLS13, Terms, temporary_certificates
from resumption.cli.bench.race import race
from tests.store_servers import memcached_server, redis_server

TIME_LIMIT = 60.0
FIGURES = {"bytes_per_session", "add_per_s", "lookup_per_s", "remove_per_s", "flush_per_s"}
HANDSHAKES = {"tls13_full", "tls13_resumed", "tls12_full", "tls12_resumed"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "resumption", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT, check=False)


def test_it_prints_one_object_and_nothing_else() -> None:
    done = run("--json", "--rounds", "2")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert set(report["handshakes"]) == HANDSHAKES
    for row in report["handshakes"].values():
        assert {"ours", "ssl", "ssl_unread", "floor"} <= set(row["us"])
        assert all(figure > 0 for figure in row["us"].values())
        assert row["ratio"] == pytest.approx(row["us"]["ours"] / row["us"]["ssl"], rel=0.02)
        assert row["unread_ratio"] == pytest.approx(row["us"]["ours"] / row["us"]["ssl_unread"], rel=0.02)
        assert all(count > 2 for count in row["checked"].values())  # the flags of each connection were looked at
    assert set(report["bulk"]) == {"tls13", "tls12"}
    assert all(figure > 0 for figure in report["encodings"]["per_s"].values())


def test_it_prints_tables_for_people() -> None:
    done = run("--rounds", "1")
    assert done.returncode == 0, done.stderr
    assert "tls13 resumed" in done.stdout
    assert "ours / ssl" in done.stdout


def test_caches_are_compared_where_there_is_libssl() -> None:
    done = run("cache", "--sessions", "1000", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["sessions"] == 1000
    for side in ("ours", "openssl"):
        if report[side] is not None:
            assert {"bytes_per_session", "add_per_s", "lookup_per_s", "remove_per_s", "flush_per_s"} == set(
                report[side]
            )


def test_the_bench_of_stores_times_each_of_them_beside_its_floor() -> None:
    with redis_server() as redis, memcached_server() as memcached:
        urls = ["memory:", redis.url, memcached.url]
        arguments = [part for url in urls for part in ("--url", url)]
        done = run("store", *arguments, "--sessions", "200", "--calls", "20", "--json")
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
    assert [facts["store"] for facts in report["stores"]] == ["memory", "redis", "memcached"]
    for facts in report["stores"]:
        for form in ("floor", "direct", "guarded"):
            assert set(facts[form]) == {"get", "take", "put"}
            for row in facts[form].values():
                assert 0 < row["p50_us"] <= row["p99_us"]
                assert row["per_s"] > 0
    assert report["handshake_us"]["full"] > report["handshake_us"]["resumed"] > 0


@pytest.mark.parametrize("terms", [TLS13, TLS12], ids=lambda terms: terms.name)
@pytest.mark.parametrize("kind", [Ours, StandardLibrary])
def test_contenders_do_what_they_are_measured_for(terms: Terms, kind: type[Ours] | type[StandardLibrary]) -> None:
    with temporary_certificates() as certificates:
        contender = kind(terms, certificates)
        for _ in range(3):
            contender.full()
            contender.resumed()
        assert contender.handshakes == 6
        for transfer in (our_transfer, standard_transfer):
            transfer(terms, certificates, RECORD_LENGTH)()


def test_a_connection_that_is_not_what_it_should_be_stops_everything() -> None:
    check_flags(True, True, True)
    for client, server, expected in ((True, False, True), (False, False, True), (True, True, False)):
        with pytest.raises(Unfair):
            check_flags(client, server, expected)


def test_each_contender_runs_in_every_round() -> None:
    calls = {"a": 0, "b": 0}
    ticks: list[int] = []

    def count(name: str) -> None:
        calls[name] += 1

    results = race({"a": lambda: count("a"), "b": lambda: count("b")}, 3, lambda: ticks.append(1), slice_s=0.0001)
    assert len(ticks) == len(results.rounds["a"]) == len(results.rounds["b"]) == 3
    assert results.best["a"] == min(results.rounds["a"])
    assert calls["a"] > 3
