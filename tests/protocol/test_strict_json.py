import json

import pytest

from penstock.protocol import strict_json


def test_what_the_standard_has() -> None:
    assert strict_json.loads(b'{"a": [1, 2.5, null, "\xc3\xa9"]}') == {"a": [1, 2.5, None, "é"]}


@pytest.mark.parametrize("text", [b"NaN", b"[Infinity]", b'{"a": -Infinity}'])
def test_what_only_python_has(text: bytes) -> None:
    json.loads(text)
    with pytest.raises(ValueError, match="is no JSON value"):
        strict_json.loads(text)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", "{}".encode("utf-16")])
def test_what_is_none(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        strict_json.loads(text)


def test_what_is_nested_too_deeply() -> None:
    with pytest.raises(RecursionError):
        strict_json.loads(b"[" * 200_000)
