"""Two hops as Penstock's: something before the socket loop, over a socket of the same machine."""

import os
import shutil
import sys

from .base import APPS, Address, Job, OnPort, System
from .servers import SocketLoop, listening_line

NGINX = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    upstream loop {{ server {upstream}; keepalive 256; }}
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        location / {{
            proxy_pass http://loop;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_buffer_size 64k;
            proxy_buffers 8 64k;
        }}
    }}
}}
"""


class BeforeLoop(System):
    """A system with the socket loop behind it, which ends with it."""

    loop: SocketLoop

    def processes(self) -> dict[int, str]:
        return {**super().processes(), self.loop.pid: "socket loop"}

    def stop(self) -> None:
        super().stop()
        self.loop.stop()


class Nginx(BeforeLoop, OnPort):
    """nginx, with its buffering off, before the socket loop over TCP."""

    name = "nginx → loop"
    unix = False

    def __init__(self, job: Job) -> None:
        self.loop = SocketLoop(job, self.unix)
        configuration = job.folder / "nginx.conf"
        upstream = f"unix:{self.loop.socket}" if self.unix else "{}:{}".format(*self.loop.address)

        def command(port: int) -> list[object]:
            user = "user root;" if os.getuid() == 0 else ""  # whose temporary folder it is
            text = NGINX.format(user=user, folder=job.folder, port=port, upstream=upstream)
            configuration.write_text(text)
            return ["nginx", "-e", "stderr", "-p", job.folder, "-c", configuration]

        super().__init__(command, f"/{job.work}", job.folder / "nginx.log")

    @staticmethod
    def missing() -> str:
        return "" if shutil.which("nginx") else "not installed: nginx (benchmarks/rivals installs it)"


class NginxUnix(Nginx):
    name = "nginx → loop (unix)"
    unix = True


class Relay(BeforeLoop):
    """A copying relay, from the socket loop's unix socket to TCP."""

    name = "relay → loop"

    def __init__(self, job: Job) -> None:
        self.loop = SocketLoop(job, unix=True)
        command = [sys.executable, APPS / "relay.py", self.loop.socket]
        super().__init__(command, f"/{job.work}", job.folder / "relay.log")

    def role(self, pid: int) -> str:
        return "relay"

    def _listening(self, log: str) -> Address | None:
        return listening_line(log)
