"""Code as a file, as fast as it is read and no faster."""

import base64
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from api_kit import Counter
from penstock.service.api.download import Download, check_location, code_location
from penstock.service.api.errors import ApiError

MIB = 1024 * 1024


def asked(path: Path, rest: str = "x") -> Counter:
    counter = Counter(presigned={"code": lambda name, query, writer: Download(writer, path)})
    counter.send("GET", f"/_penstock/code/{rest}")
    return counter


def body(counter: Counter) -> bytes:
    return counter.wire.sent.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 64 * 1024 + 1, 3 * MIB])
def test_a_file_is_sent_whole(tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "a.zip").write_bytes(content[:size])
    counter = asked(tmp_path / "a.zip")
    assert counter.status == 200
    assert counter.headers["Content-Type"] == "application/zip"
    assert counter.headers["Content-Length"] == str(size)
    assert body(counter) == content[:size]


def test_a_slow_reader_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(bytes(3 * MIB))
    counter = Counter(presigned={"code": lambda name, query, writer: Download(writer, tmp_path / "a.zip")})
    write = counter.wire.write

    def full(data: bytes) -> None:
        write(data)
        counter.connection.pause_writing()

    counter.wire.write = full  # type: ignore[method-assign]
    counter.send("GET", "/_penstock/code/x")
    sent = len(body(counter))
    assert 0 < sent < MIB
    counter.connection.resume_writing()
    assert sent < len(body(counter)) < MIB
    counter.wire.write = write  # type: ignore[method-assign]
    counter.connection.resume_writing()
    assert len(body(counter)) == 3 * MIB


def test_who_leaves_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(bytes(3 * MIB))
    counter = Counter(presigned={"code": lambda name, query, writer: Download(writer, tmp_path / "a.zip")})
    counter.wire.write = lambda data: counter.connection.pause_writing()  # type: ignore[method-assign]
    counter.send("GET", "/_penstock/code/x")
    counter.leave()
    assert not counter.errors  # an open file that is collected is a warning, and a warning is an error


def test_what_is_gone_is_not_found(tmp_path: Path) -> None:
    for path in (None, tmp_path / "gone.zip"):
        with pytest.raises(ApiError, match="there is no such code any more"):
            Download(None, path)  # type: ignore[arg-type]


def test_addresses_of_code_end_and_cannot_be_made_up() -> None:
    sha256 = base64.b64encode(bytes(32)).decode()
    address = urlsplit(code_location("", sha256, 1000.0))
    assert address.netloc == "localhost"
    digest, query = address.path.rpartition("/")[2], parse_qs(address.query)
    assert check_location(digest, query, 1600.0) == sha256
    for wrong, at in [
        ((digest, query), 1601.0),
        ((digest, {**query, "token": ["0" * 64]}), 1000.0),
        ((digest, {**query, "token": ["é"]}), 1000.0),
        ((digest, {**query, "expires": ["9999"]}), 1000.0),
        ((digest, {**query, "expires": ["9" * 5000]}), 1000.0),
        ((digest, {}), 1000.0),
        (("1" * 64, query), 1000.0),
        (("../secret", query), 1000.0),
    ]:
        with pytest.raises(ApiError) as caught:
            check_location(*wrong, at)
        assert caught.value.status in (403, 404)
