"""A buffered response: what every Lambda handler already does, and still may.

    penstock dev examples/plain.py
    curl http://127.0.0.1:3000/world

prints

    {"hello": "world"}
"""

import json


def lambda_handler(event, context):
    path = event.get("path") or event.get("rawPath") or "/"  # event formats 1.0 and 2.0
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps({"hello": path.strip("/") or "you"}) + "\n",
    }
