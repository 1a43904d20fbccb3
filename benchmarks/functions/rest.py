"""W4: a chunk at once, a rest of 100 ms, another chunk."""

import time


def chunks():
    yield "first\n"
    time.sleep(0.1)
    yield "second\n"


def lambda_handler(event, context):
    return {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": chunks()}
