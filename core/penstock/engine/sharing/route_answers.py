"""The routes of a shared engine, which are answered beside it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from penstock.engine.route_calls import RouteCall
from penstock.engine.sharing.host_messages import (
    AskPiece,
    AskRoute,
    CancelQuestion,
    RouteAnswer,
    RoutePiece,
    ToHost,
    fault_of,
)
from penstock.engine.sharing.hosted_requests import submission_of
from penstock.engine.sharing.shared_engine import SharedEngine
from penstock.errors import PenstockError
from penstock.hooks.routes import RouteRequest
from penstock.response import JSON, Encoded


class RouteAnswers:
    """The answers to one host's questions.

    Parameters
    ----------
    shared:
        The engine, with its routes.
    send:
        Sends a message to the host.
    """

    def __init__(self, shared: SharedEngine, send: Callable[[ToHost], None]) -> None:
        self._shared = shared
        self._send = send
        self._questions: dict[int, _HostedQuestion] = {}

    def on_question(self, message: AskRoute) -> None:
        """Begin to answer a question."""
        facts = message.request
        route = self._shared.routes[message.route]
        submission = submission_of(route, facts)
        request = RouteRequest(
            request_id=facts.request_id,
            method=message.method,
            path=message.path,
            header=submission.header,
            path_values=message.path_values,
            query=facts.query,
            address=facts.address,
            principal=submission.principal,
            body=message.body,
        )
        call = self._shared.engine.route_calls.begin(route, request)
        question = self._questions[message.question] = _HostedQuestion(message.question, call)
        call.on_progress = partial(self._progress, question)
        self._progress(question)

    def on_piece(self, message: AskPiece) -> None:
        """Send the next piece, as soon as there is one."""
        question = self._questions.get(message.question)
        if question is not None:
            question.may_send = True
            self._progress(question)

    def on_cancel(self, message: CancelQuestion) -> None:
        """Cancel the handler, or the stream."""
        question = self._questions.pop(message.question, None)
        if question is not None:
            question.abandon(message.reason)

    def abandon_all(self, reason: str) -> None:
        """Cancel all of them: the host has gone."""
        questions, self._questions = self._questions, {}
        for question in questions.values():
            question.abandon(reason)

    def _progress(self, question: _HostedQuestion) -> None:
        """Pass on what there is of an answer."""
        call, number = question.call, question.number
        head = call.head
        if head is not None and not question.is_headed:
            question.is_headed = True
            self._send(_answer(number, head, is_streamed=True, keep_alive=call.keep_alive))
        if question.may_send and call.has_chunks:
            question.may_send = False
            self._send(RoutePiece(number, b"".join(call.take())))
        outcome = call.outcome
        if outcome is None or call.has_chunks:
            return
        call.on_progress = None
        del self._questions[number]
        if isinstance(outcome, PenstockError):
            self._send(RouteAnswer(number, refusal=fault_of(outcome)))
        else:
            self._send(_answer(number, outcome))


class _HostedQuestion:
    __slots__ = ("call", "is_headed", "may_send", "number")

    def __init__(self, number: int, call: RouteCall) -> None:
        self.number = number
        self.call = call
        self.is_headed = False
        self.may_send = True

    def abandon(self, reason: str) -> None:
        self.call.on_progress = None
        self.call.cancel(reason)


def _answer(number: int, encoded: Encoded, *, is_streamed: bool = False, keep_alive: bytes = b"") -> RouteAnswer:
    return RouteAnswer(
        number,
        encoded.body,
        encoded.status,
        encoded.media_type or JSON,
        dict(encoded.headers or {}),
        is_streamed=is_streamed,
        keep_alive=keep_alive,
    )
