"""The operations of the Lambda API: names, methods, paths, and the status of success. Pure.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_Operations.html. Names in braces stand for one
percent-encoded part of a path, which may therefore hold an ARN. Of two operations that only the query
tells apart the template shows it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from .lambda_api import INVOKE_PREFIX, INVOKE_SUFFIX, STREAM_PREFIX, STREAM_SUFFIX


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the Lambda API."""

    name: str
    method: str
    template: str
    success: int  # as AWS answers it: DeleteFunction's 204, where its model says 200


@dataclass(frozen=True, slots=True)
class Match:
    """What a request asks for; the parameters in its path are decoded."""

    operation: Operation
    parameters: dict[str, str]


# Each path, and below it the methods that mean something there: with the status of success, and the name.
_TABLE = """
/2014-11-13/functions/{FunctionName}/invoke-async
    POST 202 InvokeAsync
/2015-03-31/event-source-mappings
    GET 200 ListEventSourceMappings
    POST 202 CreateEventSourceMapping
/2015-03-31/event-source-mappings/{UUID}
    GET 200 GetEventSourceMapping
    PUT 202 UpdateEventSourceMapping
    DELETE 202 DeleteEventSourceMapping
/2015-03-31/functions
    GET 200 ListFunctions
    POST 201 CreateFunction
/2015-03-31/functions/{FunctionName}
    GET 200 GetFunction
    DELETE 204 DeleteFunction
/2015-03-31/functions/{FunctionName}/aliases
    GET 200 ListAliases
    POST 201 CreateAlias
/2015-03-31/functions/{FunctionName}/aliases/{Name}
    GET 200 GetAlias
    PUT 200 UpdateAlias
    DELETE 204 DeleteAlias
/2015-03-31/functions/{FunctionName}/code
    PUT 200 UpdateFunctionCode
/2015-03-31/functions/{FunctionName}/configuration
    GET 200 GetFunctionConfiguration
    PUT 200 UpdateFunctionConfiguration
/2015-03-31/functions/{FunctionName}/invocations
    POST 200 Invoke
/2015-03-31/functions/{FunctionName}/policy
    GET 200 GetPolicy
    POST 201 AddPermission
/2015-03-31/functions/{FunctionName}/policy/{StatementId}
    DELETE 204 RemovePermission
/2015-03-31/functions/{FunctionName}/versions
    GET 200 ListVersionsByFunction
    POST 201 PublishVersion
/2016-08-19/account-settings
    GET 200 GetAccountSettings
/2017-03-31/tags/{Resource}
    GET 200 ListTags
    POST 204 TagResource
    DELETE 204 UntagResource
/2017-10-31/functions/{FunctionName}/concurrency
    PUT 200 PutFunctionConcurrency
    DELETE 204 DeleteFunctionConcurrency
/2018-10-31/layers
    GET 200 ListLayers
/2018-10-31/layers/{LayerName}/versions
    GET 200 ListLayerVersions
    POST 201 PublishLayerVersion
/2018-10-31/layers/{LayerName}/versions/{VersionNumber}
    GET 200 GetLayerVersion
    DELETE 204 DeleteLayerVersion
/2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy
    GET 200 GetLayerVersionPolicy
    POST 201 AddLayerVersionPermission
/2018-10-31/layers/{LayerName}/versions/{VersionNumber}/policy/{StatementId}
    DELETE 204 RemoveLayerVersionPermission
/2018-10-31/layers?find=LayerVersion
    GET 200 GetLayerVersionByArn
/2019-09-25/functions/{FunctionName}/event-invoke-config
    GET 200 GetFunctionEventInvokeConfig
    POST 200 UpdateFunctionEventInvokeConfig
    PUT 200 PutFunctionEventInvokeConfig
    DELETE 204 DeleteFunctionEventInvokeConfig
/2019-09-25/functions/{FunctionName}/event-invoke-config/list
    GET 200 ListFunctionEventInvokeConfigs
/2019-09-30/functions/{FunctionName}/concurrency
    GET 200 GetFunctionConcurrency
/2019-09-30/functions/{FunctionName}/provisioned-concurrency
    GET 200 GetProvisionedConcurrencyConfig
    PUT 202 PutProvisionedConcurrencyConfig
    DELETE 204 DeleteProvisionedConcurrencyConfig
/2019-09-30/functions/{FunctionName}/provisioned-concurrency?List=ALL
    GET 200 ListProvisionedConcurrencyConfigs
/2020-04-22/code-signing-configs
    GET 200 ListCodeSigningConfigs
    POST 201 CreateCodeSigningConfig
/2020-04-22/code-signing-configs/{CodeSigningConfigArn}
    GET 200 GetCodeSigningConfig
    PUT 200 UpdateCodeSigningConfig
    DELETE 204 DeleteCodeSigningConfig
/2020-04-22/code-signing-configs/{CodeSigningConfigArn}/functions
    GET 200 ListFunctionsByCodeSigningConfig
/2020-06-30/functions/{FunctionName}/code-signing-config
    GET 200 GetFunctionCodeSigningConfig
    PUT 200 PutFunctionCodeSigningConfig
    DELETE 204 DeleteFunctionCodeSigningConfig
/2021-07-20/functions/{FunctionName}/runtime-management-config
    GET 200 GetRuntimeManagementConfig
    PUT 200 PutRuntimeManagementConfig
/2021-10-31/functions/{FunctionName}/url
    GET 200 GetFunctionUrlConfig
    POST 201 CreateFunctionUrlConfig
    PUT 200 UpdateFunctionUrlConfig
    DELETE 204 DeleteFunctionUrlConfig
/2021-10-31/functions/{FunctionName}/urls
    GET 200 ListFunctionUrlConfigs
/2021-11-15/functions/{FunctionName}/response-streaming-invocations
    POST 200 InvokeWithResponseStream
/2024-08-31/functions/{FunctionName}/recursion-config
    GET 200 GetFunctionRecursionConfig
    PUT 200 PutFunctionRecursionConfig
/2025-11-30/capacity-providers
    GET 200 ListCapacityProviders
    POST 202 CreateCapacityProvider
/2025-11-30/capacity-providers/{CapacityProviderName}
    GET 200 GetCapacityProvider
    PUT 202 UpdateCapacityProvider
    DELETE 202 DeleteCapacityProvider
/2025-11-30/capacity-providers/{CapacityProviderName}/function-versions
    GET 200 ListFunctionVersionsByCapacityProvider
/2025-11-30/functions/{FunctionName}/function-scaling-config
    GET 200 GetFunctionScalingConfig
    PUT 202 PutFunctionScalingConfig
/2025-12-01/durable-execution-callbacks/{CallbackId}/fail
    POST 200 SendDurableExecutionCallbackFailure
/2025-12-01/durable-execution-callbacks/{CallbackId}/heartbeat
    POST 200 SendDurableExecutionCallbackHeartbeat
/2025-12-01/durable-execution-callbacks/{CallbackId}/succeed
    POST 200 SendDurableExecutionCallbackSuccess
/2025-12-01/durable-executions/{DurableExecutionArn}
    GET 200 GetDurableExecution
    DELETE 202 DeleteDurableExecution
/2025-12-01/durable-executions/{DurableExecutionArn}/checkpoint
    POST 200 CheckpointDurableExecution
/2025-12-01/durable-executions/{DurableExecutionArn}/history
    GET 200 GetDurableExecutionHistory
/2025-12-01/durable-executions/{DurableExecutionArn}/pause
    POST 202 PauseDurableExecution
/2025-12-01/durable-executions/{DurableExecutionArn}/resume
    POST 202 ResumeDurableExecution
/2025-12-01/durable-executions/{DurableExecutionArn}/state
    GET 200 GetDurableExecutionState
/2025-12-01/durable-executions/{DurableExecutionArn}/stop
    POST 200 StopDurableExecution
/2025-12-01/functions/{FunctionName}/durable-executions
    GET 200 ListDurableExecutionsByFunction
/2026-07-09/resource-policy/{ResourceArn}
    GET 200 GetResourcePolicy
    PUT 200 PutResourcePolicy
    DELETE 204 DeleteResourcePolicy
"""


def _operations() -> Iterator[Operation]:
    template = ""
    for line in _TABLE.split("\n"):
        if line.startswith("/"):
            template = line
        elif line:
            method, success, name = line.split()
            yield Operation(name, method, template, int(success))


OPERATIONS = tuple(sorted(_operations(), key=lambda operation: operation.name))
BY_NAME = {operation.name: operation for operation in OPERATIONS}


def match(method: str, path: str, query: str = "") -> Match | None:
    """The operation of a request, or None: nothing of the Lambda API is called like this.

    `path` and `query` are as on the wire, the query without its question mark; it is looked at only where it
    tells two operations apart. A slash at the end of a path counts for nothing: older clients send one.
    """
    # Invocations come by the thousand a second, everything else by hand.
    if method == "POST":
        if path.startswith(INVOKE_PREFIX) and path.endswith(INVOKE_SUFFIX):
            name = path[len(INVOKE_PREFIX) : -len(INVOKE_SUFFIX)]
            if name and "/" not in name:
                return Match(_INVOKE, {"FunctionName": unquote(name)})
        elif path.startswith(STREAM_PREFIX) and path.endswith(STREAM_SUFFIX):
            name = path[len(STREAM_PREFIX) : -len(STREAM_SUFFIX)]
            if name and "/" not in name:
                return Match(_STREAM, {"FunctionName": unquote(name)})
    leaf, values = _walk(path)
    found = leaf.get(method)
    if found is None:
        return None
    names, operation, told_apart = found
    if told_apart and query:
        asked = dict(parse_qsl(query, keep_blank_values=True))
        for key, value, other in told_apart:
            if asked.get(key) == value:
                operation = other
    return Match(operation, dict(zip(names, values, strict=True)))


def methods(path: str) -> list[str]:
    """The methods that some operation knows at this path."""
    return sorted(_walk(path)[0])


# A tree of the templates' parts, a parameter being _ANY; at a path's end, under _END, its methods: the names
# of the parameters, the operation, and those that a pair of the query asks for instead.
_ANY = "{}"
_END = "/"  # no part of a path is called this
_Leaf = dict[str, tuple[list[str], Operation, list[tuple[str, str, Operation]]]]


def _walk(path: str) -> tuple[_Leaf, list[str]]:
    node = _TREE
    values = []
    for part in path.removesuffix("/").split("/"):
        below = node.get(part)
        if below is None or part in (_ANY, _END):
            below = node.get(_ANY)
            if below is None or not part:
                return {}, []
            values.append(unquote(part))
        node = below
    return node.get(_END, {}), values


def _tree() -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for operation in sorted(OPERATIONS, key=lambda operation: "?" in operation.template):
        path, _, query = operation.template.partition("?")
        node = tree
        names = []
        for part in path.split("/"):
            if part.startswith("{"):
                names.append(part[1:-1])
                part = _ANY
            node = node.setdefault(part, {})
        leaf: _Leaf = node.setdefault(_END, {})
        if query:
            key, _, value = query.partition("=")
            leaf[operation.method][2].append((key, value, operation))
        else:
            leaf[operation.method] = (names, operation, [])
    return tree


_INVOKE = BY_NAME["Invoke"]
_STREAM = BY_NAME["InvokeWithResponseStream"]
_TREE = _tree()
