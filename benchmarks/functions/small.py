"""W1: the smallest whole response."""


def lambda_handler(event, context):
    return {"statusCode": 200, "body": "ok"}
