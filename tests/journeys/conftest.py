"""Journeys run the real platform: `platform` starts one and ends it after the test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from platform_process import Platform


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Callable[..., Platform]]:
    """`platform({"name": source, …}, *flags)`: a running platform with these functions."""
    started: list[Platform] = []

    def start(functions: dict[str, str], *flags: str, **options: dict[str, str]) -> Platform:
        folder = tmp_path / f"functions{len(started)}"
        folder.mkdir()
        started.append(Platform(folder, functions, *flags, **options))
        return started[-1]

    yield start
    for each in started:
        each.stop()
