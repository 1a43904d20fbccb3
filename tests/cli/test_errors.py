"""Exit codes."""

import pytest

from penstock.cli import errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.CommandError, 1),
        (errors.UsageError, 2),
        (errors.TargetError, 2),
        (errors.SettingError, 2),
        (errors.ProjectError, 2),
    ],
)
def test_exit_codes(error, code):
    assert issubclass(error, errors.CommandError)
    assert error.exit_code == code
    assert error.__name__ in errors.__doc__
