"""The parts of a request that its answer repeats."""

from __future__ import annotations

import time
from uuid import uuid4

import msgspec


class AnswerMemo(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a request for text that its answer repeats.

    Attributes
    ----------
    id, created:
        Those of the answer, the same in each chunk.
    model:
        The name by which the client has asked for the model.
    includes_usage:
        True if a stream is to end with the usage.
    wants_logprobs:
        True if the answer is to have log probabilities.
    echoes:
        The prompts that the answers begin with, for each of them; empty if they do not.
    prompts:
        The number of prompts; the choices of each follow those of the one before.
    """

    id: str
    created: int
    model: str
    includes_usage: bool = False
    wants_logprobs: bool = False
    echoes: tuple[str, ...] = ()
    prompts: int = 1


def new_id(prefix: str, separator: str = "-") -> str:
    """Return a new id."""
    return f"{prefix}{separator}{uuid4().hex}"


def now() -> int:
    """Return the time in whole seconds, as answers have it."""
    return int(time.time())
