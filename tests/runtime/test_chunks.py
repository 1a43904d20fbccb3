import array
import asyncio
import base64
import collections
import gzip
import io
import mmap
import os
import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.runtime import lazyio
from penstock.runtime.chunks import PIECE, Encoder, aiterate, iterate
from penstock.runtime.errors import RuntimeFault


def encoded(chunks, base64=False):
    encoder = Encoder(base64)
    parts = [bytes(encoder.encode(chunk, index)) for index, chunk in enumerate(chunks)]
    return [*parts, encoder.finish()]


class Text(str):
    pass


@pytest.mark.parametrize(
    ("chunk", "data"),
    [
        ("", b""),
        ("grüße", "grüße".encode()),
        (Text("a"), b"a"),
        (b"", b""),
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"abcd"), b"abcd"),
        (memoryview(b""), b""),
        (memoryview(b"abcdef")[::2], b"ace"),
        (memoryview(b"abcd").cast("H"), b"abcd"),
        (memoryview(b"abcdefgh").cast("B", (2, 4)), b"abcdefgh"),
        (memoryview(array.array("H", [1, 2]))[::-1], array.array("H", [2, 1]).tobytes()),
        (array.array("d", [1.5]), array.array("d", [1.5]).tobytes()),
        ({}, b"{}\n"),
        ({"a": "ü"}, '{"a":"ü"}\n'.encode()),
        ([1, None], b"[1,null]\n"),
        (collections.OrderedDict(a=Decimal("1.0")), b'{"a":1.0}\n'),
        ("x" * 1_000_000, b"x" * 1_000_000),
    ],
    ids=lambda case: repr(case)[:40],
)
def test_chunks(chunk, data):
    assert encoded([chunk]) == [data, b""]


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (None, "chunk 1 is of type NoneType, expected str, bytes, dict or list"),
        (5, "chunk 1 is of type int, expected str, bytes, dict or list"),
        ((1, 2), "chunk 1 is of type tuple, expected str, bytes, dict or list"),
        ({"a": object()}, "chunk 1: Object of type object is not JSON serializable"),
        ([float("nan")], "chunk 1: Out of range float values are not JSON compliant"),
        ("\ude00", "chunk 1: half of a surrogate pair, its other half did not follow"),
        ("a\ud83db", "chunk 1: half of a surrogate pair, its other half did not follow"),
    ],
    ids=lambda case: repr(case)[:40],
)
def test_chunks_that_cannot_be_sent(chunk, message):
    with pytest.raises(RuntimeFault) as error:
        encoded(["first", chunk])
    assert error.value.error_type == "Runtime.MarshalError"
    assert str(error.value).startswith(f"Unable to marshal response: {message}")


def test_a_released_view_is_refused():
    view = memoryview(b"a")
    view.release()
    with pytest.raises(RuntimeFault, match="chunk 0: operation forbidden on released memoryview"):
        encoded([view])


@pytest.mark.parametrize("wrap", [lambda b: b, memoryview, lambda b: memoryview(b).toreadonly()])
def test_buffers_that_may_change_are_copied(wrap):
    buffer = bytearray(b"before")
    data = Encoder().encode(wrap(buffer), 0)
    buffer[:] = b"after!"
    assert data == b"before"


def test_a_buffer_is_free_afterwards():
    buffer = bytearray(b"before")
    Encoder().encode(buffer, 0)
    buffer.append(1)
    with mmap.mmap(-1, 4) as mapped:
        mapped[:] = b"mmap"
        assert Encoder().encode(mapped, 0) == b"mmap"


def test_views_of_bytes_are_not_copied():
    data = b"x" * 100
    sent = Encoder().encode(memoryview(data)[10:], 0)
    assert isinstance(sent, memoryview)
    assert sent.obj is data


@pytest.mark.parametrize(
    "chunks",
    [
        ["a\ud83d", "\ude00b"],
        ["\ud83d", "", "\ude00"],
        ["a", "\ud83d\ude00", "b"],
        ["\ud83d", "\ude00\ud83d", "\ude00"],
        ["\ud83d", "\ude00", b"bytes", {"a": 1}],
    ],
)
def test_a_surrogate_pair_may_be_cut(chunks):
    text = "".join(chunk for chunk in chunks if isinstance(chunk, str))
    expected = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le").encode()
    assert b"".join(encoded(chunks)).startswith(expected)
    assert "😀".encode() in expected


@pytest.mark.parametrize("after", [["x"], ["\ud83d"], [b"\x80"], [{}], [None], [""], []])
def test_the_other_half_must_follow(after):
    with pytest.raises(RuntimeFault, match="half of a surrogate pair"):
        encoded(["\ud83d", *after])


@given(st.text(), st.integers(0, 2**32))
def test_any_cut_of_utf16_gives_the_same_text(text, seed):
    units = text.encode("utf-16-le")
    halves = [chr(int.from_bytes(units[i : i + 2], "little")) for i in range(0, len(units), 2)]
    cuts = random.Random(seed)
    chunks = [""]
    for half in halves:
        if cuts.random() < 0.5:
            chunks.append("")
        chunks[-1] += half
    assert b"".join(encoded(chunks)) == text.encode()


@given(
    st.lists(st.binary(max_size=9), max_size=6),
    st.integers(0, 2**32),
    st.sampled_from([str, bytes, bytearray]),
)
def test_base64_is_decoded_however_it_is_cut(parts, seed, kind):
    cuts = random.Random(seed)
    text = b"\r\n".join(base64.b64encode(part) for part in parts)
    chunks = []
    while text:
        size = cuts.randrange(6)
        chunks.append(text[:size].decode() if kind is str else kind(text[:size]))
        text = text[size:]
    assert b"".join(encoded(chunks, base64=True)) == b"".join(parts)


def test_base64_of_a_large_body_is_decoded_as_it_comes():
    encoder = Encoder(base64=True)
    data = os.urandom(3000)
    text = base64.b64encode(data)
    assert encoder.encode(text[:1001], 0) == data[:750]
    assert encoder.encode(memoryview(text)[1001:], 1) == data[750:]
    assert encoder.finish() == b""


@pytest.mark.parametrize(
    "chunks",
    [
        ["!!!!"],
        ["YQ-_"],
        ["Y=Q="],
        ["===="],
        ["YQ=", "a"],
        ["YWJj", "ü"],
        [{"a": 1}],
        [None],
        ["YWJ"],
        ["YWJj", "="],
    ],
    ids=repr,
)
def test_base64_that_is_none(chunks):
    with pytest.raises(RuntimeFault, match="base64"):
        encoded(chunks, base64=True)


class Source:
    """A file that records what becomes of it."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)
        self.closed = 0

    def read(self, size):
        assert size == PIECE
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece

    def close(self):
        self.closed += 1


class AsyncSource(Source):
    async def read(self, size):
        return super().read(size)


def test_generators_are_taken_as_they_are():
    body = (x for x in "ab")
    assert iterate(body) is body

    async def agenerator():
        yield 1

    abody = agenerator()
    assert aiterate(abody) is abody


@pytest.mark.parametrize("body", [iter("ab"), map(str, "ab"), (x for x in "ab")])
def test_every_iterator_can_be_closed(body):
    iterator = iterate(body)
    assert next(iterator) == "a"
    assert list(iterator) == ["b"]
    iterator.close()
    iterator.close()


def test_an_iterator_without_iter():
    class Bare:
        left = 2
        closed = False

        def __next__(self):
            if not self.left:
                raise StopIteration
            self.left -= 1
            return "x"

        def close(self):
            self.closed = True

    bare = Bare()
    iterator = iterate(bare)
    assert list(iterator) == ["x", "x"]
    iterator.close()
    assert bare.closed


def test_files_are_read_in_pieces_not_lines(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(b"line\n" * 30_000)
    for mode in ("rb", "r"):
        with open(path, mode) as file:
            pieces = list(iterate(file))
            assert [len(piece) for piece in pieces] == [PIECE, PIECE, 150_000 - 2 * PIECE]
    with path.open("rb", buffering=0) as file:
        assert [len(piece) for piece in iterate(file)] == [PIECE, PIECE, 150_000 - 2 * PIECE]


def test_what_a_pipe_has_comes_at_once():
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as file, os.fdopen(writing, "wb", 0) as sender:
        pieces = iterate(file)
        sender.write(b"first")
        assert next(pieces) == b"first"
        sender.write(b"second")
        assert next(pieces) == b"second"


def test_compressed_and_memory_files():
    data = os.urandom(200_000)
    assert b"".join(iterate(gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(data))))) == data
    assert b"".join(iterate(io.BytesIO(data))) == data
    assert list(iterate(io.StringIO("a\nb"))) == ["a\nb"]
    assert list(iterate(io.StringIO())) == []


def test_botocore_bodies():
    response = pytest.importorskip("botocore.response")
    raw = io.BytesIO(b"x" * 100_000)
    body = response.StreamingBody(raw, 100_000)
    pieces = iterate(body)
    assert [len(piece) for piece in pieces] == [PIECE, 100_000 - PIECE]
    pieces.close()
    assert raw.closed


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_a_file_is_closed_once_however_it_ends(taken):
    source = Source(b"a", bytearray(b"b"), "c")
    pieces = iterate(source)
    for _ in range(taken):
        next(pieces, None)
    pieces.close()
    pieces.close()
    assert source.closed == 1


def test_a_file_that_raises_is_closed():
    source = Source(b"a", OSError("disk"))
    pieces = iterate(source)
    assert next(pieces) == b"a"
    with pytest.raises(OSError, match="disk"):
        next(pieces)
    pieces.close()
    assert source.closed == 1


def test_a_close_that_raises_is_called_once():
    class Bad(Source):
        def close(self):
            super().close()
            raise OSError("cannot close")

    source = Bad()
    pieces = iterate(source)
    with pytest.raises(OSError, match="cannot close"):
        pieces.close()
    pieces.close()
    assert source.closed == 1


def test_a_file_without_close():
    class Endless:
        def read(self, size):
            return b"x"

    pieces = iterate(Endless())
    assert next(pieces) == b"x"
    pieces.close()


def test_a_read_that_has_to_be_awaited_is_refused():
    class Hidden:
        def __init__(self, source):
            self.read = lambda size: source.read(size)

    class Awaitable:
        def __await__(self):
            yield

    with pytest.raises(RuntimeFault, match="has to be awaited"):
        next(iterate(Hidden(AsyncSource())))
    with pytest.raises(RuntimeFault, match="has to be awaited"):
        next(iterate(Source(Awaitable())))


@pytest.mark.parametrize("piece", [None, 5, ["a"]])
def test_a_read_that_gives_nonsense_is_refused(piece):
    with pytest.raises(RuntimeFault, match=r"read\(\) of the body gave"):
        next(iterate(Source(piece)))


def test_a_lazy_file_is_iterated_chunk_by_chunk():
    chunks = ["a\nb", "", "c\n"]
    made = (chunk for chunk in chunks)
    iterator = iterate(lazyio.StringIO(made))
    assert iterator is made
    assert list(iterator) == chunks
    partly = lazyio.BytesIO(iter([b"abc", b"d"]))
    assert partly.read(1) == b"a"
    assert list(iterate(partly)) == [b"bc", b"d"]


async def collected(body):
    iterator = aiterate(body)
    chunks = [chunk async for chunk in iterator]
    await iterator.aclose()
    await iterator.aclose()
    return chunks


class AsyncIterable:
    def __init__(self, chunks):
        self.chunks = chunks

    async def __aiter__(self):
        for chunk in self.chunks:
            yield chunk


class AsyncIterator:
    closed = 0

    def __init__(self, chunks):
        self.chunks = iter(chunks)

    async def __anext__(self):
        try:
            return next(self.chunks)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self):
        self.closed += 1


class AsyncIteratorOfItself(AsyncIterator):
    aclose = None

    def __aiter__(self):
        return self


@pytest.mark.parametrize(
    "make",
    [
        AsyncIterable,
        AsyncIterator,
        AsyncIteratorOfItself,
        lambda chunks: AsyncIterable(chunks).__aiter__(),
        lambda chunks: AsyncSource(*chunks),
        lambda chunks: lazyio.StringIO(AsyncIterable(chunks).__aiter__()),
        lambda chunks: lazyio.StringIO(AsyncIterable(chunks)),
    ],
)
def test_async_bodies(make):
    assert asyncio.run(collected(make(["a", "b"]))) == ["a", "b"]
    assert asyncio.run(collected(make([]))) == []


@pytest.mark.parametrize("name", ["close", "aclose"])
@pytest.mark.parametrize("is_async", [True, False])
def test_an_async_file_is_closed_once(name, is_async):
    closed = []

    class File(AsyncSource):
        close = None

    async def aclose(self):
        closed.append(True)

    setattr(File, name, aclose if is_async else lambda self: closed.append(True))

    async def close_twice():
        iterator = aiterate(File(b"x"))
        assert await anext(iterator) == b"x"
        await iterator.aclose()
        await iterator.aclose()

    asyncio.run(close_twice())
    assert closed == [True]


def test_an_async_iterator_without_aiter_is_closed():
    body = AsyncIterator(["a"])
    assert asyncio.run(collected(body)) == ["a"]
    assert body.closed
