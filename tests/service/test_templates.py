"""Which function has a template when, and what its callers are told when that comes to nothing."""

import asyncio
import json
import signal
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from penstock.protocol import limits
from penstock.protocol.call import Ending
from penstock.service.backends import Exit
from service_kit import Bench, FakeTemplate

Run = Callable[[Coroutine[Any, Any, None]], None]

SNAPSHOT = {"snapshot": True}


def only(bench: Bench) -> FakeTemplate:
    """The one template that there is."""
    (template,) = bench.backend.templates
    return template


def test_it_is_made_at_the_start_and_calls_wait_for_it(run: Run) -> None:
    async def test() -> None:
        async with Bench(SNAPSHOT) as bench:
            template = only(bench)
            assert template.spec.template
            assert template.spec.environment["AWS_LAMBDA_INITIALIZATION_TYPE"] == "snap-start"
            _, response = bench.call()
            assert len(template.waiting) == 1
            template.print("init\n")
            template.ready()
            environment = await bench.environment()
            assert not environment.spec.template
            assert environment.spec.environment["AWS_LAMBDA_INITIALIZATION_TYPE"] == "snap-start"
            headers, _ = await environment.next()
            await environment.post("response", headers[b"lambda-runtime-aws-request-id"], b"1")
            assert (await response.outcome()).ending is Ending.DONE
            assert bench.log(platform=False) == ["init"]
            (report,) = [line for line in bench.log(platform=True) if "REPORT" in line]
            assert "\tRestore Duration: " in report

    run(test())


def test_others_have_none(run: Run) -> None:
    async def test() -> None:
        async with Bench() as bench:
            bench.call()
            environment = await bench.environment()
            assert environment.spec.environment["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"
            assert not bench.backend.templates

    run(test())


def test_nor_have_runtimes_of_others(run: Run) -> None:
    async def test() -> None:
        async with Bench({**SNAPSHOT, "runtime": "provided.al2023"}) as bench:
            assert not bench.backend.templates
            (line,) = bench.log(platform=False)
            assert "only Penstock's own runtime" in line
            bench.call()
            assert (await bench.environment()).spec.command

    run(test())


def test_an_init_that_fails_is_told_to_who_waits_and_the_next_call_tries_again(run: Run) -> None:
    async def test() -> None:
        async with Bench(SNAPSHOT) as bench:
            template = only(bench)
            _, response = bench.call()
            template.print("what it printed")
            template.owner.init_failed("ValueError", b'{"errorType": "ValueError"}')
            template.end(Exit(1, 0))
            outcome = await response.outcome()
            assert outcome.ending is Ending.INIT_ERROR
            assert json.loads(outcome.error_body) == {"errorType": "ValueError"}
            assert b"what it printed" in outcome.log_tail
            bench.call()
            assert len(bench.backend.templates) == 2

    run(test())


def test_an_init_that_ends_the_process(run: Run) -> None:
    async def test() -> None:
        async with Bench(SNAPSHOT) as bench:
            _, response = bench.call()
            only(bench).end(Exit(7, 0))
            outcome = await response.outcome()
            assert outcome.ending is Ending.INIT_ERROR
            assert b"exit status 7" in outcome.error_body

    run(test())


def test_an_init_that_takes_too_long_is_killed(run: Run) -> None:
    async def test() -> None:
        async with Bench(SNAPSHOT, init_timeout=0.01) as bench:
            template = only(bench)
            _, response = bench.call()
            await bench.until(lambda: template.signals == [signal.SIGKILL])
            template.end(Exit(-signal.SIGKILL, 0))
            assert b"Init timed out after 0.01 seconds" in (await response.outcome()).error_body

    run(test())


def test_an_init_above_the_functions_memory_is_killed(run: Run) -> None:
    async def test() -> None:
        async with Bench({**SNAPSHOT, "memory_mb": 1}) as bench:
            template = only(bench)  # it has our own process's memory
            _, response = bench.call()
            await bench.until(lambda: template.signals == [signal.SIGKILL])
            template.end(Exit(-signal.SIGKILL, 0))
            assert "of the 1 MB it may" in (await response.outcome()).detail

    run(test())


@pytest.mark.parametrize(
    ("why", "way_out"),
    [
        (
            "it holds a socket (descriptor 4)",
            "; close it in a before-snapshot hook (snapshot_restore_py.register_before_snapshot)",
        ),
        (
            "it has started a thread (poller)",
            "; do that in an after-restore hook (snapshot_restore_py.register_after_restore)",
        ),
        ("only Linux tells what a process holds", ""),
    ],
)
def test_one_that_is_refused_is_not_tried_again(run: Run, why: str, way_out: str) -> None:
    async def test() -> None:
        async with Bench(SNAPSHOT) as bench:
            template = only(bench)
            bench.call()
            template.owner.refused(why)
            template.end()
            environment = await bench.environment()
            assert environment.spec.environment["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"
            assert len(bench.backend.templates) == 1
            (line,) = bench.log(platform=False)
            assert line == f"no SnapStart template, each environment runs its own init: {why}{way_out}"

    run(test())


def test_a_change_makes_another_try(run: Run) -> None:
    async def test() -> None:
        async with Bench(SNAPSHOT) as bench:
            first = only(bench)
            first.ready()
            function = bench.functions.by_name["app"]
            bench.functions.by_name["app"] = replace(function, generation="another")
            bench.service.changed("app")
            assert first.unwanted
            bench.call()
            assert len(bench.backend.templates) == 2
            bench.backend.templates[1].owner.refused("it has started a thread")
            bench.backend.templates[1].end()
            bench.functions.by_name["app"] = replace(function, generation="a third")
            bench.service.changed("app")
            bench.call()
            assert len(bench.backend.templates) == 3
            # The call of before, which still waits, has none any more.
            environment = await bench.environment()
            assert environment.spec.environment["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"

    run(test())


def test_one_that_was_killed_is_made_anew_for_the_next_call(run: Run) -> None:
    async def test() -> None:
        async with Bench(SNAPSHOT) as bench:
            only(bench).ready()
            bench.backend.templates[0].end()
            bench.call()
            assert len(bench.backend.templates) == 2

    run(test())


def test_one_that_ends_by_itself_is_not_tried_again(run: Run) -> None:
    """It would end at the next fork, and the next, and calls wait for ever."""

    async def test() -> None:
        async with Bench(SNAPSHOT) as bench:
            template = only(bench)
            template.ready()
            template.owner.ended(Exit(7, 0))
            bench.call()
            environment = await bench.environment()
            assert environment.spec.environment["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"
            assert len(bench.backend.templates) == 1
            (line,) = bench.log(platform=False)
            assert "it has ended by itself: Runtime exited with error: exit status 7" in line

    run(test())


def test_the_one_unused_longest_is_let_go_when_there_are_too_many(run: Run) -> None:
    async def test() -> None:
        async with Bench(SNAPSHOT, max_templates=1) as bench:
            first = only(bench)
            first.ready()
            function = bench.functions.by_name["other"]
            bench.functions.by_name["other"] = replace(function, snapshot=True)
            bench.call("other")
            assert first.unwanted
            assert not bench.backend.templates[1].unwanted

    run(test())


def test_at_the_start_no_more_are_made_than_are_kept(run: Run) -> None:
    async def test() -> None:
        bench = Bench(SNAPSHOT, max_templates=1)
        bench.functions.by_name["other"] = replace(bench.functions.by_name["other"], snapshot=True)
        async with bench:
            assert not only(bench).unwanted

    run(test())


def test_a_published_version_has_its_own_ahead(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with Bench() as bench:
            version = replace(bench.functions.by_name["app"], version="1", snapshot=True)
            monkeypatch.setattr(bench.functions, "published", lambda name: version)
            monkeypatch.setattr(bench.functions, "keys", lambda name: {version.key})
            bench.service.changed("app")
            assert only(bench).spec.environment["AWS_LAMBDA_FUNCTION_VERSION"] == "1"
            assert bench.service.roots() == {"/code"}

    run(test())


def test_without_descriptors_the_call_is_told_and_the_start_goes_on(run: Run) -> None:
    async def test() -> None:
        bench = Bench(SNAPSHOT)
        bench.backend.failure = "Too many open files"
        async with bench:
            _, response = bench.call()
            assert "cannot start an environment: Too many open files" in (await response.outcome()).detail

    run(test())


def test_after_restore_hooks_that_take_too_long(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        monkeypatch.setattr(limits, "RESTORE_TIMEOUT", 0.01)
        async with Bench(SNAPSHOT) as bench:
            only(bench).ready()
            _, response = bench.call()
            environment = await bench.environment()
            assert b"Restore timed out after 0.01 seconds" in (await response.outcome()).error_body
            assert environment.signals == [signal.SIGKILL]

    run(test())


def test_after_restore_hooks_that_fail(run: Run) -> None:
    async def test() -> None:
        async with Bench(SNAPSHOT) as bench:
            only(bench).ready()
            _, response = bench.call()
            environment = await bench.environment()
            environment.connect()
            body = b'{"errorType": "ValueError"}'
            await environment.client.send(
                b"POST /2018-06-01/runtime/restore/error HTTP/1.1\r\nHost: localhost\r\n"
                b"Lambda-Runtime-Function-Error-Type: Runtime.AfterRestoreError\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            status, _, _ = await environment.client.response()
            assert status == 202
            environment.print("printed by the hook")
            environment.exit(65)
            outcome = await response.outcome()
            assert outcome.ending is Ending.INIT_ERROR
            assert outcome.error_type == "Runtime.AfterRestoreError"
            assert b"printed by the hook" in outcome.log_tail

    run(test())


def test_a_long_line_is_cut_and_the_rest_is_not_lost(run: Run) -> None:
    async def test() -> None:
        async with Bench(SNAPSHOT) as bench:
            template = only(bench)
            template.print("é" * 100)
            template.ready()
            assert bench.log(platform=False) == ["é" * 100]
            template.print("later\n")
            await asyncio.sleep(0)
            await bench.until(lambda: bench.log(platform=False)[1:] == ["later"])

    run(test())
