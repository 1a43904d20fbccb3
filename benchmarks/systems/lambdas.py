"""Others that run Lambda functions on a machine of one's own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import memory

from .base import APPS, HERE, Job, OnPort

INSTALLED = HERE / ".rivals"  # where benchmarks/rivals puts what comes from npm
HINT = "(benchmarks/rivals installs it)"

CARGO_LAMBDA = Path(sys.executable).with_name("cargo-lambda")  # a binary that comes from PyPI
CARGO = """
[package]
name = "handler"
version = "0.1.0"
edition = "2021"

[[bin]]
name = "handler"
path = "main.rs"
"""


class CargoLambda(OnPort):
    """cargo-lambda's Runtime API and function URLs; nothing of it is compiled or started by cargo."""

    name = "cargo-lambda"

    def __init__(self, job: Job) -> None:
        self._workers: subprocess.Popen[bytes] | None = None
        # It looks for the binaries of a Cargo project, whatever it is told.
        (job.folder / "Cargo.toml").write_text(CARGO)
        (job.folder / "main.rs").write_text("fn main() {}\n")

        def command(port: int) -> list[object]:
            flags = ["--only-lambda-apis", "--quiet", "-A", "127.0.0.1", "-P", str(port)]
            return [CARGO_LAMBDA, "lambda", "watch", *flags]

        super().__init__(command, f"/{job.work}", job.folder / "cargo-lambda.log")
        worker = [sys.executable, str(APPS / "cargo_worker.py"), *map(str, self.address), str(job.at_once)]
        try:
            self._workers = subprocess.Popen(worker, stdout=subprocess.PIPE)
            assert self._workers.stdout
            self._workers.stdout.readline()  # each has asked for its first event
        except BaseException:
            self.stop()
            raise

    @staticmethod
    def missing() -> str:
        return (
            ""
            if CARGO_LAMBDA.exists() and shutil.which("cargo")
            else f"not installed: cargo-lambda, cargo {HINT}"
        )

    def processes(self) -> dict[int, str]:
        found = super().processes()
        if self._workers:
            found[self._workers.pid] = "parent of the functions"
            found.update(dict.fromkeys(memory.children(self._workers.pid), "function"))
        return found

    def stop(self) -> None:
        if self._workers:
            self._workers.terminate()  # its children end with it
            self._workers.wait()
            if self._workers.stdout:
                self._workers.stdout.close()
        super().stop()


SERVERLESS_FUNCTIONS = 21  # W6 calls each of them once


class ServerlessOffline(OnPort):
    """serverless-offline with a function in Python, which it runs in one child process each."""

    name = "serverless-offline"

    def __init__(self, job: Job) -> None:
        (job.folder / "serverless.yml").write_text(_serverless_yml(job))
        shutil.copyfile(APPS / "offline_handler.py", job.folder / "handler.py")
        (job.folder / "node_modules").symlink_to(INSTALLED / "node_modules")

        def command(port: int) -> list[object]:
            flags = ["--httpPort", port, "--lambdaPort", 0, "--noTimeout", "--noSponsor"]
            # The service's folder is where it is started.
            program = INSTALLED / "node_modules/.bin/serverless"
            return [program, "offline", "start", "--host", "127.0.0.1", *map(str, flags)]

        super().__init__(command, f"/{job.work}", job.folder / "serverless.log")

    @staticmethod
    def missing() -> str:
        found = shutil.which("node") and (INSTALLED / "node_modules/serverless-offline").exists()
        return "" if found else f"not installed: node, serverless@3, serverless-offline@13 {HINT}"


def _serverless_yml(job: Job) -> str:
    names = [job.work, *(f"f{number}" for number in range(SERVERLESS_FUNCTIONS))]
    functions = {
        name: {"handler": f"handler.{job.work}", "events": [{"httpApi": f"GET /{name}"}]} for name in names
    }
    configuration = {
        "service": "benchmark",
        "provider": {"name": "aws", "runtime": "python{}.{}".format(*sys.version_info[:2])},
        "plugins": ["serverless-offline"],
        "functions": functions,
    }
    return json.dumps(configuration)  # which is YAML
