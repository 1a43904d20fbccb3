import os
from pathlib import Path

import pytest

from penstock.service import disk


def test_files_and_folders_are_synced_and_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    synced: list[str] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    before = len(os.listdir("/proc/self/fd"))
    disk.sync(tmp_path / "file")
    disk.sync(tmp_path)
    assert synced == [str(tmp_path / "file"), str(tmp_path)]
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        disk.sync(tmp_path / "gone")
