"""A chat request: its path and its body."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

Message = Mapping[str, Any]
"""A message: ``{"role": "user", "content": "..."}``, or any other that the server knows."""

_EXAMPLE: Final = '{"role": "user", "content": "..."}'
_VERSION: Final = re.compile(r"/v\d+[a-z]*\d*(/|$)")


def chat_path(base: str) -> str:
    """Return the path of chat requests below a server's address.

    ``/v1`` is a part of it unless the address has a version already, as in ``https://host/v1`` and
    ``https://host/v1beta/openai``.
    """
    return "chat/completions" if _VERSION.search(base) else "v1/chat/completions"


def chat_body(
    model: str, messages: Sequence[Message], parameters: Mapping[str, Any], extra_body: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the body of a request, without ``stream``.

    Raises
    ------
    TypeError
        If the messages are not a sequence of mappings, or ``stream`` is among the parameters.
    ValueError
        If there is no model, or no message.
    """
    if not model:
        raise ValueError("model is empty; give the name of a model, as the server lists them under /v1/models")
    _require_messages(messages)
    if "stream" in parameters or "stream" in (extra_body or {}):
        raise TypeError("stream is not a parameter; call chat() for a whole answer, and chat_stream() for its events")
    return {"model": model, "messages": list(messages), **parameters, **(extra_body or {})}


def _require_messages(messages: Any) -> None:
    if isinstance(messages, str | bytes) or not isinstance(messages, Sequence):
        raise TypeError(f"messages are a list like [{_EXAMPLE}], and not of the type {type(messages).__name__}")
    if not messages:
        raise ValueError("messages are empty; give one at least")
    for message in messages:
        if not isinstance(message, Mapping):
            raise TypeError(f"a message is a mapping like {_EXAMPLE}, and not of the type {type(message).__name__}")
