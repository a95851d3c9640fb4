"""The standard health service, which says what ``/readyz`` says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any, Final

from grpc import StatusCode
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import (
    HealthCheckRequest,
    HealthCheckResponse,
    HealthListRequest,
    HealthListResponse,
)

from penstock.errors import PenstockError
from penstock.hooks import Route, RouteRequest, Submission
from penstock_grpc.serving_host import ServingHost

LOOK_SECONDS: Final = 0.25
"""The time between two looks for those who watch."""
ANSWER_SECONDS: Final = 5.0

_SERVING = HealthCheckResponse.SERVING
_NOT_SERVING = HealthCheckResponse.NOT_SERVING
_UNKNOWN = HealthCheckResponse.SERVICE_UNKNOWN


class HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc] # generated code has no types
    """The service.

    Parameters
    ----------
    host:
        The service with the engine.
    names:
        The names of the gRPC services. All are as ready as the whole, whose name is "".
    """

    def __init__(self, host: ServingHost, names: Collection[str]) -> None:
        self._host = host
        self._names = {"", *names}
        self._readyz = next(route for route in host.registry.routes(host.app) if route.name == "readyz")
        self._is_ready = False
        self._changed = asyncio.Event()
        self._watchers = 0
        self._looking: asyncio.Task[None] | None = None
        self._is_leaving = False

    def leave(self) -> None:
        """End all watches: their clients have to go elsewhere."""
        self._is_leaving = True
        self._announce()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # ---- the methods, as the protocol names them

    async def Check(self, request: HealthCheckRequest, context: Any) -> HealthCheckResponse:  # noqa: N802 - see above
        """Return whether the server is ready now."""
        if request.service not in self._names:
            await context.abort(StatusCode.NOT_FOUND, "there is no such service")
        return HealthCheckResponse(status=_SERVING if await self._look() else _NOT_SERVING)

    async def List(self, _request: HealthListRequest, _context: Any) -> HealthListResponse:  # noqa: N802 - see above
        """Return the same for all services."""
        status = HealthCheckResponse(status=_SERVING if await self._look() else _NOT_SERVING)
        return HealthListResponse(statuses=dict.fromkeys(self._names, status))

    async def Watch(  # noqa: N802 - see above
        self, request: HealthCheckRequest, context: Any
    ) -> AsyncIterator[HealthCheckResponse]:
        """Yield whether the server is ready, now and whenever that changes."""
        self._watchers += 1
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look_again())
        try:
            self._is_ready = await self._look()
            last = None
            while not self._is_leaving:
                changed = self._changed
                status = self._status_of(request.service)
                if status != last:
                    last = status
                    yield HealthCheckResponse(status=status)
                await changed.wait()
            await context.abort(StatusCode.UNAVAILABLE, "this process is leaving; watch again")
        finally:
            self._watchers -= 1
            if not self._watchers and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    def _status_of(self, name: str) -> Any:
        if name not in self._names:
            return _UNKNOWN
        return _SERVING if self._is_ready else _NOT_SERVING

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            before, self._is_ready = self._is_ready, await self._look()
            if before != self._is_ready:
                self._announce()

    async def _look(self) -> bool:
        """Ask the route, which is answered beside the engine."""
        route: Route = self._readyz
        request = RouteRequest(request_id="", method="GET", path=route.path, header=_no_header)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                call = self._host.ask(route, request, Submission(route))
                while call.outcome is None:
                    await call.wait()
        except (AssertionError, PenstockError, TimeoutError):  # it has not started, or has ended
            return False
        return getattr(call.outcome, "status", 500) == 200


def _no_header(_name: str) -> None:
    return None
