"""Environments as local processes, through the one interface."""

import asyncio
import errno
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from http_kit import LOOPS
from penstock.protocol import limits
from penstock.service.backends import Exit, Process, SpawnerError, Spec
from penstock.service.backends.process import ProcessBackend
from platform_process import alive, wait_until
from runtime_kit import Side

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


class Told:
    """A listener, and the environment it listens for."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.process: asyncio.Future[Process] = loop.create_future()
        self.exit: asyncio.Future[Exit] = loop.create_future()
        self.failure: asyncio.Future[str] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()

    def spawned(self, process: Process) -> None:
        self.process.set_result(process)

    def exited(self, exit: Exit) -> None:
        self.exit.set_result(exit)

    def spawn_failed(self, message: str) -> None:
        self.failure.set_result(message)

    def spawn_lost(self) -> None:
        self.lost.set_result(None)


def run(
    test: Callable[[ProcessBackend, list[str]], Coroutine[Any, Any, None]], loop: str = "asyncio"
) -> None:
    async def whole() -> None:
        notes: list[str] = []
        backend = ProcessBackend(notes.append)
        try:
            async with asyncio.timeout(20):
                await test(backend, notes)
        finally:
            await backend.stop()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(whole())


def spawn(backend: ProcessBackend, folder: Path, source: str, id: str = "e1") -> Told:
    (folder / "app.py").write_text(source)
    told = Told()
    dial, theirs = socket.socketpair()
    read, write = os.pipe()
    environment = {
        "AWS_LAMBDA_RUNTIME_API": "fd:3",
        "_HANDLER": "app.handler",
        "LAMBDA_TASK_ROOT": str(folder),
    }
    spec = Spec(id, sys.executable, str(folder), environment, 1024 * limits.MIB)
    ours, connection = socket.socketpair()
    with theirs, connection:
        socket.send_fds(dial, [b"."], [connection.fileno()])
        backend.spawn(spec, theirs.fileno(), write, told)
    os.close(write)
    os.close(read)
    told.side = Side(ours)  # type: ignore[attr-defined]
    told.dial = dial  # type: ignore[attr-defined]
    return told


def parent(pid: int) -> int:
    """Who has started a process; 0 when there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def close(told: Told) -> None:
    told.side.sock.close()  # type: ignore[attr-defined]
    told.dial.close()  # type: ignore[attr-defined]


ECHO = "def handler(event, context): return event"


@pytest.mark.parametrize("loop", LOOPS)
def test_an_environment_lives_and_ends(tmp_path: Path, loop: str) -> None:
    async def test(backend: ProcessBackend, notes: list[str]) -> None:
        await backend.start(sys.executable)
        await backend.start(sys.executable)  # it is there already
        told = spawn(backend, tmp_path, ECHO)
        process = await told.process
        assert parent(process.pid)
        process.signal(signal.SIGKILL)
        exit = await told.exit
        assert exit.status == -signal.SIGKILL
        assert exit.max_rss > 0
        process.signal(signal.SIGKILL)  # too late: nothing happens
        close(told)
        assert notes == []

    run(test, loop)


def test_an_exit_status(tmp_path: Path) -> None:
    async def test(backend: ProcessBackend, notes: list[str]) -> None:
        await backend.start(sys.executable)
        told = spawn(backend, tmp_path, "import os\nos._exit(7)")
        assert (await told.exit).status == 7
        close(told)

    run(test)


def test_stopping_ends_every_process(tmp_path: Path) -> None:
    async def test(backend: ProcessBackend, notes: list[str]) -> None:
        await backend.start(sys.executable)
        environments = [spawn(backend, tmp_path, ECHO, f"e{number}") for number in range(3)]
        pids = [(await told.process).pid for told in environments]
        await backend.stop()
        for told in environments:
            assert (await told.exit).status == -signal.SIGKILL
            close(told)
        assert not any(map(parent, pids))

    run(test)


def test_a_killed_spawner_is_started_again(tmp_path: Path) -> None:
    async def test(backend: ProcessBackend, notes: list[str]) -> None:
        await backend.start(sys.executable)
        told = spawn(backend, tmp_path, ECHO)
        process = await told.process
        os.kill(parent(process.pid), signal.SIGKILL)
        assert (await told.exit).status == -signal.SIGKILL
        close(told)
        assert len(notes) == 1
        assert "starting another" in notes[0]
        again = spawn(backend, tmp_path, ECHO, "e2")
        await asyncio.wait((again.process, again.failure), return_when=asyncio.FIRST_COMPLETED)
        assert again.process.done(), again.failure.result()
        close(again)

    run(test)


def test_what_is_asked_of_a_dead_spawner_may_come_anew(tmp_path: Path) -> None:
    async def test(backend: ProcessBackend, notes: list[str]) -> None:
        await backend.start(sys.executable)
        told = spawn(backend, tmp_path, ECHO)
        spawner = parent((await told.process).pid)
        os.kill(spawner, signal.SIGKILL)
        wait_until(lambda: not alive(spawner), "its end")  # blocking: we are not told of it yet
        late = spawn(backend, tmp_path, ECHO, "e2")
        await late.lost
        assert not late.failure.done()
        close(told)
        close(late)

    run(test)


def test_without_descriptors_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(backend: ProcessBackend, notes: list[str]) -> None:
        await backend.start(sys.executable)
        real, given = os.dup, []

        def few(fd: int) -> int:
            if given:
                raise OSError(errno.EMFILE, "Too many open files")
            given.append(real(fd))
            return given[0]

        told = Told()
        spec = Spec("e1", sys.executable, str(tmp_path), {}, limits.MIB)
        with monkeypatch.context() as patch:
            patch.setattr(os, "dup", few)
            with pytest.raises(OSError, match="Too many open files"):
                backend.spawn(spec, 0, 0, told)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(given[0])
        await backend.stop()
        assert not told.exit.done()  # whoever could not start it has buried it already

    run(test)


def script(folder: Path, text: str) -> str:
    path = folder / "python"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot run the interpreter .*: No such file or directory"),
        (
            "#!/bin/sh\necho some words >&2; echo the last line >&2; exit 1",
            "cannot run functions: the last line",
        ),
        ("#!/bin/sh\nexit 0", "cannot run functions: it ended without a word"),
    ],
)
def test_an_interpreter_that_cannot_be_used(tmp_path: Path, text: str | None, said: str) -> None:
    python = script(tmp_path, text) if text else str(tmp_path / "nope")

    async def test(backend: ProcessBackend, notes: list[str]) -> None:
        with pytest.raises(SpawnerError, match=said):
            await backend.start(python)

    run(test)
