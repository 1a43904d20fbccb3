"""A function's code as a file, from the address that GetFunction gives for it: Code.Location.

    GET /_penstock/code/{SHA-256, hexadecimal}?expires=…&token=…

The address itself is the permission, as with AWS's own: whoever has it may read it, for ten minutes.
"""

from pathlib import Path

from penstock.http.exchange import Exchange
from penstock.http.writer import Writer

from .errors import not_found

_PIECE = 64 * 1024


class Download(Exchange):
    """Sends a file as fast as it is read. Raises ApiError when it is not there."""

    def __init__(self, writer: Writer, path: Path | None) -> None:
        try:
            if path is None:
                raise FileNotFoundError
            self._file = path.open("rb")
        except OSError:
            raise not_found("there is no such code any more") from None
        self._size = path.stat().st_size
        self._writer = writer
        self._paused = False
        self._sending = False

    def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        self._writer.start(200, [(b"Content-Type", b"application/zip")], length=self._size)
        self._send()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._send()

    def lost(self) -> None:
        self._file.close()

    def _send(self) -> None:
        if self._sending:
            return  # resumed from within the write below
        self._sending = True
        while not self._paused and (piece := self._file.read(_PIECE)):
            self._writer.data([piece])
        self._sending = False
        if not self._paused:
            self._file.close()
            self._writer.end()
