"""The client libraries of the study of retries: the steps of one call, without input or output.

Each policy follows the source of its library, and speaks the messages of the client's own plan. Every library is
configured as its users do it: with one time-out for each request.

- ``none``: one request.
- ``openai``: openai-python 3.57.0 (``_constants.py``, ``_base_client.py``). Two retries (``DEFAULT_MAX_RETRIES``) after
  any time-out or connection error, after 408, 409 and 429, and after every status from 500; ``x-should-retry`` decides
  before the status. It waits for a ``Retry-After`` of up to 120 s (``MAX_RETRY_AFTER_DELAY``), and ends the call if it
  is longer; without one it waits ``min(0.5 * 2**n, 8) * (1 - 0.25 * random())``. The time-out is for each request, and
  is sent as ``x-stainless-read-timeout``. It has no idempotency key: a POST is repeated after a time-out.
- ``tenacity``: tenacity 9.2.1 (``wait.py``, ``stop.py``) around a call that raises for every error, as
  ``@retry(stop=stop_after_attempt(5), wait=wait_exponential())``: waits of 1, 2, 4 and 8 s, without jitter
  (``multiplier=1``, no longest one).
- ``tenacity-random``: ``@retry(wait=wait_random_exponential(min=1, max=60), stop=stop_after_attempt(6))``, as many
  public programs have it: a wait from 1 s to ``min(2**n, 60)`` s. (At the first retry that is 1 s.)
- ``ours``: the real ``Plan`` of penstock-client with its default ``Retries``, budget and breaker, shared by the calls
  of a client object. The call has a time-out for each request, as the others have it, and a total, which is the
  caller's patience. ``ours-once`` is the same for calls that must not run twice; in ``ours``, they may.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from penstock_client.endpoint_breaker import Breaker, BreakerSettings
from penstock_client.errors import ClientError
from penstock_client.failures import seconds_to_wait
from penstock_client.plan import Plan
from penstock_client.plan_messages import (
    CallSpec,
    Command,
    Event,
    Give,
    HeadArrived,
    Raise,
    Send,
    Sleep,
    TimePassed,
)
from penstock_client.retry_settings import Retries, RetryBudget
from penstock_client.timeouts import Timeouts

LONGEST_RETRY_AFTER = 120.0


class Policy(Protocol):
    """The steps of one call."""

    def start(self, now: float) -> Command:
        """Return the first command."""

    def handle(self, event: Event, now: float) -> Command:
        """Return the command that follows from what has happened."""

    def abandon(self) -> None:
        """Note that the call was cancelled."""


@dataclass(frozen=True, kw_only=True)
class CallFacts:
    """The facts about a call that a policy needs.

    Parameters
    ----------
    name:
        The call's name, for the request id.
    patience:
        The seconds after which the caller has no use for an answer.
    request_timeout:
        The seconds that each request may take; None for no limit but the patience.
    is_idempotent:
        True if the work may run twice.
    """

    name: str
    patience: float
    request_timeout: float | None
    is_idempotent: bool


class Once:
    """A call without retries, and the base of the other policies.

    Parameters
    ----------
    facts:
        The call.
    rand:
        Returns a random number from 0 to 1.
    """

    most = 1

    def __init__(self, facts: CallFacts, rand: Callable[[], float]) -> None:
        self._facts = facts
        self._rand = rand
        self._number = 0

    def start(self, _now: float) -> Command:
        """Return the first request."""
        return self._send()

    def handle(self, event: Event, _now: float) -> Command:
        """Return the next request or the wait before it, or the end of the call."""
        if isinstance(event, TimePassed):
            return self._send()
        if isinstance(event, HeadArrived) and event.status < 300:
            return Give(())
        seconds = self.delay(event) if self._number < self.most else None
        return Raise(ClientError("the call has failed")) if seconds is None else Sleep(seconds)

    def abandon(self) -> None:
        """Do nothing: calls share nothing."""

    def delay(self, event: Event) -> float | None:
        """Return the wait before the next request; None if the call has failed."""
        raise NotImplementedError

    def _send(self) -> Send:
        self._number += 1
        seconds = self._facts.request_timeout
        return Send(
            self._number, self.headers(), dict.fromkeys(("connect", "pool", "write", "read"), seconds), math.inf
        )

    def headers(self) -> dict[str, str]:
        """Return the headers of a request that matter to a server."""
        return {}


class OpenAIPython(Once):
    """The retries of openai-python."""

    most = 3

    def headers(self) -> dict[str, str]:
        """Return the time-out, from which Penstock reads a deadline."""
        seconds = self._facts.request_timeout
        return {} if seconds is None else {"x-stainless-read-timeout": str(seconds)}

    def delay(self, event: Event) -> float | None:
        """Return the server's delay, or an exponential one, of which up to a quarter is left out."""
        said = seconds_to_wait(event.headers) if isinstance(event, HeadArrived) else None
        if isinstance(event, HeadArrived) and not self._may_retry(event, said):
            return None
        if said is not None and 0 < said <= LONGEST_RETRY_AFTER:
            return said
        return min(0.5 * 2.0 ** (self._number - 1), 8.0) * (1 - 0.25 * self._rand())

    @staticmethod
    def _may_retry(event: HeadArrived, said: float | None) -> bool:
        if said is not None and said > LONGEST_RETRY_AFTER:
            return False
        if (should := event.headers.get("x-should-retry")) in {"true", "false"}:
            return should == "true"
        return event.status in {408, 409, 429} or event.status >= 500


class Tenacity(Once):
    """The retries of tenacity: five requests, exponential waits without jitter."""

    most = 5

    def delay(self, _event: Event) -> float | None:
        """Return an exponential wait, whatever has happened."""
        return 2.0 ** (self._number - 1)


class TenacityRandom(Once):
    """The retries of tenacity: six requests, random waits."""

    most = 6

    def delay(self, _event: Event) -> float | None:
        """Return a random wait, whatever has happened."""
        return 1.0 + self._rand() * (min(2.0 ** (self._number - 1), 60.0) - 1.0)


class Client(Protocol):
    """A client object, which makes the plans of its calls."""

    def plan_of(self, facts: CallFacts, now: float) -> Policy:
        """Return the policy of a new call."""


class PlainClient:
    """A client object whose calls share nothing.

    Parameters
    ----------
    kind:
        The policy of its calls.
    rand:
        Returns a random number from 0 to 1.
    """

    def __init__(self, kind: type[Once], rand: Callable[[], float]) -> None:
        self._kind = kind
        self._rand = rand

    def plan_of(self, facts: CallFacts, _now: float) -> Policy:
        """Return the policy of a new call."""
        return self._kind(facts, self._rand)


class OurClient:
    """A client object of penstock-client: the real plan, budget and breaker.

    Parameters
    ----------
    rand:
        Returns a random number from 0 to 1.
    retries, breaker:
        The settings; no breaker if ``breaker`` is None.
    may_repeat:
        False if no call counts as idempotent.
    """

    def __init__(
        self,
        rand: Callable[[], float],
        *,
        retries: Retries | None = None,
        breaker: BreakerSettings | None = BreakerSettings(),  # noqa: B008 - frozen
        may_repeat: bool = True,
    ) -> None:
        self.retries = retries or Retries()
        self.budget = RetryBudget(self.retries, 0.0)
        self.breaker = None if breaker is None else Breaker(breaker)
        self._rand = rand
        self._may_repeat = may_repeat

    def plan_of(self, facts: CallFacts, now: float) -> Policy:
        """Return the plan of a new call."""
        spec = CallSpec(
            endpoint="work",
            request_id=facts.name,
            timeouts=Timeouts(first_byte=facts.request_timeout, total=facts.patience),
            deadline=now + facts.patience,
            is_idempotent=facts.is_idempotent and self._may_repeat,
        )
        return Plan(spec, self.retries, budget=self.budget, rand=self._rand, breaker=self.breaker)


NewClient = Callable[[random.Random], Client]

UNLIMITED = Retries(ratio=1e6, floor=1_000_000)

POLICIES: dict[str, NewClient] = {
    "none": lambda dice: PlainClient(Once, dice.random),
    "openai": lambda dice: PlainClient(OpenAIPython, dice.random),
    "tenacity": lambda dice: PlainClient(Tenacity, dice.random),
    "tenacity-random": lambda dice: PlainClient(TenacityRandom, dice.random),
    "ours": lambda dice: OurClient(dice.random),
    "ours-once": lambda dice: OurClient(dice.random, may_repeat=False),
}
"""The policies that are compared."""

PARTS: dict[str, NewClient] = {
    "ours": POLICIES["ours"],
    "no breaker": lambda dice: OurClient(dice.random, breaker=None),
    "no budget": lambda dice: OurClient(dice.random, retries=UNLIMITED),
    "no breaker, no budget": lambda dice: OurClient(dice.random, retries=UNLIMITED, breaker=None),
    "budget without 1/s": lambda dice: OurClient(dice.random, retries=Retries(rate=0.0)),
    "breaker open for 5 s, never longer": lambda dice: OurClient(
        dice.random, breaker=BreakerSettings(longest_open=5.0)
    ),
    "breaker open for 2 s, never longer": lambda dice: OurClient(
        dice.random, breaker=BreakerSettings(open_seconds=2.0, longest_open=2.0)
    ),
}
"""Our policy, variants of it without one of its parts, and with other settings."""
