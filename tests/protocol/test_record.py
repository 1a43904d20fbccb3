import pytest

from penstock.protocol.record import RequestRecord


def test_a_record_is_a_value() -> None:
    def made() -> RequestRecord:
        return RequestRecord(1.0, "GET", "/", "app", "id", 200, 0.1, 0.2, 3, 4, "done", True)

    assert made() == made()
    assert made().detail == ""
    with pytest.raises(AttributeError):
        made().status = 500  # type: ignore[misc]
