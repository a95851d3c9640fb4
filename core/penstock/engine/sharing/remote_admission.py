"""The admission policies of a shared engine, asked about a host's request; those that block, in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial

from penstock.engine.operator_log import internal_error
from penstock.engine.sharing.hosted_requests import HostedRequest
from penstock.engine.sharing.shared_engine import SharedEngine
from penstock.errors import Cancelled, PenstockError
from penstock.hooks.pipeline import Step


class RemoteAdmission:
    """Asks the admission policies of one host's requests.

    Parameters
    ----------
    shared:
        The engine, with its policies.
    refuse:
        Called with a request that a policy has refused, and the reason.
    """

    def __init__(self, shared: SharedEngine, refuse: Callable[[HostedRequest, PenstockError], None]) -> None:
        self._shared = shared
        self._refuse = refuse

    def ask(self, hosted: HostedRequest, then: Callable[[], None]) -> None:
        """Ask all policies about a request, and go on with ``then`` if none of them refuses it.

        Of several jobs of one request, they are asked about the first.
        """
        submission = hosted.submission
        pipeline = None if submission.part > 1 else self._shared.pipelines[submission.endpoint.name]
        if pipeline is None:
            then()
        elif pipeline.is_blocking:
            self._ask_in_turn(hosted, iter(pipeline.steps), then)
        else:
            try:
                pipeline.pass_through(hosted.submission)
            except BaseException as error:
                self._refuse(hosted, answer_to(error, hosted))
            else:
                then()

    def _ask_in_turn(self, hosted: HostedRequest, steps: Iterator[Step], then: Callable[[], None]) -> None:
        for step in steps:
            if step.is_blocking:
                hosted.is_being_admitted = True
                self._shared.executor.submit(self._ask_aside, hosted, step, steps, then)
                return
            try:
                step.apply(hosted.submission)
            except BaseException as error:
                self._refuse(hosted, answer_to(error, hosted))
                return
        then()

    def _ask_aside(self, hosted: HostedRequest, step: Step, steps: Iterator[Step], then: Callable[[], None]) -> None:
        """Ask a policy that blocks. This runs in a thread."""
        try:
            step.apply(hosted.submission)
        except BaseException as error:
            go_on: Callable[[], None] = partial(self._refuse, hosted, answer_to(error, hosted))
        else:
            go_on = partial(self._ask_in_turn, hosted, steps, then)
        self._shared.engine.reactor.call_soon_threadsafe(partial(self._go_on, hosted, go_on))

    def _go_on(self, hosted: HostedRequest, go_on: Callable[[], None]) -> None:
        hosted.is_being_admitted = False
        if hosted.is_cancelled:
            self._shared.engine.refuse(hosted.submission, Cancelled("the client has gone"))
        else:
            go_on()


def answer_to(error: BaseException, hosted: HostedRequest) -> PenstockError:
    """Return the error for the caller of a request whose policies, or whose submission, have raised this."""
    if isinstance(error, PenstockError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return Cancelled("a policy has given up the request")
    return internal_error(error, hosted.submission.request_id, hosted.submission.trace)
