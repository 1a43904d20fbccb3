"""A buffered response: what every Lambda handler already does, and still may.

    penstock dev examples/plain.py
    curl http://127.0.0.1:3000/world

prints

    {"hello": "world"}
"""

import json


def lambda_handler(event, context):
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps({"hello": (event.get("path") or event["rawPath"]).strip("/") or "you"}) + "\n",
    }
