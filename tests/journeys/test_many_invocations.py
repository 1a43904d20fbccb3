"""Environments that run many invocations at once: a thousand streams, and what befalls one of them."""

import asyncio
import json
import os
import signal
import sys
import textwrap
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway_client import Caller, call, log_of
from management_kit import PYTHON, ROLE, zipped
from platform_process import Platform, wait_until

# Names its process and its request, then ticks until the file `gate` is there. By path: /stuck does not let
# itself be cancelled, /crash ends the process, /slow ticks longer than its time.
TICKING = """
    import asyncio, os

    async def lambda_handler(event, context):
        path = event.get("path", "")
        if path == "/crash":
            os.kill(os.getpid(), 9)
        if path == "/pid":
            return {"statusCode": 200, "body": str(os.getpid())}
        return {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": ticks(path, context)}

    async def ticks(path, context):
        print("begun", context.aws_request_id)
        try:
            yield f"{os.getpid()} {context.aws_request_id}\\n"
            number = 0
            while path == "/slow" or not os.path.exists("gate"):
                yield f"{number}\\n"
                number += 1
                try:
                    await asyncio.sleep(0.1)
                except asyncio.CancelledError:
                    if path != "/stuck":
                        raise
                    while not os.path.exists("gate"):
                        try:
                            await asyncio.sleep(0.05)
                        except asyncio.CancelledError:
                            pass
            yield "end\\n"
        finally:
            await asyncio.create_task(say(context.aws_request_id))

    async def say(id):
        print("ended", id)
"""


class Stream:
    """One client, and what it has seen."""

    def __init__(self) -> None:
        self.pid = 0
        self.request_id = ""
        self.ticks = 0
        self.ending = ""
        self.ticked = asyncio.Event()
        self._writer: asyncio.StreamWriter

    async def run(self, address: tuple[str, int], path: str = "/") -> None:
        reader, self._writer = await asyncio.open_connection(*address)
        try:
            self._writer.write(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            text = b""
            while size := int(await reader.readuntil(b"\r\n"), 16):
                text += (await reader.readexactly(size + 2))[:-2]
                *lines, text = text.split(b"\n")
                for line in lines:
                    self.line(line.decode())
            self.ending = "whole"
        except (asyncio.IncompleteReadError, ConnectionResetError):
            self.ending = self.ending or "broken"
        finally:
            self._writer.close()

    def line(self, line: str) -> None:
        if not self.pid:
            pid, self.request_id = line.split()
            self.pid = int(pid)
        elif line != "end":
            assert int(line) == self.ticks  # nothing is lost, doubled or out of order
            self.ticks += 1
        self.ticked.set()

    def leave(self) -> None:
        self.ending = "left"
        self._writer.close()

    async def seen(self, ticks: int) -> None:
        """Until it has seen that many."""
        while self.ticks < ticks:
            self.ticked.clear()
            await self.ticked.wait()


async def progress(streams: list[Stream], ticks: int = 3) -> None:
    """Until each of `streams` has seen `ticks` more."""
    wanted = [(stream, stream.ticks + ticks) for stream in streams]
    async with asyncio.timeout(40):
        for stream, enough in wanted:
            await stream.seen(enough)


async def begun(platform: Platform, count: int, path: str = "/") -> tuple[list[Stream], list[Any]]:
    streams = [Stream() for _ in range(count)]
    tasks = [asyncio.create_task(stream.run(platform.gateway_address, path)) for stream in streams]
    await progress(streams, 1)
    return streams, tasks


async def recorded(platform: Platform, request_id: str) -> dict[str, Any]:
    """The log's event of a request; streams go on meanwhile."""
    return await asyncio.to_thread(platform.wait_for, event="request", requestId=request_id)


async def pid(platform: Platform) -> int:
    return int((await asyncio.to_thread(call, platform, "/pid")).text)


async def whole(platform: Platform, streams: list[Stream], tasks: list[Any]) -> None:
    """Let them end, and see that they do."""
    (platform.folder / "gate").touch()
    async with asyncio.timeout(40):
        await asyncio.gather(*tasks)
    assert Counter(stream.ending for stream in streams) == {"whole": len(streams)}


def printed(platform: Platform, word: str) -> dict[str, str]:
    """Of the lines that begin with this word: whose they are by the log, and by what they say."""
    lines = platform.find(event="log", platform=None)
    return {
        line["requestId"]: line["message"].split()[1] for line in lines if line["message"].startswith(word)
    }


def sdk_stream(platform: Platform) -> Stream:
    """A stream as boto3 reads it, to its end."""
    stream = Stream()
    client = platform.client()
    answer = client.invoke_with_response_stream(FunctionName="app", Payload=b"{}")
    text = b"".join(
        event["PayloadChunk"]["Payload"] for event in answer["EventStream"] if "PayloadChunk" in event
    )
    for line in text.partition(bytes(8))[2].decode().splitlines():
        stream.line(line)
    stream.ending = "whole" if text.endswith(b"end\n") else "broken"
    return stream


def test_a_thousand_streams_in_environments_of_a_hundred(tmp_path):
    async def hold(platform: Platform) -> list[Stream]:
        with ThreadPoolExecutor(20) as threads:
            loop = asyncio.get_running_loop()
            by_sdk = [loop.run_in_executor(threads, sdk_stream, platform) for _ in range(20)]
            streams, tasks = await begun(platform, 980)
            await progress(streams, 20)
            await whole(platform, streams, tasks)
            return streams + await asyncio.gather(*by_sdk)

    with Platform(tmp_path, {"app": TICKING}, "--concurrency", "100") as platform:
        streams = asyncio.run(hold(platform))
        assert {stream.ending for stream in streams} == {"whole"}
        ids = {stream.request_id for stream in streams}
        assert len(ids) == 1000
        environments = Counter(stream.pid for stream in streams)
        assert len(environments) < 20
        assert max(environments.values()) <= 100
        for word in ("begun", "ended"):
            said = wait_until(lambda word=word: len(lines := printed(platform, word)) == 1000 and lines, word)
            assert said == {id: id for id in ids}
        platform.wait_for(980, event="request", ending="done", ok=True)
        assert platform.find(event="note") == []


def test_one_of_a_hundred_that_leaves_takes_nobody_along(tmp_path):
    async def hold(platform: Platform) -> None:
        streams, tasks = await begun(platform, 100)
        leaving, *others = streams
        assert {stream.pid for stream in streams} == {leaving.pid}
        leaving.leave()
        record = await recorded(platform, leaving.request_id)
        assert record["ending"] == "client left"
        assert "the task was cancelled after" in record["detail"]
        assert log_of(platform, record) == [f"begun {leaving.request_id}", f"ended {leaving.request_id}"]
        await progress(others)
        # Its place is free again, in the same process.
        (again,), more = await begun(platform, 1)
        assert again.pid == leaving.pid
        await whole(platform, [*others, again], tasks[1:] + more)

    flags = ("--concurrency", "100", "--max-environments", "1")
    with Platform(tmp_path, {"app": TICKING}, *flags) as platform:
        asyncio.run(hold(platform))


def test_one_that_does_not_let_go_has_its_environment_replaced_when_the_others_have_ended(tmp_path):
    async def hold(platform: Platform) -> None:
        (stuck,), _ = await begun(platform, 1, "/stuck")
        others, tasks = await begun(platform, 2)
        assert {stream.pid for stream in others} == {stuck.pid}
        stuck.leave()
        record = await recorded(platform, stuck.request_id)
        assert "had not let go, and was given up" in record["detail"]
        await progress(others)
        assert await pid(platform) != stuck.pid
        await whole(platform, others, tasks)
        wait_until(lambda: not alive(stuck.pid), "the environment to end")

    flags = ("--concurrency", "3", "--start-ahead", "0", "--cancel-grace", "0.3")
    with Platform(tmp_path, {"app": TICKING}, *flags) as platform:
        asyncio.run(hold(platform))


def test_a_timeout_ends_its_own_invocation_only(tmp_path):
    async def hold(platform: Platform) -> None:
        (slow,), ended = await begun(platform, 1, "/slow")
        await progress([slow], 5)
        others, tasks = await begun(platform, 2)
        await asyncio.gather(*ended)
        assert slow.ending == "broken"
        record = await recorded(platform, slow.request_id)
        assert (record["ending"], others[0].pid, others[1].pid) == ("timed out", slow.pid, slow.pid)
        await progress(others, 1)
        await whole(platform, others, tasks)
        wait_until(lambda: slow.request_id in printed(platform, "ended"), "its clean-up")

    flags = ("--concurrency", "3", "--start-ahead", "0", "--timeout", "2")
    with Platform(tmp_path, {"app": TICKING}, *flags) as platform:
        asyncio.run(hold(platform))


def test_a_crash_ends_all_that_run_there(tmp_path):
    async def hold(platform: Platform) -> None:
        streams, tasks = await begun(platform, 5)
        assert len({stream.pid for stream in streams}) == 1
        assert (await asyncio.to_thread(call, platform, "/crash")).status == 502
        await asyncio.gather(*tasks)
        assert {stream.ending for stream in streams} == {"broken"}
        for stream in streams:
            record = await recorded(platform, stream.request_id)
            assert (record["ending"], "killed" in record["detail"]) == ("crashed", True)
        assert await pid(platform) != streams[0].pid

    with Platform(tmp_path, {"app": TICKING}, "--concurrency", "10", "--start-ahead", "0") as platform:
        asyncio.run(hold(platform))


SYNC = """
    import os, time

    def lambda_handler(event, context):
        print("begun", context.aws_request_id)
        return {"statusCode": 200, "body": body(context.aws_request_id)}

    def body(id):
        yield f"{os.getpid()} {id}\\n"
        number = 0
        while not os.path.exists("gate"):
            yield f"{number}\\n"
            number += 1
            time.sleep(0.05)
        print("ended", id)
"""


def test_a_handler_that_is_not_async_is_refused_with_what_to_do(tmp_path):
    with Platform(tmp_path, {"app": SYNC}, "--concurrency", "10") as platform:
        answer = call(platform, "/")
        assert (answer.status, answer.ending) == (502, "init error")
        assert "Runtime.HandlerNotAsync" in answer.detail
        assert "write `async def`, or have it run in threads" in answer.detail


def test_it_runs_in_threads_when_they_are_asked_for(tmp_path):
    async def hold(platform: Platform) -> None:
        streams, tasks = await begun(platform, 50)
        assert len({stream.pid for stream in streams}) == 1
        streams[0].leave()
        record = await recorded(platform, streams[0].request_id)
        assert record["ending"] == "client left"
        await progress(streams[1:])
        await whole(platform, streams[1:], tasks[1:])
        ids = {stream.request_id for stream in streams}
        assert printed(platform, "begun") == {id: id for id in ids}
        ids.remove(streams[0].request_id)
        said = wait_until(lambda: len(lines := printed(platform, "ended")) == 49 and lines, "all ends")
        assert said == {id: id for id in ids}

    flags = ("--concurrency", "50", "--env", "PENSTOCK_SYNC_HANDLERS=threads", "--max-environments", "1")
    with Platform(tmp_path, {"app": SYNC}, *flags) as platform:
        asyncio.run(hold(platform))


def test_with_a_template(tmp_path):
    async def hold(platform: Platform) -> None:
        streams, tasks = await begun(platform, 6)
        assert len({stream.pid for stream in streams}) >= 2
        await whole(platform, streams, tasks)
        said = wait_until(lambda: len(lines := printed(platform, "ended")) == 6 and lines, "all ends")
        assert said == {stream.request_id: stream.request_id for stream in streams}

    with Platform(tmp_path, {"app": TICKING}, "--concurrency", "3", "--snapshot") as platform:
        asyncio.run(hold(platform))


# Functions of the Lambda API: they wait for each other, so that as many must run at once.

MEETING = """
    import asyncio, json, os

    async def handler(event, context):
        open(os.path.join(event["folder"], context.aws_request_id), "x").close()
        while len(os.listdir(event["folder"])) < event["count"]:
            await asyncio.sleep(0.005)
        print("met", context.aws_request_id)
        return {"pid": os.getpid(), "id": context.aws_request_id}
"""
# AWS's own client runs them in processes; a script of the user's, Penstock's runtime over TCP.
WAITING = MEETING.replace("async ", "").replace("await asyncio.sleep", "__import__('time').sleep")
BOOTSTRAP = (
    f"#!/bin/sh\nexport PYTHONPATH={os.pathsep.join(sys.path)}\nexec {sys.executable} -m penstock.runtime\n"
)


def invoked(platform: Platform, payload: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """What so many calls at once are answered."""
    client = platform.client()

    def invoke(number: int) -> Any:
        answer = client.invoke(FunctionName="met", Payload=json.dumps(payload).encode())
        said = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, said
        return said

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(invoke, range(count)))


def create(platform: Platform, code: bytes, **configuration: Any) -> None:
    variables = {"PENSTOCK_CONCURRENCY": "5", **configuration.pop("variables", {})}
    client = platform.client()
    client.create_function(
        FunctionName="met",
        Role=ROLE,
        Code={"ZipFile": code},
        Environment={"Variables": variables},
        Timeout=30,
        MemorySize=512,
        **{"Runtime": PYTHON, "Handler": "app.handler", **configuration},
    )
    client.get_waiter("function_active_v2").wait(FunctionName="met")


def meet(platform: Platform, count: int = 5) -> list[dict[str, Any]]:
    folder = platform.folder / f"met-{time.monotonic_ns()}"
    folder.mkdir()
    return invoked(platform, {"folder": str(folder), "count": count}, count)


def test_a_function_of_the_lambda_api_says_it_by_a_variable(tmp_path):
    with Platform(tmp_path, {}, "--start-ahead", "0") as platform:
        create(platform, zipped(textwrap.dedent(MEETING)))
        for _ in range(3):
            assert len({answer["pid"] for answer in meet(platform)}) == 1
        answers = meet(platform, 8)
        assert len({answer["pid"] for answer in answers}) == 2
        client = platform.client()
        with pytest.raises(
            client.exceptions.InvalidParameterValueException, match="from 1 to 1,600, got 'many'"
        ):
            client.update_function_configuration(
                FunctionName="met", Environment={"Variables": {"PENSTOCK_CONCURRENCY": "many"}}
            )


def test_penstock_s_runtime_over_tcp_as_on_aws(tmp_path):
    with Platform(tmp_path, {}, "--start-ahead", "0") as platform:
        create(platform, executable(BOOTSTRAP, MEETING), Runtime="provided.al2023")
        for _ in range(3):
            answers = meet(platform)
            assert len({answer["pid"] for answer in answers}) == 1
        expected = {answer["id"]: f"met {answer['id']}" for answer in answers}
        wait_until(lambda: expected.items() <= said_in_json(platform).items(), "lines in JSON")


def said_in_json(platform: Platform) -> dict[str, str]:
    """What was printed, by request id, where a log line is an object."""
    lines = [line["message"] for line in platform.find(event="log", platform=None)]
    records = [json.loads(line) for line in lines if line.startswith("{")]
    return {record["requestId"]: record["message"] for record in records}


def test_aws_s_own_client_for_python(tmp_path):
    package = Path(pytest.importorskip("awslambdaric").__file__).parent
    installed = tmp_path / f"runtimes/awslambdaric-{PYTHON.removeprefix('python')}"
    installed.mkdir(parents=True)
    for path in package.parent.glob(
        "*"
    ):  # it imports its C module, which is beside it, and snapshot_restore_py
        (installed / path.name).symlink_to(path)
    with Platform(
        tmp_path, {}, "--start-ahead", "0", env={"PENSTOCK_RUNTIMES": str(tmp_path / "runtimes")}
    ) as platform:
        create(
            platform,
            zipped(textwrap.dedent(WAITING)),
            variables={"PENSTOCK_RUNTIME_CLIENT": "awslambdaric"},
        )
        assert len({answer["pid"] for answer in meet(platform)}) == 5
        assert len(meet(platform)) == 5


def executable(script: str, handler: str) -> bytes:
    """A zip of a `bootstrap` and of the module it serves."""
    import io
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        bootstrap = zipfile.ZipInfo("bootstrap")
        bootstrap.external_attr = 0o755 << 16
        archive.writestr(bootstrap, script)
        archive.writestr("app.py", textwrap.dedent(handler))
    return buffer.getvalue()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_a_thread_of_the_function_s_own_prints_is_nobody_s(tmp_path):
    source = """
        import asyncio, threading

        async def lambda_handler(event, context):
            print("own")
            await asyncio.to_thread(print, "to_thread")
            thread = threading.Thread(target=print, args=("thread",))
            thread.start()
            thread.join()
            return {"statusCode": 200, "body": "done"}
    """
    with Platform(tmp_path, {"app": source}, "--concurrency", "2") as platform:
        caller = Caller(platform, "/")
        record = caller.finish().record
        assert log_of(platform, record) == ["own", "to_thread"]
        assert platform.wait_for(event="log", message="thread")["requestId"] == ""
        os.kill(platform.process.pid, signal.SIGTERM)
