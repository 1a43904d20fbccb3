"""where.py: `?count=N` chunks, each sent by itself."""

import time


def chunks(count):
    for number in range(count):
        yield f"{number}\n"
        time.sleep(0.001)


def lambda_handler(event, context):
    count = int(event["queryStringParameters"]["count"])
    return {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": chunks(count)}
