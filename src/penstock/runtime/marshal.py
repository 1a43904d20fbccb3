"""JSON as AWS's Python runtime reads and writes it, without the simplejson it bundles.

Source: awslambdaric, lambda_runtime_marshaller.py. Beyond what `json` does: a Decimal is a number written
digit by digit, an object with `_asdict()` (a named tuple) is an object, bytes are text in UTF-8. NaN and
Infinity are written as such, in the buffered response only.

One rule where AWS has two: text is written as UTF-8, not escaped, as AWS does on Python 3.12 and later. On
3.11 AWS escapes it; the JSON says the same, only its length differs.
"""

from __future__ import annotations

import json
import sys
from json.encoder import encode_basestring

from penstock.protocol import ndjson

from .errors import UNMARSHAL_ERROR, RuntimeFault, marshal_error, message_of

TYPE_CHECKING = False  # as in `typing`, which is dear to import
if TYPE_CHECKING:
    from typing import Any

_ATOMS = frozenset((str, int, float, bool, type(None)))
_CONTAINERS = frozenset((dict, list, tuple))
_are_atoms = _ATOMS.issuperset

_encode = json.JSONEncoder(ensure_ascii=False).encode
_decode = json.JSONDecoder().decode


def dumps(value: object) -> bytes:
    """A buffered response as JSON. Raises RuntimeFault."""
    try:
        return (_encode(value) if _is_standard(value) else _Writer(", ", ": ", True).text(value)).encode()
    except Exception as error:
        raise marshal_error(message_of(error)) from error


def line(value: object) -> bytes:
    """One line of newline-delimited JSON, compact. Raises TypeError, ValueError or RecursionError."""
    if _is_standard(value):
        return ndjson.encode(value)
    return _Writer(",", ":", False).text(value).encode() + b"\n"


def loads(payload: bytes, content_type: str) -> Any:
    """The event: JSON decoded, anything else as it is. Raises RuntimeFault."""
    if content_type != "application/json":
        return payload
    try:
        return _decode(payload.decode())
    except Exception as error:
        raise RuntimeFault(UNMARSHAL_ERROR, f"Unable to unmarshal input: {error}") from error


def _is_standard(value: object) -> bool:
    """Whether `json`, which is C and fast, writes this value as AWS would."""
    try:
        return _is_standard_inside(value)
    except RecursionError:
        return True  # `json` will say so, and whether it is a circle


def _is_standard_inside(value: object) -> bool:
    items: Any
    if isinstance(value, dict):
        if not _are_atoms(map(type, value)) and not all(isinstance(key, str | int | float) for key in value):
            return False
        items = value.values()
    elif isinstance(value, list | tuple):
        items = value
    else:
        return isinstance(value, str | int | float) or value is None
    if type(value) not in _CONTAINERS and hasattr(value, "_asdict"):
        return False
    if _are_atoms(map(type, items)):
        return True
    return all(type(item) in _ATOMS or _is_standard_inside(item) for item in items)


class _Writer:
    """Writes what `json` cannot, or would write otherwise."""

    def __init__(self, comma: str, colon: str, allow_nan: bool) -> None:
        self._comma = comma
        self._colon = colon
        self._allow_nan = allow_nan
        self._parts: list[str] = []
        self._inside: set[int] = set()  # ids of the containers around the present value

    def text(self, value: object) -> str:
        self._write(value)
        return "".join(self._parts)

    def _write(self, value: object) -> None:
        atom = self._atom(value)
        if atom is not None:
            self._parts.append(atom)
            return
        if id(value) in self._inside:
            raise ValueError("Circular reference detected")
        self._inside.add(id(value))
        as_dict = getattr(value, "_asdict", None)
        if callable(as_dict):
            self._object(as_dict())
        elif isinstance(value, dict):
            self._object(value)
        elif isinstance(value, list | tuple):
            self._array(value)
        else:
            raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
        self._inside.discard(id(value))

    def _atom(self, value: object) -> str | None:
        if isinstance(value, str):
            return encode_basestring(value)
        if isinstance(value, bytes):
            return encode_basestring(value.decode())
        if value is None:
            return "null"
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int):
            return int.__repr__(value)
        if isinstance(value, float):
            return self._number(float.__repr__(value))
        decimal = sys.modules.get("decimal")  # who has not imported it has no Decimal
        if decimal is not None and isinstance(value, decimal.Decimal):
            return self._number("nan" if value.is_nan() else str(value))
        return None

    def _number(self, text: str) -> str:
        if text[-1].isdigit():
            return text
        if not self._allow_nan:
            raise ValueError(f"Out of range float values are not JSON compliant: {text}")
        return "NaN" if text == "nan" else "-Infinity" if text[0] == "-" else "Infinity"

    def _array(self, items: list[Any] | tuple[Any, ...]) -> None:
        before = "["
        for item in items:
            self._parts.append(before)
            self._write(item)
            before = self._comma
        self._parts.append("]" if items else "[]")

    def _object(self, pairs: dict[Any, Any]) -> None:
        before = "{"
        for key, value in pairs.items():
            self._parts += (before, self._key(key), self._colon)
            self._write(value)
            before = self._comma
        self._parts.append("}" if pairs else "{}")

    def _key(self, key: object) -> str:
        if isinstance(key, str):
            return encode_basestring(key)
        if isinstance(key, bytes | int | float) or key is None:
            text = self._atom(key)
            assert text is not None
            return text if isinstance(key, bytes) else f'"{text}"'
        raise TypeError(f"keys must be str, int, float, bool or None, not {type(key).__name__}")
