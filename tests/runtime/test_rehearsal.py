"""A rehearsal leaves this process as it found it."""

import os
import signal
import sys
from types import ModuleType

import pytest

from penstock.runtime import rehearsal


def opened() -> int:
    return len(os.listdir("/dev/fd"))


@pytest.mark.parametrize("times", [1, 20])
def test_it_leaves_nothing_behind(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    handled: list[object] = []
    genuine = rehearsal._handler

    def counting(event: object, context: object) -> object:
        handled.append(event)
        return genuine(event, context)

    monkeypatch.setattr(rehearsal, "_handler", counting)
    before = dict(os.environ), signal.getsignal(signal.SIGURG), opened()
    rehearsal.rehearse(times)
    assert (dict(os.environ), signal.getsignal(signal.SIGURG), opened()) == before
    assert len(handled) == times


def test_a_trace_id_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "mine")
    rehearsal.rehearse(1)
    assert os.environ["_X_AMZN_TRACE_ID"] == "mine"


def test_no_trace_id_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("_X_AMZN_TRACE_ID")
    rehearsal.rehearse(1)
    assert "_X_AMZN_TRACE_ID" not in os.environ


def test_of_an_init_nothing_is_left() -> None:
    before = dict(os.environ), list(sys.path), set(sys.modules)
    rehearsal.rehearse_init()
    after = dict(os.environ), list(sys.path), set(sys.modules)
    assert after == before


def test_a_module_of_the_functions_that_has_the_same_name_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    its_own = ModuleType("value")
    monkeypatch.setitem(sys.modules, "value", its_own)
    rehearsal.rehearse_init()
    assert sys.modules["value"] is its_own
