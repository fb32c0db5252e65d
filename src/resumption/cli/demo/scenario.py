"""The story that the demonstration tells, from the first worker process to the last, under one deadline.

It starts and directs processes, and collects what they say; judging that is left to `resumption.cli.demo.report`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from resumption.cli.certificates import Certificates, make_certificates
from resumption.cli.demo import openssl
from resumption.cli.demo.report import Findings, Row
from resumption.cli.fleet import Fleet, numbered
from resumption.cli.processes import Child, Deadline, Line, describe
from resumption.cli.worker import WorkerSettings
from resumption.errors import Error, UsageError
from resumption.session.verdicts import Mechanism

__all__ = ["Kind", "Plan", "run", "worker_settings"]

_STDLIB = ("-I", str(Path(__file__).with_name("stdlib.py")))
_CLIENT = ("-m", "resumption.cli.demo.client")
_MOST_FULL = 10  # full handshakes that are timed, per row
_STEP_S = 20.0  # for each thing that a client does on its connections
_END_S = 10.0

Tell = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Kind:
    """A way of resuming that gets a row."""

    name: str
    label: str  # of its session file
    mechanism: Mechanism
    stateful: bool = False
    tls12: bool = False


KINDS = (
    Kind("TLS 1.3 tickets", "tickets", Mechanism.STATELESS_13),
    Kind("TLS 1.3 stateful", "stateful", Mechanism.STATEFUL_13, stateful=True),
    Kind("TLS 1.2 tickets", "tickets-12", Mechanism.TICKET_12, tls12=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be shown, where, and within how many seconds."""

    folder: Path
    workers: int = 4
    connections: int = 40
    store: str | None = None
    timeout_s: float = 120.0

    @property
    def store_url(self) -> str:
        """The store: an SQLite file in the folder unless another was asked for."""
        return self.store or f"sqlite://{quote(str((self.folder / 'sessions.db').resolve()))}"


def worker_settings(plan: Plan, certificates: Certificates) -> list[WorkerSettings]:
    """What each worker is told: all of them one secret and one store, which is the whole trick."""
    settings = WorkerSettings(
        index=0,
        certificate=str(certificates.chain),
        private_key=str(certificates.key),
        tickets=secrets.token_hex(32),
        store=plan.store_url,
    )
    return numbered(settings, plan.workers)


def run(plan: Plan, tell: Tell) -> Findings:
    """Tell the story. What goes wrong ends it, and is among the findings; wrong usage is raised."""
    found = Findings(plan.workers, plan.connections, store=plan.store_url)
    started = time.monotonic()
    try:
        _Story(plan, found, tell).tell_all()
    except UsageError:
        raise
    except (Error, OSError) as error:
        found.error = describe(error)
    found.seconds = time.monotonic() - started
    return found


class _Story:
    """The processes and the findings, while it is told."""

    def __init__(self, plan: Plan, found: Findings, tell: Tell) -> None:
        self._plan = plan
        self._found = found
        self._tell = tell
        self._deadline = Deadline(plan.timeout_s)
        self._full = min(_MOST_FULL, plan.connections)

    def tell_all(self) -> None:
        plan, found = self._plan, self._found
        certificates = make_certificates(plan.folder)
        with ExitStack() as running:
            fleet = running.enter_context(Fleet(worker_settings(plan, certificates), self._deadline))
            found.worker_pids = fleet.pids
            self._tell(f"{plan.workers} worker processes listen on port {fleet.port}")
            self._first_client(fleet, certificates)
            self._second_client(fleet, certificates)
            saved = plan.folder / "openssl.pem"
            found.guest = openssl.invite(saved, fleet.host, fleet.port, certificates.authority, self._deadline)
            self._tell(f"the openssl program: {found.guest.resumed}")
            found.worker_reports = fleet.end(self._deadline)
        self._standard_library(certificates)

    def _first_client(self, fleet: Fleet, certificates: Certificates) -> None:
        """A process makes a full handshake of each kind, saves the session, and exits."""
        with self._client(fleet, certificates, "the first client") as client:
            answers = []
            for kind in KINDS:
                fleet.issue(stateful=kind.stateful, deadline=self._deadline)
                request = {"do": "first", "tls12": kind.tls12, "save": str(self._file(kind))}
                answers.append(client.ask(request, self._deadline))
            self._found.first = answers
            self._last_words(client)
        self._tell("a client process made full handshakes, saved its sessions and ended")

    def _second_client(self, fleet: Fleet, certificates: Certificates) -> None:
        """Another process loads each file and resumes, and then comes back again and again."""
        with self._client(fleet, certificates, "the second client") as client:
            for kind in KINDS:
                fleet.issue(stateful=kind.stateful, deadline=self._deadline)
                answer = client.ask(
                    {
                        "do": "again",
                        "tls12": kind.tls12,
                        "load": str(self._file(kind)),
                        "connections": self._plan.connections,
                        "full": self._full,
                    },
                    self._deadline,
                )
                row = _row(kind.name, kind.mechanism.value, answer)
                self._found.rows.append(row)
                self._tell(f"{kind.name}: {row.resumed} of {row.of} resumed")
            fleet.issue(stateful=False, deadline=self._deadline)
            client.ask({"do": "save", "save": str(self._plan.folder / "openssl.pem")}, self._deadline)
            self._last_words(client)

    def _standard_library(self, certificates: Certificates) -> None:
        """The same with the standard library's ssl, in as many workers."""
        settings = numbered(
            WorkerSettings(index=0, certificate=str(certificates.chain), private_key=str(certificates.key), tickets=""),
            self._plan.workers,
        )
        with ExitStack() as running:
            fleet = running.enter_context(Fleet(settings, self._deadline, program=_STDLIB))
            client = Child("the standard library's client", _STDLIB)
            running.callback(client.kill)
            answer = client.ask(
                {
                    "role": "client",
                    "host": fleet.host,
                    "port": fleet.port,
                    "authority": str(certificates.authority),
                    "timeout_s": _STEP_S,
                    "connections": self._plan.connections,
                    "full": self._full,
                },
                self._deadline,
            )
            row = _row("standard library ssl", "", answer)
            self._found.stdlib = row
            self._found.stdlib_version = answer["version"]
            self._tell(f"the standard library's ssl: {row.resumed} of {row.of} resumed")

    def _client(self, fleet: Fleet, certificates: Certificates, name: str) -> _Directed:
        client = _Directed(name, _CLIENT)
        client.send(
            {
                "host": fleet.host,
                "port": fleet.port,
                "authority": str(certificates.authority),
                "timeout_s": _STEP_S,
            }
        )
        return client

    def _file(self, kind: Kind) -> Path:
        return self._plan.folder / f"session-{kind.label}.pem"

    def _last_words(self, client: Child) -> None:
        self._found.client_reports.append(client.finish(self._deadline) or {})


class _Directed(Child):
    """A client process that is gone when the block ends."""

    def __enter__(self) -> _Directed:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def _row(name: str, mechanism: str, answer: Line) -> Row:
    return Row(
        name=name,
        mechanism=mechanism,
        reconnections=answer["reconnections"],
        full_ms=answer["full_ms"],
        full_bytes=answer["full_bytes"],
        resumed_bytes=answer["resumed_bytes"],
        loaded=answer.get("loaded"),
    )
