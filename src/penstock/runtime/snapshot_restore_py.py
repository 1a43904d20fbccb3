"""Stands in for AWS's `snapshot_restore_py` where it is not installed; AWS has it in its Python runtime.

It is imported under that name alone (see snapshot.py): `from snapshot_restore_py import
register_after_restore`. Source: https://pypi.org/project/snapshot-restore-py/, whose functions these are.
"""

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["register_after_restore", "register_before_snapshot"]

Hook = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
Function = TypeVar("Function", bound=Callable[..., Any])

_before: list[Hook] = []
_after: list[Hook] = []


def register_before_snapshot(func: Function, *args: Any, **kwargs: Any) -> Function:
    """Have a function called before the snapshot is taken; the last to be registered is the first."""
    _before.append((func, args, kwargs))
    return func


def register_after_restore(func: Function, *args: Any, **kwargs: Any) -> Function:
    """Have a function called in each environment that was restored, before its first event."""
    _after.append((func, args, kwargs))
    return func


def get_before_snapshot() -> list[Hook]:
    """For the runtime: what was registered."""
    return _before


def get_after_restore() -> list[Hook]:
    """For the runtime: what was registered."""
    return _after
