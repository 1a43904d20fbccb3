"""What spawners and templates have in common, and test_process.py and test_template.py do not see."""

import os
import signal

import pytest

from penstock.service.backends.forker import LocalProcess


@pytest.mark.parametrize("known_by_pidfd", [True, False])
def test_a_process_that_has_ended_takes_no_signal(known_by_pidfd: bool) -> None:
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    pidfd = os.pidfd_open(pid) if known_by_pidfd and hasattr(os, "pidfd_open") else None
    process = LocalProcess(pid, pidfd)
    process.signal(signal.SIGKILL)
    os.waitpid(pid, 0)
    process.signal(signal.SIGKILL)
    process.close()
    process.signal(signal.SIGKILL)  # not to process 0, which is our whole group
    assert process.pid == 0
