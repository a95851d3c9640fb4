"""The client of OpenAI, in the versions that the environments have: synchronous and asynchronous."""

from __future__ import annotations

import base64
import struct
from typing import Any

import openai
from openai import AsyncOpenAI, OpenAI
from program import BASE_URL, KEY, expect, raised_by, run
from pydantic import BaseModel

MESSAGES: list[Any] = [{"role": "user", "content": "Hi"}]
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    for name in ("weather", "clock")
]
client = OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)


class Person(BaseModel):
    name: str
    age: int


def new_async_client() -> AsyncOpenAI:
    return AsyncOpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)


def check_chat() -> None:
    answer = client.chat.completions.create(model="tiny", messages=MESSAGES)
    expect(answer.choices[0].message.content, "Hello, world!")
    expect(answer.choices[0].finish_reason, "stop")
    expect(answer.usage.total_tokens, 9)
    expect(answer.model, "tiny")
    if not answer._request_id:
        raise AssertionError("no request id")


async def check_chat_async() -> None:
    async with new_async_client() as async_client:
        answer = await async_client.chat.completions.create(model="tiny", messages=MESSAGES)
        expect(answer.choices[0].message.content, "Hello, world!")


def check_chat_stream() -> None:
    chunks = list(client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True))
    expect("".join(chunk.choices[0].delta.content or "" for chunk in chunks), "Hello, world!")
    expect(chunks[-1].choices[0].finish_reason, "stop")
    expect({chunk.id for chunk in chunks}, {chunks[0].id})


async def check_chat_stream_async() -> None:
    async with new_async_client() as async_client:
        stream = await async_client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True)
        texts = [chunk.choices[0].delta.content or "" async for chunk in stream]
        expect("".join(texts), "Hello, world!")


def check_usage_of_a_stream() -> None:
    options: Any = {"include_usage": True}
    chunks = list(client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True, stream_options=options))
    expect(chunks[-1].choices, [])
    expect(chunks[-1].usage.total_tokens, 9)
    expect([chunk.usage for chunk in chunks[:-1]], [None] * (len(chunks) - 1))


def check_stream_helper() -> None:
    with client.chat.completions.stream(model="tiny", messages=MESSAGES) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    expect("content.delta" in kinds and "content.done" in kinds, True)
    expect(final.choices[0].message.content, "Hello, world!")


def check_stream_helper_with_tools() -> None:
    with client.chat.completions.stream(model="tiny", messages=MESSAGES, tools=TOOLS) as stream:
        for _ in stream:
            pass
        calls = stream.get_final_completion().choices[0].message.tool_calls
    expect([call.function.name for call in calls], ["weather", "clock"])
    expect(calls[0].function.arguments, '{"city": "Bern"}')


def check_parse() -> None:
    answer = client.chat.completions.parse(model="tiny", messages=MESSAGES, response_format=Person)
    expect(answer.choices[0].message.parsed, Person(name="Ada", age=36))


def check_tools() -> None:
    answer = client.chat.completions.create(model="tiny", messages=MESSAGES, tools=TOOLS)
    expect(answer.choices[0].finish_reason, "tool_calls")
    expect(answer.choices[0].message.content, None)
    calls = answer.choices[0].message.tool_calls
    expect([call.function.name for call in calls], ["weather", "clock"])
    results: list[Any] = [
        *MESSAGES,
        answer.choices[0].message.model_dump(exclude_none=True),
        *({"role": "tool", "tool_call_id": call.id, "content": "fine"} for call in calls),
    ]
    final = client.chat.completions.create(model="tiny", messages=results, tools=TOOLS)
    expect(final.choices[0].message.content, "Hello, world!")


def check_a_named_tool() -> None:
    choice: Any = {"type": "function", "function": {"name": "clock"}}
    answer = client.chat.completions.create(model="tiny", messages=MESSAGES, tools=TOOLS, tool_choice=choice)
    expect([call.function.name for call in answer.choices[0].message.tool_calls], ["clock"])


def check_two_choices() -> None:
    answer = client.chat.completions.create(model="tiny", messages=MESSAGES, n=2)
    expect([choice.index for choice in answer.choices], [0, 1])
    expect({choice.message.content for choice in answer.choices}, {"Hello, world!"})
    texts = ["", ""]
    finished = []
    for chunk in client.chat.completions.create(model="tiny", messages=MESSAGES, n=2, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            finished += [choice.index] if choice.finish_reason else []
    expect((texts, sorted(finished)), (["Hello, world!"] * 2, [0, 1]))


def check_logprobs() -> None:
    answer = client.chat.completions.create(model="tiny", messages=MESSAGES, logprobs=True, top_logprobs=1)
    content = answer.choices[0].logprobs.content
    expect([each.token for each in content], ["Hello", ", ", "world", "!"])
    expect(content[0].top_logprobs[0].logprob, -0.5)


def check_stop_and_length() -> None:
    stopped = client.chat.completions.create(model="tiny", messages=MESSAGES, stop=["wor", "zz"])
    expect((stopped.choices[0].message.content, stopped.choices[0].finish_reason), ("Hello, ", "stop"))
    cut = client.chat.completions.create(model="tiny", messages=MESSAGES, max_completion_tokens=2)
    expect((cut.choices[0].message.content, cut.choices[0].finish_reason), ("Hello, ", "length"))


def check_completions() -> None:
    answer = client.completions.create(model="tiny", prompt=["Hi", "Ho"])
    expect([choice.text for choice in answer.choices], ["Hello, world!"] * 2)
    chunks = list(client.completions.create(model="tiny", prompt="Hi", stream=True))
    expect("".join(chunk.choices[0].text for chunk in chunks if chunk.choices), "Hello, world!")
    expect(chunks[-1].choices[0].finish_reason, "stop")


def check_responses() -> None:
    answer = client.responses.create(model="tiny", instructions="Be brief.", input="Hi")
    expect((answer.output_text, answer.status, answer.usage.total_tokens), ("Hello, world!", "completed", 9))
    events = list(client.responses.create(model="tiny", input="Hi", stream=True))
    expect((events[0].type, events[-1].type), ("response.created", "response.completed"))
    expect("".join(event.delta for event in events if event.type == "response.output_text.delta"), "Hello, world!")
    with client.responses.stream(model="tiny", input="Hi") as stream:
        expect(stream.get_final_response().output_text, "Hello, world!")
    expect(
        client.responses.parse(model="tiny", input="Hi", text_format=Person).output_parsed, Person(name="Ada", age=36)
    )


async def check_responses_async() -> None:
    async with new_async_client() as async_client:
        answer = await async_client.responses.create(model="tiny", input="Hi")
        expect(answer.output_text, "Hello, world!")


def check_embeddings() -> None:
    by_default = client.embeddings.create(model="tiny-vectors", input=["a", "b"])
    as_floats = client.embeddings.create(model="tiny-vectors", input=["a", "b"], encoding_format="float")
    encoded: Any = client.embeddings.create(model="tiny-vectors", input="a", encoding_format="base64")
    first = struct.unpack("<4f", base64.b64decode(encoded.data[0].embedding))
    for place in range(2):
        pairs = zip(by_default.data[place].embedding, as_floats.data[place].embedding, strict=True)
        expect(max(abs(one - other) for one, other in pairs) < 1e-6, True)
    pairs = zip(first, as_floats.data[0].embedding, strict=True)
    expect(max(abs(one - other) for one, other in pairs) < 1e-6, True)
    expect([item.index for item in as_floats.data], [0, 1])


def check_models() -> None:
    expect({model.id for model in client.models.list()}, {"tiny", "tiny-vectors"})
    expect(client.models.retrieve("tiny").object, "model")
    raised_by(lambda: client.models.retrieve("none"), openai.NotFoundError)


def check_errors() -> None:
    unknown = raised_by(lambda: client.chat.completions.create(model="none", messages=MESSAGES), openai.NotFoundError)
    expect(unknown.code, "model_not_found")
    messages: Any = "Hi"
    bad = raised_by(lambda: client.chat.completions.create(model="tiny", messages=messages), openai.BadRequestError)
    expect((bad.type, bad.param), ("invalid_request_error", "messages"))
    failing: Any = [{"role": "user", "content": "fail"}]
    raised_by(lambda: client.chat.completions.create(model="tiny", messages=failing), openai.InternalServerError)
    raised_by(
        lambda: list(client.chat.completions.create(model="tiny", messages=failing, stream=True)), openai.APIError
    )


def check_leaving_early() -> None:
    slowly: Any = [{"role": "user", "content": "slowly"}]
    for _ in range(20):
        with client.chat.completions.create(model="tiny", messages=slowly, stream=True) as stream:
            next(iter(stream))
    expect(client.chat.completions.create(model="tiny", messages=MESSAGES).choices[0].finish_reason, "stop")


if __name__ == "__main__":
    run(dict(globals()))
