"""Offers of models to Anthropic's clients, for ``endpoint(dialects=[...])``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from penstock_chat import ChatOffer, Sampling

PLUGIN = "anthropic"


@dataclass(frozen=True, kw_only=True)
class Messages(ChatOffer):
    """An endpoint as a model of ``/v1/messages``. Its handler takes a ``ChatRequest``.

    Parameters
    ----------
    model, aliases, is_default:
        The name of the model, further ones, and whether it serves requests that name none.
    tools, inputs, structured, logprobs:
        The abilities of the handler; other requests are refused. See ``penstock_chat.ChatOffer``.
    count_tokens:
        The name of the endpoint that counts the tokens of a request, for ``/v1/messages/count_tokens``. Its handler
        takes a ``ChatRequest`` and returns an ``int``. None: this model's are not counted.
    """

    count_tokens: str | None = None

    gatherer: ClassVar[str] = PLUGIN
    schema_field: ClassVar[str] = "schema"
    # The messages of a request are more than those of its body: results of tools are some of their own.
    content_field: ClassVar[str] = "messages"

    def accept(self, request: Sampling, name: str = "output_config.format") -> None:
        """Refuse a request that asks for what the handler cannot do, as every offer does."""
        super().accept(request, name)
