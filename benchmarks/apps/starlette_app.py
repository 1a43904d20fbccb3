"""The same work as `functions/`, for Starlette on uvicorn.

Asynchronous generators throughout: a synchronous one is iterated in a thread pool, with a switch of threads
for every chunk, and of 200 streams at once only 40 run (the pool's size). That would be slower everywhere.
"""

import asyncio
import time

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

LINES = [f'{{"id": {number:06}, "text": "{"x" * 30}"}}\n' for number in range(1000)]
CHUNK = bytes(range(256)) * 256
LINE = "x" * 1023 + "\n"


async def small(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


async def lines(request: Request) -> StreamingResponse:
    async def body(thousands):
        for _ in range(thousands):
            for line in LINES:
                yield line

    return StreamingResponse(body(int(request.query_params["thousands"])), media_type="application/x-ndjson")


async def bulk(request: Request) -> StreamingResponse:
    async def body(count):
        for _ in range(count):
            yield CHUNK

    return StreamingResponse(body(int(request.query_params["chunks"])), media_type="application/octet-stream")


async def rest(request: Request) -> StreamingResponse:
    async def body(seconds):
        yield "first\n"
        await asyncio.sleep(seconds)
        yield "second\n"

    return StreamingResponse(body(float(request.query_params["seconds"])), media_type="text/plain")


async def ticks(request: Request) -> StreamingResponse:
    async def body(count):
        for _ in range(count):
            yield f"t={time.monotonic_ns()}\n"
            await asyncio.sleep(0.1)

    return StreamingResponse(body(int(request.query_params["count"])), media_type="text/plain")


async def endless(request: Request) -> StreamingResponse:
    async def body():
        while True:
            yield LINE

    return StreamingResponse(body(), media_type="text/plain")


app = Starlette(
    routes=[Route(f"/{view.__name__}", view) for view in (small, lines, bulk, rest, ticks, endless)]
)
