import pytest

from penstock.service.api.errors import ApiError
from penstock.service.api.request import ApiRequest


def test_a_body() -> None:
    assert ApiRequest("X", {}, body=b'{"a": [1]}').json() == {"a": [1]}
    assert ApiRequest("X", {}).json() == {}


@pytest.mark.parametrize("body", [b"{", b"[]", b'"a"', b"null", b"\xff", b'{"a": NaN}', b"[" * 100_000])
def test_a_body_that_is_no_object(body: bytes) -> None:
    with pytest.raises(ApiError, match="Could not parse request body into json") as raised:
        ApiRequest("X", {}, body=body).json()
    assert (raised.value.code, raised.value.status) == ("InvalidRequestContentException", 400)
