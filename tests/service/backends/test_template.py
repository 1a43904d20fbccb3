"""A template as a process, through the one interface."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from penstock.protocol import limits
from penstock.service.backends import Exit, Process, Spec
from penstock.service.backends.process import ProcessBackend
from platform_process import alive, wait_until
from runtime_kit import Side

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

Run = Callable[[Coroutine[Any, Any, None]], None]

ECHO = "def handler(event, context): return event"


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


class Told:
    """The owner of a template, or the listener of an environment; what it was told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self._changed = asyncio.Event()

    def __getattr__(self, name: str) -> Callable[..., None]:
        def tell(*values: Any) -> None:
            self.told.append((name, values[0] if values else None))
            self._changed.set()

        return tell

    async def wait(self, name: str) -> Any:
        while not (found := [value for each, value in self.told if each == name]):
            self._changed.clear()
            await self._changed.wait()
        return found[0]


class Made:
    """A template of some source, and its environments."""

    def __init__(self, backend: ProcessBackend, folder: Path, source: str, python: str = sys.executable):
        (folder / "app.py").write_text(source)
        self.folder = folder
        self.python = python
        self.owner = Told()
        self._sockets: list[socket.socket] = []
        read, write = os.pipe()
        self.template = backend.template(self.spec("template", template=True), write, self.owner)
        os.close(read)
        os.close(write)

    def spec(self, id: str, **fields: Any) -> Spec:
        environment = {
            "AWS_LAMBDA_RUNTIME_API": "fd:3",
            "_HANDLER": "app.handler",
            "LAMBDA_TASK_ROOT": str(self.folder),
        }
        return Spec(id, self.python, str(self.folder), environment, 1024 * limits.MIB, **fields)

    def spawn(self, id: str = "e1") -> tuple[Told, Side]:
        told = Told()
        dial, theirs = socket.socketpair()
        ours, connection = socket.socketpair()
        self._sockets += [dial, ours]
        read, write = os.pipe()
        with theirs, connection:
            socket.send_fds(dial, [b"."], [connection.fileno()])
            self.template.spawn(self.spec(id), theirs.fileno(), write, told)
        os.close(read)
        os.close(write)
        return told, Side(ours)

    def close(self) -> None:
        for each in self._sockets:
            each.close()


def with_template(run: Run, folder: Path, source: str, test: Callable[..., Any], **options: Any) -> list[str]:
    """Run a test on a template of `source`; the notes that were made."""
    notes: list[str] = []

    async def whole() -> None:
        backend = ProcessBackend(notes.append)
        made = Made(backend, folder, source, **options)
        try:
            async with asyncio.timeout(20):
                await test(made)
        finally:
            await backend.stop()
            made.close()

    run(whole())
    return notes


def test_what_is_asked_for_early_waits_until_it_is_ready(run: Run, tmp_path: Path) -> None:
    async def test(made: Made) -> None:
        told, side = made.spawn()
        assert made.owner.told == []
        process = await told.wait("spawned")
        assert [name for name, _ in made.owner.told] == ["spawned", "ready"]
        assert isinstance(process.pid, int)
        await asyncio.to_thread(side.event, b"[1]")
        assert (await asyncio.to_thread(side.read)).verb == "next"
        assert (await asyncio.to_thread(side.read)).body == b"[1]"
        process.signal(signal.SIGKILL)
        assert (await told.wait("exited")).status == -signal.SIGKILL

    assert with_template(run, tmp_path, ECHO, test) == []


def test_let_go_it_ends_with_its_last_environment(run: Run, tmp_path: Path) -> None:
    async def test(made: Made) -> None:
        told, _ = made.spawn()
        process: Process = await told.wait("spawned")
        made.template.let_go()
        assert "ended" not in dict(made.owner.told)
        process.signal(signal.SIGKILL)
        await made.owner.wait("ended")

    with_template(run, tmp_path, ECHO, test)


def test_let_go_before_it_is_made_it_ends_at_once(run: Run, tmp_path: Path) -> None:
    async def test(made: Made) -> None:
        made.template.let_go()
        await made.owner.wait("ended")

    with_template(run, tmp_path, "import time; time.sleep(60)", test)


def test_refused_its_environments_may_come_anew(run: Run, tmp_path: Path) -> None:
    async def test(made: Made) -> None:
        told, _ = made.spawn()
        await told.wait("spawn_lost")
        assert [name for name, _ in made.owner.told] == ["spawned", "refused", "ended"]

    with_template(run, tmp_path, f"import os; pipe = os.pipe()\n{ECHO}", test)


def test_an_init_that_fails_ends_those_that_wait(run: Run, tmp_path: Path) -> None:
    async def test(made: Made) -> None:
        told, _ = made.spawn()
        assert (await told.wait("exited")).status == 1
        assert [name for name, _ in made.owner.told] == ["spawned", "init_failed", "ended"]
        assert dict(made.owner.told)["init_failed"] == "ValueError"

    with_template(run, tmp_path, "raise ValueError", test)


def test_killed_its_environments_end_and_what_waits_may_come_anew(run: Run, tmp_path: Path) -> None:
    async def test(made: Made) -> None:
        told, _ = made.spawn()
        await told.wait("spawned")
        template: Process = await made.owner.wait("spawned")
        template.signal(signal.SIGSTOP)
        late, _ = made.spawn("e2")
        template.signal(signal.SIGKILL)
        assert (await told.wait("exited")).status == -signal.SIGKILL
        await late.wait("spawn_lost")
        assert [name for name, _ in made.owner.told] == ["spawned", "ready", "ended"]

    with_template(run, tmp_path, ECHO, test)


@pytest.mark.parametrize("spawner_too", [False, True])
def test_what_is_asked_of_a_dead_one_may_come_anew(run: Run, tmp_path: Path, spawner_too: bool) -> None:
    async def test(made: Made) -> None:
        template: Process = await made.owner.wait("spawned")
        await made.owner.wait("ready")
        end = parent(template.pid) if spawner_too else template.pid
        os.kill(end, signal.SIGKILL)
        wait_until(lambda: not alive(template.pid), "its end")  # blocking: we are not told of it yet
        told, _ = made.spawn()
        await told.wait("spawn_lost")
        assert [name for name, _ in told.told] == ["spawn_lost"]

    with_template(run, tmp_path, ECHO, test)


def test_one_that_hears_no_orders_is_ended(run: Run, tmp_path: Path) -> None:
    source = f"""
import os, signal
def deaf(number, frame):
    read, write = os.pipe()
    os.dup2(read, 3)
signal.signal(signal.SIGUSR1, deaf)
{ECHO}
"""

    async def test(made: Made) -> None:
        template: Process = await made.owner.wait("spawned")
        await made.owner.wait("ready")
        template.signal(signal.SIGUSR1)
        assert (await made.owner.wait("ended")).status == -signal.SIGKILL

    with_template(run, tmp_path, source, test)


def test_with_its_spawner_everything_ends_and_all_is_swept(run: Run, tmp_path: Path) -> None:
    source = """
import os, time
def handler(event, context):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            open("making", "w").write(str(os.getpid()))
            os.rename("making", "pid")
            time.sleep(60)
        os._exit(0)
    os.wait()
    while not os.path.exists("pid"):
        time.sleep(0.001)
    return []
"""

    async def test(made: Made) -> None:
        told, side = made.spawn()
        await told.wait("spawned")
        await asyncio.to_thread(side.event)
        assert (await asyncio.to_thread(side.read)).verb == "next"
        assert (await asyncio.to_thread(side.read)).body == b"[]"
        detached = int((tmp_path / "pid").read_text())
        os.kill(parent(made.owner.told[0][1].pid), signal.SIGKILL)
        assert (await told.wait("exited")).status == -signal.SIGKILL
        await made.owner.wait("ended")
        await asyncio.to_thread(wait_until, lambda: not os.path.exists(f"/proc/{detached}"), "its end")

    notes = with_template(run, tmp_path, source, test)
    assert ["was killed" in note for note in notes] == [True]


def test_without_an_interpreter_both_are_told(run: Run, tmp_path: Path) -> None:
    async def test(made: Made) -> None:
        told, _ = made.spawn()
        assert "cannot run the interpreter" in await told.wait("spawn_failed")
        assert (await made.owner.wait("ended")) == Exit(1, 0)

    with_template(run, tmp_path, ECHO, test, python="/nowhere/python")
