"""W6: hello world, streamed."""


def lambda_handler(event, context):
    return {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": iter(["hello world\n"])}
