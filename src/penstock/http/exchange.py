"""What an application is to the server: a function of a request and a writer that returns an `Exchange`."""

from collections.abc import Callable

from .request import Request
from .writer import Writer


class Exchange:
    """The application's side of one request. Subclass it and override what is wanted.

    Nothing is called after the response has ended, and nothing after `lost`.
    """

    def request_data(self, slices: list[memoryview]) -> None:
        """A piece of the request body; the views stay valid."""

    def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        """The request is complete; also called for one without a body."""

    def pause_writing(self) -> None:
        """The client reads more slowly than is written."""

    def resume_writing(self) -> None:
        """Go on after `pause_writing`."""

    def lost(self) -> None:
        """The response cannot be completed: the client left, or broke off its own request. At most once."""


Application = Callable[[Request, Writer], Exchange]
