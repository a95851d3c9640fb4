"""The routes: ``POST /-/shutdown``, ``/-/drain``, ``/-/undrain`` and ``/-/scale``, for callers with the key.

The server's authenticator does not guard them, because they have a key of their own: permission to use a model does
not imply permission to stop the server, and a caller that stops servers need not be allowed to use any model.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, Final

from penstock.errors import Draining, MalformedRequest, NotFound, Unauthorized
from penstock.hooks import Route, RouteEngine, RouteRequest, RouteResponse, log_event
from penstock.policies import DEFAULT_DRAIN_TIMEOUT
from penstock_shutdown.audit import Audit
from penstock_shutdown.parameters import parameters_of, seconds_of, sentence_of, workers_of
from penstock_shutdown.shutdown_key import ShutdownKey

REFUSED_LINE_SECONDS: Final = 60.0
"""Shortest time between two log lines about requests without the key: guessing keys must not flood the log."""

CHALLENGE: Final = 'Bearer realm="penstock shutdown"'


class Operations:
    """The handlers of the routes.

    Parameters
    ----------
    key:
        The key that callers must send.
    audit:
        Knows of any shutdown that has begun, however it was requested.
    clock:
        Returns the seconds of a monotonic clock.
    """

    def __init__(self, key: ShutdownKey, audit: Audit, clock: Callable[[], float]) -> None:
        self._key = key
        self._audit = audit
        self._clock = clock
        self._refused = 0  # since the last log line about it
        self._logged_at = -math.inf

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(path=f"/-/{name}", name=name, handler=handler, method="POST", is_open=True)
            for name, handler in (
                ("shutdown", self.shutdown),
                ("drain", self.drain),
                ("undrain", self.undrain),
                ("scale", self.scale),
                ("reload", self.reload),
            )
        ]

    def shutdown(self, request: RouteRequest, engine: RouteEngine) -> RouteResponse:
        """Drain and then stop the server; respond with the work in progress. Repeated requests change nothing."""
        self._check_key(request)
        given = parameters_of(request.query, {"drain", "why"})
        default = engine.longest_drain if math.isfinite(engine.longest_drain) else DEFAULT_DRAIN_TIMEOUT
        seconds = seconds_of(given["drain"]) if "drain" in given else default
        if self._audit.drain is None:
            engine.shutdown(seconds, who=_who(request), why=sentence_of(given.get("why", "")))
        return self._response(engine, 202)

    def drain(self, request: RouteRequest, engine: RouteEngine) -> RouteResponse:
        """Take the server out of rotation: it refuses new work, finishes its jobs, and keeps running."""
        self._check_key(request)
        given = parameters_of(request.query, {"why"})
        if self._audit.drain is None:
            engine.pause(who=_who(request), why=sentence_of(given.get("why", "")))
        return self._response(engine, 200)

    def reload(self, request: RouteRequest, engine: RouteEngine) -> RouteResponse:
        """Have the server load the app again; the status page says when that has ended, and how."""
        self._check_key(request)
        given = parameters_of(request.query, {"why"})
        if self._audit.drain is not None:
            raise Draining("the server is shutting down, which cannot be undone", retryable=False)
        generation = engine.status().get("generation")
        if not engine.reload(who=_who(request), why=sentence_of(given.get("why", ""))):
            raise NotFound("this server cannot load the app again; only penstock serve can")
        return RouteResponse.json({"reloading": True, "generation": generation}, 202)

    def undrain(self, request: RouteRequest, engine: RouteEngine) -> RouteResponse:
        """Put the server back into rotation."""
        self._check_key(request)
        given = parameters_of(request.query, {"why"})
        if self._audit.drain is not None:
            raise Draining("the server is shutting down, which cannot be undone", retryable=False)
        engine.resume(who=_who(request), why=sentence_of(given.get("why", "")))
        return self._response(engine, 200)

    def scale(self, request: RouteRequest, engine: RouteEngine) -> RouteResponse:
        """Change the number of a pool's workers; respond with the pool. New workers may still be loading."""
        self._check_key(request)
        given = parameters_of(request.query, {"pool", "workers"})
        if missing := sorted({"pool", "workers"} - given.keys()):
            raise MalformedRequest(f"{missing[0]} is missing; send ?pool=NAME&workers=N", param=missing[0])
        name = given["pool"]
        engine.scale(name, workers_of(given["workers"]), who=_who(request))
        return RouteResponse.json({"pool": name, **engine.status()["pools"][name]}, 202)

    def _check_key(self, request: RouteRequest) -> None:
        if self._key.is_in(request.header("authorization")):
            return
        self._refused += 1
        now = self._clock()
        if now - self._logged_at >= REFUSED_LINE_SECONDS:
            self._logged_at = now
            log_event(
                logging.WARNING,
                "shutdown-refused",
                f"refused a POST to {request.path} without the key",
                path=request.path,
                address=request.address or None,
                request_id=request.request_id,
                refused=self._refused,
            )
            self._refused = 0
        raise Unauthorized("this route requires the key of plug-in 'shutdown' as a bearer token", challenge=CHALLENGE)

    def _response(self, engine: RouteEngine, status: int) -> RouteResponse:
        """Respond with the jobs and workers that a drain waits for."""
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
