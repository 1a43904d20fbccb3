"""Lambda response streaming for Python, from one handler: on a laptop, on your own servers and on AWS.

A function's author needs nothing from here: returning a generator is enough. For those who want a name
for it there are `StreamingResponse` (a streamed HTTP response) and `Cancelled` (what is raised in a
blocked handler when its caller has left).
"""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["Cancelled", "StreamingResponse", "__version__"]

TYPE_CHECKING = False  # as in `typing`, which is dear to import
if TYPE_CHECKING:
    from typing import Any

    from .runtime.cancel import Cancelled as Cancelled
    from .runtime.result import StreamingResponse as StreamingResponse


def __getattr__(name: str) -> Any:
    # Lazy, so that `import penstock` costs a function, or the command line, nothing it does not use.
    if name == "StreamingResponse":
        from .runtime.result import StreamingResponse

        return StreamingResponse
    if name == "Cancelled":
        from .runtime.cancel import Cancelled

        return Cancelled
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
