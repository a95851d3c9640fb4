"""Requests that an acceptor takes away: answered beside the workers, and held by their callers like calls."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Protocol

from penstock.app import App
from penstock.body_files import Body, BodyFile
from penstock.engine.route_calls import RouteCall, RouteCalls
from penstock.errors import Cancelled, PenstockError
from penstock.hooks.acceptors import Acceptor, wanted
from penstock.hooks.records import JobAnswered
from penstock.hooks.registry import Registry
from penstock.hooks.routes import Route, RouteEngine, RouteRequest, RouteResponse
from penstock.hooks.services import StoredSubmission
from penstock.hooks.submission import Submission
from penstock.scheduler import Scheduler


class AcceptingEngine(Protocol):
    """The part of the engine that is needed here."""

    app: App
    scheduler: Scheduler
    route_calls: RouteCalls

    def refuse(self, submission: Submission, error: PenstockError) -> None:
        """Release the policies of a request that is refused."""


class AcceptedCalls:
    """The acceptors of one engine's endpoints.

    Parameters
    ----------
    engine:
        The engine.
    registry:
        The plug-ins.
    """

    def __init__(self, engine: AcceptingEngine, registry: Registry) -> None:
        found = {endpoint.name: registry.acceptor(endpoint) for endpoint in engine.app.endpoints}
        self._acceptors = {name: acceptor for name, acceptor in found.items() if acceptor is not None}
        self._engine = engine

    def begin(self, submission: Submission, body: Body, headers: Mapping[str, str] | None) -> RouteCall | None:
        """Have the acceptor of the endpoint answer a request; return None if it is to become a job.

        Raises
        ------
        Draining
            If no work is accepted now.
        InvalidRequest
            If it asks for a background job, and there is no acceptor for it.
        HookError
            If the acceptor's code fails.
        """
        if submission.job_memo is None and not self._acceptors:
            return None
        if submission.part or isinstance(submission, StoredSubmission):
            return None
        acceptor = wanted(self._acceptors.get(submission.endpoint.name), submission)
        if acceptor is None:
            return None
        closed = self._engine.scheduler.closed()
        if closed is not None:
            raise closed
        handler = partial(self._accept, acceptor, submission, body, headers)
        path = submission.endpoint.path
        route = Route(path=path, name=submission.endpoint.name, handler=handler, method="POST")
        request = RouteRequest(
            request_id=submission.request_id, method="POST", path=path, header=submission.header, query=submission.query
        )
        return self._engine.route_calls.begin(route, request)

    async def _accept(
        self,
        acceptor: Acceptor,
        submission: Submission,
        body: Body,
        headers: Mapping[str, str] | None,
        _request: RouteRequest,
        _engine: RouteEngine,
    ) -> RouteResponse:
        error: PenstockError = Cancelled("no caller waits for the answer any longer")
        is_accepted = False
        try:
            answer = acceptor.accept(submission, body, headers)
            response: RouteResponse = await answer if inspect.isawaitable(answer) else answer
            is_accepted = True
        except PenstockError as refusal:
            error = refusal
            raise
        finally:
            if isinstance(body, BodyFile):
                body.release()
            if is_accepted:
                submission.close(_accepted(submission))
            else:
                self._engine.refuse(submission, error)
            del error  # its traceback holds this frame
        return response


def _accepted(submission: Submission) -> JobAnswered:
    principal = None if submission.principal is None else submission.principal.name
    return JobAnswered(
        endpoint=submission.endpoint.name, request_id=submission.request_id, code="ok", principal=principal
    )
