"""Keys in other processes: a pickle is a reference to where they came from, never the keys themselves."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from resumption.errors import ConfigurationError
from resumption.session.tickets.keys import TicketKeys
from tests.session.ticket_cases import NOW, PARTITION, SECRET, stream

OPTIONS = {"partition": PARTITION, "mechanism": "stateless-13", "now": NOW}


def sealed(keys: TicketKeys) -> bytes:
    ticket = keys.seal(
        b"a session",
        partition=PARTITION,
        mechanism="stateless-13",
        now=NOW,
        random=stream(b"elsewhere"),
        lifetime_s=3600,
    )
    assert ticket is not None
    return ticket


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    return path


def test_f05_a_pickle_of_keys_from_a_file_names_the_file_and_holds_no_key(path: Path) -> None:
    keys = TicketKeys.from_file(path, epoch_s=1800, generation_s=86_400)
    ticket = sealed(keys)
    pickled = pickle.dumps(keys)
    assert str(path).encode() in pickled
    assert not [
        secret for secret in (SECRET, SECRET.hex().encode(), bytes(keys.ring._roots._root)) if secret in pickled
    ]
    assert pickle.loads(pickled).open(ticket, **OPTIONS) == b"a session"


def test_a_pickle_reads_its_file_again(path: Path) -> None:
    pickled = pickle.dumps(TicketKeys.from_file(path))
    ticket = sealed(TicketKeys.from_file(path))
    path.write_bytes(SECRET[::-1])
    assert pickle.loads(pickled).open(ticket, **OPTIONS) is None
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        pickle.loads(pickled)


def test_a_pickle_reads_the_environment_of_the_process_that_opens_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_SECRET", SECRET.hex())
    keys = TicketKeys.from_environment("FLEET_SECRET")
    ticket = sealed(keys)
    program = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read()).ring.fingerprint)"
    there = subprocess.run([sys.executable, "-c", program], input=pickle.dumps(keys), capture_output=True, check=True)
    assert there.stdout.decode().strip() == keys.ring.fingerprint
    pickled = pickle.dumps(keys)
    assert pickle.loads(pickled).open(ticket, **OPTIONS) == b"a session"
    monkeypatch.delenv("FLEET_SECRET")
    with pytest.raises(ConfigurationError, match="FLEET_SECRET"):
        pickle.loads(pickled)


def test_what_was_revoked_before_pickling_is_revoked_after_it(path: Path) -> None:
    keys = TicketKeys.from_file(path, revoked=[12])
    ticket = sealed(keys)
    issuing = keys.status(NOW).issuing
    assert issuing is not None
    keys.revoke(name=issuing)
    again = pickle.loads(pickle.dumps(keys))
    assert again.open(ticket, **OPTIONS) is None
    assert again.ring.revoked == (12, issuing)


@pytest.mark.parametrize(
    "make",
    [
        lambda: TicketKeys.from_secret(SECRET),
        TicketKeys.generate,
        lambda: TicketKeys.from_environment("X", environ={"X": SECRET.hex()}),
    ],
)
def test_f05_keys_from_bytes_refuse_to_be_pickled_and_say_what_to_do(make: type[TicketKeys]) -> None:
    with pytest.raises(TypeError, match=r"from_environment\(\) or TicketKeys.from_file\(\)"):
        pickle.dumps(make())
