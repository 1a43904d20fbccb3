"""The systems under test, each a fresh process tree on free ports of the loopback interface."""

from collections.abc import Callable
from dataclasses import dataclass

from . import lambdas, proxies, servers
from .base import HERE, Job, StartError, System, missing_modules
from .penstock import Penstock

__all__ = ["HERE", "RIVALS", "Job", "Penstock", "Rival", "StartError", "System", "missing_modules"]


@dataclass(frozen=True)
class Rival:
    """Another system that can do the work, or a part of it."""

    name: str
    about: str
    start: Callable[[Job], System]
    missing: Callable[[], str]  # what it needs and is not there; "" when it can be run


RIVALS = {
    rival.name: rival
    for rival in (
        Rival(
            "Starlette",
            "Starlette on one uvicorn process: uvloop, httptools, no access log, asynchronous generators.",
            servers.Starlette,
            servers.Starlette.missing,
        ),
        Rival(
            "granian",
            "granian's own interface (RSGI), one worker process, uvloop, no access log.",
            servers.Granian,
            servers.Granian.missing,
        ),
        Rival(
            "cargo-lambda",
            "`cargo lambda watch --only-lambda-apis`; behind it, as its functions, processes with the barest "
            "client of the Runtime API there can be, all started before the clock.",
            lambdas.CargoLambda,
            lambdas.CargoLambda.missing,
        ),
        Rival(
            "serverless-offline",
            "`serverless offline` with a Python function; it cannot stream.",
            lambdas.ServerlessOffline,
            lambdas.ServerlessOffline.missing,
        ),
        Rival(
            "nginx → loop",
            "nginx, one worker process, `proxy_buffering off`, before the socket loop, connections kept.",
            proxies.Nginx,
            proxies.Nginx.missing,
        ),
        Rival(
            "nginx → loop (unix)",
            "The same over a unix socket.",
            proxies.NginxUnix,
            proxies.NginxUnix.missing,
        ),
        Rival(
            "relay → loop",
            "The barest Python program that copies from a unix socket to TCP, before the socket loop.",
            proxies.Relay,
            str,
        ),
        Rival(
            "socket loop",
            "The barest Python program that does the work, a thread and a socket for each connection.",
            servers.SocketLoop,
            str,
        ),
    )
}
