"""The service's end of a spawner, and of the environments it starts."""

import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from penstock.protocol import limits
from runtime_kit import Side


class Spawned:
    """One environment, seen from the service."""

    def __init__(self) -> None:
        self.dial, self.their_dial = socket.socketpair()
        self.log, self.their_log = os.pipe()
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self.dial, [b"."], [theirs.fileno()])
        self.side = Side(ours)
        self.pid = 0

    def printed(self) -> str:
        """Everything it prints until it ends."""
        text = b""
        while data := os.read(self.log, 65536):
            text += data
        return text.decode()

    def close(self) -> None:
        self.dial.close()
        self.side.sock.close()
        os.close(self.log)


class Service:
    """The service's end of a spawner."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(10)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "penstock.runtime.spawner", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self.environments: list[Spawned] = []
        self.ready = self.receive()

    def receive(self, by: socket.socket | None = None) -> dict[str, Any]:
        data, fds, _, _ = socket.recv_fds(by or self.control, 65536, 4)
        for fd in fds:
            os.close(fd)
        message: dict[str, Any] = json.loads(data)
        return message

    def spawn(
        self, source: str = "", id: str = "e1", by: socket.socket | None = None, **order: Any
    ) -> Spawned:
        """Have an environment started; `by`: by a template, whose control socket it is."""
        control = by or self.control
        if source:
            (self.folder / "app.py").write_text(textwrap.dedent(source))
        spawned = Spawned()
        self._order(spawned, id, control, order)
        told = self.receive(by)
        assert told["spawned"] == id
        spawned.pid = told["pid"]
        return spawned

    def template(self, source: str, control: socket.socket, **environment: str) -> Spawned:
        """Have a template made, which is given its end of a control socket."""
        (self.folder / "app.py").write_text(textwrap.dedent(source))
        spawned = Spawned()
        spawned.their_dial.close()
        spawned.their_dial = control
        self._order(spawned, "template", self.control, {"template": True, "variables": environment})
        spawned.pid = self.receive()["pid"]
        return spawned

    def _order(self, spawned: Spawned, id: str, control: socket.socket, order: dict[str, Any]) -> None:
        self.environments.append(spawned)
        variables = order.pop("variables", {})
        message = {
            "spawn": id,
            "mark": 1000 + len(self.environments),
            "environment": {
                "AWS_LAMBDA_RUNTIME_API": "fd:3",
                "_HANDLER": "app.handler",
                "LAMBDA_TASK_ROOT": str(self.folder),
                "PATH": os.defpath,
                **variables,
            },
            "root": str(self.folder),
            "data_limit": 1024 * limits.MIB,
            "open_files": limits.OPEN_FILES,
            "command": [],
            **order,
        }
        with spawned.their_dial:
            fds = (
                [spawned.their_log]
                if message["command"]
                else [spawned.their_log, spawned.their_dial.fileno()]
            )
            socket.send_fds(control, [json.dumps(message).encode()], fds)
        os.close(spawned.their_log)

    def close(self) -> None:
        self.control.close()
        self.process.wait(10)
        for each in self.environments:
            each.close()
