"""Models that OpenAI's clients can use. The last message decides how they answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator

from penstock import App, Batching, Timeouts
from penstock_chat import ChatRequest, Finish, Logprob, Reasoning, Text, ToolCall, Usage
from penstock_openai import Chat, CompletionRequest, Completions, Embedding, Embeddings

app = App(__name__)

ABLE = Chat(
    model="able",
    aliases=("gpt-4o", "org/able"),
    is_default=True,
    tools=True,
    inputs=("text", "image", "audio", "file"),
    structured="validate",
    logprobs=True,
)


@app.endpoint("/able", workers=1, dialects=[ABLE], idempotent=False, timeouts=Timeouts(execution=20))
def able(request: ChatRequest) -> Iterator[str | Text | Reasoning | ToolCall | Usage | Finish]:
    asked = request.messages[-1].text
    yield Usage(len(request.messages), 2)
    if request.tools and request.tool_choice != "none" and request.messages[-1].role != "tool":
        yield ToolCall("call_1", request.forced_tool or request.tools[0].name)
        yield ToolCall(arguments='{"city": ')
        yield ToolCall(arguments='"Paris"}')
    elif asked == "logprobs":
        yield Text("Hi", [Logprob("Hi", -0.1, [Logprob("Hi", -0.1), Logprob("Ho", -2.0)])])
        yield Text("!", [Logprob("!", -0.5)])
    elif asked == "describe":
        yield json.dumps([type(part).__name__ for part in request.messages[0].parts])
    elif asked == "length":
        yield "cut"
        yield Finish("length")
    elif asked == "think":
        yield Reasoning("hmm")
        yield "so"
    elif asked == "fail":
        yield "first"
        raise RuntimeError("secret")
    elif asked == "wait":
        for _ in range(200):
            yield "tick"
            time.sleep(0.05)
    elif asked.startswith("say "):
        yield from asked.removeprefix("say ")
    else:
        yield "Hel"
        yield "lo"


@app.endpoint("/plain", workers=1, runtime="asyncio", concurrency=4, dialects=[Chat(model="plain")])
async def plain(request: ChatRequest) -> AsyncIterator[str]:
    for word in request.messages[-1].text.split():
        await asyncio.sleep(0)
        yield f"{word} "


@app.endpoint("/whole", dialects=[Chat(model="whole", tools=True), Completions(model="whole")])
def whole(request: ChatRequest) -> list[str | ToolCall | Usage]:
    seed = "" if request.seed is None else f" {request.seed}"
    return [f"{request.messages[-1].text}{seed}", Usage(1, 1)]


@app.endpoint("/complete", dialects=[Completions(model="davinci", tokens=True, logprobs=True, is_default=True)])
def complete(request: CompletionRequest) -> Iterator[str | Text | Usage]:
    yield Usage(1, 2)
    if request.logprobs:
        yield Text(" a", [Logprob(" a", -1.0, [Logprob(" a", -1.0)])])
    elif isinstance(request.prompt, list):
        yield str(sum(request.prompt))
    else:
        yield f" after {request.prompt}"
        yield request.suffix or ""


@app.endpoint(
    "/embed", batching=Batching(max_size=64, max_wait=0.002), dialects=[Embeddings(model="embed", is_default=True)]
)
def embed(text: list[str]) -> list[list[float]]:
    return [[len(each), 0.5, -1.0] for each in text]


@app.endpoint("/embed-tokens", dialects=[Embeddings(model="embed-tokens")])
def embed_tokens(input: str | list[int], dimensions: int = 2) -> Embedding:
    if input == "fail":
        raise RuntimeError("secret")
    return Embedding([float(len(input))] * dimensions, tokens=len(input))
