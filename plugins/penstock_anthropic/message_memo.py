"""The facts about a request for a message that its answer repeats."""

from __future__ import annotations

from uuid import uuid4

import msgspec


class MessageMemo(msgspec.Struct, frozen=True, kw_only=True):
    """The facts that an answer repeats.

    Attributes
    ----------
    model:
        The name by which the client has asked for the model.
    request_id:
        The id of the request.
    id:
        The id of the answer.
    """

    model: str
    request_id: str
    id: str = msgspec.field(default_factory=lambda: f"msg_{uuid4().hex}")
