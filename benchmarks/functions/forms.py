"""W10: `?form=F` makes the same 100,000 lines of 57 bytes, each time yielded in another form."""

import io

OBJECTS = [{"id": number, "text": "x" * 30} for number in range(1000)]
TEXTS = [f'{{"id": {number:06}, "text": "{"x" * 30}"}}\n' for number in range(1000)]
LINES = [text.encode() for text in TEXTS]
JOINED = [b"".join(LINES[start : start + 100]) for start in range(0, 1000, 100)]
TIMES = 100


def repeated(items):
    for _ in range(TIMES):
        yield from items


async def repeated_async(items):
    for _ in range(TIMES):
        for item in items:
            yield item


def printed(items):
    for item in repeated(items):
        print("a line was made")
        yield item


BODIES = {
    "bytes": lambda: repeated(LINES),
    "str": lambda: repeated(TEXTS),
    "dict": lambda: repeated(OBJECTS),
    "StringIO": lambda: io.StringIO(repeated(TEXTS)),
    "async": lambda: repeated_async(LINES),
    "printed": lambda: printed(LINES),
    "joined": lambda: repeated(JOINED),
}


def lambda_handler(event, context):
    return {"statusCode": 200, "body": BODIES[event["queryStringParameters"]["form"]]()}
