"""The bodies of webhooks. Pure: a document goes in, bytes come out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

MOST_BYTES: Final = 20_000
"""The size that "Standard Webhooks" recommends as the most."""

_DISPENSABLE: Final = ("result", "error", "metadata", "progress", "webhook")
"""The members that are left out of a document that is too large, in this order."""
_ESSENTIAL: Final = ("id", "endpoint", "state", "created_at", "finished_at", "result_url", "links")


def payload_of(event: str, at: float, document: Mapping[str, Any]) -> bytes:
    """Return the body of a webhook: ``{"type": "job.succeeded", "timestamp": ..., "data": document}``.

    It has at most 20,000 bytes. From a larger one, the result is left out, and ``result_url`` says where it is; the
    names of the members that were left out are in ``omitted``.

    Parameters
    ----------
    event:
        The name of the event: ``succeeded``.
    at:
        The instant of the event, in Unix seconds.
    document:
        The job's document, with the address of its result in ``links``.

    Raises
    ------
    ValueError
        If even the id and the links are larger than that.
    """
    body = _encoded(event, at, document)
    if len(body) <= MOST_BYTES:
        return body
    rest, omitted = dict(document), []
    for name in _DISPENSABLE:
        if rest.pop(name, None) is None:
            continue
        omitted.append(name)
        if name == "result" and "result_url" not in rest:
            rest["result_url"] = document.get("links", {}).get("result")
        body = _encoded(event, at, rest | {"omitted": omitted})
        if len(body) <= MOST_BYTES:
            return body
    least = {name: rest[name] for name in _ESSENTIAL if name in rest}
    body = _encoded(event, at, least | {"omitted": sorted(document.keys() - least.keys())})
    if len(body) > MOST_BYTES:
        raise ValueError(f"the document of a job has {len(body)} bytes without its result, over {MOST_BYTES}")
    return body


def _encoded(event: str, at: float, document: Mapping[str, Any]) -> bytes:
    instant = datetime.fromtimestamp(at, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return msgspec.json.encode({"type": f"job.{event}", "timestamp": instant, "data": document})
