"""Finding the handler: `module.function`, as AWS's Python runtime does, with its errors.

Source: awslambdaric, bootstrap.py (_get_handler). A module in a folder is `folder/module.function`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

from . import errors
from .errors import RuntimeFault

TYPE_CHECKING = False  # as in `typing`, which is dear to import
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from typing import Any


def load(name: str, root: str) -> Callable[..., Any]:
    """Import the handler's module from `root` and give the handler.

    Raises RuntimeFault, or what the module raises while it is imported.
    """
    module_name, dot, function = name.rpartition(".")
    if not dot:
        raise RuntimeFault(
            errors.MALFORMED_HANDLER_NAME,
            f"Bad handler '{name}': not enough values to unpack (expected 2, got 1)",
        )
    if module_name.split(".")[0] in sys.builtin_module_names:
        raise RuntimeFault(
            errors.BUILT_IN_MODULE_CONFLICT,
            f"Cannot use built-in module {module_name} as a handler module",
        )
    module = _import(module_name, root)
    handler = getattr(module, function, None)
    if not callable(handler):
        raise RuntimeFault(errors.HANDLER_NOT_FOUND, _not_found(module_name, function, module))
    return handler  # type: ignore[no-any-return]


def _import(module_name: str, root: str) -> ModuleType:
    if sys.path[:1] != [root]:
        sys.path.insert(0, root)
    dotted = module_name.replace("/", ".")
    finder: Any = _Finder(dotted)
    sys.meta_path.insert(0, finder)
    try:
        __import__(dotted)
        return sys.modules[dotted]
    except ImportError as error:
        said = f"Unable to import module '{module_name}': {errors.message_of(error)}"
        raise RuntimeFault(errors.IMPORT_MODULE_ERROR, said + _elsewhere(error, dotted, root)) from error
    except SyntaxError as error:
        raise RuntimeFault(
            errors.USER_CODE_SYNTAX_ERROR,
            f"Syntax error in module '{module_name}': {errors.message_of(error)}",
            [f'  File "{error.filename}" Line {error.lineno}\n    {error.text}'],
        ) from error
    finally:
        sys.meta_path.remove(finder)


def _elsewhere(error: ImportError, dotted: str, root: str) -> str:
    """Where the module is if it was zipped with the folder around it, which is a common mistake; else ""."""
    if error.name != dotted:
        return ""
    try:
        folders = sorted(each.name for each in os.scandir(root) if each.is_dir())
    except OSError:
        return ""
    path = dotted.replace(".", "/") + ".py"
    for folder in folders:
        if os.path.isfile(os.path.join(root, folder, path)):
            return f" (there is {folder}/{path}: zip what is in {folder}, not {folder} itself)"
    return ""


def _not_found(module_name: str, function: str, module: ModuleType) -> str:
    """AWS's text, and what a person needs to know."""
    if hasattr(module, function):
        kind = type(getattr(module, function)).__name__
        return f"Handler '{function}' on module '{module_name}' is of type {kind}, which cannot be called"
    found = [
        name
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == module.__name__ and name[0] != "_"
    ]
    where = getattr(module, "__file__", None) or "a namespace package"
    return (
        f"Handler '{function}' missing on module '{module_name}'"
        f" ({where}; found: {', '.join(found[:10]) or 'no function'})"
    )


class _Finder:
    """Finds the handler's module as the other finders do, and has `lazyio` installed in it.

    Python's own import does the rest, so the module is like any other: its spec, loader, package and place
    in `sys.modules`, relative imports, circular imports, pickling.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self._name:
            return None
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    if _mentions_io(spec):
                        spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
                    return spec
        return None


class _Loader:
    """Makes the module, and then leaves its place to the genuine loader."""

    def __init__(self, genuine: Any) -> None:
        self._genuine = genuine

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        spec.loader = self._genuine
        module = self._genuine.create_module(spec) or ModuleType(spec.name)
        from . import lazyio

        lazyio.install(vars(module))
        return module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._genuine, name)


def _mentions_io(spec: ModuleSpec) -> bool:
    """Whether the module may import `io`: most do not, and are left entirely as they are."""
    origin, loader = spec.origin or "", spec.loader
    if not origin.endswith((".py", ".pyc")) or not hasattr(loader, "create_module"):
        return False
    if origin.endswith(".pyc"):
        return True
    try:
        source: bytes = loader.get_data(origin)  # type: ignore[union-attr]
    except (OSError, AttributeError):
        return True
    return any(mark in source for mark in (b" io", b",io", b"\tio", b"\\\nio"))
