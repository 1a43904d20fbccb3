"""What the command line says when it cannot go on: one line, and an exit code.

    CommandError             1: it was asked properly, and could not be done
    └── UsageError           2: it was asked wrongly
        ├── TargetError         TARGET cannot be served
        │   └── NoHandler           it is a folder without a handler
        ├── SettingError        a flag, a variable or a line of pyproject.toml has no good value
        └── ProjectError        pyproject.toml cannot be read

A message says what was expected, what came, and what to do.
"""


class CommandError(ValueError):
    exit_code = 1


class UsageError(CommandError):
    exit_code = 2


class TargetError(UsageError):
    pass


class NoHandler(TargetError):
    pass


class SettingError(UsageError):
    pass


class ProjectError(UsageError):
    pass
