"""The spawner as a process: it starts environments, tells of their end, and leaves nothing behind."""

import json
import os
import signal
import socket
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.protocol import limits
from platform_process import alive, wait_until
from spawner_kit import Service

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path)
    yield service
    service.close()


ECHO = "def handler(event, context): return event"


def test_it_says_that_it_is_ready(service: Service) -> None:
    assert service.ready == {"ready": sys.version.split()[0], "pid": service.process.pid}


def test_an_environment_handles_events(service: Service) -> None:
    spawned = service.spawn(ECHO)
    spawned.side.event(b'{"a": 1}')
    spawned.side.accept()
    assert spawned.side.read().verb == "next"
    assert json.loads(spawned.side.read().body) == {"a": 1}


def test_what_an_environment_is_like(service: Service) -> None:
    spawned = service.spawn(
        """
        import os, resource, signal, sys
        def handler(event, context):
            return {
                "environ": dict(os.environ),
                "cwd": os.getcwd(),
                "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
                "open": sorted(os.listdir("/proc/self/fd"), key=int),
                "leader": os.getsid(0) == os.getpid(),
                "sigint": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
                "sigterm": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
                "random": __import__("random").random(),
            }
        """
    )
    spawned.side.event()
    spawned.side.accept()
    spawned.side.read()
    said = json.loads(spawned.side.read().body)
    assert said["cwd"] == str(service.folder)
    assert said["files"] == limits.OPEN_FILES
    assert said["leader"]
    assert said["sigint"]
    assert said["sigterm"]
    assert said["environ"]["AWS_EXECUTION_ENV"].startswith("AWS_Lambda_python3.")
    allowed = {"AWS_LAMBDA_RUNTIME_API", "_HANDLER", "LAMBDA_TASK_ROOT", "PATH", "AWS_EXECUTION_ENV"}
    assert said["environ"].keys() - {"_X_AMZN_TRACE_ID", "LC_CTYPE"} == allowed
    # stdin, stdout, stderr, dial, its connection, and the one that lists them
    assert len(said["open"]) == 6


def test_output_goes_to_the_log(service: Service) -> None:
    spawned = service.spawn("import os\nprint('one')\nos.write(2, b'two\\n')\nos._exit(0)")
    assert spawned.printed() == "one\ntwo\n"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("os._exit(7)", 7),
        ("os.kill(os.getpid(), 9)", -9),
        ("os.kill(os.getpid(), 11)", -11),
        ("raise SystemExit(3)", 3),
    ],
)
def test_its_end_is_told(service: Service, code: str, status: int) -> None:
    service.spawn(f"import os\n{code}")
    told = service.receive()
    assert (told["exited"], told["status"]) == ("e1", status)
    assert told["max_rss"] > limits.MIB


def test_a_root_that_is_not_there(service: Service) -> None:
    spawned = service.spawn(ECHO, root="/nowhere/at/all")
    assert service.receive()["status"] == 1
    assert "the environment could not be set up" in spawned.printed()


FORKING = """
    import os
    def sleep():
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.closerange(0, 100)
        while True:
            signal.pause()
    def handler(event, context):
        pids = []
        read, write = os.pipe()
        for detached in (False, True):
            if os.fork() == 0:
                if detached:
                    os.setsid()
                    if os.fork():
                        os._exit(0)
                os.write(write, b"%d\\n" % os.getpid())
                sleep()
        data = b""
        while data.count(b"\\n") < 2:
            data += os.read(read, 100)
        return list(map(int, data.split()))
    """


@pytest.mark.parametrize("how", ["environment killed", "service gone"])
def test_nothing_a_function_forked_is_left(service: Service, how: str) -> None:
    spawned = service.spawn(FORKING)
    spawned.side.event()
    spawned.side.accept()
    spawned.side.read()
    pids = json.loads(spawned.side.read().body)
    assert all(map(alive, pids))
    if how == "environment killed":
        os.kill(spawned.pid, signal.SIGKILL)
        assert service.receive()["exited"] == "e1"
    else:
        service.control.close()
    wait_until(lambda: not any(map(alive, [spawned.pid, *pids])), "the end of all")
    if how != "environment killed":
        assert service.process.wait(10) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_is_the_services_to_handle(service: Service, number: int) -> None:
    service.process.send_signal(number)
    spawned = service.spawn(ECHO)
    assert alive(spawned.pid)


def test_a_killed_spawner_takes_its_environments_along(service: Service) -> None:
    spawned = service.spawn(ECHO)
    spawned.side.event()
    spawned.side.read()
    service.process.kill()
    wait_until(lambda: not alive(spawned.pid), "the environment's end")


# The blank: a process that waits to be an environment.


def blanks(service: Service) -> list[int]:
    """Children of the spawner that are no environments."""
    path = f"/proc/{service.process.pid}/task/{service.process.pid}/children"
    pids = [int(pid) for pid in Path(path).read_text().split()]
    return [pid for pid in pids if pid not in {each.pid for each in service.environments}]


def waiting_blank(service: Service) -> int:
    wait_until(lambda: len(blanks(service)) == 1, "a blank")
    return blanks(service)[0]


def test_a_blank_becomes_the_environment_and_another_follows(service: Service) -> None:
    before = waiting_blank(service)
    spawned = service.spawn(ECHO)
    assert spawned.pid == before
    spawned.side.event(b"[1]")
    spawned.side.accept()
    spawned.side.read()
    assert spawned.side.read().body == b"[1]"
    assert waiting_blank(service) != before


def test_two_at_once_do_not_wait_for_a_blank(service: Service) -> None:
    first = waiting_blank(service)
    one, other = service.spawn(ECHO, "e1"), service.spawn(ECHO, "e2")
    assert one.pid == first
    for spawned in (one, other):
        spawned.side.event(b"[1]")
        spawned.side.accept()
        spawned.side.read()
        assert spawned.side.read().body == b"[1]"


def test_a_blank_that_was_killed_is_replaced(service: Service) -> None:
    before = waiting_blank(service)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: blanks(service) and blanks(service) != [before], "another blank")
    spawned = service.spawn(ECHO)
    assert spawned.pid != before
    assert alive(spawned.pid)


def test_an_order_too_large_for_the_blanks_socket_starts_all_the_same(service: Service) -> None:
    # The spawner's own buffer has room for it: it is the service's, which is as large as the system allows.
    service.control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1024 * 1024)
    waiting_blank(service)
    environment = {
        "AWS_LAMBDA_RUNTIME_API": "fd:3",
        "_HANDLER": "app.handler",
        "LAMBDA_TASK_ROOT": str(service.folder),
        "LONG": "x" * 120_000,
        "LONGER": "x" * 120_000,
    }
    spawned = service.spawn(ECHO, environment=environment)
    spawned.side.event(b"[1]")
    spawned.side.accept()
    spawned.side.read()
    assert spawned.side.read().body == b"[1]"


def test_the_blank_ends_with_the_service(service: Service) -> None:
    pid = waiting_blank(service)
    service.control.close()
    assert service.process.wait(10) == 0
    assert not alive(pid)


# With a command.


def program(folder: Path, text: str, mode: int = 0o755) -> list[str]:
    path = folder / "bootstrap"
    path.write_text(textwrap.dedent(text))
    path.chmod(mode)
    return [str(path)]


def test_what_a_command_is_started_with(service: Service) -> None:
    command = program(
        service.folder,
        f"""\
        #!{sys.executable} -I
        import json, os, resource, signal, sys
        print(json.dumps({{
            "argv": sys.argv[1:],
            "environ": dict(os.environ),
            "cwd": os.getcwd(),
            "open": sorted(os.listdir("/proc/self/fd"), key=int),
            "stdin": os.readlink("/proc/self/fd/0"),
            "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            "leader": os.getsid(0) == os.getpid(),
            "ignored": [line for line in open("/proc/self/status") if line.startswith(("SigIgn", "SigBlk"))],
        }}))
        """,
    )
    spawned = service.spawn(
        "", command=[*command, "one", "two words"], environment={"A": "b", "PATH": "/bin"}
    )
    told = service.receive()
    assert (told["exited"], told["status"], told["unstarted"]) == ("e1", 0, "")
    said = json.loads(spawned.printed())
    assert said["argv"] == ["one", "two words"]
    assert {k: v for k, v in said["environ"].items() if k != "LC_CTYPE"} == {"A": "b", "PATH": "/bin"}
    assert said["cwd"] == str(service.folder)
    assert said["open"] == ["0", "1", "2", "3"]  # the last lists them
    assert said["stdin"] == "/dev/null"
    assert said["files"] == limits.OPEN_FILES
    assert said["leader"]
    # Python itself ignores SIGPIPE and SIGXFSZ; no signal is blocked.
    python = (1 << signal.SIGPIPE - 1) | (1 << signal.SIGXFSZ - 1)
    assert [int(line.split()[1], 16) for line in said["ignored"]] == [0, python]


@pytest.fixture
def started_by_nohup() -> Iterator[None]:
    """As `nohup penstock serve` starts it, or a script by `penstock serve &`."""
    kept = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGQUIT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("started_by_nohup")
def test_a_command_ignores_no_signal(service: Service) -> None:
    command = program(service.folder, "#!/bin/sh\ngrep SigIgn /proc/self/status\n")
    assert service.spawn("", command=command).printed().split() == ["SigIgn:", "0" * 16]


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        ("#!/bin/sh\n", 0o644, "fork/exec {}: permission denied"),
        ("#!/nowhere/at/all\n", 0o755, "fork/exec {}: no such file or directory"),
        ("echo no interpreter is named\n", 0o755, "fork/exec {}: exec format error"),
        ("\x7fELF of some other kind", 0o755, "fork/exec {}: exec format error"),
        (None, 0, "Couldn't find valid bootstrap(s): [{}]"),
    ],
)
def test_a_command_that_cannot_be_executed(service: Service, text: str | None, mode: int, why: str) -> None:
    path = str(service.folder / "bootstrap")
    if text is not None:
        program(service.folder, text, mode)
    spawned = service.spawn("", command=[path])
    told = service.receive()
    assert (told["exited"], told["status"], told["unstarted"]) == ("e1", 1, why.format(path))
    assert spawned.printed() == ""


def test_a_command_in_a_folder_that_is_not_there(service: Service) -> None:
    service.spawn("", command=["/bin/true"], root="/nowhere/at/all")
    assert service.receive()["unstarted"] == "fork/exec /bin/true: no such file or directory"


def test_commands_leave_nothing_open_in_the_spawner(service: Service) -> None:
    def opened() -> int:
        return len(os.listdir(f"/proc/{service.process.pid}/fd"))

    waiting_blank(service)  # which is a descriptor too; commands do not take it
    counts = []
    for number in range(4):
        service.spawn("", f"e{number}", command=["/bin/true"])
        service.receive()
        counts.append(opened())
    assert len(set(counts)) == 1


def test_what_a_command_forked_ends_with_it(service: Service) -> None:
    command = program(service.folder, "#!/bin/sh\nsetsid sleep 1000 >/dev/null 2>&1 &\necho $!\n")
    spawned = service.spawn("", command=command)
    assert service.receive()["exited"] == "e1"
    pid = int(spawned.printed())
    wait_until(lambda: not alive(pid), "the end of what it forked")
