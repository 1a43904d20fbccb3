"""TARGET, as people type it, made into the functions it holds.

    file.py          the file's handler: lambda_handler, else handler
    file.py:name     that name in it
    module:name      the same by module, looked for from the current folder
    folder           `target` of [tool.penstock] in its pyproject.toml; else the first of app.py,
                     lambda_function.py, handler.py, main.py with a handler; else every *.py with one

Handlers are found by reading the source, never by importing it: an import runs the author's code, which
belongs in the function's own process, under its own interpreter. Next come `settings.resolve` for the
folder's settings and `interpreter` for what runs it.
"""

import ast
import os
import re
import shutil
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import decode_source
from pathlib import Path

from .errors import NoHandler, TargetError
from .project import read_project

HANDLERS = ("lambda_handler", "handler")
FIRST_FILES = ("app.py", "lambda_function.py", "handler.py", "main.py")

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True)
class Found:
    """One function that TARGET holds."""

    name: str
    handler: str  # AWS's form, "module.function"
    root: Path  # the folder its module is imported from
    source: Path  # the file, as a person would name it

    @property
    def bound_name(self) -> str:
        return self.handler.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Target:
    """What TARGET turned out to be."""

    functions: tuple[Found, ...]
    folder: Path  # whose pyproject.toml holds the settings
    notes: tuple[str, ...] = ()  # what was passed over, and why


def resolve(text: str | None, cwd: Path) -> Target:
    """Find the functions of TARGET `text` (None: the current folder). Raises TargetError."""
    text = "." if text is None else text
    try:
        return _resolve(text, cwd)
    except OSError as error:
        raise TargetError(f"cannot read {text!r}: {error.strerror}") from error


def interpreter(asked: str | None, folder: Path, environ: Mapping[str, str]) -> str:
    """The Python the functions run on: `asked`, the target's .venv, $VIRTUAL_ENV, or this one."""
    if asked:
        path = shutil.which(asked, path=environ.get("PATH"))
        if path is None:
            raise TargetError(f"--python {asked!r}: no such program, or it is not executable")
        return os.path.abspath(path)
    for venv in (folder / ".venv", Path(environ["VIRTUAL_ENV"]) if environ.get("VIRTUAL_ENV") else None):
        if venv is not None and os.access(venv / "bin" / "python", os.X_OK):
            # Not resolved: a virtual environment is known by the path its interpreter is started with.
            return os.path.abspath(venv / "bin" / "python")
    return sys.executable


def _resolve(text: str, cwd: Path) -> Target:
    path = cwd / text
    if path.is_dir():
        return _folder(text, path)
    if path.exists():
        return Target((_file(path, Path(text), None),), path.parent)
    left, colon, name = text.rpartition(":")
    if not colon:
        raise TargetError(_missing(text, cwd))
    if not name.isidentifier():
        raise TargetError(f"{text!r}: expected the name of a handler after the colon, got {name!r}")
    if left.endswith(".py") or "/" in left:
        if not (cwd / left).exists():
            raise TargetError(_missing(left, cwd))
        if (cwd / left).is_dir():
            raise TargetError(
                f"{left!r} is a folder: name a file in it, as in {left.rstrip('/')}/app.py:{name}"
            )
        path = cwd / left
        return Target((_file(path, Path(left), name),), path.parent)
    return Target((_module(left, name, cwd),), cwd)


def _missing(text: str, cwd: Path) -> str:
    message = f"{text!r}: no such file or folder"
    module, dot, name = text.rpartition(".")
    if dot and name.isidentifier() and (cwd / (module.replace(".", "/") + ".py")).is_file():
        return f"{message}; for a handler by its module write {module}:{name}"
    if (cwd / f"{text}.py").is_file():
        return f"{message}; did you mean {text}.py?"
    return f"{message}; give a file.py, file.py:name, module:name or a folder"


def _folder(text: str, path: Path) -> Target:
    project = read_project(path)
    if "target" in project.table:
        asked = project.table["target"]
        where = f"{project.path} [tool.penstock] target"
        if not isinstance(asked, str):
            raise TargetError(f'{where}: expected text such as "app.py", got {asked!r}')
        if (path / asked).is_dir():
            raise TargetError(f"{where}: expected a file.py, file.py:name or module:name, got a folder")
        try:
            return Target(_resolve(asked, path).functions, path)
        except TargetError as error:
            raise TargetError(f"{where}: {error}") from error
    shown = Path(text)
    for name in FIRST_FILES:
        if (path / name).is_file() and (found := _handler_in(path / name, shown / name)):
            return Target((found,), path)
    return _every_file(path, shown)


def _every_file(path: Path, shown: Path) -> Target:
    files = sorted(entry.name for entry in path.iterdir() if entry.name.endswith(".py") and entry.is_file())
    functions: list[Found] = []
    notes: list[str] = []
    for name in files:
        try:
            found = _handler_in(path / name, shown / name)
        except TargetError as error:
            # One broken script among others must not keep the rest from being served.
            notes.append(f"passed over: {error}")
            continue
        if found:
            functions.append(found)
    if not functions:
        if notes:
            raise TargetError(notes[0].removeprefix("passed over: "))
        seen = f"seen: {_listed(files)}" if files else "it holds no .py file"
        raise NoHandler(
            f"no handler in folder {str(shown)!r}: no file binds {' or '.join(HANDLERS)} at top level "
            f"({seen}); name one as file.py:name"
        )
    by_name: dict[str, Found] = {}
    for function in functions:
        other = by_name.setdefault(function.name, function)
        if other is not function:
            raise TargetError(
                f"{other.source} and {function.source} would both be function {function.name!r}; "
                "rename one, or name one file as TARGET"
            )
    return Target(tuple(functions), path, tuple(notes))


def _handler_in(path: Path, shown: Path) -> Found | None:
    names = _bound_names(path, shown)
    for handler in HANDLERS:
        if handler in names:
            return _found(path, shown, handler)
    return None


def _file(path: Path, shown: Path, name: str | None) -> Found:
    if not path.name.endswith(".py"):
        raise TargetError(f"{str(shown)!r} is not a Python file: expected a name that ends in .py")
    names = _bound_names(path, shown)
    if name is not None:
        if name not in names and "*" not in names:
            raise TargetError(f"{shown}: {name!r} is not bound at top level; {_bound(names)}")
        return _found(path, shown, name)
    for handler in HANDLERS:
        if handler in names:
            return _found(path, shown, handler)
    raise TargetError(
        f"{shown}: no handler: expected {' or '.join(HANDLERS)} at top level, {_bound(names)}; "
        f"name another as {shown}:name"
    )


def _module(module: str, name: str, cwd: Path) -> Found:
    if not all(part.isidentifier() for part in module.split(".")):
        raise TargetError(f"'{module}:{name}': expected a file.py or a module's name before the colon")
    base = Path(*module.split("."))
    for shown in (base.with_suffix(".py"), base / "__init__.py"):
        if (cwd / shown).is_file():
            names = _bound_names(cwd / shown, shown)
            if name not in names and "*" not in names:
                raise TargetError(f"module {module!r}: {name!r} is not bound at top level; {_bound(names)}")
            return Found(_function_name(base.name), f"{module}.{name}", cwd.absolute(), shown)
    raise TargetError(
        f"no module {module!r} in the current folder: looked for {base}.py and {base}/__init__.py"
    )


def _found(path: Path, shown: Path, handler: str) -> Found:
    if "." in path.stem:
        raise TargetError(f"{shown}: a module's name cannot hold a dot; rename the file")
    path = path.absolute()
    return Found(_function_name(path.stem), f"{path.stem}.{handler}", path.parent, shown)


def _function_name(stem: str) -> str:
    return _NOT_IN_NAMES.sub("-", stem)


def _bound_names(path: Path, shown: Path) -> list[str]:
    """The names bound at top level, in order; "*" where a star import may have bound any."""
    try:
        source = decode_source(path.read_bytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the function's own interpreter will say them
            tree = ast.parse(source)
    except OSError as error:
        raise TargetError(f"cannot read {shown}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TargetError(f"cannot read {shown}: expected Python source in UTF-8") from error
    except SyntaxError as error:
        if error.lineno is None:  # no place in the text: it is the bytes that are wrong
            raise TargetError(f"cannot read {shown}: {error.msg}; expected Python source in UTF-8") from error
        raise TargetError(f"{shown}:{error.lineno}: syntax error: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:  # NUL bytes; brackets without end
        raise TargetError(f"cannot read {shown}: {error}") from error
    return list(dict.fromkeys(_bindings(tree.body)))


def _bindings(body: Iterable[ast.stmt]) -> Iterator[str]:
    for statement in body:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=targets):
                for target in targets:
                    yield from _assigned(target)
            case ast.AnnAssign(target=target, value=ast.expr()):
                yield from _assigned(target)
            case ast.Import(names=aliases):
                yield from (alias.asname or alias.name.partition(".")[0] for alias in aliases)
            case ast.ImportFrom(names=aliases):
                yield from (alias.asname or alias.name for alias in aliases)
            case ast.If() | ast.Try() | ast.TryStar() | ast.With() | ast.For() | ast.While():
                yield from _bindings(statement.body)
                yield from _bindings(getattr(statement, "orelse", ()))
                for clause in getattr(statement, "handlers", ()):
                    yield from _bindings(clause.body)
                yield from _bindings(getattr(statement, "finalbody", ()))
            case ast.Match(cases=cases):
                for case in cases:
                    yield from _bindings(case.body)


def _assigned(target: ast.expr) -> Iterator[str]:
    match target:
        case ast.Name(id=name):
            yield name
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            for part in parts:
                yield from _assigned(part)
        case ast.Starred(value=part):
            yield from _assigned(part)


def _bound(names: list[str]) -> str:
    public = [name for name in names if not name.startswith("_") and name != "*"]
    return f"it binds {_listed(public)}" if public else "it binds no name"


def _listed(names: list[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
