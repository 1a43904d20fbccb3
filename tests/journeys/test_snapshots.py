"""Initialised templates: a function's init runs once, and every environment is a fork of what it has made."""

import base64
import io
import json
import os
import re
import signal
import sys
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from gateway_client import Caller, call
from platform_process import Platform, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process holds")

Start = Callable[..., Platform]

# Its init counts how often it was run, in a file; its environments say what they are.
COUNTING = """
    import os, random, time
    from snapshot_restore_py import register_after_restore, register_before_snapshot
    hooks = []
    register_before_snapshot(hooks.append, "before")
    register_after_restore(hooks.append, "after")
    with open(__file__ + ".inits", "a") as file:
        file.write("x")
    print("init runs")

    def lambda_handler(event, context):
        if (event.get("path") or event.get("rawPath")) == "/hold":
            return hold()
        return state()

    def state():
        return {
            "pid": os.getpid(),
            "parent": os.getppid(),
            "type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"],
            "stream": os.environ["AWS_LAMBDA_LOG_STREAM_NAME"],
            "hooks": hooks,
            "random": random.random(),
        }

    def hold():
        yield state()
        while True:
            time.sleep(0.01)
            yield {}
"""


def inits(platform: Platform, name: str) -> int:
    return len((platform.folder / f"{name}.py.inits").read_text())


def holding(platform: Platform, count: int) -> list[dict[str, Any]]:
    """What so many environments say of themselves, that run at once."""
    callers = [Caller(platform, "/hold") for _ in range(count)]
    states = [json.loads(caller.read().splitlines()[0]) for caller in callers]
    for caller in callers:
        caller.leave()
        caller.record()
    return states


def test_each_environment_is_a_fork_that_was_initialised(platform: Start) -> None:
    counting = platform({"counting": COUNTING}, "--snapshot")
    states = holding(counting, 4)
    assert inits(counting, "counting") == 1
    assert len({state["parent"] for state in states}) == 1
    for of_each in ("pid", "stream", "random"):
        assert len({state[of_each] for state in states}) == 4
    assert all(state["type"] == "snap-start" for state in states)
    assert all(state["hooks"] == ["before", "after"] for state in states)
    assert len(counting.find(event="log", message="init runs")) == 1


def test_the_report_has_what_the_restore_took(platform: Start) -> None:
    counting = platform({"counting": COUNTING}, "--snapshot")
    reply = counting.client().invoke(FunctionName="counting", Payload=b'{"path": "/"}', LogType="Tail")
    tail = base64.b64decode(reply["LogResult"]).decode()
    found = re.search(r"\tRestore Duration: ([\d.]+) ms\tBilled Restore Duration: (\d+) ms", tail)
    assert found, tail
    assert "Init Duration" not in tail


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("raise ValueError('no')", "ValueError"),
        ("import os; os._exit(3)", "Runtime.ExitError"),
        ("import snapshot_restore_py as s\ns.register_before_snapshot(int, 'x')", "ValueError"),
        ("import snapshot_restore_py as s\ns.register_after_restore(int, 'x')", "ValueError"),
    ],
)
def test_an_init_that_fails_is_told_to_each_caller(platform: Start, source: str, error: str) -> None:
    failing = platform(
        {"failing": f"print('init runs')\n{source}\ndef lambda_handler(event, context): ..."}, "--snapshot"
    )
    for _ in range(2):
        reply = failing.client().invoke(FunctionName="failing", LogType="Tail")
        assert reply["FunctionError"] == "Unhandled"
        assert json.loads(reply["Payload"].read())["errorType"] == error
        if "after_restore" not in source:
            assert "init runs" in base64.b64decode(reply["LogResult"]).decode()


def test_an_init_that_takes_too_long(platform: Start) -> None:
    source = "import time; time.sleep(60)\ndef lambda_handler(event, context): ..."
    stuck = platform({"stuck": source}, "--snapshot", "--init-timeout", "0.5")
    answer = call(stuck, "/")
    assert answer.status == 502
    assert "longer than 0.5 s" in answer.detail


def test_an_init_that_uses_too_much_memory(platform: Start) -> None:
    source = """
        import time
        kept = bytearray(200_000_000)
        time.sleep(60)
        def lambda_handler(event, context): ...
        """
    large = platform({"large": source}, "--snapshot", "--memory", "128")
    answer = call(large, "/")
    assert answer.status == 502
    assert "of the 128 MB it may" in answer.detail


def test_what_cannot_be_shared_is_said_and_the_function_runs_as_without(platform: Start) -> None:
    source = """
        import os, socket
        pair = socket.socketpair()
        def lambda_handler(event, context):
            return os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]
        """
    holding = platform({"holding": source}, "--snapshot")
    assert call(holding, "/").text == "on-demand"
    notes = [line["message"] for line in holding.find(event="log") if "template" in line["message"]]
    assert len(notes) == 1
    assert "it holds a socket (descriptor " in notes[0]
    assert "before-snapshot hook" in notes[0]


def test_one_that_cannot_be_forked_is_given_up(platform: Start) -> None:
    source = """
        import os
        os.register_at_fork(before=lambda: os._exit(7))
        def lambda_handler(event, context):
            return os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]
        """
    unforkable = platform({"unforkable": source}, "--snapshot")
    assert call(unforkable, "/").text == "on-demand"
    assert len(made(unforkable)) == 1


def test_a_killed_template_is_made_anew(platform: Start) -> None:
    counting = platform({"counting": COUNTING}, "--snapshot")
    (state,) = holding(counting, 1)
    caller = Caller(counting, "/hold")
    assert json.loads(caller.read().splitlines()[0])["parent"] == state["parent"]
    os.kill(state["parent"], signal.SIGKILL)
    assert caller.finish().broken  # its environment dies with the template
    (other,) = holding(counting, 1)
    assert other["parent"] != state["parent"]
    assert other["type"] == "snap-start"
    assert inits(counting, "counting") == 2


def test_nothing_of_a_template_is_left(platform: Start) -> None:
    counting = platform({"counting": COUNTING}, "--snapshot")
    (state,) = holding(counting, 1)
    counting.process.kill()
    for pid in (state["pid"], state["parent"]):
        wait_until(lambda pid=pid: not os.path.exists(f"/proc/{pid}"), "the end of it")


PUBLISHED = """
import os
init = os.getpid()
def handler(event, context):
    return [init == os.getpid(), os.getppid(), os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]]
"""


def zipped(source: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("app.py", source)
    return buffer.getvalue()


def test_snap_start_through_the_lambda_api(platform: Start) -> None:
    served = platform({})
    client = served.client()

    def called(**members: Any) -> Any:
        return json.loads(client.invoke(FunctionName="app", **members)["Payload"].read())

    shown = client.create_function(
        FunctionName="app",
        Runtime=f"python3.{sys.version_info[1]}",
        Role="arn:aws:iam::000000000000:role/any",
        Handler="app.handler",
        Code={"ZipFile": zipped(PUBLISHED)},
        SnapStart={"ApplyOn": "PublishedVersions"},
        Publish=True,
    )
    assert shown["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"}
    wait_until(lambda: made(served), "the template, before anybody calls")
    own_init, template, kind = called(Qualifier="1")
    assert (own_init, kind) == (False, "snap-start")
    assert called()[0] is True  # $LATEST has none
    assert client.get_function_configuration(FunctionName="app")["SnapStart"]["OptimizationStatus"] == "Off"

    client.update_function_code(FunctionName="app", ZipFile=zipped(PUBLISHED + "\n# another"), Publish=True)
    assert called(Qualifier="2")[1] != template
    assert called(Qualifier="1")[1] == template  # of a version that is still there
    client.delete_function(FunctionName="app")
    wait_until(lambda: not os.path.exists(f"/proc/{template}"), "the end of the template")


def made(platform: Platform) -> list[str]:
    lines = [line["message"] for line in platform.find(event="log")]
    return [line for line in lines if line.startswith("SnapStart template made in ")]


def test_environments_of_many_invocations_are_forks_too(platform: Start) -> None:
    source = """
        import asyncio, logging, os, sys
        init = os.getpid()
        own = logging.StreamHandler(sys.stderr)  # knows the stream of the init
        async def lambda_handler(event, context):
            print("printed")
            own.emit(logging.makeLogRecord({"msg": "logged"}))
            await asyncio.sleep(0.3)
            return {"pid": os.getpid(), "initialised": init != os.getpid(), "id": context.aws_request_id}
        """
    many = platform({"many": source}, "--snapshot", "--concurrency", "10")
    callers = [Caller(many, "/") for _ in range(4)]
    answers = [json.loads(caller.finish().body) for caller in callers]
    assert len({answer["pid"] for answer in answers}) < 4
    assert all(answer["initialised"] for answer in answers)
    for answer in answers:
        for message in ("printed", "logged"):
            many.wait_for(event="log", message=message, requestId=answer["id"])
