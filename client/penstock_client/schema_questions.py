"""When a client reads the server's schema, and what it says about it: the part that both clients share.

The schema is read at most once a minute, and only after something has happened that it explains: a path that is not
there, a server that has another schema, or a time-out that may be longer than the server's. It may be missing.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping
from typing import Any, Self

import msgspec

from penstock_client.client_base import LOGGER, NO_HEADERS, ClientBase, Http, OutgoingRequest
from penstock_client.errors import ResponseError
from penstock_client.plan_messages import HeadArrived
from penstock_client.retry_settings import Retries
from penstock_client.server_schema import (
    SCHEMA_HEADER,
    SCHEMA_PATH,
    SCHEMA_SECONDS,
    ServerSchema,
    changed_schema,
    is_unknown_endpoint,
    longer_than_server,
    schema_in,
    unknown_endpoint,
)

_ANOTHER_SCHEMA = "another schema"


class SchemaQuestions(ClientBase[Http]):
    """The questions that the server's schema answers."""

    _is_asking = False

    # ---- after an answer, or an error

    def _asks_about(self, headers: Mapping[str, str], error: ResponseError | None = None) -> bool:
        """Return whether the schema explains this answer."""
        if self._is_asking:
            return False
        if self._expected is not None and SCHEMA_HEADER in headers and _ANOTHER_SCHEMA not in self._shared.schema.said:
            return True
        return error is not None and is_unknown_endpoint(error)

    def _explain(
        self,
        outgoing: OutgoingRequest,
        headers: Mapping[str, str],
        error: ResponseError | None,
        schema: ServerSchema | None,
    ) -> None:
        """Log that the server has another schema; complete the error for a path that is not there."""
        digest = headers.get(SCHEMA_HEADER) or (schema.digest if schema is not None else "")
        expected, memory = self._expected, self._shared.schema
        if expected is not None and digest not in {"", expected.digest} and memory.is_first(_ANOTHER_SCHEMA):
            LOGGER.warning("%s: %s", self._name, changed_schema(expected, digest, schema))
        if error is not None and is_unknown_endpoint(error):
            error.detail = unknown_endpoint(self._name, outgoing.spec.endpoint, schema)
            error.args = (error.detail,)

    # ---- the limits of an endpoint

    def _knows_limit(self, path: str, timeout: float | None) -> bool:
        """Return whether nothing needs to be read to compare this time-out with the endpoint's own limit."""
        return (self._timeouts.total if timeout is None else timeout) is None or path in self._shared.schema.limits

    def _compare_limit(self, path: str, timeout: float | None) -> None:
        """Log it, once for each endpoint, if the caller waits for longer than the server works."""
        seconds = self._timeouts.total if timeout is None else timeout
        memory = self._shared.schema
        limit = memory.limits.get(path, math.inf)
        if seconds is not None and seconds > limit and memory.is_first(f"limit of {path}"):
            LOGGER.warning("%s: %s", self._name, longer_than_server(path, seconds, limit))

    # ---- reading

    def _question(self) -> tuple[Self, OutgoingRequest]:
        """Return a view that asks once, without a record, and the request for the document."""
        view = copy.copy(self)
        view._is_asking = True
        view._on_event = None
        view._tracer = None
        view._retries = Retries(max_attempts=1)
        outgoing = view._outgoing(
            SCHEMA_PATH,
            None,
            timeout=SCHEMA_SECONDS,
            idempotency_key=None,
            idempotent=False,
            method="GET",
            headers=NO_HEADERS,
        )
        return view, outgoing

    def _begins_reading(self) -> bool:
        return self._shared.schema.begin_read(time.monotonic())


def schema_of(arrived: HeadArrived) -> ServerSchema | None:
    """Return the schema in a response; None if it is something else."""
    try:
        document: Any = msgspec.json.decode(arrived.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return schema_in(document)
