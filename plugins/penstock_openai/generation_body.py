"""The fields that the bodies of chats and of completions have in common."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from penstock_chat import checked_stops

MOST_CHOICES = 128

_Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]


class StreamOptions(msgspec.Struct):
    """The events of a stream besides the answer."""

    include_usage: bool | None = None


class GenerationBody(msgspec.Struct, kw_only=True):
    """The body of a request for text. None: absent, or null."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=MOST_CHOICES)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    logit_bias: dict[str, float] | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None

    @property
    def includes_usage(self) -> bool:
        """True if a stream is to end with the usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def sampling(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of a ``Sampling`` that are the same for chats and completions.

        Parameters
        ----------
        raw:
            The fields that this body does not have.

        Raises
        ------
        InvalidRequest
            If a stop sequence is empty, or if they are too many or too long.
        """
        return {
            "model": self.model or "",
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "stop": checked_stops([self.stop] if isinstance(self.stop, str) else self.stop or (), "stop"),
            "seed": self.seed,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "logit_bias": self.logit_bias or {},
            "user": self.user,
            "metadata": self.metadata or {},
            "raw": raw,
        }
