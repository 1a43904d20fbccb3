"""`python -m penstock.runtime`: the runtime of one execution environment.

AWS_LAMBDA_RUNTIME_API says where the Runtime API is, _HANDLER what to load, LAMBDA_TASK_ROOT from where,
AWS_LAMBDA_MAX_CONCURRENCY how many invocations it may run at once.
"""

from __future__ import annotations

import atexit
import os
import sys

from . import errors, logs, snapshot
from .api import ApiError, Retired, RuntimeApi, ServiceGone, is_own
from .errors import RuntimeFault
from .handler import load
from .stream import Disconnected

TYPE_CHECKING = False  # as in `typing`, which is dear to import
if TYPE_CHECKING:
    from typing import NoReturn

    from .loop import Handler

DIAL = 3  # the descriptor an environment of Penstock's service finds its connections at

# The exit codes of AWS's own runtime, when a snapshot's hooks fail.
_BEFORE_SNAPSHOT = 64
_AFTER_RESTORE = 65


class _Failed(Exception):
    """The function could not be made ready, which was reported: the process ends with `status`."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


def main(restored: Handler | None = None) -> NoReturn:
    """Load the handler and run it; the process ends here.

    `restored`: this is a fork of an initialised template, whose handler it is.
    """
    status = 0
    try:
        concurrency = int(os.environ.get("AWS_LAMBDA_MAX_CONCURRENCY") or 1)
        address = os.environ["AWS_LAMBDA_RUNTIME_API"]
        if restored is None:
            begin(concurrency, own=is_own(address))
        api = RuntimeApi(address)
        if restored is None:
            handler = _load(api)
            if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
                _take_snapshot(api)
                _restored(api)
        else:
            handler = restored
            _restored(api)
        if concurrency > 1:
            _run_many(api, handler, concurrency)
        else:
            api.ask()
            from .loop import run  # the event is on its way meanwhile

            run(api, handler)
    except (Retired, ServiceGone):
        pass
    except _Failed as error:
        status = error.status
    except (Disconnected, ApiError, KeyError) as error:
        print(f"penstock.runtime: {error}", file=sys.stderr)
        status = 1
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        _print_exception()
        status = 1
    leave(status)


def begin(concurrency: int, *, own: bool) -> None:
    """Have what a function's init needs: its output, the module for its hooks."""
    logs.install()
    snapshot.offer()
    if concurrency > 1:
        from . import tagged  # imported only where it is needed: start-up is dear

        tagged.install(own)


def _load(api: RuntimeApi) -> Handler:
    try:
        return load(os.environ.get("_HANDLER", ""), os.environ.get("LAMBDA_TASK_ROOT", os.getcwd()))
    except SystemExit:
        raise
    except BaseException as error:
        _log(error)
        api.init_error(*errors.error_document(error))
        raise _Failed(1) from None


def _run_many(api: RuntimeApi, handler: Handler, concurrency: int) -> None:
    from . import lanes

    try:
        lanes.check(handler, concurrency)
    except RuntimeFault as fault:
        _log(fault)
        api.init_error(*errors.error_document(fault))
        raise _Failed(1) from None
    lanes.run(api, handler, concurrency)


def _take_snapshot(api: RuntimeApi) -> None:
    """On AWS: call the hooks and wait; the snapshot is taken meanwhile, and each restored one goes on."""
    try:
        from . import loop  # noqa: F401  # what is imported now, each one restored has

        snapshot.run_before_snapshot()
        logs.flush()
        api.restore_next()
    except SystemExit:
        raise
    except BaseException as error:
        _log(error)
        api.init_error(errors.BEFORE_SNAPSHOT_ERROR, errors.error_document(error)[1])
        raise _Failed(_BEFORE_SNAPSHOT) from None
    snapshot.reseed()


def _restored(api: RuntimeApi) -> None:
    """Call the hooks of a function that goes on after its snapshot."""
    try:
        snapshot.run_after_restore()
    except SystemExit:
        raise
    except BaseException as error:
        _log(error)
        api.restore_error(errors.AFTER_RESTORE_ERROR, errors.error_document(error)[1])
        raise _Failed(_AFTER_RESTORE) from None


def _log(error: BaseException) -> None:
    logs.error(error)
    logs.flush()


def _print_exception() -> None:
    import traceback

    traceback.print_exc()


def leave(status: int) -> NoReturn:
    """End the process: what the function registered with atexit runs, what its parent registered does not."""
    try:
        atexit._run_exitfuncs()
    except BaseException:
        _print_exception()
    logs.flush()
    os._exit(status & 0xFF)


if __name__ == "__main__":
    main()
