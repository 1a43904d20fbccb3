"""The barest relay: `python relay.py PATH` copies between a free TCP port and the unix socket PATH.

A thread for each direction of a connection, recv_into and sendall, nothing looked at.
"""

import socket
import sys
import threading

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
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        print(f"listening on {listener.getsockname()[1]}", flush=True)
        while True:
            client, _ = listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server = socket.socket(socket.AF_UNIX)
            server.connect(sys.argv[1])
            for pair in ((client, server), (server, client)):
                threading.Thread(target=copy, args=pair, daemon=True).start()


if __name__ == "__main__":
    main()
