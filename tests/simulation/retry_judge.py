"""The judge of simulated calls: it sees what each plan learns and asks for, and what the server executes.

Each rule is written down here once more, apart from the code that keeps it. Only whether a breaker is open is asked of
the breaker itself.
"""

from __future__ import annotations

import math
import random
import sys
from dataclasses import dataclass, field

from penstock_client.plan import LEAST_SECONDS
from penstock_client.plan_messages import Give, HeadArrived, Raise, RequestFailed, Send, Sleep
from penstock_client.retry_settings import Retries
from penstock_client.retry_table import Fault
from tests.serving import ROOT

sys.path.append(str(ROOT / "bench"))  # a folder of scripts that import each other by name

from retry_policies import OurClient
from retry_simulation import LATENCY, OUTAGES, Cell, Outcome, Simulation, Witness

TIMEOUTS = {Fault.CONNECT_TIMEOUT, Fault.POOL_TIMEOUT, Fault.WRITE_TIMEOUT, Fault.FIRST_BYTE_TIMEOUT}
CONNECT = {Fault.CONNECT, Fault.CONNECT_TIMEOUT}
EPSILON = 1e-6


class RuleBroken(AssertionError):
    """A rule was broken. The message names the call and the instant."""


@dataclass
class CallNotes:
    """The judge's notes about a call."""

    deadline: float
    requests: int = 0
    free: int = 0
    charged: int = 0
    executions: int = 0
    not_before: float = -math.inf
    last: object = None


@dataclass
class ClientNotes:
    """The judge's notes about a client object."""

    calls: int = 0
    charged: int = 0
    connect_failures: int = 0
    probes: list = field(default_factory=list)


class Judge(Witness):
    """Checks every call of ``OurClient``."""

    def __init__(self, *, knows_deadlines: bool = True) -> None:
        self._calls: dict[int, CallNotes] = {}
        self._clients: dict[int, ClientNotes] = {}
        self._knows_deadlines = knows_deadlines

    def require(self, truth: bool, rule: str, call, now: float) -> None:
        if not truth:
            raise RuleBroken(f"{rule}: call {call.number} of client {call.client.number} at {now:.3f} s")

    # ---- what the judge sees

    def called(self, call, now: float) -> None:
        self._calls[call.number] = CallNotes(deadline=now + call.facts.patience)
        self._clients.setdefault(call.client.number, ClientNotes()).calls += 1

    def happened(self, call, event, now: float) -> None:
        notes, client, breaker = self._of(call)
        if isinstance(event, HeadArrived | RequestFailed):
            notes.last = event
            client.probes = [probe for probe in client.probes if probe is not call]
        if isinstance(event, HeadArrived) and "retry-after" in event.headers:
            notes.not_before = now + float(event.headers["retry-after"])
        if not isinstance(event, RequestFailed):
            if isinstance(event, HeadArrived) and event.status not in {429, 503}:
                client.connect_failures = 0
        elif self._is_free(notes, event):
            pass
        elif event.fault in CONNECT:
            client.connect_failures = 0 if breaker is None or breaker._open_for else client.connect_failures + 1
        else:
            client.connect_failures = 0

    def commanded(self, call, command, now: float) -> None:
        notes, client, breaker = self._of(call)
        if breaker is not None and client.connect_failures >= 5:
            self.require(breaker._open_for > 0, "a breaker is open after five failed connections", call, now)
            client.connect_failures = 0
        if isinstance(command, Send):
            self._judge_send(call, now)
        elif isinstance(command, Sleep):
            self.require(now + command.seconds <= notes.deadline, "no wait ends after the deadline", call, now)
        elif isinstance(command, Give):
            client.charged -= notes.charged
        if isinstance(command, Give | Raise):
            self.require(now <= notes.deadline + EPSILON, "a call ends by its deadline", call, now)

    def began(self, request, now: float) -> None:
        call = request.call
        notes = self._calls[call.number]
        notes.executions += 1
        is_allowed = call.facts.is_idempotent or notes.executions == 1
        self.require(is_allowed, "work that must not run twice runs once", call, now)
        if self._knows_deadlines:
            is_early = now <= notes.deadline + LATENCY
            self.require(is_early, "the server begins no work after its caller's deadline", call, now)

    def check_end(self, calls: list, now: float) -> None:
        """Check that every call whose deadline has passed is over."""
        for call in calls:
            is_over = call.is_over or self._calls[call.number].deadline >= now
            self.require(is_over, "a call ends by its deadline", call, now)

    # ---- the rules of a request

    def _judge_send(self, call, now: float) -> None:
        notes, client, breaker = self._of(call)
        retries = call.client.policy.retries
        self.require(now <= notes.deadline - LEAST_SECONDS + EPSILON, "no request after the deadline", call, now)
        self.require(now >= notes.not_before - EPSILON, "no request before Retry-After", call, now)
        if notes.requests:
            if self._is_free(notes, notes.last):
                notes.free = 1
            else:
                cost = self._cost(notes.last)
                notes.charged += cost
                client.charged += cost
            allowed = retries.floor + retries.ratio * client.calls + retries.rate * now
            self.require(client.charged <= allowed + EPSILON, "retries stay within the budget", call, now)
        notes.requests += 1
        self.require(notes.requests <= retries.max_attempts + notes.free, "no request too many", call, now)
        if breaker is not None and breaker._open_for:
            client.probes = [probe for probe in client.probes if not probe.is_over]
            self.require(not client.probes, "a breaker lets one probe through", call, now)
            client.probes.append(call)

    @staticmethod
    def _is_free(notes: CallNotes, event) -> bool:
        is_closing = isinstance(event, RequestFailed) and event.fault in {Fault.LOST, Fault.UNSENT}
        return is_closing and event.is_reused and not notes.free

    @staticmethod
    def _cost(event) -> int:
        is_late = isinstance(event, RequestFailed) and event.fault in TIMEOUTS
        return 2 if is_late or (isinstance(event, HeadArrived) and event.status == 504) else 1

    def _of(self, call):
        return self._calls[call.number], self._clients[call.client.number], call.client.policy.breaker


def judged(cell: Cell) -> Outcome:
    """Run a scenario of ours under the eyes of the judge."""
    judge = Judge(knows_deadlines=cell.server == "penstock")
    simulation = Simulation(cell, judge)
    outcome = simulation.run()
    judge.check_end(simulation.calls, simulation.clock.now)
    longest = longest_recovery(cell)
    if outcome.recovery > longest:
        raise RuleBroken(
            f"the goodput is back {longest:g} s after the outage, not after {outcome.recovery:g} s: {cell}"
        )
    return outcome


def longest_recovery(cell: Cell) -> float:
    """Return the seconds after which the goodput must be back; infinite where nothing is promised.

    A breaker is open for as long as the outage was, at the worst, and for five seconds at least.
    """
    has_time = (
        cell.patience >= 3.0 and cell.request_timeout != 0.4
    )  # otherwise a tenth of the calls fails on a good day
    is_calm = cell.server == "penstock" and cell.load <= 0.8 and has_time and not cell.crashing
    promised = is_calm and cell.after >= 40.0
    return max(5.0, cell.outage_seconds) + 5.0 if promised else math.inf


def scenario(seed: int) -> Cell:
    """Draw a scenario; every fourth is calm, so that a recovery is promised."""
    dice = random.Random(seed)
    is_calm = seed % 4 == 0
    server = "penstock" if is_calm else dice.choice(("penstock", "penstock", "fifo", "attentive-fifo"))
    retries = Retries(
        max_attempts=dice.choice((1, 3, 3, 5)), floor=dice.choice((0, 10, 10)), rate=dice.choice((0.0, 1.0))
    )
    return Cell(
        policy=lambda own: OurClient(own.random, retries=retries),
        server=server,
        outage=dice.choice(OUTAGES),
        outage_seconds=dice.choice((0.5, 2.0, 5.0, 10.0)),
        load=dice.choice((0.3, 0.7)) if is_calm else dice.choice((0.3, 0.7, 1.0, 2.0)),
        clients=dice.choice((1, 4, 10)),
        patience=10.0 if is_calm else dice.choice((0.5, 3.0, 10.0)),
        request_timeout=dice.choice((None, 2.0)) if is_calm else dice.choice((None, 0.4, 2.0)),
        idempotent=dice.choice((0.0, 0.5, 1.0)),
        crashing=dice.choice((0.0, 0.02)) if server == "penstock" and not is_calm else 0.0,
        leaving=dice.choice((0.0, 0.0, 0.5)),
        after=40.0 if is_calm else 10.0,
        seed=seed,
    )


def our_client(dice: random.Random) -> OurClient:
    """Return a client object with the default settings."""
    return OurClient(dice.random)


RARE = (
    # A long queue of patient callers, who hang up unheard.
    Cell(policy=our_client, outage="silent", load=4.0, request_timeout=None, after=5.0),
    # Probes that take long, of callers who leave.
    *(
        Cell(policy=our_client, outage="silent", outage_seconds=10.0, load=0.7, leaving=0.5, after=40.0, seed=seed)
        for seed in (1, 2)
    ),
    # Requests from before an outage that end beside a probe.
    scenario(1914),
)
"""Scenarios that are seldom drawn."""


def judge_all(first: int, count: int) -> None:
    """Run the rare scenarios and ``count`` drawn ones, from a seed on. A failure names the scenario.

    Raises
    ------
    RuleBroken
        If a rule is broken.
    """
    for cell in (*RARE, *map(scenario, range(first, first + count))):
        try:
            judged(cell)
        except RuleBroken as error:
            raise RuleBroken(f"{error} [seed={cell.seed}, {cell.server}, {cell.outage}]") from None
