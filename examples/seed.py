"""A plain handler whose body is a generator: the caller gets each line the moment it is made.

    penstock dev examples/seed.py
    curl -N http://127.0.0.1:3000/

1000 lines in about ten seconds, the first at once:

    {"line": 0, "text": "streamed"}
    {"line": 1, "text": "streamed"}
    …
"""

import io
import json
import time


def lambda_handler(event, context):
    def gen():
        for i in range(1000):
            yield json.dumps({"line": i, "text": "streamed"}) + "\n"
            time.sleep(0.01)

    return {
        "statusCode": 200,
        "headers": {"Content-Type": "application/json"},
        "body": io.StringIO(gen()),
        "isBase64Encoded": False,
    }
