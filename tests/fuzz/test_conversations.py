"""The fuzz target itself: it runs for a moment with every test run, and it would notice what it is there for."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumption.connection import Connection
from resumption.errors import AlertReceived, Error, InternalError, PeerError, UnexpectedEOF
from resumption.handshake import finish12, server
from tests.fuzz.conversations import CORPUS, Broken, Fuzzer
from tests.fuzz.fuzz_conversations import arguments, main
from tests.fuzz.mutations import split_records
from tests.handshake.pairs import TLS12, TLS13, World, feed
from tests.pki import Pki

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "hellos"


@pytest.fixture(scope="module")
def fuzzer(pki: Pki) -> Any:
    made = Fuzzer(pki)
    yield made
    made.close()


def test_a_thousand_conversations(fuzzer: Fuzzer) -> None:
    for number in range(1_000):
        fuzzer.run(f"test/{number}")
    endings = fuzzer.tally.endings
    assert {"connected", "waiting", "UnexpectedMessage", "DecodeError", "IllegalParameter"} <= endings.keys()
    assert len(endings) >= 9
    assert fuzzer.early_data > 1_000


def test_a_run_follows_from_its_seed(pki: Pki) -> None:
    endings = []
    for _ in range(2):
        made = Fuzzer(pki)
        for number in range(60):
            made.run(f"again/{number}")
        endings.append(dict(made.tally.endings))
        made.close()
    assert endings[0] == endings[1]


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (server.ExpectClientHello, "on_client_hello"),
        (finish12.ExpectKeyExchange, "on_client_key_exchange"),
    ],
)
def test_an_unforeseen_exception_would_be_noticed(
    fuzzer: Fuzzer, monkeypatch: pytest.MonkeyPatch, target: Any, name: str
) -> None:
    def broken(*arguments: object) -> None:
        raise KeyError("unforeseen")

    handlers = {
        kind: (parse, broken if handler.__name__ == name else handler)
        for kind, (parse, handler) in target.handlers.items()
    }
    for version, stateful in itertools.product((TLS12, TLS13), (False, True)):
        fuzzer.session(version, stateful)  # before anything is broken
    monkeypatch.setattr(target, "handlers", handlers)
    with pytest.raises(Broken, match="unforeseen"):
        for number in range(300):
            fuzzer.run(f"broken/{number}")


def test_a_leaked_reference_would_be_noticed(fuzzer: Fuzzer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "free", lambda self: None)
    with pytest.raises(Broken, match="still held"):
        for number in range(300):
            fuzzer.run(f"leak/{number}")


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"\x16\x03\x01\x00\x05hello")
    assert main(["--seconds", "30", "--runs", "40", "--seed", "command", str(tmp_path)]) == 0
    assert "40 runs" in capsys.readouterr().out
    options = arguments(["-max_total_time=7", "-rss_limit_mb=100", "-artifact_prefix=/tmp/x-", "corpus"])
    assert (options.seconds, options.artifacts, options.corpus) == (7.0, "/tmp/x-", [Path("corpus")])


def test_the_command_runs_by_itself() -> None:
    script = Path(__file__).with_name("fuzz_conversations.py")
    done = subprocess.run(
        [sys.executable, str(script), "--seconds", "20", "--runs", "5", "--seed", "1"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "0 failures" in done.stdout


# --- any bytes at all ------------------------------------------------------------------------------------------------


def hears(connection: Connection, pieces: list[bytes]) -> None:
    """Any bytes, cut anywhere: an alert and an error of ours, or more bytes wanted."""
    connection.data_to_send()
    for piece in pieces:
        _, error = feed(connection, piece)
        if error is not None:
            assert isinstance(error, PeerError | AlertReceived | UnexpectedEOF)
            assert not isinstance(error, InternalError)
            said = connection.data_to_send()
            if not isinstance(error, AlertReceived):
                assert split_records(said)[-1][0] in (21, 23)
            return
    assert connection.error is None
    assert connection.bytes_needed > 0 or connection.peer_closed


headers = st.builds(
    lambda kind, minor, length: bytes((kind, 3, minor)) + length.to_bytes(2),
    st.sampled_from((20, 21, 22, 23)),
    st.sampled_from((1, 3)),
    st.integers(0, 300),
)
noise = st.lists(st.binary(max_size=300) | headers, max_size=8)


@pytest.mark.parametrize("role", ["client", "server"])
@settings(max_examples=200)
@given(pieces=noise)
def test_any_bytes_at_all(pki: Pki, role: str, pieces: list[bytes]) -> None:
    world = World(pki)
    if role == "client":
        hears(Connection(world.client_config(), server_name="localhost"), pieces)
    else:
        hears(Connection(world.server_config()), pieces)


@pytest.mark.parametrize("role", ["client", "server"])
@settings(max_examples=200)
@given(kind=st.sampled_from((1, 2)), body=st.binary(max_size=400))
def test_any_body_of_a_hello(pki: Pki, role: str, kind: int, body: bytes) -> None:
    world = World(pki)
    message = bytes((kind,)) + len(body).to_bytes(3) + body
    pieces = [b"\x16\x03\x01" + len(message).to_bytes(2) + message]
    if role == "client":
        hears(Connection(world.client_config(), server_name="localhost"), pieces)
    else:
        hears(Connection(world.server_config()), pieces)


@pytest.mark.parametrize("path", [*sorted(CORPUS.glob("*.bin")), *sorted(VECTORS.glob("*.bin"))], ids=lambda p: p.stem)
def test_every_stored_input(pki: Pki, path: Path) -> None:
    world = World(pki)
    data = path.read_bytes()
    for connection in (
        Connection(world.server_config()),
        Connection(world.server_config(groups=(23,), stateful=True)),
        Connection(world.client_config(), server_name="localhost"),
    ):
        hears(connection, [data])
    for size in (1, 7):
        hears(Connection(world.server_config()), [data[at : at + size] for at in range(0, len(data), size)])


def test_there_is_a_corpus() -> None:
    assert len(list(CORPUS.glob("*.bin"))) >= 10


def test_memory_stays_in_proportion(pki: Pki) -> None:
    """A message of the most bytes allowed, byte by byte, and records without end: nothing is kept but the message."""
    connection = Connection(World(pki).server_config())
    announced = b"\x01\x02\x00\x00"
    _, error = feed(connection, b"\x16\x03\x01\x00\x04" + announced)
    assert error is None
    for _ in range(7):
        _, error = feed(connection, b"\x16\x03\x01\x40\x00" + bytes(2**14))
        assert error is None
    kept = len(connection._handshake._buffer) + len(connection._reader._buffer)
    assert kept < 2**17 + 2**15
    _, error = feed(connection, b"\x16\x03\x01\x40\x00" + bytes(2**14))
    assert isinstance(error, Error)
