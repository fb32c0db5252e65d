"""Key logs in the format of NSS: Wireshark's tshark decrypts a capture of full and resumed connections with them.

The capture is written here, from what two connections said in memory: Ethernet, IPv4 and TCP headers around the real
TLS bytes. So no privileges are needed, and every packet is known.
"""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from resumption import ClientContext, Connection, DataReceived, ServerContext
from resumption.constants import ProtocolVersion
from tests.peers import require_peer
from tests.pki import Pki
from tests.processes import TIME_LIMIT, environ

pytestmark = pytest.mark.interop

CLIENT_PORT, SERVER_PORT = 40_000, 443
REQUEST = b"GET /secret-path HTTP/1.1\r\nHost: localhost\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nsecret answer"


class Capture:
    """A pcap file in the making: TCP segments between two ports, in order."""

    def __init__(self) -> None:
        self.data = bytearray(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1))
        self._sequence: dict[tuple[int, int], int] = {}
        self._seconds = 1_700_000_000

    def add(self, source: int, target: int, payload: bytes, flags: int = 0x18) -> None:
        ours = self._sequence.setdefault((source, target), 1)
        theirs = self._sequence.setdefault((target, source), 1)
        tcp = struct.pack(">HHIIBBHHH", source, target, ours, theirs, 5 << 4, flags, 65_535, 0, 0)
        self._sequence[source, target] = ours + len(payload)
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40 + len(payload), 0, 0, 64, 6, 0, b"\x7f\0\0\1", b"\x7f\0\0\1")
        packet = b"\0" * 12 + b"\x08\0" + ip + tcp + payload
        self._seconds += 1
        self.data += struct.pack("<IIII", self._seconds, 0, len(packet), len(packet)) + packet


def converse(capture: Capture, port: int, client: Connection, server: Connection) -> None:
    """Handshake, one request and one answer, all of it into the capture."""
    asked = answered = False
    received = b""
    while not answered or received != ANSWER:
        sent = client.data_to_send()
        if sent:
            capture.add(port, SERVER_PORT, sent)
            for event in server.receive_data(sent):
                if isinstance(event, DataReceived) and not answered:
                    server.send_data(ANSWER)
                    answered = True
        came = server.data_to_send()
        if came:
            capture.add(SERVER_PORT, port, came)
            for event in client.receive_data(came):
                if isinstance(event, DataReceived):
                    received += event.data
        if client.handshake_complete and not asked:
            client.send_data(REQUEST)
            asked = True


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("version", [ProtocolVersion.TLSv1_2, ProtocolVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_tshark_reads_a_resumed_connection(pki: Pki, tmp_path: Path, version: ProtocolVersion, side: str) -> None:
    tshark = require_peer("tshark")
    keys, capture = tmp_path / "keys.log", Capture()
    logs: dict[str, dict[str, Any]] = {"client": {}, "server": {}, side: {"keylog": keys}}
    leaf = pki.ecdsa_p256
    with (
        ServerContext(leaf.chain_pem, leaf.key_pem, **logs["server"]) as servers,
        ClientContext(trust=pki.trust_pem, maximum_version=version, **logs["client"]) as clients,
    ):
        reused = []
        for number in range(2):
            client, server = clients.connection("localhost"), servers.connection()
            converse(capture, CLIENT_PORT + number, client, server)
            reused.append(client.session_reused and server.session_reused)
            client.free()
            server.free()
    assert reused == [False, True]
    assert keys.stat().st_mode & 0o777 == 0o600
    file = tmp_path / "capture.pcap"
    file.write_bytes(capture.data)
    command = [tshark, "-r", str(file), "-o", f"tls.keylog_file:{keys}", "-Y", "http", "-T", "fields"]
    command += ["-e", "tcp.port", "-e", "http.request.uri", "-e", "http.response.code", "-e", "http.file_data"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT, env=environ())
    for number in range(2):
        lines = [line for line in run.stdout.splitlines() if str(CLIENT_PORT + number) in line]
        assert any("/secret-path" in line for line in lines), run.stdout + run.stderr
        assert any("\t200" in line for line in lines), run.stdout + run.stderr
