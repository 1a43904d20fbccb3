"""The environment variables a function sees.

Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html, and what a function on AWS
finds there. Credentials are not made up: a function has those its environment gives it. With invented ones a
call of AWS would fail as if the real ones had been refused, and they would stand before the ones in HOME.
"""

import os
from collections.abc import Mapping

from .functions import Function
from .runtimes import PATH


def variables(
    function: Function,
    region: str,
    log_stream: str,
    runtime_api: str,
    runtime: Mapping[str, str] | None = None,
    *,
    initialization: str = "on-demand",
) -> dict[str, str]:
    """What a function's process is started with: its own variables, `runtime`'s, and above them AWS's."""
    seen = {
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PATH": PATH,
        # Where the SDKs send traces, as datagrams; nobody need listen there.
        "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
        "_AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1",
        "_AWS_XRAY_DAEMON_PORT": "2000",
        **function.environment,
    }
    for name in ("AWS_EXECUTION_ENV", "AWS_LAMBDA_MAX_CONCURRENCY"):
        seen.pop(name, None)  # not the function's to say; the shell's would be another's
    seen |= runtime or {}
    seen |= {
        "_HANDLER": function.handler,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": function.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
        "AWS_LAMBDA_INITIALIZATION_TYPE": initialization,
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        "LAMBDA_TASK_ROOT": function.root,
        "LAMBDA_RUNTIME_DIR": os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "PWD": function.root,
    }
    if function.concurrency > 1:
        seen["AWS_LAMBDA_MAX_CONCURRENCY"] = str(function.concurrency)
    if function.log_format == "JSON":
        seen["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
        seen["AWS_LAMBDA_LOG_LEVEL"] = function.log_level or "INFO"
    return seen


def from_shell(environment: Mapping[str, str]) -> dict[str, str]:
    """What `penstock dev` passes on: the shell's environment, without our own settings."""
    return {name: value for name, value in environment.items() if not name.startswith("PENSTOCK_")}


def from_host(environment: Mapping[str, str]) -> dict[str, str]:
    """What `penstock serve` passes on: nothing that could be the host's secret."""
    return {name: environment[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in environment}
