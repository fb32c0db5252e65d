"""The matrix: how a case is played, and what is told of one that fails.

`Matrix.run` plays one `Case`: a full handshake and a resumed one, each confirmed at both ends, with data both ways. It
raises `CaseFailed` where something is not as the case says, with all that is known by then. Servers of other stacks are
started once for all cases that they fit. The suite plays a sample; all of it, as a table:

    python3 dev.py matrix [--json] [--peer NAME] [--sample] [--part K/N]
"""

from __future__ import annotations

import contextlib
import ssl
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resumption import ClientContext, EarlyReason, EarlyState, ReplayRegister, ServerContext, Session
from resumption.constants import CipherSuite
from tests import peers
from tests.interop.cases import V13, Case, wanted_groups
from tests.interop.ours import OurServer, our_server
from tests.interop.stacks import (
    EARLY_WORDS,
    MAX_EARLY_DATA,
    SERVERS,
    PeerServer,
    gnutls_priority,
    openssl_options,
    server_key,
)
from tests.pki import Credential, Pki

OUTPUT_TOLD = 1500  # characters of a peer's output, from its end, where not all of it is told


@dataclass
class Story:
    """What is known of a case while it is played."""

    visit: str = ""  # first, second
    status: int | None = None  # exit status of a client that is a program
    output: str = ""  # what the peer printed or sent, all of it
    connections: list[str] = field(default_factory=list)  # how each came out at our server
    check: str = ""  # what was found wrong

    def told(self, limit: int = OUTPUT_TOLD) -> str:
        """The story as a text, with at most ``limit`` characters of output, from its end; 0 for none."""
        lines = [f"{self.visit or 'no'} visit: {self.check}"]
        if self.status is not None:
            lines.append(f"the client's exit status: {self.status}")
        lines += [f"connection {number} at our server: {one}" for number, one in enumerate(self.connections, 1)]
        if self.output and limit:
            cut = len(self.output) > limit
            lines.append(f"{'the end of ' if cut else ''}what the peer said:\n{self.output[-limit:]}")
        return "\n".join(lines)


class CaseFailed(AssertionError):
    """A case did not go as it should. The text is the end of its story, ``story`` all of it."""

    def __init__(self, story: Story) -> None:
        super().__init__(story.told())
        self.story = story


class Matrix:
    """The servers that are running, and the certificates that they show. A context manager."""

    def __init__(self, pki: Pki) -> None:
        self.pki = pki
        self._stack = contextlib.ExitStack()
        self._servers: dict[tuple[object, ...], tuple[PeerServer, contextlib.ExitStack]] = {}
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._early_file = self._folder / "early"
        self._early_file.write_bytes(peers.REQUEST)

    def __enter__(self) -> Matrix:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, case: Case) -> None:
        """Play ``case``. Raises `CaseFailed` if it does not go as it should, whatever the reason."""
        story = Story()
        try:
            if case.role == "client":
                self._run_client(case, story)
            else:
                self._run_server(case, story)
        except Exception as error:
            story.check = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise CaseFailed(story) from error

    # --- we are the client ------------------------------------------------------------------------------------------

    def _run_client(self, case: Case, story: Story) -> None:
        server = self._server(case)
        try:
            with self._client(case, wanted_groups(case)) as client:
                session = self._visit(client, server, case, story, None)
                if case.scenario == "early data refused":
                    # By this clock the ticket is a minute old: not believed, and so no early data is taken with it.
                    with self._client(case, wanted_groups(case), clock=lambda: time.time() + 60) as late:
                        self._visit(late, server, case, story, session).free()
                else:
                    self._visit(client, server, case, story, session).free()
                session.free()
        except BaseException:
            if server.output is not None:
                story.output = server.output.output
            raise

    def _client(self, case: Case, groups: tuple[int, ...], **settings: Any) -> ClientContext:
        own = self.pki.client
        if case.scenario == "client certificate":
            settings |= {"certificate": own.chain_pem, "private_key": own.key_pem}
        return ClientContext(
            trust=self.pki.trust_pem,
            minimum_version=case.version,
            maximum_version=case.version,
            suites=(case.suite,),
            groups=groups,
            **settings,
        )

    def _visit(
        self, client: ClientContext, server: PeerServer, case: Case, story: Story, session: Session | None
    ) -> Session:
        """One connection, with the session of the one before; returns its own, the caller's to free."""
        story.visit = "first" if session is None else "second"
        early = f"{EARLY_WORDS}\n".encode() if case.has_early_data and session is not None else b""
        with client.connect(
            (peers.HOST, server.port),
            server_name="localhost",
            timeout=peers.TIME_LIMIT,
            session=session,
            early_data=early,
        ) as stream:
            if server.has_pages:
                stream.sendall(peers.REQUEST[:4])
                if case.scenario == "key update":
                    stream.update_keys(request_peer=True)
                stream.sendall(peers.REQUEST[4:])
                story.output = stream.read_all().decode("utf-8", "replace")
            else:
                stream.do_handshake()
                server.send_page()
                story.output = stream.recv().decode("utf-8", "replace")
            assert stream.resumption is not None
            assert stream.resumption.resumed is (session is not None), f"resumption: {stream.resumption}"
            assert stream.version == case.version, f"version {stream.version}"
            assert stream.cipher == CipherSuite(case.suite).name, f"suite {stream.cipher}"
            facts = stream.connection.facts
            assert facts is not None
            # Python's ssl goes by its own order of groups.
            groups = wanted_groups(case) if case.peer == "ssl" else (case.group,)
            assert session is not None or facts.group in groups, f"group {facts.group}"
            found = stream.early_data
            taken = stream.get1_session()
        assert "HTTP/1.0 200" in story.output or not server.has_pages, "the page is not complete"
        resumed = server.was_resumed(story.output)
        assert resumed is (session is not None), f"the server says resumed={resumed}"
        if early:
            accepted = case.scenario == "early data"
            assert found.state is (EarlyState.ACCEPTED if accepted else EarlyState.REJECTED), str(found)
            assert accepted or found.reason is EarlyReason.SERVER_REJECTED, str(found)
            if not server.has_pages:
                received = server.early_data_was_received()
                assert received is accepted, f"the server says early data received={received}"
        assert taken is not None, "there is no session"
        return taken

    def _server(self, case: Case) -> PeerServer:
        key = server_key(case)
        if key not in self._servers:
            leaf: Credential = getattr(self.pki, case.certificate)
            ca = self.pki.trust_pem if case.scenario == "client certificate" else None
            stack = contextlib.ExitStack()
            self._servers[key] = stack.enter_context(SERVERS[case.peer](leaf, ca, case)), stack
            self._stack.push(stack)
        return self._servers[key][0]

    def forget(self, case: Case) -> None:
        """End the server that ``case`` was played with: a client that broke off may have left it in disorder."""
        found = self._servers.pop(server_key(case), None) if case.role == "client" else None
        if found is not None:
            found[1].close()

    # --- we are the server ------------------------------------------------------------------------------------------

    def _run_server(self, case: Case, story: Story) -> None:
        leaf: Credential = getattr(self.pki, case.certificate)
        settings: dict[str, Any] = {}
        if case.scenario == "client certificate":
            settings |= {"client_auth": "required", "trust": self.pki.trust_pem, "session_id_context": b"matrix"}
        if case.has_early_data:
            # A register that was just started and knows that others were before it takes nothing yet.
            register = ReplayRegister() if case.scenario == "early data" else ReplayRegister(domain="matrix")
            settings |= {"max_early_data": MAX_EARLY_DATA, "replay": register}
        context = ServerContext(
            leaf.chain_pem,
            leaf.key_pem,
            minimum_version=case.version,
            maximum_version=case.version,
            suites=(case.suite,),
            groups=(case.group,),
            **settings,
        )
        seen: OurServer | None = None
        try:
            with our_server(context, update_keys=case.scenario == "key update") as server:
                seen = server
                said = getattr(self, f"_{case.peer}_visits")(server.port, case, story)
            story.visit = "after the second"
            self._check_server(case, server, said)
        finally:
            story.connections = [str(entry) for entry in seen.seen] if seen is not None else []

    def _check_server(self, case: Case, server: OurServer, said: list[bool]) -> None:
        """Whether our server saw what the case says, and the client too."""
        assert not server.errors, "our server met errors"
        resumed = [one.resumed for one in server.resumptions]
        assert resumed == [False, True], f"our server resumed {resumed}"
        assert said == [False, True], f"the client says {said}"
        if case.scenario == "client certificate":
            assert server.leaves == [self.pki.client.cert_der] * 2, "another client certificate"
        if case.has_early_data:
            accepted = case.scenario == "early data"
            found = server.seen[1].early_data
            assert found.state is (EarlyState.ACCEPTED if accepted else EarlyState.REJECTED), str(found)
            assert accepted or found.reason is EarlyReason.WARMING_UP, str(found)
            assert server.seen[1].early == (peers.REQUEST if accepted else b""), "other early data"

    def _openssl_visits(self, port: int, case: Case, story: Story) -> list[bool]:
        file = self._folder / "session.pem"
        file.unlink(missing_ok=True)
        own = self.pki.client if case.scenario == "client certificate" else None
        said = []
        for visit, option in (("first", "-sess_out"), ("second", "-sess_in")):
            story.visit, story.status, story.output = visit, None, ""
            options, send = [*openssl_options(case), option, str(file)], peers.REQUEST
            if case.has_early_data and visit == "second":
                options += ["-early_data", str(self._early_file)]
                send = b"" if case.scenario == "early data" else send
            run = peers.openssl_client(port, *options, send=send, ca=self.pki.trust_pem, certificate=own)
            story.status, story.output = run.status, run.output
            assert run.status == 0, "the client failed"
            assert "HTTP/1.0 200" in run.output, "the page is not complete"
            if case.has_early_data and visit == "second":
                word = "accepted" if case.scenario == "early data" else "rejected"
                assert f"Early data was {word}" in run.output, f"early data was not {word}"
            said.append(peers.resumed(run.output)[0])
        return said

    def _gnutls_visits(self, port: int, case: Case, story: Story) -> list[bool]:
        own = self.pki.client if case.scenario == "client certificate" else None
        options, send = ["-r", f"--priority={gnutls_priority(case)}"], peers.REQUEST
        if case.version == V13:
            options.append("--waitresumption")
        if case.scenario == "hello retry":
            options.append("--single-key-share")
        if case.has_early_data:
            options.append(f"--earlydata={self._early_file}")
            send = b"" if case.scenario == "early data" else send
        story.visit = "first or second"
        run = peers.gnutls_client(port, *options, send=send, ca=self.pki.trust_pem, certificate=own)
        story.status, story.output = run.status, run.output
        assert "HTTP/1.0 200" in run.output, "the page is not complete"
        return [False, "*** This is a resumed session" in run.output]

    def _ssl_visits(self, port: int, case: Case, story: Story) -> list[bool]:
        own = self.pki.client if case.scenario == "client certificate" else None

        def only(context: ssl.SSLContext) -> None:
            context.minimum_version = context.maximum_version = ssl.TLSVersion(case.version)

        context = peers.ssl_client_context(self.pki.trust_pem, only, own)
        said, session = [], None
        for visit in ("first", "second"):
            story.visit, story.output = visit, ""
            run = peers.ssl_client(port, context, session=session)
            story.output = run.received.decode("utf-8", "replace")
            assert "HTTP/1.0 200" in story.output, "the page is not complete"
            said.append(bool(run.resumed))
            session = run.session
        return said
