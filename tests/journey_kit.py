"""What journeys share: a raw HTTP client that hides nothing, curl, and the memory of a tree of processes."""

import json
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

TIMEOUT = 20

# A shell's background job ignores SIGINT, and so would every process that is started here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A handler that does what its event asks. `ask=` in the query, or the body, is JSON:
#   {"result": what to return, "chunks": [the steps of its body's generator], "closed": file made at its end}
# A step is text, or {"bytes": hex}, {"raise": message}, {"touch": file}, {"wait": file}, {"repeat": text}.
# Every other path gives the event back.
ASKED = """
    import json, os, time
    from base64 import b64decode

    def steps(asked):
        try:
            for step in asked["chunks"]:
                if isinstance(step, str):
                    yield step
                elif "bytes" in step:
                    yield bytes.fromhex(step["bytes"])
                elif "raise" in step:
                    raise ValueError(step["raise"])
                elif "touch" in step:
                    open(step["touch"], "x").close()
                elif "wait" in step:
                    while not os.path.exists(step["wait"]):
                        time.sleep(0.005)
                while "repeat" in step:
                    yield step["repeat"]
                    time.sleep(0.005)
        finally:
            if "closed" in asked:
                open(asked["closed"], "x").close()

    def lambda_handler(event, context):
        query = event.get("queryStringParameters") or {}
        path = event.get("rawPath") or event.get("path") or ""
        if not path.startswith("/asked"):
            body = json.dumps(event, ensure_ascii=False)
            return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": body}
        body = event.get("body") or ""
        asked = json.loads(query.get("ask") or (b64decode(body) if event["isBase64Encoded"] else body))
        if "chunks" in asked:
            asked["result"]["body"] = steps(asked)
        return asked["result"]
"""


def asked(chunks: Sequence[Any] | None = None, *, closed: str = "", **result: Any) -> str:
    """The target at which `ASKED` returns `result`, streamed if there are `chunks`."""
    ask: dict[str, Any] = {"result": {"statusCode": 200, **result}}
    if chunks is not None:
        ask["chunks"] = chunks
    if closed:
        ask["closed"] = closed
    return "/asked?ask=" + quote(json.dumps(ask), safe="")


@dataclass
class Response:
    """A response as the wire had it. `ending` is whole, broken (too early a FIN), or reset."""

    status: int
    headers: list[tuple[str, str]]
    frames: list[bytes] = field(default_factory=list)
    ending: str = "whole"

    @property
    def body(self) -> bytes:
        return b"".join(self.frames)

    def get(self, name: str) -> str | None:
        """The one value of a header; None if it is absent."""
        values = self.get_all(name)
        assert len(values) <= 1, f"{name} was sent {len(values)} times"
        return values[0] if values else None

    def get_all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    def json(self) -> Any:
        return json.loads(self.body)


class Raw:
    """One connection, byte by byte. A context manager."""

    def __init__(self, address: tuple[str, int], *, receive_buffer: int = 0) -> None:
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(address)
        self.buffer = b""

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *exc: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def request(
        self, target: str, *headers: str, method: str = "GET", version: str = "1.1", body: bytes = b""
    ) -> None:
        lines = [f"{method} {target} HTTP/{version}", "Host: localhost", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode() + body)

    def get(self, target: str, *headers: str, **options: Any) -> Response:
        """A request and its response."""
        self.request(target, *headers, **options)
        return self.response(options.get("method", "GET"))

    def response(self, method: str = "GET") -> Response:
        """The next response, to its end."""
        response = self.head()
        try:
            for frame in self._frames(response, method):
                response.frames.append(frame)
        except ConnectionResetError:
            response.ending = "reset"
        except EOFError:
            response.ending = "broken"
        return response

    def head(self) -> Response:
        """The next response as far as its head."""
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")[:-2]
        found = re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", lines[0])
        assert found, lines[0]
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        return Response(int(found[1]), headers)

    def frame(self) -> bytes:
        """The next frame of a chunked body; empty for the last."""
        size = int(self._until(b"\r\n"), 16)
        return self._exactly(size + 2)[:-2]

    def at_end(self) -> bool:
        """Whether the connection closed, with nothing more on it."""
        return not self.buffer and self.sock.recv(1) == b""

    def _frames(self, response: Response, method: str) -> Iterator[bytes]:
        length = response.get("content-length")
        if method == "HEAD" or response.status in (100, 204, 304):
            return
        if response.get("transfer-encoding") == "chunked":
            while frame := self.frame():
                yield frame
        elif length is not None:
            left = int(length)
            while left:
                piece = self._some()[:left]
                self.buffer = self.buffer[len(piece) :]
                left -= len(piece)
                yield piece
        else:
            while True:
                try:
                    yield self._some()
                except EOFError:
                    return
                self.buffer = b""

    def _some(self) -> bytes:
        """What is there, waiting for it; it stays in the buffer."""
        if not self.buffer:
            self.buffer = self.sock.recv(65536)
            if not self.buffer:
                raise EOFError
        return self.buffer

    def _until(self, end: bytes) -> bytes:
        while end not in self.buffer:
            self._more()
        data, _, self.buffer = self.buffer.partition(end)
        return data + end

    def _exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            self._more()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def _more(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise EOFError(f"end of file; the buffer holds {self.buffer[:200]!r}")
        self.buffer += data


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")

CURL = ["curl", "-q", "--silent", "--show-error", "--globoff", "--noproxy", "*", "--max-time", str(TIMEOUT)]


def curl(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*CURL, *arguments], input=stdin, capture_output=True, timeout=2 * TIMEOUT)


class Program:
    """A child process whose output is read line by line while it runs. A context manager."""

    def __init__(self, *command: str, **options: Any) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        self.errors: list[str] = []
        self._drain = threading.Thread(target=self._read_errors, daemon=True)
        self._drain.start()

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.end()

    def line(self) -> str:
        """The next line of its stdout, without its end; "" when there is none any more."""
        assert self.process.stdout is not None
        timer = threading.Timer(TIMEOUT, self.process.kill)
        timer.start()
        try:
            return self.process.stdout.readline().rstrip("\n")
        finally:
            timer.cancel()

    def end(self) -> int:
        """Its exit code."""
        code = self.process.wait(TIMEOUT)
        self._drain.join(TIMEOUT)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return code

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        try:
            self.errors.extend(self.process.stderr)
        except ValueError:
            pass  # closed under us


def tree(pid: int) -> list[int]:
    """`pid` and all its descendants."""
    found = [pid]
    for each in found:
        try:
            for task in Path(f"/proc/{each}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except FileNotFoundError:
            pass  # it ended while we looked
    return found


def memory(pid: int) -> dict[int, tuple[int, int]]:
    """Each process of the tree of `pid`: its proportional and its peak memory, in KiB."""
    sizes = {}
    for each in tree(pid):
        try:
            proportional = re.search(r"^Pss: +(\d+)", Path(f"/proc/{each}/smaps_rollup").read_text(), re.M)
            peak = re.search(r"^VmHWM:\s+(\d+)", Path(f"/proc/{each}/status").read_text(), re.M)
        except (FileNotFoundError, ProcessLookupError):
            continue
        if proportional and peak:
            sizes[each] = int(proportional[1]), int(peak[1])
    return sizes
