"""The templates of one zygote, as the engine knows them."""

from __future__ import annotations

from penstock.wire import Message, Spawn, TemplateLost, TemplateReady


class Templates:
    """The pools that have a template, and the workers that are setting the models of a pool up.

    One worker of a pool that preloads sets the models up, and leaves the template. The others are requested only then.

    Attributes
    ----------
    pids:
        The pid of each template, by the pool's name.
    """

    def __init__(self) -> None:
        self.pids: dict[str, int] = {}
        self._first: dict[str, int] = {}  # by pool, the worker that sets the models up

    def admits(self, spawn: Spawn) -> bool:
        """Return whether the worker can be requested now."""
        return not spawn.preload or spawn.pool in self.pids or spawn.pool not in self._first

    def on_requested(self, spawn: Spawn) -> None:
        """Record that the worker was requested."""
        if spawn.preload and spawn.pool not in self.pids:
            self._first[spawn.pool] = spawn.worker

    def on_message(self, message: Message) -> None:
        """Record what the zygote says of its templates."""
        if isinstance(message, TemplateReady):
            self.pids[message.pool] = message.pid
            self._first.pop(message.pool, None)
        elif isinstance(message, TemplateLost):
            self.pids.pop(message.pool, None)

    def forget(self, worker: int) -> str:
        """Record that a worker is gone; return the name of its pool if it has left the models unfinished, or ""."""
        pool = next((pool for pool, first in self._first.items() if first == worker), "")
        self._first.pop(pool, None)
        return pool
