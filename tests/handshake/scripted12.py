"""A TLS 1.2 server and a TLS 1.2 client that do what they are told. See `tests.handshake.scripted`."""

from __future__ import annotations

from typing import Any, Self

from resumption.connection import Connection
from resumption.constants import ExtensionType, HandshakeType
from resumption.crypto.certificates import CertifiedKey
from resumption.crypto.groups import generate, respond
from resumption.crypto.protection import RecordOpener12, RecordSealer12
from resumption.crypto.schedule12 import KeyBlock, MasterSecret12
from resumption.crypto.signatures import CERTIFICATE_SCHEMES, sign
from resumption.crypto.suites import SUITES, SuiteFacts
from resumption.wire import extensions as ext
from resumption.wire import messages12
from resumption.wire.messages import CertificateVerify, ClientHello, Finished, ServerHello
from tests.handshake.samples import CHANGE_CIPHER_SPEC
from tests.handshake.scripted import Peer, edited

E = ExtensionType
H = HandshakeType
X25519 = 29
ECDSA_SUITE, RSA_SUITE, ECDSA_SUITE_384 = 0xC02B, 0xC02F, 0xC02C


class Peer12(Peer):
    """What both roles share."""

    suite: SuiteFacts
    master: MasterSecret12
    block: KeyBlock
    is_server: bool

    def __init__(self, subject: Connection, key: CertifiedKey | None) -> None:
        super().__init__(subject)
        self.key = key
        self.client_random = b""
        self.server_random = b""
        self.extended = True

    def digest(self) -> bytes:
        return self.suite.hash.new(b"".join(self.spoken)).digest()

    def use_premaster(self, premaster: bytes) -> None:
        """The master secret, when the transcript ends with the client's share."""
        if self.extended:
            self.use_master(MasterSecret12.from_premaster(self.suite.hash, premaster, session_hash=self.digest()))
        else:
            randoms = self.client_random + self.server_random
            self.use_master(MasterSecret12.from_premaster(self.suite.hash, premaster, randoms=randoms))

    def use_master(self, master: MasterSecret12) -> None:
        self.master = master
        self.block = master.key_block(self.suite, self.client_random, self.server_random)
        block = self.block
        theirs = (block.client_key, block.client_iv) if self.is_server else (block.server_key, block.server_iv)
        self.next_opener = RecordOpener12(self.suite, *theirs)

    def say_ccs(self, *, behind: bytes = b"") -> Self:
        """change_cipher_spec, then the keys."""
        block = self.block
        ours = (block.server_key, block.server_iv) if self.is_server else (block.client_key, block.client_iv)
        self.sealer = RecordSealer12(self.suite, *ours)
        return self.give(CHANGE_CIPHER_SPEC + behind)

    def say_finished(self, *, verify_data: bytes | None = None) -> Self:
        """Finished, under the keys of the moment."""
        make = self.master.server_verify_data if self.is_server else self.master.client_verify_data
        return self.say(Finished(make(self.digest()) if verify_data is None else verify_data))

    def read_finished(self) -> Self:
        check = self.master.client_verify_data if self.is_server else self.master.server_verify_data
        expected = check(self.digest())
        assert self.take(H.finished)[4:] == expected
        return self

    def say_certificate(self, *chain: bytes, empty: bool = False) -> Self:
        if not chain and not empty and self.key is not None:
            chain = self.key.chain
        return self.say(messages12.Certificate(chain))


class Server12(Peer12):
    """Talks to a client. Steps of a full handshake: hello, certificate, key exchange, [request], done (then the
    client's flight is read), [ticket], change_cipher_spec, finished."""

    is_server = True

    def __init__(self, subject: Connection, key: CertifiedKey, *, suite: int = ECDSA_SUITE) -> None:
        super().__init__(subject, key)
        self.suite = SUITES[suite]
        self.share = generate(X25519)
        self.issued = 0
        self.listen()
        self.hello = ClientHello.parse(self.take(H.client_hello)[4:])
        self.client_random = self.hello.random

    def server_hello(
        self,
        *,
        session_id: bytes = b"",
        ticket: bool = False,
        add: dict[int, bytes] | None = None,
        drop: tuple[int, ...] = (),
        **changes: Any,
    ) -> ServerHello:
        bodies: dict[int, bytes] = {int(E.renegotiation_info): b"\x00", int(E.extended_master_secret): b""}
        if ticket:
            bodies[int(E.session_ticket)] = b""
        fields: dict[str, Any] = {
            "legacy_version": 0x0303,
            "random": b"R" * 32,
            "legacy_session_id_echo": session_id,
            "cipher_suite": self.suite.suite,
            "legacy_compression_method": 0,
            "extensions": edited(bodies, add, drop),
        }
        return ServerHello(**{**fields, **changes})

    def say_hello(self, *, master: bytes | None = None, **changes: Any) -> Self:
        """ServerHello. With ``master`` (and the client's session id) it resumes the session of that secret."""
        if master is not None:
            changes.setdefault("session_id", self.hello.legacy_session_id)
        hello = self.server_hello(**changes)
        self.server_random = hello.random
        self.extended = E.extended_master_secret in hello.extensions
        if master is not None:
            self.use_master(MasterSecret12(self.suite.hash, master))
        return self.say(hello)

    def key_exchange(self, *, wrong: bool = False, **changes: Any) -> messages12.ServerKeyExchange:
        assert self.key is not None
        scheme = self.key.schemes12[0]
        params = messages12.pack_server_ecdh_params(X25519, self.share.public)
        content = self.client_random + (bytes(32) if wrong else self.server_random) + params
        signature = sign(self.key.private_key, scheme, content, version=0x0303, rsassa_pss=self.key.rsassa_pss)
        fields: dict[str, Any] = {
            "curve_type": messages12.NAMED_CURVE,
            "named_curve": X25519,
            "public": self.share.public,
            "algorithm": scheme,
            "signature": signature,
        }
        return messages12.ServerKeyExchange(**{**fields, **changes})

    def say_key_exchange(self, **changes: Any) -> Self:
        return self.say(self.key_exchange(**changes))

    def say_request(self, schemes: tuple[int, ...] = CERTIFICATE_SCHEMES, types: bytes = b"\x40\x01") -> Self:
        return self.say(messages12.CertificateRequest(types, schemes, ()))

    def say_done(self, *, read: bool = True) -> Self:
        """ServerHelloDone; then the client's flight is read up to its Finished."""
        self.say(messages12.ServerHelloDone())
        if self.error is None and read:
            self.read_flight()
        return self

    def read_flight(self) -> None:
        self.flight = []
        while True:
            raw = self.take()
            self.flight.append(raw)
            if raw[0] == H.client_key_exchange:
                self.use_premaster(self.share.finish(messages12.ClientKeyExchange.parse(raw[4:]).public))
            if raw[0] == H.finished:
                self.spoken.pop()
                assert raw[4:] == self.master.client_verify_data(self.digest())
                self.spoken.append(raw)
                return

    def say_ticket(self, ticket: bytes = b"a ticket" * 20, hint: int = 7_200) -> Self:
        return self.say(messages12.NewSessionTicket(hint, ticket))

    def connect(self, **changes: Any) -> Self:
        """A whole full handshake."""
        self.say_hello(**changes).say_certificate().say_key_exchange().say_done()
        if changes.get("ticket"):
            self.say_ticket()
        return self.say_ccs().say_finished()

    def resume(self, master: bytes, **changes: Any) -> Self:
        """A whole abbreviated handshake."""
        self.say_hello(master=master, **changes)
        if changes.get("ticket"):
            self.say_ticket()
        return self.say_ccs().say_finished().read_finished()


class Client12(Peer12):
    """Talks to a server. Steps of a full handshake: hello, flight (read), [certificate], key exchange, [verify],
    change_cipher_spec, finished, end (read)."""

    is_server = False

    def __init__(
        self,
        subject: Connection,
        key: CertifiedKey | None = None,
        *,
        suites: tuple[int, ...] = (ECDSA_SUITE, RSA_SUITE),
        name: str = "localhost",
        session_id: bytes = b"",
        ticket: bytes | None = None,
        extended: bool = True,
    ) -> None:
        super().__init__(subject, key)
        self.suites = suites
        self.name = name
        self.session_id = session_id
        self.ticket = ticket
        self.extended = extended
        self.new_ticket: messages12.NewSessionTicket | None = None
        self.flight: list[bytes] = []

    def hello(
        self,
        *,
        add: dict[int, bytes] | None = None,
        drop: tuple[int, ...] = (),
        alpn: tuple[bytes, ...] = (),
        **changes: Any,
    ) -> ClientHello:
        bodies: dict[int, bytes] = {
            int(E.server_name): ext.pack_server_name(self.name),
            int(E.supported_groups): ext.pack_supported_groups((X25519, 23)),
            int(E.signature_algorithms): ext.pack_signature_algorithms(CERTIFICATE_SCHEMES),
            int(E.ec_point_formats): b"\x01\x00",
            int(E.renegotiation_info): b"\x00",
        }
        if self.extended:
            bodies[int(E.extended_master_secret)] = b""
        if self.ticket is not None:
            bodies[int(E.session_ticket)] = self.ticket
        if alpn:
            bodies[int(E.application_layer_protocol_negotiation)] = ext.pack_alpn(alpn)
        fields: dict[str, Any] = {
            "legacy_version": 0x0303,
            "random": b"C" * 32,
            "legacy_session_id": self.session_id,
            "cipher_suites": self.suites,
            "legacy_compression_methods": b"\x00",
            "extensions": edited(bodies, add, drop),
        }
        return ClientHello(**{**fields, **changes})

    def say_hello(self, hello: ClientHello | None = None, **changes: Any) -> Self:
        self.sent = self.hello(**changes) if hello is None else hello
        self.client_random = self.sent.random
        return self.say(self.sent)

    def read_hello(self) -> ServerHello:
        self.server_hello = ServerHello.parse(self.take(H.server_hello)[4:])
        self.server_random = self.server_hello.random
        self.suite = SUITES[self.server_hello.cipher_suite]
        self.extended = E.extended_master_secret in self.server_hello.extensions
        return self.server_hello

    def read_flight(self) -> Self:
        """Everything up to ServerHelloDone."""
        self.read_hello()
        while not self.flight or self.flight[-1][0] != H.server_hello_done:
            self.flight.append(self.take())
        return self

    def part(self, kind: int) -> bytes:
        return next(raw[4:] for raw in self.flight if raw[0] == kind)

    def say_key_exchange(self, *, public: bytes | None = None) -> Self:
        exchange = messages12.ServerKeyExchange.parse(self.part(H.server_key_exchange))
        ours, premaster = respond(exchange.named_curve, exchange.public)
        data = self.seal(messages12.ClientKeyExchange(ours if public is None else public).pack())
        self.use_premaster(premaster)
        return self.give(data)

    def say_verify(self, *, wrong: bool = False, scheme: int | None = None) -> Self:
        assert self.key is not None
        own = self.key.schemes12[0]
        content = b"wrong" if wrong else b"".join(self.spoken)
        signature = sign(self.key.private_key, own, content, version=0x0303, rsassa_pss=self.key.rsassa_pss)
        return self.say(CertificateVerify(own if scheme is None else scheme, signature))

    def read_end(self) -> Self:
        """The server's ticket if it promised one, and its Finished."""
        if E.session_ticket in self.server_hello.extensions:
            self.new_ticket = messages12.NewSessionTicket.parse(self.take(H.new_session_ticket)[4:])
        return self.read_finished()

    def connect(self, **changes: Any) -> Self:
        """A whole full handshake."""
        self.say_hello(**changes).read_flight()
        asked = any(raw[0] == H.certificate_request for raw in self.flight)
        if asked:
            self.say_certificate()
        self.say_key_exchange()
        if asked and self.key is not None:
            self.say_verify()
        return self.say_ccs().say_finished().read_end()

    def resume(self, master: bytes, **changes: Any) -> Self:
        """A whole abbreviated handshake."""
        self.say_hello(**changes).read_hello()
        self.use_master(MasterSecret12(self.suite.hash, master))
        return self.read_end().say_ccs().say_finished()
