"""Results and chunks that do not match the return annotation: logged once, and an error under ``--debug``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from penstock.app import Endpoint
from penstock.errors import HandlerError
from penstock.eventlog import log_event
from penstock.response import Encoded

# Without --debug, the first results of each endpoint are checked, and none that takes long: one is enough to see it.
CHECKED_RESULTS = 100
CHECKED_BYTES = 65_536


class AnnotationCheck:
    """The check of one endpoint's results, or of the chunks of its streams.

    Parameters
    ----------
    endpoint:
        The endpoint.
    mismatch:
        Takes an encoded result or chunk, and returns why it does not match, or None; None if nothing can be checked.
    what:
        The word for what is checked.
    debug:
        True to raise an error.

    Attributes
    ----------
    check:
        Takes a result or chunk; None once there is nothing left to check, which any call may bring about. It raises
        ``HandlerError`` under ``--debug``.
    """

    def __init__(
        self, endpoint: Endpoint, mismatch: Callable[[Any], str | None] | None, what: str, *, debug: bool
    ) -> None:
        self._endpoint = endpoint
        self._debug = debug
        self._mismatch = mismatch
        self._what = what
        self._left = CHECKED_RESULTS
        self._is_logged = False
        self.check: Callable[[Any], None] | None = None if self._mismatch is None else self._check

    @classmethod
    def of_results(cls, endpoint: Endpoint, *, debug: bool) -> AnnotationCheck:
        """Return the check of results. A single one from an endpoint that is annotated to stream may be anything."""
        mismatch = None if endpoint.is_stream else endpoint.codec.result_check()
        return cls(endpoint, mismatch, "result", debug=debug)

    @classmethod
    def of_chunks(cls, endpoint: Endpoint, *, debug: bool) -> AnnotationCheck:
        """Return the check of chunks that are JSON."""
        return cls(endpoint, endpoint.codec.chunk_check(), "chunk", debug=debug)

    def check_all(self, values: Iterable[Encoded | bytes]) -> None:
        """Check results or chunks, as long as there is anything left to check.

        Raises
        ------
        HandlerError
            Under ``--debug``, if one does not match.
        """
        for value in values:
            check = self.check
            if check is None:
                return
            check(value)

    def _check(self, value: Encoded | bytes) -> None:
        assert self._mismatch is not None
        if not self._debug:
            self._left -= 1
            if self._left <= 0:
                self.check = None
            if len(value if isinstance(value, bytes) else value.body) > CHECKED_BYTES:
                return
        why = self._mismatch(value)
        if why is not None:
            self._report(f"a {self._what} of {self._endpoint.name} does not match its return annotation: {why}")

    def _report(self, message: str) -> None:
        if not self._is_logged:
            self._is_logged = True
            log_event(logging.WARNING, "result-mismatch", message, endpoint=self._endpoint.name)
        if self._debug:
            raise HandlerError(message, exception_type="ResultMismatch")
        self.check = None
