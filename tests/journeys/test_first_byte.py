"""The first chunk is at the client before the second is made."""

import http.client

import pytest

# The second chunk waits for a file that the test makes only once it has read the first.
GATED = """
    import os, time

    def lambda_handler(event, context):
        def gen():
            yield "first\\n"
            while not os.path.exists("gate"):
                time.sleep(0.005)
            yield "second\\n"
        return {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": gen()}
"""


def test_the_first_chunk_arrives_before_the_second_exists(platform):
    running = platform({"gated": GATED})
    connection = http.client.HTTPConnection(*running.gateway_address, timeout=20)
    connection.request("GET", "/")
    response = connection.getresponse()
    assert response.read1() == b"first\n"
    (running.folder / "gate").touch()
    assert response.read() == b"second\n"
    connection.close()


def test_boto3_prints_the_first_chunk_before_the_second_exists(platform):
    running = platform({"gated": GATED})
    events = iter(running.client().invoke_with_response_stream(FunctionName="gated")["EventStream"])
    assert next(events)["PayloadChunk"]["Payload"].endswith(b"\0first\n")
    (running.folder / "gate").touch()
    assert next(events)["PayloadChunk"]["Payload"] == b"second\n"
    assert next(events) == {"InvokeComplete": {}}
    with pytest.raises(StopIteration):
        next(events)
