"""Waiting for a call while watching its client, as the flow sees it; each adapter has its own way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from penstock.errors import PenstockError
from penstock.hosting import Call, Encoded, RemoteCall, RouteCall, ThreadedCall, ThreadedRouteCall
from penstock_falcon.joint_calls import JointCall

AnyRouteCall: TypeAlias = RouteCall | ThreadedRouteCall
AnyCall: TypeAlias = Call | RemoteCall | ThreadedCall | JointCall | AnyRouteCall

# Reasons for a cancellation, as they appear in the log.
GONE = "the client went away"
GIVEN_UP = "the request was cancelled"  # by the server, which stopped waiting for the response
CLOSED = "the response was closed"


class WatchedCall(Protocol):
    """A wait for a call, which is cancelled when its client goes away."""

    @property
    def call(self) -> AnyCall:
        """The call; its outcome ends the wait."""

    @property
    def is_gone(self) -> bool:
        """True if the server has said that the client is gone."""

    @property
    def wait(self) -> Callable[[], Awaitable[object]]:
        """A function that waits until there is an outcome, or a chunk to take."""

    def take(self) -> tuple[list[bytes], Encoded | PenstockError | None]:
        """Return the chunks that have arrived, and the outcome, or None while more chunks may follow."""

    def close(self, reason: str = GIVEN_UP) -> None:
        """Stop watching. A call without an outcome is cancelled, for ``reason``. To be called once, at the end."""
