"""Operations on a catalog of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from settings_kit import Api


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    opened = Api(tmp_path)
    yield opened
    opened.close()
