from __future__ import annotations

import gc
import os
import threading

import pytest

from resumption.session import forking

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


class Recorder:
    def __init__(self) -> None:
        self.moments: list[str] = []

    def before_fork(self) -> None:
        self.moments.append("before")

    def after_fork_in_parent(self) -> None:
        self.moments.append("parent")

    def after_fork_in_child(self) -> None:
        self.moments.append("child")


def in_child(work: object) -> bytes:
    """What ``work()`` returned in a forked child; an exception there is an empty answer."""
    assert callable(work)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.write(writer, work())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said


def test_a_watched_object_sees_the_moments_of_a_fork() -> None:
    recorder = Recorder()
    forking.watch(recorder)
    assert in_child(lambda: ",".join(recorder.moments).encode()) == b"before,child"
    assert recorder.moments == ["before", "parent"]


def test_a_child_may_fork_again() -> None:
    recorder = Recorder()
    forking.watch(recorder)
    assert in_child(lambda: in_child(lambda: ",".join(recorder.moments).encode())) == b"before,child,before,child"


def test_watching_keeps_nothing_alive() -> None:
    recorder = Recorder()
    forking.watch(recorder)
    moments = recorder.moments
    del recorder
    gc.collect()
    assert in_child(lambda: b"done") == b"done"
    assert moments == []


def test_a_fork_waits_for_a_lock_that_another_thread_holds_and_frees_it_on_both_sides() -> None:
    class Locked(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()

        def before_fork(self) -> None:
            self.lock.acquire()

        def after_fork_in_parent(self) -> None:
            self.lock.release()

        after_fork_in_child = after_fork_in_parent

    subject = Locked()
    forking.watch(subject)
    stop = threading.Event()

    def hammer() -> None:
        while not stop.is_set():
            with subject.lock:
                pass

    thread = threading.Thread(target=hammer)
    thread.start()
    try:
        for _ in range(20):
            assert in_child(lambda: b"free" if subject.lock.acquire(timeout=5) else b"held") == b"free"
    finally:
        stop.set()
        thread.join()
    assert not subject.lock.locked()
