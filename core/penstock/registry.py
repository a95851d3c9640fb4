"""Finds plug-ins, and resolves what they decide, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pluggy

from penstock import defaults, hookspecs
from penstock.errors import DeclarationError

if TYPE_CHECKING:
    from penstock.app import Endpoint
    from penstock.scheduler import Job, Queue


class Registry:
    """The plug-ins of one engine.

    Parameters
    ----------
    plugins:
        More plug-ins: modules or objects with hook implementations. The last one is asked first.

    Raises
    ------
    DeclarationError
        If an implementation does not fit its hook, or there is no such hook.
    """

    def __init__(self, plugins: Iterable[Any] = ()) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        for plugin in (defaults, *plugins):
            self._register(plugin)
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise DeclarationError(f"plug-in {error.plugin!r}: {error}") from None

    def _register(self, plugin: Any) -> None:
        try:
            self._manager.register(plugin)
        except (ValueError, pluggy.PluginValidationError) as error:
            raise DeclarationError(f"plug-in {plugin!r}: {error}") from None

    def queue_discipline(self, endpoint: Endpoint) -> Callable[[], Queue]:
        """What makes the endpoint's queue."""
        result: Callable[[], Queue] = self._manager.hook.penstock_queue_discipline(endpoint=endpoint)
        return result

    def retry_policy(self, endpoint: Endpoint) -> Callable[[Job], bool]:
        """What decides whether the endpoint's lost jobs run again."""
        result: Callable[[Job], bool] = self._manager.hook.penstock_retry_policy(endpoint=endpoint)
        return result
