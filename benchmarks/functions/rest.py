"""W4 and the bursts: a chunk at once, a rest of `?seconds=S`, another chunk."""

import time


def chunks(seconds):
    yield "first\n"
    time.sleep(seconds)
    yield "second\n"


def lambda_handler(event, context):
    seconds = float(event["queryStringParameters"]["seconds"])
    return {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": chunks(seconds)}
