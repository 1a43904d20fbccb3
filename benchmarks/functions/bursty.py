"""Bursts: W4's function, after a start of 100 ms."""

import time

time.sleep(0.1)  # imports, clients, a model


def chunks(seconds):
    yield "first\n"
    time.sleep(seconds)
    yield "second\n"


def lambda_handler(event, context):
    seconds = float(event["queryStringParameters"]["seconds"])
    return {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": chunks(seconds)}
