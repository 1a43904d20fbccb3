"""`io.StringIO(generator)` and `io.BytesIO(generator)`: files whose content is made as it is read.

    import io

    def lambda_handler(event, context):
        return {"statusCode": 200, "body": io.StringIO(lines())}

Only the handler's own module sees them: it gets `__builtins__` of its own, whose `__import__` answers
`import io` and `from io import …`, wherever they stand in it, with a copy of `io` in which these two names
are replaced. Every other module keeps the genuine classes. Given anything but an iterator they make objects
of the genuine classes; isinstance, issubclass, ==, hash and subclassing are those of the genuine classes.

What is different: `type(x) is io.StringIO` is False (`==` is True); a subclass cannot also have a metaclass
of its own; `importlib.import_module("io")` and `sys.modules["io"]` give the genuine module; names that are
put into `builtins` after the handler's module was loaded are not seen by it.
"""

from __future__ import annotations

import builtins
import io
from abc import ABCMeta
from collections.abc import Mapping, Sequence
from types import ModuleType

TYPE_CHECKING = False  # as in `typing`, which is dear to import
if TYPE_CHECKING:
    from typing import Any


def install(namespace: dict[str, Any]) -> None:
    """Make the module that will run in `namespace` see the lazy classes."""
    namespace["__builtins__"] = {**vars(builtins), "__import__": import_for_handler}


def import_for_handler(
    name: str,
    globals: Mapping[str, object] | None = None,
    locals: Mapping[str, object] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """`__import__` of the handler's module."""
    if name == "io" and level == 0:
        return _lazy_io()
    # Looked up at each call: tools that replace `__import__` are respected.
    return builtins.__import__(name, globals, locals, fromlist or (), level)


_copy: ModuleType | None = None


def _lazy_io() -> ModuleType:
    global _copy
    if _copy is None:
        copy = ModuleType("io")
        vars(copy).update(vars(io), StringIO=StringIO, BytesIO=BytesIO)
        _copy = copy
    return _copy


class AsyncReader(io.IOBase):
    """`io.StringIO(async generator)`: chunk by chunk, by `async for` alone."""

    def __init__(self, source: Any) -> None:
        self._source = source.__aiter__()

    def chunks(self) -> Any:
        """What is to be streamed: the async iterator itself."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        return self._source

    def __aiter__(self) -> AsyncReader:
        return self

    async def __anext__(self) -> Any:
        return await self.chunks().__anext__()

    async def aclose(self) -> None:
        """Close the generator too. Does nothing the second time."""
        if not self.closed:
            self.close()
            aclose = getattr(self._source, "aclose", None)
            if aclose is not None:
                await aclose()

    def read(self, size: int | None = -1, /) -> Any:
        raise io.UnsupportedOperation("read: the chunks come from an async generator; use `async for`")

    def readline(self, size: int | None = -1, /) -> Any:
        self.read()


class Reader(io.IOBase):
    """What is common to the two lazy readers. Iterating gives the chunks as they are made, not lines."""

    _empty: Any  # "" or b""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._held = self._empty  # made, but not read yet

    def chunks(self) -> Any:
        """What is to be streamed: the iterator itself, if nothing was read of it. The reader has no more."""
        self._check()
        if self._held:
            return self
        # Let go of it: a reader that is dropped closes what it has.
        source, self._source = self._source, iter(())
        return source

    def __iter__(self) -> Any:
        self._check()
        return self

    def __next__(self) -> Any:
        self._check()
        if self._held:
            chunk, self._held = self._held, self._empty
            return chunk
        return next(self._source)

    def read(self, size: int | None = -1, /) -> Any:
        """Everything, or `size` characters or bytes, fewer only at the end."""
        self._check()
        if size is None or size < 0:
            self._fill(lambda chunk, length: False)
            size = len(self._held)
        elif len(self._held) < size:
            self._fill(lambda chunk, length: length >= size)
        return self._take(size)

    def readline(self, size: int | None = -1, /) -> Any:
        self._check()
        newline = "\n" if isinstance(self._empty, str) else b"\n"
        limit = -1 if size is None else size
        if newline not in self._held and not 0 <= limit <= len(self._held):
            self._fill(lambda chunk, length: newline in chunk or 0 <= limit <= length)
        end = self._held.find(newline) + 1 or len(self._held)
        return self._take(end if limit < 0 else min(end, limit))

    def readlines(self, hint: int | None = -1, /) -> Any:
        lines: list[Any] = []
        total = 0
        while (hint is None or hint <= 0 or total < hint) and (line := self.readline()):
            lines.append(line)
            total += len(line)
        return lines

    def readable(self) -> bool:
        self._check()
        return True

    def close(self) -> None:
        """Close the generator too. Does nothing the second time."""
        if not self.closed:
            super().close()
            self._held = self._empty
            close = getattr(self._source, "close", None)
            if close is not None:
                close()

    def getvalue(self) -> Any:
        raise io.UnsupportedOperation("getvalue: the chunks come from a generator, and are not kept")

    def _check(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def _fill(self, enough: Any) -> None:
        """Hold more, until `enough(last chunk, length held)`."""
        parts = [self._held]
        length = len(self._held)
        try:
            for chunk in self._source:
                part = self._part(chunk)
                parts.append(part)
                length += len(part)
                if enough(part, length):
                    break
        finally:  # what was made before the generator raised is not lost
            self._held = self._empty.join(parts)

    def _take(self, size: int) -> Any:
        taken, self._held = self._held[:size], self._held[size:]
        return taken

    def _part(self, chunk: Any) -> Any:
        raise NotImplementedError


class TextReader(Reader, io.TextIOBase):
    """`io.StringIO(generator)`. Newlines are left as they are."""

    _empty = ""

    def _part(self, chunk: Any) -> str:
        if isinstance(chunk, str):
            return chunk
        raise TypeError(f"io.StringIO: expected the generator to give str, got {type(chunk).__name__}")


class BytesReader(Reader, io.BufferedIOBase):
    """`io.BytesIO(generator)`."""

    _empty = b""

    def read1(self, size: int = -1, /) -> bytes:
        """The next chunk that is not empty, or what was left of the last one."""
        self._check()
        if not self._held:
            self._fill(lambda chunk, length: length > 0)
        return self._take(size if size >= 0 else len(self._held))  # type: ignore[no-any-return]

    def _part(self, chunk: Any) -> bytes:
        if isinstance(chunk, bytes | bytearray | memoryview):
            return bytes(chunk)
        raise TypeError(f"io.BytesIO: expected the generator to give bytes, got {type(chunk).__name__}")


def _is_buffer(value: Any) -> bool:
    try:
        memoryview(value)
    except TypeError:
        return False
    return True


class _Replaced(ABCMeta):
    """The type of the two replaced classes. From ABCMeta, so that `class X(io.BytesIO, ABC)` is allowed."""

    _genuine: Any
    _reader: Any
    _covers: tuple[type, ...]
    _argument: str  # the name of the first argument

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> Any:
        # A subclass is a subclass of the genuine class, and nothing of it is ours.
        genuine = tuple(base._genuine if isinstance(base, _Replaced) else base for base in bases)
        return type(name, genuine, namespace, **options)

    def __call__(cls, *args: Any, **options: Any) -> Any:
        source = args[0] if args else options.get(cls._argument)
        kind = type(source)
        if kind is not str and kind is not bytes:
            if hasattr(kind, "__next__") and not _is_buffer(source):
                return cls._reader(source)
            if hasattr(kind, "__aiter__"):
                return AsyncReader(source)
        return cls._genuine(*args, **options)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls._covers)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls._covers)

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is cls._genuine

    def __hash__(cls) -> int:
        return hash(cls._genuine)


def _replaced(genuine: type, reader: type[Reader], argument: str) -> Any:
    namespace = {"__module__": "io", "__doc__": genuine.__doc__, "__slots__": ()}
    replaced = ABCMeta.__new__(_Replaced, genuine.__name__, (genuine,), namespace)
    replaced._genuine, replaced._reader, replaced._argument = genuine, reader, argument
    replaced._covers = (genuine, reader, AsyncReader)
    return replaced


StringIO = _replaced(io.StringIO, TextReader, "initial_value")
BytesIO = _replaced(io.BytesIO, BytesReader, "initial_bytes")
