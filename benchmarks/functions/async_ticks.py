"""W5b: W5's function as an asynchronous generator: many of them run in one environment."""

import asyncio
import time


async def ticks(count):
    for _ in range(count):
        yield f"t={time.monotonic_ns()}\n"
        await asyncio.sleep(0.1)


async def lambda_handler(event, context):
    count = int(event["queryStringParameters"]["count"])
    return {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": ticks(count)}
