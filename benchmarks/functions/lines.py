"""W2: `?thousands=N` thousand JSON lines of 57 bytes, one yield each."""

# Made beforehand, so that the platform is measured and not the formatting of numbers.
LINES = [f'{{"id": {number:06}, "text": "{"x" * 30}"}}\n' for number in range(1000)]


def lines(thousands):
    for _ in range(thousands):
        yield from LINES


def lambda_handler(event, context):
    thousands = int(event["queryStringParameters"]["thousands"])
    return {"statusCode": 200, "headers": {"Content-Type": "application/x-ndjson"}, "body": lines(thousands)}
