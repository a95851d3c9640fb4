"""One request from its first look to its last byte, for those who keep a record of it: the same for ASGI and WSGI."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from penstock import Endpoint
from penstock.errors import Cancelled, PenstockError
from penstock.hooks import RequestAnswered, Route, RouteRequest, RouteResponse, Submission
from penstock.hosting import Call, Engine, ThreadedCall
from penstock_falcon.answers import OK, Answer, common_headers
from penstock_falcon.problems import retry_after
from penstock_falcon.service import Service


class Exchange(Submission):
    """A submission that came over HTTP.

    Attributes
    ----------
    call:
        The job, once there is one.
    began:
        The instant of the first look.
    """

    __slots__ = ("began", "call", "method", "path")

    def __init__(
        self,
        endpoint: Endpoint | Route,
        *,
        request_id: str,
        header: Callable[[str], str | None],
        address: str,
        method: str,
        path: str,
    ) -> None:
        # All that the base class does, written out: this is made for every request.
        self.endpoint = endpoint
        self.request_id = request_id
        self.header = header
        self.address = address
        self.principal = None
        self.timeouts = endpoint.timeouts
        self.priority = "normal"
        self.response_headers = []
        self._releases = []
        self._answered = None
        self.began = monotonic()
        self.method = method
        self.path = path
        self.call: Call | ThreadedCall | None = None

    def refuse(self, engine: Engine, error: PenstockError) -> None:
        """There will be no job: tell those who have let it in, and those who watch. In the engine's thread."""
        assert not isinstance(self.endpoint, Route), "a route is never a job"
        engine.refuse(self, error)

    def tell(self, service: Service[Any], status: int, code: str) -> None:
        """Tell the observers that it is over. In the engine's thread."""
        if service.tell is None:
            return
        call = self.call
        service.tell(
            RequestAnswered(
                endpoint=self.endpoint.name,
                request_id=self.request_id,
                method=self.method,
                path=self.path,
                status=status,
                code=code,
                seconds=monotonic() - self.began,
                principal=None if self.principal is None else self.principal.name,
                address=self.address,
                attempts=0 if call is None else call.attempts,
                queue_seconds=None if call is None else call.queue_seconds,
                execution_seconds=None if call is None else call.execution_seconds,
            )
        )

    def tell_stream_ended(self, service: Service[Any]) -> None:
        """Tell the observers that the response of a stream, which began with a 200, has come to its end."""
        outcome = None if self.call is None else self.call.outcome
        if outcome is None or isinstance(outcome, Cancelled):
            self.tell(service, Cancelled.status, Cancelled.code)
        else:
            self.tell(service, 200, outcome.code if isinstance(outcome, PenstockError) else OK)


def tell_stray(service: Service[Any], answer: Answer, method: str, path: str, address: str) -> None:
    """Tell the observers of a request that was for no endpoint and no route, or with a method that it does not take."""
    if service.tell is not None:
        request_id = dict(answer.headers)["x-request-id"]
        service.tell(
            RequestAnswered(
                endpoint="",
                request_id=request_id,
                method=method,
                path=path,
                status=answer.status,
                code=answer.code,
                seconds=0.0,
                address=address,
            )
        )


def route_answer(response: RouteResponse, request_id: str) -> Answer:
    """The answer of a route."""
    headers = common_headers(request_id, response.media_type)
    headers += [(name.lower(), value) for name, value in response.headers.items()]
    if response.status == 503:
        headers += [("retry-after", str(retry_after(None))), ("x-should-retry", "true")]
    return Answer(response.status, headers, response.body)


def route_request(exchange: Exchange, query: str) -> RouteRequest:
    """What a route is asked."""
    return RouteRequest(
        request_id=exchange.request_id,
        method=exchange.method,
        path=exchange.path,
        header=exchange.header,
        query=query,
        address=exchange.address,
        principal=exchange.principal,
    )
