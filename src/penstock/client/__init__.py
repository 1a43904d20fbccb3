"""Read streamed responses: lines of NDJSON, server-sent events, the prelude.

Each takes what an HTTP client or boto3 gives, and yields each item the moment its last byte has come:

    with httpx.stream("GET", url) as response:
        for line in lines(response.iter_bytes()):
            print(json.loads(line))

    response = boto3.client("lambda").invoke_with_response_stream(FunctionName="app")
    prelude, payload = split_prelude(response["EventStream"])
    for event in events(payload):
        print(event.data)

With requests, ask for `iter_content(chunk_size=None)` of a response opened with `stream=True`: any other size
waits until that many bytes have come.
"""

from ..protocol.prelude import Prelude, PreludeError
from ..protocol.sse import Event
from .streams import FunctionError, events, lines, split_prelude

__all__ = ["Event", "FunctionError", "Prelude", "PreludeError", "events", "lines", "split_prelude"]
