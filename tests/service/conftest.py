"""Every test that uses `run` runs on both event loops."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from http_kit import LOOPS, run_on


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Runs a coroutine to its end, in a few seconds at most."""
    return lambda test: run_on(LOOPS[request.param], test)
