"""What a submission passes before it becomes a job: who calls, how long it may take, whether it is let in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from penstock.policies import Timeouts
from penstock.registry import Registry, is_blocking

if TYPE_CHECKING:
    from penstock.app import Endpoint
    from penstock.routes import Route
    from penstock.submission import Submission

Decide = Callable[["Submission"], Any]


class Step:
    """One policy, and what its decision does to the submission."""

    __slots__ = ("apply", "is_blocking")

    def __init__(self, effect: Callable[[Decide, Submission], None], decide: Decide) -> None:
        self.is_blocking = is_blocking(decide)
        self.apply: Callable[[Submission], None] = partial(effect, decide)


class Intake:
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


def intake_of_endpoint(registry: Registry, endpoint: Endpoint) -> Intake | None:
    """The policies of an endpoint; None if there are none."""
    steps = _steps(_authenticate, registry.authenticator(endpoint))
    steps += _steps(_tighten, registry.timeout_policy(endpoint))
    steps += [Step(_let_in, decide) for decide in registry.admission_policies(endpoint)]
    return Intake(steps) if steps else None


def intake_of_route(registry: Registry, route: Route) -> Intake | None:
    """Of a route only the caller is asked."""
    steps = _steps(_authenticate, registry.authenticator(route))
    return Intake(steps) if steps else None


def _steps(effect: Callable[[Decide, Submission], None], decide: Decide | None) -> list[Step]:
    return [] if decide is None else [Step(effect, decide)]


def _authenticate(decide: Decide, submission: Submission) -> None:
    principal = decide(submission)
    if principal is not None:
        submission.principal = principal


def _tighten(decide: Decide, submission: Submission) -> None:
    wished = decide(submission)
    if wished is not None:
        submission.timeouts = tightest(submission.timeouts, wished)


def _let_in(decide: Decide, submission: Submission) -> None:
    release = decide(submission)
    if release is not None:
        submission.add_release(release)


@lru_cache(maxsize=1024)  # callers mostly want the same few; and each new one is validated
def tightest(first: Timeouts, second: Timeouts) -> Timeouts:
    """The shorter of both in each limit; None is the longest."""

    def shorter(name: str) -> float | None:
        given = [value for value in (getattr(first, name), getattr(second, name)) if value is not None]
        return min(given, default=None)

    names = [field.name for field in dataclasses.fields(Timeouts)]
    return Timeouts(**{name: shorter(name) for name in names})  # type: ignore[arg-type] # grace is never None
