"""OpenAI's agents, which speak the Responses API, or chat completions with another class of models."""

from __future__ import annotations

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from program import BASE_URL, KEY, expect, run
from pydantic import BaseModel

set_tracing_disabled(disabled=True)


class Person(BaseModel):
    """A person."""

    name: str
    age: int


@function_tool
def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"fine in {city}"


def new_agent(kind: type, **options: object) -> Agent:
    client = AsyncOpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)
    return Agent(name="tester", instructions="Be brief.", model=kind(model="tiny", openai_client=client), **options)


async def check_responses() -> None:
    result = await Runner.run(new_agent(OpenAIResponsesModel), "Hi")
    expect(result.final_output, "Hello, world!")


async def check_streamed_responses() -> None:
    result = Runner.run_streamed(new_agent(OpenAIResponsesModel), "Hi")
    kinds = {event.type async for event in result.stream_events()}
    expect((result.final_output, "raw_response_event" in kinds), ("Hello, world!", True))


async def check_responses_with_a_tool() -> None:
    result = await Runner.run(new_agent(OpenAIResponsesModel, tools=[weather]), "What is the weather like in Bern?")
    expect(result.final_output, "Hello, world!")
    expect([type(item).__name__ for item in result.new_items][:2], ["ToolCallItem", "ToolCallOutputItem"])


async def check_structured_responses() -> None:
    result = await Runner.run(new_agent(OpenAIResponsesModel, output_type=Person), "Hi")
    expect(result.final_output, Person(name="Ada", age=36))


async def check_chat_completions() -> None:
    result = await Runner.run(new_agent(OpenAIChatCompletionsModel, tools=[weather]), "Hi")
    expect(result.final_output, "Hello, world!")


if __name__ == "__main__":
    run(dict(globals()))
