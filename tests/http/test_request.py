"""Heads: what is served, what is refused, and with which status."""

import pytest

from penstock.http.request import HeadParser, Refused, Request


def parse(head: bytes) -> Request:
    return HeadParser().parse(head)


def get(*lines: bytes, first: bytes = b"GET / HTTP/1.1", host: bytes | None = b"Host: a") -> bytes:
    return b"\r\n".join([first, *([host] if host is not None else []), *lines, b"", b""])


SERVED = {
    "plain": get(),
    "target": get(first=b"GET /a%20b/../c//d?x=1&y=%2F HTTP/1.1"),
    "double slash": get(first=b"GET //h/p HTTP/1.1"),
    "high bytes in the target": get(first=b"GET /caf\xc3\xa9?\xff=\x80 HTTP/1.1"),
    "asterisk": get(first=b"OPTIONS * HTTP/1.1"),
    "1.0 without Host": get(first=b"GET / HTTP/1.0", host=None),
    "host and port": get(host=b"Host: a.example:8080"),
    "host IPv6": get(host=b"Host: [::1]:3000"),
    "host empty": get(host=b"Host:"),
    "upper case": get(host=b"HOST: a"),
    "many headers": get(*[b"X-%d: y" % number for number in range(100)]),
    "high bytes in a value": get(b"X: \xc3\xbc\xff"),
    "tab in a value": get(b"X: a\tb"),
    "chunked": get(b"Transfer-Encoding: Chunked", first=b"POST / HTTP/1.1"),
    "length": get(b"Content-Length: 5", first=b"PUT / HTTP/1.1"),
    "length 0": get(b"Content-Length: 0", first=b"POST / HTTP/1.1"),
    "upgrade is ignored": get(b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings"),
    "close": get(b"Connection: close"),
    "close of a proxy": get(b"Proxy-Connection: close"),
    "upgrade with a body": get(b"Upgrade: x", b"Connection: upgrade", b"Content-Length: 4"),
}

REFUSED = {
    # the request line
    "no version": (get(first=b"GET /"), 400),
    "0.9": (get(first=b"GET / HTTP/0.9"), 505),
    "2.0": (get(first=b"GET / HTTP/2.0"), 505),
    "1.2": (get(first=b"GET / HTTP/1.2"), 505),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\n", 505),
    "version words": (get(first=b"GET / HTTP/1.1x"), 400),
    "version lower case": (get(first=b"GET / http/1.1"), 400),
    "ICE": (get(first=b"SOURCE / ICE/1.0"), 400),
    "RTSP": (get(first=b"DESCRIBE /a RTSP/1.0"), 400),
    "doubled space": (get(first=b"GET  / HTTP/1.1"), 400),
    "space in target": (get(first=b"GET /a b HTTP/1.1"), 400),
    "space at the end": (get(first=b"GET / HTTP/1.1 "), 400),
    "space at the start": (get(first=b" GET / HTTP/1.1"), 400),
    "tab": (get(first=b"GET\t/\tHTTP/1.1"), 400),
    "control character in the target": (get(first=b"GET /a\x01 HTTP/1.1"), 400),
    "DEL in the target": (get(first=b"GET /a\x7f HTTP/1.1"), 400),
    "NUL beside a high byte": (get(first=b"GET /\xe9\0 HTTP/1.1"), 400),
    "high byte in the method": (get(first=b"G\xe9T / HTTP/1.1"), 400),
    "high byte in the authority": (get(first=b"GET http://\xe9/ HTTP/1.1"), 400),
    "fragment beside a high byte": (get(first=b"GET /\xe9#a HTTP/1.1"), 400),
    "unknown method": (get(first=b"BREW / HTTP/1.1"), 501),
    "lower-case method": (get(first=b"get / HTTP/1.1"), 501),
    "malformed method": (get(first=b"G(T / HTTP/1.1"), 400),
    "connect": (get(first=b"CONNECT a:443 HTTP/1.1"), 400),
    "connect with a path": (get(first=b"CONNECT / HTTP/1.1"), 400),
    "authority-form": (get(first=b"GET a:443 HTTP/1.1"), 400),
    "asterisk of GET": (get(first=b"GET * HTTP/1.1"), 400),
    "relative target": (get(first=b"GET a/b HTTP/1.1"), 400),
    "other scheme": (get(first=b"GET ftp://a/ HTTP/1.1"), 400),
    "no authority": (get(first=b"GET http:///a HTTP/1.1"), 400),
    "user in authority": (get(first=b"GET http://u:p@a/ HTTP/1.1"), 400),
    "fragment": (get(first=b"GET /a#b HTTP/1.1"), 400),
    "control in target": (get(first=b"GET /\x01 HTTP/1.1"), 400),
    "NUL in target": (get(first=b"GET /\x00 HTTP/1.1"), 400),
    # header fields
    "bare line feed": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    "bare line feed in a header": (get(b"X: a\nY: b"), 400),
    "bare carriage return": (get(b"X: a\rY: b"), 400),
    "folded line": (get(b"X: a", b" b"), 400),
    "folded with tab": (get(b"X: a", b"\tb"), 400),
    "space before the first header": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    "space before colon": (get(b"X : a"), 400),
    "space before colon of the framing": (get(b"Transfer-Encoding : chunked"), 400),
    "no colon": (get(b"X"), 400),
    "no name": (get(b": a"), 400),
    "name is no token": (get(b"X@Y: a"), 400),
    "high byte in a name": (get(b"X\xff: a"), 400),
    "NUL in a value": (get(b"X: a\x00b"), 400),
    "control in a value": (get(b"X: a\x01b"), 400),
    "DEL in a value": (get(b"X: a\x7fb"), 400),
    # host
    "no host": (get(host=None), 400),
    "two hosts": (get(b"Host: a"), 400),
    "two hosts in 1.0": (get(b"Host: a", first=b"GET / HTTP/1.0"), 400),
    "host list": (get(host=b"Host: a, b"), 400),
    "host with a space": (get(host=b"Host: a b"), 400),
    "host with a path": (get(host=b"Host: a/b"), 400),
    "host with a user": (get(host=b"Host: u@a"), 400),
    "host with a bad port": (get(host=b"Host: a:b"), 400),
    "host high byte": (get(host=b"Host: \xff"), 400),
    # framing: smuggling
    "both framings": (get(b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400),
    "both framings, turned": (get(b"Transfer-Encoding: chunked", b"Content-Length: 5"), 400),
    "both framings, length 0": (get(b"Transfer-Encoding: chunked", b"Content-Length: 0"), 400),
    "differing lengths": (get(b"Content-Length: 5", b"Content-Length: 6"), 400),
    "equal lengths": (get(b"Content-Length: 5", b"Content-Length: 5"), 400),
    "length list": (get(b"Content-Length: 5, 5"), 400),
    "length signed": (get(b"Content-Length: +5"), 400),
    "length negative": (get(b"Content-Length: -1"), 400),
    "length hex": (get(b"Content-Length: 0x5"), 400),
    "length underscore": (get(b"Content-Length: 1_0"), 400),
    "length empty": (get(b"Content-Length:"), 400),
    "length point": (get(b"Content-Length: 5.0"), 400),
    "length words": (get(b"Content-Length: 5 5"), 400),
    "length huge": (get(b"Content-Length: 99999999999999999999999"), 400),
    "length of 19 digits": (get(b"Content-Length: 1000000000000000000"), 400),
    "length not ASCII": (get("Content-Length: ٥".encode()), 400),
    "gzip": (get(b"Transfer-Encoding: gzip"), 400),
    "gzip, chunked": (get(b"Transfer-Encoding: gzip, chunked"), 501),
    "chunked twice": (get(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 400),
    "chunked, chunked": (get(b"Transfer-Encoding: chunked, chunked"), 400),
    "chunked, identity": (get(b"Transfer-Encoding: chunked, identity"), 400),
    "identity": (get(b"Transfer-Encoding: identity"), 400),
    "xchunked": (get(b"Transfer-Encoding: xchunked"), 400),
    "vertical tab, chunked": (get(b"Transfer-Encoding: \x0bchunked"), 400),
    "coding empty": (get(b"Transfer-Encoding:"), 400),
    "quoted coding": (get(b'Transfer-Encoding: "chunked"'), 400),
    "chunked in 1.0": (get(b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.0"), 400),
    "expectation": (get(b"Expect: 200-ok", b"Content-Length: 1"), 417),
}


@pytest.mark.parametrize("head", SERVED.values(), ids=SERVED)
def test_served(head: bytes) -> None:
    request = parse(head)
    assert request.method == head.split(b" ")[0].decode()
    assert request.target == head.split(b" ")[1]
    assert request.headers[:1] == ([(request.headers[0][0], request.get(b"host"))] if request.headers else [])


@pytest.mark.parametrize(("head", "status"), REFUSED.values(), ids=REFUSED)
def test_refused(head: bytes, status: int) -> None:
    with pytest.raises(Refused) as refused:
        parse(head)
    assert refused.value.status == status
    assert str(refused.value).endswith(".")


def test_headers_keep_case_order_and_duplicates() -> None:
    request = parse(get(b"X-A: 1", b"x-a: 2", b"B:  spaced \t "))
    assert request.headers == [(b"Host", b"a"), (b"X-A", b"1"), (b"x-a", b"2"), (b"B", b"spaced")]
    assert request.get(b"x-a") == b"1"
    assert request.get(b"absent") is None


def test_absolute_form_becomes_origin_form_and_its_authority_the_host() -> None:
    request = parse(get(b"X: y", first=b"GET http://B.example:80/p?q HTTP/1.1"))
    assert (request.target, request.get(b"host")) == (b"/p?q", b"B.example:80")
    assert request.headers == [(b"Host", b"B.example:80"), (b"X", b"y")]
    assert parse(get(first=b"GET HTTPS://b HTTP/1.1")).target == b"/"
    assert parse(get(first=b"GET http://b?q HTTP/1.1")).target == b"/?q"


@pytest.mark.parametrize(
    ("first", "lines", "kept"),
    [
        (b"GET / HTTP/1.1", [], True),
        (b"GET / HTTP/1.1", [b"Connection: close"], False),
        (b"GET / HTTP/1.1", [b"Connection: foo , CLOSE"], False),
        (b"GET / HTTP/1.1", [b"Connection: keep-alive", b"Connection: close"], False),
        (b"GET / HTTP/1.1", [b"Connection: closed"], True),
        (b"GET / HTTP/1.0", [], False),
        (b"GET / HTTP/1.0", [b"Connection: Keep-Alive"], True),
        (b"GET / HTTP/1.0", [b"Connection: keep-alive, close"], False),
    ],
)
def test_keep_alive(first: bytes, lines: list[bytes], kept: bool) -> None:
    assert parse(get(*lines, first=first)).keep_alive is kept


def test_body_and_expectation() -> None:
    plain = parse(get())
    assert (plain.content_length, plain.chunked, plain.has_body, plain.expect_continue) == (None,) + (
        False,
    ) * 3
    counted = parse(get(b"Content-Length: 007", b"Expect: 100-Continue"))
    assert (counted.content_length, counted.has_body, counted.expect_continue) == (7, True, True)
    assert not parse(get(b"Content-Length: 0")).has_body
    assert parse(get(b"Transfer-Encoding: chunked")).has_body
    # HTTP/1.0 does not know of expectations.
    old = parse(get(b"Content-Length: 7", b"Expect: whatever", first=b"POST / HTTP/1.0"))
    assert not old.expect_continue


def test_one_parser_takes_one_head_after_the_other_whatever_came_before() -> None:
    parser = HeadParser()
    heads = [*SERVED.values(), *(head for head, _ in REFUSED.values())]
    for head in heads:
        try:
            parser.parse(head)
        except Refused:
            pass
        assert parser.parse(get(b"X: y")).headers == [(b"Host", b"a"), (b"X", b"y")]


def test_the_same_head_again_is_another_request_of_the_same() -> None:
    parser = HeadParser()
    head = get(b"X-A: 1", b"Connection: close", b"Content-Length: 0")
    first, second = parser.parse(head), parser.parse(head)
    first.peer = ("192.0.2.1", 80)
    assert second is not first
    assert second.peer is None
    for name in Request.__slots__:
        if name != "peer":
            assert getattr(first, name) == getattr(second, name)
    assert parser.parse(get(b"X-A: 2")).get(b"x-a") == b"2"
    assert parser.parse(head).keep_alive is False


def test_repr() -> None:
    assert repr(parse(get(first=b"GET /a?b HTTP/1.1"))) == "<Request GET /a?b>"
