import pytest

from penstock.gateway import cors
from penstock.http.request import Request
from penstock.protocol.urls import Cors

A = b"https://a.example"
FULL = Cors(("https://a.example", "https://b.example"), ("GET", "POST"), ("Date", "X-A"), ("X-B",), True, 600)


def request(method: str, *headers: tuple[bytes, bytes]) -> Request:
    return Request(method, b"/", "1.1", list(headers), dict(headers))


def test_what_a_preflight_request_is() -> None:
    origin, asks = (b"origin", A), (b"access-control-request-method", b"PUT")
    assert cors.is_preflight(request("OPTIONS", origin, asks))
    assert not cors.is_preflight(request("OPTIONS", origin))
    assert not cors.is_preflight(request("OPTIONS", asks))
    assert not cors.is_preflight(request("GET", origin, asks))


def test_the_answer_to_one() -> None:
    assert cors.preflight(FULL, A) == [
        (b"Access-Control-Allow-Origin", A),
        (b"Vary", b"Origin"),
        (b"Access-Control-Allow-Credentials", b"true"),
        (b"Access-Control-Allow-Methods", b"GET,POST"),
        (b"Access-Control-Allow-Headers", b"Date,X-A"),
        (b"Access-Control-Max-Age", b"600"),
    ]


@pytest.mark.parametrize(
    "origin",
    [b"", b"null", b"https://c.example", b"https://a.example.evil", b"http://a.example", b"*", b"\xff"],
)
def test_another_origin_is_told_nothing(origin: bytes) -> None:
    assert cors.preflight(FULL, origin) == [(b"Vary", b"Origin")]
    assert cors.apply(FULL, origin, [])[:1] == [(b"Vary", b"Origin")]


def test_every_origin() -> None:
    anyone = Cors(("*",), ("*",), ("*",))
    assert cors.preflight(anyone, A) == [
        (b"Access-Control-Allow-Origin", b"*"),
        (b"Vary", b"Origin"),
        (b"Access-Control-Allow-Methods", b"*"),
        (b"Access-Control-Allow-Headers", b"*"),
    ]


def test_credentials_are_for_origins_that_are_named() -> None:
    """A browser sends none to `*`; naming whoever asks would let every page of the web act as its user."""
    anyone = Cors(("*",), allow_credentials=True)
    assert b"Access-Control-Allow-Credentials" not in dict(cors.preflight(anyone, A))
    assert dict(cors.preflight(anyone, A))[b"Access-Control-Allow-Origin"] == b"*"
    named = Cors(("*", "https://a.example"), allow_credentials=True)
    assert dict(cors.preflight(named, A))[b"Access-Control-Allow-Origin"] == A
    assert dict(cors.preflight(named, A))[b"Access-Control-Allow-Credentials"] == b"true"


def test_what_is_configured_replaces_what_the_function_says() -> None:
    own = [
        (b"Content-Type", b"text/plain"),
        (b"access-control-allow-origin", b"*"),
        (b"Access-Control-Expose-Headers", b"X-Own"),
        (b"Access-Control-Allow-Methods", b"PUT"),
    ]
    assert cors.apply(FULL, A, own) == [
        (b"Content-Type", b"text/plain"),
        (b"Access-Control-Allow-Methods", b"PUT"),  # of preflight requests only: it means nothing here
        (b"Access-Control-Allow-Origin", A),
        (b"Vary", b"Origin"),
        (b"Access-Control-Allow-Credentials", b"true"),
        (b"Access-Control-Expose-Headers", b"X-B"),
    ]
    assert "browsers refuse" in cors.replaced(FULL, A, own)
    assert cors.replaced(FULL, A, own[:1]) == ""


def test_without_an_origin_nothing_is_said() -> None:
    own = [(b"Access-Control-Allow-Origin", b"*")]
    assert cors.apply(FULL, None, own) == own
    assert cors.replaced(FULL, None, own) == ""


def test_a_configured_value_cannot_split_a_response() -> None:
    odd = Cors(("*",), ("GET\r\nX: 1",), ("é", "☃"))
    values = [value for _, value in cors.preflight(odd, A)]
    assert not any(b"\r" in value or b"\n" in value for value in values)
