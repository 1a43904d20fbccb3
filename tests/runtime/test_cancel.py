"""When the signal interrupts user code, and when it does nothing."""

import os
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from penstock.runtime.cancel import Cancelled, Guard, hung_up

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def guard(sigurg: None) -> Guard:
    guard = Guard()
    guard.install()
    return guard


def urge() -> None:
    os.kill(os.getpid(), signal.SIGURG)


def test_hung_up(pair: Pair) -> None:
    ours, theirs = pair
    assert not hung_up(ours)
    theirs.sendall(b"data")
    assert not hung_up(ours)
    theirs.shutdown(socket.SHUT_RDWR)
    assert hung_up(ours)


def test_it_is_not_an_exception() -> None:
    assert not issubclass(Cancelled, Exception)


def test_user_code_is_interrupted_once_when_the_connection_is_shut(guard: Guard, pair: Pair) -> None:
    ours, theirs = pair
    guard.arm(ours)
    theirs.close()
    with pytest.raises(Cancelled, match="the caller has left"):
        urge()
    assert guard.interrupted
    urge()
    guard.arm(ours)  # the next invocation
    assert not guard.interrupted


def test_a_stale_signal_does_nothing(guard: Guard, pair: Pair) -> None:
    ours, theirs = pair
    urge()  # never armed
    guard.arm(ours)
    urge()  # connected
    guard.disarm()
    theirs.close()
    urge()  # outside of user code
    assert not guard.interrupted


def test_blocked_code_is_interrupted(guard: Guard, pair: Pair) -> None:
    ours, theirs = pair
    read, write = os.pipe()
    ended = []

    def leave() -> None:
        theirs.close()
        urge()

    thread = threading.Thread(target=leave)
    try:
        try:
            guard.arm(ours)
            thread.start()
            os.read(read, 1)  # nobody writes
        finally:
            ended.append("finally")
            guard.disarm()
    except Cancelled:
        ended.append("cancelled")
    thread.join()
    os.close(read)
    os.close(write)
    assert ended == ["finally", "cancelled"]


def test_another_way_to_interrupt(guard: Guard, pair: Pair) -> None:
    ours, theirs = pair
    called = []
    guard.arm(ours, lambda: called.append(1))
    theirs.close()
    urge()
    urge()
    assert called == [1]
    assert not guard.interrupted


def test_sigurg_is_ignored_by_default() -> None:
    # That is why it was chosen: a stray one kills nothing.
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGURG, signal.SIG_DFL)
        urge()
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
