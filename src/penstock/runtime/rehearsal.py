"""Invocations nobody asked for, so that the first one of a function is not the first of the process.

In the spawner: when code runs for the first times, Python adapts its bytecode to what it meets, and fills
caches of look-ups; environments, forked later, have it done. In a fork: memory is shared with the spawner
until it is written to, and running code writes, at 2 µs a page. It is the runtime's own code that runs, over
sockets of which this process holds both ends: its answers are written before it asks.
"""

import os
import signal
import socket
import sys
from typing import Any

from penstock.protocol import runtime_api
from penstock.protocol.runtime_api import InvocationInfo

from . import api, handler, logs, loop

_EVENT = b'{"version": "1.0", "path": "/", "headers": {"host": "a"}, "body": null, "isBase64Encoded": false}'

_SOURCE = """
def lambda_handler(event, context):
    return {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": iter(["hello"])}
"""


def rehearse(times: int) -> None:
    """Handle so many events as an environment does; nothing but warm code and memory is left."""
    sigurg, trace = signal.getsignal(signal.SIGURG), os.environ.get("_X_AMZN_TRACE_ID")
    dial, their_dial = socket.socketpair()
    ours, theirs = socket.socketpair()
    with dial, theirs:
        socket.send_fds(dial, [b"."], [theirs.fileno()])
    with ours:
        ours.sendall(_answers(times))
        ours.shutdown(socket.SHUT_WR)
        client = api.RuntimeApi(f"fd:{their_dial.detach()}")
        try:
            loop.run(client, _handler)
        except api.ServiceGone:  # all is answered, and no other connection is to be had
            client.close()
    logs.begin("")
    signal.signal(signal.SIGURG, sigurg)
    os.environ.pop("_X_AMZN_TRACE_ID")
    if trace is not None:
        os.environ["_X_AMZN_TRACE_ID"] = trace


def rehearse_init() -> None:
    """Be given variables and load a handler as an environment does; neither is left."""
    folder, name = os.path.dirname(runtime_api.__file__), "value"
    before, known = list(sys.path), sys.modules.pop(name, None)
    names = [f"_PENSTOCK_{number}" for number in range(30)]
    try:
        os.environ.update(dict.fromkeys(names, "of some length, as they are"))
        handler.load(f"{name}.Value", folder)  # any module that has something to call
        compile(_SOURCE, "rehearsal", "exec")  # that one has been compiled already
    finally:
        for each in names:
            os.environ.pop(each, None)
        sys.path[:] = before
        sys.modules.pop(name, None)
        if known is not None:
            sys.modules[name] = known  # in a template: the function has one of that name


def _answers(times: int) -> bytes:
    """What a service says to a runtime that handles so many events."""
    info = InvocationInfo("0" * 8, 2**41, "arn", trace_id="Root=1", invocation_id="1-1")
    event = _answer(b"200 OK", _EVENT, info.lines())
    return (event + _answer(b"202 Accepted", runtime_api.ACCEPTED)) * times


def _answer(status: bytes, body: bytes, lines: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\n%b" % (status, lines)
    return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


_turn = 0


def _handler(event: Any, context: Any) -> Any:
    """One of the forms a handler's result has, and then the next."""
    global _turn
    _turn += 1
    if _turn % 4 == 0:
        return {"statusCode": 200, "body": "a"}
    body = iter(["a", "b"]) if _turn % 2 else (text for text in ("a", "b"))
    return {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": body}
