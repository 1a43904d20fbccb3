"""Functions behind cargo-lambda: `python cargo_worker.py HOST PORT COUNT` forks COUNT processes.

Each is the barest client of the Runtime API there can be: one raw connection, no check. "ready" is printed
when all of them have asked for their first event; they end with their parent.
"""

import ctypes
import json
import os
import signal
import socket
import sys

from work import STREAMS

API = "/.rt/2018-06-01/runtime/invocation"
SMALL = {"statusCode": 200, "headers": {}, "multiValueHeaders": {}, "cookies": [], "body": "ok"}
PRELUDE = {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "cookies": []}
PR_SET_PDEATHSIG = 1


class Worker:
    def __init__(self, host: str, port: int) -> None:
        self.host = f"{host}:{port}"
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""

    def ask(self) -> None:
        self.socket.sendall(f"GET {API}/next HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())

    def answer(self) -> tuple[dict[str, str], bytes]:
        """The next response: its headers and its body."""
        while (end := self.rest.find(b"\r\n\r\n")) < 0:
            self.receive()
        head, self.rest = self.rest[:end].decode(), self.rest[end + 4 :]
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:])
        length = int(headers.get("content-length", 0))
        while len(self.rest) < length:
            self.receive()
        body, self.rest = self.rest[:length], self.rest[length:]
        return headers, body

    def receive(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            sys.exit()
        self.rest += data

    def run(self) -> None:
        while True:
            headers, body = self.answer()
            event = json.loads(body)
            name = event["rawPath"].rsplit("/", 1)[-1]
            request_id = headers["lambda-runtime-aws-request-id"]
            path = f"POST {API}/{request_id}/response HTTP/1.1\r\nHost: {self.host}\r\n"
            if name == "small":
                document = json.dumps(SMALL).encode()
                self.socket.sendall(f"{path}Content-Length: {len(document)}\r\n\r\n".encode() + document)
            else:
                self.stream(path, STREAMS[name](event.get("queryStringParameters") or {}))
            self.answer()
            self.ask()

    def stream(self, path, chunks) -> None:
        mode = "Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.socket.sendall((path + mode).encode())
        # It takes the first frame for the prelude, and the second for the NULs.
        for chunk in (json.dumps(PRELUDE).encode(), bytes(8)):
            self.socket.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        for chunk in chunks:
            self.socket.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        self.socket.sendall(b"0\r\n\r\n")


def main() -> None:
    host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    libc = ctypes.CDLL(None)
    done, ready = os.pipe()
    for _ in range(count):
        if not os.fork():
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            worker = Worker(host, port)
            worker.ask()
            os.write(ready, b".")
            worker.run()
    for _ in range(count):
        os.read(done, 1)
    print("ready", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
