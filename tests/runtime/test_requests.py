"""The text of requests: what test_api.py does not see of it on the wire."""

import pytest

from penstock.runtime.requests import Requests


@pytest.mark.parametrize("own", [True, False])
def test_a_streamed_response_s_connection_is_closed_where_it_has_one_of_its_own(own: bool) -> None:
    requests = Requests("host", own)
    assert (b"\r\nConnection: close\r\n" in requests.stream_head("id", "text/plain")) is not own
    assert requests.stream_tail().endswith(requests.next) is own


def test_an_attempt_is_named_until_the_next_begins() -> None:
    requests = Requests("host", True)
    assert b"Invocation-Id" not in requests.response("id", "text/plain", 0)
    requests.begin("try-1")
    for head in (
        requests.response("id", "text/plain", 0),
        requests.error("id", "ValueError", 0),
        requests.stream_head("id", "text/plain"),
    ):
        assert b"\r\nLambda-Runtime-Invocation-Id: try-1\r\n" in head
    assert b"Invocation-Id" not in requests.init_error("ValueError", 0)
    assert b"Invocation-Id" not in requests.restore_error("ValueError", 0)
    requests.begin("")
    assert b"Invocation-Id" not in requests.response("id", "text/plain", 0)


def test_a_class_s_name_breaks_no_header() -> None:
    requests = Requests("host", True)
    assert b"Error-Type: a??b\r\n" in requests.error("id", "a\r\nb", 0)
    assert b"Error-Type: a??b\r\n" in requests.stream_tail(("a\r\nb", "e30="))
