"""Records and messages as bytes: one of every kind, well formed. Needs nothing but the package."""

from __future__ import annotations

from resumption.constants import ContentType, SignatureScheme
from resumption.constants import HandshakeType as H
from resumption.wire import messages, messages12

CCS, ALERT, HANDSHAKE, DATA = (int(kind) for kind in ContentType)
CHANGE_CIPHER_SPEC = b"\x14\x03\x03\x00\x01\x01"


def record(content_type: int, content: bytes, version: int = 0x0303) -> bytes:
    """An unprotected record, whatever it holds."""
    return bytes((content_type,)) + version.to_bytes(2) + len(content).to_bytes(2) + content


def message(kind: int, body: bytes = b"") -> bytes:
    """A handshake message with its header, whatever it holds."""
    return bytes((kind,)) + len(body).to_bytes(3) + body


_HELLO = messages.ServerHello(0x0303, bytes(32), b"", 0x1301, 0, {43: b"\x03\x04", 51: b"\0\x1d\0\x20" + b"\x09" * 32})
SAMPLES: dict[int, bytes] = {
    H.hello_request: messages12.HelloRequest().pack(),
    H.client_hello: messages.ClientHello(0x0303, bytes(32), b"", (0x1301,), b"\0", {}).pack(),
    H.server_hello: _HELLO.pack(),
    H.new_session_ticket: messages.NewSessionTicket(100, 1, b"n", b"t", {}).pack(),
    H.end_of_early_data: messages.EndOfEarlyData().pack(),
    H.encrypted_extensions: messages.EncryptedExtensions({}).pack(),
    H.certificate: messages.Certificate(b"", ()).pack(),
    H.server_key_exchange: messages12.ServerKeyExchange(3, 29, bytes(32), 0x0403, b"s").pack(),
    H.certificate_request: messages.CertificateRequest(b"", {13: b"\0\2\4\3"}).pack(),
    H.server_hello_done: messages12.ServerHelloDone().pack(),
    H.certificate_verify: messages.CertificateVerify(SignatureScheme.ed25519, b"s").pack(),
    H.client_key_exchange: messages12.ClientKeyExchange(bytes(32)).pack(),
    H.finished: messages.Finished(bytes(32)).pack(),
    H.certificate_status: messages12.CertificateStatus(1, b"r").pack(),
    H.key_update: messages.KeyUpdate(0).pack(),
    H.compressed_certificate: message(H.compressed_certificate, b"\0\1\0\0\1\0\0\1x"),
    H.message_hash: message(H.message_hash, bytes(32)),
    3: message(3, b"hello_verify_request"),
    6: message(6),
    99: message(99, b"nobody knows"),
    255: message(255),
}
