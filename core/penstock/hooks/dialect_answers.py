"""Answers of dialects that are more than a result: chunks that were collected, progress reports, and cancellations."""

from __future__ import annotations

from typing import Protocol

import msgspec

from penstock.hooks.routes import RouteResponse
from penstock.response import Encoded
from penstock.wire import Progress


class CollectedChunks(list[bytes]):
    """The chunks of a whole stream; to ``Dialect.collected``, it is a list like any other.

    Attributes
    ----------
    head:
        The head of the stream, without a body. Its ``media_type`` is None if the chunks are JSON.
    """

    head: Encoded = Encoded(b"")


class CancelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that asks for the end of another request of the same caller. It is answered without a job.

    Attributes
    ----------
    key:
        The ``cancel_key`` in the payload of the other request. Jobs of other callers, as the authenticator tells them
        apart, and those in other HTTP processes are not found.
    response:
        The response, which is the same whether there is such a job or not.
    reason:
        The reason, for the log and for the caller of the job.
    """

    key: str
    response: RouteResponse
    reason: str = "the caller cancelled"


class ReportFraming(Protocol):
    """A way to write the progress reports of one job as a stream, with the answer at its end."""

    media_type: str

    @property
    def keep_alive(self) -> bytes:
        """Sent during a long silence; empty if the format has nothing to send then."""

    def report(self, report: Progress) -> bytes:
        """Return a report as a piece of the body; empty if it is not to be sent."""

    def answer(self, response: RouteResponse) -> bytes:
        """Return the last piece: the answer, an error included, as it would have been sent without any report."""
