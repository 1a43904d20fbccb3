"""The one setting with behaviour of its own."""

import logging

import pytest

from penstock.http import Config


def test_an_error_of_the_application_is_one_line_with_its_traceback_for_debugging(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, logger="penstock.http"):
        Config().on_error(LookupError("oops"))
    told, detail = caplog.records
    assert (told.levelname, told.getMessage()) == ("ERROR", "the application failed: LookupError: oops")
    assert told.exc_info is None
    assert detail.levelname == "DEBUG"
    assert detail.exc_info is not None
