"""Chat with the async client."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from penstock_client.async_driver import AsyncDriver
from penstock_client.async_streams import AsyncChatStream
from penstock_client.chat_answers import ChatAnswer
from penstock_client.chat_decoding import answer_of
from penstock_client.chat_requests import Message, chat_body
from penstock_client.chat_stream_state import ChatStreamState
from penstock_client.client_base import NO_HEADERS


class AsyncChatCalls(AsyncDriver):
    """The calls to servers that have OpenAI's interface."""

    async def chat(
        self,
        model: str,
        messages: Sequence[Message],
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        idempotent: bool = False,
        headers: Mapping[str, str] = NO_HEADERS,
        path: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> ChatAnswer:
        """Send a chat request to a server that has OpenAI's interface, and return the whole answer.

        Parameters
        ----------
        model:
            The name of the model.
        messages:
            The conversation: ``[{"role": "user", "content": "..."}]``.
        timeout, idempotency_key, idempotent, headers:
            See ``call``.
        path:
            The path of the request, if it is not ``v1/chat/completions``. ``v1`` is left out if the client's URL has a
            version in its path.
        extra_body:
            Fields of the body whose names are taken by the parameters above.
        parameters:
            All other fields of the body: ``temperature``, ``max_tokens``, ``tools``, ``response_format``, and those of
            the server's own.

        Raises
        ------
        ClientError
            If there is no answer, or it is an error. ``InvalidAnswer`` is one without content, or with a tool call that
            is not complete.
        TypeError
            If the messages are not a list of messages, or the body cannot be written as JSON.
        ValueError
            If the model or the messages are empty, or as for ``call``.
        """
        outgoing = self._chat_request(
            chat_body(model, messages, parameters, extra_body),
            path,
            timeout=timeout,
            idempotency_key=idempotency_key,
            idempotent=idempotent,
            headers=headers,
        )
        return await self._answered(outgoing, answer_of)

    @contextlib.asynccontextmanager
    async def chat_stream(
        self,
        model: str,
        messages: Sequence[Message],
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        idempotent: bool = False,
        headers: Mapping[str, str] = NO_HEADERS,
        path: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> AsyncIterator[AsyncChatStream]:
        """Send a chat request; the block has the events of the answer. The parameters and errors are those of ``chat``.

        Like any stream it is not tried again once it has begun. An error in the loop has the answer so far in
        ``partial``: ``TruncatedStream`` if it breaks off, ``StreamFailed`` if the server says why.
        """
        outgoing = self._chat_request(
            {**chat_body(model, messages, parameters, extra_body), "stream": True},
            path,
            timeout=timeout,
            idempotency_key=idempotency_key,
            idempotent=idempotent,
            headers={"accept": "text/event-stream, application/json", "accept-encoding": "identity", **headers},
        )
        async with self._streamed(outgoing) as (response, arrived, attempts, watch):
            state = ChatStreamState(arrived, attempts, watch, outgoing.spec, on_error=outgoing.trace.failed)
            stream = AsyncChatStream(response, state)
            try:
                yield stream
            finally:
                await stream.aclose()
