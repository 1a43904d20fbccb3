"""The work of the rivals that are written in plain Python; what Penstock does is in functions/."""

import time
from collections.abc import Callable, Iterator

LINES = [f'{{"id": {number:06}, "text": "{"x" * 30}"}}\n'.encode() for number in range(1000)]
CHUNK = bytes(range(256)) * 256
LINE = b"x" * 1023 + b"\n"


def lines(query: dict[str, str]) -> Iterator[bytes]:
    for _ in range(int(query["thousands"])):
        yield from LINES


def bulk(query: dict[str, str]) -> Iterator[bytes]:
    for _ in range(int(query["chunks"])):
        yield CHUNK


def rest(query: dict[str, str]) -> Iterator[bytes]:
    yield b"first\n"
    time.sleep(float(query["seconds"]))
    yield b"second\n"


def ticks(query: dict[str, str]) -> Iterator[bytes]:
    for _ in range(int(query["count"])):
        yield b"t=%d\n" % time.monotonic_ns()
        time.sleep(0.1)


def endless(query: dict[str, str]) -> Iterator[bytes]:
    while True:
        yield LINE


STREAMS: dict[str, Callable[[dict[str, str]], Iterator[bytes]]] = {
    each.__name__: each for each in (lines, bulk, rest, ticks, endless)
}


def query(text: str) -> dict[str, str]:
    """A query string as a dict: what is sent here needs no decoding."""
    return dict(pair.split("=") for pair in text.split("&") if pair)
