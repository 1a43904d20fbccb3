"""W11: `?form=F` makes 256 MiB, each time in chunks of another size or kind."""

import os

TOTAL = 256 * 1024 * 1024


def chunks(chunk):
    for _ in range(TOTAL // len(chunk)):
        yield chunk


async def chunks_async(chunk):
    for _ in range(TOTAL // len(chunk)):
        yield chunk


def file():
    """A file that takes no room on a disk: it has a size, and reads as zeros."""
    descriptor = os.memfd_create("benchmark")
    os.ftruncate(descriptor, TOTAL)
    return open(descriptor, "rb")


BODIES = {
    "1K": lambda: chunks(b"x" * 1024),
    "8K": lambda: chunks(b"x" * 8192),
    "64K": lambda: chunks(b"x" * 65536),
    "1M": lambda: chunks(b"x" * 1048576),
    "64K-str": lambda: chunks("x" * 65536),
    "64K-async": lambda: chunks_async(b"x" * 65536),
    "file": file,
}


def lambda_handler(event, context):
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "application/octet-stream"},
        "body": BODIES[event["queryStringParameters"]["form"]](),
    }
