"""Results that do not match the handler's return annotation: logged once, and an error under ``--debug``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from penstock import Endpoint
from penstock.errors import HandlerError
from penstock.hooks import log_event

# Without --debug, the first results of each endpoint are checked, and none that takes long: one is enough to see it.
CHECKED_RESULTS = 100
CHECKED_BYTES = 65_536


class AnnotationCheck:
    """The check of one endpoint's results.

    Attributes
    ----------
    check:
        Takes a result; None once there is nothing left to check. It raises ``HandlerError`` under ``--debug``.
    """

    def __init__(self, endpoint: Endpoint, *, debug: bool) -> None:
        self._endpoint = endpoint
        self._debug = debug
        self._mismatch = endpoint.codec.result_check()
        self._left = CHECKED_RESULTS
        self._is_logged = False
        self.check: Callable[[Any], None] | None = None if self._mismatch is None else self._check

    def _check(self, result: Any) -> None:
        assert self._mismatch is not None
        if not self._debug:
            self._left -= 1
            if self._left <= 0:
                self.check = None
            if len(result.body) > CHECKED_BYTES:
                return
        why = self._mismatch(result)
        if why is not None:
            self._report(f"a result of {self._endpoint.name} does not match its return annotation: {why}")

    def _report(self, message: str) -> None:
        if not self._is_logged:
            self._is_logged = True
            log_event(logging.WARNING, "result-mismatch", message, endpoint=self._endpoint.name)
        if self._debug:
            raise HandlerError(message, exception_type="ResultMismatch")
        self.check = None
