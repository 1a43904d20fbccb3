"""The function's side of the Runtime API, over TCP as AWS has it and over sockets handed out."""

import os
import socket
import sys
import threading

import pytest

from penstock.protocol import runtime_api
from penstock.protocol.runtime_api import InvocationInfo
from penstock.runtime import logs
from penstock.runtime.api import ApiError, ServiceGone
from penstock.runtime.stream import Disconnected, send_all
from runtime_kit import OwnSocket, Side, Tcp


@pytest.fixture(params=["own", "tcp"])
def service(request: pytest.FixtureRequest) -> OwnSocket | Tcp:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


INFO = InvocationInfo("id-1", 2**41, "arn", "Root=1", '{"client":{}}')


def test_next(service: OwnSocket | Tcp) -> None:
    api = service.api()
    (side,) = service.sides
    side.answer(200, b'{"a":1}', b"Content-Type: application/json\r\n" + INFO.lines())
    event = api.next()
    assert (event.payload, event.content_type, event.info) == (b'{"a":1}', "application/json", INFO)
    asked = side.read()
    assert (asked.method, asked.path) == ("GET", "/2018-06-01/runtime/invocation/next")
    assert asked.headers["host"]
    api.close()


def test_a_function_s_default_timeout_is_not_ours(service: OwnSocket | Tcp) -> None:
    socket.setdefaulttimeout(1.5)
    try:
        api = service.api()
    finally:
        socket.setdefaulttimeout(None)
    assert api.connection.socket.gettimeout() is None
    assert api.dial is None or api.dial.gettimeout() is None
    api.close()


def test_a_large_event_comes_whole(service: OwnSocket | Tcp) -> None:
    api = service.api()
    (side,) = service.sides
    thread = threading.Thread(target=side.event, args=(b"x" * 1_000_000,))
    thread.start()
    assert api.next().payload == b"x" * 1_000_000
    thread.join()
    api.close()


def test_respond_and_ask_again(service: OwnSocket | Tcp) -> None:
    api = service.api()
    (side,) = service.sides
    side.event()
    api.next()
    side.read()
    side.accept()
    side.event(b"[2]", "id-2")
    api.respond("id-1", b'"hello"', "application/json")
    event = api.next()
    assert (event.payload, event.info.request_id) == (b"[2]", "id-2")
    sent = side.read()
    assert (sent.method, sent.path, sent.body) == (
        "POST",
        "/2018-06-01/runtime/invocation/id-1/response",
        b'"hello"',
    )
    assert sent.headers["content-type"] == "application/json"
    assert "lambda-runtime-function-response-mode" not in sent.headers
    assert side.read().verb == "next"
    api.close()


def test_the_answer_and_the_next_request_leave_in_one_send(own: OwnSocket) -> None:
    api = own.api()
    (side,) = own.sides
    api.respond("id-1", b"1", "application/json")
    assert side.sock.recv(65536).endswith(
        b"\r\n\r\n1" + b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: penstock\r\n\r\n"
    )
    api.close()


def test_a_response_that_was_refused_changes_nothing(service: OwnSocket | Tcp) -> None:
    api = service.api()
    (side,) = service.sides
    side.answer(413, b'{"errorType":"RequestEntityTooLarge"}')
    side.event(request_id="id-2")
    api.respond("id-1", b"1", "application/json")
    assert api.next().info.request_id == "id-2"
    api.close()


def test_fail(service: OwnSocket | Tcp) -> None:
    api = service.api()
    (side,) = service.sides
    side.accept()
    api.fail("id-1", "ValueError", b'{"errorMessage":"no"}')
    sent = side.read()
    assert (sent.path, sent.body) == ("/2018-06-01/runtime/invocation/id-1/error", b'{"errorMessage":"no"}')
    assert sent.headers[runtime_api.ERROR_TYPE.lower()] == "ValueError"
    api.close()


@pytest.mark.parametrize("name", ["A\r\nX: y", "Fehler\u00e9", "\u2028", "a b", "\0"])
def test_an_error_type_of_any_text_is_one_header(own: OwnSocket, name: str) -> None:
    api = own.api()
    (side,) = own.sides
    api.fail("id-1", name, b"{}")
    sent = side.read()
    assert sent.body == b"{}"
    assert "x" not in sent.headers
    end = api.requests.stream_tail((name, "e30="))
    assert end.count(b"\n") == end.count(b"\r\n")
    api.close()


def test_init_error(service: OwnSocket | Tcp) -> None:
    api = service.api()
    (side,) = service.sides
    side.accept()
    api.init_error("Runtime.ImportModuleError", b"{}")
    sent = side.read()
    assert (sent.method, sent.path) == ("POST", "/2018-06-01/runtime/init/error")
    assert sent.headers[runtime_api.ERROR_TYPE.lower()] == "Runtime.ImportModuleError"
    api.close()
    assert side.raw() == b""  # it does not ask for an event


def test_a_restored_function_has_a_fresh_connection(tcp: Tcp) -> None:
    api = tcp.api()
    tcp.sides[0].answer(200, b"")
    api.restore_next()
    assert tcp.sides[0].read().path == "/2018-06-01/runtime/restore/next"
    side = tcp.connection()
    side.event()
    assert api.next().payload == b"{}"
    api.close()


def test_a_restore_that_is_refused(tcp: Tcp) -> None:
    api = tcp.api()
    tcp.sides[0].answer(403, b"no")
    with pytest.raises(ApiError, match="answered 403 to restore/next: b'no'"):
        api.restore_next()
    api.close()


def test_restore_error(service: OwnSocket | Tcp) -> None:
    api = service.api()
    (side,) = service.sides
    side.accept()
    api.restore_error("Runtime.AfterRestoreError", b"{}")
    sent = side.read()
    assert (sent.method, sent.path) == ("POST", "/2018-06-01/runtime/restore/error")
    assert sent.headers[runtime_api.ERROR_TYPE.lower()] == "Runtime.AfterRestoreError"
    api.close()
    assert side.raw() == b""


def test_a_stream_over_tcp_has_a_connection_of_its_own(tcp: Tcp) -> None:
    api = tcp.api()
    connection = api.stream_connection()
    assert connection is not api.connection
    side = tcp.connection()
    send_all(
        connection.socket,
        [api.requests.stream_head("id-1", "text/plain"), b"3\r\none\r\n", api.requests.stream_tail()],
    )
    side.accept()
    api.stream_ended(connection)
    sent = side.read()
    assert (sent.path, sent.body, sent.trailers) == (
        "/2018-06-01/runtime/invocation/id-1/response",
        b"one",
        {},
    )
    assert sent.headers[runtime_api.RESPONSE_MODE.lower()] == "streaming"
    assert sent.headers["trailer"] == f"{runtime_api.ERROR_TYPE}, {runtime_api.ERROR_BODY}"
    assert sent.headers["connection"] == "close"
    assert side.raw() == b""  # closed
    tcp.sides[0].event(request_id="id-2")
    assert api.next().info.request_id == "id-2"
    api.close()


def test_a_stream_over_the_own_socket_ends_with_the_next_request(own: OwnSocket) -> None:
    api = own.api()
    (side,) = own.sides
    connection = api.stream_connection()
    assert connection is api.connection
    tail = api.requests.stream_tail(("ValueError", "e30="))
    send_all(connection.socket, [api.requests.stream_head("id-1", "text/plain"), tail])
    api.stream_ended(connection)
    side.accept()
    side.event(request_id="id-2")
    assert api.next().info.request_id == "id-2"
    sent = side.read()
    assert "connection" not in sent.headers
    assert sent.trailers == {
        runtime_api.ERROR_TYPE.lower(): "ValueError",
        runtime_api.ERROR_BODY.lower(): "e30=",
    }
    assert side.read().verb == "next"
    side.event(request_id="id-3")
    api.next()
    assert side.read().verb == "next"  # asked once for each
    api.close()


def test_begin_again_after_a_disconnect(service: OwnSocket | Tcp) -> None:
    api = service.api()
    service.sides[0].sock.close()
    with pytest.raises(Disconnected):
        api.next()
    if isinstance(service, OwnSocket):
        side = service.connection()
        api.reconnect()
    else:
        api.reconnect()
        side = service.connection()
    side.event(request_id="id-2")
    assert api.next().info.request_id == "id-2"
    assert side.read().verb == "next"
    api.close()


def test_a_service_that_is_gone(own: OwnSocket) -> None:
    api = own.api()
    own.gone()
    with pytest.raises(ServiceGone):
        api.reconnect()


def test_an_answer_it_cannot_go_on_with(own: OwnSocket) -> None:
    api = own.api()
    own.sides[0].answer(403, b'{"errorType":"Forbidden"}')
    with pytest.raises(ApiError, match=r"answered 403 to next.*Forbidden"):
        api.next()
    api.close()


@pytest.mark.parametrize("length", [0, 20, 38, 41])
def test_an_answer_that_is_cut(own: OwnSocket, length: int) -> None:
    api = own.api()
    (side,) = own.sides
    side.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345"[:length])
    side.finish()
    with pytest.raises(Disconnected):
        api.next()
    api.close()


def test_answers_may_come_in_any_pieces(own: OwnSocket) -> None:
    api = own.api()
    (side,) = own.sides
    ours, theirs = socket.socketpair()
    with ours, theirs:
        copy = Side(ours)
        copy.event(b'{"a":1}')
        wire = theirs.recv(65536)

    def drip() -> None:
        for index in range(len(wire)):
            side.sock.sendall(wire[index : index + 1])

    thread = threading.Thread(target=drip)
    thread.start()
    assert api.next().payload == b'{"a":1}'
    thread.join()
    api.close()


def test_a_fork_of_the_function_does_not_keep_the_connection(own: OwnSocket) -> None:
    api = own.api()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)  # until the test says
        os._exit(0)
    os.close(read)
    api.close()
    assert own.sides[0].raw() == b""  # the end of file, though the fork lives
    os.close(write)
    os.waitpid(pid, 0)


def test_an_event_in_chunks(service: OwnSocket | Tcp) -> None:
    api = service.api()
    (side,) = service.sides
    head = b"HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: id-1\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"5\r\n[1,2,\r\n2\r\n3]\r\n0\r\n\r\n"
    side.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" + head + body + head + body[:8])
    assert api.next().payload == b"[1,2,3]"
    side.sock.sendall(body[8:])
    assert api.next().payload == b"[1,2,3]"
    side.sock.sendall(head + b"no chunk\r\n")
    with pytest.raises(Disconnected):
        api.next()
    api.close()


def test_nothing_to_do_yet(service: OwnSocket | Tcp) -> None:
    api = service.api()
    (side,) = service.sides
    side.sock.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
    side.event(request_id="id-2")
    assert api.next().info.request_id == "id-2"
    assert [side.read().verb, side.read().verb] == ["next", "next"]
    api.close()


def test_nothing_to_do_for_long(service: OwnSocket | Tcp) -> None:
    api = service.api()
    (side,) = service.sides
    times = 3 * sys.getrecursionlimit()

    def answer() -> None:
        for _ in range(times):
            assert side.read().verb == "next"
            side.sock.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        side.read()
        side.event(request_id="id-2")

    thread = threading.Thread(target=answer)
    thread.start()
    assert api.next().info.request_id == "id-2"
    thread.join()
    api.close()


def test_answers_repeat_the_attempt(service: OwnSocket | Tcp) -> None:
    api = service.api()
    (side,) = service.sides
    name = runtime_api.INVOCATION_ID
    for attempt in ("try-1", ""):
        expected = attempt or None
        for answer in (
            lambda: api.respond("id-1", b"1", "application/json"),
            lambda: api.fail("id-1", "ValueError", b"{}"),
        ):
            side.event(invocation_id=attempt)
            side.accept()
            api.next()
            answer()
            sent = side.read()
            if sent.verb == "next":
                sent = side.read()
            assert sent.headers.get(name.lower()) == expected
            if isinstance(service, OwnSocket):
                assert side.read().verb == "next"
        assert (f"\r\n{name}: try-1\r\n".encode() in api.requests.stream_head("id-1", "text/plain")) is bool(
            attempt
        )
    api.close()


def test_a_server_that_takes_one_request_a_connection(tcp: Tcp) -> None:
    api = tcp.api()
    closing = b"Connection: close\r\nLambda-Runtime-Aws-Request-Id: id-1\r\n"
    tcp.sides[0].answer(200, b"{}", closing)
    api.next()
    tcp.sides[0].sock.close()
    thread = threading.Thread(target=lambda: tcp.connection().answer(202, b"", closing))
    thread.start()
    api.respond("id-1", b"1", "application/json")
    thread.join()
    thread = threading.Thread(target=lambda: tcp.connection().answer(200, b"{}", closing))
    thread.start()
    assert api.next().info.request_id == "id-1"
    thread.join()
    assert tcp.sides[1].read().verb == "response"
    assert tcp.sides[2].read().verb == "next"
    api.close()


def test_an_answer_that_comes_too_late_is_logged(tcp: Tcp, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(logs, "write", written.append)
    api = tcp.api()
    (side,) = tcp.sides
    side.answer(410, b'{"errorMessage":"Invoke timeout","errorType":"InvokeTimeout"}\n')
    api.respond("id-1", b"1", "application/json")
    assert "[WARNING] the Runtime API answered 410 to the response" in written[0]
    side.answer(500, b"{}")
    with pytest.raises(ApiError, match="answered 500"):
        api.respond("id-1", b"1", "application/json")
    api.close()
