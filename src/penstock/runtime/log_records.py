"""Records of `logging` in AWS's format. Imported with `logging`: many functions never do, and it is dear."""

import logging
import sys
import time

from . import logs


class _Handler(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        formatter = logging.Formatter(
            "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s", "%Y-%m-%dT%H:%M:%S"
        )
        formatter.converter = time.gmtime
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            record.aws_request_id = logs.request_id()
            sys.stdout.write(self.format(record) + "\n")
            logs.flush()
        except Exception:
            self.handleError(record)


def install() -> None:
    """Have the root logger write as AWS's does, and nowhere else."""
    root = logging.getLogger()
    root.handlers.clear()
    root.addHandler(_Handler())
