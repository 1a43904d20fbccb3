"""The barest relay: `python relay.py PATH` copies between a free TCP port and the unix socket PATH.

A thread for each direction of a connection, recv_into and sendall, nothing looked at. What answers at PATH is
the socket loop, in a child process.
"""

import os
import signal
import socket
import sys
import threading

from socket_loop import accept

READ = 256 * 1024


def copy(source: socket.socket, sink: socket.socket) -> None:
    buffer = memoryview(bytearray(READ))
    try:
        while got := source.recv_into(buffer):
            sink.sendall(buffer[:got])
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for each in (source, sink):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def main() -> None:
    path = sys.argv[1]
    with socket.socket(socket.AF_UNIX) as upstream:
        upstream.bind(path)
        upstream.listen(2048)
        if not (child := os.fork()):
            accept(upstream)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
            print(f"listening on {listener.getsockname()[1]}", flush=True)
            while True:
                client, _ = listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                server = socket.socket(socket.AF_UNIX)
                server.connect(path)
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=copy, args=pair, daemon=True).start()
    finally:
        os.kill(child, signal.SIGTERM)


if __name__ == "__main__":
    main()
