"""Functions: created, read, listed, changed, deleted.

Changes of one function wait for each other, where AWS would answer 409 to the later one.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html and its neighbours.
"""

import asyncio
import base64
import re
import secrets
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from penstock.protocol import limits
from penstock.protocol.call import FunctionNotFound
from penstock.service import names, runtimes
from penstock.service.catalog import Catalog, Entry, FunctionExists, Version
from penstock.service.code import Code, InvalidZip, TooLarge
from penstock.service.functions import LATEST, Function

from . import configuration, describe
from .download import code_location
from .errors import ApiError, check_revision, invalid_parameter
from .naming import LONGEST_PAGE, PERMITTED, named, page, parsed
from .request import ApiRequest, Document, Handler, Reply
from .shapes import INPUTS, QUERY
from .tags import check_tags
from .validation import Blob, read

FOLDERS = "hot-reload"  # the S3Bucket that means folders of this machine

_LARGE = 2 * limits.SETTINGS_REQUEST  # bytes of a request, most of which are its code then

_NO_SOURCE = "Please provide a source for function code."
_TWO_SOURCES = "Please do not provide other FunctionCode parameters when providing a ZipFile."
_NO_IMAGE = "Please don't provide ImageUri when {} a function with packageType Zip."
_SOURCES = (
    f"Penstock has no S3 to read from: send the zip itself as ZipFile, or name a folder of its machine, with"
    f" S3Bucket {FOLDERS} and the absolute path as S3Key"
)


Item = TypeVar("Item")


class FunctionOperations:
    """The operations on functions. `catalog` has what they work on."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def handlers(self) -> dict[str, Handler]:
        return {
            "CreateFunction": self.create_function,
            "DeleteFunction": self.delete_function,
            "GetFunction": self.get_function,
            "GetFunctionConfiguration": self.get_function_configuration,
            "ListFunctions": self.list_functions,
            "UpdateFunctionCode": self.update_function_code,
            "UpdateFunctionConfiguration": self.update_function_configuration,
        }

    async def create_function(self, request: ApiRequest) -> Reply:
        values = await _inputs_with_code(request)
        catalog = self._catalog
        name = parsed(values["FunctionName"], "", catalog, names.CREATE)
        if name.qualifier not in ("", LATEST):
            raise invalid_parameter(PERMITTED)
        settings = configuration.created(values)
        check_tags(values.get("Tags", {}), {})
        if name.function in catalog:
            raise _exists(name.function)
        code = await self._code(values["Code"], "creating")
        latest = Version(LATEST, settings, code, time.time())
        check_runtime(name.function, latest)
        entry = Entry(name.function, latest, tags=values.get("Tags", {}))
        shown = latest
        if values.get("Publish"):
            shown = await publish(catalog, entry)
        try:
            await catalog.add(entry)
        except FunctionExists:
            raise _exists(name.function) from None
        return Reply(201, describe.function(catalog, entry, shown, "", describe.CREATED))

    async def get_function(self, request: ApiRequest) -> Reply:
        entry, version, qualifier = self._found(request)
        document: Document = {
            "Configuration": describe.function(self._catalog, entry, version, qualifier),
            "Code": self._where(version.code, request.host),
        }
        if entry.tags:
            document["Tags"] = entry.tags
        if entry.reserved is not None:
            document["Concurrency"] = {"ReservedConcurrentExecutions": entry.reserved}
        return Reply(200, document)

    async def get_function_configuration(self, request: ApiRequest) -> Reply:
        return Reply(200, describe.function(self._catalog, *self._found(request)))

    async def list_functions(self, request: ApiRequest) -> Reply:
        values = inputs(request)
        found: dict[str, tuple[Entry, Version, str]] = {}
        for entry in self._catalog.entries():
            if "FunctionVersion" in values:
                found |= {key: (entry, each, each.version) for key, each in by_number(entry).items()}
            else:
                found[entry.name] = (entry, entry.latest, "")
        functions, more = paged(request, values, found)
        listed = [describe.listed(self._catalog, *each) for each in functions]
        return Reply(200, {"Functions": listed, **more})

    async def update_function_code(self, request: ApiRequest) -> Reply:
        values = await _inputs_with_code(request)
        name = whole(request, self._catalog)
        configuration.refuse_not_built(values)
        refuse_target(self._catalog.entry(name))
        code = await self._code(values, "updating")
        if values.get("DryRun"):
            entry = self._catalog.entry(name).copy()
            _set_code(entry, values, code)
            return Reply(200, describe.function(self._catalog, entry, entry.latest, ""))
        async with self._catalog.edit(name) as entry:
            _set_code(entry, values, code)
            shown, qualifier, state = entry.latest, "", describe.UPDATED
            if values.get("Publish"):
                shown = await publish(self._catalog, entry)
                qualifier, state = shown.version, describe.CREATED
        return Reply(200, describe.function(self._catalog, entry, shown, qualifier, state))

    async def update_function_configuration(self, request: ApiRequest) -> Reply:
        values = inputs(request)
        name = whole(request, self._catalog)
        async with self._catalog.edit(name) as entry:
            refuse_target(entry)
            latest = entry.latest
            check_revision(values.get("RevisionId"), latest.revision_id)
            settings = configuration.updated(latest.configuration, values, name)
            different = settings != latest.configuration
            latest.configuration = settings
            check_runtime(name, latest)
            _changed(latest, different)
        return Reply(200, describe.function(self._catalog, entry, latest, "", describe.UPDATED))

    async def delete_function(self, request: ApiRequest) -> Reply:
        inputs(request)
        name = named(request, self._catalog)
        if name.qualifier == LATEST:
            raise invalid_parameter("$LATEST version cannot be deleted without deleting the function.")
        if name.qualifier and re.fullmatch(r"(?!\d+$)[a-zA-Z0-9_-]+", name.qualifier):
            raise invalid_parameter("Deletion of aliases is not currently supported.")
        entry = self._catalog.entry(name.function)
        if not name.qualifier:
            refuse_target(entry)
            await self._catalog.remove(name.function)
        elif not name.qualifier.isdigit():
            raise FunctionNotFound(f"Function not found: {self._catalog.arn(name.function)}")
        else:
            await self._delete_version(name.function, name.qualifier)
        return Reply(204)

    async def _delete_version(self, name: str, version: str) -> None:
        """Forget a version; one that is not there is gone already, as on AWS."""
        async with self._catalog.edit(name) as entry:
            aliases = [alias.name for alias in entry.aliases.values() if alias.version == version]
            if aliases:
                message = f"Version {version} cannot be deleted: the aliases {aliases} point to it."
                raise ApiError("ResourceConflictException", message)
            entry.versions.pop(version, None)
            entry.event_invoke.pop(version, None)
            entry.provisioned.pop(version, None)
            entry.policies.pop(version, None)

    def _found(self, request: ApiRequest) -> tuple[Entry, Version, str]:
        """What a request asks to see. Raises FunctionNotFound, ApiError."""
        inputs(request)
        name = named(request, self._catalog)
        entry = self._catalog.entry(name.function, name.qualifier)
        version = entry.version(name.qualifier)
        assert version is not None  # entry() has looked
        return entry, version, name.qualifier

    async def _code(self, source: Mapping[str, Any], doing: str) -> Code:
        """The code of a request, kept. Raises ApiError."""
        others = source.keys() & {"S3Bucket", "S3Key", "S3ObjectVersion"}
        if source.get("ImageUri"):
            raise invalid_parameter(_NO_IMAGE.format(doing))
        codes = self._catalog.codes
        try:
            if (data := source.get("ZipFile")) is not None:
                if others:
                    raise invalid_parameter(_TWO_SOURCES)
                return await asyncio.to_thread(codes.add_zip, data)
            if not others:
                raise invalid_parameter(_NO_SOURCE)
            folder = Path(source.get("S3Key", ""))
            if source.get("S3Bucket") != FOLDERS or not folder.is_absolute():
                raise invalid_parameter(_SOURCES)
            return await asyncio.to_thread(codes.live, folder)
        except (InvalidZip, TooLarge, OSError) as error:
            raise code_error(error) from None

    def _where(self, code: Code, host: str) -> Document:
        """Where a function's code can be had."""
        if not code.sha256:
            return {"RepositoryType": "Folder", "Location": Path(code.root).absolute().as_uri()}
        return {"RepositoryType": "S3", "Location": code_location(host, code.sha256, time.time())}


# Shared with the operations on versions.


def inputs(request: ApiRequest) -> Document:
    """The members of a request, as its operation takes them. Raises ApiError."""
    shape = INPUTS[request.operation]
    # FunctionVersion is a member of the body for the operations that change aliases.
    query = QUERY if request.operation.startswith(("Get", "List", "Delete")) else ()
    return read(request, shape, query=query)


def whole(request: ApiRequest, catalog: Catalog) -> str:
    """The name of a function that is to be changed as a whole. Raises ApiError, FunctionNotFound."""
    name = named(request, catalog, names.PLAIN)
    if name.qualifier not in ("", LATEST):
        raise invalid_parameter(PERMITTED)
    return name.function


def by_number(entry: Entry) -> dict[str, Version]:
    """Every version, $LATEST first; the keys sort as versions do, those of many functions by name."""
    return {
        f"{entry.name} {0 if each.version == LATEST else int(each.version):012}": each
        for each in entry.all_versions()
    }


def paged(
    request: ApiRequest, values: Mapping[str, Any], items: Mapping[str, Item]
) -> tuple[list[Item], dict[str, str]]:
    """The items a request asks for, and NextMarker if there are more: 50 at once at most, as on AWS."""
    size = min(values.get("MaxItems", LONGEST_PAGE), LONGEST_PAGE)
    return page(replace(request, query={**request.query, "MaxItems": [str(size)]}), items)


def refuse_target(entry: Entry) -> None:
    """Raises ApiError for a function whose code and configuration are not the API's."""
    if entry.target:
        message = (
            f"The function {entry.name} is the one that was given to penstock on its command line: change it"
            " there. Its versions, aliases and other settings can be changed here."
        )
        raise ApiError("ResourceConflictException", message)


def check_runtime(name: str, version: Version) -> None:
    """Raises ApiError if the runtime that a version asks for cannot be started on this machine."""
    settings = version.configuration
    variables = (settings.get("Environment") or {}).get("Variables", {})
    function = Function(
        name,
        settings.get("Handler", ""),
        version.code.root,
        sys.executable,
        environment=variables,
        runtime=settings.get("Runtime", ""),
    )
    try:
        runtimes.launch(function, lambda note: None)
    except runtimes.Unavailable as error:
        raise invalid_parameter(str(error)) from None


async def publish(catalog: Catalog, entry: Entry, description: str | None = None) -> Version:
    """A version of $LATEST as it is: a new one, or the last one if nothing has changed since.

    Its code is a copy where it was a folder. Raises ApiError.
    """
    latest = entry.latest
    code = latest.code
    if not code.sha256:
        try:
            code = await asyncio.to_thread(catalog.codes.add_folder, Path(code.root))
        except (InvalidZip, TooLarge, OSError) as error:
            raise code_error(error) from None
    last = next(reversed(entry.versions.values()), None)
    if (
        last is not None
        and last.code.sha256 == code.sha256
        # A function of TARGET has another generation at each start.
        and (last.generation == latest.generation or last.configuration == latest.configuration)
    ):
        return last
    settings = dict(latest.configuration)
    if description is not None:
        settings["Description"] = description
    # The same generation: that is how the next one knows that nothing has changed.
    version = Version(str(entry.next_version), settings, code, time.time(), latest.generation)
    entry.versions[version.version] = version
    entry.next_version += 1
    latest.revision_id = str(uuid.uuid4())
    return version


def code_error(error: Exception) -> ApiError:
    """AWS's answer to code that could not be taken."""
    if isinstance(error, TooLarge) and error.zipped:
        return ApiError("RequestEntityTooLargeException", str(error))
    if isinstance(error, OSError):
        return ApiError("ServiceException", f"the code could not be written: {error}")
    return invalid_parameter(str(error))


async def _inputs_with_code(request: ApiRequest) -> Document:
    """`inputs`, beside the loop where that takes long: streams go on meanwhile."""
    if len(request.body) < _LARGE:
        return inputs(request)
    return await asyncio.to_thread(_inputs_around_code, request)


def _inputs_around_code(request: ApiRequest) -> Document:
    """`inputs` of a request that is large, by its code.

    A thread that reads JSON lets no other one run. So the code's text is taken out first, and something
    short put in its place: what is left is no longer than a request of another operation.
    """
    body = request.body
    begin, end = _longest_text(body)
    if len(body) - (end - begin) > limits.SETTINGS_REQUEST:
        raise _too_large_but_code(request)
    mark = secrets.token_bytes(24)
    short = b"%b%b%b" % (body[:begin], base64.b64encode(mark), body[end:])
    values = inputs(replace(request, body=short))
    source: Document = values.get("Code", values)
    if source.get("ZipFile") != mark:
        raise _too_large_but_code(request)
    if body.find(b"\\", begin, end) < 0:
        source["ZipFile"] = Blob().decode(memoryview(body)[begin:end])
    else:  # some clients write a slash as \/
        text = ApiRequest(request.operation, {}, body=b'{"text":"%b"}' % body[begin:end]).json()["text"]
        source["ZipFile"] = Blob().read(text)
    return values


def _longest_text(body: bytes) -> tuple[int, int]:
    """Where the text that is more than half of `body` begins and ends; 0 if none begins soon."""
    begin = body.find(b'"') + 1
    while 0 < begin <= limits.SETTINGS_REQUEST and (end := body.find(b'"', begin)) >= 0:
        if end - begin > len(body) // 2:
            return begin, end
        begin = end + 1
    return 0, 0


def _too_large_but_code(request: ApiRequest) -> ApiError:
    message = (
        f"Request must be smaller than {limits.SETTINGS_REQUEST} bytes without its ZipFile for the"
        f" {request.operation} operation"
    )
    return ApiError("RequestEntityTooLargeException", message)


def _set_code(entry: Entry, values: Mapping[str, Any], code: Code) -> None:
    """Raises ApiError if the function is not to be given this code."""
    refuse_target(entry)
    latest = entry.latest
    check_revision(values.get("RevisionId"), latest.revision_id)
    before = (latest.code, latest.configuration)
    latest.code = code
    if "Architectures" in values:
        latest.configuration = {**latest.configuration, "Architectures": values["Architectures"]}
    check_runtime(entry.name, latest)
    _changed(latest, (latest.code, latest.configuration) != before)


def _changed(version: Version, different: bool) -> None:
    """Environments of before are used on if nothing is different."""
    if different:
        version.changed()
    else:
        version.revision_id = str(uuid.uuid4())
        version.last_modified = time.time()


def _exists(name: str) -> ApiError:
    return ApiError("ResourceConflictException", f"Function already exist: {name}")
