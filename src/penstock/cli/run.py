"""`penstock dev` and `penstock serve`: what is asked for is made ready, then the platform runs."""

import asyncio
import contextlib
import ctypes
import gc
import logging
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from penstock.protocol.limits import FUNCTION_TIMEOUT, MIB
from penstock.service import variables
from penstock.service.catalog import Defaults
from penstock.service.functions import Function

from . import keys, platform, settings, target
from .errors import CommandError, NoHandler, SettingError, UsageError
from .output import JsonLines, Output, Readable, UnhurriedLines, wants_colour
from .project import read_project

DRAIN = {"dev": 5.0, "serve": 30.0}
LAST_LINES = 1.0  # seconds that the reader of the log has for what is left at the end
FILES = 7  # descriptors that an environment takes, about
OTHER_FILES = 256  # those of connections, and of ourselves

_M_TRIM_THRESHOLD = -1  # malloc.h
_M_MMAP_THRESHOLD = -3


def run(command: str, flags: dict[str, Any], environ: Mapping[str, str]) -> int:
    """Serve until stopped; the exit code. Raises CommandError."""
    found = _target(command, flags.pop("target"))
    chosen = settings.resolve(flags, environ, read_project(found.folder))
    region = environ.get("AWS_REGION") or "us-east-1"
    access, said = keys.access(chosen, environ, region)
    _refuse_one_port(chosen)
    _refuse_long_timeout(chosen)
    python = target.interpreter(chosen.functions.python, found.folder, environ)
    served = platform.Target(
        _functions(command, found, chosen, python, environ),
        [(each.name, f"{each.source}:{each.bound_name}") for each in found.functions],
        python,
        Defaults(python, _seen(command, environ), chosen.functions.idle_timeout or None),
    )
    lines = UnhurriedLines(sys.stderr.fileno(), sys.stderr.encoding)
    output: Output
    if command == "dev":
        colour = wants_colour(sys.stderr, environ.get("NO_COLOR"))
        output = Readable(lines, colour=colour, verbose=chosen.command.verbose)
    else:
        output = JsonLines(lines)
    files = _raise_open_files()
    drain = DRAIN[command] if chosen.command.drain is None else chosen.command.drain
    notes = [*found.notes, *said, *_warnings(chosen), *_files_note(files, chosen.service.max_environments)]
    _keep_memory()
    _collect_seldom()
    lines.start(output.note)
    try:
        with (
            _data(command, chosen) as folder,
            asyncio.Runner(loop_factory=_loop_factory()) as runner,
        ):
            served_by = platform.Platform(
                served, folder, chosen, access, output, drain, durable=command == "serve"
            )
            logging.getLogger("penstock").addHandler(_Notes(served_by.note))
            return runner.run(served_by.run(notes))
    finally:
        lines.close(LAST_LINES)


def _target(command: str, text: str | None) -> target.Target:
    folder = _current_folder()
    try:
        return target.resolve(text, folder)
    except NoHandler as error:
        if command == "serve" and text is None:
            said = "no handler here: the functions are those that the Lambda API makes"
            return target.Target((), folder, (said,))
        if command == "dev" and text is None:
            raise NoHandler(f"{error}, or take `penstock serve`, which needs none") from error
        raise


@contextlib.contextmanager
def _data(command: str, chosen: settings.Settings) -> Iterator[Path]:
    """Where the platform keeps what it keeps; of `dev` nothing is left. Raises CommandError."""
    if command == "dev":
        with tempfile.TemporaryDirectory(prefix="penstock-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    folder = Path(chosen.command.data).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        ignored = folder / ".gitignore"
        if not ignored.exists():
            ignored.write_text("*\n")
    except OSError as error:
        reason = "it is a file" if isinstance(error, FileExistsError) else error.strerror
        raise CommandError(f"--data {folder}: cannot keep anything there: {reason}") from error
    yield folder


class _Notes(logging.Handler):
    """Takes what the packages below log as notes: there is one log, in one form."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        self._note(record.getMessage())


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise UsageError(f"the current folder cannot be read: {error.strerror}; go to another") from error


def _functions(
    command: str,
    found: target.Target,
    chosen: settings.Settings,
    python: str,
    environ: Mapping[str, str],
) -> list[Function]:
    seen = _seen(command, environ) | settings.function_environment(chosen.functions, environ)
    return [
        Function(
            name=each.name,
            handler=each.handler,
            root=str(each.root),
            python=python,
            timeout=chosen.functions.timeout,
            memory_mb=chosen.functions.memory,
            idle_timeout=chosen.functions.idle_timeout or None,
            concurrency=chosen.functions.concurrency,
            environment=seen,
            snapshot=chosen.functions.snapshot,
        )
        for each in found.functions
    ]


def _seen(command: str, environ: Mapping[str, str]) -> dict[str, str]:
    return variables.from_shell(environ) if command == "dev" else variables.from_host(environ)


def _refuse_one_port(chosen: settings.Settings) -> None:
    port = chosen.command.port
    if port and port == chosen.command.lambda_port:
        raise SettingError(
            f"the gateway and the Lambda API cannot both listen on port {port}: "
            "choose another with --port or --lambda-port (0: any free one)"
        )


def _refuse_long_timeout(chosen: settings.Settings) -> None:
    if chosen.service.limits == "aws" and chosen.functions.timeout > FUNCTION_TIMEOUT:
        raise SettingError(
            f"{chosen.sources.get('timeout', '--timeout')} {chosen.functions.timeout:g}: AWS allows "
            f"{FUNCTION_TIMEOUT:g} s at most; --limits none allows more"
        )


def _warnings(chosen: settings.Settings) -> list[str]:
    timeout = chosen.functions.timeout
    return [f"--timeout {timeout:g}: AWS allows 900 s at most"] if timeout > 900 else []


def _raise_open_files() -> int:
    """Have as many files open as we may; the hard limit.

    An environment takes about seven descriptors and a connection one: the usual soft limit of 1,024 would end
    at some hundred streams.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        pass  # macOS says "unlimited" and means less; what we have will have to do
    return hard


def _files_note(limit: int, environments: int) -> list[str]:
    if limit == resource.RLIM_INFINITY or limit >= environments * FILES + OTHER_FILES:
        return []
    holds = max(1, (limit - OTHER_FILES) // FILES)
    return [
        f"the limit of {limit:,} open files holds about {holds:,} environments: "
        "raise it with ulimit -Hn, or lower --max-environments"
    ]


def _collect_seldom() -> None:
    """Have the garbage collector look seldom: a thousand streams stand still for 5 to 60 ms each time.

    Requests leave nothing that only it could find (tests/journeys/test_garbage.py).
    """
    gc.collect()
    gc.freeze()  # what was imported need not be looked at again
    gc.set_threshold(10_000, 50, 100)  # 700, 10, 10, if not said


def _keep_memory() -> None:
    """Tell glibc to keep what it has: each read of a large stream would be mapped and unmapped anew."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 64 * MIB)
        mallopt(_M_TRIM_THRESHOLD, 128 * MIB)
    except (OSError, AttributeError):
        pass  # not glibc


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
