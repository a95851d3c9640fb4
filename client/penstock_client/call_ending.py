"""The record of a call's end: one for each call, whichever way it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

from penstock_client.call_records import CallRecord, Record
from penstock_client.call_tracing import reason_of


class CallEnding:
    """Passes on the records of a call, and holds back that of its end until the answer is read.

    The plan knows neither whether the answer can be read, nor how a call ends that is cancelled.

    Parameters
    ----------
    endpoint, request_id:
        The call.
    notify:
        Receives the records.
    """

    def __init__(self, endpoint: str, request_id: str, notify: Callable[[Record], None]) -> None:
        self._endpoint = endpoint
        self._request_id = request_id
        self._notify = notify
        self._began = time.monotonic()
        self._held: CallRecord | None = None
        self._is_over = False
        self.sent = 0
        """The number of requests so far."""

    def __call__(self, record: Record) -> None:
        """Take a record of the plan."""
        if isinstance(record, CallRecord):
            self._held = record
        else:
            self._notify(record)

    def over(self, error: BaseException | None = None) -> None:
        """Pass on the record of the end, once."""
        if self._is_over:
            return
        self._is_over = True
        seconds = time.monotonic() - self._began
        record = self._held or CallRecord(self._endpoint, self._request_id, "", seconds, self.sent)
        if error is not None and not record.code:
            record = replace(record, code=reason_of(error))
        self._notify(record)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over(error)
