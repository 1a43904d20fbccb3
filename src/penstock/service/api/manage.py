"""A management operation as an exchange: its request whole, its handler in a task, one JSON answer."""

import asyncio
import json
import logging
from collections.abc import Callable

from penstock.http.writer import Writer
from penstock.protocol import limits
from penstock.protocol.call import FunctionNotFound
from penstock.service.store import StoreError

from .calllog import JSON, CallLog, request_id
from .collect import Collector, Signed
from .errors import ApiError, not_found
from .request import ApiRequest, Handler, Reply

_WITH_CODE = ("CreateFunction", "UpdateFunctionCode")  # in their request

logger = logging.getLogger("penstock.service")


class Managed(Collector):
    """One request. A change goes on when its client leaves: it may be half way to the disk."""

    __slots__ = ("_gone", "_handler", "_request", "_running")

    def __init__(
        self,
        handler: Handler,
        request: Callable[[bytes], ApiRequest],
        running: set["asyncio.Task[None]"],
        writer: Writer,
        log: CallLog,
        signed: Signed | None,
    ) -> None:
        limit = limits.MANAGEMENT_REQUEST if log.operation in _WITH_CODE else limits.SETTINGS_REQUEST
        super().__init__(writer, log, signed, limit)
        self._handler = handler
        self._request = request
        self._running = running
        self._gone = False

    def too_large(self, size: int) -> ApiError:
        message = f"Request must be smaller than {self._limit} bytes for the {self._log.operation} operation"
        return ApiError("RequestEntityTooLargeException", message)

    def serve(self, body: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._run(self._request(body)))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def lost(self) -> None:
        self._gone = True

    async def _run(self, request: ApiRequest) -> None:
        try:
            reply = await self._handler(request)
        except FunctionNotFound as error:
            self._refuse(not_found(str(error)))
        except ApiError as error:
            self._refuse(error)
        except StoreError as error:
            self._refuse(ApiError("ServiceException", str(error)))
        except Exception as error:
            logger.exception("%s failed", request.operation)
            self._refuse(ApiError("ServiceException", f"a fault of ours: {type(error).__name__}: {error}"))
        else:
            self._answer(reply)

    def _refuse(self, error: ApiError) -> None:
        if not self._gone:
            self._log.refuse(self._writer, error)
        else:
            self._log.write(error.status, "refused", str(error), ok=False)

    def _answer(self, reply: Reply) -> None:
        body = b"" if reply.document is None else json.dumps(reply.document).encode()
        if not self._gone:
            headers = [request_id(None)] if reply.document is None else [JSON, request_id(None)]
            self._writer.respond(reply.status, headers, body)
            if body:
                self._log.sent([body])
        self._log.write(reply.status, "done", ok=True)
