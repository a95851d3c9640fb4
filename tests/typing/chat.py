"""A chat as users write it. It is never run: mypy --strict must accept it and infer the asserted types."""

from __future__ import annotations

from typing import Any, assert_never, assert_type

from penstock_client import (
    AsyncClient,
    ChatAnswer,
    ChatEvent,
    Client,
    ContentDelta,
    Done,
    ReasoningDelta,
    ServerSentEvent,
    ToolCall,
    Usage,
    UsageReport,
)


def describe(event: ChatEvent) -> str:
    match event:
        case ContentDelta(text) | ReasoningDelta(text):
            return text
        case ToolCall(name=name):
            return name
        case UsageReport(usage):
            return str(assert_type(usage, Usage).total_tokens)
        case Done(reason):
            return reason or ""
        case _:
            assert_never(event)


def ask(client: Client) -> str:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Hello"}]
    answer = client.chat("m", messages, temperature=0.1, timeout=5)
    assert_type(answer, ChatAnswer)
    assert_type(answer.content, str | None)
    assert_type(answer.tool_calls, tuple[ToolCall, ...])
    messages.append(answer.message)
    with client.chat_stream("m", messages, n=2) as stream:
        for event in stream:
            describe(assert_type(event, ChatEvent))
    assert_type(stream.answer, ChatAnswer)
    with client.stream("write", keep_bytes=None) as events:
        for named in events.events():
            assert_type(named, ServerSentEvent)
    return answer.text()


async def ask_async(client: AsyncClient) -> str:
    answer = await client.chat("m", [{"role": "user", "content": "Hello"}])
    assert_type(answer, ChatAnswer)
    async with client.chat_stream("m", [answer.message]) as stream:
        async for event in stream:
            describe(assert_type(event, ChatEvent))
        return await stream.text()
