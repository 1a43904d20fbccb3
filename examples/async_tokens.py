"""An async generator as the body: three slow sources read at once, each answer sent when it is there.

    penstock dev examples/async_tokens.py
    curl -N http://127.0.0.1:3000/

prints, the fastest first:

    {"source":"cache","seconds":0.1}
    {"source":"database","seconds":0.4}
    {"source":"archive","seconds":0.9}
"""

import asyncio

SOURCES = {"archive": 0.9, "cache": 0.1, "database": 0.4}


async def ask(source, seconds):
    await asyncio.sleep(seconds)
    return {"source": source, "seconds": seconds}


async def answers():
    tasks = [asyncio.ensure_future(ask(source, seconds)) for source, seconds in SOURCES.items()]
    try:
        for task in asyncio.as_completed(tasks):
            yield await task  # a dict becomes one line of JSON
    finally:
        for task in tasks:
            task.cancel()  # the caller may have left


async def lambda_handler(event, context):
    return {"statusCode": 200, "body": answers()}
