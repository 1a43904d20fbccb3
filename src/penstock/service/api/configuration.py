"""What CreateFunction and UpdateFunctionConfiguration make of their members. Pure.

A configuration is kept as AWS's members say it. Members that have no effect here are kept and shown, so that
whoever set them finds them again; those without which a function would break are refused, in AWS's words
where AWS has words.
"""

import json
import platform
from collections.abc import Mapping
from typing import Any

from penstock.service import runtimes

from .errors import ApiError, invalid_parameter
from .request import Document
from .shapes import CONFIGURATION

_ENVIRONMENT = 4096  # bytes of the variables as JSON
_LAYERS = 5
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html; names that begin with an
# underscore are not of the right pattern in the first place.
_RESERVED = frozenset(
    (
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
    )
)
_NO_VARIABLES = (
    "Lambda was unable to configure your environment variables because the environment variables you have"
    " provided "
)

# A function with one of these would do something else here than it says. Member: what is missing, what to do.
_NOT_BUILT = {
    "CapacityProviderConfig": (
        "managed instances are not built into Penstock: leave it out; the variable PENSTOCK_CONCURRENCY says"
        " how many invocations an environment runs at once"
    ),
    "DurableConfig": "durable functions are not built into Penstock: leave it out",
    "RuntimeConfig": (
        "customer-managed runtimes are not built into Penstock: use provided.al2023 and a bootstrap of your"
        " own"
    ),
    "AcceleratorConfig": "accelerators are not built into Penstock: leave it out",
    "PublishTo": "$LATEST.PUBLISHED is not built into Penstock: use Publish",
    "ImageConfig": "container images are not built into Penstock: send the code as a zip",
}


def architecture() -> str:
    """This machine's, in AWS's words."""
    return "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"


def created(values: Mapping[str, Any]) -> Document:
    """The configuration of a new function. Raises ApiError."""
    if values.get("PackageType") == "Image":
        raise invalid_parameter(f"PackageType Image: {_NOT_BUILT['ImageConfig']}")
    if arn := values.get("CodeSigningConfigArn"):
        message = (
            "The code signing configuration cannot be found. Check that the provided configuration is not"
            f" deleted: {arn}"
        )
        raise ApiError("CodeSigningConfigNotFoundException", message)
    if not (values.get("Runtime") and values.get("Handler")):
        message = (
            "Runtime and Handler are mandatory parameters for functions created with deployment packages."
        )
        raise invalid_parameter(message)
    _check(values)
    configuration: Document = {
        "Description": "",
        "Timeout": 3,
        "MemorySize": 128,
        "Architectures": values.get("Architectures", [architecture()]),
        **_settings(values),
        "LoggingConfig": _logging({}, values.get("LoggingConfig", {}), values["FunctionName"]),
    }
    if "TenancyConfig" in values:
        configuration["TenancyConfig"] = values["TenancyConfig"]
    return configuration


def updated(configuration: Mapping[str, Any], values: Mapping[str, Any], name: str) -> Document:
    """A function's configuration after UpdateFunctionConfiguration. Raises ApiError."""
    _check(values)
    result = {**configuration, **_settings(values)}
    if "LoggingConfig" in values:
        result["LoggingConfig"] = _logging(
            configuration.get("LoggingConfig", {}), values["LoggingConfig"], name
        )
    return result


def refuse_not_built(values: Mapping[str, Any]) -> None:
    """Raises ApiError if a request asks for what a function would not have here."""
    for member, reason in _NOT_BUILT.items():
        if values.get(member):
            raise invalid_parameter(f"{member}: {reason}")


def _settings(values: Mapping[str, Any]) -> Document:
    """What is kept as it was given."""
    settings = {name: values[name] for name in CONFIGURATION if name in values and name != "LoggingConfig"}
    settings.pop("Layers", None)  # there are none
    if "Environment" in settings:
        settings["Environment"] = {"Variables": settings["Environment"].get("Variables", {})}
    return settings


def _logging(before: Mapping[str, Any], given: Mapping[str, Any], name: str) -> Document:
    """Members that are not given stay; levels are JSON's only, INFO where none is said."""
    logging: Document = {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{name}", **before, **given}
    for level in ("ApplicationLogLevel", "SystemLogLevel"):
        if logging["LogFormat"] == "JSON":
            logging.setdefault(level, "INFO")
        else:
            logging.pop(level, None)
    return logging


def _check(values: Mapping[str, Any]) -> None:
    refuse_not_built(values)
    _check_layers(values.get("Layers", ()))
    _check_variables(values.get("Environment", {}).get("Variables", {}))
    runtime = values.get("Runtime")
    if runtime is not None and runtime not in runtimes.KNOWN:
        known = ", ".join((*runtimes.PYTHON, *runtimes.NODE, *runtimes.PROVIDED))
        message = (
            f"Value {runtime[:256]} at 'runtime' failed to satisfy constraint: Member must satisfy enum value"
            f" set: [{known}] or be a valid ARN"
        )
        raise invalid_parameter(message)


def _check_layers(layers: list[str]) -> None:
    if len(layers) > _LAYERS:
        raise invalid_parameter(f"Cannot reference more than {_LAYERS} layers.")
    if layers:
        message = (
            f"Layer version {layers[0]} cannot be used: layers are not built into Penstock; put what is in"
            " the layer into the function's code"
        )
        raise invalid_parameter(message)


def _check_variables(variables: Mapping[str, str]) -> None:
    if reserved := [name for name in variables if name in _RESERVED]:
        message = (
            f"{_NO_VARIABLES}contains reserved keys that are currently not supported for modification."
            f" Reserved keys used in this request: {', '.join(reserved)}"
        )
        raise invalid_parameter(message)
    measured = json.dumps(variables, separators=(",", ":"), ensure_ascii=False)
    if len(measured.encode()) > _ENVIRONMENT:
        message = f"{_NO_VARIABLES}exceeded the 4KB limit. String measured: {measured}"
        raise invalid_parameter(message)
    for name, value in variables.items():
        if "\0" in value:
            raise invalid_parameter(f"{_NO_VARIABLES}contains a NUL character in {name}")
