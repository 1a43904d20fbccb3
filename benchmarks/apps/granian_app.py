"""The same work as `functions/`, for granian by the interface of its own (RSGI)."""

import asyncio
import time

from work import CHUNK, LINE, LINES, query


async def lines(asked):
    for _ in range(int(asked["thousands"])):
        for line in LINES:
            yield line


async def bulk(asked):
    for _ in range(int(asked["chunks"])):
        yield CHUNK


async def rest(asked):
    yield b"first\n"
    await asyncio.sleep(float(asked["seconds"]))
    yield b"second\n"


async def ticks(asked):
    for _ in range(int(asked["count"])):
        yield b"t=%d\n" % time.monotonic_ns()
        await asyncio.sleep(0.1)


async def endless(asked):
    while True:
        yield LINE


STREAMS = {each.__name__: each for each in (lines, bulk, rest, ticks, endless)}
HEADERS = [("content-type", "text/plain")]


async def app(scope, protocol):
    name = scope.path[1:]
    if name == "small":
        protocol.response_str(200, HEADERS, "ok")
        return
    transport = protocol.response_stream(200, HEADERS)
    async for chunk in STREAMS[name](query(scope.query_string)):
        await transport.send_bytes(chunk)
