"""LiteLLM, with its providers ``openai`` and ``hosted_vllm``."""

from __future__ import annotations

from typing import Any

import litellm
from program import BASE_URL, KEY, expect, raised_by, run

MESSAGES: list[Any] = [{"role": "user", "content": "Hi"}]
WHERE: dict[str, Any] = {"api_base": BASE_URL, "api_key": KEY, "max_retries": 0}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
litellm.suppress_debug_info = True


def check_completion() -> None:
    answer = litellm.completion(model="openai/tiny", messages=MESSAGES, **WHERE)
    expect((answer.choices[0].message.content, answer.usage.total_tokens), ("Hello, world!", 9))


def check_without_a_key() -> None:
    answer = litellm.completion(model="hosted_vllm/tiny", messages=MESSAGES, api_base=BASE_URL)
    expect(answer.choices[0].message.content, "Hello, world!")


def check_stream() -> None:
    stream = litellm.completion(model="openai/tiny", messages=MESSAGES, stream=True, **WHERE)
    expect("".join(chunk.choices[0].delta.content or "" for chunk in stream), "Hello, world!")


async def check_async() -> None:
    stream = await litellm.acompletion(model="openai/tiny", messages=MESSAGES, stream=True, **WHERE)
    expect("".join([chunk.choices[0].delta.content or "" async for chunk in stream]), "Hello, world!")


def check_tools() -> None:
    answer = litellm.completion(model="openai/tiny", messages=MESSAGES, tools=[TOOL], **WHERE)
    [call] = answer.choices[0].message.tool_calls
    expect((call.function.name, call.function.arguments), ("weather", '{"city": "Bern"}'))


def check_streamed_tools() -> None:
    chunks = list(litellm.completion(model="openai/tiny", messages=MESSAGES, tools=[TOOL], stream=True, **WHERE))
    answer = litellm.stream_chunk_builder(chunks)
    [call] = answer.choices[0].message.tool_calls
    expect((call.function.name, call.function.arguments), ("weather", '{"city": "Bern"}'))


def check_embedding() -> None:
    answer = litellm.embedding(model="openai/tiny-vectors", input=["a", "b"], **WHERE)
    expect([len(item["embedding"]) for item in answer.data], [4, 4])


def check_text_completion() -> None:
    answer = litellm.text_completion(model="text-completion-openai/tiny", prompt="Hi", **WHERE)
    expect(answer.choices[0].text, "Hello, world!")


def check_responses() -> None:
    answer = litellm.responses(model="openai/tiny", input="Hi", **WHERE)
    expect(answer.output[0].content[0].text, "Hello, world!")


def check_errors() -> None:
    raised_by(lambda: litellm.completion(model="openai/none", messages=MESSAGES, **WHERE), litellm.NotFoundError)
    failing: Any = [{"role": "user", "content": "fail"}]
    raised_by(lambda: litellm.completion(model="openai/tiny", messages=failing, **WHERE), litellm.InternalServerError)


if __name__ == "__main__":
    run(dict(globals()))
