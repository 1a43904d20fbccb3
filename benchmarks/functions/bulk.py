"""W3: `?chunks=N` chunks of 64 KiB."""

CHUNK = bytes(range(256)) * 256


def bulk(count):
    for _ in range(count):
        yield CHUNK


def lambda_handler(event, context):
    count = int(event["queryStringParameters"]["chunks"])
    return {"statusCode": 200, "headers": {"Content-Type": "application/octet-stream"}, "body": bulk(count)}
