"""Requests in a dialect, for a ``PluginHarness``: read, decided, run by a fake worker, and answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TypeAlias

import msgspec

from penstock.app import App, Endpoint
from penstock.errors import NotFound, PenstockError
from penstock.hooks.acceptors import wanted
from penstock.hooks.dialect_answers import CancelRequest, CollectedChunks, ReportFraming
from penstock.hooks.dialects import (
    Dialect,
    DialectRequest,
    Operation,
    PartChunk,
    Payload,
    PublicError,
    ReadRequest,
    door_of,
)
from penstock.hooks.framings import RawFraming
from penstock.hooks.pipeline import Pipeline, route_pipeline
from penstock.hooks.public_errors import public_error
from penstock.hooks.registry import Registry
from penstock.hooks.routes import RouteResponse
from penstock.hooks.submission import Submission
from penstock.response import Encoded
from penstock.testing.path_patterns import pattern_of
from penstock.wire import Progress

FakeAnswer: TypeAlias = Encoded | list[bytes]
"""The answer of a handler: a result, or the chunks of a stream."""
FakeAnswers: TypeAlias = FakeAnswer | tuple[FakeAnswer, ...]
"""The answer to each input of a request; a tuple has one for each of several inputs that are answered together."""


class FakeOperations:
    """The operations of an app's dialects.

    Parameters
    ----------
    app:
        The app.
    registry:
        Its plug-ins.
    pipelines:
        The policies of the endpoints, by name; None for an endpoint without any.
    run:
        Runs the job of a submission, with a body of this size, to its end, or raises the error that it ends with.
    """

    def __init__(
        self,
        app: App,
        registry: Registry,
        pipelines: Mapping[str, Pipeline | None],
        run: Callable[[Submission, int], None],
    ) -> None:
        self._endpoints = {endpoint.name: endpoint for endpoint in app.endpoints}
        self._dialects = registry.dialects(app)
        self._registry = registry
        self._pipelines = pipelines
        self._run = run

    def answer(
        self, request: DialectRequest, body: bytes, answer: FakeAnswers, reports: Sequence[Progress] = ()
    ) -> RouteResponse:
        """Return the response to one request, whose handler reports and answers as given.

        Raises
        ------
        NotFound
            If no operation has this method and path.
        """
        dialect, operation, values = self._find(request.method, request.path)
        request = msgspec.structs.replace(request, path_values=values)
        payload: Payload | None = None
        try:
            submission, found = self._read(dialect, operation, request, body)
            if not isinstance(found, Payload):
                return found.response if isinstance(found, CancelRequest) else found
            payload = found
            response = self._answer_to(payload, dialect, submission, body, answer)
        except PenstockError as error:
            response = _written(dialect, public_error(error, request.request_id, debug=False), payload)
        if payload is None or not payload.wants_reports or not reports:
            return response
        assert dialect.reporting is not None, f"the dialect {dialect.name} has no `reporting`"
        return _reported(dialect.reporting(payload), reports, response)

    def _answer_to(
        self, payload: Payload, dialect: Dialect, submission: Submission, body: bytes, answer: FakeAnswers
    ) -> RouteResponse:
        """Run the job of a payload, and write its answer."""
        self._serve(payload, dialect, submission, body)
        if payload.parts:
            answers = answer if isinstance(answer, tuple) else (answer,) * len(payload.parts)
            return _joint_response(dialect, payload, answers)
        assert not isinstance(answer, tuple), "the request has one input"
        if payload.job_memo is not None:
            assert dialect.accepted is not None, f"the dialect {dialect.name} has no `accepted`"
            assert isinstance(answer, Encoded), "the answer is the document of the stored job"
            return dialect.accepted(answer, payload)
        return _response(dialect, payload, answer)

    def _find(self, method: str, path: str) -> tuple[Dialect, Operation, dict[str, str]]:
        for dialect, operation in self._operations():
            match = pattern_of(operation.path).fullmatch(path)
            if match is not None and method == operation.method:
                return dialect, operation, match.groupdict()
        raise NotFound(f"no dialect has an operation {method} {path}")

    def _operations(self) -> Iterator[tuple[Dialect, Operation]]:
        for dialect in self._dialects:
            for operation in dialect.operations:
                yield dialect, operation

    def _read(
        self, dialect: Dialect, operation: Operation, request: DialectRequest, body: bytes
    ) -> tuple[Submission, ReadRequest]:
        """Read a request as a server does, in the same order."""
        name = next(iter(dialect.endpoints)) if len(dialect.endpoints) == 1 else None
        door = door_of(dialect, operation)
        submission = Submission(door, request_id=request.request_id, header=request.header, query=request.query)
        if operation.choose is not None:
            try:
                name = operation.choose(request)
            except PenstockError:
                _ask(route_pipeline(self._registry, door), submission)
                raise
        if name is None:
            _ask(route_pipeline(self._registry, door), submission)
        else:
            self._enter(dialect, submission, name)
        head = body if operation.reads_body else b""
        if operation.head_bytes is not None:
            head = head[: operation.head_bytes(request)]
        found = operation.read(msgspec.structs.replace(request, body=head, size_bytes=len(body)))
        assert name is None or isinstance(found, Payload), "`choose` returns None for what needs no endpoint"
        return submission, found

    def _serve(self, payload: Payload, dialect: Dialect, submission: Submission, body: bytes) -> None:
        """Run the job that a request asks for."""
        if not isinstance(submission.endpoint, Endpoint):
            self._enter(dialect, submission, payload.endpoint)
        payload.apply_to(submission)
        wanted(self._registry.acceptor(self._endpoints[payload.endpoint]), submission)
        contents = payload.parts or [body if payload.body is None else payload.body]
        for content in contents:
            self._endpoints[payload.endpoint].codec.validate(content, payload.input_form)
        for number, content in enumerate(contents, 1):
            self._run(submission.as_part(number) if number < len(contents) else submission, len(content))

    def _enter(self, dialect: Dialect, submission: Submission, name: str) -> None:
        if name not in dialect.endpoints:
            raise NotFound(f"{dialect.name} serves no endpoint {name!r}")
        endpoint = self._endpoints[name]
        submission.endpoint, submission.timeouts = endpoint, endpoint.timeouts
        _ask(self._pipelines[name], submission)


def _response(dialect: Dialect, payload: Payload, answer: FakeAnswer) -> RouteResponse:
    if isinstance(answer, Encoded):
        if not payload.is_streamed:
            return dialect.result(answer, payload)
        head, chunks = Encoded(b"", answer.media_type, answer.status, answer.headers), [answer.body]
    else:
        if payload.is_streamed is False:
            assert dialect.collected is not None, f"the dialect {dialect.name} has no `collected`"
            return dialect.collected(CollectedChunks(answer), payload)
        head, chunks = Encoded(b""), answer
    framing = None if dialect.framing is None else dialect.framing(head, payload)
    if framing is None:
        assert head.media_type is not None, f"the dialect {dialect.name} has no framing for a stream of JSON values"
        framing = RawFraming(head.media_type)
    pieces = [framing.frame([chunk]) for chunk in chunks]
    return RouteResponse(body=b"".join(pieces) + framing.end, media_type=framing.media_type)


def _written(dialect: Dialect, error: PublicError, payload: Payload | None) -> RouteResponse:
    if payload is not None and dialect.failure is not None:
        return dialect.failure(error, payload)
    return dialect.error(error)


def _reported(framing: ReportFraming, reports: Sequence[Progress], response: RouteResponse) -> RouteResponse:
    """Return the stream of some reports, with the answer at its end."""
    pieces = [*map(framing.report, reports), framing.answer(response)]
    return RouteResponse(body=b"".join(pieces), media_type=framing.media_type)


def _joint_response(dialect: Dialect, payload: Payload, answers: tuple[FakeAnswer, ...]) -> RouteResponse:
    """Return the response with the answers to several inputs; those of a stream take turns."""
    chunks = [[answer.body] if isinstance(answer, Encoded) else answer for answer in answers]
    if not payload.is_streamed:
        assert dialect.together is not None, f"the dialect {dialect.name} has no `together`"
        return dialect.together(chunks, payload)
    assert dialect.framing is not None, f"the dialect {dialect.name} has no framing"
    framing = dialect.framing(Encoded(b""), payload)
    assert framing is not None, f"the dialect {dialect.name} has no framing for a stream of JSON values"
    pieces = []
    for turn in zip_longest(*chunks):
        for place, body in enumerate(turn):
            if body is not None:
                chunk = PartChunk(body)
                chunk.part = place
                pieces.append(framing.frame([chunk]))
    return RouteResponse(body=b"".join(pieces) + framing.end, media_type=framing.media_type)


def _ask(pipeline: Pipeline | None, submission: Submission) -> None:
    if pipeline is not None:
        pipeline.pass_through(submission)
