"""Offers of models to OpenAI's clients, for ``endpoint(dialects=[...])``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from penstock.hooks import Endpoint
from penstock_chat import ChatOffer, ChatRequest, GenerationOffer, ModelOffer, Sampling, refuse
from penstock_openai.completion_request import CompletionRequest
from penstock_openai.embedding_inputs import EmbeddingParameters

PLUGIN = "openai"
MOST_INPUTS = 2048


@dataclass(frozen=True, kw_only=True)
class OpenAIOffer(ModelOffer):
    """The base class of the offers here: a model that ``/v1/models`` lists."""

    gatherer: ClassVar[str] = PLUGIN


@dataclass(frozen=True, kw_only=True)
class Chat(ChatOffer, OpenAIOffer):
    """An endpoint as a model of ``/v1/chat/completions``. Its handler takes a ``ChatRequest``.

    Parameters
    ----------
    model, aliases, is_default:
        The name of the model, further ones, and whether it serves requests that name none.
    tools, inputs, structured, logprobs:
        The abilities of the handler; other requests are refused. See ``penstock_chat.ChatOffer``.
    """


@dataclass(frozen=True, kw_only=True)
class Completions(GenerationOffer, OpenAIOffer):
    """An endpoint as a model of ``/v1/completions``. Its handler takes a ``ChatRequest`` or a ``CompletionRequest``.

    Parameters
    ----------
    model, aliases, is_default:
        The name of the model, further ones, and whether it serves requests that name none.
    tokens:
        True if the handler takes prompts that are ids of tokens, which only one of ``CompletionRequest`` can.
    structured, logprobs:
        As for ``Chat``.
    """

    tokens: bool = False

    takes: ClassVar[tuple[type, ...]] = (CompletionRequest, ChatRequest)

    def accept(self, request: Sampling, name: str = "response_format") -> None:
        """Refuse a request that asks for what the handler cannot do, as every offer does; ids of tokens, too."""
        super().accept(request, name)
        if isinstance(request, CompletionRequest) and not isinstance(request.prompt, str) and not self.tokens:
            refuse("prompt", f"the model {self.model!r} takes text, and no ids of tokens")


@dataclass(frozen=True, kw_only=True)
class Embeddings(OpenAIOffer):
    """An endpoint as a model of ``/v1/embeddings``.

    Its handler takes one text and returns a vector, or with batching takes and returns lists of them. If its parameter
    is annotated ``list[int]``, or ``str | list[int]``, it takes ids of tokens. A further parameter ``dimensions`` is
    the length that the client asks for; requests with it are refused where there is none.

    Parameters
    ----------
    model, aliases, is_default:
        The name of the model, further ones, and whether it serves requests that name none.
    """

    def check(self, endpoint: Endpoint) -> None:
        """Check that the handler takes text, or ids of tokens; raise ``DeclarationError`` if it does not."""
        EmbeddingParameters(endpoint, f"endpoint {endpoint.name!r}: {self}")


def most_inputs(endpoint: Endpoint) -> int:
    """Return the most inputs of one request: each is a job of its own, and they must fit into the queue together."""
    return min(MOST_INPUTS, endpoint.max_queue)
