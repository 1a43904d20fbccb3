import asyncio
import copy
import functools
import importlib.util
import io
import pickle
import subprocess
import sys
from abc import ABC

import pytest

from penstock.runtime import lazyio
from penstock.runtime.lazyio import BytesIO, StringIO

PAIRS = [(StringIO, io.StringIO, ""), (BytesIO, io.BytesIO, b"")]
both = pytest.mark.parametrize(("replaced", "genuine", "empty"), PAIRS, ids=["StringIO", "BytesIO"])


def text(empty, string):
    return string if empty == "" else string.encode()


# Given anything but an iterator.


@both
def test_objects_are_genuine(replaced, genuine, empty):
    made = replaced(text(empty, "a\nb"))
    assert type(made) is genuine
    assert type(made) == replaced  # noqa: E721
    assert replaced == type(made)  # noqa: E721
    assert isinstance(made, replaced)
    assert isinstance(genuine(), replaced)
    assert not isinstance(object(), replaced)
    assert list(made) == [text(empty, "a\n"), text(empty, "b")]
    assert type(replaced()) is genuine


@both
def test_the_class_stands_for_the_genuine_one(replaced, genuine, empty):
    assert issubclass(genuine, replaced)
    assert issubclass(replaced, genuine)
    assert issubclass(replaced, io.IOBase)
    assert not issubclass(int, replaced)
    assert {replaced: 1}[genuine] == {genuine: 1}[replaced] == 1
    assert replaced != io.FileIO
    assert replaced.__name__ == genuine.__name__
    assert replaced.__doc__ == genuine.__doc__
    assert isinstance(None, replaced | None)
    assert replaced.read(genuine(text(empty, "x"))) == text(empty, "x")
    made = replaced(text(empty, "x"))
    assert type(pickle.loads(pickle.dumps(made))) is genuine
    assert copy.copy(made).getvalue() == made.getvalue()


@both
def test_a_subclass_is_one_of_the_genuine_class(replaced, genuine, empty):
    class Mine(replaced):
        def __init__(self, *args, extra=None):
            super().__init__(*args)
            self.extra = extra

    assert Mine.__mro__[1] is genuine
    assert type(Mine) is type
    made = Mine(text(empty, "a"), extra=5)
    assert (type(made), made.extra, made.getvalue()) == (Mine, 5, text(empty, "a"))
    assert isinstance(made, replaced)
    with pytest.raises(TypeError):
        Mine(iter([]))

    class Abstract(replaced, ABC):
        pass

    assert isinstance(Abstract(), ABC)


def test_singledispatch_and_match():
    @functools.singledispatch
    def kind(value):
        return "other"

    kind.register(StringIO, lambda value: "text")
    assert kind(io.StringIO()) == "text"
    match io.BytesIO():
        case BytesIO():
            pass
        case _:
            raise AssertionError("not matched")


@both
@pytest.mark.parametrize("argument", [5, [], ["a"], object()])
def test_other_arguments_are_refused_as_before(replaced, genuine, empty, argument):
    with pytest.raises(TypeError) as expected:
        genuine(argument)
    with pytest.raises(TypeError) as given:
        replaced(argument)
    assert str(given.value) == str(expected.value)


def test_arguments_by_name():
    assert StringIO(initial_value="a", newline="\r\n").read() == "a"
    assert BytesIO(initial_bytes=b"a").read() == b"a"
    assert StringIO(initial_value=iter(["a"])).read() == "a"
    assert BytesIO(initial_bytes=iter([b"a"])).read() == b"a"


def test_an_iterator_that_is_a_buffer_is_a_buffer():
    class Both(bytearray):
        def __next__(self):
            raise AssertionError("it was taken for an iterator")

    assert BytesIO(Both(b"ab")).getvalue() == b"ab"


CPYTHONS_TESTS = """
import io, sys, unittest
from penstock.runtime import lazyio
io.StringIO, io.BytesIO = lazyio.StringIO, lazyio.BytesIO
import test.test_memoryio as tests
assert tests.io.StringIO is lazyio.StringIO
unittest.main(tests, argv=["test_memoryio"])
"""


def test_cpythons_own_tests_pass():
    if importlib.util.find_spec("test.test_memoryio") is None:
        pytest.skip("this Python was installed without its tests (the package `test`)")
    done = subprocess.run([sys.executable, "-c", CPYTHONS_TESTS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "OK" in done.stderr


# Given an iterator.


class Made:
    """A generator that records what becomes of it."""

    def __init__(self, *chunks):
        self.chunks = chunks
        self.made = 0
        self.closed = 0

    def __iter__(self):
        try:
            for chunk in self.chunks:
                if isinstance(chunk, Exception):
                    raise chunk
                self.made += 1
                yield chunk
        finally:
            self.closed += 1


@both
def test_reads_no_more_than_is_asked_for(replaced, genuine, empty):
    made = Made(*(text(empty, chunk) for chunk in ["ab", "", "cd", "ef"]))
    reader = replaced(iter(made))
    assert isinstance(reader, replaced)
    assert not isinstance(reader, genuine)
    assert made.made == 0
    assert reader.read(0) == empty
    assert made.made == 0
    assert reader.read(1) == text(empty, "a")
    assert made.made == 1
    assert reader.read(2) == text(empty, "bc")
    assert made.made == 3
    assert reader.read() == text(empty, "def")
    assert reader.read() == reader.read(5) == empty
    reader.close()


@both
def test_lines(replaced, genuine, empty):
    chunks = [text(empty, chunk) for chunk in ["a", "b\nc", "\n\n", "end"]]
    lines = [text(empty, line) for line in ["ab\n", "c\n", "\n", "end"]]
    reader = replaced(iter(chunks))
    assert [reader.readline() for _ in range(5)] == [*lines, empty]
    assert replaced(iter(chunks)).readlines() == lines
    assert replaced(iter(chunks)).readlines(4) == lines[:2]
    reader = replaced(iter(chunks))
    assert reader.readline(0) == empty
    assert reader.readline(1) == text(empty, "a")
    assert reader.readline(10) == text(empty, "b\n")
    assert reader.readline(1) == text(empty, "c")
    assert reader.readline(1) == text(empty, "\n")


@both
def test_iterating_gives_the_chunks_as_they_are_made(replaced, genuine, empty):
    chunks = [text(empty, chunk) for chunk in ["a\nb", "", "c"]]
    reader = replaced(iter(chunks))
    assert next(reader) == chunks[0]
    assert list(reader) == chunks[1:]
    reader = replaced(iter(chunks))
    assert reader.read(1) == text(empty, "a")
    assert list(reader) == [text(empty, "\nb"), *chunks[1:]]


@both
def test_closing_closes_the_generator(replaced, genuine, empty):
    made = Made(text(empty, "ab"), text(empty, "c"))
    with replaced(iter(made)) as reader:
        assert reader.readable()
        assert not reader.writable()
        assert not reader.seekable()
        assert reader.read(1) == text(empty, "a")
        assert not reader.closed
    assert reader.closed
    assert made.closed == 1
    reader.close()
    assert made.closed == 1
    for use in (reader.read, reader.readline, reader.readable, reader.chunks, lambda: next(reader)):
        with pytest.raises(ValueError, match="closed file"):
            use()


@both
def test_what_it_cannot_do(replaced, genuine, empty):
    reader = replaced(iter([]))
    for use in (reader.getvalue, reader.tell, lambda: reader.seek(0), lambda: reader.write(empty)):
        with pytest.raises(io.UnsupportedOperation):
            use()


def test_what_was_made_before_an_error_is_not_lost():
    reader = StringIO(iter(Made("ab", "c", KeyError("x"))))
    with pytest.raises(KeyError):
        reader.read()
    assert reader.read() == "abc"


def test_a_generator_whose_close_raises():
    def stubborn():
        try:
            yield "a"
        finally:
            raise OSError("no")

    reader = StringIO(stubborn())
    assert reader.read(1) == "a"
    with pytest.raises(OSError, match="no"):
        reader.close()
    assert reader.closed
    reader.close()


def test_the_type_of_chunks_is_checked_when_joined():
    with pytest.raises(TypeError, match=r"io\.StringIO: expected the generator to give str, got bytes"):
        StringIO(iter([b"a"])).read()
    with pytest.raises(TypeError, match=r"io\.BytesIO: expected the generator to give bytes, got str"):
        BytesIO(iter(["a"])).read()
    assert BytesIO(iter([bytearray(b"a"), memoryview(b"b")])).read() == b"ab"


def test_read1_and_readinto():
    reader = BytesIO(iter([b"", b"abc", b"d"]))
    assert reader.read1(2) == b"ab"
    assert reader.read1(-1) == b"c"
    buffer = bytearray(4)
    assert reader.readinto(buffer) == 1
    assert reader.read1() == b""


def test_a_dropped_reader_does_not_close_what_it_has_handed_over():
    made = Made("a", "b")
    chunks = StringIO(iter(made)).chunks()
    assert list(chunks) == ["a", "b"]
    reader = StringIO(iter(Made("a")))
    reader.chunks()
    assert reader.read() == ""
    reader.close()


def test_a_dropped_reader_closes_its_generator():
    made = Made("a", "b")
    reader = StringIO(iter(made))
    next(reader)
    del reader
    assert made.closed == 1


def test_files_are_iterators_too(tmp_path):
    (tmp_path / "f").write_bytes(b"a\nb")
    with open(tmp_path / "f", "rb") as file:
        assert BytesIO(file).read() == b"a\nb"


@both
def test_async_generators(replaced, genuine, empty):
    closed = []

    async def agenerator():
        try:
            yield text(empty, "a")
            yield text(empty, "b")
        finally:
            closed.append(True)

    async def use():
        reader = replaced(agenerator())
        assert isinstance(reader, replaced)
        assert [chunk async for chunk in reader] == [text(empty, "a"), text(empty, "b")]
        await reader.aclose()
        reader = replaced(agenerator())
        assert await anext(reader) == text(empty, "a")
        for read in (reader.read, reader.readline):
            with pytest.raises(io.UnsupportedOperation, match="async for"):
                read()
        await reader.aclose()
        await reader.aclose()
        assert reader.closed
        with pytest.raises(ValueError, match="closed file"):
            reader.chunks()
        with pytest.raises(ValueError, match="closed file"):
            await anext(reader)

    asyncio.run(use())
    assert len(closed) == 2


def test_an_async_iterable_that_cannot_be_closed():
    class Bare:
        def __aiter__(self):
            return self

        async def __anext__(self):
            return "a"

    async def use():
        reader = StringIO(Bare())
        assert await anext(reader) == "a"
        await reader.aclose()
        assert reader.closed

    asyncio.run(use())


# Installed in a module.


SOURCE = """
import io
import io as renamed
import os, io
import csv
from io import BytesIO as B, StringIO
from io import *

def inside():
    import io
    from io import StringIO
    return io.StringIO, StringIO

class Inside:
    import io

def others():
    import importlib
    import os.path
    from os.path import join
    from . import missing
"""


@pytest.fixture
def module():
    namespace = {"__name__": "module", "__package__": ""}
    lazyio.install(namespace)
    exec(SOURCE, namespace)  # noqa: S102
    return namespace


def test_every_import_statement_of_the_module_is_covered(module):
    assert module["io"].StringIO is module["renamed"].StringIO is module["StringIO"] is StringIO
    assert module["B"] is module["BytesIO"] is module["io"].BytesIO is BytesIO
    assert module["inside"]() == (StringIO, StringIO)
    assert module["inside"]()[0] is StringIO
    assert module["Inside"].io.StringIO is StringIO
    assert module["io"].TextIOWrapper is io.TextIOWrapper
    assert module["io"].__name__ == "io"
    assert module["io"].__spec__ is io.__spec__
    assert module["renamed"] is module["io"]


def test_nothing_else_is(module):
    assert type(io.StringIO) is type
    assert sys.modules["io"].StringIO is io.StringIO
    assert module["csv"].__builtins__ is not module["__builtins__"]
    assert __import__("io").StringIO is io.StringIO
    with pytest.raises(ImportError):
        module["others"]()
    assert module["__builtins__"]["len"] is len


def test_a_replaced_import_is_respected(module, monkeypatch):
    names = []
    genuine = __import__

    def recording(name, *args):
        names.append(name)
        return genuine(name, *args)

    monkeypatch.setattr("builtins.__import__", recording)
    with pytest.raises(ImportError):
        module["others"]()
    assert "importlib" in names
