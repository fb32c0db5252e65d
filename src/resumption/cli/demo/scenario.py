"""The story that the demonstration tells, from the first worker process to the last, under one deadline.

It starts and directs processes, and collects what they say; judging that is left to `resumption.cli.demo.report`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from resumption.cli.certificates import Certificates, make_certificates
from resumption.cli.demo import openssl
from resumption.cli.demo.plan import Kind, Plan
from resumption.cli.demo.report import Claim, Findings, Row
from resumption.cli.fleet import Fleet, numbered
from resumption.cli.processes import Child, Deadline, Line, describe
from resumption.cli.worker import WorkerSettings
from resumption.errors import Error, UsageError

__all__ = ["run", "worker_settings"]

_STDLIB = ("-I", str(Path(__file__).with_name("stdlib.py")))
_CLIENT = ("-m", "resumption.cli.demo.client")
_MOST_FULL = 10  # full handshakes that are timed, per row
_STEP_S = 20.0  # for each thing that a client does on its connections
_STORE_S = 1.0  # patience with the store: the rate of resumption is shown, not how soon a busy machine gives up

Tell = Callable[[str], object]


def worker_settings(plan: Plan, certificates: Certificates) -> list[WorkerSettings]:
    """What each worker is told: all of them one secret and one store, which is the whole trick."""
    settings = WorkerSettings(
        index=0,
        certificate=str(certificates.chain.resolve()),
        private_key=str(certificates.key.resolve()),
        tickets=secrets.token_hex(32),
        store=plan.store_url,
        store_timeout_s=_STORE_S,
    )
    workers = numbered(settings, plan.workers * plan.machines)
    return [replace(each, clock_skew_s=plan.skew_s * (each.index // plan.workers)) for each in workers]


def run(plan: Plan, tell: Tell) -> Findings:
    """Tell the story. What goes wrong ends it, and is among the findings; wrong usage is raised."""
    found = Findings(plan.workers * plan.machines, plan.connections, store=plan.store_url, machines=plan.machines)
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
            machines = [running.enter_context(fleet) for fleet in self._machines(certificates)]
            found.worker_pids = [pid for fleet in machines for pid in fleet.pids]
            ports = " and ".join(str(fleet.port) for fleet in machines)
            self._tell(f"{found.workers} worker processes listen on port {ports}")
            self._first_client(machines, certificates)
            self._second_client(machines, certificates)
            saved = plan.folder / "openssl.pem"
            found.guest = openssl.invite(
                saved, machines[0].host, machines[0].port, certificates.authority, self._deadline
            )
            self._tell(f"the openssl program: {found.guest.resumed}")
            found.worker_reports = [report for fleet in machines for report in fleet.end(self._deadline)]
        self._standard_library(certificates)

    def _machines(self, certificates: Certificates) -> Iterator[Fleet]:
        """The workers of each machine: in a directory of their own, on a port of their own."""
        plan, settings = self._plan, worker_settings(self._plan, certificates)
        for number in range(plan.machines):
            folder = None
            if plan.machines > 1:
                folder = plan.folder / f"machine-{number + 1}"
                folder.mkdir()
            own = settings[number * plan.workers : (number + 1) * plan.workers]
            yield Fleet(own, self._deadline, folder=folder)

    def _issue(self, machines: Sequence[Fleet], *, stateful: bool) -> None:
        for fleet in machines:
            fleet.issue(stateful=stateful, deadline=self._deadline)

    def _interrupt(self, machines: Sequence[Fleet], kind: Kind) -> None:
        """What happens halfway through the reconnections of a kind."""
        found = self._found
        if self._plan.rotate:
            names = [name for fleet in machines for name in fleet.rotate(self._deadline)]
            self._tell(f"{kind.name}: keys rotated")
            fresh = len(set(names)) == 1 and None not in names
            found.happened.append(Claim(f"{kind.name}: halfway all workers went on to the same new key", fresh))
        if self._plan.kill:
            before = {pid for fleet in machines for pid in fleet.pids}
            for fleet in machines:
                fleet.replace_all(self._deadline)
            after = found.worker_pids = [pid for fleet in machines for pid in fleet.pids]
            self._issue(machines, stateful=kind.stateful)
            self._tell(f"{kind.name}: all workers killed and replaced")
            others = not before & set(after) and len(after) == len(before)
            found.happened.append(
                Claim(f"{kind.name}: halfway {len(before)} workers were killed, and others took their place", others)
            )

    def _first_client(self, machines: Sequence[Fleet], certificates: Certificates) -> None:
        """A process makes a full handshake of each kind, saves the session, and exits."""
        with self._client(machines, certificates, "the first client") as client:
            answers = []
            for kind in self._plan.kinds:
                self._issue(machines, stateful=kind.stateful)
                request = {"do": "first", "tls12": kind.tls12, "save": str(self._file(kind))}
                answers.append(client.ask(request, self._deadline))
            self._found.first = answers
            self._last_words(client)
        self._tell("a client process made full handshakes, saved its sessions and ended")

    def _second_client(self, machines: Sequence[Fleet], certificates: Certificates) -> None:
        """Another process loads each file and resumes, and then comes back again and again."""
        with self._client(machines, certificates, "the second client") as client:
            for kind in self._plan.kinds:
                self._issue(machines, stateful=kind.stateful)
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
                if answer.get("paused"):
                    self._interrupt(machines, kind)
                    answer = client.ask({"do": "go on"}, self._deadline)
                row = _row(kind.name, kind.mechanism.value, answer)
                self._found.rows.append(row)
                self._tell(f"{kind.name}: {row.resumed} of {row.of} resumed")
            self._issue(machines[:1], stateful=False)
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

    def _client(self, machines: Sequence[Fleet], certificates: Certificates, name: str) -> _Directed:
        client = _Directed(name, _CLIENT)
        client.send(
            {
                "host": machines[0].host,
                "ports": [fleet.port for fleet in machines],
                "pauses": self._plan.pauses,
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
