"""W7: lines of 1 KiB without end, as fast as they are taken."""

LINE = "x" * 1023 + "\n"


def endless():
    while True:
        yield LINE


def lambda_handler(event, context):
    return {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": endless()}
