"""What a submission passes before it becomes a job: who calls, how long it may take, whether it is let in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from penstock.app import Endpoint
from penstock.hooks.registry import Registry, is_blocking
from penstock.hooks.routes import Route
from penstock.hooks.submission import Submission
from penstock.policies import Timeouts

Decide = Callable[["Submission"], Any]

MOST_KNOWN: Final = 1024
"""How many different time-outs one endpoint remembers the merging of."""


class Step(NamedTuple):
    """One policy, with what its decision does to the submission."""

    apply: Callable[[Submission], None]
    is_blocking: bool


class Pipeline:
    """The policies of one endpoint or route, in the order in which they are asked.

    Attributes
    ----------
    steps:
        To be applied one by one; one that is blocking, in a thread of its own where there is a loop to keep.
    is_blocking:
        Whether any of them is.
    """

    __slots__ = ("is_blocking", "steps")

    def __init__(self, steps: list[Step]) -> None:
        self.steps = steps
        self.is_blocking = any(step.is_blocking for step in steps)

    def pass_through(self, submission: Submission) -> None:
        """Apply all steps, in this thread.

        Raises
        ------
        PenstockError
            As soon as one refuses. What others have granted is still to be released: see ``Submission.close``.
        """
        for step in self.steps:
            step.apply(submission)


def endpoint_pipeline(registry: Registry, endpoint: Endpoint) -> Pipeline | None:
    """The policies of an endpoint; None if there are none."""
    steps = _steps(_authenticating, registry.authenticator(endpoint))
    steps += _steps(partial(_tightening, endpoint.timeouts), registry.timeout_policy(endpoint))
    for decide in registry.admission_policies(endpoint):
        steps += _steps(_letting_in, decide)
    return Pipeline(steps) if steps else None


def route_pipeline(registry: Registry, route: Route) -> Pipeline | None:
    """Of a route only the caller is asked."""
    steps = _steps(_authenticating, registry.authenticator(route))
    return Pipeline(steps) if steps else None


def _steps(effect: Callable[[Decide], Callable[[Submission], None]], decide: Decide | None) -> list[Step]:
    return [] if decide is None else [Step(effect(decide), is_blocking(decide))]


def _authenticating(decide: Decide) -> Callable[[Submission], None]:
    def authenticate(submission: Submission) -> None:
        principal = decide(submission)
        if principal is not None:
            submission.principal = principal

    return authenticate


def _tightening(own: Timeouts, decide: Decide) -> Callable[[Submission], None]:
    # By identity, for policies give the same few again and again, and to compare them costs more than all the rest.
    known: dict[int, tuple[Timeouts, Timeouts]] = {}

    def tighten(submission: Submission) -> None:
        wished = decide(submission)
        if wished is None:
            return
        found = known.get(id(wished))
        if found is None or found[0] is not wished:
            if len(known) >= MOST_KNOWN:
                known.clear()
            found = known[id(wished)] = wished, tightest(own, wished)
        submission.timeouts = found[1]

    return tighten


def _letting_in(decide: Decide) -> Callable[[Submission], None]:
    def let_in(submission: Submission) -> None:
        release = decide(submission)
        if release is not None:
            submission.add_release(release)

    return let_in


def tightest(first: Timeouts, second: Timeouts) -> Timeouts:
    """The shorter of both in each limit; None is the longest."""

    def shorter(name: str) -> float | None:
        given = [value for value in (getattr(first, name), getattr(second, name)) if value is not None]
        return min(given, default=None)

    names = [field.name for field in dataclasses.fields(Timeouts)]
    return Timeouts(**{name: shorter(name) for name in names})  # type: ignore[arg-type] # grace is never None
