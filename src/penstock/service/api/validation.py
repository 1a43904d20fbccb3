"""What requests may hold, and AWS's words for what they may not. Pure.

A shape is a table of members, each with its kind; `read` takes from a request what the table names. What is
of another JSON type is a SerializationException about the first such member; what breaks constraints is one
ValidationException about all of them. Members that are null count as absent, unknown ones are ignored.

Source: AWS's model of Lambda (https://docs.aws.amazon.com/lambda/latest/api/API_Operations.html), and the
texts as AWS answers them.
"""

import base64
import binascii
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from penstock.service.names import validation_message

from .errors import VALIDATION, ApiError
from .request import ApiRequest, Document

_NULL = "Member must not be null"
_LIST = "Start of list found where not expected"
_STRUCTURE = "Start of structure or map found where not expected."
_NO_BASE64 = "Blob is not Base64"
_NO_TEXT = "Text is not Unicode: a surrogate stands alone"
_PIECE = 1 << 18  # characters of Base64 that are decoded at once: a multiple of 4
_SHOWN = 1024  # characters of a value that an error repeats; ours

# Python has no \p: letters, marks of no kind, numbers; and all separators, which \s is not.
_JAVA = r"\p{L}\p{Z}\p{N}"
_OURS = r"\w \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"


@dataclass(frozen=True, slots=True)
class Text:
    """A string."""

    least: int | None = None  # characters
    most: int | None = None
    pattern: str = ""  # all of it matches, as Java sees it
    enum: tuple[str, ...] = ()
    secret: bool = False  # errors do not repeat it

    def read(self, value: Any) -> str:
        if not isinstance(value, str):
            raise _unexpected(value, "a String")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _serialization(_NO_TEXT) from None
        return value

    def constraints(self) -> Iterator[str]:
        yield from _lengths(self.least, self.most)
        if self.enum:
            yield f"Member must satisfy enum value set: [{', '.join(self.enum)}]"
            yield _NULL
        if self.pattern:
            yield f"Member must satisfy regular expression pattern: {self.pattern}"

    def broken(self, value: str, at: str) -> Iterator[str]:
        shown = "" if self.secret else f" '{value}'"
        for text in _broken_lengths(len(value), self.least, self.most):
            yield _error(shown, at, text)
        if self.enum and value not in self.enum:
            yield _error(shown, at, f"Member must satisfy enum value set: [{', '.join(self.enum)}]")
        if self.pattern and not _compiled(self.pattern).fullmatch(value):
            yield _error(shown, at, f"Member must satisfy regular expression pattern: {self.pattern}")


@dataclass(frozen=True, slots=True)
class Number:
    """An integer, or with `double` any number. AWS cuts off what is behind an integer's point."""

    least: float | None = None
    most: float | None = None
    double: bool = False

    def read(self, value: Any) -> float:
        wanted = "a Double" if self.double else "an Integer"
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _unexpected(value, wanted)
        if not abs(value) <= 2**63:  # nor is NaN
            raise _serialization(f"NUMBER_VALUE can not be converted to {wanted}")
        return float(value) if self.double else int(value)

    def constraints(self) -> Iterator[str]:
        if self.most is not None:
            yield f"Member must have value less than or equal to {self.most}"
        if self.least is not None:
            yield f"Member must have value greater than or equal to {self.least}"
        yield _NULL

    def broken(self, value: float, at: str) -> Iterator[str]:
        if self.most is not None and value > self.most:
            yield _error(f" '{value}'", at, f"Member must have value less than or equal to {self.most}")
        if self.least is not None and value < self.least:
            yield _error(f" '{value}'", at, f"Member must have value greater than or equal to {self.least}")


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false."""

    def read(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise _unexpected(value, "a Boolean")
        return value

    def constraints(self) -> Iterator[str]:
        yield _NULL

    def broken(self, value: bool, at: str) -> Iterator[str]:
        yield from ()


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes, as Base64."""

    def read(self, value: Any) -> bytes:
        if not isinstance(value, str):
            raise _unexpected(value, "a Blob")
        return self.decode(value.encode(errors="replace"))

    def decode(self, text: bytes | memoryview) -> bytes:
        """What `text` is the Base64 of. Raises ApiError.

        Piece by piece: in one, 50 MB would keep every other thread waiting for a third of a second.
        """
        decoded = []
        piece = b""
        for start in range(0, len(text), _PIECE):
            if piece.endswith(b"="):
                raise _serialization(_NO_BASE64)
            piece = bytes(text[start : start + _PIECE])
            try:
                decoded.append(base64.b64decode(piece, validate=True))
            except binascii.Error:
                raise _serialization(_NO_BASE64) from None
        return b"".join(decoded)

    def constraints(self) -> Iterator[str]:
        yield _NULL

    def broken(self, value: bytes, at: str) -> Iterator[str]:
        yield from ()


@dataclass(frozen=True, slots=True)
class Items:
    """A list, all of whose members are of one kind."""

    member: "Kind"
    least: int | None = None
    most: int | None = None

    def read(self, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise _serialization(_STRUCTURE if isinstance(value, dict) else "Expected list or null")
        return [self.member.read(each) for each in value if each is not None]

    def constraints(self) -> Iterator[str]:
        yield from _lengths(self.least, self.most)

    def broken(self, value: list[Any], at: str) -> Iterator[str]:
        shown = f" '[{', '.join(_shown(each) for each in value)}]'"
        for text in _broken_lengths(len(value), self.least, self.most):
            yield _error(shown, at, text)
        if isinstance(self.member, Structure):
            for number, each in enumerate(value, 1):
                yield from self.member.broken(each, f"{at}.{number}.member")
        elif any(any(self.member.broken(each, at)) for each in value):
            rules = ", ".join(self.member.constraints())
            yield _error(shown, at, f"Member must satisfy constraint: [{rules}]")


@dataclass(frozen=True, slots=True)
class Map:
    """An object whose keys are free, all of one kind, as its values are."""

    key: Text
    value: "Kind"
    least: int | None = None
    most: int | None = None
    secret: bool = False

    def read(self, value: Any) -> Document:
        if not isinstance(value, dict):
            raise _serialization(_LIST if isinstance(value, list) else "Expected map or null")
        return {
            self.key.read(name): self.value.read(each) for name, each in value.items() if each is not None
        }

    def constraints(self) -> Iterator[str]:
        yield from _lengths(self.least, self.most)

    def broken(self, value: Document, at: str) -> Iterator[str]:
        pairs = ", ".join(f"{name}={_shown(each)}" for name, each in value.items())
        shown = "" if self.secret else f" '{{{pairs}}}'"
        for text in _broken_lengths(len(value), self.least, self.most):
            yield _error(shown, at, text)
        if any(any(self.key.broken(name, at)) for name in value):
            rules = ", ".join(self.key.constraints())
            yield _error(shown, at, f"Map keys must satisfy constraint: [{rules}]")
        if isinstance(self.value, Structure):
            for name, each in value.items():
                yield from self.value.broken(each, f"{at}.{name}.member")
        elif any(any(self.value.broken(each, at)) for each in value.values()):
            rules = ", ".join(self.value.constraints())
            yield _error(shown, at, f"Map value must satisfy constraint: [{rules}]")


@dataclass(frozen=True, slots=True)
class Structure:
    """An object with known members."""

    members: Mapping[str, "Kind"] = field(default_factory=dict)
    required: Collection[str] = ()

    def read(self, value: Any) -> Document:
        if not isinstance(value, dict):
            raise _serialization(_LIST if isinstance(value, list) else "Expected null")
        return {
            name: kind.read(value[name]) for name, kind in self.members.items() if value.get(name) is not None
        }

    def constraints(self) -> Iterator[str]:
        yield _NULL

    def broken(self, value: Document, at: str = "") -> Iterator[str]:
        for name, kind in self.members.items():
            path = f"{at}.{_member(name)}" if at else _member(name)
            if name in value:
                yield from kind.broken(value[name], path)
            elif name in self.required:
                yield _error(" null", path, _NULL)


Kind = Text | Number | Flag | Blob | Items | Map | Structure


def read(request: ApiRequest, shape: Structure, *, query: Collection[str] = ()) -> Document:
    """The members of `shape` that a request has, each as its kind reads it. Raises ApiError.

    Members come from the path if it has them, from the query if `query` names them, else from the body.
    """
    document: Document = {}
    body = {
        name: kind for name, kind in shape.members.items() if name not in request.path and name not in query
    }
    if body:
        document.update(Structure(body).read(request.json()))
    for name, kind in shape.members.items():
        if name in request.path:
            document[name] = request.path[name]
        elif name in query and name in request.query:
            document[name] = _from_query(request.query[name], kind)
    check(document, shape)
    return document


def check(document: Document, shape: Structure) -> None:
    """Raises ApiError if a document that `shape` has read breaks its constraints."""
    errors = list(shape.broken(document))
    if errors:
        raise ApiError(VALIDATION, validation_message(errors))


def constraint_error(name: str, value: str, rule: str) -> str:
    """AWS's text about one member, for rules that are in no model."""
    return validation_message([_error(f" '{value}'", _member(name), rule)])


def _from_query(values: list[str], kind: Kind) -> Any:
    if isinstance(kind, Items):
        return kind.read(values)
    value = values[0]
    if isinstance(kind, Number):
        try:
            return kind.read(float(value) if kind.double else int(value))
        except ValueError:
            raise _unexpected(value, "an Integer") from None
    if isinstance(kind, Flag):
        return value == "true"
    return kind.read(value)


def _error(value: str, at: str, rule: str) -> str:
    if len(value) > _SHOWN:
        value = f"{value[:_SHOWN]}…'"
    return f"Value{value} at '{at}' failed to satisfy constraint: {rule}"


def _member(name: str) -> str:
    return name[:1].lower() + name[1:]


def _shown(value: Any) -> str:
    return str(value) if not isinstance(value, bool) else str(value).lower()


def _lengths(least: int | None, most: int | None) -> Iterator[str]:
    if most is not None:
        yield f"Member must have length less than or equal to {most}"
    if least is not None:
        yield f"Member must have length greater than or equal to {least}"


def _broken_lengths(length: int, least: int | None, most: int | None) -> Iterator[str]:
    if most is not None and length > most:
        yield f"Member must have length less than or equal to {most}"
    if least is not None and length < least:
        yield f"Member must have length greater than or equal to {least}"


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    if _JAVA in pattern:
        return re.compile(pattern.replace(_JAVA, _OURS))
    return re.compile(pattern, re.ASCII)


def _unexpected(value: Any, wanted: str) -> ApiError:
    if isinstance(value, list):
        return _serialization(_LIST)
    if isinstance(value, dict):
        return _serialization(_STRUCTURE)
    kind = str(value).upper() if isinstance(value, bool) else "STRING" if isinstance(value, str) else "NUMBER"
    return _serialization(f"{kind}_VALUE can not be converted to {wanted}")


def _serialization(message: str) -> ApiError:
    return ApiError("SerializationException", message)
