"""The service's side of a runtime, and this process's signals as they were."""

import signal
from collections.abc import Iterator

import pytest

from runtime_kit import OwnSocket, Tcp


@pytest.fixture
def own() -> Iterator[OwnSocket]:
    """A Runtime API over sockets handed out, as Penstock's service does."""
    own = OwnSocket()
    yield own
    own.close()


@pytest.fixture
def tcp() -> Iterator[Tcp]:
    """The same over TCP, as on AWS."""
    tcp = Tcp()
    yield tcp
    tcp.close()


@pytest.fixture
def sigurg() -> Iterator[None]:
    """SIGURG is given back afterwards."""
    before = signal.getsignal(signal.SIGURG)
    yield
    signal.signal(signal.SIGURG, before)


@pytest.fixture(autouse=True)
def _trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable that the runtime sets for each event is as before afterwards."""
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "")
