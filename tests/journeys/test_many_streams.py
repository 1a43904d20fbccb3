"""Many streams at once: what befalls one of them befalls no other."""

import asyncio
import os
import random
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from journey_kit import ASKED, Raw, asked
from platform_process import Platform, wait_until

STREAMS = 200
KILLED = 50

# Names its process and its request, then ticks until the file `gate` is there.
TICKING = """
    import os, time

    def lambda_handler(event, context):
        def ticks():
            yield f"{os.getpid()} {context.aws_request_id}\\n"
            number = 0
            while not os.path.exists("gate"):
                yield f"{number}\\n"
                number += 1
                time.sleep(0.1)
            yield "end\\n"
        return {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": ticks()}
"""


class Client:
    """One client and what it has seen."""

    def __init__(self) -> None:
        self.pid = 0
        self.request_id = ""
        self.ticks = 0
        self.ending = ""
        self._ticked = asyncio.Event()

    async def seen(self, ticks: int) -> None:
        """Until it has seen that many."""
        while self.ticks < ticks:
            self._ticked.clear()
            await self._ticked.wait()

    async def run(self, address: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            text = b""
            while size := int(await reader.readuntil(b"\r\n"), 16):
                text += (await reader.readexactly(size + 2))[:-2]
                *lines, text = text.split(b"\n")
                for line in lines:
                    self._line(line.decode())
            assert await reader.readexactly(2) == b"\r\n"
            assert self.ending == "end seen"
            self.ending = "whole"
        except asyncio.IncompleteReadError:
            self.ending = "broken"
        finally:
            writer.close()
            await writer.wait_closed()

    def _line(self, line: str) -> None:
        if not self.pid:
            pid, self.request_id = line.split()
            self.pid = int(pid)
        elif line == "end":
            self.ending = "end seen"
        else:
            assert int(line) == self.ticks  # nothing is lost, doubled or out of order
            self.ticks += 1
            self._ticked.set()


async def progress(clients: list[Client], ticks: int) -> None:
    """Until each of `clients` has seen `ticks` more."""
    wanted = [(client, client.ticks + ticks) for client in clients]
    async with asyncio.timeout(20):
        for client, enough in wanted:
            await client.seen(enough)


async def hold(running: Platform) -> tuple[list[Client], list[Client]]:
    """All streams, from their start to their end: those whose function was killed, and the others."""
    clients = [Client() for _ in range(STREAMS)]
    tasks = [asyncio.create_task(client.run(running.gateway_address)) for client in clients]
    await progress(clients, 3)
    assert len({client.pid for client in clients}) == STREAMS
    killed, others = clients[::4], [client for index, client in enumerate(clients) if index % 4]
    assert len(killed) == KILLED
    for client in killed:
        os.kill(client.pid, signal.SIGKILL)
    await progress(others, 3)
    async with asyncio.timeout(10):
        await asyncio.gather(*tasks[::4])
    assert {client.ending for client in others} == {""}
    (running.folder / "gate").touch()
    async with asyncio.timeout(20):
        await asyncio.gather(*tasks)
    return killed, others


def test_killing_50_of_200_functions_breaks_exactly_those(tmp_path):
    with Platform(tmp_path, {"app": TICKING}) as running:
        killed, others = asyncio.run(hold(running))
        assert {client.ending for client in killed} == {"broken"}
        assert {client.ending for client in others} == {"whole"}

        running.wait_for(STREAMS, event="request")
        crashed = running.find(event="request", ending="crashed")
        assert {line["requestId"] for line in crashed} == {client.request_id for client in killed}
        assert all("killed" in line["detail"] and not line["ok"] for line in crashed)
        done = running.find(event="request", ending="done", ok=True)
        assert {line["requestId"] for line in done} == {client.request_id for client in others}

        with Raw(running.gateway_address) as raw:
            assert raw.get("/").body.endswith(b"\nend\n")
        wait_until(lambda: not any(_alive(client.pid) for client in killed), "the killed to be reaped")
        assert running.find(event="note") == []
        assert running.find(event="not JSON") == []


def leave_at_random(address: tuple[str, int], number: int) -> None:
    """One request whose client reads for a while, or not, and leaves: by FIN."""
    chance = random.Random(number)
    targets = [
        asked(["one", {"repeat": "more"}]),
        asked(["a", "b", "c"]),
        asked(body="buffered"),
        asked(["a", {"raise": "late"}]),
        asked([{"raise": "early"}]),
        asked([{"wait": "never"}]),
        asked([]),
    ]
    with Raw(address) as raw:
        target = f"{chance.choice(targets)}&number={number}"
        raw.request(target, method=chance.choice(["GET", "HEAD"]), version=chance.choice(["1.0", "1.1"]))
        raw.sock.settimeout(0.001 + chance.random() * 0.03)
        try:
            for _ in range(chance.randrange(6)):
                raw.sock.recv(4096)
        except (TimeoutError, ConnectionResetError):
            pass


def test_clients_that_leave_at_any_moment_are_each_logged_once(tmp_path):
    count = 300
    flags = ("--max-environments", "16", "--cancel-grace", "0.5")
    with Platform(tmp_path, {"app": ASKED}, *flags) as running:
        with ThreadPoolExecutor(12) as pool:
            list(pool.map(lambda number: leave_at_random(running.gateway_address, number), range(count)))
        running.wait_for(count, event="request")
        logged = Counter(line["path"].rpartition("=")[2] for line in running.find(event="request"))
        assert logged == Counter(map(str, range(count)))
        with Raw(running.gateway_address) as raw:
            assert raw.get(asked(["still ", "here"])).body == b"still here"
        wait_until(
            lambda: said(running, "START ") == said(running, "END ") > count / 2, "an END for each START"
        )
        assert running.find(event="note") == []
        assert running.find(event="not JSON") == []


def said(running: Platform, word: str) -> int:
    """How many of the platform's log lines begin with `word`."""
    return sum(line["message"].startswith(word) for line in running.find(platform=True))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
