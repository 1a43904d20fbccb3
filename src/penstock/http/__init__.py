"""An HTTP/1.1 server on asyncio callbacks: streamed responses, back-pressure, visibly broken transfers.

It knows nothing of Lambda. An application is called with each request head and a writer for the response:

    class Echo(Exchange):
        def __init__(self, writer): self.writer = writer
        def request_data(self, slices): self.writer.data(slices)
        def request_end(self, trailers): self.writer.end()

    def application(request, writer):
        writer.start(200, [(b"Content-Type", b"text/plain")])
        return Echo(writer)

    server = await Server.start(application, "127.0.0.1", 3000)
"""

from .config import Config
from .connection import Connection
from .exchange import Application, Exchange
from .request import Request
from .server import Server, connect
from .writer import Writer

__all__ = ["Application", "Config", "Connection", "Exchange", "Request", "Server", "Writer", "connect"]
