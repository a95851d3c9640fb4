"""An app with a model of each kind, whose handlers are never called: a harness answers for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock import App, Batching
from penstock.testing import PluginHarness
from penstock_chat import ChatRequest
from penstock_openai import Chat, CompletionRequest, Completions, Embeddings, OpenAIPlugin


def make_app(**settings: Any) -> App:
    app = App("tests", plugins=[OpenAIPlugin], settings={"openai": settings})
    able = {"tools": True, "inputs": ("text", "image", "audio", "file"), "structured": "handler", "logprobs": True}

    @app.endpoint("/able", dialects=[Chat(model="able", aliases=("alias", "org/able"), is_default=True, **able)])
    def able_chat(request: ChatRequest) -> Iterator[str]:
        yield "x"

    @app.endpoint("/plain", dialects=[Chat(model="plain"), Completions(model="plain")])
    def plain_chat(request: ChatRequest) -> str:
        return "x"

    @app.endpoint(
        "/complete",
        dialects=[Completions(model="davinci", tokens=True, logprobs=True, is_default=True)],
        max_queue=3000,
    )
    def complete(request: CompletionRequest) -> Iterator[str]:
        yield "x"

    @app.endpoint(
        "/embed", batching=Batching(max_size=32), dialects=[Embeddings(model="embed", is_default=True)], max_queue=3000
    )
    def embed(text: list[str]) -> list[list[float]]:
        return [[1.0]] * len(text)

    @app.endpoint("/tokens", dialects=[Embeddings(model="tokens")], max_queue=100)
    def tokens(input: str | list[int], dimensions: int = 3) -> list[float]:
        return [1.0] * dimensions

    return app


def make_harness(**settings: Any) -> PluginHarness:
    return PluginHarness(make_app(**settings))
