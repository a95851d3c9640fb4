"""One call from start to end: identify, ask, read, ask, check, submit, wait, answer, record.

The steps are those of a request to an operation of a dialect. Until the message has arrived, and with it the name of
the endpoint, the call is for a route that stands for the method: only the authenticator is asked about it.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final

from grpc.aio import EOF, AbortError, BaseError

from penstock.errors import (
    Cancelled,
    HandlerError,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    PenstockError,
    RequestTimeout,
    TotalTimeout,
)
from penstock.hooks import Payload, Route, RpcOperation, RpcRequest, RpcService
from penstock.hosting import SMALL_BODY_BYTES, log_refusal, public_error, rpc_door
from penstock_grpc.rpc_errors import code_of, failure_of, internal_failure
from penstock_grpc.rpc_exchange import RpcExchange
from penstock_grpc.rpc_targets import RpcEndpoint, RpcPipeline, result_of
from penstock_grpc.rpc_writing import GONE, finish, write
from penstock_grpc.serving_host import ServingHost

BODY_SECONDS: Final = 30.0
"""The time in which a message must arrive."""
TAKEN_BYTES: Final = 64 * 1024
"""The chunks that are taken at once: taking little at a time shows that a slow client reads."""
MOST_COLLECTED_BYTES: Final = 64 << 20
LATE: Final = "the deadline of the call has passed"


class RpcResource(ABC):
    """A method, as calls see it.

    Parameters
    ----------
    host:
        The service with the engine.
    door:
        The route that a call is for until more is known.
    path:
        The service and the method.

    Attributes
    ----------
    path:
        The same.
    """

    def __init__(self, host: ServingHost, door: Route, path: str) -> None:
        self._host = host
        self._door = door
        self._policies = RpcPipeline(host, door)
        self.path = path

    async def serve(self, context: Any, peer: str) -> None:
        """Serve one call. Each message that is read leaves exactly one record."""
        message = None
        while await self._serve_one(RpcExchange.of(self._door, context, self.path, peer, self._host), message, context):
            message = await context.read()
            if message is EOF:
                return

    async def _serve_one(self, exchange: RpcExchange, message: bytes | None, context: Any) -> bool:
        """Answer one message, the first of which is still to be read; return whether another may follow."""
        held: list[Any] = []
        try:
            if message is None:
                await self._policies.ask(exchange)
                message = await self._receive(context)
                if message is None:
                    return False
            exchange.has_message = True
            return await self._answer(exchange, message, context, held)
        except AbortError:
            raise
        except BaseError:
            self._give_up(exchange, held, Cancelled(GONE))
            return False
        except PenstockError as error:
            return await self._fail(exchange, held, error, context)
        except Exception as error:
            return await self._fail(
                exchange, held, internal_failure(error, exchange.request_id, exchange.trace), context
            )
        except BaseException:
            # The client has gone, or its deadline has passed, or the server stops.
            self._give_up(exchange, held, TotalTimeout(LATE) if exchange.is_late else Cancelled(GONE))
            raise

    async def _receive(self, context: Any) -> bytes | None:
        """Return the first message; None to end the call without one.

        Raises
        ------
        MalformedRequest
            If the client has sent none.
        RequestTimeout
            If it does not arrive in time.
        """
        try:
            async with asyncio.timeout(BODY_SECONDS):
                message = await context.read()
        except TimeoutError:
            raise RequestTimeout(f"The message had not arrived in full after {BODY_SECONDS:g} s") from None
        if message is EOF:
            raise MalformedRequest("The call has no message")
        found: bytes = message
        return found

    @abstractmethod
    async def _answer(self, exchange: RpcExchange, message: bytes, context: Any, held: list[Any]) -> bool:
        """Answer one message; return whether another may follow. The call of its job goes into ``held``."""

    def _give_up(self, exchange: RpcExchange, held: list[Any], error: PenstockError) -> None:
        """Leave no job and no admission behind a request that failed, or was abandoned; and record it."""
        call = held[0] if held else None
        if call is not None:
            call.on_progress = None
            call.cancel(error.detail)  # harmless if it has an outcome
        elif exchange.is_door:
            log_refusal(exchange, error)
        else:
            self._host.refuse(exchange, error)
        exchange.record(self._host, call, *code_of(error))

    async def _fail(self, exchange: RpcExchange, held: list[Any], error: PenstockError, context: Any) -> bool:
        self._give_up(exchange, held, error)
        failure = failure_of(error, exchange.request_id, debug=self._host.settings.debug, left=exchange.left)
        await finish(context, failure, exchange.metadata())
        return False


class RpcOperationResource(RpcResource):
    """A method whose calls become jobs.

    Parameters
    ----------
    host, path:
        As for every resource.
    service, method:
        The records.
    endpoints:
        The endpoints of the app, by name.
    """

    def __init__(
        self, host: ServingHost, service: RpcService, method: RpcOperation, endpoints: Mapping[str, RpcEndpoint]
    ) -> None:
        super().__init__(host, rpc_door(service, method), f"/{service.name}/{method.name}")
        self._method = method
        self._endpoints = endpoints

    async def _answer(self, exchange: RpcExchange, message: bytes, context: Any, held: list[Any]) -> bool:
        call = await self._submit(exchange, message)
        held.append(call)
        while call.outcome is None and call.head is None:
            await call.wait()
        if self._method.chunk is None:
            await self._write_whole(exchange, call, context)
        else:
            await self._write_stream(exchange, call, context)
        exchange.record(self._host, call, *code_of(call.outcome))
        return self._method.takes_stream

    async def _receive(self, context: Any) -> bytes | None:
        if not self._method.takes_stream:
            return await super()._receive(context)
        message = await context.read()  # for as long as the client likes: nothing is held for it meanwhile
        return None if message is EOF else message

    async def _submit(self, exchange: RpcExchange, message: bytes) -> Any:
        request = RpcRequest(request_id=exchange.request_id, path=self.path, header=exchange.header, message=message)
        read = self._method.read
        payload = read(request) if len(message) <= SMALL_BODY_BYTES else await asyncio.to_thread(read, request)
        target = self._endpoints.get(payload.endpoint)
        if target is None:
            raise NotFound(f"there is no endpoint {payload.endpoint[:100]!r}")
        exchange.payload = payload
        exchange.take_endpoint(target.endpoint)
        await target.ask(exchange)
        if target.endpoint.is_stream and self._method.chunk is None and self._method.collected is None:
            return self._host.submit_fault(exchange, self._streams(payload))
        return target.submit(exchange, message)

    def _streams(self, payload: Payload) -> PenstockError:
        return MethodNotAllowed(f"{payload.endpoint} streams, and {self.path} answers once")

    # ---- answers

    async def _write_whole(self, exchange: RpcExchange, call: Any, context: Any) -> None:
        payload = exchange.payload
        assert payload is not None, "it has been read"
        chunks = await self._collect(call, payload) if call.head is not None else None
        outcome = await result_of(call)
        target = self._endpoints[payload.endpoint]
        if chunks is not None:
            assert self._method.collected is not None, "otherwise nothing is collected"
            for chunk in chunks:
                target.check_chunk(chunk, call.head or outcome)
            message = self._method.collected(chunks, call.head or outcome, payload)
        else:
            assert self._method.result is not None, "a method that answers once has it"
            target.check_result(call, outcome)
            message = self._method.result(outcome, payload)
        context.set_trailing_metadata(tuple(exchange.metadata()))
        await write(context, message, call)

    async def _collect(self, call: Any, payload: Payload) -> list[bytes]:
        """Return all chunks of a stream, once it has ended."""
        if self._method.collected is None:
            raise self._streams(payload)
        collected: list[bytes] = []
        size_bytes = 0
        while call.outcome is None or call.has_chunks:
            chunks = call.take()
            collected += chunks
            size_bytes += sum(map(len, chunks))
            if size_bytes > MOST_COLLECTED_BYTES:
                raise HandlerError(f"the stream has more than {MOST_COLLECTED_BYTES >> 20} MiB, and is to be collected")
            if not chunks:
                await call.wait()
        return collected

    async def _write_stream(self, exchange: RpcExchange, call: Any, context: Any) -> None:
        payload = exchange.payload
        assert payload is not None, "it has been read"
        assert self._method.chunk is not None, "it streams"
        target = self._endpoints[payload.endpoint]
        metadata = tuple(exchange.metadata())
        context.set_trailing_metadata(metadata)
        if not self._method.takes_stream:
            await context.send_initial_metadata(metadata)
        while call.outcome is None or call.has_chunks:
            chunks = call.take(TAKEN_BYTES)
            for chunk in chunks:
                target.check_chunk(chunk, call.head)
                await write(context, self._method.chunk(chunk, call.head, payload), call)
            if not chunks:
                await call.wait()
        outcome = await result_of(call)
        if call.head is None:  # a single result
            target.check_result(call, outcome)
            await write(context, self._method.chunk(outcome.body, outcome, payload), call)

    async def _fail(self, exchange: RpcExchange, held: list[Any], error: PenstockError, context: Any) -> bool:
        """End the call; or report the error in a message, where the method has one for it."""
        if self._method.error is None or not exchange.has_message:
            return await super()._fail(exchange, held, error, context)
        self._give_up(exchange, held, error)
        public = public_error(error, exchange.request_id, debug=self._host.settings.debug)
        try:
            await context.write(self._method.error(public, exchange.payload))
        except BaseError:
            return False
        return True
