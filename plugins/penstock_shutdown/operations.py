"""The routes: ``POST /-/shutdown``, ``POST /-/drain`` and ``POST /-/undrain``, for those who have the key.

They are open towards the server's authenticator, because they have a key of their own: that a caller may use a model
does not mean that it may stop the server, and the one who stops servers need not be able to use any.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, Final

from penstock.errors import Draining, Unauthorized
from penstock.hooks import Route, RouteEngine, RouteRequest, RouteResponse, log_event
from penstock_shutdown.audit import Audit
from penstock_shutdown.keys import Key
from penstock_shutdown.parameters import parameters_of, seconds_of, sentence_of

REFUSED_LINE_SECONDS: Final = 60.0
"""Whoever guesses keys writes one line of the log in so many seconds, not one for each guess."""

USUAL_DRAIN: Final = 30.0
"""Seconds, where neither the request nor the server says."""

CHALLENGE: Final = 'Bearer realm="penstock shutdown"'


class Operations:
    """What the routes do.

    Parameters
    ----------
    key:
        What callers have to show.
    audit:
        Knows of a shutdown that has begun, by whomever.
    clock:
        Returns seconds that only grow.
    """

    def __init__(self, key: Key, audit: Audit, clock: Callable[[], float]) -> None:
        self._key = key
        self._audit = audit
        self._clock = clock
        self._refused = 0  # since the last line about it
        self._refused_line_at = -math.inf

    def routes(self) -> list[Route]:
        """All three."""
        return [
            Route(path=f"/-/{name}", name=name, handler=handler, method="POST", is_open=True)
            for name, handler in (("shutdown", self.shutdown), ("drain", self.drain), ("undrain", self.undrain))
        ]

    def shutdown(self, request: RouteRequest, engine: RouteEngine) -> RouteResponse:
        """Drain, and then stop; answers with what there is to wait for. Asking again changes nothing."""
        self._check_key(request)
        given = parameters_of(request.query, {"drain", "why"})
        usual = engine.longest_drain if math.isfinite(engine.longest_drain) else USUAL_DRAIN
        seconds = seconds_of(given["drain"]) if "drain" in given else usual
        if self._audit.drain is None:
            engine.shutdown(seconds, who=_who(request), why=sentence_of(given.get("why", "")))
        return self._answer(engine, 202)

    def drain(self, request: RouteRequest, engine: RouteEngine) -> RouteResponse:
        """Take the server out of rotation: it refuses new work, finishes what it has, and stays."""
        self._check_key(request)
        given = parameters_of(request.query, {"why"})
        if self._audit.drain is None:
            engine.pause(who=_who(request), why=sentence_of(given.get("why", "")))
        return self._answer(engine, 200)

    def undrain(self, request: RouteRequest, engine: RouteEngine) -> RouteResponse:
        """Take it back into rotation."""
        self._check_key(request)
        given = parameters_of(request.query, {"why"})
        if self._audit.drain is not None:
            raise Draining("the server is shutting down, which cannot be taken back", retryable=False)
        engine.resume(who=_who(request), why=sentence_of(given.get("why", "")))
        return self._answer(engine, 200)

    def _check_key(self, request: RouteRequest) -> None:
        if self._key.is_in(request.header("authorization")):
            return
        self._refused += 1
        now = self._clock()
        if now - self._refused_line_at >= REFUSED_LINE_SECONDS:
            self._refused_line_at = now
            log_event(
                logging.WARNING,
                "shutdown-refused",
                f"a POST to {request.path} came without the key",
                path=request.path,
                address=request.address or None,
                request=request.request_id,
                refused=self._refused,
            )
            self._refused = 0
        raise Unauthorized("this needs the key of plug-in 'shutdown', as a bearer token", challenge=CHALLENGE)

    def _answer(self, engine: RouteEngine, status: int) -> RouteResponse:
        """What there is to wait for."""
        known, drain = engine.status(), self._audit.drain
        endpoints = {
            name: {"queued": each["queued"], "running": each["running"]} for name, each in known["endpoints"].items()
        }
        content: dict[str, Any] = {
            "shutting_down": drain is not None,
            "draining": known["draining"],
            "reasons": known["reasons"],
            "seconds_left": None if drain is None else round(self._audit.seconds_left(), 3),
            "who": None if drain is None else drain.who,
            "why": None if drain is None else drain.why,
            "jobs": sum(each["queued"] + each["running"] for each in endpoints.values()),
            "endpoints": endpoints,
            "workers": {
                worker["id"]: worker["state"] for pool in known["pools"].values() for worker in pool["workers"]
            },
        }
        return RouteResponse.json(content, status)


def _who(request: RouteRequest) -> str:
    return f"POST {request.path} from {request.address}" if request.address else f"POST {request.path}"
