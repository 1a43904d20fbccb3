"""AWS's names and paths are written once, in `penstock.protocol`."""

from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "penstock"


@pytest.mark.parametrize(
    "text", ["lambda-runtime-", "/2018-06-01", "/2015-03-31", "/2021-11-15", "vnd.awslambda", "x-amz-"]
)
def test_it_is_written_in_the_protocol_package_only(text: str) -> None:
    places = [path for path in SOURCE.rglob("*.py") if text in path.read_text().lower()]
    outside = [str(path.relative_to(SOURCE)) for path in places if SOURCE / "protocol" not in path.parents]
    assert places, "nowhere at all: has it changed?"
    assert not outside
