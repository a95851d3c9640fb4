"""One request over gRPC, as policies and observers see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from time import monotonic
from typing import Any

from penstock import Endpoint
from penstock.errors import RequestTimeout
from penstock.hooks import Payload, RequestAnswered, Route, Submission
from penstock.hosting import request_id
from penstock_grpc.rpc_metadata import Metadata, encoded, headers_from, metadata_from
from penstock_grpc.serving_host import ServingHost


class RpcExchange(Submission):
    """A submission that arrived over gRPC.

    Parameters
    ----------
    target:
        The target, as far as that is known before the message has arrived.
    headers:
        The metadata of the call, as headers.
    address:
        The address of the client.
    path:
        The service and the method.
    limit:
        The seconds from now after which the call has no time left; None if it has no deadline.

    Attributes
    ----------
    began:
        The instant at which it began.
    headers:
        The same.
    path:
        The same.
    payload:
        The request in the endpoint's terms; None until it has been read.
    is_door:
        True as long as its endpoint is not known.
    has_message:
        True once its message has arrived.
    """

    __slots__ = ("_limit", "began", "has_message", "headers", "is_door", "path", "payload")

    def __init__(
        self, target: Endpoint | Route, *, headers: Mapping[str, str], address: str, path: str, limit: float | None
    ) -> None:
        super().__init__(
            target, request_id=request_id(headers.get("x-request-id")), header=headers.get, address=address
        )
        self.received_headers = encoded(headers)
        self.began = monotonic()
        self.headers = headers
        self.path = path
        self.payload: Payload | None = None
        self.is_door = True
        self.has_message = False
        self._limit = limit
        if limit is not None:
            self.tighten_caller_timeout(limit)

    @classmethod
    def of(cls, target: Endpoint | Route, context: Any, path: str, peer: str, host: ServingHost) -> RpcExchange:
        """Return the exchange of a call that has just begun."""
        limit = context.time_remaining()
        headers = headers_from(context.invocation_metadata(), limit)
        address = host.trusted_proxies.client_address(peer, headers.get)
        return cls(target, headers=headers, address=address, path=path, limit=limit)

    def take_endpoint(self, endpoint: Endpoint) -> None:
        """Make the request one for this endpoint, whose policies are to be asked next."""
        self.endpoint = endpoint
        self.timeouts = endpoint.timeouts
        self.is_door = False

    def apply_limits(self) -> None:
        """Tighten the timeouts to what the payload and the call's own deadline leave.

        Raises
        ------
        RequestTimeout
            If the deadline has passed.
        """
        assert self.payload is not None, "it has been read"
        self.payload.apply_to(self)
        if self._limit is not None:
            if self._limit <= monotonic() - self.began:
                raise RequestTimeout("The deadline of the call had passed before anything was started")
            total = self.timeouts.total
            if total is None or self._limit < total:
                self.timeouts = replace(self.timeouts, total=self._limit)
        if self.timeouts.total is not None:
            self.elapsed = monotonic() - self.began

    @property
    def left(self) -> float | None:
        """The seconds that the caller still waits, retries of its own included; None if it has not said."""
        return None if self.caller_timeout is None else self.began + self.caller_timeout - monotonic()

    @property
    def is_late(self) -> bool:
        """True once the deadline of the call has passed."""
        return self._limit is not None and monotonic() - self.began >= self._limit

    def metadata(self) -> Metadata:
        """Return the metadata of every answer: the request id, and what policies have added."""
        common: Metadata = [("x-request-id", self.request_id)]
        return common + metadata_from(self.response_headers) if self.has_response_headers else common

    def record(self, host: ServingHost, call: Any, status: int, code: str) -> None:
        """Notify the observers, if there are any, that the request has been answered, or abandoned.

        ``status`` is the HTTP status that stands for the outcome, so that one figure counts both protocols.
        """
        if host.on_answered is None:
            return
        host.on_answered(
            RequestAnswered(
                endpoint=self.endpoint.name,
                request_id=self.request_id,
                method="POST",  # every call of gRPC is one
                path=self.path,
                status=status,
                code=code,
                seconds=monotonic() - self.began,
                principal=None if self.principal is None else self.principal.name,
                address=self.address,
                attempts=0 if call is None else call.attempts,
                queue_seconds=None if call is None else call.queue_seconds,
                execution_seconds=None if call is None else call.execution_seconds,
                began=self.began,
                trace=self.trace,
                route=self.path,
            )
        )
