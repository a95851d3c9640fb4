"""Guards around the services of plug-ins: a mistake in one is logged and counted, and the engine goes on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from penstock.hooks.cancellations import is_cancellation
from penstock.hooks.hook_failures import HookFailures
from penstock.hooks.plugin import Plugin
from penstock.hooks.program_jobs import ProgramJobs
from penstock.hooks.services import EngineService, ServiceEngine


class GuardedService:
    """A service whose mistakes end nothing but its own work.

    Parameters
    ----------
    plugin:
        The plug-in.
    service:
        Its service.
    failures:
        Records the mistakes.
    """

    def __init__(self, plugin: Plugin, service: EngineService, failures: HookFailures) -> None:
        self._plugin = plugin
        self._service = service
        self._failures = failures
        self._is_started = False

    def __repr__(self) -> str:
        return f"<GuardedService of {self._plugin.name}>"

    @property
    def jobs(self) -> ProgramJobs | None:
        """The background jobs that the service has for the program around the engine; None if it has none."""
        return getattr(self._service, "jobs", None)

    def start(self, engine: ServiceEngine) -> None:
        """Start it.

        Raises
        ------
        PluginError
            If it cannot be started.
        """
        start = partial(self._service.start, engine)
        self._plugin.call(start, failure=f"the service of {self._plugin} cannot be started")
        self._is_started = True

    def unready_reason(self) -> str | None:
        """Return why the server should get no work yet, or None."""
        try:
            return self._service.unready_reason()
        except BaseException as error:
            self._failed(error)
            return f"the service of {self._plugin.name} has failed"

    @property
    def name(self) -> str:
        """The name of the plug-in."""
        return self._plugin.name

    def status(self) -> dict[str, Any] | None:
        """Return what it has for the status page; None if it has nothing."""
        status = getattr(self._service, "status", None)
        if status is None:
            return None
        try:
            return dict(status())
        except BaseException as error:
            self._failed(error)
            return {"failure": f"{type(error).__name__}: {error}"}

    def drain(self, deadline: float) -> None:
        """Have it give the engine no more jobs."""
        if self._is_started:
            self.safely(self._service.drain)(deadline)

    def stop(self) -> None:
        """End it, once."""
        if self._is_started:
            self._is_started = False
            self.safely(self._service.stop)()

    def safely(self, function: Callable[..., object]) -> Callable[..., None]:
        """Return a callable that calls the service's function and never raises."""

        def call(*arguments: Any) -> None:
            try:
                function(*arguments)
            except BaseException as error:
                self._failed(error)

        return call

    async def awaited(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine of the service; only its cancellation comes out."""
        try:
            await coroutine
        except BaseException as error:
            if is_cancellation(error):
                raise
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        self._failures.add(self._plugin, "penstock_service", error)
