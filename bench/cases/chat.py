"""Chats: the stream of one answer in OpenAI's protocol, read as bytes, and by OpenAI's client."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from cases.streams import PATIENCE, read
from contenders import FASTAPI, LITSERVE, PENSTOCK
from harness import Case, Figures, Pace
from http_client import as_json, message
from openai import OpenAI
from results import Column, Result, times
from servers import Server

TOKENS = 10_000
MARK = b"tok"
"""The text of each token."""


def measure(server: Server, _pace: Pace, _: Any) -> Figures:
    """Measure the bytes of one answer as fast as they come, then the client; of Penstock, its own stream as well."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": str(TOKENS)}], "stream": True}
    close = {"Connection": "close"}
    figures: Figures = {}
    requests = {"bytes": server.request(as_json(body), close)}
    if server.contender is PENSTOCK:
        requests["native"] = message("/chat", as_json({"messages": body["messages"]}), close)
    for name, request in requests.items():
        read(server, 1, request, MARK)
        [stream] = read(server, 1, request, MARK)
        if stream.chunks < TOKENS:
            figures["lost"] = f"{stream.chunks:,} of {TOKENS:,} tokens in {PATIENCE:g} s"
        figures[f"{name}_rate"] = stream.chunks / (stream.end or PATIENCE)
    return figures | _client_figures(server)


def _client_figures(server: Server) -> Figures:
    with OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", max_retries=0) as client:
        begin = time.perf_counter()
        stream = client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": str(TOKENS)}], stream=True
        )
        texts = [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
        return {"client_rate": sum(1 for text in texts if text) / (time.perf_counter() - begin)}


CASE = Case(
    name="chat",
    endpoint="v1/chat/completions",
    measure=measure,
    most_rounds=5,
    contenders=(PENSTOCK, LITSERVE, FASTAPI),
)


def section(result: Result, _folder: Path) -> list[str]:
    """Return the part of the page."""
    lines = [
        "## Chats",
        "",
        (
            f"A handler yields {TOKENS:,} tokens as fast as it can, and the server streams them in OpenAI's protocol: "
            "Penstock by `dialects=[Chat(...)]`, LitServe by its `OpenAISpec`, and FastAPI by a generator that writes "
            "the events itself. The bytes are read as fast as they come, and then by the client of OpenAI, whose own "
            "work on each token is then the bound for Penstock."
        ),
        "",
    ]
    lines += result.table([
        Column("tokens/s, as bytes", "bytes_rate"),
        Column("tokens/s, through OpenAI's client", "client_rate"),
        Column("tokens/s of the native stream", "native_rate"),
    ])  # fmt: skip
    lines.append("")
    chat, native = (result.median("penstock", key) for key in ("bytes_rate", "native_rate"))
    if chat and native:
        lines.append(f"Penstock's chat has {chat / native:.2f} times the rate of its own stream of the same tokens.")
    ratios = [(other, result.ratio("bytes_rate", "penstock", other)) for other in ("litserve", "fastapi")]
    found = [f"{times(ratio)} {result.title(other)}'s" for other, ratio in ratios if ratio is not None]
    if found:
        lines.append(f"As bytes, its rate is {' and '.join(found)}.")
    for name in result.names:
        if words := result.words(name, "lost"):
            lines.append(f"{result.title(name)} delivered {words}.")
    return lines
