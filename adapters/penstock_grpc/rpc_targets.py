"""An endpoint, or a route, as calls over gRPC see it: its policies, its checks, and the way into the engine."""

from __future__ import annotations

import asyncio
from typing import Any

from penstock import Endpoint
from penstock.errors import PayloadTooLarge, PenstockError
from penstock.hooks import Route
from penstock.hosting import LARGE_BODY_BYTES, SMALL_BODY_BYTES, AnnotationCheck, Body, BodyFile, Encoded
from penstock_grpc.rpc_exchange import RpcExchange
from penstock_grpc.serving_host import ServingHost


class RpcPipeline:
    """The policies of an endpoint or a route.

    Parameters
    ----------
    host:
        The service with the engine.
    target:
        The endpoint or route.
    """

    def __init__(self, host: ServingHost, target: Endpoint | Route) -> None:
        self._pipeline = host.pipeline(target)

    async def ask(self, exchange: RpcExchange) -> None:
        """Have them decide; each that blocks is asked in a thread.

        Raises
        ------
        PenstockError
            As soon as one refuses.
        """
        pipeline = self._pipeline
        if pipeline is None:
            return
        if not pipeline.is_blocking:
            pipeline.pass_through(exchange)
            return
        for step in pipeline.steps:
            if step.is_blocking:
                await asyncio.to_thread(step.apply, exchange)
            else:
                step.apply(exchange)


class RpcEndpoint:
    """An endpoint.

    Parameters
    ----------
    host:
        The service with the engine.
    endpoint:
        The endpoint.

    Attributes
    ----------
    endpoint:
        The same.
    ask:
        Has its policies decide about an exchange.
    """

    def __init__(self, host: ServingHost, endpoint: Endpoint) -> None:
        self._host = host
        self.endpoint = endpoint
        self.ask = RpcPipeline(host, endpoint).ask
        self._wants_headers = endpoint.codec.context_parameter is not None
        debug = host.settings.debug
        self._results = AnnotationCheck.of_results(endpoint, debug=debug)
        self._chunks = AnnotationCheck.of_chunks(endpoint, debug=debug)

    def check_result(self, call: Any, result: Encoded) -> None:
        """Compare the result of a call with the handler's annotation. Raises ``HandlerError`` under ``--debug``."""
        if self._results.check is not None and call.attempts:  # it is the handler's
            self._results.check(result)

    def check_chunk(self, chunk: bytes, head: Encoded) -> None:
        """Compare a chunk with the handler's annotation, as ``check_result`` does."""
        if self._chunks.check is not None and head.media_type is None:
            self._chunks.check(chunk)

    def submit(self, exchange: RpcExchange, message: bytes) -> Any:
        """Check the input that the exchange's payload has, and submit the job; ``message`` is the input by default.

        Raises
        ------
        PenstockError
            If it is refused.
        """
        try:
            return self._check_and_submit(exchange, message)
        except PenstockError as error:
            return self._host.submit_fault(exchange, error)

    def _check_and_submit(self, exchange: RpcExchange, message: bytes) -> Any:
        payload = exchange.payload
        assert payload is not None, "it has been read"
        if payload.parts or payload.job_memo is not None or payload.wants_reports or payload.cancel_key is not None:
            raise NotImplementedError(f"{exchange.path} asks for what gRPC does not do: parts, a job, reports or a key")
        exchange.apply_limits()
        content = message if payload.body is None else payload.body
        limit = self._host.settings.max_body
        if len(content) > limit:
            raise PayloadTooLarge(f"The body may have at most {limit} bytes")
        form = exchange.input_form
        # Others are decoded in the worker alone: here, that would delay other requests.
        if len(content) <= SMALL_BODY_BYTES and (form is None or not form.decoder):
            self.endpoint.codec.decode(content, form)
        engine = self._host.engine or self._host.start()
        headers = dict(exchange.headers) if self._wants_headers else None
        body = _as_body(content)
        try:
            return engine.submit(exchange, body, headers=headers)
        except BaseException:
            if isinstance(body, BodyFile):  # the error may refer to it for long
                body.release()
            raise


async def result_of(call: Any) -> Any:
    """Return the outcome of a call that has ended, with its body in memory: a message is one piece.

    The engine of another process passes a large result on in a file.

    Raises
    ------
    PenstockError
        If that is the outcome.
    """
    outcome = call.outcome
    if isinstance(outcome, PenstockError):
        raise outcome
    body: Body = outcome.body
    if not isinstance(body, BodyFile):
        return outcome
    content = await asyncio.to_thread(body.read_all)
    return Encoded(content, outcome.media_type, outcome.status, outcome.headers)


def _as_body(content: bytes) -> Body:
    """Return a large body in a file, which a worker reads without a copy through a socket."""
    if len(content) <= LARGE_BODY_BYTES:
        return content
    try:
        return BodyFile.of(content)
    except OSError:  # no descriptor is left
        return content
