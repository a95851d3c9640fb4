"""The models that the clients of other projects talk to: each does the same for the same request."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator

from penstock import App, Batching, Context, Timeouts
from penstock_anthropic import Messages
from penstock_chat import ChatRequest, Finish, Logprob, Reasoning, Text, ToolCall, Usage
from penstock_mcp import Tool
from penstock_openai import Chat, Completions, Embeddings, Responses

app = App(__name__)
PIECES = ("Hello", ", ", "world", "!")
PERSON = {"name": "Ada", "age": 36}


@app.endpoint(
    "/talk",
    concurrency=8,
    dialects=[
        Chat(model="tiny", tools=True, structured="handler", logprobs=True, inputs=("text", "image")),
        Completions(model="tiny", logprobs=True),
        Responses(model="tiny", tools=True, structured="handler"),
        Messages(model="tiny", tools=True),
    ],
)
def talk(request: ChatRequest, context: Context) -> Iterator[str | Text | Reasoning | ToolCall | Usage | Finish]:
    """Answer with a call of each tool, with JSON, or with a greeting; ``slowly`` and ``fail`` do what they say."""
    last = request.messages[-1]
    if "fail" in last.text:
        raise RuntimeError("the model has failed")
    if request.tools and request.tool_choice != "none" and last.role != "tool":
        yield from _calls(request)
    elif request.response_format.type != "text":
        yield json.dumps(PERSON)
    elif "slowly" in last.text:
        for number in range(1000):
            context.check()
            yield f"{number} "
            time.sleep(0.05)
    else:
        yield from _greeting(request)
    yield Usage(prompt_tokens=5, completion_tokens=4)


def _greeting(request: ChatRequest) -> Iterator[str | Text | Reasoning | Finish]:
    if request.reasoning_effort is not None:
        yield Reasoning("A greeting is due.")
    for piece in PIECES[: request.max_tokens]:
        yield Text(piece, [Logprob(piece, -0.5, [Logprob(piece, -0.5)])]) if request.logprobs else piece
    if request.max_tokens is not None and request.max_tokens < len(PIECES):
        yield Finish("length")


def _calls(request: ChatRequest) -> Iterator[ToolCall]:
    wanted = [tool for tool in request.tools if request.forced_tool in (None, tool.name)]
    for tool in wanted if request.parallel_tool_calls else wanted[:1]:
        fields = tool.parameters.get("properties", {})
        values = {"name": "Ada", "age": 36, "city": "Bern", "answer": "Hello, world!"}
        arguments = json.dumps({name: values.get(name, "x") for name in fields})
        yield ToolCall(name=tool.name, arguments=arguments[:5])
        yield ToolCall(arguments=arguments[5:])


@app.endpoint("/vectors", batching=Batching(max_size=16), dialects=[Embeddings(model="tiny-vectors")])
def vectors(text: list[str]) -> list[list[float]]:
    """Return a vector of four numbers for each text."""
    return [[byte / 255 for byte in hashlib.sha256(each.encode()).digest()[:4]] for each in text]


# ---- tools

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")


@app.endpoint("/add", dialects=[Tool(description="Adds two numbers", read_only=True)])
def add(a: float, b: float = 1.0) -> float:
    """Return the sum of two numbers."""
    return a + b


@app.endpoint("/person", dialects=[Tool(title="A person")])
def person(name: str) -> dict[str, str]:
    """Return a person of this name."""
    return {"name": name}


@app.endpoint("/spell", dialects=[Tool()])
def spell(word: str) -> Iterator[str]:
    """Yield the letters of a word."""
    yield from word


@app.endpoint("/picture", media_type="image/png", dialects=[Tool()])
def picture() -> bytes:
    """Return a picture of one pixel."""
    return PNG


@app.endpoint("/climb", workers=1, dialects=[Tool()])
def climb(steps: int, context: Context) -> str:
    """Climb some steps, and report each."""
    for step in range(1, steps + 1):
        context.progress(step, steps, f"step {step}")
        time.sleep(0.02)
    return "at the top"


@app.endpoint("/fail", dialects=[Tool(name="always-fails")])
def fail() -> int:
    """Fail."""
    raise RuntimeError("the tool has failed")


@app.endpoint("/late", workers=1, timeouts=Timeouts(execution=0.1), dialects=[Tool()])
def late(context: Context) -> None:
    """Take longer than is allowed."""
    while not context.cancelled:
        time.sleep(0.01)


@app.endpoint("/wait", workers=1, dialects=[Tool()])
def wait(context: Context) -> None:
    """Work until no caller waits any more."""
    while not context.cancelled:
        time.sleep(0.01)
