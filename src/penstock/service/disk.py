"""What must be on the disk, and not only on its way there."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Have a file, or what was made and renamed in a folder, survive a power cut. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
