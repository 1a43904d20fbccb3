"""W5: `?count=N` chunks, 100 ms apart, each holding when it was made: ns on the system's monotonic clock."""

import time


def ticks(count):
    for _ in range(count):
        yield f"t={time.monotonic_ns()}\n"
        time.sleep(0.1)


def lambda_handler(event, context):
    count = int(event["queryStringParameters"]["count"])
    return {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": ticks(count)}
