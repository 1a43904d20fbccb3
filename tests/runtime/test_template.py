"""An initialised template as a process: made by the spawner, it makes environments in its turn."""

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from platform_process import alive, wait_until
from spawner_kit import Service, Spawned

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


class Template:
    """A template, and how to have environments of it."""

    def __init__(self, service: Service, source: str, **environment: str) -> None:
        self.service = service
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(10)
        self.process = service.template(source, theirs, **environment)
        self.said = service.receive(self.control)

    def spawn(self, id: str = "e1", **environment: str) -> Spawned:
        return self.service.spawn(id=id, by=self.control, variables=environment)

    def called(self, spawned: Spawned, event: Any = None) -> Any:
        """What the handler gives."""
        spawned.side.event(json.dumps(event).encode())
        spawned.side.accept()
        assert spawned.side.read().verb == "next"
        return json.loads(spawned.side.read().body)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path)
    yield service
    service.close()


def test_the_functions_init_runs_once(service: Service) -> None:
    source = """
        import os
        init = os.getpid()
        os.environ["MADE"] = "by the init"
        os.chdir("/")
        def handler(event, context):
            return [init, os.getpid(), os.getppid(), os.environ["MADE"], os.environ["LOG"], os.getcwd()]
        """
    template = Template(service, source, LOG="template")
    assert template.said == {"ready": sys.version.split()[0], "pid": template.process.pid}
    for number in (1, 2):
        spawned = template.spawn(f"e{number}", LOG=f"log {number}")
        expected = [template.process.pid, spawned.pid, template.process.pid, "by the init"]
        assert template.called(spawned) == [*expected, f"log {number}", "/"]


def test_what_an_environment_has_of_its_template(service: Service) -> None:
    (service.folder / "data").write_text("0123456789")
    source = """
        import os, resource, signal
        signal.signal(signal.SIGTERM, lambda *_: None)
        data = open("data", buffering=1)
        raw = open("data", "rb", buffering=0)
        raw.read(4)
        def handler(event, context):
            return {
                "open": sorted(map(int, os.listdir("/proc/self/fd")))[:-1],
                "sigterm": callable(signal.getsignal(signal.SIGTERM)),
                "sigint": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
                "sigchld": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
                "leader": os.getsid(0) == os.getpid(),
                "locks": resource.getrlimit(10),
                "blocked": list(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
                "read": raw.read(3).decode(),
            }
        """
    template = Template(service, source)
    for number in (1, 2):
        spawned = template.spawn(f"e{number}")
        mark = 1000 + len(service.environments)
        assert template.called(spawned) == {
            "open": [0, 1, 2, 3, 4, 5, 6],  # the dial, the two files, the connection
            "sigterm": True,
            "sigint": True,
            "sigchld": True,
            "leader": True,
            "locks": [mark, mark],
            "blocked": [],
            "read": "456",
        }


def test_what_is_printed_goes_to_the_log_of_whoever_prints(service: Service) -> None:
    source = """
        import logging, sys
        handler_of_init = logging.StreamHandler(sys.stderr)
        print("in the template")
        def handler(event, context):
            print("in", event)
            handler_of_init.emit(logging.makeLogRecord({"msg": "logged"}))
        """
    template = Template(service, source)
    spawned = template.spawn()
    template.called(spawned, "e1")
    os.kill(spawned.pid, signal.SIGKILL)
    assert service.receive(template.control)["exited"] == "e1"
    assert spawned.printed() == "in e1\nlogged\n"
    template.control.close()
    assert template.process.printed() == "in the template\n"


def test_every_environment_has_random_numbers_of_its_own(service: Service) -> None:
    source = """
        import random, uuid, secrets
        own = random.Random(1)
        def handler(event, context):
            return [random.random(), str(uuid.uuid4()), secrets.token_hex(8), own.random(), hash("text")]
        """
    template = Template(service, source)
    first, second = (template.called(template.spawn(id)) for id in ("e1", "e2"))
    assert all(a != b for a, b in zip(first[:3], second[:3], strict=True))
    assert first[3:] == second[3:]  # as documented: there is the hook for it


def test_hooks(service: Service) -> None:
    source = """
        import os
        from snapshot_restore_py import register_after_restore, register_before_snapshot
        seen = []
        connection = os.pipe()
        @register_before_snapshot
        def close():
            seen.append(("before", os.getpid()))
            for fd in connection:
                os.close(fd)
        register_after_restore(lambda word: seen.append((word, os.getpid())), "after")
        def handler(event, context):
            return seen
        """
    template = Template(service, source)
    spawned = template.spawn()
    assert template.called(spawned) == [["before", template.process.pid], ["after", spawned.pid]]


def test_an_after_restore_hook_that_fails(service: Service) -> None:
    source = """
        from snapshot_restore_py import register_after_restore
        register_after_restore(int, "x")
        def handler(event, context): ...
        """
    template = Template(service, source)
    spawned = template.spawn()
    spawned.side.answer(202, b"{}")
    sent = spawned.side.read()
    assert sent.path == "/2018-06-01/runtime/restore/error"
    assert sent.headers["lambda-runtime-function-error-type"] == "Runtime.AfterRestoreError"
    assert json.loads(sent.body)["errorType"] == "ValueError"
    exited = service.receive(template.control)
    assert (exited["exited"], exited["status"]) == ("e1", 65)
    assert "[ERROR] ValueError: invalid literal" in spawned.printed()


@pytest.mark.parametrize(
    ("source", "kind", "name"),
    [
        ("raise ValueError('no')", "ValueError", "ValueError"),
        ("import missing", "Runtime.ImportModuleError", "Runtime.ImportModuleError"),
        (
            "import snapshot_restore_py as s\ns.register_before_snapshot(int, 'x')\ndef handler(e, c): ...",
            "Runtime.BeforeSnapshotError",
            "ValueError",
        ),
    ],
)
def test_an_init_that_fails(service: Service, source: str, kind: str, name: str) -> None:
    template = Template(service, source)
    assert template.said["init_error"] == kind
    assert json.loads(template.said["document"])["errorType"] == name
    assert service.receive()["status"] == 1
    assert "[ERROR]" in template.process.printed()


def test_an_init_that_ends_the_process(service: Service) -> None:
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    service.template("import sys; sys.exit(3)", theirs)
    with control:
        assert control.recv(100) == b""
    assert service.receive()["status"] == 3


def test_one_that_holds_what_cannot_be_shared_is_refused(service: Service) -> None:
    source = "import socket\npair = socket.socketpair()\ndef handler(event, context): ..."
    template = Template(service, source)
    assert template.said["refused"] == "it holds a socket (descriptor 4)"
    assert service.receive()["status"] == 0


@pytest.mark.parametrize(
    "init",
    [
        "import socket; socket.send_fds = None",  # what a rehearsal needs
        "import os; os.close(0)",  # what a blank needs
        "import os; os.environ.clear()",  # what the runtime needs
        "import os; os.register_at_fork(after_in_child=lambda: os.environ.pop('NEVER', None))",
    ],
)
def test_an_init_may_change_what_forks_rely_on(service: Service, init: str) -> None:
    template = Template(service, f"{init}\ndef handler(event, context): return event")
    for number in range(3):
        assert template.called(template.spawn(f"e{number}"), number) == number


def test_forks_that_crash_are_not_made_again_and_again(service: Service) -> None:
    source = """
        import os
        def crash():
            with open("forks", "a") as file:
                file.write("x")
            os.abort()
        os.register_at_fork(after_in_child=crash)
        def handler(event, context): ...
        """
    template = Template(service, source)
    forks = service.folder / "forks"
    wait_until(forks.exists, "a blank that crashes")
    template.control.settimeout(0.2)
    with pytest.raises(TimeoutError):
        template.control.recv(100)
    assert forks.read_text() == "x"


def test_it_buries_its_environments_and_what_they_left(service: Service) -> None:
    source = """
        import os, time
        def handler(event, context):
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    time.sleep(60)
                os._exit(0)
            os.wait()
            os._exit(7)
        """
    template = Template(service, source)
    spawned = template.spawn()
    spawned.side.event(b"{}")
    exited = service.receive(template.control)
    assert (exited["exited"], exited["status"]) == ("e1", 7)
    assert spawned.printed() == ""  # the end of its log: nobody has it any more


def test_it_ends_with_its_socket_and_everything_below_it(service: Service) -> None:
    template = Template(service, "def handler(event, context): ...")
    spawned = template.spawn()
    template.control.close()
    exited = service.receive()
    assert (exited["exited"], exited["status"]) == ("template", 0)
    wait_until(lambda: not alive(spawned.pid), "the environment's end")


def test_killed_it_takes_its_environments_along(service: Service) -> None:
    template = Template(service, "def handler(event, context): ...")
    spawned = template.spawn()
    os.kill(template.process.pid, signal.SIGKILL)
    assert service.receive()["status"] == -signal.SIGKILL
    wait_until(lambda: not alive(spawned.pid), "the environment's end")
    assert template.control.recv(100) == b""
