"""`python -m penstock.runtime`: the runtime of one execution environment.

AWS_LAMBDA_RUNTIME_API says where the Runtime API is, _HANDLER what to load, LAMBDA_TASK_ROOT from where.
"""

import atexit
import os
import sys
import traceback

from . import errors, logs
from .api import ApiError, RuntimeApi, ServiceGone
from .handler import load
from .loop import Handler, Retired, run
from .stream import Disconnected


def main() -> None:
    """Load the handler and run it; the process ends here."""
    status = 0
    try:
        logs.install()
        api = RuntimeApi(os.environ["AWS_LAMBDA_RUNTIME_API"])
        handler = _load(api)
        if handler is None:
            status = 1
        else:
            run(api, handler)
    except (Retired, ServiceGone):
        pass
    except (Disconnected, ApiError, KeyError) as error:
        print(f"penstock.runtime: {error}", file=sys.stderr)
        status = 1
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    leave(status)


def _load(api: RuntimeApi) -> Handler | None:
    try:
        return load(os.environ.get("_HANDLER", ""), os.environ.get("LAMBDA_TASK_ROOT", os.getcwd()))
    except SystemExit:
        raise
    except BaseException as error:
        logs.error(error)
        logs.flush()
        api.init_error(*errors.error_document(error))
        return None


def leave(status: int) -> None:
    """End the process: what the function registered with atexit runs, what its parent registered does not."""
    try:
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    logs.flush()
    os._exit(status & 0xFF)


if __name__ == "__main__":
    main()
