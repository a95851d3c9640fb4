"""Questions to the routes of a shared engine."""

from __future__ import annotations

from collections.abc import Callable

from penstock.engine.reactors.reactor import Reactor
from penstock.engine.route_calls import RouteCall
from penstock.engine.sharing.host_messages import (
    AskPiece,
    AskRoute,
    CancelQuestion,
    RequestFacts,
    RouteAnswer,
    RoutePiece,
    ToEngine,
    error_of,
)
from penstock.errors import Cancelled, Draining, PenstockError
from penstock.hooks.routes import Route, RouteRequest
from penstock.response import Encoded

LAST_ANSWERS = 0.1


class RemoteQuestions:
    """The requests to routes that wait for their answers, or for the rest of them.

    Parameters
    ----------
    reactor:
        The loop of the host.
    send:
        Sends a message to the engine.
    """

    def __init__(self, reactor: Reactor, send: Callable[[ToEngine], None]) -> None:
        self.reactor = reactor
        self._send = send
        self._number = 0
        self._calls: dict[int, RouteCall] = {}

    def ask(self, route: Route, request: RouteRequest, facts: RequestFacts) -> RouteCall:
        """Have a route answer a request, and return the call."""
        number = self._number = self._number + 1
        values = dict(request.path_values)
        self._send(AskRoute(number, route.key, request.method, request.path, facts, values, request.body))
        call = self._calls[number] = RouteCall(self, number)
        return call

    def receive(self, message: RouteAnswer | RoutePiece) -> None:
        """Take in an answer, or a piece of one."""
        call = self._calls.get(message.question)
        if call is None:  # it has been cancelled
            return
        if isinstance(message, RoutePiece):
            call.add_chunks([message.piece])
        elif message.is_streamed:
            call.begin_stream(_encoded(message), message.keep_alive)
        else:
            del self._calls[message.question]
            call.settle(_encoded(message) if message.refusal is None else error_of(message.refusal))

    def lose(self, error: PenstockError) -> None:
        """Answer all questions with an error."""
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.settle(error)

    def end_soon(self) -> None:
        """Have them end shortly: the last jobs of this host are over, and may be what handlers wait for."""
        self.reactor.call_at(self.reactor.time() + LAST_ANSWERS, self.end)

    def end(self) -> None:
        """End all of them: this host stops."""
        for call in tuple(self._calls.values()):
            call.settle(Draining("the server is shutting down"))
            self.cancel(call, "the process that took the request stops")

    # ---- as the host of the calls

    def cancel(self, call: RouteCall, reason: str) -> None:
        """Have the engine cancel the handler, or the stream."""
        if self._calls.pop(call.number, None) is not None:
            self._send(CancelQuestion(call.number, reason))
        call.settle(Cancelled(reason))

    def taken(self, call: RouteCall, _count: int, _size_bytes: int) -> None:
        """Ask for the next piece."""
        if call.number in self._calls:
            self._send(AskPiece(call.number))


def _encoded(answer: RouteAnswer) -> Encoded:
    return Encoded(answer.body, answer.media_type, answer.status, answer.headers)
