"""SnapStart in the runtime: its hooks, and what must differ in each environment that comes of one snapshot.

Functions register hooks by AWS's `snapshot_restore_py`. AWS has it in its own runtime, so functions need not
bring it; where it is not installed, the module of that name in this folder is found.

Source: awslambdaric, bootstrap.py (on_init_complete) and lambda_runtime_hooks_runner.py.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

TYPE_CHECKING = False  # as in `typing`, which is dear to import
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from typing import Any

_NAME = "snapshot_restore_py"


class _Finder:
    """The last to be asked: who has installed AWS's package gets that."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        if name != _NAME:
            return None
        from importlib.util import spec_from_file_location

        return spec_from_file_location(name, os.path.join(os.path.dirname(__file__), f"{_NAME}.py"))


def offer() -> None:
    """Make `import snapshot_restore_py` work."""
    if _Finder not in sys.meta_path:
        sys.meta_path.append(_Finder)


def run_before_snapshot() -> None:
    """Call the function's hooks. Raises what they raise."""
    if hooks := _registered("before_snapshot"):
        while hooks:  # in AWS's order: the last to be registered is the first
            function, args, kwargs = hooks.pop()
            function(*args, **kwargs)


def run_after_restore() -> None:
    """Call the function's hooks. Raises what they raise."""
    for function, args, kwargs in _registered("after_restore"):
        function(*args, **kwargs)


def reseed() -> None:
    """Have random numbers that are not those of every other environment of the same snapshot.

    Those of the system (`secrets`, `uuid4`, TLS) are nobody else's anyhow.
    """
    for name in ("random", "numpy.random"):
        if name in sys.modules:
            sys.modules[name].seed()


def _registered(which: str) -> list[Any]:
    module = sys.modules.get(_NAME)  # what the function has not imported it has not used
    return getattr(module, f"get_{which}")() if module is not None else []
