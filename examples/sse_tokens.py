"""Server-sent events, token by token, as a language model's answer arrives.

    penstock dev examples/sse_tokens.py
    curl -N http://127.0.0.1:3000/

prints an event every 50 ms, and one that says it is over:

    id: 0
    data: {"token": "A"}

    id: 1
    data: {"token": " generator"}

    …
    event: done
    id: 15
    data: {"tokens": 15}

In a browser: `new EventSource("/")`, which reconnects with Last-Event-ID and so goes on where it was.
"""

import json
import time

ANSWER = "A generator is all it takes: each token is sent the moment it is made."


def tokens():
    """Stands in for a model."""
    for number, word in enumerate(ANSWER.split(" ")):
        time.sleep(0.05)
        yield word if number == 0 else " " + word


def events(start):
    count = 0
    for count, token in enumerate(tokens(), 1):
        if count > start:
            yield f"id: {count - 1}\ndata: {json.dumps({'token': token})}\n\n"
    yield f"event: done\nid: {count}\ndata: {json.dumps({'tokens': count})}\n\n"


def lambda_handler(event, context):
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    last = headers.get("last-event-id", "")
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"},
        "body": events(int(last) + 1 if last.isdigit() else 0),
    }
