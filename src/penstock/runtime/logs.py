"""What a function's own output looks like: unbuffered lines, `logging` in AWS's format, errors with trace.

Source of the formats: AWS's awslambdaric (bootstrap.py): a handler on the root logger that writes
`[LEVEL]<tab>time<tab>request id<tab>message`, and errors as `[ERROR] Type: message`, then the traceback.
"""

from __future__ import annotations

import sys

from . import errors

TYPE_CHECKING = False  # as in `typing`, which is dear to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from io import TextIOWrapper
    from types import ModuleType

_request_id = ""
_own: TextIOWrapper | None = None  # what the runtime itself writes to, whatever the function makes of stdout


_diverted: Callable[[str], None] | None = None  # takes what the runtime itself writes, instead of `_own`


def _the_one() -> str:
    return _request_id


_whose = _the_one


def divert(write: Callable[[str], None], whose: Callable[[], str]) -> None:
    """There is more than one invocation: `whose` says to which a record belongs, `write` takes our own."""
    global _diverted, _whose
    _diverted, _whose = write, whose


def begin(request_id: str) -> None:
    """From here on, log records belong to this invocation."""
    global _request_id
    _request_id = request_id


def request_id() -> str:
    """The invocation a record belongs to; "" before the first."""
    return _whose()


def install() -> None:
    """Make output leave line by line, and give the root logger AWS's format. Nothing the second time."""
    global _own
    if _own is not None:
        return  # by the spawner, before it forked this process
    sys.stdout = sys.__stdout__ = _open(1)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _open(2)  # type: ignore[misc]
    _own = _open(1)
    if "logging" in sys.modules:
        from . import log_records

        log_records.install()
    elif _WithLogging not in sys.meta_path:
        sys.meta_path.insert(0, _WithLogging)


class _WithLogging:
    """Has AWS's format installed when the function imports `logging`."""

    @classmethod
    def find_spec(cls, name: str, path: object, target: object = None) -> ModuleSpec | None:
        if name != "logging":
            return None
        from importlib.util import find_spec

        sys.meta_path.remove(cls)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]  # it is one by its methods
        return spec


class _Loader:
    """Leaves everything to the genuine loader, and has the format installed afterwards."""

    def __init__(self, genuine: Loader) -> None:
        self._genuine = genuine

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._genuine.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._genuine
        self._genuine.exec_module(module)
        from . import log_records

        log_records.install()


def _open(fd: int) -> TextIOWrapper:
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def error(raised: BaseException) -> None:
    """Log an error the way AWS does."""
    write(errors.log_text(raised))


def write(text: str) -> None:
    """Write to the function's log, whatever the function made of its own streams."""
    flush()
    try:
        if _diverted is not None:
            _diverted(text)
            return
        print(text, file=_own, flush=True)
    except (OSError, ValueError):
        pass  # the function closed the descriptor: nowhere to write to


def flush() -> None:
    """What was printed so far belongs to this invocation: send it before the response ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass  # closed or replaced by the function
