"""The client of Anthropic: synchronous and asynchronous."""

from __future__ import annotations

from typing import Any

import anthropic
from anthropic import Anthropic, AsyncAnthropic
from program import KEY, URL, expect, raised_by, run

MESSAGES: list[Any] = [{"role": "user", "content": "Hi"}]
TOOLS: list[Any] = [
    {
        "name": name,
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
    for name in ("weather", "clock")
]
client = Anthropic(base_url=URL, api_key=KEY, max_retries=0)
ASKED: dict[str, Any] = {"model": "tiny", "max_tokens": 100, "messages": MESSAGES}


def check_message() -> None:
    answer = client.messages.create(**ASKED)
    expect((answer.content[0].text, answer.stop_reason), ("Hello, world!", "end_turn"))
    expect((answer.usage.input_tokens, answer.usage.output_tokens), (5, 4))


async def check_message_async() -> None:
    async with AsyncAnthropic(base_url=URL, api_key=KEY, max_retries=0) as async_client:
        answer = await async_client.messages.create(**ASKED)
        expect(answer.content[0].text, "Hello, world!")
        async with async_client.messages.stream(**ASKED) as stream:
            expect("".join([text async for text in stream.text_stream]), "Hello, world!")


def check_stream() -> None:
    kinds = [event.type for event in client.messages.create(**ASKED, stream=True)]
    expect(kinds[:2], ["message_start", "content_block_start"])
    expect(kinds[-3:], ["content_block_stop", "message_delta", "message_stop"])


def check_stream_helper() -> None:
    with client.messages.stream(**ASKED) as stream:
        expect("".join(stream.text_stream), "Hello, world!")
        final = stream.get_final_message()
    expect((final.stop_reason, final.usage.output_tokens), ("end_turn", 4))


def check_tools() -> None:
    answer = client.messages.create(**ASKED, tools=TOOLS)
    calls = [block for block in answer.content if block.type == "tool_use"]
    expect([(call.name, call.input) for call in calls], [("weather", {"city": "Bern"}), ("clock", {"city": "Bern"})])
    expect(answer.stop_reason, "tool_use")
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "fine"} for call in calls]
    talk: Any = [*MESSAGES, {"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
    final = client.messages.create(**{**ASKED, "messages": talk}, tools=TOOLS)
    expect(final.content[0].text, "Hello, world!")


def check_streamed_tools() -> None:
    with client.messages.stream(**ASKED, tools=TOOLS) as stream:
        final = stream.get_final_message()
    calls = [block for block in final.content if block.type == "tool_use"]
    expect([(call.name, call.input) for call in calls], [("weather", {"city": "Bern"}), ("clock", {"city": "Bern"})])


def check_a_forced_tool() -> None:
    choice: Any = {"type": "tool", "name": "clock"}
    answer = client.messages.create(**ASKED, tools=TOOLS, tool_choice=choice)
    expect([block.name for block in answer.content], ["clock"])


def check_stop_and_length() -> None:
    stopped = client.messages.create(**ASKED, stop_sequences=["wor"])
    expect((stopped.content[0].text, stopped.stop_reason, stopped.stop_sequence), ("Hello, ", "stop_sequence", "wor"))
    cut = client.messages.create(**{**ASKED, "max_tokens": 2})
    expect((cut.content[0].text, cut.stop_reason), ("Hello, ", "max_tokens"))


def check_errors() -> None:
    raised_by(lambda: client.messages.create(**{**ASKED, "model": "none"}), anthropic.NotFoundError)
    raised_by(lambda: client.messages.create(**{**ASKED, "messages": "Hi"}), anthropic.BadRequestError)
    failing = {**ASKED, "messages": [{"role": "user", "content": "fail"}]}
    raised_by(lambda: client.messages.create(**failing), anthropic.InternalServerError)


def check_leaving_early() -> None:
    slowly = {**ASKED, "messages": [{"role": "user", "content": "slowly"}]}
    for _ in range(20):
        with client.messages.stream(**slowly) as stream:
            next(iter(stream.text_stream))
    expect(client.messages.create(**ASKED).stop_reason, "end_turn")


if __name__ == "__main__":
    run(dict(globals()))
