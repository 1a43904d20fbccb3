"""Asynchronous invocation on the real platform: what was acknowledged runs, whatever is killed meanwhile."""

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from journey_kit import Raw
from platform_process import Platform, wait_until

PATH = "/2015-03-31/functions/{}/invocations"
ARN = "arn:aws:lambda:us-east-1:000000000000:function:"

# Adds what its event says, and its request id, to the file its event names.
RECORDS = """
    import json, os

    def lambda_handler(event, context):
        line = json.dumps([event["id"], context.aws_request_id]) + "\\n"
        file = os.open(event["file"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, line.encode())
        os.close(file)
        if event.get("raise"):
            raise ValueError("as asked")
        return {"seen": event["id"]}
"""


class Sender:
    """Keeps connections busy with Event invocations until every one is acknowledged, whoever dies."""

    def __init__(self, count: int, file: Path) -> None:
        self.left = list(range(count))  # not acknowledged; what broke off is sent again
        self.acknowledged: list[int] = []
        self.sent = 0
        self._file = str(file)

    async def run(self, address: tuple[str, int], connections: int) -> None:
        """Until everything is acknowledged, or the service is gone."""
        await asyncio.gather(*(self._connection(address) for _ in range(connections)))

    async def _connection(self, address: tuple[str, int]) -> None:
        try:
            reader, writer = await asyncio.open_connection(*address)
        except OSError:
            return
        id = None
        try:
            while self.left:
                id = self.left.pop()
                self.sent += 1
                body = json.dumps({"id": id, "file": self._file}).encode()
                head = (
                    f"POST {PATH.format('app')} HTTP/1.1\r\nHost: localhost\r\n"
                    f"X-Amz-Invocation-Type: Event\r\nContent-Length: {len(body)}\r\n\r\n"
                )
                writer.write(head.encode() + body)
                answer = await reader.readuntil(b"\r\n\r\n")
                assert answer.startswith(b"HTTP/1.1 202 "), answer
                self.acknowledged.append(id)
                id = None
        except (OSError, asyncio.IncompleteReadError):
            assert id is not None
            self.left.append(id)
        finally:
            writer.close()


def lines(file: Path) -> list[list[Any]]:
    """What the function has written, whole lines only."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_bytes().rpartition(b"\n")[0].splitlines()]


def kill(platform: Platform) -> None:
    """End it as a power cut would, as far as a process can tell."""
    platform.process.kill()
    platform.stop()


@pytest.mark.slow
def test_every_acknowledged_event_runs_though_the_service_is_killed(tmp_path: Path) -> None:
    """10,000 events, and five kills: four while they are sent, one while the rest of them runs."""
    count, connections = 10_000, 64
    file = tmp_path / "seen"
    sender = Sender(count, file)
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    moments = sorted(chance.sample(range(200, count - 200), 4))
    started = time.monotonic()
    rates: list[float] = []

    async def send_until(acknowledged: int, platform: Platform) -> None:
        begin, before = time.monotonic(), len(sender.acknowledged)
        sending = asyncio.ensure_future(sender.run(address_of(platform), connections))
        while len(sender.acknowledged) < acknowledged and not sending.done():  # noqa: ASYNC110  # a count
            await asyncio.sleep(0.001)
        rates.append((len(sender.acknowledged) - before) / (time.monotonic() - begin))
        if acknowledged < count:
            await asyncio.to_thread(kill, platform)
        await sending

    for moment in [*moments, count]:
        platform = Platform(tmp_path, {"app": RECORDS})
        asyncio.run(send_until(moment, platform))
    assert sorted(sender.acknowledged) == list(range(count))
    sending = time.monotonic() - started
    at_kill = len(lines(file))
    kill(platform)  # the fifth time; the queue is long
    with Platform(tmp_path, {"app": RECORDS}) as platform:
        wait_until(lambda: len({id for id, _ in lines(file)}) == count, "every event to have run", 90)
        wait_until(lambda: not waiting(tmp_path), "the queue to be empty", 30)
    runs = Counter(id for id, _ in lines(file))
    again = sum(runs.values()) - count
    resent = sender.sent - count
    print(
        f"\nseed {seed}; killed after {moments} and with {count - at_kill:,} not run;"
        f" 202s: {', '.join(f'{rate:,.0f}/s' for rate in rates)}; sent in {sending:.1f} s,"
        f" all run after {time.monotonic() - started:.1f} s;"
        f" {resent} sent again, {again} more runs than events"
    )
    assert set(runs) == set(range(count)), f"seed {seed}"
    # At least once, and not much oftener: what was sent again, and at each kill what was not yet forgotten.
    assert again <= resent + 5 * 256, f"seed {seed}"


def address_of(platform: Platform) -> tuple[str, int]:
    host, _, port = platform.lambda_api.removeprefix("http://").rpartition(":")
    return host, int(port)


def waiting(folder: Path) -> int:
    """How many events are kept, as another process sees it."""
    import sqlite3

    connection = sqlite3.connect(folder / ".penstock" / "penstock.db")
    try:
        ((count,),) = connection.execute("SELECT count(*) FROM events").fetchall()
        return int(count)
    finally:
        connection.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "seen"


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Platform]:
    """Retries come after 50 and 100 ms."""
    functions = {"work": RECORDS, "plain": ECHO}
    with Platform(tmp_path, functions, "--event-retry-delay", "0.05") as platform:
        yield platform


ECHO = """
    import json

    def lambda_handler(event, context):
        with open(event["requestPayload"]["file"] + ".record", "w") as file:
            json.dump(event, file)
"""


def event(id: int, file: Path, **more: Any) -> bytes:
    return json.dumps({"id": id, "file": str(file), **more}).encode()


def test_boto3_gets_202_and_nothing_else(quick: Platform, file: Path) -> None:
    client = quick.client()
    answer = client.invoke(FunctionName="work", InvocationType="Event", Payload=event(1, file))
    assert answer["StatusCode"] == 202
    assert answer["Payload"].read() == b""
    assert "ExecutedVersion" not in answer
    ((id, request_id),) = wait_until(lambda: lines(file), "the event to run")
    assert (id, request_id) == (1, answer["ResponseMetadata"]["RequestId"])
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.invoke(FunctionName="none", InvocationType="Event", Payload=b"{}")
    with pytest.raises(client.exceptions.InvalidRequestContentException):
        client.invoke(FunctionName="work", InvocationType="Event", Payload=b"{")
    assert len(lines(file)) == 1


def test_a_payload_of_one_mebibyte_and_no_more(quick: Platform, file: Path) -> None:
    client = quick.client()
    small = event(1, file, fill="")
    client.invoke(
        FunctionName="work",
        InvocationType="Event",
        Payload=event(1, file, fill="x" * (1_048_576 - len(small))),
    )
    wait_until(lambda: lines(file), "the event to run")
    with pytest.raises(client.exceptions.ClientError, match=r"too large for the Event invocation type"):
        client.invoke(
            FunctionName="work",
            InvocationType="Event",
            Payload=event(1, file, fill="x" * (1_048_577 - len(small))),
        )


def test_a_function_that_fails_runs_three_times_with_one_request_id(quick: Platform, file: Path) -> None:
    body = event(1, file, **{"raise": True})
    answer = quick.client().invoke(FunctionName="work", InvocationType="Event", Payload=body)
    note = wait_until(
        lambda: [each for each in quick.find(event="note") if "is lost after 3 attempts" in each["message"]],
        "the event to be given up",
    )
    assert "RetriesExhausted (function error: ValueError: as asked)" in note[0]["message"]
    assert lines(file) == [[1, answer["ResponseMetadata"]["RequestId"]]] * 3


def test_records_go_to_functions_and_files(quick: Platform, file: Path, tmp_path: Path) -> None:
    client = quick.client()
    failures = tmp_path / "failures.jsonl"
    client.put_function_event_invoke_config(
        FunctionName="work",
        MaximumRetryAttempts=1,
        DestinationConfig={
            "OnSuccess": {"Destination": f"{ARN}plain"},
            "OnFailure": {"Destination": failures.as_uri()},
        },
    )
    good = client.invoke(FunctionName="work", InvocationType="Event", Payload=event(1, file))
    bad = client.invoke(
        FunctionName="work", InvocationType="Event", Payload=event(2, file, **{"raise": True})
    )
    written = Path(f"{file}.record")
    success = json.loads(wait_until(lambda: written.exists() and written.read_text(), "the success"))
    failure = json.loads(wait_until(lambda: failures.exists() and failures.read_text(), "the failure"))
    assert success["requestContext"] == {
        "requestId": good["ResponseMetadata"]["RequestId"],
        "functionArn": f"{ARN}work:$LATEST",
        "condition": "Success",
        "approximateInvokeCount": 1,
    }
    assert success["requestPayload"]["id"] == 1
    assert success["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST"}
    assert success["responsePayload"] == {"seen": 1}
    assert failure["requestContext"] == {
        "requestId": bad["ResponseMetadata"]["RequestId"],
        "functionArn": f"{ARN}work:$LATEST",
        "condition": "RetriesExhausted",
        "approximateInvokeCount": 2,
    }
    assert failure["responseContext"] == {
        "statusCode": 200,
        "executedVersion": "$LATEST",
        "functionError": "Unhandled",
    }
    assert failure["responsePayload"]["errorType"] == "ValueError"


def test_what_waits_is_run_after_the_next_start(tmp_path: Path, file: Path) -> None:
    """With a function that never ends, and a service that is told to stop."""
    slow = """
        import time

        def lambda_handler(event, context):
            open(event["file"] + ".began", "w").close()
            time.sleep(60)
    """
    flags = ("--event-concurrency", "1", "--drain", "0.1")
    body = event(1, file)
    with Platform(tmp_path, {"app": slow}, *flags) as platform:
        for _ in range(3):
            with Raw(address_of(platform)) as raw:
                raw.request(PATH.format("app"), "X-Amz-Invocation-Type: Event", method="POST", body=body)
                assert raw.response().status == 202
        wait_until(Path(f"{file}.began").exists, "the first to begin")
        platform.process.send_signal(signal.SIGTERM)
        assert platform.process.wait(20) == 0
    assert waiting(tmp_path) == 3
    with Platform(tmp_path, {"app": RECORDS}):
        wait_until(lambda: len(lines(file)) == 3, "all three to run")
    assert waiting(tmp_path) == 0


def test_a_busy_function_holds_up_no_other(tmp_path: Path, file: Path) -> None:
    busy = "def lambda_handler(event, context):\n    import time; time.sleep(60)\n"
    with Platform(tmp_path, {"busy": busy, "work": RECORDS}) as platform:
        client = platform.client()
        for _ in range(50):
            client.invoke(FunctionName="busy", InvocationType="Event", Payload=b"{}")
        client.invoke(FunctionName="work", InvocationType="Event", Payload=event(1, file))
        wait_until(lambda: lines(file), "the other's event to run")


def test_a_second_service_is_refused_the_folder(quick: Platform, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "penstock", "serve", str(tmp_path / "work.py"), "--port", "0"]
    data = tmp_path / ".penstock"
    second = subprocess.run(
        [*command, "--lambda-port", "0", "--data", str(data)], capture_output=True, text=True, timeout=30
    )
    assert second.returncode == 1
    assert second.stderr.splitlines()[-1] == (
        f"penstock: the folder {data} is in use by process {quick.process.pid}:"
        " stop it, or choose another folder"
    )
