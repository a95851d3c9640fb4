"""The engines that have processes of their own: one for each generation with several gunicorn workers."""

from __future__ import annotations

from gunicorn.errors import HaltServer

from penstock_gunicorn.engine_keeper import STOP_MARGIN_SECONDS, EngineKeeper
from penstock_gunicorn.engine_process import EngineApplication
from penstock_gunicorn.generations import Generation


class EngineGroup:
    """The keepers of all these engines.

    Parameters
    ----------
    owner:
        The application.
    """

    def __init__(self, owner: EngineApplication) -> None:
        self._owner = owner
        self._keepers: dict[Generation, EngineKeeper] = {}
        self._leaving: list[EngineKeeper] = []

    def add(self, generation: Generation) -> None:
        """Give a generation an engine.

        Raises
        ------
        EngineError
            If there is no place for its socket.
        """
        self._keepers[generation] = EngineKeeper(self._owner)

    def __contains__(self, generation: Generation) -> bool:
        return generation in self._keepers

    def path_of(self, generation: Generation) -> str:
        """Return the path of the generation's engine, or "" if the engine is in its gunicorn worker."""
        return self._keepers[generation].socket.path if generation in self._keepers else ""

    def keep(self) -> None:
        """Start the engines that are not running, if their pauses are over."""
        for keeper in self._keepers.values():
            keeper.keep()

    def dismiss(self, generation: Generation) -> None:
        """Have a generation's engine finish and end: its last HTTP process has ended."""
        keeper = self._keepers.pop(generation, None)
        if keeper is not None and not keeper.begin_stop(at_once=False):
            self._leaving.append(keeper)

    def generation_of(self, pid: int) -> Generation | None:
        """Return the generation of an engine's process."""
        return next((generation for generation, keeper in self._keepers.items() if keeper.pid == pid), None)

    def ended(self, pid: int, status: int) -> HaltServer | None:
        """Note the end of an engine's process; return why there is no use in starting another, if so."""
        for keeper in self._leaving:
            if keeper.pid == pid:
                self._leaving.remove(keeper)
                keeper.forget()
                return None
        generation = self.generation_of(pid)
        if generation is not None:
            try:
                self._keepers[generation].ended(status)
            except HaltServer as halt:
                return halt
        return None

    def forget(self, pid: int) -> None:
        """Note the end of an engine's process while the server stops."""
        for keeper in [*self._keepers.values(), *self._leaving]:
            if keeper.pid == pid:
                keeper.forget()

    def stop(self, drain_timeout: float, *, at_once: bool) -> None:
        """Stop all engines, and wait for their ends."""
        keepers = [*self._keepers.values(), *self._leaving]
        self._keepers.clear()
        self._leaving.clear()
        for keeper in keepers:
            keeper.begin_stop(at_once=at_once)
        for keeper in keepers:
            keeper.stop(drain_timeout + STOP_MARGIN_SECONDS, at_once=at_once)
