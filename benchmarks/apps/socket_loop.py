"""The barest program that does the work: `python socket_loop.py 0` serves a free port.

With a path it serves a unix socket. A thread for each connection, which reads a request and sends what is
asked for. It checks nothing.
"""

import socket
import sys
import threading

from work import STREAMS, query

SMALL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n"


def serve(connection: socket.socket) -> None:
    try:
        while request := connection.recv(65536):
            target = request.split(b" ", 2)[1].decode()
            path, _, rest = target.partition("?")
            if path == "/small":
                connection.sendall(SMALL)
                continue
            connection.sendall(HEAD)
            for chunk in STREAMS[path[1:]](query(rest)):
                # A copy of a large chunk costs less than a second system call.
                connection.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            connection.sendall(b"0\r\n\r\n")
    except OSError:
        pass  # the client has left
    finally:
        connection.close()


def accept(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        if connection.family == socket.AF_INET:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


def main() -> None:
    where = sys.argv[1]
    if where.isdigit():
        listener = socket.create_server(("127.0.0.1", int(where)), backlog=2048)
    else:
        listener = socket.create_server(where, family=socket.AF_UNIX, backlog=2048)
    with listener:
        print(f"listening on {listener.getsockname()[1] if where.isdigit() else where}", flush=True)
        accept(listener)


if __name__ == "__main__":
    main()
