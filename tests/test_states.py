"""docs/states.md says what the code says, and docs/states.py reads the code rightly."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent

CLIENT = '''
"""A client."""
from __future__ import annotations
from resumption.handshake.state import State, on
from resumption.handshake.connected import Connected

Next = "ExpectFinished | Connected"

def start() -> ExpectServerHello:
    """A function is no transition."""

class Encrypted(State):
    """Shared by the states under encryption."""

    @on(KeyUpdate)
    def on_key_update(self, message, raw, out) -> Self: ...

class ExpectServerHello(State):
    """Awaiting ServerHello.

    More words."""

    @on(messages.ServerHello)
    def on_server_hello(self, message, raw, out) -> "ExpectFinished | AwaitSession": ...

    def _private(self) -> ExpectFinished: ...

class AwaitSession(State):
    """Awaiting the driver."""

    def answer(self, session, out) -> Next: ...

    @classmethod
    def make(cls) -> AwaitSession: ...

class ExpectFinished(Encrypted):
    """Awaiting Finished."""

    @on(Finished)
    def on_finished(self, message, raw, out) -> Connected: ...
'''

CONNECTED = '''
"""The end."""
from resumption.handshake.state import State, on

class Connected(State):
    """Data may flow."""
'''


ZEBRA = '''
"""Another machine."""
from resumption.handshake.state import State, on

class Alone(State):
    """By itself."""

    @on(Knock)
    def on_knock(self) -> Self: ...

    @on(Ring)
    def on_ring(self) -> Alone | None: ...
'''


@pytest.fixture(scope="module")
def states() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_states", ROOT / "docs" / "states.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def package(folder: Path, **sources: str) -> Path:
    for name, text in sources.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def picture(text: str, section: str) -> set[str]:
    drawn = text.partition(f"## {section}\n")[2].partition("```mermaid\n")[2].partition("```")[0]
    return {line.strip() for line in drawn.splitlines()}


def test_the_page_is_up_to_date(states: ModuleType) -> None:
    assert states.PAGE.read_text("utf-8") == states.render(states.PACKAGE), "run: python3 dev.py docs"


def test_a_package_that_is_not_there_yet_has_no_states(states: ModuleType, tmp_path: Path) -> None:
    assert "There are no states yet." in states.render(tmp_path / "nowhere")


def test_transitions_are_read_from_the_return_annotations(states: ModuleType, tmp_path: Path) -> None:
    text = states.render(package(tmp_path, client=CLIENT, connected=CONNECTED))
    assert picture(text, "client") == {
        "stateDiagram-v2",
        "[*] --> ExpectServerHello",
        "ExpectServerHello --> ExpectFinished : ServerHello",
        "ExpectServerHello --> AwaitSession : ServerHello",
        "AwaitSession --> ExpectFinished : answer()",
        "AwaitSession --> Connected : answer()",
        "ExpectFinished --> Connected : Finished",
        "ExpectFinished --> ExpectFinished : KeyUpdate",
    }


def test_a_base_that_only_shares_code_is_not_drawn_and_summaries_are_first_lines(
    states: ModuleType, tmp_path: Path
) -> None:
    text = states.render(package(tmp_path, client=CLIENT, connected=CONNECTED))
    assert "`Encrypted`" not in text
    assert "| `ExpectServerHello` | client | Awaiting ServerHello. |" in text
    assert "| `Connected` | connected | Data may flow. |" in text


def test_machines_that_never_meet_are_drawn_apart(states: ModuleType, tmp_path: Path) -> None:
    text = states.render(package(tmp_path, connected=CONNECTED, client=CLIENT, zebra=ZEBRA))
    assert picture(text, "zebra") == {"stateDiagram-v2", "[*] --> Alone", "Alone --> Alone : Knock, Ring"}
    assert "Alone" not in "".join(picture(text, "client"))


def test_states_of_one_name_are_told_apart_by_their_modules(states: ModuleType, tmp_path: Path) -> None:
    twin = CONNECTED.replace(
        'may flow."""', 'may flow."""\n    @on(Later)\n    def l(self) -> client.ExpectFinished: ...'
    )
    twin = twin.replace("from ", "from resumption.handshake import client\nfrom ", 1)
    lines = picture(states.render(package(tmp_path, client=CLIENT, connected=CONNECTED, twin=twin)), "client")
    assert 'state "twin.Connected" as twin_Connected' in lines
    assert "twin_Connected --> ExpectFinished : Later" in lines
    assert "ExpectFinished --> connected_Connected : Finished" in lines


def test_each_protocol_version_has_its_own_picture(states: ModuleType, tmp_path: Path) -> None:
    client = CLIENT.replace("handshake.connected import Connected", "handshake import end12, end13")
    client += "\n    @on(More)\n    def on_more(self) -> ExpectMore: ...\n\nclass ExpectMore(State):\n    '''More.'''\n"
    client += "\n    @on(Last)\n    def on_last(self) -> end13.Connected: ...\n"
    client = client.replace("-> Connected", "-> end12.Connected | end13.Connected").replace("| Connected", "")
    text = states.render(package(tmp_path, client=client, end12=CONNECTED, end13=CONNECTED))
    assert text.index("### TLS 1.3") < text.index("### TLS 1.2")
    for version in ("1.3", "1.2"):
        drawn = text.partition(f"### TLS {version}\n")[2].partition("```mermaid\n")[2].partition("```")[0]
        assert "    ExpectFinished --> Connected : Finished\n" in drawn
        assert ("ExpectMore" in drawn) == (version == "1.3")
    assert "| `Connected` | end12 | Data may flow. |" in text
    assert "| `Connected` | end13 | Data may flow. |" in text


def test_a_module_that_is_still_to_be_written_is_drawn_by_name(states: ModuleType, tmp_path: Path) -> None:
    lines = picture(states.render(package(tmp_path, client=CLIENT)), "client")
    assert "ExpectFinished --> Connected : Finished" in lines


def test_a_handler_must_say_where_it_leads(states: ModuleType, tmp_path: Path) -> None:
    vague = CLIENT.replace(") -> Connected: ...", ") -> State: ...")
    with pytest.raises(states.VagueTransition, match=r"client\.ExpectFinished\.on_finished"):
        states.render(package(tmp_path, client=vague, connected=CONNECTED))
