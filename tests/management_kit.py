"""All managing operations on a catalog of their own, and zips to make functions of."""

import io
import sys
import zipfile
from pathlib import Path
from typing import Any

from penstock.service.api.table import operation_handlers
from settings_kit import ARN, Api

__all__ = ["ARN", "HANDLER", "PYTHON", "ROLE", "Management", "zipped"]

HANDLER = "def handler(event, context):\n    return event\n"
PYTHON = f"python3.{sys.version_info[1]}"
ROLE = "arn:aws:iam::000000000000:role/any"


def zipped(source: str = HANDLER, name: str = "app.py") -> bytes:
    """A zip with one file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), source)
    return buffer.getvalue()


class Management(Api):
    """As `Api`, with every operation there is."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.handlers = operation_handlers(
            self.catalog, lambda: self.gateway, 1000, lambda function: (0, False)
        )

    async def create(self, name: str = "app", **members: Any) -> Any:
        """CreateFunction's answer; members that are not given are as most functions have them."""
        code = members.pop("Code", {"ZipFile": zipped()})
        given = {"Role": ROLE, "Runtime": PYTHON, "Handler": "app.handler", "Code": code, **members}
        return await self.call("CreateFunction", name, **given)

    async def refuse(self, name: str = "app", **members: Any) -> tuple[int, str, str]:
        """Status, code and message with which CreateFunction refuses."""
        code = members.pop("Code", {"ZipFile": zipped()})
        given = {"Role": ROLE, "Runtime": PYTHON, "Handler": "app.handler", "Code": code, **members}
        return await self.refused("CreateFunction", name, **given)
