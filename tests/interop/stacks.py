"""The other stacks of the matrix: how each is told what a case wants, and their servers."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from resumption.constants import CipherSuite, NamedGroup
from tests import peers
from tests.interop.cases import GNUTLS_CIPHERS, GNUTLS_GROUPS, OPENSSL_GROUPS, V13, Case, PeerName, bulk, wanted_groups
from tests.pki import Credential

EARLY_WORDS = "words before the handshake"
MAX_EARLY_DATA = 16_384  # bytes that tickets allow, everywhere in the matrix
_SSL_CURVES = {
    NamedGroup.secp256r1: "prime256v1",
    NamedGroup.secp384r1: "secp384r1",
    NamedGroup.secp521r1: "secp521r1",
}


def _openssl_suite(suite: int) -> str:
    """OpenSSL's name for a suite: that of the RFC in TLS 1.3, its own before."""
    name = CipherSuite(suite).name
    if "_WITH_" not in name:
        return name
    key = name.removeprefix("TLS_").partition("_WITH_")[0].replace("_", "-")
    cipher = bulk(suite).replace("AES_128", "AES128").replace("AES_256", "AES256").replace("CCM_8", "CCM8")
    tail = name.rpartition("_")[2]
    own = cipher.replace("_", "-")
    return f"{key}-{own}" if "CCM" in cipher or "CHACHA" in cipher else f"{key}-{own}-{tail}"


def openssl_options(case: Case) -> list[str]:
    """What makes s_client offer the case's suite and groups, and nothing else."""
    groups = ":".join(OPENSSL_GROUPS[NamedGroup(group)] for group in wanted_groups(case))
    return [*_openssl_suites(case), "-groups", groups, "-tls1_3" if case.version == V13 else "-tls1_2"]


def _openssl_suites(case: Case) -> list[str]:
    name = _openssl_suite(case.suite)
    return ["-ciphersuites", name] if case.version == V13 else ["-cipher", f"{name}:@SECLEVEL=1"]


def gnutls_priority(case: Case) -> str:
    """What makes gnutls-cli offer the case's suite and groups, and nothing else."""
    version = "TLS1.3" if case.version == V13 else "TLS1.2"
    groups = [f"+GROUP-{GNUTLS_GROUPS[NamedGroup(group)]}" for group in wanted_groups(case)]
    cipher = GNUTLS_CIPHERS[bulk(case.suite)]
    return ":".join(["NORMAL:-VERS-ALL", f"+VERS-{version}", "-GROUP-ALL", *groups, "-CIPHER-ALL", f"+{cipher}"])


def server_key(case: Case) -> tuple[object, ...]:
    """What decides which server a case needs: those with equal keys can share one."""
    ccm = case.suite if "CCM" in bulk(case.suite) and case.peer == "openssl" else None
    asking = case.scenario == "client certificate"
    return case.peer, case.certificate, asking, _only_group(case), ccm, case.has_early_data


def _only_group(case: Case) -> int | None:
    """The one group that the server takes, so that it asks for another hello; None: all that it has."""
    return case.group if case.scenario == "hello retry" else None


@dataclass
class PeerServer:
    """A server of another stack. ``output`` is read where its pages do not say whether a session was resumed.

    One that ``has_pages`` answers requests; the other sends what it gets on its standard input.
    """

    port: int
    output: peers.Peer | None = None
    has_pages: bool = True
    connections: int = 0

    def was_resumed(self, page: str) -> bool:
        """What the server says of the latest connection."""
        if self.output is None:
            return peers.resumed(page)[0]
        self.connections += 1
        if not self.has_pages:
            told = self._story()
            assert (EARLY_WORDS in told) == ("Early data received:" in told), told
            return "Reused session-id" in told
        self.output.wait_for(r"^- Version: ", count=self.connections)  # told after the word on resumption
        return peers.resumed(self.output.output)[self.connections - 1]

    def send_page(self) -> None:
        """Have s_server send something, once it has told of the latest handshake: it does not if it writes at once."""
        assert self.output is not None
        self.output.wait_for(r"^CIPHER is ", count=self.connections + 1)
        self.output.send(b"a page by hand\n")

    def _story(self) -> str:
        """What s_server said of the latest connection, once that is over."""
        assert self.output is not None
        self.output.wait_for(r"^CONNECTION CLOSED", count=self.connections)
        return self.output.output.split("CONNECTION CLOSED")[self.connections - 1]

    def early_data_was_received(self) -> bool:
        """What s_server says of the latest connection that was asked about with `was_resumed`."""
        return EARLY_WORDS in self._story()


@contextlib.contextmanager
def _openssl_server(leaf: Credential, ca: bytes | None, case: Case) -> Iterator[PeerServer]:
    only = _only_group(case)
    options = ["-groups", OPENSSL_GROUPS[NamedGroup(only)] if only else ":".join(OPENSSL_GROUPS.values())]
    if case.has_early_data:  # it has no pages then
        options += ["-tls1_3", "-early_data", "-max_early_data", str(MAX_EARLY_DATA)]
    else:
        options.append("-www")
    if ca is not None:
        options += ["-Verify", "1", "-verify_return_error"]
    if "CCM" in bulk(case.suite):
        options += _openssl_suites(case)
    with peers.openssl_server(leaf, *options, ca=ca) as server:
        if case.has_early_data:
            yield PeerServer(server.port, server, has_pages=False)
        else:
            yield PeerServer(server.port)


@contextlib.contextmanager
def _gnutls_server(leaf: Credential, ca: bytes | None, case: Case) -> Iterator[PeerServer]:
    only = _only_group(case)
    groups = f":-GROUP-ALL:+GROUP-{GNUTLS_GROUPS[NamedGroup(only)]}" if only else ""
    options = ["--http", f"--priority=NORMAL:+AES-128-CCM:+AES-128-CCM-8{groups}"]
    options += ["--require-client-cert"] if ca is not None else ["--disable-client-cert"]
    options += ["--earlydata", f"--maxearlydata={MAX_EARLY_DATA}"] if case.has_early_data else []
    with peers.gnutls_server(leaf, *options, ca=ca) as server:
        yield PeerServer(server.port, server)


@contextlib.contextmanager
def _ssl_server(leaf: Credential, ca: bytes | None, case: Case) -> Iterator[PeerServer]:
    only = _only_group(case)

    def setup(context: ssl.SSLContext) -> None:
        if ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        if only:
            context.set_ecdh_curve(_SSL_CURVES[NamedGroup(only)])

    with peers.ssl_server(leaf, setup, ca=ca) as server:
        yield PeerServer(server.port)


#: How to start a server of each peer: its certificate, and the roots (PEM) for those of clients, which it then demands.
SERVERS: dict[PeerName, Callable[[Credential, bytes | None, Case], AbstractContextManager[PeerServer]]] = {
    "openssl": _openssl_server,
    "gnutls": _gnutls_server,
    "ssl": _ssl_server,
}
