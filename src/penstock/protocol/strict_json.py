"""JSON as its standard has it: UTF-8, and no NaN or Infinity, which Python's own reader takes."""

from __future__ import annotations

import json

TYPE_CHECKING = False  # as in `typing`, which is dear to import
if TYPE_CHECKING:
    from typing import Any, NoReturn


def loads(text: bytes) -> Any:
    """The value of JSON text. Raises ValueError, and RecursionError for what is nested too deeply."""
    return _decode(text.decode())


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


_decode = json.JSONDecoder(parse_constant=_no_constant).decode  # json.loads would make one for each text
