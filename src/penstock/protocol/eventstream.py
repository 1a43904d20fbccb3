"""The framing of InvokeWithResponseStream: application/vnd.amazon.eventstream.

    u32 total length | u32 length of headers | u32 CRC-32 of these 8 bytes
    headers: u8 length, name, u8 type, value …
    payload
    u32 CRC-32 of everything before it

Big-endian; `total length` counts all of it. Source: botocore/eventstream.py and
https://docs.aws.amazon.com/transcribe/latest/dg/event-stream.html. The events are those of
https://docs.aws.amazon.com/lambda/latest/api/API_InvokeWithResponseStream.html: PayloadChunk any number of
times, then InvokeComplete once.
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

from . import limits
from .call import Slice

CONTENT_TYPE = "application/vnd.amazon.eventstream"
MAX_PAYLOAD = limits.MIB  # of one PayloadChunk. botocore takes 24 MiB; AWS names no number

# What botocore takes.
_MAX_HEADERS = 128 * limits.KIB
_MAX_MESSAGE_PAYLOAD = 24 * limits.MIB

_PREFIX = struct.Struct(">II")
_CRC = struct.Struct(">I")
_U16 = struct.Struct(">H")
_OVERHEAD = 16  # both lengths and both checksums
_STRING = 7
_BYTES = 6
# Types of fixed size: true, false, 8, 16, 32 and 64 bit integers, timestamp, UUID.
_FIXED = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}


class EventStreamError(ValueError):
    """Bytes that are no event stream, or a header that does not fit in one."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message. Headers that are not strings are left out: Lambda sends none."""

    headers: dict[str, str]
    payload: bytes


def encode_message(headers: Sequence[tuple[str, str]], payload: Slice) -> bytes:
    """One message, its headers all strings."""
    return b"".join(_message(_encode_headers(headers), [payload], len(payload)))


def payload_chunk(slices: Sequence[Slice]) -> list[Slice]:
    """The pieces of one PayloadChunk event made of `slices`, which are not copied: ready for `writelines`.

    Over MAX_PAYLOAD they become several events; nothing at all becomes none.
    """
    total = sum(map(len, slices))
    if total <= MAX_PAYLOAD:
        return _message(_PAYLOAD_CHUNK, slices, total) if total else []
    pieces: list[Slice] = []
    event: list[Slice] = []
    room = MAX_PAYLOAD
    for data in slices:
        view = memoryview(data)
        while view:
            part = view[:room]
            view = view[room:]
            event.append(part)
            room -= len(part)
            if not room:
                pieces += _message(_PAYLOAD_CHUNK, event, MAX_PAYLOAD)
                event = []
                room = MAX_PAYLOAD
    if event:
        pieces += _message(_PAYLOAD_CHUNK, event, MAX_PAYLOAD - room)
    return pieces


def invoke_complete(error_code: str = "", error_details: str = "", log_result: str = "") -> bytes:
    """The last event. Clients take a present ErrorCode for a failure, so what is not set is left out."""
    members = (("ErrorCode", error_code), ("ErrorDetails", error_details), ("LogResult", log_result))
    document = {name: value for name, value in members if value}
    return b"".join(_message(_INVOKE_COMPLETE, [json.dumps(document).encode()]))


class Decoder:
    """Takes an event stream apart. `feed` it reads, however they are cut; call `end` at the end of file."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept = bytearray()

    def feed(self, data: Slice) -> list[Message]:
        """The messages that `data` completes. Raises EventStreamError; the stream is then lost."""
        messages: list[Message] = []
        kept = self._kept
        kept += data
        position = 0
        while len(kept) - position >= _OVERHEAD:
            total, headers_length = _PREFIX.unpack_from(kept, position)
            _check(kept, position, position + _PREFIX.size, "lengths")
            payload_length = total - headers_length - _OVERHEAD
            if payload_length < 0 or headers_length > _MAX_HEADERS or payload_length > _MAX_MESSAGE_PAYLOAD:
                raise EventStreamError(
                    f"expected headers of at most {_MAX_HEADERS} bytes and a payload of at most "
                    f"{_MAX_MESSAGE_PAYLOAD}, got {headers_length} and {payload_length}"
                )
            if len(kept) - position < total:
                break
            end = position + total - _CRC.size
            _check(kept, position, end, "message")
            payload_start = end - payload_length
            headers = _decode_headers(bytes(kept[payload_start - headers_length : payload_start]))
            messages.append(Message(headers, bytes(kept[payload_start:end])))
            position += total
        del kept[:position]
        return messages

    def end(self) -> None:
        """The stream has ended. Raises EventStreamError if that was within a message."""
        if self._kept:
            raise EventStreamError(
                f"expected a whole message, got the end after {len(self._kept)} bytes of it"
            )


def _message(headers: bytes, payload: Sequence[Slice], payload_length: int | None = None) -> list[Slice]:
    if payload_length is None:
        payload_length = sum(map(len, payload))
    lengths = _PREFIX.pack(len(headers) + payload_length + _OVERHEAD, len(headers))
    prefix = lengths + _CRC.pack(crc32(lengths)) + headers
    checksum = crc32(prefix)
    for data in payload:
        checksum = crc32(data, checksum)
    return [prefix, *payload, _CRC.pack(checksum)]


def _encode_headers(headers: Sequence[tuple[str, str]]) -> bytes:
    encoded = bytearray()
    for name_text, value_text in headers:
        name, value = name_text.encode(), value_text.encode()
        if not 0 < len(name) <= 0xFF or len(value) > 0xFFFF:
            raise EventStreamError(
                f"expected a header name of 1 to 255 bytes and a value of at most 65,535, "
                f"got {len(name)} and {len(value)}"
            )
        encoded += b"%c%b%c%b%b" % (len(name), name, _STRING, _U16.pack(len(value)), value)
    return bytes(encoded)


def _decode_headers(data: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    seen: set[str] = set()
    position = 0
    try:
        while position < len(data):
            name_end = position + 1 + data[position]
            name = data[position + 1 : name_end].decode()
            kind = data[name_end]
            start = name_end + 1
            if kind in (_STRING, _BYTES):
                (length,) = _U16.unpack_from(data, start)
                start += _U16.size
            else:
                length = _FIXED[kind]
            position = start + length
            if position > len(data):
                raise EventStreamError(f"expected a value of {length} bytes, got {len(data) - start}")
            if name in seen:
                raise EventStreamError(f"expected each header once, got {name!r} again")
            seen.add(name)
            if kind == _STRING:
                headers[name] = data[start:position].decode()
    except (IndexError, KeyError, struct.error, UnicodeDecodeError) as error:
        raise EventStreamError(f"expected headers, got {data[:40]!r}: {error!r}") from None
    return headers


def _check(data: bytearray, start: int, end: int, what: str) -> None:
    with memoryview(data) as view:
        computed = crc32(view[start:end])
    (sent,) = _CRC.unpack_from(data, end)
    if computed != sent:
        raise EventStreamError(f"expected checksum {computed:08x} of the {what}, got {sent:08x}")


def _event_headers(event_type: str, content_type: str) -> bytes:
    return _encode_headers(
        ((":message-type", "event"), (":event-type", event_type), (":content-type", content_type))
    )


_PAYLOAD_CHUNK = _event_headers("PayloadChunk", "application/octet-stream")
_INVOKE_COMPLETE = _event_headers("InvokeComplete", "application/json")
