"""pyOpenSSL as a contender of the handshake races, where it is installed.

It drives the OpenSSL that pyca/cryptography brings, the one behind our own primitives. Two of the terms cannot be had:
it sends two tickets after a full TLS 1.3 handshake, and it does not compare the server's name with the certificate.
What its public face lacks otherwise (choosing the group, asking whether a session was reused) is taken from beneath.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

from resumption.cli.bench.contenders import Unfair, check_flags
from resumption.cli.bench.material import GROUP, SERVER_NAME, TLS12, TLS13, Terms
from resumption.cli.certificates import Certificates
from resumption.constants import NamedGroup

__all__ = ["PyOpenSSL", "pyopenssl_version"]

_FULL_RECORD = 16_384 + 256 + 5


def pyopenssl_version() -> str | None:
    """Its version, or None where it is not installed."""
    try:
        module = importlib.import_module("OpenSSL")
    except ImportError:
        return None
    return str(module.__version__)


class PyOpenSSL:
    """See `resumption.cli.bench.contenders.Contender`. Raises `Unfair` if it does not take the terms."""

    def __init__(self, terms: Terms, certificates: Certificates) -> None:
        ssl: Any = importlib.import_module("OpenSSL.SSL")
        self._lib: Any = importlib.import_module("OpenSSL._util").lib
        self._connection: Any = ssl.Connection
        self._want_read: type[Exception] = ssl.WantReadError
        self._closed: type[Exception] = ssl.ZeroReturnError
        self._tickets = terms is TLS13
        self.handshakes = 0
        self._client, self._server = ssl.Context(ssl.TLS_METHOD), ssl.Context(ssl.TLS_METHOD)
        for context in (self._client, self._server):
            context.set_min_proto_version(terms.version)
            context.set_max_proto_version(terms.version)
            if terms is TLS12:
                context.set_cipher_list(terms.openssl_suite.encode())
            else:
                context.set_tls13_ciphersuites(terms.openssl_suite.encode())
            if self._lib.SSL_CTX_set1_curves_list(context._context, b"X25519:P-256") != 1:
                raise Unfair("pyOpenSSL does not take the group")
        self._client.load_verify_locations(str(certificates.authority))
        self._client.set_verify(ssl.VERIFY_PEER)
        self._server.use_certificate_chain_file(str(certificates.chain))
        self._server.use_privatekey_file(str(certificates.key))
        self._server.set_session_id(b"bench")
        client, server = self.connect(None)
        if client.get_cipher_name() != terms.openssl_suite:
            raise Unfair(f"pyOpenSSL negotiated {client.get_cipher_name()}, not {terms.openssl_suite}")
        if str(client.get_group_name()).lower() != NamedGroup(GROUP).name:
            raise Unfair(f"pyOpenSSL exchanged keys in group {client.get_group_name()}")
        self._session = client.get_session()
        self.close(client, server)

    def full(self) -> None:
        """As `Contender` says."""
        client, server = self.connect(None)
        check_flags(self._is_reused(client), self._is_reused(server), False)
        self._session = client.get_session()
        self.close(client, server)
        self.handshakes += 1

    def resumed(self) -> None:
        """As `Contender` says."""
        client, server = self.connect(self._session)
        check_flags(self._is_reused(client), self._is_reused(server), True)
        self._session = client.get_session()
        self.close(client, server)
        self.handshakes += 1

    def connect(self, session: object) -> tuple[Any, Any]:
        """A connected pair whose client has read the tickets."""
        client, server = self._connection(self._client, None), self._connection(self._server, None)
        client.set_connect_state()
        server.set_accept_state()
        client.set_tlsext_host_name(SERVER_NAME.encode())
        if session is not None:
            client.set_session(session)
        waiting = [(client, server), (server, client)]
        while waiting:
            side, other = waiting.pop(0)
            try:
                side.do_handshake()
            except self._want_read:
                waiting.append((side, other))
            self._carry(side, other)
        if self._tickets:
            with contextlib.suppress(self._want_read):
                client.recv(1)
        return client, server

    def close(self, client: Any, server: Any) -> None:
        """Say goodbye both ways."""
        client.shutdown()
        self._carry(client, server)
        with contextlib.suppress(self._closed):
            server.recv(1)
        server.shutdown()
        self._carry(server, client)
        with contextlib.suppress(self._closed):
            client.recv(1)

    def _carry(self, sender: Any, receiver: Any) -> None:
        with contextlib.suppress(self._want_read):
            while True:
                receiver.bio_write(sender.bio_read(_FULL_RECORD))

    def _is_reused(self, connection: Any) -> bool:
        return bool(self._lib.SSL_session_reused(connection._ssl))
