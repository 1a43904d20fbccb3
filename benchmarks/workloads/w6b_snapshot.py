"""Cold start of a function whose imports and initialisation take 500 ms: the first request to each of 10
(quick: 3), 50 ms apart, with `--snapshot` and without.

As W6: from the sending of the request to the first byte of the body. With `--snapshot` the initialised
templates are made when the service starts, which is not counted; each environment is a fork of its own
function's. The function holds about 20 MB of objects, which a fork has to share.
"""

import time
from pathlib import Path

import memory
from systems import StartError, System

from .base import Check, Figures, Roles, Round, Workload, bound
from .w6_cold import METRICS, copies, first_requests

FULL, QUICK = 10, 3
PATIENCE = 30.0


def measure(system: System, quick: bool) -> Round:
    _settled(system)
    return first_requests(system, QUICK if quick else FULL)


def _settled(system: System) -> None:
    """Wait until what is done at the start is done: no processor time was used for a while."""
    deadline = time.monotonic() + PATIENCE
    quiet_since, used, alive = time.monotonic(), -1.0, -1
    while (now := time.monotonic()) - quiet_since < 1:
        if now > deadline:
            raise StartError(f"{system.name} does not come to rest")
        if (used, alive) != (used := system.cpu(), alive := len(memory.tree(system.pid))):
            quiet_since = now
        time.sleep(0.05)


def target(folder: Path, quick: bool) -> Path:
    return copies(folder, "slow_start", QUICK if quick else FULL)


def checks(figures: Figures, memory: Roles) -> list[Check]:
    return [bound("goal", "p50 at most 10 ms", figures["p50"].ours.median, most=10)]


WORKLOAD = Workload(
    key="W6b",
    title="cold start from an initialised template",
    about=__doc__,
    metrics=METRICS,
    work="slow_start",
    ours={"Penstock": ("--snapshot",), "Penstock, no --snapshot": ()},
    target=target,
    measure=measure,
    checks=checks,
    most_rounds=2,
)
