"""Child processes that talk in lines of JSON: what they say, how they fail, and that none outlives its parent."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from resumption.cli import processes
from resumption.cli.processes import Child, ChildFailed, Deadline, DeadlinePassed, Line

LIMIT = 60.0
ECHO = "import sys\nfor line in sys.stdin:\n    print(line, end='', flush=True)\nprint('{\"last\": 1}')"


def child(program: str, **settings: object) -> Child:
    on_line = settings.get("on_line")
    assert on_line is None or callable(on_line)
    return Child("the child", ("-c", program), on_line=on_line)


def test_it_answers_line_by_line_and_says_a_last_word() -> None:
    echo = child(ECHO)
    try:
        assert echo.ask({"a": 1}, Deadline(LIMIT)) == {"a": 1}
        assert echo.ask({"b": [2]}, Deadline(LIMIT)) == {"b": [2]}
        assert echo.is_running
        assert echo.finish(Deadline(LIMIT)) == {"last": 1}
        assert not echo.is_running
    finally:
        echo.stop()


def test_it_is_another_process_in_a_session_of_its_own() -> None:
    other = child('import os\nprint(\'{"pid": %d, "session": %d}\' % (os.getpid(), os.getsid(0)))')
    try:
        line = other.receive(Deadline(LIMIT))
    finally:
        other.stop()
    assert line == {"pid": other.pid, "session": other.pid}
    assert other.pid != os.getpid()


def test_lines_that_are_not_ours_are_passed_over() -> None:
    noisy = child("print('hello')\nprint('[1]')\nprint('{\"a\": 1}')")
    try:
        assert noisy.receive(Deadline(LIMIT)) == {"a": 1}
    finally:
        noisy.stop()


def test_some_lines_can_be_taken_on_the_way() -> None:
    taken: list[Line] = []

    def take(line: Line) -> bool:
        taken.append(line)
        return "event" in line

    telling = child("print('{\"event\": 1}')\nprint('{\"a\": 1}')", on_line=take)
    try:
        assert telling.receive(Deadline(LIMIT)) == {"a": 1}
    finally:
        telling.stop()
    assert taken == [{"event": 1}, {"a": 1}]


def test_a_reported_failure_is_raised() -> None:
    failing = child('print(\'{"failed": "no luck"}\')')
    try:
        with pytest.raises(ChildFailed, match="the child: no luck"):
            failing.receive(Deadline(LIMIT))
    finally:
        failing.stop()


def test_an_unexpected_end_is_raised_with_its_last_words() -> None:
    dying = child("import sys\nprint('what went wrong', file=sys.stderr)\nsys.exit(3)")
    try:
        with pytest.raises(ChildFailed, match=r"(?s)the child ended.*what went wrong"):
            dying.ask({"a": 1}, Deadline(LIMIT))
    finally:
        dying.stop()


def test_a_silent_child_is_not_waited_for_beyond_the_deadline() -> None:
    silent = child("import sys\nsys.stdin.read()")
    try:
        with pytest.raises(DeadlinePassed):
            silent.receive(Deadline(0.05))
    finally:
        silent.stop()


def test_a_child_that_does_not_listen_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_END_WAIT_S", 0.05)
    stubborn = child(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('{}', flush=True)\n"
        "threading = __import__('threading')\nthreading.Event().wait()"
    )
    stubborn.receive(Deadline(LIMIT))
    stubborn.stop()
    assert not stubborn.is_running
    stubborn.stop()  # may be repeated
    stubborn.send({"a": 1})  # and nothing happens any more


def test_one_that_is_killed_is_gone_at_once() -> None:
    waiting = child("print('{}', flush=True)\n__import__('threading').Event().wait()")
    waiting.receive(Deadline(LIMIT))
    waiting.kill()
    assert not waiting.is_running


def test_no_child_outlives_a_parent_that_is_killed() -> None:
    program = (
        "from resumption.cli.processes import Child, Deadline\n"
        "import threading\n"
        "child = Child('c', ('-c', 'import sys; print(\"{}\", flush=True); sys.stdin.read()'))\n"
        "child.receive(Deadline(60))\n"
        "print(child.pid, flush=True)\n"
        "threading.Event().wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait(LIMIT)
    deadline = Deadline(LIMIT)
    pause = threading.Event()
    while _is_alive(pid) and deadline.left():
        pause.wait(0.01)


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"  # whoever adopted it may not have looked yet
    except FileNotFoundError:
        return False


def test_a_deadline_is_for_everything_together() -> None:
    assert 0 < Deadline(5).left() <= 5
    with pytest.raises(DeadlinePassed, match="the 0 seconds"):
        Deadline(0).left()


def test_the_childs_side_reads_and_writes_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"a": 1}\n[2]\n{"b": 2}\n')))
    assert list(processes.lines_in()) == [{"a": 1}, {"b": 2}]
    processes.line_out({"c": "ü"})
    assert json.loads(capsys.readouterr().out) == {"c": "ü"}
