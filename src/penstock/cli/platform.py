"""The platform: what is kept, the service, and the two HTTP servers in front of it, joined and run."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.gateway.forward import Gateway
from penstock.gateway.routes import Routes
from penstock.http.config import Config as HttpConfig
from penstock.http.exchange import Application, Exchange
from penstock.http.server import Server
from penstock.http.writer import Writer
from penstock.protocol import limits
from penstock.service import guard, urls
from penstock.service.access import Access
from penstock.service.api.app import LambdaApi
from penstock.service.api.download import Download, check_location
from penstock.service.api.eventinvoke import settings_of
from penstock.service.api.logs import logs_exchange
from penstock.service.api.signed import SignedRequests
from penstock.service.api.table import operation_handlers
from penstock.service.backends import SpawnerError
from penstock.service.backends.process import ProcessBackend
from penstock.service.catalog import Catalog, Defaults, FunctionExists
from penstock.service.code import CodeStore
from penstock.service.events.dispatcher import Dispatcher
from penstock.service.functions import Function
from penstock.service.logs import LogLine
from penstock.service.logstore import DiskLogs, LogStore, MemoryLogs
from penstock.service.service import Service
from penstock.service.store import Store, StoreError

from . import settings
from .errors import CommandError
from .output import Listening, Output

Query = dict[str, list[str]]

FLUSH = 0.5  # seconds that what was made has at least to reach its reader

_TIDY = 3600.0  # seconds between two looks for code that no function is any more
_MOMENT = 0.05  # seconds in which idle connections are closed


@dataclass(frozen=True, slots=True)
class Target:
    """What TARGET is, as functions: where each comes from, and how it runs."""

    functions: Sequence[Function]
    sources: Sequence[tuple[str, str]]  # of each, its name and a line that says where it is
    python: str
    defaults: Defaults  # for functions that are made through the API


class Platform:
    """Runs until a signal comes."""

    def __init__(
        self,
        target: Target,
        folder: Path,
        chosen: settings.Settings,
        access: Access,
        output: Output,
        drain: float,
        *,
        durable: bool,
    ) -> None:
        self._target = target
        self._folder = folder
        self._chosen = chosen
        self._access = access
        self._output = output
        self._drain = drain
        self._durable = durable
        self._servers: list[Server] = []
        self._signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
        self._gateway_url = ""
        self._early: list[str] | None = []  # notes of before `listening`, which is the first line of the log

    def note(self, text: str) -> None:
        """Say something in the log, once it has begun. From any thread."""
        if self._early is None:
            self._output.note(text)
        else:
            self._early.append(text)

    def _begin_log(self) -> None:
        """Say what was kept back, and all else at once."""
        early, self._early = self._early or [], None
        for text in early:
            self._output.note(text)

    async def run(self, notes: Sequence[str]) -> int:
        """Serve until a signal comes; the exit code. Raises CommandError."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signals.put_nowait, number)
        try:
            async with self._store() as store, self._logs() as logs:
                return await self._serve(store, await self._catalog(store), logs, notes)
        except (SpawnerError, StoreError) as error:
            raise CommandError(str(error)) from error
        finally:
            self._begin_log()  # also if it came to nothing

    @contextlib.asynccontextmanager
    async def _store(self) -> AsyncIterator[Store]:
        store = Store.open(self._folder, durable=self._durable)
        try:
            yield store
        finally:
            await store.close()

    @contextlib.asynccontextmanager
    async def _logs(self) -> AsyncIterator[LogStore]:
        size = self._chosen.service.log_size * limits.MIB
        logs = DiskLogs(self._folder / "logs", size) if self._durable else MemoryLogs()
        try:
            yield logs
        finally:
            await logs.close()

    async def _catalog(self, store: Store) -> Catalog:
        """What is kept in the folder, with the functions of TARGET."""
        try:
            codes = CodeStore(self._folder / "code")
            catalog = Catalog(store, codes, self._target.defaults, self._access.region)
        except OSError as error:
            where = error.filename or self._folder / "code"
            raise CommandError(f"cannot keep functions' code: {error.strerror} ({where})") from error
        targets = {each.name: (each, _configuration(each)) for each in self._target.functions}
        try:
            gone = await catalog.set_targets(targets)
        except FunctionExists as error:
            raise CommandError(
                f"{error} and is kept in {self._folder}: delete it there, or rename it here"
            ) from error
        if gone:
            self.note(f"no longer part of TARGET, and forgotten: {', '.join(gone)}")
        codes.forget_unused(catalog.used_code())
        return catalog

    def _lambda_api(
        self, catalog: Catalog, service: Service, events: Dispatcher, logs: LogStore
    ) -> LambdaApi:
        access = self._access

        def logs_of(function: str, query: Query, writer: Writer) -> Exchange:
            return logs_exchange(writer, query, function, logs, [each.name for each in catalog.entries()])

        def code(digest: str, query: Query, writer: Writer) -> Exchange:
            return Download(writer, catalog.codes.zip_path(check_location(digest, query, time.time())))

        return LambdaApi(
            service,
            catalog,
            self._output.request,
            handlers=operation_handlers(
                catalog,
                lambda: self._gateway_url,
                self._chosen.service.max_environments,
                service.provisioned,
            ),
            enqueue=events.enqueue,
            access=SignedRequests(access) if access.required else None,
            own={"logs": logs_of},
            presigned={"code": code},
            allow_hosts=guard.ANY_HOST if access.required else self._chosen.command.allow_host,
        )

    async def _serve(self, store: Store, catalog: Catalog, logs: LogStore, notes: Sequence[str]) -> int:
        command, config = self._chosen.command, self._chosen.service

        def log(line: LogLine) -> None:
            self._output.log(line)
            if line.function in catalog:  # else it was deleted, and its log with it
                logs.write(line)

        def changed(name: str) -> None:
            service.changed(name)
            if name not in catalog:
                logs.forget(name)

        service = Service(catalog, config, log, ProcessBackend(self.note))
        catalog.on_change.append(changed)
        events = Dispatcher(store, service, catalog, settings_of(catalog), config, self.note)
        names = [each.name for each in self._target.functions]
        routes = Routes(
            names, self._chosen.gateway.event_format, urls.lookup(catalog, every=not self._durable)
        )
        verify = self._access.verify if self._access else None
        gateway = Gateway(service, routes, self._chosen.gateway, self._output.request, verify)
        lambda_api = self._lambda_api(catalog, service, events, logs)
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
            self._gateway_url = await self._listen(gateway, host, command.port, "--port")
            lambda_url = await self._listen(lambda_api, host, command.lambda_port, "--lambda-port")
            self._output.listening(
                Listening(
                    gateway=self._gateway_url,
                    lambda_api=lambda_url,
                    functions=self._target.sources,
                    python=self._target.python,
                    region=catalog.region,
                    settings=self._chosen.not_flags(),
                )
            )
            for note in [*notes, *_kept_note(catalog), *_reserved_note(catalog, config.max_environments)]:
                self._output.note(note)
            self._begin_log()
            await events.start()
            tidying = asyncio.ensure_future(tidy(catalog, service))
            signalled = await first
            tidying.cancel()
            events.pause()
            logs.end_followers()
            return await self._drained(signalled, service)
        finally:
            first.cancel()
            events.pause()
            await service.stop(0)
            await events.stop()
            await lambda_api.settled()
            for server in self._servers:
                server.abort_all()

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


def _kept_note(catalog: Catalog) -> list[str]:
    kept = [entry.name for entry in catalog.entries() if not entry.target]
    if not kept:
        return []
    shown = ", ".join(kept[:10]) + (", …" if len(kept) > 10 else "")
    return [f"functions that the Lambda API made before, served as well: {shown}"]


def _reserved_note(catalog: Catalog, limit: int) -> list[str]:
    reserved = sum(catalog.reservations().values())
    if reserved < limit:
        return []
    return [
        f"functions have reserved {reserved:,} of the {limit:,} environments there may be: all calls of"
        " others are throttled; raise --max-environments, or lower what is reserved"
    ]


async def tidy(catalog: Catalog, service: Service) -> None:
    """Remove code that nobody uses any more, now and then, for ever."""
    while True:
        await asyncio.sleep(_TIDY)
        await asyncio.to_thread(catalog.codes.forget_unused, catalog.used_code(), service.roots())


def _configuration(function: Function) -> dict[str, Any]:
    """A function of TARGET, as the Lambda API shows it."""
    timeout = function.timeout
    return {
        "Handler": function.handler,
        "Timeout": int(timeout) if timeout.is_integer() else timeout,
        "MemorySize": function.memory_mb,
    }


def _cannot_listen(error: OSError, host: str, port: int, flag: str) -> CommandError:
    if error.errno == errno.EADDRINUSE:
        return CommandError(
            f"port {port} is in use on {host}: choose another with {flag} (0: any free one), "
            f"or see who has it with `{_who_listens(port)}`"
        )
    if error.errno == errno.EACCES:
        return CommandError(f"not allowed to listen on port {port}: choose one above 1023 with {flag}")
    reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
    return CommandError(f"cannot listen on {host}, port {port}: {reason}")


def _who_listens(port: int) -> str:
    return f"ss -ltnp 'sport = :{port}'" if sys.platform == "linux" else f"lsof -nP -iTCP:{port} -sTCP:LISTEN"


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
