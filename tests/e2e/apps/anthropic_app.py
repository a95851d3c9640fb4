"""Chat handlers for clients of Anthropic's protocol: each model does one thing, and one says what it was asked."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec

from penstock import App
from penstock_anthropic import Messages
from penstock_chat import ChatRequest, Finish, Piece, Reasoning, ToolCall, Usage
from penstock_openai import Chat

app = App(__name__)


@app.endpoint("/chat", dialects=[Chat(model="words"), Messages(model="words", aliases=("claude-words",))])
def words(request: ChatRequest) -> Iterator[Piece]:
    """Repeat the words of the last message, in pieces of three characters, up to ``max_tokens`` of them."""
    text = request.messages[-1].text
    pieces = [text[place : place + 3] for place in range(0, len(text), 3)]
    yield Usage(prompt_tokens=12, cached_tokens=4)
    yield from pieces[: request.max_tokens]
    yield Usage(12, min(len(pieces), request.max_tokens or 0), cached_tokens=4, reasoning_tokens=0)
    if len(pieces) > (request.max_tokens or 0):
        yield Finish("length")


@app.endpoint("/agent", dialects=[Messages(model="agent", tools=True, count_tokens="count")])
def agent(request: ChatRequest) -> Iterator[Piece]:
    """Think, say something, and call each tool for each city of the message; add up the results of such calls."""
    results = [message.text for message in request.messages if message.role == "tool"]
    if results:
        yield f"The sum is {sum(map(int, results))}."
        return
    yield Reasoning("Which ")
    yield Reasoning("city?")
    yield "I look "
    yield "it up."
    for place, city in enumerate(request.messages[-1].text.split()):
        yield ToolCall(name=request.tools[0].name, index=place)
        yield ToolCall(arguments='{"city": ', index=place)
        yield ToolCall(arguments=f'"{city}"}}', index=place)


@app.endpoint("/turns", dialects=[Messages(model="turns", tools=True)])
def turns(request: ChatRequest) -> Iterator[Piece]:
    """Call two tools whose arguments take turns, and one without any."""
    yield ToolCall("first", "add", index=0)
    yield ToolCall("second", "add", index=1)
    for arguments in ('{"a"', ": 1", "}"):
        yield ToolCall(arguments=arguments, index=0)
        yield ToolCall(arguments=arguments, index=1)
    yield ToolCall("third", "now", index=2)


MIRROR = Messages(model="mirror", tools=True, inputs=("text", "image", "file"), structured="handler")


@app.endpoint("/mirror", dialects=[MIRROR])
def mirror(request: ChatRequest) -> str:
    """Return what the request says, as JSON."""
    return msgspec.json.encode(request).decode()


@app.endpoint("/form", dialects=[Messages(model="form", structured="validate")])
def form(request: ChatRequest) -> str:
    """Return the last message."""
    return request.messages[-1].text


@app.endpoint("/count")
def count(request: ChatRequest) -> int:
    """Count the words."""
    return sum(len(message.text.split()) for message in request.messages)


@app.endpoint("/slow", workers=1, dialects=[Messages(model="slow")])
def slow(_request: ChatRequest) -> Iterator[str]:
    """Yield a number every 50 ms."""
    for number in range(1000):
        yield f"{number} "
        time.sleep(0.05)


@app.endpoint("/fault", dialects=[Messages(model="fault")])
def fault(request: ChatRequest) -> Iterator[Piece]:
    """Fail as the message says, after one piece."""
    yield "One. "
    kind = request.messages[-1].text
    if kind == "refuse":
        yield Finish("content_filter")
        return
    raise RuntimeError("a secret")
