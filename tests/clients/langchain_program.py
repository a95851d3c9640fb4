"""LangChain's ``ChatOpenAI``, ``OpenAI`` and ``OpenAIEmbeddings``."""

from __future__ import annotations

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from program import BASE_URL, KEY, expect, run
from pydantic import BaseModel

chat = ChatOpenAI(model="tiny", base_url=BASE_URL, api_key=KEY, max_retries=0)


class Person(BaseModel):
    """A person."""

    name: str
    age: int


@tool
def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"fine in {city}"


def check_invoke() -> None:
    answer = chat.invoke("Hi")
    expect(answer.content, "Hello, world!")
    expect(answer.usage_metadata["total_tokens"], 9)


def check_stream() -> None:
    expect("".join(chunk.content for chunk in chat.stream("Hi")), "Hello, world!")


def check_usage_of_a_stream() -> None:
    whole = None
    for chunk in ChatOpenAI(model="tiny", base_url=BASE_URL, api_key=KEY, stream_usage=True).stream("Hi"):
        whole = chunk if whole is None else whole + chunk
    expect((whole.content, whole.usage_metadata["total_tokens"]), ("Hello, world!", 9))


async def check_async() -> None:
    expect((await chat.ainvoke("Hi")).content, "Hello, world!")
    expect("".join([chunk.content async for chunk in chat.astream("Hi")]), "Hello, world!")


def check_tools() -> None:
    bound = chat.bind_tools([weather])
    asked = [HumanMessage("What is the weather like in Bern?")]
    answer = bound.invoke(asked)
    expect([(call["name"], call["args"]) for call in answer.tool_calls], [("weather", {"city": "Bern"})])
    results = [ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"]) for call in answer.tool_calls]
    expect(bound.invoke([*asked, answer, *results]).content, "Hello, world!")


def check_streamed_tools() -> None:
    whole = None
    for chunk in chat.bind_tools([weather], tool_choice="any").stream("Hi"):
        whole = chunk if whole is None else whole + chunk
    expect([(call["name"], call["args"]) for call in whole.tool_calls], [("weather", {"city": "Bern"})])


def check_structured_by_schema() -> None:
    expect(chat.with_structured_output(Person, method="json_schema").invoke("Hi"), Person(name="Ada", age=36))


def check_structured_by_tool() -> None:
    expect(chat.with_structured_output(Person, method="function_calling").invoke("Hi"), Person(name="Ada", age=36))


def check_structured_by_json_mode() -> None:
    expect(chat.with_structured_output(Person, method="json_mode").invoke("JSON"), Person(name="Ada", age=36))


def check_completions() -> None:
    model = OpenAI(model="tiny", base_url=BASE_URL, api_key=KEY, max_retries=0)
    expect(model.invoke("Hi"), "Hello, world!")
    expect("".join(model.stream("Hi")), "Hello, world!")


def check_responses() -> None:
    model = ChatOpenAI(model="tiny", base_url=BASE_URL, api_key=KEY, use_responses_api=True)
    expect(model.invoke("Hi").text, "Hello, world!")
    expect("".join(chunk.text for chunk in model.stream("Hi")), "Hello, world!")


def check_embeddings() -> None:
    embeddings = OpenAIEmbeddings(
        model="tiny-vectors", base_url=BASE_URL, api_key=KEY, check_embedding_ctx_length=False
    )
    expect([len(vector) for vector in embeddings.embed_documents(["a", "b"])], [4, 4])
    expect(len(embeddings.embed_query("a")), 4)


if __name__ == "__main__":
    run(dict(globals()))
