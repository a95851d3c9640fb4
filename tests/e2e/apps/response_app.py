"""Models behind the Responses API. The last message selects the answer."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator

from penstock import App, Timeouts
from penstock_chat import ChatRequest, Finish, Reasoning, Text, ToolCall, Usage
from penstock_openai import Chat, Responses

app = App(__name__)

ABLE = Responses(
    model="able",
    aliases=("gpt-4o",),
    is_default=True,
    tools=True,
    inputs=("text", "image"),
    structured="validate",
)


@app.endpoint("/able", workers=1, dialects=[Chat(model="able"), ABLE], timeouts=Timeouts(execution=20))
def able(request: ChatRequest) -> Iterator[str | Text | Reasoning | ToolCall | Usage | Finish]:
    asked = request.messages[-1].text
    if asked == "refuse to start":
        raise RuntimeError("secret")
    yield Usage(len(request.messages), 2, reasoning_tokens=1)
    if request.tools and request.messages[-1].role != "tool":
        yield ToolCall("call_1", request.forced_tool or request.tools[0].name)
        yield ToolCall(arguments='{"city": ')
        yield ToolCall(arguments='"Paris"}')
    elif asked == "describe":
        yield json.dumps([[message.role, message.text] for message in request.messages])
    elif asked == "length":
        yield "cut"
        yield Finish("length")
    elif asked == "think":
        yield Reasoning("hmm")
        yield "so"
    elif asked == "fail":
        yield "first"
        time.sleep(0.1)
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


@app.endpoint("/plain", workers=1, runtime="asyncio", concurrency=4, dialects=[Responses(model="plain")])
async def plain(request: ChatRequest) -> AsyncIterator[str]:
    for word in request.messages[-1].text.split():
        yield f"{word} "


@app.endpoint("/whole", dialects=[Responses(model="whole")])
def whole(request: ChatRequest) -> list[str | Usage]:
    return [request.messages[-1].text, Usage(1, 1)]
