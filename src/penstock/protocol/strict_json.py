"""JSON as its standard has it: UTF-8, and no NaN or Infinity, which Python's own reader takes."""

import json
from typing import Any, NoReturn


def loads(text: bytes) -> Any:
    """The value of JSON text. Raises ValueError, and RecursionError for what is nested too deeply."""
    return json.loads(text.decode(), parse_constant=no_constant)


def no_constant(name: str) -> NoReturn:
    """For json's `parse_constant`."""
    raise ValueError(f"{name} is not JSON")
