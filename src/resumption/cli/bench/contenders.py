"""The contenders of the handshake races: this library and the standard library's ``ssl``.

Each is a pair of client and server in memory, which performs whole connections: hellos, the server's certificate chain
verified by the client every time, the ticket sent, received and parsed, and close_notify both ways (OpenSSL marks a
session as dead when its connection ends without). A connection that was not resumed although it should have been, or
the other way round, is an error: nothing is ever measured that was not what it says.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import Any, Protocol

from resumption.cli.bench.material import GROUP, SERVER_NAME, TICKETS, TLS12, TLS13, Terms
from resumption.cli.certificates import Certificates
from resumption.client_context import ClientContext
from resumption.connection import Connection
from resumption.constants import ContentType, ExtensionType, HandshakeType, NamedGroup
from resumption.server_context import ServerContext
from resumption.wire import extensions, messages12
from resumption.wire.messages import ServerHello
from resumption.wire.records import HandshakeBuffer, RecordReader

__all__ = ["Contender", "Ours", "StandardLibrary", "Unfair", "check_flags", "group_in"]


class Unfair(Exception):
    """A contender did not do what it was measured for."""


class Contender(Protocol):
    """One way of making connections, with one set of terms."""

    handshakes: int  # done so far; the resumption flag of both ends was checked on each

    def full(self) -> None:
        """One connection with a full handshake."""

    def resumed(self) -> None:
        """One connection that resumes a session of the one before."""


def check_flags(client: bool, server: bool, expected: bool) -> None:
    """Raise `Unfair` unless both ends say what is ``expected`` of whether they were resumed."""
    if client is not expected or server is not expected:
        raise Unfair(f"resumed: client {client}, server {server}; expected {expected}")


class Ours:
    """This library, with contexts as a program would make them: sessions are filed and found by themselves."""

    def __init__(self, terms: Terms, certificates: Certificates) -> None:
        settings: dict[str, Any] = {
            "minimum_version": terms.version,
            "maximum_version": terms.version,
            "suites": (int(terms.suite),),
            "groups": (GROUP, int(NamedGroup.secp256r1)),  # the second for the certificate's key: TLS 1.2 asks for it
        }
        self._terms = terms
        self.handshakes = 0
        self._server = ServerContext(str(certificates.chain), str(certificates.key), num_tickets=TICKETS, **settings)
        self._client = ClientContext(trust=str(certificates.authority), **settings)
        client, server = self.connect(fresh=True)
        facts = client.facts
        if facts is None or (facts.version, facts.cipher, facts.group) != (terms.version, int(terms.suite), GROUP):
            raise Unfair(f"agreed on other terms than {terms.openssl_suite} with {NamedGroup(GROUP).name}")
        if client.session is None or not client.session.ticket:
            raise Unfair("no ticket came")
        self.close(client, server)

    def full(self) -> None:
        """As `Contender` says."""
        client, server = self.connect(fresh=True)
        check_flags(client.session_reused, server.session_reused, False)
        self.close(client, server)
        self.handshakes += 1

    def resumed(self) -> None:
        """As `Contender` says. The session is found in the client's cache; a TLS 1.3 ticket is used once."""
        client, server = self.connect(fresh=False)
        check_flags(client.session_reused, server.session_reused, True)
        self.close(client, server)
        self.handshakes += 1

    def connect(self, *, fresh: bool) -> tuple[Connection, Connection]:
        """A connected pair."""
        client, server = self._client.connection(SERVER_NAME, fresh=fresh), self._server.connection()
        while not (client.handshake_complete and server.handshake_complete):
            server.receive_data(client.data_to_send())
            client.receive_data(server.data_to_send())
        return client, server

    def close(self, client: Connection, server: Connection) -> None:
        """Say goodbye both ways, and free both ends."""
        client.close()
        server.receive_data(client.data_to_send())
        server.close()
        client.receive_data(server.data_to_send())
        if not (client.peer_closed and server.peer_closed):
            raise Unfair("a close_notify is missing")
        client.free()
        server.free()


class StandardLibrary:
    """The standard library's ``ssl`` over memory, the way asyncio and every other event loop uses it.

    ``keeps_sessions``: read the session of every connection, as a program has to that wants to resume the next one: a
    TLS 1.3 ticket is to be used once (RFC 9846, section C.4), and a TLS 1.2 server may renew its ticket in any
    handshake. Our contexts do that by themselves. Without, the sessions of full handshakes are thrown away, and one old
    session is offered again and again.
    """

    def __init__(self, terms: Terms, certificates: Certificates, *, keeps_sessions: bool = True) -> None:
        self._client = ssl.create_default_context(cafile=str(certificates.authority))
        self._server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server.load_cert_chain(certificates.chain, certificates.key)
        for context in (self._client, self._server):
            context.minimum_version = context.maximum_version = terms.ssl_version
            if terms is TLS12:
                context.set_ciphers(terms.openssl_suite)
        if terms is TLS13:
            self._server.num_tickets = TICKETS
        self._keeps_sessions = keeps_sessions
        self._tickets = terms is TLS13
        self.handshakes = 0
        client, first_flight = self._watched()
        cipher = client.cipher()
        if cipher is None or cipher[0] != terms.openssl_suite or client.version() != terms.words.replace(" ", "v"):
            raise Unfair(f"the standard library negotiated {cipher}, not {terms.openssl_suite}")
        group = group_in(first_flight, terms)
        if group != GROUP:
            raise Unfair(f"the standard library exchanged keys in group {group}, not {NamedGroup(GROUP).name}")
        session = client.session
        if session is None or not session.has_ticket:
            raise Unfair("the standard library's server sent no ticket")
        self._session = session

    def full(self) -> None:
        """As `Contender` says."""
        client, server = self.connect(None)
        check_flags(bool(client.session_reused), bool(server.session_reused), False)
        if self._keeps_sessions:
            self._keep(client.session)
        self.close(client, server)
        self.handshakes += 1

    def resumed(self) -> None:
        """As `Contender` says."""
        client, server = self.connect(self._session)
        check_flags(bool(client.session_reused), bool(server.session_reused), True)
        if self._keeps_sessions:
            self._keep(client.session)
        self.close(client, server)
        self.handshakes += 1

    def _keep(self, session: ssl.SSLSession | None) -> None:
        if session is None:
            raise Unfair("there is no session to go on with")
        self._session = session

    def connect(self, session: ssl.SSLSession | None) -> tuple[ssl.SSLObject, ssl.SSLObject]:
        """A connected pair whose client has read the tickets."""
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = self._client.wrap_bio(to_client, to_server, server_hostname=SERVER_NAME, session=session)
        server = self._server.wrap_bio(to_server, to_client, server_side=True)
        waiting = [client, server]
        while waiting:
            side = waiting.pop(0)
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                waiting.append(side)
        if self._tickets:
            with contextlib.suppress(ssl.SSLWantReadError):
                client.read(1)
        return client, server

    def close(self, client: ssl.SSLObject, server: ssl.SSLObject) -> None:
        """Say goodbye both ways."""
        with contextlib.suppress(ssl.SSLWantReadError):
            client.unwrap()
        server.unwrap()
        client.unwrap()

    def _watched(self) -> tuple[ssl.SSLObject, bytes]:
        """A connected client, and what the server sent first."""
        to_client, from_server, to_server = ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO()
        client = self._client.wrap_bio(to_client, to_server, server_hostname=SERVER_NAME)
        server = self._server.wrap_bio(to_server, from_server, server_side=True)
        flights: list[bytes] = []
        for _ in range(3):
            for side in (client, server):
                with contextlib.suppress(ssl.SSLWantReadError):
                    side.do_handshake()
            flights.append(from_server.read())
            to_client.write(flights[-1])
        with contextlib.suppress(ssl.SSLWantReadError):
            client.read(1)
        return client, flights[0]


def group_in(flight: bytes, terms: Terms) -> int:
    """The key exchange group of a server's first flight."""
    reader, buffer = RecordReader(), HandshakeBuffer()
    reader.feed(flight)
    while (record := reader.next_record()) is not None and record[0] == ContentType.handshake:
        buffer.feed(record[2])
    while (message := buffer.next_message()) is not None:
        if terms is TLS13 and message[0] == HandshakeType.server_hello:
            share = ServerHello.parse(message[4:]).extensions[ExtensionType.key_share]
            return extensions.parse_key_share_server(share)[0]
        if terms is TLS12 and message[0] == HandshakeType.server_key_exchange:
            return messages12.ServerKeyExchange.parse(message[4:]).named_curve
    raise Unfair("the server's first flight holds no key share")
