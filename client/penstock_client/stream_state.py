"""A stream as both drivers read it: the events so far, its time-outs, and its errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx2

from penstock_client.answer_watch import AnswerWatch
from penstock_client.call_records import Attempt
from penstock_client.errors import ClientError
from penstock_client.event_lines import EventLines
from penstock_client.failures import error_of_fault
from penstock_client.plan_messages import CallSpec
from penstock_client.retry_table import Fault


class StreamState:
    """The part of a stream that does no input and output.

    Parameters
    ----------
    headers:
        The headers of the response. Lines of JSON become events; a stream of another media type is ``bytes``.
    attempts:
        The requests that were sent.
    watch:
        The time-outs.
    spec:
        The call.
    """

    def __init__(
        self, headers: Mapping[str, str], attempts: tuple[Attempt, ...], watch: AnswerWatch, spec: CallSpec
    ) -> None:
        self.headers = headers
        self.attempts = attempts
        self.watch = watch
        self.request_id = headers.get("x-request-id", spec.request_id)
        self._is_idempotent = spec.is_idempotent
        self.partial: list[Any] = []
        self.is_over = False
        self._ready: list[Any] = []  # in reverse
        is_lines = headers.get("content-type", "").partition(";")[0].strip().lower() == "application/x-ndjson"
        self._lines = EventLines() if is_lines else None

    def pop(self) -> Any:
        """Return the next event that has arrived.

        Raises
        ------
        IndexError
            If there is none.
        """
        event = self._ready.pop()
        self.partial.append(event)
        return event

    def on_piece(self, piece: bytes, now: float) -> None:
        """Take in what has arrived.

        Raises
        ------
        ClientError
            If it is not what was announced, or a time-out has passed.
        """
        try:
            events = [piece] if self._lines is None else self._lines.feed(piece)
        except ClientError as error:
            raise self.dressed(error) from None
        self._ready = events[::-1]
        self.watch.on_piece(now, has_event=bool(events))
        fault = self.watch.passed(now)
        if fault is not None:
            raise self.timed_out(fault)

    def on_end(self) -> None:
        """Take in the clean end.

        Raises
        ------
        ClientError
            If the last event is not complete.
        """
        self.is_over = True
        try:
            self._ready = [] if self._lines is None else self._lines.finish()[::-1]
        except ClientError as error:
            raise self.dressed(error) from None

    def failed(self, error: Exception, now: float) -> ClientError:
        """Return the error for what the transport has raised."""
        if isinstance(error, httpx2.TimeoutException):
            return self.timed_out(self.watch.of_silence(now))
        return self.dressed((self._lines or EventLines()).failure(str(error)))

    def timed_out(self, fault: Fault) -> ClientError:
        """Return the error of a time-out."""
        return self.dressed(error_of_fault(fault, ""))

    def dressed(self, error: ClientError) -> ClientError:
        """Return the error with all that is known about the call."""
        self.is_over = True
        error.partial = self.partial
        error.attempts = self.attempts
        error.request_id = self.request_id
        error.may_have_run = True
        error.retryable = self._is_idempotent
        error.retries_refused = "rule"
        return error

    def joined(self) -> str:
        """Return the events as one text.

        Raises
        ------
        TypeError
            If an event is not text.
        """
        if self._lines is None:
            return b"".join(self.partial).decode()
        for event in self.partial:
            if not isinstance(event, str):
                raise TypeError(f"text() joins events that are text, and this one is {type(event).__name__}")
        return "".join(self.partial)
