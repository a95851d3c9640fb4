"""One seeded simulation of calling programs, a network and a server, through an outage and for a while after it.

The plans of the calls and the server's scheduler are real; the network, the workers and the clock are simulated. All of
it is one heap of timed events. A seed determines everything, and callers arrive at the same instants with each policy.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from retry_policies import CallFacts, Client, NewClient, Policy
from retry_servers import CAPACITY, MEAN_SECONDS, SERVERS, RequestJob, Surroundings

from penstock.scheduler import events as on
from penstock.testing import Agenda, Behaviour, MockClock
from penstock_client.plan_messages import (
    Command,
    Event,
    Give,
    HeadArrived,
    RequestFailed,
    Send,
    Sleep,
    TimePassed,
)
from penstock_client.retry_table import Fault

LATENCY = 0.002  # seconds, one way
KEPT_CONNECTIONS = 20
SYN_AGAIN = (1.0, 3.0, 7.0)  # Linux sends an unanswered SYN again after these seconds
SLOWNESS = 10.0
BEFORE = 10.0  # seconds from the start to the outage
WINDOW = 5.0  # seconds over which the goodput counts as recovered, or not
RECOVERED = 0.95
OUTAGES = ("slow", "refused", "silent")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One scenario.

    Parameters
    ----------
    policy:
        Makes the client objects.
    server:
        The name of the server.
    outage:
        ``slow``: every execution takes ten times as long. ``refused``: the process dies with its queue, connections are
        refused, and it starts afresh at the end. ``silent``: packets are lost in both directions.
    outage_seconds:
        The length of the outage.
    load:
        Offered calls as a multiple of the server's capacity.
    clients:
        The number of client objects, which the callers use at random.
    patience:
        The seconds after which a caller has no use for an answer.
    request_timeout:
        The seconds that each request may take; None for no limit but the patience.
    idempotent, crashing, leaving:
        The share of calls that may run twice, of calls whose execution crashes its worker, and of callers that cancel.
    after:
        The seconds that are simulated after the outage.
    seed:
        The seed.
    """

    policy: NewClient
    server: str = "penstock"
    outage: str = "slow"
    outage_seconds: float = 5.0
    load: float = 0.7
    clients: int = 4
    patience: float = 10.0
    request_timeout: float | None = 2.0
    idempotent: float = 1.0
    crashing: float = 0.0
    leaving: float = 0.0
    after: float = 60.0
    seed: int = 1


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The results of one scenario, over the calls from the beginning of the outage on that were not cancelled.

    Parameters
    ----------
    goodput:
        The share of the calls that were answered within the caller's patience.
    during, after:
        The same, of the calls that were made during the outage and after it.
    recovery:
        Seconds from the end of the outage until the goodput is back: over five seconds, 95 % of the calls or of the
        capacity. Infinite if that does not happen.
    requests:
        Requests sent per call.
    wasted:
        The share of the executions whose answer no caller received in time.
    """

    goodput: float
    during: float
    after: float
    recovery: float
    requests: float
    wasted: float


class Call:
    """One call of a program."""

    __slots__ = (
        "answered",
        "arrived",
        "client",
        "facts",
        "has_left",
        "is_over",
        "number",
        "plan",
        "request",
        "requests",
    )

    def __init__(self, number: int, client: ClientObject, facts: CallFacts, now: float) -> None:
        self.number = number
        self.client = client
        self.facts = facts
        self.arrived = now
        self.plan: Policy = client.policy.plan_of(facts, now)
        self.request: Request | None = None  # the one on its way
        self.requests = 0
        self.answered = math.inf
        self.is_over = False
        self.has_left = False  # its program has cancelled it

    @property
    def is_good(self) -> bool:
        """True if there is an answer within the caller's patience."""
        return self.answered <= self.arrived + self.facts.patience


class ClientObject:
    """A client object, with its kept connections."""

    def __init__(self, number: int, policy: Client) -> None:
        self.number = number
        self.policy = policy
        self.kept = 0


class Request:
    """One request of a call, as the client, the network and the server see it."""

    __slots__ = ("behaviour", "call", "command", "is_over", "is_reused", "is_sent", "job", "name")

    def __init__(self, call: Call, command: Send, behaviour: Behaviour) -> None:
        self.call = call
        self.command = command
        self.behaviour = behaviour
        self.name = f"{call.facts.name}.{call.requests}"
        self.is_reused = False
        self.is_sent = False
        self.is_over = False  # for its client
        self.job: object = None

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that the server reads."""
        return self.command.headers


class Witness:
    """Sees what happens, and does nothing about it. A judge overrides the methods."""

    def called(self, call: Call, now: float) -> None:
        """See the beginning of a call."""

    def commanded(self, call: Call, command: Command, now: float) -> None:
        """See what a plan asks for."""

    def happened(self, call: Call, event: Event, now: float) -> None:
        """See what a plan learns."""

    def began(self, request: Request, now: float) -> None:
        """See the server begin to execute a request."""


class Simulation:
    """A scenario at work.

    Parameters
    ----------
    cell:
        The scenario.
    witness:
        Sees what happens.
    """

    def __init__(self, cell: Cell, witness: Witness | None = None) -> None:
        self.cell = cell
        self.witness = witness or Witness()
        self.clock = MockClock()
        self.agenda = Agenda(self.clock)
        self.calls: list[Call] = []
        self.begun: list[Request] = []
        self.useful = 0
        self._arrivals, self._work, self._manners, self._server_dice = (
            random.Random(f"{purpose} {cell.load} {cell.seed}") for purpose in ("arrivals", "work", "manners", "server")
        )
        self._network = "up"
        self._live: dict[Request, None] = {}  # an ordered set
        self._around = Surroundings(self.clock, self.agenda, self._respond, self._begin)
        self._server = SERVERS[cell.server](self._around, self._server_dice)
        self.clients = [
            ClientObject(number, cell.policy(random.Random(f"client {number} {cell.seed}")))
            for number in range(cell.clients)
        ]
        self.ends = BEFORE + cell.outage_seconds
        self.closes = self.ends + cell.after

    def run(self) -> Outcome:
        """Run the scenario; return the results."""
        cell = self.cell
        with _jitter_of_servers(cell.seed):
            self._plan_arrival()
            if cell.outage_seconds:
                self.agenda.plan(BEFORE, self._begin_outage)
                self.agenda.plan(self.ends, self._end_outage)
            self._advance(self.closes + cell.patience)  # the last calls need their time, under the same load
        return self._outcome()

    def _advance(self, end: float) -> None:
        while True:
            engine = self._server.engine
            wakeup = engine.scheduler.next_wakeup()
            planned = self.agenda.next()
            instant = planned if wakeup is None or engine.is_dead else min(wakeup, planned)
            if instant > end:
                return
            self.clock.jump(max(instant, self.clock.now))
            if planned <= instant:
                self.agenda.pop()()
            else:
                engine.receive(on.TimePassed())

    # ---- the callers

    def _plan_arrival(self) -> None:
        self.agenda.plan(self._arrivals.expovariate(self.cell.load * CAPACITY), self._arrive)

    def _arrive(self) -> None:
        self._plan_arrival()
        cell, now, dice = self.cell, self.clock.now, self._manners
        client = self.clients[dice.randrange(len(self.clients))]
        is_idempotent = dice.random() < cell.idempotent
        leaves = dice.random() < cell.leaving
        facts = CallFacts(
            name=f"call{len(self.calls)}",
            patience=cell.patience,
            request_timeout=cell.request_timeout,
            is_idempotent=is_idempotent,
        )
        call = Call(len(self.calls), client, facts, now)
        self.calls.append(call)
        if leaves:
            self.agenda.plan(dice.uniform(0.0, cell.patience / 4), partial(self._leave, call))
        self.witness.called(call, now)
        self._follow(call, call.plan.start(now))

    def _leave(self, call: Call) -> None:
        if not call.is_over:
            call.is_over = call.has_left = True
            if call.request is not None:
                self._hang_up(call.request)
            call.plan.abandon()

    def _happen(self, call: Call, event: Event) -> None:
        if not call.is_over:
            self.witness.happened(call, event, self.clock.now)
            self._follow(call, call.plan.handle(event, self.clock.now))

    def _follow(self, call: Call, command: Command) -> None:
        self.witness.commanded(call, command, self.clock.now)
        if isinstance(command, Send):
            self._send(call, command)
        elif isinstance(command, Sleep):
            self.agenda.plan(command.seconds, partial(self._happen, call, TimePassed()))
        else:
            call.is_over = True
            if isinstance(command, Give):
                call.answered = self.clock.now
                self.useful += call.is_good and self._counts(call)

    # ---- the network, from the client's side

    def _send(self, call: Call, command: Send) -> None:
        call.requests += 1
        dice = self._work
        behaviour = Behaviour(
            seconds=dice.expovariate(1 / MEAN_SECONDS), crashes=dice.random() < self.cell.crashing, acknowledges=0.0005
        )
        call.request = request = Request(call, command, behaviour)
        self._live[request] = None
        if command.deadline != math.inf:
            self.agenda.plan(command.deadline - self.clock.now, partial(self._fail, request, Fault.TOTAL_TIMEOUT))
        if call.client.kept:
            call.client.kept -= 1
            request.is_reused = True
            self._transmit(request)
            return
        limit = command.timeouts["connect"]
        if limit is not None:
            self.agenda.plan(limit, partial(self._fail_unless_sent, request))
        self._connect(request)
        if self._network == "silent":
            for seconds in SYN_AGAIN:
                self.agenda.plan(seconds, partial(self._connect, request))

    def _connect(self, request: Request) -> None:
        if request.is_sent or request.is_over:
            return
        if self._network == "refused":
            self.agenda.plan(2 * LATENCY, partial(self._fail, request, Fault.CONNECT))
        elif self._network == "up":
            request.is_sent = True
            self.agenda.plan(2 * LATENCY, partial(self._transmit, request))

    def _transmit(self, request: Request) -> None:
        if request.is_over:
            return
        request.is_sent = True
        limit = request.command.timeouts["read"]
        if limit is not None:
            self.agenda.plan(limit, partial(self._fail, request, Fault.FIRST_BYTE_TIMEOUT))
        self.agenda.plan(LATENCY, partial(self._reach, request))

    def _fail_unless_sent(self, request: Request) -> None:
        if not request.is_sent:
            self._fail(request, Fault.CONNECT_TIMEOUT)

    def _fail(self, request: Request, fault: Fault) -> None:
        if request.is_over:
            return
        if self.clock.now >= request.command.deadline - 0.001:
            fault = Fault.TOTAL_TIMEOUT
        self._hang_up(request)
        event = RequestFailed(fault, is_sent=request.is_sent, is_reused=request.is_reused)
        self._happen(request.call, event)

    def _hang_up(self, request: Request) -> None:
        """Close the connection of a request; the server notices a moment later, if it does."""
        request.is_over = True
        self._live.pop(request, None)
        if request.is_sent and self._server.notices_hang_ups:
            self.agenda.plan(LATENCY, partial(self._notice, request))

    # ---- the network, from the server's side

    def _reach(self, request: Request) -> None:
        if self._network == "up" and not (request.is_over and self._server.notices_hang_ups):
            self._server.receive(request)
        elif self._network == "refused":
            self._fail(request, Fault.LOST)

    def _notice(self, request: Request) -> None:
        job = request.job
        if self._network == "up" and isinstance(job, RequestJob) and job.outcome is None:
            self._server.engine.cancel(job)

    def _respond(self, request: Request, status: int, headers: Mapping[str, str], body: bytes) -> None:
        if self._network == "up" and not request.is_over:
            self.agenda.plan(LATENCY, partial(self._receive, request, HeadArrived(status, headers, body)))

    def _receive(self, request: Request, head: HeadArrived) -> None:
        if self._network == "up" and not request.is_over:
            request.is_over = True
            self._live.pop(request, None)
            client = request.call.client
            client.kept = min(KEPT_CONNECTIONS, client.kept + 1)
            self._happen(request.call, head)

    def _begin(self, request: Request) -> None:
        self.witness.began(request, self.clock.now)
        if self._counts(request.call):
            self.begun.append(request)

    # ---- the outage

    def _begin_outage(self) -> None:
        if self.cell.outage == "slow":
            self._around.slowness = SLOWNESS
            return
        self._network = self.cell.outage
        if self.cell.outage == "refused":
            self._server.engine.is_dead = True
            for client in self.clients:
                client.kept = 0
            for request in [request for request in self._live if request.is_sent]:
                self._fail(request, Fault.LOST)

    def _end_outage(self) -> None:
        self._network = "up"
        self._around.slowness = 1.0
        if self._server.engine.is_dead:
            self._server = SERVERS[self.cell.server](self._around, self._server_dice)

    # ---- the results

    def _counts(self, call: Call) -> bool:
        return BEFORE <= call.arrived < self.closes and not call.has_left

    def _outcome(self) -> Outcome:
        calls = [call for call in self.calls if self._counts(call)]
        later = [call for call in calls if call.arrived >= self.ends]
        return Outcome(
            goodput=_good(calls),
            during=_good([call for call in calls if call.arrived < self.ends]),
            after=_good(later),
            recovery=self._recovery(later),
            requests=sum(call.requests for call in calls) / len(calls),
            wasted=1 - self.useful / max(1, len(self.begun)),
        )

    def _recovery(self, calls: list[Call]) -> float:
        enough = RECOVERED * min(1.0, 1.0 / self.cell.load)
        for second in range(int(self.cell.after - WINDOW) + 1):
            begin = self.ends + second
            if _good([call for call in calls if begin <= call.arrived < begin + WINDOW]) >= enough:
                return float(second)
        return math.inf


def _good(calls: list[Call]) -> float:
    return sum(call.is_good for call in calls) / len(calls) if calls else 1.0


@contextmanager
def _jitter_of_servers(seed: int) -> Iterator[None]:
    """Seed the dice of the HTTP adapter, which adds jitter to ``Retry-After`` with the global ones."""
    state = random.getstate()
    random.seed(f"jitter {seed}")
    try:
        yield
    finally:
        random.setstate(state)
