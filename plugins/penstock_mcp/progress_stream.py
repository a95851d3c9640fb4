"""The stream of a call whose client wants to hear of its progress."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.hooks import Payload, Progress, RouteResponse, on_one_line
from penstock_mcp.call_memo import CallMemo

_encode = msgspec.json.Encoder().encode


class ProgressStream:
    """A way to write the reports: a notification for each, and the answer as the last message.

    Parameters
    ----------
    payload:
        The call.
    """

    media_type = "text/event-stream; charset=utf-8"
    keep_alive = b": keep-alive\n\n"

    def __init__(self, payload: Payload) -> None:
        self._memo: CallMemo = payload.memo
        self._done = -1.0

    def report(self, report: Progress) -> bytes:
        """Return a notification. Progress has to increase, so one that falls back, as a retry does, is left out."""
        if report.done <= self._done:
            return b""
        self._done = report.done
        params: dict[str, Any] = {"progressToken": self._memo.token, "progress": report.done}
        if report.total is not None:
            params["total"] = report.total
        if report.message is not None:
            params["message"] = report.message
        return _event(_encode({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))

    def answer(self, response: RouteResponse) -> bytes:
        """Return the answer."""
        return _event(response.body)


def _event(message: bytes) -> bytes:
    return b"event: message\ndata: %b\n\n" % on_one_line(message)
