"""LlamaIndex's ``OpenAILike``, for chat models and for others."""

from __future__ import annotations

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from program import BASE_URL, KEY, expect, run

chat = OpenAILike(
    model="tiny", api_base=BASE_URL, api_key=KEY, is_chat_model=True, is_function_calling_model=True, max_retries=0
)
MESSAGES = [ChatMessage(role="user", content="Hi")]


def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"fine in {city}"


def check_chat() -> None:
    expect(chat.chat(MESSAGES).message.content, "Hello, world!")


def check_stream() -> None:
    expect("".join(part.delta or "" for part in chat.stream_chat(MESSAGES)), "Hello, world!")


async def check_async() -> None:
    expect((await chat.achat(MESSAGES)).message.content, "Hello, world!")


def check_completion() -> None:
    """By default it takes a model for one that completes text."""
    model = OpenAILike(model="tiny", api_base=BASE_URL, api_key=KEY, max_retries=0)
    expect(model.complete("Hi").text, "Hello, world!")
    expect("".join(part.delta or "" for part in model.stream_complete("Hi")), "Hello, world!")


def check_tools() -> None:
    answer = chat.chat_with_tools([FunctionTool.from_defaults(weather)], user_msg="Hi")
    [call] = chat.get_tool_calls_from_response(answer)
    expect((call.tool_name, call.tool_kwargs), ("weather", {"city": "Bern"}))


if __name__ == "__main__":
    run(dict(globals()))
