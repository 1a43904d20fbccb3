"""7 MB returned whole: over Lambda's limit for a buffered response, so the caller gets an error.

    penstock dev examples/too_large.py
    curl -i http://127.0.0.1:3000/

prints

    HTTP/1.1 502 Bad Gateway
    …
    {"message": "Internal server error"}

The function has run, and on AWS would be paid for; what it returned is over 6,291,556 bytes and thrown away.
The remedy is to return the generator itself, `"body": lines()`, and let it stream: then size is no matter.
"""

import json


def lines():
    for number in range(117_000):
        yield json.dumps({"line": number, "text": "seven megabytes in all, buffered"}) + "\n"


def lambda_handler(event, context):
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "application/x-ndjson"},
        "body": "".join(lines()),
    }
