"""`penstock dev` and `penstock serve`: the service and the gateway, joined and run until told to stop."""

import asyncio
import ctypes
import errno
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock.gateway.forward import Gateway
from penstock.gateway.routes import Routes
from penstock.http.config import Config as HttpConfig
from penstock.http.exchange import Application
from penstock.http.server import Server
from penstock.protocol.limits import MIB
from penstock.service import variables
from penstock.service.backends import SpawnerError
from penstock.service.backends.process import ProcessBackend
from penstock.service.lambda_api import LambdaApi
from penstock.service.registry import Function, Registry
from penstock.service.service import Service

from . import settings, target
from .errors import CommandError, SettingError, UsageError
from .output import JsonLines, Listening, Output, Readable, UnhurriedLines, wants_colour
from .project import read_project

DRAIN = {"dev": 5.0, "serve": 30.0}
FLUSH = 0.5  # seconds that what was made has at least to reach its reader
LAST_LINES = 1.0  # seconds that the reader of the log has for what is left at the end
FILES = 7  # descriptors that an environment takes, about
OTHER_FILES = 256  # those of connections, and of ourselves

_MOMENT = 0.05  # seconds in which idle connections are closed

_M_TRIM_THRESHOLD = -1  # malloc.h
_M_MMAP_THRESHOLD = -3


def run(command: str, flags: dict[str, Any], environ: Mapping[str, str]) -> int:
    """Serve until stopped; the exit code. Raises CommandError."""
    found = target.resolve(flags.pop("target"), _current_folder())
    chosen = settings.resolve(flags, environ, read_project(found.folder))
    _refuse_open_host(chosen)
    _refuse_one_port(chosen)
    python = target.interpreter(chosen.functions.python, found.folder, environ)
    registry = Registry(
        _functions(command, found, chosen, python, environ), environ.get("AWS_REGION") or "us-east-1"
    )
    lines = UnhurriedLines(sys.stderr.fileno(), sys.stderr.encoding)
    output: Output
    if command == "dev":
        colour = wants_colour(sys.stderr, environ.get("NO_COLOR"))
        output = Readable(lines, colour=colour, verbose=chosen.command.verbose)
    else:
        output = JsonLines(lines)
    files = _raise_open_files()
    drain = chosen.command.drain
    platform = Platform(registry, chosen, output, DRAIN[command] if drain is None else drain)
    notes = [*found.notes, *_warnings(chosen), *_files_note(files, chosen.service.max_environments)]
    _keep_memory()
    gc.collect()
    gc.freeze()  # what was imported need not be looked at again
    lines.start(output.note)
    logging.getLogger("penstock").addHandler(_Notes(output))
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(platform.run(found.functions, python, notes))
    finally:
        lines.close(LAST_LINES)


class _Notes(logging.Handler):
    """Takes what the packages below log as notes: there is one log, in one form."""

    def __init__(self, output: Output) -> None:
        super().__init__(logging.WARNING)
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        self._output.note(record.getMessage())


class Platform:
    """The service, and the two HTTP servers in front of it."""

    def __init__(self, registry: Registry, chosen: settings.Settings, output: Output, drain: float) -> None:
        self._registry = registry
        self._chosen = chosen
        self._output = output
        self._drain = drain
        self._servers: list[Server] = []
        self._signals: asyncio.Queue[signal.Signals] = asyncio.Queue()

    async def run(self, functions: Sequence[target.Found], python: str, notes: list[str]) -> int:
        """Serve until a signal comes; the exit code."""
        command, gateway_config = self._chosen.command, self._chosen.gateway
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signals.put_nowait, number)
        backend = ProcessBackend(self._output.note)
        service = Service(self._registry, self._chosen.service, self._output.log, backend)
        routes = Routes([each.name for each in functions], gateway_config.event_format)
        gateway = Gateway(service, routes, gateway_config, self._output.request)
        lambda_api = LambdaApi(service, self._registry, self._output.request, command.allow_host)
        first = asyncio.ensure_future(self._signals.get())
        try:
            # An interpreter may take its time, and whoever has started it need not wait for that.
            starting = asyncio.ensure_future(service.start())
            await asyncio.wait((starting, first), return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
                return 128 + first.result()
            starting.result()
            # The name may mean two addresses, of which port 0 would give each its own port.
            host = "127.0.0.1" if command.host == "localhost" else command.host
            gateway_url = await self._listen(gateway, host, command.port, "--port")
            lambda_url = await self._listen(lambda_api, host, command.lambda_port, "--lambda-port")
            self._output.listening(
                Listening(
                    gateway=gateway_url,
                    lambda_api=lambda_url,
                    functions=[(each.name, f"{each.source}:{each.bound_name}") for each in functions],
                    python=python,
                    region=self._registry.region,
                    settings=self._chosen.not_flags(),
                )
            )
            for note in notes:
                self._output.note(note)
            code = await self._drained(await first, service)
        except SpawnerError as error:
            raise CommandError(str(error)) from error
        finally:
            first.cancel()
            await service.stop(0)
            for server in self._servers:
                server.abort_all()
        return code

    async def _listen(self, application: Application, host: str, port: int, flag: str) -> str:
        """Serve `application`; its URL. Raises CommandError."""
        config = HttpConfig(on_error=self._application_failed, on_refused=self._refused)
        try:
            server = await Server.start(application, host, port, config=config)
        except OSError as error:
            raise _cannot_listen(error, host, port, flag) from error
        self._servers.append(server)
        return _url(host, server.port)

    async def _drained(self, first: signal.Signals, service: Service) -> int:
        """Let responses end for as long as they may, or until a second signal; the exit code."""
        for server in self._servers:
            server.shutdown()
        if not service.running:
            await asyncio.sleep(_MOMENT)
        # With its function at its end, a response may still be on its way to a slow reader.
        if service.running or any(server.connections for server in self._servers):
            again = "Ctrl-C again" if first is signal.SIGINT else "a second signal"
            seconds = f"{self._drain:g} s"
            self._output.note(f"stopping: running responses have {seconds} to end; {again} stops at once")
        draining = asyncio.ensure_future(self._drain_all(service))
        second = asyncio.ensure_future(self._signals.get())
        await asyncio.wait((draining, second), return_when=asyncio.FIRST_COMPLETED)
        if draining.done():
            second.cancel()
            draining.result()
            return 0
        draining.cancel()
        self._output.note("stopped at once")
        return 128 + second.result()

    async def _drain_all(self, service: Service) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._drain
        await service.stop(self._drain)
        # The functions are done; what they made may still be on its way to slow readers.
        try:
            async with asyncio.timeout_at(max(end, loop.time() + FLUSH)):
                for server in self._servers:
                    await server.wait_closed()
        except TimeoutError:
            pass

    def _refused(self, status: int, message: str) -> None:
        self._output.note(f"a request was refused before it had a function: {status} {message}")

    def _application_failed(self, error: Exception) -> None:
        self._output.note(f"a request failed by a fault of ours: {type(error).__name__}: {error}")
        if os.environ.get("PENSTOCK_DEBUG"):
            sys.excepthook(type(error), error, error.__traceback__)


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise UsageError(f"the current folder cannot be read: {error.strerror}; go to another") from error


def _cannot_listen(error: OSError, host: str, port: int, flag: str) -> CommandError:
    if error.errno == errno.EADDRINUSE:
        return CommandError(
            f"port {port} is in use on {host}: choose another with {flag} (0: any free one), "
            f"or see who has it with `{_who_listens(port)}`"
        )
    if error.errno == errno.EACCES:
        return CommandError(f"not allowed to listen on port {port}: choose one above 1023 with {flag}")
    return CommandError(f"cannot listen on {host}, port {port}: {os.strerror(error.errno or 0)}")


def _who_listens(port: int) -> str:
    return f"ss -ltnp 'sport = :{port}'" if sys.platform == "linux" else f"lsof -nP -iTCP:{port} -sTCP:LISTEN"


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _functions(
    command: str,
    found: target.Target,
    chosen: settings.Settings,
    python: str,
    environ: Mapping[str, str],
) -> list[Function]:
    seen = variables.from_shell(environ) if command == "dev" else variables.from_host(environ)
    seen |= settings.function_environment(chosen.functions, environ)
    return [
        Function(
            name=each.name,
            handler=each.handler,
            root=str(each.root),
            python=python,
            timeout=chosen.functions.timeout,
            memory_mb=chosen.functions.memory,
            idle_timeout=chosen.functions.idle_timeout or None,
            environment=seen,
        )
        for each in found.functions
    ]


def _refuse_open_host(chosen: settings.Settings) -> None:
    host = chosen.command.host
    if not settings.is_loopback(host):
        raise SettingError(
            f"{chosen.sources.get('host', '--host')}: {host!r} is not a loopback address, and whoever "
            "reaches the Lambda API may call every function: listen on 127.0.0.1 and put a reverse proxy in "
            "front (access keys come with a later release)"
        )


def _refuse_one_port(chosen: settings.Settings) -> None:
    port = chosen.command.port
    if port and port == chosen.command.lambda_port:
        raise SettingError(
            f"the gateway and the Lambda API cannot both listen on port {port}: "
            "choose another with --port or --lambda-port (0: any free one)"
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
