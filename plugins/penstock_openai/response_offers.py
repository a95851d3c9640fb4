"""The offer of a model to clients of OpenAI's Responses API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from penstock_chat import ChatOffer, Sampling, refuse
from penstock_openai.openai_offers import OpenAIOffer


@dataclass(frozen=True, kw_only=True)
class Responses(ChatOffer, OpenAIOffer):
    """An endpoint as a model of ``/v1/responses``. Its handler takes a ``ChatRequest``, as for ``Chat``.

    A request has the whole conversation. If the endpoint has ``jobs``, clients may ask for background responses.

    Parameters
    ----------
    model, aliases, is_default:
        The name of the model, further ones, and whether it serves requests that name none.
    tools, inputs, structured, logprobs:
        The abilities of the handler; other requests are refused. See ``penstock_chat.ChatOffer``.
    """

    schema_field: ClassVar[str] = "schema"
    content_field: ClassVar[str] = "input"

    def accept(self, request: Sampling, name: str = "text.format") -> None:
        """Refuse a request that asks for what the handler cannot do, as every offer does, by this protocol's fields."""
        if request.logprobs and not self.logprobs:
            field = "top_logprobs" if request.top_logprobs else "include"
            refuse(field, f"the model {self.model!r} has no log probabilities")
        super().accept(request, name)
