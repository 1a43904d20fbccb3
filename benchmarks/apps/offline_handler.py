"""The functions serverless-offline runs."""


def small(event, context):
    return {"statusCode": 200, "body": "ok"}


def hello(event, context):
    return {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": "hello world\n"}
