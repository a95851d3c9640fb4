"""The servers of the study of retries: the real scheduler on fake workers, behind what an HTTP adapter does.

``Penstock`` is the default server: requests pass the real policies of the plug-ins for deadlines, overload and retries,
and errors become responses by the HTTP adapter's own function. ``Fifo`` is what most servers are: a plain queue that
knows no deadline and works on for callers that have hung up; if it is full, it answers 503 without advice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from penstock import App, Timeouts
from penstock.engine.specs import lane_specs, pool_specs
from penstock.errors import Cancelled, PenstockError
from penstock.hooks.pipeline import endpoint_pipeline
from penstock.hooks.registry import Registry
from penstock.hooks.settings import Sources
from penstock.hooks.submission import Submission
from penstock.scheduler import Attempt, FifoQueue, Job, LaneSpec, PoolSpec
from penstock.scheduler import commands as do
from penstock.scheduler import events as on
from penstock.testing import Agenda, Behaviour, FakeEngine, FakeWorker, MockClock
from penstock.testing.fake_worker import FakeJob
from penstock_falcon.problems import problem
from penstock_overload import OverloadPlugin
from penstock_retries import RetriesPlugin
from penstock_timeouts import TimeoutsPlugin

WORKERS = 4
MEAN_SECONDS = 0.2
CAPACITY = WORKERS / MEAN_SECONDS  # requests per second
NOWHERE = Path("/nowhere")  # the settings in the working directory do not count

Respond = Callable[[Any, int, Mapping[str, str], bytes], object]
"""Called with the request, and the status, headers and body of the response."""


@dataclasses.dataclass
class Surroundings:
    """The parts of the simulation that a server needs.

    Parameters
    ----------
    clock, agenda:
        Those of the simulation.
    respond:
        Sends a response.
    begins:
        Called with each request whose execution begins.
    slowness:
        The factor on all execution times, now.
    """

    clock: MockClock
    agenda: Agenda
    respond: Respond
    begins: Callable[[Any], object]
    slowness: float = 1.0


class RequestJob(FakeJob):
    """The job of a request."""

    __slots__ = ("request", "submission")

    def __init__(self, lane: Any, request: Any, behaviour: Behaviour, submission: Submission | None) -> None:
        timeouts = lane.timeouts if submission is None else submission.timeouts
        super().__init__(lane, timeouts, behaviour=behaviour)
        self.request = request
        self.submission = submission


class Engine(FakeEngine):
    """A fake engine on the clock and the agenda of the simulation. It skips the recount of the invariants."""

    def __init__(
        self,
        pools: list[PoolSpec],
        lanes: list[LaneSpec],
        around: Surroundings,
        answer: Callable[[RequestJob], object],
    ) -> None:
        super().__init__(pools, lanes, clock=around.clock)
        self.agenda = around.agenda
        self.around = around
        self.is_dead = False
        self._perform[do.Answer] = lambda command: answer(command.job)
        self._perform[do.Report] = lambda _command: None  # kept, they would cost time and memory

    def receive(self, event: on.Event) -> list[do.Command]:
        """Pass an event to the scheduler and perform the commands, unless the process has died."""
        if self.is_dead:
            return []
        commands = self.scheduler.receive(event, self.clock.now)
        for command in commands:
            self._perform[type(command)](command)
        return commands

    def start_worker(self, command: do.StartWorker) -> None:
        """Start a worker, whose speed depends on the surroundings."""
        self.workers[command.worker] = FakeWorker(
            command.worker, self.agenda, self.receive, behaviour_of=self._behaviour_of, on_begun=self._begin
        )

    def _begin(self, _worker: FakeWorker, attempt: Attempt) -> None:
        for job in attempt.jobs:
            self.around.begins(job.request)

    def _behaviour_of(self, job: Job) -> Behaviour:
        behaviour: Behaviour = job.behaviour
        if self.around.slowness == 1.0:
            return behaviour
        return dataclasses.replace(behaviour, seconds=behaviour.seconds * self.around.slowness)


class Penstock:
    """A Penstock server with its default plug-ins, from a cold start.

    Parameters
    ----------
    around:
        The surroundings.
    dice:
        The dice of its policies.
    """

    notices_hang_ups = True

    def __init__(self, around: Surroundings, dice: Random) -> None:
        self._around = around
        app = App("study")
        app.endpoint("/work", workers=WORKERS, idempotent=False)(_work)
        retries = RetriesPlugin(RetriesPlugin.Settings(), random=dice, clock=around.clock)
        registry = Registry([OverloadPlugin, TimeoutsPlugin, retries], sources=Sources({}, {}, NOWHERE), app=app)
        self._endpoint = app.endpoints[0]
        self._pipeline = endpoint_pipeline(registry, self._endpoint)
        self.engine = Engine(pool_specs(app), lane_specs(app, registry), around, self._answer)
        self._lane = self.engine.scheduler.lanes[self._endpoint.name]
        self.engine.start()

    def receive(self, request: Any) -> None:
        """Take a request in: refuse it, or submit its job."""
        submission = Submission(self._endpoint, request_id=request.name, header=request.headers.get)
        try:
            if self._pipeline is not None:
                self._pipeline.pass_through(submission)
        except PenstockError as error:
            self._refuse(request, error, submission.caller_timeout)
            return
        request.job = job = RequestJob(self._lane, request, request.behaviour, submission)
        self.engine.receive(on.Submitted(job))

    def _answer(self, job: RequestJob) -> None:
        assert job.submission is not None
        if not isinstance(job.outcome, PenstockError):
            self._around.respond(job.request, 200, {}, b"1")
        elif not isinstance(job.outcome, Cancelled):  # otherwise there is no caller to answer
            waits = job.submission.caller_timeout
            left = None if waits is None else waits - (self._around.clock.now - job.arrived)
            self._refuse(job.request, job.outcome, left)

    def _refuse(self, request: Any, error: PenstockError, left: float | None) -> None:
        response = problem(error, request.name, debug=False, left=left)
        self._around.respond(request, response.status, dict(response.headers), response.body or b"")


class Fifo:
    """A server with a plain queue.

    Parameters
    ----------
    around:
        The surroundings.
    """

    notices_hang_ups = False

    def __init__(self, around: Surroundings, _dice: Random) -> None:
        self._around = around
        limits = Timeouts(queue=None, execution=None)
        lane = LaneSpec(name="work", idempotent=False, timeouts=limits, new_queue=FifoQueue)
        self.engine = Engine([PoolSpec(name="default", workers=WORKERS)], [lane], around, self._answer)
        self._lane = self.engine.scheduler.lanes["work"]
        self.engine.start()

    def receive(self, request: Any) -> None:
        """Queue a request."""
        request.job = RequestJob(self._lane, request, request.behaviour, None)
        self.engine.receive(on.Submitted(request.job))

    def _answer(self, job: RequestJob) -> None:
        if isinstance(job.outcome, PenstockError):
            self._around.respond(job.request, job.outcome.status, {}, b"")
        else:
            self._around.respond(job.request, 200, {}, b"1")


class AttentiveFifo(Fifo):
    """A server with a plain queue that stops the work of callers that have hung up."""

    notices_hang_ups = True


SERVERS: dict[str, type[Penstock | Fifo]] = {
    "penstock": Penstock,
    "fifo": Fifo,
    "attentive-fifo": AttentiveFifo,
}


def _work(x: int) -> int:
    return x
