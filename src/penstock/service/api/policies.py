"""Who may invoke a function, as AWS keeps it: AddPermission, GetPolicy, RemovePermission.

A function, each version and each alias has a policy of its own: a list of statements. They are kept, shown
and counted as on AWS, and they are not enforced: there is one account here, and whoever has its keys may
do everything. Texts are AWS's.

Source: https://docs.aws.amazon.com/lambda/latest/dg/access-control-resource-based.html and
API_AddPermission.html.
"""

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from penstock.service.catalog import Alias, Catalog, Entry, Version
from penstock.service.functions import LATEST

from .errors import ApiError, check_revision, invalid_parameter, not_found
from .naming import named
from .request import ApiRequest, Document, Handler, Reply
from .shapes import ARN
from .validation import Flag, Structure, Text, read

_LONGEST = 20_480  # bytes of a policy: .../lambda/latest/dg/gettingstarted-limits.html

# Whom a statement may name: a service, an account, someone of IAM or STS, or everyone.
_SERVICE = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*\.(amazonaws\.com(\.cn)?|amazon\.com)")
_ACCOUNT = re.compile(r"\d{12}")
_IDENTITY = re.compile(r"arn:(aws[a-zA-Z-]*):(iam|sts)::(\d{12}|cloudfront):.+")

# Members of AddPermission that are conditions, in the order of AWS's answers: what tests which key.
_CONDITIONS = (
    ("SourceAccount", "StringEquals", "AWS:SourceAccount"),
    ("FunctionUrlAuthType", "StringEquals", "lambda:FunctionUrlAuthType"),
    ("PrincipalOrgID", "StringEquals", "aws:PrincipalOrgID"),
    ("EventSourceToken", "StringEquals", "lambda:EventSourceToken"),
    ("InvokedViaFunctionUrl", "Bool", "lambda:InvokedViaFunctionUrl"),
    ("SourceArn", "ArnLike", "AWS:SourceArn"),
)

_ADD = Structure(
    {
        "StatementId": Text(1, 100, r"([a-zA-Z0-9-_]+)"),
        "Action": Text(0, 10_000, r"(lambda:[*]|lambda:[a-zA-Z]+|[*])"),
        "Principal": Text(0, 2048, r"[^\s]+"),
        "SourceArn": Text(0, 10_000, ARN),
        "FunctionUrlAuthType": Text(enum=("NONE", "AWS_IAM")),
        "InvokedViaFunctionUrl": Flag(),
        "SourceAccount": Text(0, 12, r"\d{12}"),
        "EventSourceToken": Text(0, 256, r"[a-zA-Z0-9._\-]+"),
        "RevisionId": Text(),
        "PrincipalOrgID": Text(12, 34, r"o-[a-z0-9]{10,32}"),
    },
    required=("StatementId", "Action", "Principal"),
)
_REMOVE = Structure(
    {
        "StatementId": Text(1, 100, r"([a-zA-Z0-9-_.]+)"),
        "RevisionId": Text(),
    }
)


class Policies:
    """The three operations. Statements are made here, and only there where AWS answers with them."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def handlers(self) -> dict[str, Handler]:
        return {
            "AddPermission": self.add_permission,
            "GetPolicy": self.get_policy,
            "RemovePermission": self.remove_permission,
        }

    async def add_permission(self, request: ApiRequest) -> Reply:
        values = read(request, _ADD)
        name = named(request, self._catalog)
        if name.qualifier == LATEST:
            raise invalid_parameter("We currently do not support adding policies for $LATEST.")
        sid = values["StatementId"]
        async with self._catalog.edit(name.function) as entry:
            holder = self._holder(entry, name.qualifier)
            check_revision(values.get("RevisionId"), holder.revision_id, "GetPolicy")
            policy = entry.policies.setdefault(name.qualifier, {})
            if sid in policy:
                message = (
                    f"The statement id ({sid}) provided already exists."
                    " Please provide a new statement id, or remove the existing statement."
                )
                raise ApiError("ResourceConflictException", message)
            policy[sid] = statement(values, self._catalog.arn(entry.name, name.qualifier))
            if (size := len(document(policy).encode())) > _LONGEST:
                message = f"The final policy size ({size}) is bigger than the limit ({_LONGEST})."
                raise ApiError("PolicyLengthExceededException", message)
            _revise(entry, holder)
        return Reply(201, {"Statement": _json(policy[sid])})

    async def get_policy(self, request: ApiRequest) -> Reply:
        name = named(request, self._catalog)
        entry = self._catalog.entry(name.function) if name.function in self._catalog else None
        policy = entry.policies.get(name.qualifier) if entry is not None else None
        if entry is None or not policy:
            raise not_found("The resource you requested does not exist.")
        holder = self._holder(entry, name.qualifier)
        return Reply(200, {"Policy": document(policy), "RevisionId": holder.revision_id})

    async def remove_permission(self, request: ApiRequest) -> Reply:
        values = read(request, _REMOVE, query=("RevisionId",))
        name = named(request, self._catalog)
        if name.function not in self._catalog:
            arn = self._catalog.arn(name.function, name.qualifier)
            raise not_found(f"No policy found for: {arn}")
        async with self._catalog.edit(name.function) as entry:
            holder = self._holder(entry, name.qualifier)
            policy = entry.policies.get(name.qualifier)
            if not policy:
                raise not_found("No policy is associated with the given resource.")
            sid = values["StatementId"]
            if sid not in policy:
                raise not_found(f"Statement {sid} is not found in resource policy.")
            check_revision(values.get("RevisionId"), holder.revision_id)
            del policy[sid]
            if not policy:
                del entry.policies[name.qualifier]
            _revise(entry, holder)
        return Reply(204)

    def _holder(self, entry: Entry, qualifier: str) -> Version | Alias:
        """What the policy belongs to: its revision is the policy's. Raises ApiError."""
        if qualifier in entry.aliases:
            return entry.aliases[qualifier]
        version = entry.version(qualifier)
        if version is None:
            arn = self._catalog.arn(entry.name, qualifier)
            alias = re.fullmatch(r"(?!\d+$)[a-zA-Z0-9_-]+", qualifier)
            raise not_found(f"Cannot find alias arn: {arn}" if alias else f"Function not found: {arn}")
        return version


def statement(values: Mapping[str, Any], resource: str) -> Document:
    """The statement AddPermission asks for. Raises ApiError for a principal that is none."""
    conditions: dict[str, dict[str, str]] = {}
    for member, test, key in _CONDITIONS:
        if (value := values.get(member)) not in (None, ""):
            text = str(value).lower() if isinstance(value, bool) else value
            conditions.setdefault(test, {})[key] = text
    return {
        "Sid": values["StatementId"],
        "Effect": "Allow",
        "Principal": _principal(values["Principal"]),
        "Action": values["Action"],
        "Resource": resource,
        **({"Condition": conditions} if conditions else {}),
    }


def document(policy: Mapping[str, Document]) -> str:
    """A policy as GetPolicy answers it: JSON in a string."""
    return _json({"Version": "2012-10-17", "Id": "default", "Statement": list(policy.values())})


def _principal(text: str) -> str | dict[str, str]:
    if text == "*":
        return text
    if _ACCOUNT.fullmatch(text):
        return {"AWS": f"arn:aws:iam::{text}:root"}
    if _SERVICE.fullmatch(text):
        return {"Service": text}
    if _IDENTITY.fullmatch(text):
        return {"AWS": text}
    raise invalid_parameter("The provided principal was invalid. Please check the principal and try again.")


def _revise(entry: Entry, holder: Version | Alias) -> None:
    """A policy has changed: what it belongs to is of another revision."""
    revision_id = str(uuid.uuid4())
    if isinstance(holder, Version) and holder is not entry.latest:
        # Published versions are shared with whoever reads the function before this change is saved.
        entry.versions[holder.version] = replace(holder, revision_id=revision_id)
    else:
        holder.revision_id = revision_id


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
