"""Chat with each driver, and the answers of a server in the manner of OpenAI."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

from penstock_client import AsyncClient, ChatAnswer, ChatEvent, Client, ClientError
from tests.client.scripted_server import ScriptedServer, Step, answer, chunked

HELLO: Sequence[Mapping[str, Any]] = ({"role": "user", "content": "Hello"},)
SSE = "text/event-stream"
STOP = {"delta": {}, "finish_reason": "stop"}
DONE = b"data: [DONE]\n\n"


@dataclass
class Chatted:
    """The outcome of one chat: the events of a stream, the answer, and the error."""

    events: list[ChatEvent] = field(default_factory=list)
    answer: ChatAnswer | None = None
    error: Exception | None = None

    @property
    def partial(self) -> Any:
        assert isinstance(self.error, ClientError)
        return self.error.partial


def chat(
    driver: str, url: str, *, is_stream: bool, settings: Mapping[str, Any] | None = None, **request: Any
) -> Chatted:
    """Ask once."""
    request = {"model": "m", "messages": HELLO, **request}
    if driver != "sync":
        return anyio.run(_chat_async, url, is_stream, settings or {}, request, backend=driver)
    chatted = Chatted()
    with Client(url, **(settings or {})) as client:
        try:
            if is_stream:
                with client.chat_stream(**request) as stream:
                    for event in stream:
                        chatted.events.append(event)
                    chatted.answer = stream.answer
            else:
                chatted.answer = client.chat(**request)
        except Exception as error:
            chatted.error = error
    return chatted


async def _chat_async(url: str, is_stream: bool, settings: Mapping[str, Any], request: Mapping[str, Any]) -> Chatted:
    chatted = Chatted()
    async with AsyncClient(url, **settings) as client:
        try:
            if is_stream:
                async with client.chat_stream(**request) as stream:
                    async for event in stream:
                        chatted.events.append(event)
                    chatted.answer = stream.answer
            else:
                chatted.answer = await client.chat(**request)
        except Exception as error:
            chatted.error = error
    return chatted


def streamed(driver: str, *script: Step, **request: Any) -> Chatted:
    """Ask a server for a stream, which it answers by the script."""
    with ScriptedServer([script]) as server:
        return chat(driver, server.url, is_stream=True, **request)


def asked(driver: str, *script: Step, **request: Any) -> Chatted:
    """Ask a server for a whole answer."""
    with ScriptedServer([script]) as server:
        return chat(driver, server.url, is_stream=False, **request)


# ---- what a server writes


def whole(*choices: Mapping[str, Any], **fields: Any) -> bytes:
    """Return a response with a whole answer."""
    return answer(whole_body(*choices, **fields))


def whole_body(*choices: Mapping[str, Any], **fields: Any) -> bytes:
    body = {"id": "chatcmpl-1", "object": "chat.completion", "model": "m-1", "choices": choices, **fields}
    return json.dumps(body, ensure_ascii=False).encode()


def said(content: Any = "Hi", finish_reason: str | None = "stop", **message: Any) -> dict[str, Any]:
    """Return the choice of a whole answer."""
    return {
        "index": 0,
        "message": {"role": "assistant", "content": content, **message},
        "finish_reason": finish_reason,
    }


def chunk(*choices: Mapping[str, Any], **fields: Any) -> bytes:
    """Return an event with a chunk."""
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m-1", "choices": choices, **fields}
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def piece(content: Any = None, finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    """Return the choice of a chunk."""
    return {
        "index": 0,
        "delta": {**({} if content is None else {"content": content}), **delta},
        "finish_reason": finish_reason,
    }


def call_piece(arguments: Any = None, *, place: int | None = 0, id: str | None = None, name: str | None = None) -> Any:
    """Return the choice of a chunk with a piece of a tool call."""
    function = {"name": name, "arguments": arguments}
    call = {"index": place, "id": id, "type": "function"}
    present = {key: value for key, value in call.items() if value is not None}
    return piece(tool_calls=[{**present, "function": {k: v for k, v in function.items() if v is not None}}])


def sse(*events: bytes, end: bool = True) -> bytes:
    """Return a response with events."""
    return chunked(*events, media_type=SSE, end=end)
