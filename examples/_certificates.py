"""What every example needs: a throwaway certificate, and a client and a server that shake hands in memory."""

from __future__ import annotations

import datetime
import ipaddress
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import resumption
from resumption.constants import ProtocolVersion
from resumption.handshake.events import Event


def certificate(name: str = "localhost") -> tuple[bytes, bytes]:
    """A certificate for ``name`` that signs itself, and its key, in PEM. Valid for a day, trusted by nobody else."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return (
        made.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


class Ends(NamedTuple):
    """Both ends of one connection."""

    client: resumption.Connection
    server: resumption.Connection


class Town:
    """A client and a server that trust each other, without a network between them. TLS 1.2 keeps sessions on both
    sides under one id, which shows most; pass ``tls13=True`` for tickets."""

    def __init__(self, *, tls13: bool = False) -> None:
        chain, key = certificate()
        version = ProtocolVersion.TLSv1_3 if tls13 else ProtocolVersion.TLSv1_2
        self.server = resumption.ServerContext(chain, key, tickets="auto" if tls13 else None, name="the server")
        self.client = resumption.ClientContext(trust=chain, maximum_version=version, name="the client")

    def handshake(self, session: resumption.Session | None = None) -> Ends:
        """One connection, established; ``session`` is offered if given."""
        ends = Ends(self.client.connection("localhost", session=session), self.server.connection())
        carry(ends)
        return ends

    def close(self) -> None:
        """The end of both contexts."""
        self.client.close()
        self.server.close()


def carry(ends: Ends) -> list[Event]:
    """Carry bytes both ways until nobody has more to say. Returns what happened on both sides."""
    events: list[Event] = []
    while True:
        to_server = ends.client.data_to_send()
        if to_server:
            events += ends.server.receive_data(to_server)
        to_client = ends.server.data_to_send()
        if to_client:
            events += ends.client.receive_data(to_client)
        if not to_server and not to_client:
            return events


def talk(ends: Ends) -> None:
    """Show that the connection works."""
    ends.client.send_data(b"ping")
    ends.server.send_data(b"pong")
    received = [event.data for event in carry(ends) if isinstance(event, resumption.DataReceived)]
    assert received == [b"ping", b"pong"], received


def show(words: str, session: resumption.Session) -> None:
    """Print who holds ``session``, and how many references each."""
    holders = ", ".join(f"{holder}: {count}" for holder, count in session.holders.items())
    print(f"{words:<52} references: {session.references}   {{{holders}}}")
