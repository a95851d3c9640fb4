"""Offers of models to OpenAI's clients, for ``endpoint(dialects=[...])``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from penstock_chat import ChatOffer, ModelOffer

PLUGIN = "openai"


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
        What the handler can do; other requests are refused. See ``penstock_chat.ChatOffer``.
    """
