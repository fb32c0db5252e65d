"""The server up to the choice of a version: the ClientHello, read once and completely.

RFC 9846, section 4.2.2 [8446: 4.1.2]. Every extension that this server knows is parsed here, also those that the
negotiation will not need: a malformed one is a decode_error whether or not it is used.
"""

from __future__ import annotations

from dataclasses import replace

from resumption.config import ServerConfig
from resumption.constants import ExtensionType, ProtocolVersion
from resumption.errors import NoApplicationProtocol, ProtocolVersionUnsupported, UnexpectedMessage
from resumption.frozen import frozen
from resumption.handshake import server12, server13
from resumption.handshake.flight13 import Answered
from resumption.handshake.hello import ClientHelloFacts
from resumption.handshake.state import Output, State, on
from resumption.wire.messages import ClientHello

__all__ = ["ExpectClientHello", "start_server"]

_TLS13 = int(ProtocolVersion.TLSv1_3)
_COOKIE = int(ExtensionType.cookie)


def start_server(config: ServerConfig) -> State:
    """The state of a server that has heard nothing yet."""
    return ExpectClientHello(config)


@frozen
class ExpectClientHello(State):
    """Awaiting the ClientHello. RFC 9846, sections 4.2.2 and A.2."""

    config: ServerConfig
    changed: bool = False  # a change_cipher_spec came, and was ignored

    @on(ClientHello)
    def on_client_hello(
        self, message: ClientHello, raw: bytes, out: Output
    ) -> server13.ExpectSecondClientHello | server13.Asked | Answered | server12.Next:
        """Choose the virtual host, then the version; everything else is the version's own affair."""
        config = self.config
        facts = ClientHelloFacts(message)
        if self.changed and _COOKIE not in message.extensions:
            raise UnexpectedMessage("change_cipher_spec came before the first ClientHello")
        if config.chooses_host:
            config = out.choose_host(facts)
        lowest, highest = config.minimum_version, config.maximum_version
        for version in facts.versions:
            if lowest <= version <= highest:
                break
        else:
            raise ProtocolVersionUnsupported(
                "the client offers no version that is enabled here: "
                + ", ".join(f"0x{version:04x}" for version in facts.versions)
            )
        alpn = _choose_alpn(config, facts)
        if version == _TLS13:
            return server13.negotiate(config, facts, alpn, raw, out)
        return server12.negotiate(config, facts, alpn, raw, out)

    def change_cipher_spec(self, out: Output) -> State:
        """A server that holds no state meets the one before a second hello first. RFC 9846, section 4.3.2."""
        if self.config.cookies is None:
            return State.change_cipher_spec(self, out)
        return replace(self, changed=True)


def _choose_alpn(config: ServerConfig, facts: ClientHelloFacts) -> bytes | None:
    """The first of our protocols that the client offers. RFC 7301, section 3.2."""
    if not facts.alpn or not config.alpn:
        return None
    for protocol in config.alpn:
        if protocol in facts.alpn:
            return protocol
    raise NoApplicationProtocol("the client offers none of the application protocols of this server")
