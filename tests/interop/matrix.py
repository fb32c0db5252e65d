"""The matrix: every combination of peer, role, version, suite, group, certificate and way of going about it.

A `Case` is one cell. `cases` makes all that both ends can do, from our own tables and from what each peer is known to
lack, so a group or suite that is added to the engine is in the matrix the same day. `Matrix.run` plays one case: a full
handshake and a resumed one, each confirmed at both ends, with data both ways; it raises where something is not as the
case says. Servers of other stacks are started once for all cases that they fit.

The suite plays a sample (`sample`): every value of every column, for each peer, role and version. All of it:

    python3 dev.py matrix [--json] [--peer NAME] [--sample] [--part K/N]
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import ssl
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from resumption import ClientContext, ServerContext
from resumption.constants import CipherSuite, NamedGroup, ProtocolVersion
from resumption.crypto.groups import GROUPS
from resumption.crypto.suites import SUITES
from tests import peers
from tests.interop.ours import our_server
from tests.pki import Credential, Pki

PeerName: TypeAlias = Literal["openssl", "gnutls", "ssl"]
Role: TypeAlias = Literal["client", "server"]
Scenario: TypeAlias = Literal["plain", "hello retry", "client certificate", "key update"]

V12, V13 = ProtocolVersion.TLSv1_2, ProtocolVersion.TLSv1_3
PEERS: tuple[PeerName, ...] = ("openssl", "gnutls", "ssl")
CERTIFICATES = ("ecdsa_p256", "ecdsa_p384", "ecdsa_p521", "ed25519", "ed448", "rsa2048")
SCENARIOS: dict[int, tuple[Scenario, ...]] = {
    V12: ("plain", "client certificate"),
    V13: ("plain", "hello retry", "client certificate", "key update"),
}
_CURVES = {
    "ecdsa_p256": NamedGroup.secp256r1,
    "ecdsa_p384": NamedGroup.secp384r1,
    "ecdsa_p521": NamedGroup.secp521r1,
}

# How the peers write our names. What is not here, they do not have.
OPENSSL_GROUPS = {
    NamedGroup.x25519: "X25519",
    NamedGroup.secp256r1: "P-256",
    NamedGroup.secp384r1: "P-384",
    NamedGroup.secp521r1: "P-521",
    NamedGroup.x448: "X448",
    NamedGroup.ffdhe2048: "ffdhe2048",
    NamedGroup.ffdhe3072: "ffdhe3072",
}
GNUTLS_GROUPS = {
    NamedGroup.x25519: "X25519",
    NamedGroup.secp256r1: "SECP256R1",
    NamedGroup.secp384r1: "SECP384R1",
    NamedGroup.secp521r1: "SECP521R1",
    NamedGroup.x448: "X448",
    NamedGroup.ffdhe2048: "FFDHE2048",
    NamedGroup.ffdhe3072: "FFDHE3072",
}
GNUTLS_CIPHERS = {
    "AES_128_GCM": "AES-128-GCM",
    "AES_256_GCM": "AES-256-GCM",
    "CHACHA20_POLY1305": "CHACHA20-POLY1305",
    "AES_128_CCM": "AES-128-CCM",
    "AES_128_CCM_8": "AES-128-CCM-8",
}
# Groups that Python's ssl offers and takes without being told (what the OpenSSL beneath it prefers).
SSL_GROUPS = (
    NamedGroup.x25519,
    NamedGroup.secp256r1,
    NamedGroup.x448,
    NamedGroup.secp521r1,
    NamedGroup.secp384r1,
)
_TLS12_GROUPS = frozenset(SSL_GROUPS)


@dataclass(frozen=True, slots=True)
class Case:
    """One cell of the matrix. ``role`` is ours."""

    peer: PeerName
    role: Role
    version: int
    suite: int
    group: int
    certificate: str
    scenario: Scenario

    def __str__(self) -> str:
        return (
            f"{self.peer}, we are the {self.role}, TLS 1.{self.version - 0x0301}, {CipherSuite(self.suite).name}, "
            f"{NamedGroup(self.group).name}, {self.certificate}, {self.scenario}"
        )

    @property
    def columns(self) -> tuple[object, ...]:
        """What varies within a peer, role and version."""
        return self.suite, self.group, self.certificate, self.scenario

    @property
    def other_group(self) -> NamedGroup:
        """The group that a client sends a share of before it is asked for ``group``."""
        return NamedGroup.secp256r1 if self.group == NamedGroup.x25519 else NamedGroup.x25519


def _suites(version: int, certificate: str) -> list[int]:
    """Our suites of this version that the certificate can serve."""
    found = [number for number, facts in SUITES.items() if facts.version == version]
    if version == V13:
        return found
    kind = "_ECDHE_RSA_" if certificate.startswith("rsa") else "_ECDHE_ECDSA_"
    return [number for number in found if kind in CipherSuite(number).name]


def _bulk(suite: int) -> str:
    """The cipher within a suite's name: AES_128_GCM."""
    name = CipherSuite(suite).name.removeprefix("TLS_").partition("_WITH_")
    return (name[2] or name[0]).removesuffix("_SHA256").removesuffix("_SHA384")


def _openssl_suite(suite: int) -> str:
    """OpenSSL's name for a suite: that of the RFC in TLS 1.3, its own before."""
    name = CipherSuite(suite).name
    if "_WITH_" not in name:
        return name
    key = name.removeprefix("TLS_").partition("_WITH_")[0].replace("_", "-")
    bulk = _bulk(suite).replace("AES_128", "AES128").replace("AES_256", "AES256").replace("CCM_8", "CCM8")
    tail = name.rpartition("_")[2]
    own = bulk.replace("_", "-")
    return f"{key}-{own}" if "CCM" in bulk or "CHACHA" in bulk else f"{key}-{own}-{tail}"


def possible(case: Case) -> bool:
    """Whether the peer can play its part."""
    group = NamedGroup(case.group)
    if case.version == V12 and group not in _TLS12_GROUPS:
        return False
    if case.peer == "gnutls":
        # gnutls-cli and gnutls-serv 3.7 refuse Ed448 in TLS 1.2; curves are bound to signatures there.
        return group in GNUTLS_GROUPS and _bulk(case.suite) in GNUTLS_CIPHERS
    if case.peer == "openssl":
        return group in OPENSSL_GROUPS
    if group not in SSL_GROUPS or "CCM" in _bulk(case.suite):  # it cannot enable CCM
        return False
    if case.role == "server" and case.scenario != "hello retry" and case.version == V13:
        return group == NamedGroup.x25519  # its client sends that share only: the others are hello retries
    if case.role == "server" and case.scenario == "hello retry":
        return group != NamedGroup.x25519
    if case.role == "client" and case.scenario == "hello retry":
        return group in (NamedGroup.secp256r1, NamedGroup.secp384r1, NamedGroup.secp521r1)  # what set_ecdh_curve takes
    return True


def cases() -> Iterator[Case]:
    """Every case that is possible."""
    for peer, role, version in itertools.product(PEERS, ("client", "server"), (V13, V12)):
        for certificate, scenario, group in itertools.product(CERTIFICATES, SCENARIOS[version], GROUPS):
            for suite in _suites(version, certificate):
                case = Case(peer, role, version, suite, group, certificate, scenario)  # type: ignore[arg-type]
                if possible(case):
                    yield case


def sample(everything: Iterable[Case]) -> list[Case]:
    """Few cases in which every value of every column is met, for each peer, role and version."""
    chosen: list[Case] = []
    for _, some in itertools.groupby(everything, key=lambda case: (case.peer, case.role, case.version)):
        left = list(some)
        missing = {(at, value) for case in left for at, value in enumerate(case.columns)}
        while missing:
            best = max(left, key=lambda case: len(missing & set(enumerate(case.columns))))
            chosen.append(best)
            missing -= set(enumerate(best.columns))
    return chosen


class Matrix:
    """The servers that are running, and the certificates that they show. A context manager."""

    def __init__(self, pki: Pki) -> None:
        self.pki = pki
        self._stack = contextlib.ExitStack()
        self._servers: dict[tuple[object, ...], tuple[_PeerServer, contextlib.ExitStack]] = {}
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))

    def __enter__(self) -> Matrix:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, case: Case) -> None:
        """Play ``case``. Raises AssertionError, or what the engine raised, if it does not go as it should."""
        if case.role == "client":
            self._run_client(case)
        else:
            self._run_server(case)

    # --- we are the client ------------------------------------------------------------------------------------------

    def _run_client(self, case: Case) -> None:
        settings: dict[str, Any] = {}
        own = self.pki.client
        if case.scenario == "client certificate":
            settings |= {"certificate": own.chain_pem, "private_key": own.key_pem}
        context = ClientContext(
            trust=self.pki.trust_pem,
            minimum_version=case.version,
            maximum_version=case.version,
            suites=(case.suite,),
            groups=_wanted_groups(case),
            **settings,
        )
        server = self._server(case)
        with context as client:
            for turn in (False, True):
                page = self._visit(client, server.port, case, turn)
                assert server.was_resumed(page) is turn, f"the server says resumed={not turn}"
                assert "HTTP/1.0 200" in page, page[:100]

    def _visit(self, client: ClientContext, port: int, case: Case, resumed: bool) -> str:
        with client.connect((peers.HOST, port), server_name="localhost", timeout=peers.TIME_LIMIT) as stream:
            stream.sendall(peers.REQUEST[:4])
            if case.scenario == "key update":
                stream.update_keys(request_peer=True)
            stream.sendall(peers.REQUEST[4:])
            page = stream.read_all().decode("utf-8", "replace")
            assert stream.resumption is not None
            assert stream.resumption.resumed is resumed, str(stream.resumption)
            assert stream.version == case.version
            assert stream.cipher == CipherSuite(case.suite).name
            facts = stream.connection.facts
            assert facts is not None
            # Python's ssl goes by its own order of groups.
            groups = _wanted_groups(case) if case.peer == "ssl" else (case.group,)
            assert resumed or facts.group in groups, f"group {facts.group}"
            return page

    def _server(self, case: Case) -> _PeerServer:
        key = self._key(case)
        if key not in self._servers:
            leaf: Credential = getattr(self.pki, case.certificate)
            ca = self.pki.trust_pem if case.scenario == "client certificate" else None
            only = case.group if case.scenario == "hello retry" else None
            stack = contextlib.ExitStack()
            self._servers[key] = stack.enter_context(_SERVERS[case.peer](leaf, ca, only, case)), stack
            self._stack.push(stack)
        return self._servers[key][0]

    def forget(self, case: Case) -> None:
        """End the server that ``case`` was played with: a client that broke off may have left it in disorder."""
        found = self._servers.pop(self._key(case), None) if case.role == "client" else None
        if found is not None:
            found[1].close()

    @staticmethod
    def _key(case: Case) -> tuple[object, ...]:
        """What decides which server a case needs."""
        only = case.group if case.scenario == "hello retry" else None
        ccm = case.suite if "CCM" in _bulk(case.suite) and case.peer == "openssl" else None
        return case.peer, case.certificate, case.scenario == "client certificate", only, ccm

    # --- we are the server ------------------------------------------------------------------------------------------

    def _run_server(self, case: Case) -> None:
        leaf: Credential = getattr(self.pki, case.certificate)
        settings: dict[str, Any] = {}
        if case.scenario == "client certificate":
            settings |= {"client_auth": "required", "trust": self.pki.trust_pem, "session_id_context": b"matrix"}
        context = ServerContext(
            leaf.chain_pem,
            leaf.key_pem,
            minimum_version=case.version,
            maximum_version=case.version,
            suites=(case.suite,),
            groups=(case.group,),
            **settings,
        )
        with our_server(context, update_keys=case.scenario == "key update") as server:
            said = getattr(self, f"_{case.peer}_visits")(server.port, case)
        assert not server.errors, server.errors
        assert [seen.resumed for seen in server.resumptions] == [False, True], server.resumptions
        assert said == [False, True], f"the client says {said}"
        if case.scenario == "client certificate":
            assert server.leaves == [self.pki.client.cert_der] * 2

    def _openssl_visits(self, port: int, case: Case) -> list[bool]:
        file = self._folder / "session.pem"
        file.unlink(missing_ok=True)
        options = [*_openssl_options(case), "-tls1_3" if case.version == V13 else "-tls1_2"]
        own = self.pki.client if case.scenario == "client certificate" else None
        said = []
        for option in ("-sess_out", "-sess_in"):
            run = peers.openssl_client(port, *options, option, str(file), ca=self.pki.trust_pem, certificate=own)
            assert run.status == 0, run.output
            assert "HTTP/1.0 200" in run.output, run.output
            said.append(peers.resumed(run.output)[0])
        return said

    def _gnutls_visits(self, port: int, case: Case) -> list[bool]:
        own = self.pki.client if case.scenario == "client certificate" else None
        wait = ("--waitresumption",) if case.version == V13 else ()
        single = ("--single-key-share",) if case.scenario == "hello retry" else ()
        options = ("-r", *wait, *single, f"--priority={_gnutls_priority(case)}")
        run = peers.gnutls_client(port, *options, ca=self.pki.trust_pem, certificate=own)
        assert "HTTP/1.0 200" in run.output, run.output
        return [False, "*** This is a resumed session" in run.output]

    def _ssl_visits(self, port: int, case: Case) -> list[bool]:
        own = self.pki.client if case.scenario == "client certificate" else None

        def only(context: ssl.SSLContext) -> None:
            context.minimum_version = context.maximum_version = ssl.TLSVersion(case.version)

        context = peers.ssl_client_context(self.pki.trust_pem, only, own)
        first = peers.ssl_client(port, context)
        again = peers.ssl_client(port, context, session=first.session)
        assert b"HTTP/1.0 200" in first.received
        assert b"HTTP/1.0 200" in again.received
        return [bool(first.resumed), bool(again.resumed)]


@dataclass
class _PeerServer:
    """A server of another stack. ``output`` is read where its pages do not say whether a session was resumed."""

    port: int
    output: peers.Peer | None = None
    connections: int = 0

    def was_resumed(self, page: str) -> bool:
        """What the server says of the latest connection."""
        if self.output is None:
            return peers.resumed(page)[0]
        self.connections += 1
        self.output.wait_for(r"^- Version: ", count=self.connections)  # told after the word on resumption
        return peers.resumed(self.output.output)[self.connections - 1]


def _wanted_groups(case: Case) -> tuple[int, ...]:
    """What a client lists, so that ``case.group`` is chosen."""
    if case.scenario == "hello retry":
        return case.other_group, case.group
    wanted = [case.group]
    if case.version == V12:  # there the list also says on which curves certificates may be: the server's, the root's
        if case.certificate in _CURVES:
            wanted += [_CURVES[case.certificate], NamedGroup.secp256r1]
        elif case.scenario == "client certificate":
            wanted.append(NamedGroup.secp256r1)
    return tuple(dict.fromkeys(wanted))


def _openssl_options(case: Case) -> list[str]:
    return [*_openssl_suites(case), "-groups", ":".join(OPENSSL_GROUPS[NamedGroup(g)] for g in _wanted_groups(case))]


def _openssl_suites(case: Case) -> list[str]:
    name = _openssl_suite(case.suite)
    return ["-ciphersuites", name] if case.version == V13 else ["-cipher", f"{name}:@SECLEVEL=1"]


def _gnutls_priority(case: Case) -> str:
    version = "TLS1.3" if case.version == V13 else "TLS1.2"
    groups = [f"+GROUP-{GNUTLS_GROUPS[NamedGroup(group)]}" for group in _wanted_groups(case)]
    cipher = GNUTLS_CIPHERS[_bulk(case.suite)]
    return ":".join(["NORMAL:-VERS-ALL", f"+VERS-{version}", "-GROUP-ALL", *groups, "-CIPHER-ALL", f"+{cipher}"])


@contextlib.contextmanager
def _openssl_server(leaf: Credential, ca: bytes | None, only: int | None, case: Case) -> Iterator[_PeerServer]:
    groups = OPENSSL_GROUPS[NamedGroup(only)] if only else ":".join(OPENSSL_GROUPS.values())
    options = ["-www", "-groups", groups]
    if ca is not None:
        options += ["-Verify", "1", "-verify_return_error"]
    if "CCM" in _bulk(case.suite):
        options += _openssl_suites(case)
    with peers.openssl_server(leaf, *options, ca=ca) as server:
        yield _PeerServer(server.port)


@contextlib.contextmanager
def _gnutls_server(leaf: Credential, ca: bytes | None, only: int | None, case: Case) -> Iterator[_PeerServer]:
    groups = f":-GROUP-ALL:+GROUP-{GNUTLS_GROUPS[NamedGroup(only)]}" if only else ""
    options = ["--http", f"--priority=NORMAL:+AES-128-CCM:+AES-128-CCM-8{groups}"]
    options += ["--require-client-cert"] if ca is not None else ["--disable-client-cert"]
    with peers.gnutls_server(leaf, *options, ca=ca) as server:
        yield _PeerServer(server.port, server)


@contextlib.contextmanager
def _ssl_server(leaf: Credential, ca: bytes | None, only: int | None, case: Case) -> Iterator[_PeerServer]:
    def setup(context: ssl.SSLContext) -> None:
        if ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        if only:
            context.set_ecdh_curve(_SSL_CURVES[NamedGroup(only)])

    with peers.ssl_server(leaf, setup, ca=ca) as server:
        yield _PeerServer(server.port)


_SERVERS = {"openssl": _openssl_server, "gnutls": _gnutls_server, "ssl": _ssl_server}
_SSL_CURVES = {
    NamedGroup.secp256r1: "prime256v1",
    NamedGroup.secp384r1: "secp384r1",
    NamedGroup.secp521r1: "secp521r1",
}


# --- as a program ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that did not go as it should, and why."""

    case: Case
    why: str


def play(matrix: Matrix, chosen: list[Case]) -> list[Failure]:
    """Play the cases one after the other, with progress on stderr."""
    failures = []
    started = told = time.monotonic()
    for number, case in enumerate(chosen, 1):
        try:
            matrix.run(case)
        except Exception as error:  # whatever it is, it is this case's failure
            failures.append(Failure(case, f"{type(error).__name__}: {str(error)[:300]}"))
            matrix.forget(case)
            print(f"FAILED {case}: {failures[-1].why}", file=sys.stderr, flush=True)
        if time.monotonic() - told > 5 or number == len(chosen):
            told = time.monotonic()
            print(f"{number} of {len(chosen)} cases, {told - started:.0f} s", file=sys.stderr, flush=True)
    return failures


@dataclass
class Row:
    """Cases of one peer, role, version and scenario: how many different values they cover, and how they went."""

    suites: set[int] = field(default_factory=set)
    groups: set[int] = field(default_factory=set)
    certificates: set[str] = field(default_factory=set)
    cases: int = 0
    passed: int = 0


def table(chosen: list[Case], failures: list[Failure]) -> list[dict[str, object]]:
    """What was played and how it went, a row for each peer, role, version and scenario."""
    failed = {failure.case for failure in failures}
    rows: dict[tuple[str, str, int, str], Row] = {}
    for case in chosen:
        row = rows.setdefault((case.peer, case.role, case.version, case.scenario), Row())
        row.suites.add(case.suite)
        row.groups.add(case.group)
        row.certificates.add(case.certificate)
        row.cases += 1
        row.passed += case not in failed
    return [
        {
            "peer": peer,
            "we are": role,
            "version": f"TLS 1.{version - 0x0301}",
            "scenario": scenario,
            "suites": len(row.suites),
            "groups": len(row.groups),
            "certificates": len(row.certificates),
            "cases": row.cases,
            "passed": row.passed,
        }
        for (peer, role, version, scenario), row in rows.items()
    ]


def main(arguments: list[str]) -> int:
    """Play the matrix and print its table. The exit status is 1 if a case failed."""
    options = argparse.ArgumentParser(prog="dev.py matrix", description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    options.add_argument("--peer", choices=PEERS, action="append", help="only this peer (may be given again)")
    options.add_argument("--sample", action="store_true", help="only the sample that the test suite plays")
    options.add_argument("--part", default="1/1", metavar="K/N", help="only every N-th case, from the K-th on")
    wanted = options.parse_args(arguments)
    part, parts = map(int, wanted.part.split("/"))
    chosen = [case for case in cases() if wanted.peer is None or case.peer in wanted.peer]
    chosen = (sample(chosen) if wanted.sample else chosen)[part - 1 :: parts]
    with Matrix(Pki()) as matrix:
        failures = play(matrix, chosen)
    rows = table(chosen, failures)
    if wanted.json:
        failed = [{"case": str(failure.case), "why": failure.why} for failure in failures]
        print(json.dumps({"cases": len(chosen), "failed": failed, "table": rows}, indent=1))
    else:
        widths = {name: max(len(name), *(len(str(row[name])) for row in rows)) for name in rows[0]} if rows else {}
        print("  ".join(name.ljust(width) for name, width in widths.items()))
        for row in rows:
            print("  ".join(str(row[name]).ljust(width) for name, width in widths.items()))
        print(f"{len(chosen) - len(failures)} of {len(chosen)} cases went well")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
