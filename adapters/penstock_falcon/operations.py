"""The routes for operators: is it alive, is it ready, what is it doing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from penstock_falcon.answers import JSON, Answer, common_headers
from penstock_falcon.problems import retry_after

if TYPE_CHECKING:
    from collections.abc import Callable

LIVEZ, READYZ, STATUS = "/livez", "/readyz", "/-/status"

_encode = msgspec.json.Encoder(enc_hook=str).encode


def livez(engine: Any, request_id: str) -> Answer:
    """200 for as long as the process can answer at all, whatever its engine does."""
    del engine
    return Answer(200, common_headers(request_id, JSON), b'{"status":"ok"}')


def readyz(engine: Any, request_id: str) -> Answer:
    """200 when every pool has a ready worker and nothing drains, else 503 with the reasons."""
    reasons = engine.unready_reasons()
    headers = common_headers(request_id, JSON)
    if not reasons:
        return Answer(200, headers, b'{"status":"ready"}')
    headers += [("retry-after", str(retry_after(None))), ("x-should-retry", "true")]
    return Answer(503, headers, _encode({"status": "unready", "reasons": reasons}))


def status(engine: Any, request_id: str) -> Answer:
    """What the engine knows of its pools, workers and endpoints."""
    return Answer(200, common_headers(request_id, JSON), _encode(engine.status()))


ROUTES: dict[str, Callable[[Any, str], Answer]] = {LIVEZ: livez, READYZ: readyz, STATUS: status}
