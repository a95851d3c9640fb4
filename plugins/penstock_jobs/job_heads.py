"""The part of a stored request that is not its body: what the engine needs to run the job as the caller has sent it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class JobHead(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The head of a stored request, as JSON in ``NewJob.head``.

    Parameters
    ----------
    query:
        The query string, not decoded.
    scopes:
        The scopes of the caller; None for a caller who was not identified.
    headers:
        The headers for the handler's context, names in lower case; None if it has no context.
    media_type, values, decoder:
        The input form of the request: see ``InputForm``. None in ``media_type``: the body is a plain one.
    memo:
        The ``Payload.job_memo`` of the dialect that has asked for the job; None if it was made in another way.
    """

    query: str = ""
    scopes: tuple[str, ...] | None = None
    headers: Mapping[str, str] | None = None
    media_type: str | None = None
    values: tuple[tuple[str, str], ...] = ()
    decoder: str = ""
    memo: bytes | None = None

    def encode(self) -> bytes:
        """Return it as ``NewJob.head`` has it."""
        return _encode(self)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(JobHead).decode


def read_head(head: bytes) -> JobHead:
    """Return the head of a stored request; that of a plain one for no bytes."""
    return _decode(head) if head else JobHead()
