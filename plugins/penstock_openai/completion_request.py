"""The request that a handler of the older completions takes, if it is not a chat handler."""

from __future__ import annotations

import msgspec

from penstock_chat import Sampling


class CompletionRequest(Sampling, omit_defaults=True, kw_only=True):
    """A request for the text that follows a prompt. The handler answers as one of chats does.

    Parameters
    ----------
    prompt:
        The text; or the ids of its tokens, if the offer has ``tokens=True``.
    suffix:
        The text that comes after the answer, if the client has one.
    """

    prompt: str | list[int] = msgspec.field()
    suffix: str | None = None
