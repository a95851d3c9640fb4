"""Offers of models to Anthropic's clients, for ``endpoint(dialects=[...])``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from penstock_chat import ChatOffer, ChatRequest

PLUGIN = "anthropic"


@dataclass(frozen=True, kw_only=True)
class Messages(ChatOffer):
    """An endpoint as a model of ``/v1/messages``. Its handler takes a ``ChatRequest``.

    Parameters
    ----------
    model, aliases, is_default:
        The name of the model, further ones, and whether it serves requests that name none.
    tools, inputs, structured, logprobs:
        What the handler can do; other requests are refused. See ``penstock_chat.ChatOffer``.
    count_tokens:
        The name of the endpoint that counts the tokens of a request, for ``/v1/messages/count_tokens``. Its handler
        takes a ``ChatRequest`` and returns an ``int``. None: this model's are not counted.
    """

    count_tokens: str | None = None

    gatherer: ClassVar[str] = PLUGIN


def accept(request: ChatRequest, offer: Messages) -> ChatRequest:
    """Return a request, unless it asks for what the handler cannot do.

    Raises
    ------
    InvalidRequest
        If it does; the error names the field as this protocol does.
    """
    offer.accept(request, "output_config.format", "output_config.format.schema", "messages")
    return request
