"""The load generator: `python load.py NAME '{"address": [host, port], …}'` prints its measurements as JSON.

A process of its own, on raw sockets and the standard library, with one thread. It does as little as it can
while the clock runs, so that what is measured is the server: bodies are counted, not parsed; what can be
checked later is checked later. A response that is wrong or incomplete is an error, never a number.
"""

import json
import random
import re
import resource
import select
import socket
import sys
import time
from array import array
from collections.abc import Callable, Iterable
from typing import Any

READ = 256 * 1024
PATIENCE = 20.0  # seconds without a byte, after which something is broken
LAST_CHUNK = b"0\r\n\r\n"

Address = tuple[str, int]


class LoadError(Exception):
    """The server did not do the work."""


def connect(address: Address) -> socket.socket:
    connection = socket.create_connection(address, PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def request(address: Address, path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nAccept: */*\r\n\r\n".encode()


def receive(connection: socket.socket) -> bytes:
    data = connection.recv(READ)
    if not data:
        raise LoadError("the connection ended before its response did")
    return data


def check_head(data: bytes) -> int:
    """Where the body begins, or 0 while the head is not whole. Raises LoadError unless the status is 200."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return 0
    if data[8:13] != b" 200 ":
        raise LoadError(f"expected status 200, got {data[:300]!r}")
    return end + 4


class ChunkCounter:
    """Counts the payload of a chunked body by hopping from one size line to the next."""

    def __init__(self) -> None:
        self.payload = 0
        self.chunks = 0
        self.done = False
        self._left = 0  # bytes to come of the current chunk, with its CRLF
        self._line = b""  # the beginning of a size line that a read cut

    def feed(self, data: bytes | bytearray, position: int, stop: int) -> None:
        while not self.done:
            if position + self._left >= stop:
                self._left -= stop - position
                return
            position += self._left
            self._left = 0
            end = data.find(b"\n", position, stop)
            if end < 0:
                self._line += data[position:stop]
                return
            size = int(self._line + data[position:end], 16)
            self._line = b""
            position = end + 1
            self.payload += size
            if size:
                self.chunks += 1
                self._left = size + 2
            else:
                self.done = True


# W1


def closed_loop(
    address: Address, path: str, connections: int, seconds: float, warm_up: float
) -> dict[str, Any]:
    """Keep every connection busy with one request at a time; none is sent ahead of its turn."""
    message = request(address, path)
    sockets = {each.fileno(): each for each in (connect(address) for _ in range(connections))}
    size = _response_size(next(iter(sockets.values())), message)
    # A single connection needs no poll: its client is the plainest there is.
    loop = _one_at_a_time if connections == 1 else _many_at_a_time
    loop(sockets, message, size, warm_up)
    latencies = loop(sockets, message, size, seconds)
    return {"seconds": seconds, "latencies": list(latencies)}


def _response_size(connection: socket.socket, message: bytes) -> int:
    """The bytes of one whole response. All of them have as many: Date has a fixed width."""
    connection.sendall(message)
    data = b""
    while not (body := check_head(data)):
        data += receive(connection)
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)\r\n", data)
    if not found:
        raise LoadError("expected a Content-Length")
    size = body + int(found[1])
    while len(data) < size:
        data += receive(connection)
    return size


def _one_at_a_time(
    sockets: dict[int, socket.socket], message: bytes, size: int, seconds: float
) -> "array[float]":
    (connection,) = sockets.values()
    latencies = array("d")
    clock = time.perf_counter
    end = clock() + seconds
    while True:
        began = clock()
        connection.send(message)
        data = connection.recv(READ)
        while len(data) < size:
            data += receive(connection)
        now = clock()
        if len(data) != size or not data.startswith(b"HTTP/1.1 200"):
            raise LoadError(f"expected the first response again, got {data[:300]!r}")
        if now > end:
            return latencies
        latencies.append(now - began)


def _many_at_a_time(
    sockets: dict[int, socket.socket], message: bytes, size: int, seconds: float
) -> "array[float]":
    latencies = array("d")
    clock = time.perf_counter
    poller = select.epoll()
    began: dict[int, float] = {}
    kept: dict[int, bytes] = {}
    for number, connection in sockets.items():
        poller.register(number, select.EPOLLIN)
        began[number] = clock()
        connection.send(message)
    end = clock() + seconds
    while began:
        ready = poller.poll(PATIENCE)
        if not ready:
            raise LoadError(f"{len(began)} of {len(sockets)} requests have no answer")
        for number, _ in ready:
            connection = sockets[number]
            data = receive(connection)
            if len(data) != size:
                data = kept.pop(number, b"") + data
                if len(data) < size:
                    kept[number] = data
                    continue
            if len(data) != size or not data.startswith(b"HTTP/1.1 200"):
                raise LoadError(f"expected the first response again, got {data[:300]!r}")
            now = clock()
            if now > end:
                del began[number]
                continue
            latencies.append(now - began[number])
            began[number] = now
            connection.send(message)
    poller.close()
    return latencies


# W2


def lines(address: Address, path: str, count: int, runs: int) -> dict[str, Any]:
    """Read a stream of `count` lines, `runs` times; each line ends in the only brace there is on it.

    While the clock runs only braces are counted, since no framing has any. Chunks are parsed afterwards.
    """
    connection = connect(address)
    message = request(address, path)
    _read_lines(connection, message, count)  # warm
    return {"runs": [_read_lines(connection, message, count) for _ in range(runs)]}


def _read_lines(connection: socket.socket, message: bytes, count: int) -> dict[str, float]:
    reads: list[bytes] = []
    seen = 0
    first = last = gap = 0.0
    began = time.perf_counter()
    connection.sendall(message)
    while True:
        data = receive(connection)
        now = time.perf_counter()
        reads.append(data)
        if here := data.count(b"}"):
            if not seen:
                first = now
            elif now - last > gap:
                gap = now - last
            last = now
            seen += here
        if seen >= count and (reads[-1] if len(data) >= 5 else b"".join(reads[-5:])).endswith(LAST_CHUNK):
            break
    whole = b"".join(reads)
    counter = ChunkCounter()
    counter.feed(whole, check_head(whole), len(whole))
    if seen != count or not counter.done:
        raise LoadError(f"expected {count} lines and a last chunk, got {seen} lines")
    return {
        "seconds": now - began,
        "first_line": first - began,
        "longest_gap": gap,
        "payload": counter.payload,
        "chunks": counter.chunks,
        "reads": len(reads),
    }


# W3


def bulk(address: Address, path: str, size: int) -> dict[str, Any]:
    """Read a body of `size` bytes into one buffer, hopping over its chunks."""
    connection = connect(address)
    buffer = bytearray(READ)
    counter = ChunkCounter()
    began = time.perf_counter()
    connection.sendall(request(address, path))
    head = b""
    while not (body := check_head(head)):
        head += receive(connection)
    counter.feed(head, body, len(head))
    while not counter.done:
        got = connection.recv_into(buffer)
        if not got:
            raise LoadError(f"the response ended after {counter.payload} bytes")
        counter.feed(buffer, 0, got)
    seconds = time.perf_counter() - began
    if counter.payload != size:
        raise LoadError(f"expected {size} bytes, got {counter.payload}")
    return {"seconds": seconds, "chunks": counter.chunks}


# W4, W5, the bursts: many streams in one process


class Stream:
    """One response that is being read, with what it has told so far."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.began = 0.0
        self.first_byte: float | None = None  # when the first byte of the body came
        self.tail = b""  # what has come and is not dealt with
        self.ticks = 0
        self.complete = False
        self.served = False  # a response on this connection was read before


def streams(
    address: Address,
    path: str,
    starts: Iterable[float],
    read: Callable[[Stream, bytes], bool],
    patience: float,
) -> list[Stream]:
    """Request `path` at every one of `starts` (seconds from now), and give what comes to `read`.

    `read` says when a stream is complete. Connections are made before they are needed.
    """
    message = request(address, path)
    waiting = [(start, Stream(connect(address))) for start in sorted(starts, reverse=True)]
    everyone = [stream for _, stream in waiting]
    poller = select.epoll()
    running: dict[int, Stream] = {}
    begin = time.perf_counter()
    give_up = begin + waiting[0][0] + patience
    while waiting or running:
        now = time.perf_counter()
        if now > give_up:
            break
        while waiting and begin + waiting[-1][0] <= now:
            _, stream = waiting.pop()
            running[stream.connection.fileno()] = stream
            poller.register(stream.connection, select.EPOLLIN)
            stream.began = time.perf_counter()
            stream.connection.send(message)
        until = begin + waiting[-1][0] - time.perf_counter() if waiting else 1.0
        for number, _ in poller.poll(max(until, 0)):
            stream = running[number]
            data = stream.connection.recv(READ)
            if data and not read(stream, data):
                continue
            stream.complete = bool(data)
            poller.unregister(number)
            stream.connection.close()
            del running[number]
    poller.close()
    return everyone


def arrivals(address: Address, path: str, starts: list[float]) -> dict[str, Any]:
    """A request at every one of `starts`, whatever becomes of those before; each on a connection of its own.

    How long after its sending the first byte of each body came, in the order of `starts`.
    """
    done = streams(address, path, starts, _read_first_byte, PATIENCE)
    if not all(stream.complete for stream in done):
        raise LoadError(f"{sum(not stream.complete for stream in done)} of {len(done)} streams did not end")
    return {"latencies": [stream.first_byte - stream.began for stream in reversed(done) if stream.first_byte]}


def first_byte(address: Address, path: str, clients: int, count: int, pause: float) -> dict[str, Any]:
    """`clients` that request one after the other, each on its connection, `count` requests in all.

    A client rests for a random part of `pause` before its next request: they do not fall into step. The first
    request of each is not counted: its connection may not have been accepted yet.
    """
    _warm(address, path, clients)
    moments = random.Random(clients)
    message = request(address, path)
    poller = select.epoll()
    resting: list[tuple[float, Stream]] = []
    running: dict[int, Stream] = {}
    latencies: list[float] = []
    begin = time.perf_counter()
    for _ in range(clients):
        stream = Stream(connect(address))
        poller.register(stream.connection, select.EPOLLIN)
        resting.append((begin + moments.random() * pause, stream))
    left = count + clients
    while running or (resting and left):
        resting.sort(key=lambda each: each[0], reverse=True)
        while left and resting and resting[-1][0] <= time.perf_counter():
            _, stream = resting.pop()
            running[stream.connection.fileno()] = stream
            left -= 1
            stream.tail, stream.first_byte = b"", None
            stream.began = time.perf_counter()
            stream.connection.send(message)
        until = resting[-1][0] - time.perf_counter() if left and resting else PATIENCE
        ready = poller.poll(max(until, 0))
        if not ready and until == PATIENCE:
            raise LoadError(f"{len(running)} of {clients} clients have no answer")
        for number, _ in ready:
            stream = running[number]
            if _read_first_byte(stream, receive(stream.connection)):
                assert stream.first_byte
                if stream.served:
                    latencies.append(stream.first_byte - stream.began)
                stream.served = True
                del running[number]
                resting.append((time.perf_counter() + moments.random() * pause, stream))
    return {"latencies": latencies}


def _read_first_byte(stream: Stream, data: bytes) -> bool:
    stream.tail += data
    if stream.first_byte is None:
        body = check_head(stream.tail)
        if body and len(stream.tail) > body:
            stream.first_byte = time.perf_counter()
    return stream.tail.endswith(LAST_CHUNK)


def _warm(address: Address, path: str, count: int) -> None:
    """`count` streams at once, read to their end, so that as many environments are there."""
    streams(address, path, [0.0] * count, _read_first_byte, PATIENCE)
    time.sleep(0.05)


_TICK = re.compile(rb"t=(\d+)\n")


def ticks(address: Address, path: str, count: int, seconds: float, per_stream: int) -> dict[str, Any]:
    """`count` streams, begun at random moments of the first second (the same ones every time).

    Every chunk holds when it was made: its delay is the time from then to its receipt.
    """
    delays = array("d")

    def read(stream: Stream, data: bytes) -> bool:
        now = time.monotonic_ns()
        data = stream.tail + data
        if not stream.ticks and not check_head(data):
            stream.tail = data
            return False
        end = 0
        for found in _TICK.finditer(data):
            delays.append((now - int(found[1])) / 1e9)
            stream.ticks += 1
            end = found.end()
        stream.tail = data[end:]
        return stream.ticks == per_stream and stream.tail.endswith(LAST_CHUNK)

    moments = random.Random(count)
    starts = [moments.random() for _ in range(count)]
    done = streams(address, path, starts, read, seconds + PATIENCE)
    complete = sum(stream.complete and stream.ticks == per_stream for stream in done)
    return {"delays": list(delays), "complete": complete, "streams": count}


# W6, W6b


def one_by_one(address: Address, paths: list[str], pause: float) -> dict[str, Any]:
    """Request each path once, on one connection; how long after its sending the first byte of its body came.

    The first path is not counted: it warms the way to the function, not the function.
    """
    connection = connect(address)
    latencies = []
    for path in paths:
        data = b""
        time.sleep(pause)
        began = time.perf_counter()
        connection.sendall(request(address, path))
        while not (body := check_head(data)) or len(data) == body:
            data += receive(connection)
        latencies.append(time.perf_counter() - began)
        counted = re.search(rb"(?i)\r\ncontent-length: *(\d+)\r\n", data[:body])
        while not data.endswith(LAST_CHUNK) if counted is None else len(data) < body + int(counted[1]):
            data += receive(connection)
    return {"latencies": latencies[1:]}


# W7


def trickle(address: Address, path: str, rate: int, seconds: float) -> dict[str, Any]:
    """Read `rate` bytes a second of an endless stream, in ten pieces, then leave."""
    connection = connect(address)
    connection.sendall(request(address, path))
    read = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = connection.recv(rate // 10)
        if not data:
            raise LoadError(f"the endless stream ended after {read} bytes")
        read += len(data)
        time.sleep(0.1)
    return {"bytes": read}


LOADS = {
    each.__name__: each
    for each in (closed_loop, lines, bulk, first_byte, arrivals, ticks, one_by_one, trickle)
}


def main() -> int:
    name, arguments = sys.argv[1], json.loads(sys.argv[2])
    arguments["address"] = tuple(arguments["address"])
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        result = LOADS[name](**arguments)
    except (LoadError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    json.dump(result, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
