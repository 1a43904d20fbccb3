"""Access keys of `dev` and `serve`: where they come from, and when none will not do."""

import time
from collections.abc import Mapping
from pathlib import Path

from penstock.service.access import Access, InvalidKeys, parse_keys, read_keys

from . import settings
from .errors import CommandError, SettingError

VARIABLE = "PENSTOCK_ACCESS_KEYS"


def access(chosen: settings.Settings, environ: Mapping[str, str], region: str) -> tuple[Access, list[str]]:
    """Who may call the Lambda API, and what is to be said of the keys. Raises CommandError.

    Off loopback it is only for those who have a key: whoever calls it may run any code here.
    """
    command = chosen.command
    keys: dict[str, str] = {}
    notes: list[str] = []
    try:
        if command.access_keys is not None:
            keys, notes = read_keys(Path(command.access_keys))
        elif environ.get(VARIABLE):
            keys = parse_keys(environ[VARIABLE], VARIABLE)
    except InvalidKeys as error:
        source = f"{chosen.sources['access_keys']}: " if "access_keys" in chosen.sources else ""
        raise SettingError(f"{source}{error}") from None
    host = command.host
    open_host = not settings.is_loopback(host)
    if open_host and not keys:
        raise SettingError(
            f"{chosen.sources.get('host', '--host')}: {host!r} is not a loopback address, and whoever "
            "reaches the Lambda API may run any code here: give it access keys with --access-keys or "
            f"{VARIABLE}, or listen on 127.0.0.1"
        )
    if command.require_auth and not keys:
        raise SettingError(
            f"{chosen.sources['require_auth']}: there are no access keys: give some with --access-keys or "
            f"{VARIABLE}"
        )
    if open_host and not command.require_auth:
        notes.append(f"--host {host}: the Lambda API takes signed requests only, as with --require-auth")
    found = Access(keys, command.require_auth or open_host, region, time.time)
    try:
        found.prepare()
    except ImportError:
        raise CommandError("access keys need botocore: pip install 'penstock[serve]'") from None
    return found, notes
