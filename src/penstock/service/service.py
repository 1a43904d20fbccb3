"""The service: a self-hosted Lambda. Takes calls, keeps environments, joins the two.

Who decides is the pool; this file does what it says.
"""

import asyncio
import os
from functools import partial

from penstock.protocol.call import Call, Sink
from penstock.protocol.ids import new_id

from . import outcomes
from .backends import Backend
from .config import Config
from .environment import Environment, InitVerdict
from .functions import Function, Functions
from .invocation import Invocation
from .logs import LogLine, LogSink
from .pacing import Scaling
from .pool import Assign, Pool, Reject, Start, Stop
from .templates import Template, Templates

_LOOK = 0.1  # seconds between two looks at the environments' memory
_LOOK_CLOSELY = 0.02  # when one is near its limit


class Service:
    """Runs functions. An `Invoker`.

    Use: `await start()`, then `invoke` as often as wanted, then `await stop(drain)`.
    """

    def __init__(self, functions: Functions, config: Config, log: LogSink, backend: Backend) -> None:
        self.config = config
        self.functions = functions
        self.region = functions.region
        self.log = log
        self.backend = backend
        starts = 4 * (os.cpu_count() or 1)
        self._aws_limits = config.limits == "aws"
        scaling = Scaling() if self._aws_limits else None
        # So many calls may run as environments and their seats allow.
        concurrency = config.max_environments * max((each.concurrency for each in functions), default=1)
        self._pool = Pool(
            config.max_environments,
            starts,
            config.idle_expiry,
            scaling,
            concurrency,
            ahead=config.start_ahead,
        )
        self._templates = Templates(self)
        self._environments: dict[int, Environment] = {}
        self._invocations: set[Invocation] = set()
        self._look: asyncio.TimerHandle | None = None  # the pool's next step though nothing happens
        self._memory: asyncio.TimerHandle | None = None
        self._stopping = False  # no new calls
        self._stopped = False  # nothing at all
        self._idle = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Service {self._pool!r}>"

    @property
    def running(self) -> int:
        """How many invocations have not ended."""
        return len(self._invocations)

    def roots(self) -> set[str]:
        """The folders of the code that runs, or is about to."""
        users: list[Environment | Invocation] = [*self._environments.values(), *self._invocations]
        return {each.function.root for each in users} | self._templates.roots()

    async def start(self) -> None:
        """Have an interpreter ready for each function. Raises SpawnerError, in words for a person."""
        self.loop = asyncio.get_running_loop()
        for name, reserved in self.functions.reservations().items():
            self._pool.reserve(name, reserved)
        for python in {function.python for function in self.functions}:
            await self.backend.start(python)
        for name in self.functions.provisions():
            self._provision(name)
        self._step()
        for function in self.functions:
            self._templates.prepare(function, among_others=True)

    async def stop(self, drain: float) -> None:
        """Refuse new calls, give running ones `drain` seconds, then end every process."""
        self._stopping = True
        if self._invocations and drain > 0:
            self._idle.clear()
            try:
                await asyncio.wait_for(self._idle.wait(), drain)
            except TimeoutError:
                pass
        self._stopped = True
        for invocation in list(self._invocations):
            invocation.finish(outcomes.STOPPED)
        for timer in (self._look, self._memory):
            if timer is not None:
                timer.cancel()
        await self.backend.stop()

    def invoke(self, call: Call, sink: Sink) -> Invocation:
        """Start a call; its response goes to `sink`. Raises FunctionNotFound."""
        function = self.functions.resolve(call.function, call.qualifier)
        invocation = Invocation(
            call, function, call.request_id or new_id(), sink, self, aws_limits=self._aws_limits
        )
        self._invocations.add(invocation)
        if self._stopping:
            invocation.finish(outcomes.STOPPED)
        else:
            # Environments are never shared between tenants.
            key = f"{function.key}#{call.tenant_id}" if function.tenants else function.key
            self._pool.submit(
                function.name,
                key,
                invocation,
                self.loop.time(),
                about=function,
                seats=function.concurrency,
                background=call.background,
            )
            self._step()
        return invocation

    def changed(self, name: str) -> None:
        """A function was changed or removed: environments of what it was are not used any more.

        Calls that were accepted for them still run on them.
        """
        kept = self.functions.keys(name)
        # Of what is kept, the environments of every tenant.
        keep = {key for key in self._pool.keys(name) if key.partition("#")[0] in kept}
        self._pool.reserve(name, self.functions.reserved(name))
        self._pool.retire(name, keep, self.loop.time())
        self._provision(name)
        self._templates.retire(name, kept)
        self._step()
        if not self._stopping and (published := self.functions.published(name)) is not None:
            self._templates.prepare(published)

    def provisioned(self, function: Function) -> tuple[int, bool]:
        """How many invocations its provisioned environments are ready for, and whether more fail to start."""
        ready, failing = self._pool.provisioned(function.name, function.key)
        return ready * function.concurrency, failing

    def _provision(self, name: str) -> None:
        """Have so many environments of each version of a function as are asked for."""
        now = self.loop.time()
        wanted = self.functions.provisioned(name)
        for key in {*self._pool.keys(name)} - {function.key for function, _ in wanted}:
            self._pool.provision(name, key, 0, now)
        for function, count in wanted:
            environments = -(-count // function.concurrency)
            self._pool.provision(
                name, function.key, environments, now, about=function, seats=function.concurrency
            )

    # What invocations tell.

    def withdraw(self, invocation: Invocation) -> None:
        self._pool.withdraw(invocation)

    def over(self, invocation: Invocation) -> None:
        if invocation.slot is not None:
            self._pool.done(invocation.slot, self.loop.time())
        self._invocations.discard(invocation)
        if not self._invocations:
            self._idle.set()

    # What environments tell.

    def ready(self, environment: Environment) -> None:
        self._pool.ready(environment.number, self.loop.time())
        self._step()

    def stopping(self, environment: Environment) -> None:
        self._pool.stopping(environment.number)

    def drain(self, environment: Environment) -> None:
        self._pool.drain(environment.number)
        self._step()

    def gone(self, environment: Environment) -> None:
        del self._environments[environment.number]
        self._pool.gone(environment.number)
        self._step()

    def init_failed(self, environment: Environment, verdict: InitVerdict) -> None:
        """An environment did not come up: the calls that waited for it are told why."""
        calls = self._pool.take_waiting(environment.number)
        if not calls:
            text = f"an environment that no call waited for did not come up: {verdict('').detail}"
            self.log(LogLine(environment.function.name, environment.id, "", text))
        for waiting in calls:
            assert isinstance(waiting, Invocation)
            if waiting.tail is not None:
                waiting.tail = environment.init_tail
            waiting.finish(verdict(waiting.request_id))

    def arn(self, function: str, qualifier: str = "") -> str:
        return self.functions.arn(function, qualifier)

    def template(self, function: Function) -> Template | None:
        """What its environments are forked from; None: they run their own init. Raises OSError."""
        return self._templates.get(function)

    # What is to be done.

    def _step(self) -> None:
        if self._stopped:
            return
        for action in self._pool.step(self.loop.time()):
            match action:
                case Assign(number, invocation):
                    assert isinstance(invocation, Invocation)
                    invocation.slot = number
                    self._environments[number].deliver(invocation)
                case Start(number, about=function, provisioned=provisioned):
                    assert isinstance(function, Function)
                    environment = Environment(number, function, self, provisioned=provisioned)
                    self._environments[number] = environment
                    self._start(environment)
                case Stop(number):
                    self._environments[number].kill()
                case Reject(invocation, reason):
                    assert isinstance(invocation, Invocation)
                    invocation.finish(outcomes.throttled(reason.value))
        due = self._pool.due()
        if due is not None and (self._look is None or due < self._look.when()):
            if self._look is not None:
                self._look.cancel()
            self._look = self.loop.call_at(due, self._look_again)

    def _start(self, environment: Environment) -> None:
        try:
            environment.start()
            self.watch_memory()
        except OSError as error:  # no descriptors left
            self.loop.call_soon(
                self._not_started, environment, f"cannot start an environment: {error.strerror}"
            )

    def _not_started(self, environment: Environment, message: str) -> None:
        self.init_failed(environment, partial(outcomes.sandbox_failure, message=message))
        self.gone(environment)

    def _look_again(self) -> None:
        self._look = None
        self._step()

    def watch_memory(self) -> None:
        """Look at what processes use, as long as there are any."""
        if self._memory is None:
            self._memory = self.loop.call_later(_LOOK, self._look_at_memory)

    def _look_at_memory(self) -> None:
        self._memory = None
        near = making = self._templates.check_memory()
        for environment in list(self._environments.values()):
            near |= environment.check_memory()
        if (self._environments or making) and not self._stopped:
            self._memory = self.loop.call_later(_LOOK_CLOSELY if near else _LOOK, self._look_at_memory)
