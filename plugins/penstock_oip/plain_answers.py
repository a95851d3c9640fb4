"""Answers of the protocol as JSON, all but those of models."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from penstock.hooks import RouteResponse

NOT_COMPRESSED: Final = {"cache-control": "no-transform"}


def plain_answer(content: Any, status: int = 200) -> RouteResponse:
    """Return a response as JSON that no one compresses.

    Triton's asynchronous client announces gzip with each request, and inflates answers of models only.
    """
    return msgspec.structs.replace(RouteResponse.json(content, status), headers=NOT_COMPRESSED)
