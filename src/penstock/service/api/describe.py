"""Functions, versions and aliases as the Lambda API shows them. Pure.

On AWS a new function is Pending for a while, and a changed one InProgress. Here both are ready when the
answer is written. Answers still say what AWS's say at that moment, and give the revision of that moment;
what is stored, and what whoever asks next is told, is Active and Successful, of the next revision. So
clients that wait find it ready at their first look, and those that do not wait get no other answers than
AWS's.
"""

import hashlib
import time
import uuid
from typing import Any

from penstock.service.catalog import Alias, Entry, Version
from penstock.service.functions import LATEST, Functions
from penstock.service.runtimes import PYTHON

from .configuration import architecture
from .request import Document

_REASON = "The function is being created."  # AWS says so of updates as well
CREATED = {"State": "Pending", "StateReason": _REASON, "StateReasonCode": "Creating"}
UPDATED = {
    "State": "Active",
    "LastUpdateStatus": "InProgress",
    "LastUpdateStatusReason": _REASON,
    "LastUpdateStatusReasonCode": "Creating",
}
READY = {"State": "Active", "LastUpdateStatus": "Successful"}

# Shown as they were given, where they were.
_AS_GIVEN = (
    "Role",
    "Handler",
    "Runtime",
    "Environment",
    "KMSKeyArn",
    "FileSystemConfigs",
    "TenancyConfig",
)


def function(
    functions: Functions, entry: Entry, version: Version, qualifier: str, state: Document = READY
) -> Document:
    """AWS's FunctionConfiguration of one version, called by `qualifier`; `state` is one of the above."""
    document = listed(functions, entry, version, qualifier)
    runtime = hashlib.sha256(document.get("Runtime", "").encode()).hexdigest()
    document["RuntimeVersionConfig"] = {
        "RuntimeVersionArn": f"arn:aws:lambda:{functions.region}::runtime:{runtime}"
    }
    document |= state
    if state is not READY:
        document["RevisionId"] = str(uuid.uuid4())
    return document


def listed(functions: Functions, entry: Entry, version: Version, qualifier: str) -> Document:
    """The same as lists have it: they do not say whether it is ready."""
    configuration = version.configuration
    document: Document = {
        "FunctionName": entry.name,
        "FunctionArn": functions.arn(entry.name, qualifier),
        "Version": version.version,
        "RevisionId": version.revision_id,
        "LastModified": timestamp(version.last_modified),
        "CodeSize": version.code.size,
        "CodeSha256": version.code.sha256,
        "PackageType": "Zip",
        "Description": configuration.get("Description", ""),
        "Timeout": configuration.get("Timeout", 3),
        "MemorySize": configuration.get("MemorySize", 128),
        "Architectures": configuration.get("Architectures", [architecture()]),
        "EphemeralStorage": configuration.get("EphemeralStorage", {"Size": 512}),
        "TracingConfig": {"Mode": "PassThrough", **configuration.get("TracingConfig", {})},
        "SnapStart": _snap_start(version),
        "LoggingConfig": configuration.get(
            "LoggingConfig", {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{entry.name}"}
        ),
    }
    document |= {name: configuration[name] for name in _AS_GIVEN if configuration.get(name)}
    if target := configuration.get("DeadLetterConfig", {}).get("TargetArn"):
        document["DeadLetterConfig"] = {"TargetArn": target}
    if "VpcConfig" in configuration:
        vpc: dict[str, Any] = {"SubnetIds": [], "SecurityGroupIds": [], "Ipv6AllowedForDualStack": False}
        document["VpcConfig"] = {**vpc, **configuration["VpcConfig"], "VpcId": ""}
    return document


def _snap_start(version: Version) -> Document:
    """On for versions whose environments are forks of an initialised template."""
    chosen = {"ApplyOn": "None", **(version.configuration.get("SnapStart") or {})}
    on = (
        chosen["ApplyOn"] == "PublishedVersions"
        and version.version != LATEST
        and version.configuration.get("Runtime") in PYTHON
    )
    return {**chosen, "OptimizationStatus": "On" if on else "Off"}


def alias(functions: Functions, entry: Entry, each: Alias) -> Document:
    """AWS's AliasConfiguration."""
    return {
        "AliasArn": functions.arn(entry.name, each.name),
        "Name": each.name,
        "FunctionVersion": each.version,
        "Description": each.description,
        "RevisionId": each.revision_id,
    }


def timestamp(seconds: float) -> str:
    """As AWS writes the time of a change."""
    milliseconds = int(seconds * 1000) % 1000
    return time.strftime(f"%Y-%m-%dT%H:%M:%S.{milliseconds:03}+0000", time.gmtime(seconds))
