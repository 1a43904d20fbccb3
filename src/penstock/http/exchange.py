"""What an application is to the server: a function of a request and a writer that returns an `Exchange`."""

from collections.abc import Callable

from .request import Request
from .writer import Writer


class Exchange:
    """The application's side of one request. Subclass it and override what is wanted.

    Nothing is called after the response has ended, and nothing after `lost`. An exception is reported to
    `Config.on_error`; the client gets 500, or a broken response if it had begun, and `lost` is called.
    """

    __slots__ = ()

    def request_data(self, slices: list[memoryview]) -> None:
        """A piece of the request body; the views stay valid. One may still come after `pause_reading`."""

    def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        """The request is complete; also called for one without a body."""

    def request_cut(self) -> None:
        """The request body broke off or is malformed. It may be answered now; else `lost` follows.

        Not called when a response has begun, nor when the whole connection is gone.
        """

    def pause_writing(self) -> None:
        """The client reads more slowly than is written. May come from within a call of the writer."""

    def resume_writing(self) -> None:
        """Go on after `pause_writing`."""

    def lost(self) -> None:
        """The response cannot be completed, and the writer does nothing any more. At most once.

        The client left, or its request broke off or stopped; or the server was told to abort. The client's
        leaving is not noticed while the application itself holds the body back (`Writer.pause_reading`).
        """


Application = Callable[[Request, Writer], Exchange]
