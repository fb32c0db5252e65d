"""A TLS 1.3 server and a TLS 1.3 client that do what they are told. See `tests.handshake.scripted`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple, Self

from resumption.connection import Connection
from resumption.constants import ExtensionType, HandshakeType
from resumption.crypto.certificates import CertifiedKey
from resumption.crypto.groups import KeyShare, respond
from resumption.crypto.protection import RecordOpener13, RecordSealer13
from resumption.crypto.schedule13 import EarlySecret, HandshakeSecrets, MasterSecrets, resumption_psk
from resumption.crypto.signatures import CERTIFICATE_SCHEMES, certificate_verify_content, sign
from resumption.crypto.suites import SUITES, SuiteFacts
from resumption.wire import extensions as ext
from resumption.wire.messages import (
    HELLO_RETRY_REQUEST_RANDOM,
    Certificate,
    CertificateEntry,
    CertificateRequest,
    CertificateVerify,
    ClientHello,
    EncryptedExtensions,
    EndOfEarlyData,
    Finished,
    KeyUpdate,
    NewSessionTicket,
    ServerHello,
)
from tests.handshake.samples import CHANGE_CIPHER_SPEC
from tests.handshake.scripted import Peer, edited, shares_of

E = ExtensionType
H = HandshakeType
X25519, P256, P384 = 29, 23, 24
SHA256_SUITES = (0x1301, 0x1303)


class Peer13(Peer):
    """What both roles share once the hellos are said."""

    suite: SuiteFacts
    secrets: HandshakeSecrets
    master: MasterSecrets

    def __init__(self, subject: Connection, key: CertifiedKey | None) -> None:
        super().__init__(subject)
        self.key = key

    def digest(self) -> bytes:
        return self.suite.hash.new(b"".join(self.spoken)).digest()

    def restart_transcript(self, retry: bytes) -> None:
        """message_hash in place of the first hello. RFC 9846, section 4.1.1."""
        digest = self.suite.hash.new(b"".join(self.spoken)).digest()
        self.spoken = [bytes((H.message_hash, 0, 0, len(digest))) + digest, retry]

    def certificate(self, *chain: bytes, context: bytes = b"", extensions: dict[int, bytes] | None = None) -> bytes:
        if not chain and self.key is not None:
            chain = self.key.chain
        return Certificate(context, tuple(CertificateEntry(der, extensions or {}) for der in chain)).pack()

    def certificate_verify(self, *, server: bool, scheme: int | None = None, wrong: bool = False) -> bytes:
        assert self.key is not None
        chosen = self.key.schemes13[0] if scheme is None else scheme
        content = certificate_verify_content(server, self.digest() if not wrong else bytes(32))
        own = self.key.schemes13[0]
        signature = sign(self.key.private_key, own, content, rsassa_pss=self.key.rsassa_pss)
        return CertificateVerify(chosen, signature).pack()

    def update_keys(self, request: int = 0) -> Self:
        """KeyUpdate, and the next key."""
        assert isinstance(self.sealer, RecordSealer13)
        data = self.records_of(KeyUpdate(request).pack())
        self.sealer.key_update()
        return self.give(data)

    def expect_update(self, request: int = 0) -> None:
        """The subject said KeyUpdate: its next records are under the next key."""
        raw = self.take(H.key_update)
        assert raw[4:] == bytes((request,))
        assert isinstance(self.opener, RecordOpener13)
        self.opener.key_update()


class Server13(Peer13):
    """Talks to a client. Steps of a full handshake: hello, extensions, [request], certificate, verify, finished."""

    def __init__(
        self,
        subject: Connection,
        key: CertifiedKey,
        *,
        suite: int = 0x1301,
        group: int = X25519,
        psk: bytes | None = None,
    ) -> None:
        super().__init__(subject, key)
        self.suite = SUITES[suite]
        self.group = group
        self.psk = psk
        self.issued = 0
        self.listen()
        self.hello = self.read_hello()

    def read_hello(self) -> ClientHello:
        return ClientHello.parse(self.take(H.client_hello)[4:])

    def server_hello(
        self,
        *,
        share: bytes = b"",
        add: dict[int, bytes] | None = None,
        drop: tuple[int, ...] = (),
        **changes: Any,
    ) -> ServerHello:
        bodies = {
            int(E.supported_versions): ext.pack_supported_versions_server(0x0304),
            int(E.key_share): ext.pack_key_share_server((self.group, share or bytes(32))),
        }
        if self.psk is not None:
            bodies[int(E.pre_shared_key)] = ext.pack_pre_shared_key_server(0)
        fields: dict[str, Any] = {
            "legacy_version": 0x0303,
            "random": b"R" * 32,
            "legacy_session_id_echo": self.hello.legacy_session_id,
            "cipher_suite": self.suite.suite,
            "legacy_compression_method": 0,
            "extensions": edited(bodies, add, drop),
        }
        return ServerHello(**{**fields, **changes})

    def retry(self, group: int | None = P256, **changes: Any) -> ServerHello:
        """A HelloRetryRequest for ``group``, or for none."""
        add: dict[int, bytes] = changes.pop("add", {})
        if group is not None:
            add = {int(E.key_share): ext.pack_key_share_retry(group), **add}
        drop = (int(E.key_share),) if group is None and E.key_share not in add else ()
        drop += (int(E.pre_shared_key),) if E.pre_shared_key not in add else ()
        return self.server_hello(
            **{"random": HELLO_RETRY_REQUEST_RANDOM, "add": add, "drop": drop + changes.pop("drop", ()), **changes}
        )

    def say_retry(self, group: int | None = P256, **changes: Any) -> Self:
        retry = self.retry(group, **changes).pack()
        self.restart_transcript(retry)
        self.give(self.records_of(retry))
        if self.error is None:
            if group is not None:
                self.group = group
            self.hello = self.read_hello()
        return self

    def say_hello(self, *, behind: bytes = b"", **changes: Any) -> Self:
        """ServerHello, then the keys. ``behind`` is more of the same record."""
        shares = dict(ext.parse_key_share_client(self.hello.extensions[E.key_share]))
        public, shared = respond(self.group, shares[self.group])
        hello = self.server_hello(share=public, **changes)
        self.spoken.append(hello.pack())
        data = self.records_of(hello.pack(), behind=behind)
        early = EarlySecret.from_psk(self.suite.hash, self.psk)
        self.secrets = early.handshake(shared, self.digest())
        self.sealer = RecordSealer13(self.suite, self.secrets.server_handshake_traffic_secret)
        self.opener = RecordOpener13(self.suite, self.secrets.client_handshake_traffic_secret)
        return self.give(data)

    def say_ccs(self) -> Self:
        return self.give(CHANGE_CIPHER_SPEC)

    def say_extensions(self, extensions: dict[int, bytes] | None = None) -> Self:
        return self.say(EncryptedExtensions(extensions or {}))

    def say_request(
        self, extensions: dict[int, bytes] | None = None, context: bytes = b"", drop: tuple[int, ...] = ()
    ) -> Self:
        bodies = {int(E.signature_algorithms): ext.pack_signature_algorithms(CERTIFICATE_SCHEMES)}
        return self.say(CertificateRequest(context, edited(bodies, extensions, drop)))

    def say_certificate(self, *chain: bytes, **changes: Any) -> Self:
        return self.say(self.certificate(*chain, **changes))

    def say_verify(self, **changes: Any) -> Self:
        return self.say(self.certificate_verify(server=True, **changes))

    def say_finished(self, *, behind: bytes = b"", verify_data: bytes | None = None) -> Self:
        """Finished, then the client's flight is read, and both directions have application keys."""
        finished = Finished(verify_data or self.secrets.server_verify_data(self.digest())).pack()
        self.spoken.append(finished)
        data = self.records_of(finished, behind=behind)
        self.master = self.secrets.into_master(self.digest())
        self.give(data)
        self.sealer = RecordSealer13(self.suite, self.master.server_application_traffic_secret)
        if self.error is None:
            self.read_flight()
            self.opener = RecordOpener13(self.suite, self.master.client_application_traffic_secret)
        return self

    def read_flight(self) -> None:
        """The client's certificate, if it was asked for one, and its Finished."""
        self.flight = []
        while True:
            before = self.digest()
            raw = self.take()
            self.flight.append(raw)
            if raw[0] == H.finished:
                assert raw[4:] == self.secrets.client_verify_data(before)
                return

    def connect(self) -> Self:
        """A whole handshake."""
        self.say_hello().say_extensions()
        if self.psk is None:
            self.say_certificate().say_verify()
        return self.say_finished()

    def ticket(self, **changes: Any) -> NewSessionTicket:
        self.issued += 1
        fields: dict[str, Any] = {
            "ticket_lifetime": 7_200,
            "ticket_age_add": 1,
            "ticket_nonce": bytes((self.issued,)),
            "ticket": b"ticket %d" % self.issued + b"." * 100,
            "extensions": {},
        }
        return NewSessionTicket(**{**fields, **changes})

    def say_ticket(self, **changes: Any) -> Self:
        return self.give(self.records_of(self.ticket(**changes).pack()))


class Psk(NamedTuple):
    """One PSK as a client offers it. ``binder`` None: the right one."""

    identity: bytes
    secret: bytes
    obfuscated_age: int = 0
    binder: bytes | None = None


class Client13(Peer13):
    """Talks to a server. Steps of a full handshake: hello, flight (read), [certificate, verify], finished."""

    def __init__(
        self,
        subject: Connection,
        key: CertifiedKey | None = None,
        *,
        suites: tuple[int, ...] = (0x1301,),
        groups: tuple[int, ...] = (X25519, P256),
        shares: tuple[int, ...] = (X25519,),
        name: str = "localhost",
        psks: tuple[Psk, ...] = (),
        psk_hash: int = 0x1301,
    ) -> None:
        super().__init__(subject, key)
        self.suites = suites
        self.groups = groups
        self.shares: tuple[KeyShare, ...] = shares_of(shares)
        self.name = name
        self.psks = psks
        self.psk_facts = SUITES[psk_hash].hash
        self.flight: list[bytes] = []
        self.server_hello: ServerHello
        self.tickets: list[NewSessionTicket] = []

    def hello(
        self,
        *,
        add: dict[int, bytes] | None = None,
        drop: tuple[int, ...] = (),
        alpn: tuple[bytes, ...] = (),
        **changes: Any,
    ) -> ClientHello:
        """A ClientHello, still without PSKs."""
        bodies: dict[int, bytes] = {
            int(E.server_name): ext.pack_server_name(self.name),
            int(E.supported_groups): ext.pack_supported_groups(self.groups),
            int(E.signature_algorithms): ext.pack_signature_algorithms(CERTIFICATE_SCHEMES),
            int(E.supported_versions): ext.pack_supported_versions_client((0x0304,)),
            int(E.psk_key_exchange_modes): ext.pack_psk_key_exchange_modes(b"\x01"),
            int(E.key_share): ext.pack_key_share_client(tuple((share.group, share.public) for share in self.shares)),
        }
        if alpn:
            bodies[int(E.application_layer_protocol_negotiation)] = ext.pack_alpn(alpn)
        fields: dict[str, Any] = {
            "legacy_version": 0x0303,
            "random": b"C" * 32,
            "legacy_session_id": b"",
            "cipher_suites": self.suites,
            "legacy_compression_methods": b"\x00",
            "extensions": edited(bodies, add, drop),
        }
        return ClientHello(**{**fields, **changes})

    def with_psks(self, hello: ClientHello) -> bytes:
        """The packed hello; if there are PSKs, with the binders that belong to the transcript so far."""
        if not self.psks:
            return hello.pack()
        size = self.psk_facts.digest_size
        identities = tuple((psk.identity, psk.obfuscated_age) for psk in self.psks)
        binders = tuple(bytes(size) if psk.binder is None else psk.binder for psk in self.psks)
        offered = ext.OfferedPsks(identities, binders)
        hello.extensions.pop(int(E.pre_shared_key), None)
        hello.extensions[int(E.pre_shared_key)] = ext.pack_pre_shared_key_client(offered)
        truncated = hello.pack()[: -offered.binders_length]
        digest = self.psk_facts.new(b"".join(self.spoken) + truncated).digest()
        right = tuple(
            EarlySecret.from_psk(self.psk_facts, psk.secret).binder(digest) if psk.binder is None else psk.binder
            for psk in self.psks
        )
        hello.extensions[int(E.pre_shared_key)] = ext.pack_pre_shared_key_client(ext.OfferedPsks(identities, right))
        return hello.pack()

    def say_hello(self, hello: ClientHello | None = None, **changes: Any) -> Self:
        self.sent = self.hello(**changes) if hello is None else hello
        return self.say(self.with_psks(self.sent))

    def say_early_hello(self, *, read: bool = True, **changes: Any) -> Self:
        """A hello that announces early data, and, to ``read``, the whole answer to it. The next is under early keys."""
        self.say_hello(**{"add": {int(E.early_data): b""}, **changes})
        early = EarlySecret.from_psk(self.psk_facts, self.psks[0].secret)
        secret = early.client_early_traffic_secret(self.psk_facts.new(b"".join(self.spoken)).digest())
        if read:
            self.read_flight()
        self.sealer = RecordSealer13(SUITES[self.suites[0]], secret)
        return self

    def say_end_of_early_data(self) -> Self:
        self.say(EndOfEarlyData())
        self.sealer = RecordSealer13(self.suite, self.secrets.client_handshake_traffic_secret)
        return self

    def read_retry(self) -> ServerHello:
        """A HelloRetryRequest: the transcript starts over, and there is a share of the group that was asked for."""
        raw = self.take(H.server_hello)
        retry = ServerHello.parse(raw[4:])
        assert retry.is_hello_retry_request
        self.suite = SUITES[retry.cipher_suite]
        self.spoken.pop()
        self.restart_transcript(raw)
        self.shares = shares_of((ext.parse_key_share_retry(retry.extensions[E.key_share]),))
        return retry

    def second_hello(self, **changes: Any) -> ClientHello:
        """The hello that was said, with the new share."""
        add = {int(E.key_share): ext.pack_key_share_client(tuple((one.group, one.public) for one in self.shares))}
        bodies = edited(edited(self.sent.extensions, add), changes.pop("add", {}), changes.pop("drop", ()))
        return replace(self.sent, **{"extensions": bodies, **changes})

    def read_hello(self) -> Self:
        """The ServerHello, then the keys."""
        hello = ServerHello.parse(self.take(H.server_hello)[4:])
        assert not hello.is_hello_retry_request
        self.server_hello = hello
        self.suite = SUITES[hello.cipher_suite]
        group, public = ext.parse_key_share_server(hello.extensions[E.key_share])
        shared = next(share for share in self.shares if share.group == group).finish(public)
        selected = hello.extensions.get(E.pre_shared_key)
        psk = None if selected is None else self.psks[ext.parse_pre_shared_key_server(selected)].secret
        self.secrets = EarlySecret.from_psk(self.suite.hash, psk).handshake(shared, self.digest())
        self.opener = RecordOpener13(self.suite, self.secrets.server_handshake_traffic_secret)
        self.sealer = RecordSealer13(self.suite, self.secrets.client_handshake_traffic_secret)
        return self

    def read_flight(self) -> Self:
        """Everything up to the server's Finished."""
        self.read_hello()
        while True:
            before = self.digest()
            raw = self.take()
            self.flight.append(raw)
            if raw[0] == H.finished:
                assert raw[4:] == self.secrets.server_verify_data(before)
                break
        self.master = self.secrets.into_master(self.digest())
        self.opener = RecordOpener13(self.suite, self.master.server_application_traffic_secret)
        return self

    def part(self, kind: int) -> bytes:
        """The body of one message of the server's flight."""
        return next(raw[4:] for raw in self.flight if raw[0] == kind)

    @property
    def resumed(self) -> bool:
        return E.pre_shared_key in self.server_hello.extensions

    def say_certificate(self, *chain: bytes, **changes: Any) -> Self:
        return self.say(self.certificate(*chain, **changes))

    def say_verify(self, **changes: Any) -> Self:
        return self.say(self.certificate_verify(server=False, **changes))

    def say_finished(self, *, behind: bytes = b"", verify_data: bytes | None = None) -> Self:
        finished = Finished(verify_data or self.secrets.client_verify_data(self.digest())).pack()
        self.spoken.append(finished)
        self.after_finished = self.digest()
        data = self.records_of(finished, behind=behind)
        self.sealer = RecordSealer13(self.suite, self.master.client_application_traffic_secret)
        return self.give(data)

    def connect(self, **changes: Any) -> Self:
        self.say_hello(**changes).read_flight()
        if any(raw[0] == H.certificate_request for raw in self.flight):
            self.say_certificate()
            if self.key is not None:
                self.say_verify()
        return self.say_finished()

    def read_tickets(self) -> list[NewSessionTicket]:
        """The tickets that came."""
        while self.has_message:
            raw = self.take(H.new_session_ticket)
            self.spoken.pop()
            self.tickets.append(NewSessionTicket.parse(raw[4:]))
        return self.tickets

    def psk_of(self, ticket: NewSessionTicket) -> Psk:
        """What this client would offer for ``ticket``."""
        secret = self.master.resumption_master_secret(self.after_finished)
        return Psk(
            ticket.ticket,
            resumption_psk(self.suite.hash, secret, ticket.ticket_nonce),
            ticket.ticket_age_add,
        )
