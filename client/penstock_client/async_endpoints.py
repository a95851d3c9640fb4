"""Endpoints with types, for asyncio and trio."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any, Generic, TypeVar, overload

import httpx2

from penstock_client.argument_checks import require_size
from penstock_client.async_chat import AsyncChatCalls
from penstock_client.async_driver import Answer, Streamed
from penstock_client.async_streams import AsyncEventStream
from penstock_client.call_records import Attempt
from penstock_client.call_results import Result, result_of
from penstock_client.client_base import NO_HEADERS, OutgoingRequest
from penstock_client.endpoint_types import OutputDecoder, path_of, require_input
from penstock_client.errors import ClientError, ResponseError
from penstock_client.plan_messages import HeadArrived
from penstock_client.schema_questions import SchemaQuestions, schema_of
from penstock_client.server_schema import ServerSchema
from penstock_client.stream_state import KEPT_BYTES, StreamState

InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")
InputT_contra = TypeVar("InputT_contra", contravariant=True)
OutputT_co = TypeVar("OutputT_co", covariant=True)


class AsyncEndpointCalls(AsyncChatCalls, SchemaQuestions[httpx2.AsyncClient]):
    """The part of the client that knows about the endpoints of a Penstock server."""

    @overload
    def endpoint(
        self,
        path: str,
        input: type[InputT],
        output: type[OutputT],
        *,
        method: str = ...,
        idempotent: bool = ...,
        limit: float | None = ...,
    ) -> AsyncEndpoint[InputT, OutputT]: ...

    @overload
    def endpoint(
        self,
        path: str,
        input: Any = ...,
        output: Any = ...,
        *,
        method: str = ...,
        idempotent: bool = ...,
        limit: float | None = ...,
    ) -> AsyncEndpoint[Any, Any]: ...

    def endpoint(
        self,
        path: str,
        input: Any = Any,
        output: Any = Any,
        *,
        method: str = "POST",
        idempotent: bool = False,
        limit: float | None = None,
    ) -> AsyncEndpoint[Any, Any]:
        """Return an endpoint whose input and output have types.

        Parameters
        ----------
        path:
            Its path: ``"classify"``, or ``"items/{item}"`` with variables.
        input:
            The type of the body: anything that msgspec can encode.
        output:
            The type of the answer, or of one event of a stream: anything that msgspec can decode.
        method, idempotent:
            See ``call``.
        limit:
            The seconds after which the server ends a call. By default, they are read from the server's schema when a
            call has a time-out. A longer time-out is logged, once.

        Raises
        ------
        TypeError
            If msgspec cannot decode the output.
        """
        return AsyncEndpoint(self, path, input, output, method=method, idempotent=idempotent, limit=limit)

    async def _answered(
        self, outgoing: OutgoingRequest, read: Callable[[tuple[Attempt, ...], HeadArrived], Answer]
    ) -> Answer:
        headers: Mapping[str, str] = NO_HEADERS

        def noted(attempts: tuple[Attempt, ...], arrived: HeadArrived) -> Answer:
            nonlocal headers
            headers = arrived.headers
            return read(attempts, arrived)

        try:
            answer = await super()._answered(outgoing, noted)
        except ResponseError as error:
            await self._learn(outgoing, error.headers, error)
            raise
        await self._learn(outgoing, headers)
        return answer

    @contextlib.asynccontextmanager
    async def _streamed(self, outgoing: OutgoingRequest) -> AsyncIterator[Streamed]:
        is_open = False
        try:
            async with super()._streamed(outgoing) as streamed:
                is_open = True
                await self._learn(outgoing, streamed[1])
                yield streamed
        except ResponseError as error:
            if not is_open:
                await self._learn(outgoing, error.headers, error)
            raise

    async def _learn(
        self, outgoing: OutgoingRequest, headers: Mapping[str, str], error: ResponseError | None = None
    ) -> None:
        if self._asks_about(headers, error):
            self._explain(outgoing, headers, error, await self._read_schema())

    async def _read_schema(self) -> ServerSchema | None:
        """Return the server's schema, which is read now if that was long ago; None if it does not show it."""
        known = self._shared.schema
        if self._begins_reading():
            shared = self._state()
            view, outgoing = self._question()
            plan = view._plan(outgoing, shared)
            known.schema = None
            with contextlib.suppress(ClientError):
                known.schema = schema_of((await view._run(outgoing, plan, shared, is_stream=False))[2])
        return known.schema


class AsyncEndpoint(Generic[InputT_contra, OutputT_co]):
    """An endpoint of a server, with the types of its input and output: see ``AsyncClient.endpoint``."""

    def __init__(
        self,
        client: AsyncEndpointCalls,
        path: str,
        input: Any,
        output: Any,
        *,
        method: str,
        idempotent: bool,
        limit: float | None,
    ) -> None:
        self._client = client
        self._path = path
        self._input = input
        self._output = OutputDecoder(output)
        self._method = method
        self._is_idempotent = idempotent
        self._limit = limit

    def __repr__(self) -> str:
        return f"<AsyncEndpoint {self._method} {self._path} of {self._client!r}>"

    async def call(
        self,
        body: InputT_contra,
        *,
        path: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Result[OutputT_co]:
        """Call the endpoint and return its whole answer, as its type.

        Parameters
        ----------
        body:
            The input; None for no body.
        path, query:
            The values of the variables in the path, and the query. A None is left out of the query.
        timeout, idempotency_key, headers:
            See ``AsyncClient.call``.

        Raises
        ------
        ClientError
            If there is no answer, or it is an error. ``InvalidAnswer`` is one that does not fit the type.
        TypeError
            If the body is not of its class, or cannot be written as JSON.
        ValueError
            If a variable of the path has no value, or as for ``AsyncClient.call``.
        """
        outgoing = self._outgoing(body, path, query, timeout=timeout, idempotency_key=idempotency_key, headers=headers)
        result: Result[OutputT_co] = await self._client._answered(outgoing, partial(result_of, output=self._output))
        await self._compare(timeout)
        return result

    @contextlib.asynccontextmanager
    async def stream(
        self,
        body: InputT_contra,
        *,
        path: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
        keep_bytes: int | None = KEPT_BYTES,
    ) -> AsyncIterator[AsyncEventStream[OutputT_co]]:
        """Call the endpoint; the block has its events, as their type. See ``call`` and ``AsyncClient.stream``."""
        require_size("keep_bytes", keep_bytes)
        accept = {"accept": "application/x-ndjson, */*;q=0.5", "accept-encoding": "identity"}
        outgoing = self._outgoing(
            body, path, query, timeout=timeout, idempotency_key=idempotency_key, headers={**accept, **headers}
        )
        async with self._client._streamed(outgoing) as (response, arrived, attempts, watch):
            state = StreamState(
                arrived,
                attempts,
                watch,
                outgoing.spec,
                keep_bytes=keep_bytes,
                output=self._output,
                on_error=outgoing.trace.failed,
            )
            await self._compare(timeout)
            stream = AsyncEventStream[OutputT_co](response, state)
            try:
                yield stream
            finally:
                await stream.aclose()

    def _outgoing(
        self, body: Any, path: Mapping[str, Any] | None, query: Mapping[str, Any] | None, **options: Any
    ) -> OutgoingRequest:
        require_input(self._path, self._input, body)
        return self._client._outgoing(
            path_of(self._path, path, query), body, idempotent=self._is_idempotent, method=self._method, **options
        )

    async def _compare(self, timeout: float | None) -> None:
        """Compare a time-out with the endpoint's own limit, when a call has succeeded: it must not fail for that."""
        client = self._client
        if not client._knows_limit(self._path, timeout):
            schema = None if self._limit is not None else await client._read_schema()
            served = None if schema is None else schema.at(self._path, self._method)
            limits = client._shared.schema.limits
            limits[self._path] = self._limit or (math.inf if served is None else served.limit)
        client._compare_limit(self._path, timeout)
