"""Models whose responses may be background ones. The last message selects the answer."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import trio

from penstock import App, Jobs, Timeouts
from penstock_chat import ChatRequest, Finish, ToolCall, Usage
from penstock_openai import Responses

app = App(__name__)


def note(word: str) -> None:
    """Add a line to the ledger of the test."""
    with Path(os.environ["LEDGER"]).open("ab", buffering=0) as ledger:
        ledger.write(f"{word}\n".encode())


@app.endpoint(
    "/able",
    concurrency=4,
    timeouts=Timeouts(grace=1.0),
    jobs=Jobs(lease=2),
    dialects=[Responses(model="able", tools=True)],
)
async def able(request: ChatRequest) -> AsyncIterator[str | ToolCall | Usage | Finish]:
    asked = request.messages[-1].text
    note(asked)
    if asked == "fail":
        raise RuntimeError("secret")
    if asked == "wait":
        try:
            await trio.sleep(60)
        except trio.Cancelled:
            note("interrupted")
            raise
    if request.tools:
        yield ToolCall(name=request.tools[0].name, arguments='{"city": "Paris"}')
    yield "Hel"
    yield "lo"
    yield Usage(2, 2)
    if asked == "length":
        yield Finish("length")


@app.endpoint("/whole", workers=1, jobs=Jobs(), dialects=[Responses(model="whole")])
def whole(request: ChatRequest) -> str:
    return request.messages[-1].text


@app.endpoint("/direct", dialects=[Responses(model="direct")])
def direct(request: ChatRequest) -> Iterator[str]:
    yield request.messages[-1].text
