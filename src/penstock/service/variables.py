"""The environment variables a function sees.

Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
"""

import os
from collections.abc import Mapping

from .registry import Function


def variables(function: Function, region: str, log_stream: str, runtime_api: str) -> dict[str, str]:
    """What a function's process is started with: its own variables, and above them AWS's."""
    return {
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PATH": os.defpath,
        **function.environment,
        "_HANDLER": function.handler,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": function.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        "LAMBDA_TASK_ROOT": function.root,
        "LAMBDA_RUNTIME_DIR": os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
    }


def from_shell(environment: Mapping[str, str]) -> dict[str, str]:
    """What `penstock dev` passes on: the shell's environment, without our own settings."""
    return {name: value for name, value in environment.items() if not name.startswith("PENSTOCK_")}


def from_host(environment: Mapping[str, str]) -> dict[str, str]:
    """What `penstock serve` passes on: nothing that could be the host's secret."""
    return {name: environment[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in environment}
