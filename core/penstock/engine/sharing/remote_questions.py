"""Questions to the routes of a shared engine."""

from __future__ import annotations

from collections.abc import Callable

from penstock.engine.reactors.reactor import Callback, Reactor
from penstock.engine.sharing.host_messages import AskRoute, RouteAnswer, ToEngine, error_of
from penstock.errors import NotReady, PenstockError
from penstock.hooks.routes import RouteResponse


class RemoteQuestions:
    """The requests to routes that wait for their answers.

    Parameters
    ----------
    reactor:
        The loop of the host.
    send:
        Sends a message to the engine.
    """

    def __init__(self, reactor: Reactor, send: Callable[[ToEngine], None]) -> None:
        self._reactor = reactor
        self._send = send
        self._waiting: dict[int, _Question] = {}

    async def ask(self, message: AskRoute) -> RouteResponse:
        """Send a question, and return the answer.

        Raises
        ------
        PenstockError
            If the route has refused, or its engine has ended.
        """
        question = self._waiting[message.question] = _Question()
        self._send(message)
        try:
            while question.outcome is None:
                await self._reactor.park(question.register)
        finally:
            self._waiting.pop(message.question, None)
        outcome = question.outcome
        if isinstance(outcome, PenstockError):
            raise outcome
        if outcome.refusal is not None:
            raise error_of(outcome.refusal)
        return RouteResponse(
            body=outcome.body, status=outcome.status, media_type=outcome.media_type, headers=outcome.headers
        )

    def settle(self, answer: RouteAnswer) -> None:
        """Take in an answer."""
        question = self._waiting.get(answer.question)
        if question is not None:
            question.settle(answer)

    def lose(self) -> None:
        """Answer all questions with an error: the engine has ended."""
        for question in self._waiting.values():
            question.settle(NotReady("the engine's process has ended"))


class _Question:
    __slots__ = ("_wake", "outcome")

    def __init__(self) -> None:
        self.outcome: RouteAnswer | PenstockError | None = None
        self._wake: Callback | None = None

    def register(self, wake: Callback) -> None:
        self._wake = wake

    def settle(self, outcome: RouteAnswer | PenstockError) -> None:
        self.outcome = outcome
        if self._wake is not None:
            self._wake()
