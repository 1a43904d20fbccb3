"""The connection to the Lambda API: where it is, and what is said when it does not answer."""

import contextlib
import socket
import threading

import pytest

from penstock.cli.endpoint import Connection, endpoint_url
from penstock.cli.errors import CommandError, UsageError
from penstock.client.signing import Signer

SIGNER = Signer({})


@contextlib.contextmanager
def answering(data, *, requests=None):
    """A server of one connection, which reads a head and answers with `data`; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            with listening.accept()[0] as sock:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += sock.recv(65536)
                if requests is not None:
                    requests.append(head)
                sock.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


def test_where_the_endpoint_is():
    ours = {"PENSTOCK_ENDPOINT_URL": "http://b", "AWS_ENDPOINT_URL_LAMBDA": "http://c"}
    assert endpoint_url("http://a", ours) == "http://a"
    assert endpoint_url(None, ours) == "http://b"
    assert endpoint_url(None, {"AWS_ENDPOINT_URL_LAMBDA": "http://c"}) == "http://c"
    assert endpoint_url(None, {}) == "http://127.0.0.1:3001"


def test_get():
    requests = []
    with (
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", requests=requests) as url,
        Connection(f"{url}/base/", SIGNER) as connection,
    ):
        assert connection.get("/path?a=b").read() == b"ok"
    assert requests[0].startswith(b"GET /base/path?a=b HTTP/1.1\r\n")
    assert b"Content-Length" not in requests[0]


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "http://", "http://x:y", "http://[x"])
def test_what_is_no_url(url):
    with pytest.raises(UsageError, match=r"^endpoint "):
        Connection(url, SIGNER)


def test_nothing_listens():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with (
        pytest.raises(CommandError, match=rf"^nothing listens at http://127.0.0.1:{port}: start it with "),
        Connection(f"http://127.0.0.1:{port}", SIGNER) as connection,
    ):
        connection.get("/")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no answer from URL: Remote end closed connection without response"),
        (b"SSH-2.0-OpenSSH\r\n", "no answer from URL: SSH-2.0-OpenSSH"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "HTTP 500: Oops"),
        (
            b'HTTP/1.1 404 Not Found\r\nx-amzn-ErrorType: X\r\nContent-Length: 17\r\n\r\n{"Message":"gone"}',
            "X: ",
        ),
    ],
)
def test_what_is_said_of_other_answers(data, said):
    with (
        answering(data) as url,
        pytest.raises(CommandError) as raised,
        Connection(url, SIGNER) as connection,
    ):
        connection.get("/")
    assert str(raised.value).replace(url, "URL").strip().startswith(said)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (
            b"x-amzn-ErrorType: ResourceNotFoundException\r\n",
            "ResourceNotFoundException: gone; look elsewhere",
        ),
        (b"", r"HTTP 404: gone\."),  # the gateway's, which says itself what to do
    ],
)
def test_a_function_that_is_not_there_has_a_hint(header, said):
    data = b"HTTP/1.1 404 Not Found\r\n" + header + b'Content-Length: 19\r\n\r\n{"message":"gone."}'
    with (
        answering(data) as url,
        pytest.raises(CommandError, match=f"^{said}$"),
        Connection(url, SIGNER, missing="look elsewhere") as connection,
    ):
        connection.get("/")


def test_a_throttled_call_says_which_limit_it_was():
    body = b'{"Type":"User","message":"Rate Exceeded.","Reason":"ConcurrentInvocationLimitExceeded"}'
    length = f"Content-Length: {len(body)}".encode()
    data = b"HTTP/1.1 429 Too Many Requests\r\n" + length + b"\r\n\r\n" + body
    with (
        answering(data) as url,
        pytest.raises(CommandError, match=r": Rate Exceeded \(ConcurrentInvocationLimitExceeded\)$"),
        Connection(url, SIGNER) as connection,
    ):
        connection.get("/")


def test_a_response_that_breaks_off():
    with (
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok") as url,
        pytest.raises(CommandError, match=rf"^the response from {url} broke off: "),
        Connection(url, SIGNER) as connection,
    ):
        connection.get("/").read()
